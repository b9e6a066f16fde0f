"""Tests of training/selfplay."""
