"""What a network holds at its hook points."""
