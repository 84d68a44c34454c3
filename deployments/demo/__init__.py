"""One night at a simulated site, end to end: the main job through every room, each stage checked by what it left behind."""
