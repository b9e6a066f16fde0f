"""`pawnscope probe`."""
