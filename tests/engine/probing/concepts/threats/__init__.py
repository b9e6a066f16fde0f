"""Tests of concepts/threats.py, concepts/king.py and of what they share."""
