"""Tests of the families of concepts that need the rules alone."""
