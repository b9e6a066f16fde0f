"""The environment, and the checks that run in it."""
