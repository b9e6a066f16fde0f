"""`pawnscope language`."""
