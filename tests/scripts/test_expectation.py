"""The line that says what the minutes of a training can do."""

import dataclasses
import math

import pytest

from engine.rules.variant import get_variant
from scripts import expectation as expectation_module
from scripts.expectation import ShippedRun, expectation, shipped_runs
from training.config import TrainingConfig, resolve

GARDNER = get_variant("gardner")
RUN = ShippedRun(
    variant=GARDNER,
    seconds=3000.0,
    positions=600_000,
    simulations=56,
    network=("residual", 5, 64),
)


def said(name: str, **changes: float) -> str | None:
    variants = tuple(map(get_variant, name.split("+")))
    return expectation(variants, resolve(variants, changes), [RUN])


def test_the_shipped_network_has_a_known_time() -> None:
    (run,) = shipped_runs()
    assert run.variant.name == "gardner"
    # engine/weights/README.md
    assert (round(run.seconds), run.positions) == (3113, 647_246)
    assert run.network == ("residual", 5, 64)
    assert run.rate_on(GARDNER, resolve(GARDNER, {})) == pytest.approx(647_246 / 3113, rel=1e-3)


def test_a_larger_board_takes_longer() -> None:
    # 200 positions a second on 25 squares, so 281,250 in an hour on 64.
    text = said("chess", minutes=60.0)
    assert text is not None
    assert text.startswith("chess: 64 squares, not solved; expect about 300,000 positions in 60")
    assert "a weak player" in text
    assert "gardner (25 squares) learned from 600,000 positions in 50 minutes" in text
    assert "44 million games" in text
    shorter = said("chess", minutes=1.0)
    assert shorter is not None
    assert "about 5,000 positions in 1 minute," in shorter


def test_more_simulations_take_longer() -> None:
    config = resolve(GARDNER, {"minutes": 5.0, "self_play": {"simulations": 560}})
    assert RUN.rate_on(GARDNER, config) == pytest.approx(20.0)
    text = expectation((GARDNER,), config, [RUN])
    assert text is not None
    assert "about 6,000 positions in 5 minutes" in text


def test_nothing_is_said_where_the_truth_will_tell_or_there_is_time_enough() -> None:
    assert said("hexapawn", minutes=1.0) is None
    assert said("gardner", minutes=50.0) is None
    assert said("gardner", minutes=49.0) is not None
    assert expectation((GARDNER,), resolve(GARDNER, {"minutes": 1.0}), []) is None


def test_no_number_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a network of which no time is known, nor for a training without an end."""
    # As it is found in seconds.
    monkeypatch.setattr(expectation_module, "is_solvable", lambda _: False)
    for text in (said("breakthrough", minutes=2.0), said("chess", minutes=math.inf)):
        assert text is not None
        assert "expect" not in text
    config: TrainingConfig = resolve(GARDNER, {"network": {"blocks": 9}, "minutes": 1.0})
    assert RUN.rate_on(GARDNER, config) is None


def test_a_small_board_with_much_time_is_not_called_weak() -> None:
    text = said("silverman4x4", minutes=60.0)
    assert text is not None
    assert "expect about 1,000,000 positions" in text
    assert "weak" not in text
    tenth = dataclasses.replace(RUN, positions=60_000)
    variant = get_variant("silverman4x4")
    less = expectation((variant,), resolve(variant, {"minutes": 1.0}), [tenth])
    assert less is not None
    assert "weak" in less
