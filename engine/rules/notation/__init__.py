"""Positions and moves as text: FEN, EPD, UCI, SAN, a board of letters."""
