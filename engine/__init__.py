"""Rules, networks and probes: what the rooms above are built from."""
