"""`pawnscope play`."""
