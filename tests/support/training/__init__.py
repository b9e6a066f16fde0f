"""Shared by the tests of `training`."""
