"""Threats in chess against python-chess."""

import chess

from engine.rules.notation.fen import write_fen
from engine.rules.variant import get_variant
from tests.support.concepts.threat_cases import labelled, sample


def chess_boards() -> list[tuple[int, chess.Board]]:
    variant = get_variant("chess")
    return [(i, chess.Board(write_fen(variant, row))) for i, row in enumerate(sample("chess"))]


def test_threats_in_chess_are_those_of_python_chess() -> None:
    found = labelled("chess")
    for index, board in chess_boards():
        for whose, colour in (("my", board.turn), ("their", not board.turn)):
            attackers = found[f"{whose} attackers of the square"][index]
            for square in chess.SQUARES:
                seen = square if board.turn else chess.square_mirror(square)
                assert attackers[seen] == len(board.attackers(colour, square))
            pins = sum(
                board.is_pinned(colour, square)
                for square, piece in board.piece_map().items()
                if piece.color == colour and piece.piece_type != chess.KING
            )
            assert found[f"{whose} pinned pieces"][index] == pins
            queens = board.pieces(chess.QUEEN, colour)
            attacked = any(board.is_attacked_by(not colour, square) for square in queens)
            assert found[f"{whose} queen attacked"][index] == attacked
        moves = list(board.legal_moves)
        assert found["in check"][index] == board.is_check()
        assert found["my captures"][index] == sum(map(board.is_capture, moves))
        assert found["my checks"][index] == sum(map(board.gives_check, moves))
        mates = 0
        for move in moves:
            board.push(move)
            mates += board.is_checkmate()
            board.pop()
        assert found["mate in one"][index] == (mates > 0)
        if not board.is_check():
            board.push(chess.Move.null())
            assert found["their captures"][index] == sum(map(board.is_capture, board.legal_moves))
            assert found["their checks"][index] == sum(map(board.gives_check, board.legal_moves))
            board.pop()
