"""A manufacturer that exists only in software: its cloud, its robots, and the adapter that talks to them."""
