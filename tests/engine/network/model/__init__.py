"""Tests of engine/network/model."""
