"""Players: built-in, by network, external engines, from tables, language models."""
