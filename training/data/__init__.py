"""A run's directory, its index, and the games in it."""
