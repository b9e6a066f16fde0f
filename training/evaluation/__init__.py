"""How strong a player is: matches, ladders, the truth."""
