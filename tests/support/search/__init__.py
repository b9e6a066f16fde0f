"""Shared by the tests of `search`."""
