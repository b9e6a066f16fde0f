"""All analyses of a run: the same as each by itself, plain numbers, the same every time."""

import dataclasses
import json
import weakref
from functools import partial

import numpy as np
import pytest

from engine.network.model.policy_value import PolicyValueNet, VariantNetwork
from engine.probing.analyses.analyse import AnalysisConfig, Search, Subject, analyse
from engine.probing.analyses.attention import attention_scores
from engine.probing.analyses.lens import lens
from engine.probing.analyses.piece_values import piece_values
from engine.probing.analyses.positions.move_table import move_table
from engine.probing.data.canonical import Rows
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import get_variant
from tests.engine.probing.analyses.cases import HEXAPAWN, Solved
from tests.support.network.network_cases import lively_network

CONFIG = AnalysisConfig(untrained=2, resamples=50, plies=3)


def subjects(trunk: str = "geometric", variant: str = "hexapawn") -> list[Subject]:
    return [
        Subject(name=str(seed), step=seed, load=partial(lively_network, variant, trunk, seed))
        for seed in (1, 2)
    ]


def first_moves(network: VariantNetwork, rows: Rows) -> np.ndarray:
    table = move_table(rows, HEXAPAWN)
    return table.moves[table.offsets[:-1]]


def test_a_run_s_analyses_are_those_of_each_network() -> None:
    solved = Solved("hexapawn")
    done: list[tuple[int, int]] = []
    concepts = {"always": np.ones(len(solved.rows))}
    found = analyse(
        subjects(),
        solved.rows,
        HEXAPAWN,
        truth=solved,
        concepts=concepts,
        search=Search(name="first move", moves=first_moves, positions=5),
        config=CONFIG,
        progress=lambda *step: done.append(step),
    )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [each.name for each in found.checkpoints] == ["1", "2"]
    network = lively_network("hexapawn", "geometric", 2)
    last = found.checkpoints[-1]
    assert last.lens == lens(network, solved.rows, solved, resamples=50)
    assert last.piece_values == piece_values(network, solved.rows, solved, resamples=50)
    alone = attention_scores(network, solved.rows, solved, untrained=2, resamples=50)
    assert last.attention == alone
    assert len(last.opening.line) == 3
    assert found.play is not None
    assert [each.concept for each in found.play.concepts] == ["all decisions", "always"]
    assert found.play.concepts[0].searched == 5
    text = json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert '"best move"' in text
    # Made before the workers begin, whose order is any.
    made = {each.name: each.load() for each in subjects()}
    again = analyse(
        [
            dataclasses.replace(each, load=partial(made.__getitem__, each.name))
            for each in subjects()
        ],
        solved.rows,
        HEXAPAWN,
        truth=solved,
        concepts=concepts,
        search=Search(name="first move", moves=first_moves, positions=5),
        config=dataclasses.replace(CONFIG, workers=3),
    )
    assert found == again


def test_the_lens_of_the_last_network_may_see_more_positions() -> None:
    solved = Solved("hexapawn")
    few = solved.rows[::3]
    found = analyse(
        subjects(), few, HEXAPAWN, truth=solved, more=solved.rows, config=CONFIG
    ).checkpoints
    assert [each.lens.positions for each in found] == [len(few), len(solved.rows)]
    network = lively_network("hexapawn", "geometric", 2)
    assert found[-1].lens == lens(network, solved.rows, solved, resamples=50)
    assert found[-1].piece_values == piece_values(network, few, solved, resamples=50)


@pytest.mark.parametrize("trunk", ["geometric", "residual"])
def test_a_game_that_is_not_solved_has_what_needs_no_truth(trunk: str) -> None:
    gardner = get_variant("gardner")
    rows = np.stack([Position("gardner").row, Position("gardner", "k4/5/5/4P/4K w").row])
    found = analyse(subjects(trunk, "gardner"), rows, gardner, config=CONFIG)
    assert found.play is None
    assert found.checkpoints[0].lens.best_move is None
    assert (found.checkpoints[0].attention.absent is None) == (trunk == "geometric")
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_one_network_is_in_memory_at_a_time() -> None:
    alive: list[weakref.ref[PolicyValueNet]] = []

    def load(seed: int) -> PolicyValueNet:
        assert not any(each() is not None for each in alive)
        network = lively_network("hexapawn", "geometric", seed)
        alive.append(weakref.ref(network))
        return network

    rows = Solved("hexapawn").rows[:20]
    each = [Subject(name=str(s), step=s, load=partial(load, s)) for s in range(3)]
    analyse(each, rows, HEXAPAWN, config=dataclasses.replace(CONFIG, resamples=5))
    assert len(alive) == 4


def test_repeated_names_no_checkpoint_and_no_control_are_refused() -> None:
    rows = Solved("hexapawn").rows
    one = subjects()[0]
    with pytest.raises(InputError, match="checkpoints 1, 1"):
        analyse([one, one], rows, HEXAPAWN)
    with pytest.raises(InputError, match="checkpoints none"):
        analyse([], rows, HEXAPAWN)
    with pytest.raises(InputError, match="squares: labels \\[70, 9\\] for 70 positions"):
        analyse(
            [one],
            rows,
            HEXAPAWN,
            truth=Solved("hexapawn"),
            config=CONFIG,
            concepts={"squares": np.zeros((70, 9))},
        )
    tower = Subject(name="tower", step=3, load=partial(lively_network, "hexapawn", "residual"))
    with pytest.raises(InputError, match="1 is of another build than tower: trunk = 'transformer'"):
        analyse([one, tower], rows, HEXAPAWN, config=CONFIG)
    with pytest.raises(InputError, match="untrained = 0"):
        analyse([one], rows, HEXAPAWN, config=dataclasses.replace(CONFIG, untrained=0))
