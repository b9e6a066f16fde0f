"""Tests of engine/system."""
