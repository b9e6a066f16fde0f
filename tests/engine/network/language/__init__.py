"""Tests of engine/network/language."""
