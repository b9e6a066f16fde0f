"""Shared by tests: small runs, planted evaluators, naive rules."""
