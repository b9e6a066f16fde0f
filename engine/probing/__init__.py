"""What a network has learned, measured beside the controls that make it mean something."""
