"""The shared ground: organisations, robots, sites, states, events, the adapter seam and the few shared tools."""
