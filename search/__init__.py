"""Search: trees, players and truth. No torch: a network arrives as an `Evaluator`."""
