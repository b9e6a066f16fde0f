"""Tests of scripts/terminal."""
