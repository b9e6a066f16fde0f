"""What a score must be compared with."""
