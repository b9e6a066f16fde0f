"""Monte-Carlo tree search over flat arrays: PUCT, Gumbel and UCT."""
