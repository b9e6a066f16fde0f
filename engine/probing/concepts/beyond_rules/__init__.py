"""Families whose labels need more than the position and the rules: exact results, or searches."""
