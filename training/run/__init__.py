"""A training run: set-up, state, loop, gate."""
