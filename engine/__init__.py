"""Rules, networks and probes: what `search`, `training` and `scripts` are built on."""
