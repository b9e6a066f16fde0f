"""Attacks, exchanges, pins and forks against plain loops over the squares, in many variants."""

import numpy as np
import pytest

from tests.support.concepts.threat_cases import (
    NAMES,
    labelled,
    naive,
    of_sides,
    sample,
)


@pytest.mark.parametrize("name", NAMES)
def test_attacks_and_exchanges_are_those_of_plain_loops(name: str) -> None:
    found, clear = labelled(name), 0
    for index, at in enumerate(naive(name)):
        for whose, side, enemy in of_sides(at):
            attackers = found[f"{whose} attackers of the square"][index]
            for square in at.squares():
                wanted = len(at.attackers(at.board, square, side))
                assert attackers[at.seen(square)] == wanted
            hanging = at.hanging(side)
            bare = [
                square
                for square in at.pieces(side)
                if at.attackers(at.board, square, enemy)
                and not at.attackers(at.board, square, side)
            ]
            assert found[f"{whose} attacked pieces without a defender"][index] == len(bare)
            if all(order <= 1 for order in at.orders):
                clear += 1
                marked = found[f"{whose} hanging piece on the square"][index]
                wanted_squares = {at.seen(square) for square in hanging}
                assert set(np.flatnonzero(marked).tolist()) == wanted_squares
                assert found[f"{whose} hanging pieces"][index] == len(hanging)
                best = "their" if whose == "my" else "my"
                most = max(hanging.values(), default=0.0)
                assert found[f"{best} best capture"][index] == most
    assert clear > len(sample(name))


@pytest.mark.parametrize("name", NAMES)
def test_forks_pins_and_skewers_are_those_of_plain_loops(name: str) -> None:
    found = labelled(name)
    for index, at in enumerate(naive(name)):
        for whose, side, _ in of_sides(at):
            wanted = {
                "forks": at.forks,
                "pinned pieces": at.pinned,
                "pieces pinned to a better one": at.pinned_to_piece,
                "skewers": at.skewers,
            }
            for concept, count in wanted.items():
                if f"{whose} {concept}" in found:
                    assert found[f"{whose} {concept}"][index] == count(side), at.game.fen()
        assert found["fork available"][index] == at.can_fork(), at.game.fen()
        if "discovered attack available" in found:
            assert found["discovered attack available"][index] == at.can_discover(), at.game.fen()


@pytest.mark.parametrize("name", ["gardner", "chess", "own", "ends"])
def test_the_king_s_surroundings_are_those_of_plain_loops(name: str) -> None:
    found = labelled(name)
    for index, at in enumerate(naive(name)):
        for whose, side, enemy in of_sides(at):
            ring = at.ring(side)
            hit = [square for square in ring if at.attackers(at.board, square, enemy)]
            attackers = {one for at_ in hit for one in at.attackers(at.board, at_, enemy)}
            assert found[f"{whose} attacked squares around the king"][index] == len(hit)
            assert found[f"{whose} attackers around the king"][index] == len(attackers)
        steps = [
            text
            for text, step in at.game.legal.items()
            if at.square(text[:2]) == at.king(at.me) and not step.castling
        ]
        assert found["my king's escape squares"][index] == len(steps)
