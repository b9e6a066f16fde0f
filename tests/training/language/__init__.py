"""Tests of training/language."""
