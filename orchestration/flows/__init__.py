"""Prefect flows: short callers of plain functions, one file per purpose."""
