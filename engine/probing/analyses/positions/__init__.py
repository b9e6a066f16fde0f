"""Positions for analyses: their legal moves, what a network says of them, and resamples."""
