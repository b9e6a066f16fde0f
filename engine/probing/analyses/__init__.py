"""What a network does with what it knows: its layers, heads, piece values, openings and play."""
