"""Trainings side by side, and what they show."""
