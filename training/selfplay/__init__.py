"""How games are made."""
