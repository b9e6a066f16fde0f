"""`pawnscope runs`."""
