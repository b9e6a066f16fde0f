"""Tests of engine/probing/report."""
