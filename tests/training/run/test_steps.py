"""What a run reports before its first round, and that from Python it says nothing by itself."""

import math
from pathlib import Path
from typing import Any

import pytest

from engine.rules.variant import get_variant
from tests.support.training.run_cases import HEXAPAWN, SETTINGS, StopHere, Watch, train
from training.run.monitor import Monitor, Outlook, lowest_raw
from training.run.setup import open_directory, open_run


class Listener(Watch):
    """Notes in order what is reported before the first round."""

    def __init__(self, *, after: int) -> None:
        super().__init__(after=after)
        self.heard: list[str] = []
        self.outlook: Outlook | None = None

    def step(self, text: str) -> None:
        self.heard.append(text)

    def result(self, text: str) -> None:
        self.heard.append(f"  {text}")

    def session(self, outlook: Outlook) -> None:
        assert self.outlook is None
        self.outlook = outlook
        self.heard.append("session")


def test_each_step_is_reported_before_it_is_done(tmp_path: Path) -> None:
    first = Listener(after=1)
    settings: dict[str, Any] = {
        "self_play": SETTINGS["self_play"] | {"backend": "auto"},
        "learning": SETTINGS["learning"] | {"precision": "auto"},
        "minutes": 2.0,
    }
    train(tmp_path / "run", first, **settings)
    assert [text for text in first.heard if not text.startswith("  ")] == [
        "estimating how many positions hexapawn has",
        "solving hexapawn, for its truth curve",
        "session",
        "measuring precisions",
        "measuring backends of self-play",
        "measuring the network against the truth",
    ]
    precision, backend = (text for text in first.heard if text.startswith("  "))
    assert precision in ("  fp32 for the learner", "  bf16 for the learner")
    assert backend.split()[1] == "fp32"
    assert first.outlook == Outlook(round=None, games=0, seconds=0.0, limit=120.0)
    again = Listener(after=2)
    train(tmp_path / "run", again, **settings | {"minutes": math.inf, "stop_at_raw": 1.0})
    # Nothing is measured a second time.
    assert again.heard == [
        "estimating how many positions hexapawn has",
        "solving hexapawn, for its truth curve",
        "session",
        "reading the games that are learned from",
        "getting self-play ready",
        "measuring the network against the truth",
    ]
    (line,) = first.rounds
    assert again.outlook is not None
    assert (again.outlook.round, again.outlook.games) == (1, line["games"])
    assert again.outlook.seconds == pytest.approx(line["seconds"], abs=0.01)
    assert (again.outlook.limit, again.outlook.stop_at_raw) == (math.inf, 1.0)
    # The measurement before the first round and the one after it.
    assert [raw for _, raw in again.outlook.curve][-1] == line["truth"]["raw"]
    assert len(again.outlook.curve) == 2


def test_a_variant_that_is_not_solved_has_no_end_by_the_truth(tmp_path: Path) -> None:
    listener = Listener(after=0)

    def stop(outlook: Outlook) -> None:
        listener.outlook = outlook
        raise StopHere

    listener.session = stop  # type: ignore[method-assign]
    variant = get_variant("gardner")
    train(tmp_path / "run", listener, variant, stop_at_raw=1.0)
    assert listener.outlook is not None
    assert listener.outlook.stop_at_raw is None
    assert not listener.heard


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ({"round": 1}, None),
        ({"truth": {"raw": 0.75, "search": 1.0}}, 0.75),
        ({"truth": {"games": {"a": {"raw": 0.5}, "b": {"raw": 0.25}}}}, 0.25),
    ],
)
def test_of_several_variants_the_lowest_share_counts(
    values: dict[str, object], share: float | None
) -> None:
    assert lowest_raw(values) == share


@pytest.mark.parametrize(
    ("limit", "rounds", "share"),
    [(120.0, 0, 0.25), (20.0, 0, 1.0), (0.0, 0, 1.0), (math.inf, 0, None), (math.inf, 12, 0.5)],
)
def test_the_share_that_is_done(limit: float, rounds: int, share: float | None) -> None:
    outlook = Outlook(round=0, games=0, seconds=0.0, limit=limit, rounds=rounds)
    assert outlook.share_done(30.0, 6) == share


def test_from_python_a_training_is_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for minutes in (1e-6, 2e-6):
        settings = SETTINGS | {"minutes": minutes, "stop_at_raw": 1.0}
        with (
            open_directory(tmp_path / "run", HEXAPAWN, settings) as directory,
            open_run(directory, (HEXAPAWN,), Monitor()) as run,
        ):
            run.train()
    assert capfd.readouterr() == ("", "")
