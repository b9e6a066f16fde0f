"""What several concepts need of a position or of a variant, computed once."""
