"""Tests of search/exact."""
