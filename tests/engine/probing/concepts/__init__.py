"""Tests of engine/probing/concepts."""
