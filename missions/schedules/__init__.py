"""Schedules: what is asked for again and again, and what became of each time."""
