"""Tests of search/players."""
