"""Training of move language models."""
