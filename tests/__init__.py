"""Tests say what is true of the program, not how it is written."""
