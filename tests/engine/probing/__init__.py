"""Tests of engine/probing."""
