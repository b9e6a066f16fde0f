"""The games of a match: in progress and finished, the players at them, and openings from files."""
