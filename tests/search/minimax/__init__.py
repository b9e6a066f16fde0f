"""Tests of search/minimax."""
