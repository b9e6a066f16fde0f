"""The rules: a game is data, and one set of compiled kernels plays every game."""
