"""As scripts/setup: the environment and the checks."""
