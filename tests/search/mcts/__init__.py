"""Tests of search/mcts."""
