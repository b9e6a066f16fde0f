"""Tests of training/learner."""
