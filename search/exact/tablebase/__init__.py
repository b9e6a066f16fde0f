"""Endgame tables by retrograde analysis."""
