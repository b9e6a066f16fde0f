"""Language models: of a game's moves, and GPT-2."""
