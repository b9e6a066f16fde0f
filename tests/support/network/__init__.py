"""Shared by the tests of `engine/network` and `engine/probing`."""
