"""Tests of engine/rules."""
