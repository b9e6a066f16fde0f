"""What a position shows: one decorated function a concept."""
