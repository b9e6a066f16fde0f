"""Tests of engine/probing/concepts/beyond_rules."""
