"""Variant files: sections and their keys, read and checked."""
