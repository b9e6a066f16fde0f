"""Self-play, learning and measuring strength; a run is a directory."""
