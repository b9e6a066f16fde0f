"""What `train` says at its end."""

from pathlib import Path
from typing import Any

from scripts.commands import train as train_module
from training.evaluation.strength import write_ratings
from training.evaluation.truth import Reached
from training.run.monitor import Summary


def summary_of(reason: Any, **reached: Reached) -> Summary:
    return Summary(
        seconds=1.0,
        rounds=3,
        checkpoint=Path("x"),
        truth=None,
        truths={},
        reached=reached,
        reason=reason,
    )


def test_perfect_is_said_of_every_decision_only() -> None:
    whole = Reached(raw=1.0, measured=27, decision_positions=27)
    part = Reached(raw=1.0, measured=20_000, decision_positions=855_656)
    lower = Reached(raw=0.625, measured=27, decision_positions=27)
    assert (whole.perfect, part.perfect, lower.perfect) == (True, False, False)
    assert train_module._why(summary_of("perfect", hexapawn=whole)) == (
        "the raw network is perfect: all of its 27 decisions"
    )
    assert train_module._why(summary_of("reached", hexapawn=lower)) == (
        "the raw network keeps the value in 62.50% of its 27 decisions"
    )
    assert train_module._why(summary_of("reached", one=part, other=lower)) == (
        "the raw network keeps the value in one: all of a sample of 20,000 of its 855,656"
        " decisions; other: 62.50% of its 27 decisions"
    )
    assert train_module._why(summary_of("time")) == "its time is over"


def test_a_training_says_what_is_known_of_its_strength(tmp_path: Path) -> None:
    line = train_module.strength_line(tmp_path, "gardner", several=True)
    rates = f"'pawnscope evaluate {tmp_path} --game gardner --only ladder' rates it"
    assert line == f"gardner: not measured; {rates}"
    write_ratings(tmp_path, [{"name": "gumbel:64@9", "elo": 7}, {"name": "alphabeta:4", "elo": 5}])
    line = train_module.strength_line(tmp_path, "gardner", several=False)
    assert line == "gardner: +2 Elo against alphabeta:4, at step 9"
