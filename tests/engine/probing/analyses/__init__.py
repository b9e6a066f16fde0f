"""Tests of engine/probing/analyses."""
