"""Shared by the tests of `engine/rules` and `engine/system`."""
