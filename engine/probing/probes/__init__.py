"""Probes, and the scores of their predictions with intervals."""
