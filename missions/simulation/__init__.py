"""The deterministic fault world: processes that crash at any point, robots behind a bad network, people, clock jumps."""
