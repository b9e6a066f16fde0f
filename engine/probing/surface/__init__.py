"""The surface: every concept at every layer of every checkpoint, beside every control."""
