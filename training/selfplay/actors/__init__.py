"""Who makes them: one protocol, in this process or in others."""
