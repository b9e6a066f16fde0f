"""`pawnscope match`."""
