"""Perfect play: the solver and its solutions."""
