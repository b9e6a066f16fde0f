"""Tests of engine/probing/analyses/positions."""
