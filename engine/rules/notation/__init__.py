"""Positions and moves as text: FEN, SAN, PGN, a board of letters."""
