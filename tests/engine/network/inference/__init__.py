"""Tests of engine/network/inference."""
