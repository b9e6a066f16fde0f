"""What "auto" comes to belongs to the run: measured once, recorded, kept, and reported."""

import dataclasses
import hashlib
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from engine.network.inference import backend_evaluator
from engine.network.inference.backends import protocol
from engine.network.inference.evaluator import make_evaluator
from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.rules.variant import get_variant
from tests.support.training.run_cases import SETTINGS, Watch, state_of, train
from tests.support.training.training_cases import SMALL_NETWORK, self_play_config
from training.config import LearningConfig
from training.data import run_directory as directory_module
from training.data.run_directory import RunDirectory
from training.data.shards import describe_games, load_games
from training.learner.networks import build_network, settings_of
from training.run import choices as preparation
from training.run.choices import Choices
from training.run.monitor import Monitor
from training.selfplay import acting_evaluator as acting
from training.selfplay.acting_evaluator import ActingEvaluator
from training.selfplay.actors.processes import WorkerPool

HEXAPAWN = get_variant("hexapawn")
MEASURED: dict[str, Any] = {
    # Of one backend, because others take long to build.
    "self_play": SETTINGS["self_play"] | {"precision": "auto"},
    "learning": SETTINGS["learning"] | {"threads": 0, "precision": "auto"},
}


def timing(patch: pytest.MonkeyPatch, *, fastest: str, precision: str, cores: int = 1) -> None:
    """A machine on which this is what measuring finds."""

    def seconds(backend: Any) -> float:
        return 1.0 if f"{backend.name} {backend.precision}" == fastest else 2.0

    patch.setattr(backend_evaluator, "_seconds", seconds)
    patch.setattr(preparation, "faster_precision", lambda *_: precision)
    patch.setattr(preparation, "usable_cores", lambda: list(range(cores)))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds that began where torch in float32 was the fastest."""
    path = tmp_path_factory.mktemp("choices") / "run"
    with pytest.MonkeyPatch.context() as patch:
        timing(patch, fastest="torch fp32", precision="fp32")
        train(path, Watch(after=2), **MEASURED)
    return path


@pytest.fixture
def first(begun: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(begun, tmp_path / "run"))


def chosen(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = tomllib.loads((path / "config.toml").read_text())["chosen"]
    return values


def evaluators(path: Path) -> list[str]:
    """What played the games of each round."""
    return [
        describe_games(file)["source"]["evaluator"] for file in sorted((path / "games").iterdir())
    ]


def digests(path: Path) -> list[str]:
    """Of each round's games, and last of the weights."""
    found = []
    for file in sorted((path / "games").iterdir()):
        rows = load_games(file, HEXAPAWN)
        found.append(rows.positions.tobytes() + rows.moves.tobytes() + rows.policy.tobytes())
    state = state_of(path)
    found.append(b"".join(state[name].numpy().tobytes() for name in sorted(state)))
    return [hashlib.sha256(text).hexdigest() for text in found]


FIRST = {"threads": 1, "precision": "fp32", "split": "", "inference": ["torch fp32"]} | {
    "inference_settings": "torch auto"
}


def test_a_resumed_run_keeps_what_was_chosen(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(first) == FIRST
    log = (first / "log.txt").read_text()
    assert "the learner computes in fp32" in log
    assert "self-play is computed by torch fp32" in log
    timing(monkeypatch, fastest="torch bf16", precision="bf16", cores=4)
    watch = Watch(after=4)
    train(first, watch, **MEASURED)
    assert chosen(first) == FIRST
    assert evaluators(first) == ["torch fp32"] * 4
    assert watch.notes == []
    assert (first / "log.txt").read_text() == log


def test_the_same_seed_gives_the_same_games_with_the_same_choice(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing(monkeypatch, fastest="torch bf16", precision="bf16")
    train(tmp_path / "same", Watch(after=2), **MEASURED, chosen=chosen(first))
    assert digests(tmp_path / "same") == digests(first)
    # With another choice it is another run.
    train(tmp_path / "other", Watch(after=2), **MEASURED)
    assert chosen(tmp_path / "other") == FIRST | {
        "precision": "bf16",
        "inference": ["torch bf16"],
    }
    assert digests(tmp_path / "other")[-1] != digests(first)[-1]


def test_a_run_of_before_records_its_choice_at_its_next_start(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (first / "config.toml").read_text()
    (first / "config.toml").write_text(text[: text.index("\n[chosen]")])
    timing(monkeypatch, fastest="torch bf16", precision="bf16")
    watch = Watch(after=3)
    train(first, watch, **MEASURED, minutes=7.0)
    assert chosen(first) == FIRST | {"precision": "bf16", "inference": ["torch bf16"]}
    assert watch.notes == []
    # What was asked for this session alone has not come into the file with it.
    assert tomllib.loads((first / "config.toml").read_text())["minutes"] == 5.0


def test_a_choice_that_a_machine_cannot_keep_is_replaced_and_reported(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (first / "config.toml").read_text()
    assert '"torch fp32"' in text
    (first / "config.toml").write_text(
        text.replace('"torch fp32"', '"openvino bf16"').replace(
            'threads = 1\nprecision = "fp32"', 'threads = 64\nprecision = "fp32"'
        )
    )
    monkeypatch.setitem(sys.modules, "openvino", None)
    timing(monkeypatch, fastest="torch bf16", precision="bf16", cores=1)
    watch = Watch(after=3)
    train(first, watch, **MEASURED)
    assert chosen(first) == FIRST | {"threads": 1, "inference": ["torch bf16"]}
    assert watch.notes[0].startswith("the learner had 64 threads, there are 1 cores here")
    assert watch.notes[1].startswith(
        "self-play was computed by openvino bf16, which cannot be used here"
    )
    assert "openvino is not installed" in watch.notes[1]
    assert "torch bf16 from now on" in watch.notes[1]
    log = (first / "log.txt").read_text().splitlines()
    assert log[-2:] == watch.notes


def test_a_network_that_needs_a_higher_precision_falls_back_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing(monkeypatch, fastest="torch bf16", precision="fp32")
    objection = backend_evaluator.BackendEvaluator._objection
    updates = [0]

    def refuse(self: Any, backend: Any, exact: Any) -> str | None:
        updates[0] += 1
        if backend.precision == "bf16" and updates[0] > 6:
            return "too far from the truth"
        return objection(self, backend, exact)

    monkeypatch.setattr(backend_evaluator.BackendEvaluator, "_objection", refuse)
    watch = Watch(after=6)
    settings = MEASURED["self_play"] | {"positions": 8, "simulations": 1}
    path = tmp_path / "run"
    train(path, watch, self_play=settings, learning=MEASURED["learning"], measure_seconds=1e9)
    found = evaluators(path)
    assert {found[0], found[-1]} == {"torch bf16", "torch fp32"}
    assert found == sorted(found), "the fall-back stays"
    assert chosen(path)["inference"] == ["torch fp32"]
    assert len(watch.notes) == 1
    assert "no longer agrees with the network: torch fp32 from now on" in watch.notes[0]


def test_what_comes_after_a_refusal_follows_an_order_and_no_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = PolicyValueNet(NetworkConfig.for_variant(HEXAPAWN, SMALL_NETWORK))
    asked: list[str] = []

    def make(net: Any, **settings: Any) -> Any:
        asked.append(f"{settings['backend']} {settings['precision']} {settings['device']}")
        if settings["backend"] == "native":
            raise protocol.BackendError("not any more")
        return make_evaluator(net, **settings)

    monkeypatch.setattr(acting, "make_evaluator", make)
    evaluator = ActingEvaluator(HEXAPAWN, self_play_config(), lambda: HEXAPAWN.start_row[None])
    evaluator._fall_back(network, "native int8")
    assert asked == ["native bf16 cpu", "native fp32 cpu", "torch fp32 cpu"]
    assert evaluator.account()["evaluator"] == "torch fp32"


def test_what_is_refused_on_a_gpu_goes_on_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    class OnGpu:
        """Stands for torch on a device that this machine need not have."""

        def __init__(self, choice: str) -> None:
            self.choice = choice

        def update(self, network: PolicyValueNet) -> None:
            raise protocol.RefusedError("too far from the truth")

    def make(net: Any, *, backend: str, precision: str, device: str, **settings: Any) -> OnGpu:
        asked.append((backend, precision, device))
        if precision == "bf16" and len(asked) > 1:
            raise protocol.RefusedError("still too far")
        return OnGpu(f"{backend} {precision} {device}")

    network = PolicyValueNet(NetworkConfig.for_variant(HEXAPAWN, SMALL_NETWORK))
    monkeypatch.setattr(acting, "make_evaluator", make)
    evaluator = ActingEvaluator(HEXAPAWN, self_play_config(), lambda: HEXAPAWN.start_row[None])
    evaluator.prepare(network, "torch bf16 cuda")
    evaluator.update(network)
    assert asked[1:] == [("torch", "bf16", "cuda"), ("torch", "fp32", "cuda")]
    assert evaluator.account()["evaluator"] == "torch fp32 cuda"


def test_a_file_with_what_was_chosen_asks_for_nothing(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the run's own configuration nor one from a machine with more cores."""
    timing(monkeypatch, fastest="torch bf16", precision="bf16", cores=2)
    train(first, Watch(after=3), **MEASURED, chosen=chosen(first))
    assert chosen(first) == FIRST
    path, elsewhere = tmp_path / "other", FIRST | {"threads": 8}
    for rounds in (1, 2):
        train(path, Watch(after=rounds), **MEASURED, chosen=elsewhere)
        assert chosen(path) == FIRST | {"threads": 2}


@pytest.mark.parametrize(
    ("kept", "note"),
    [
        (FIRST, "self-play was computed by torch fp32, which was not chosen for"),
        # As older versions left it.
        ({"inference": ["native bf16"]}, "self-play was computed by native bf16, which was not"),
    ],
)
def test_a_choice_for_other_settings_is_no_choice(
    kept: dict[str, Any], note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timing(monkeypatch, fastest="torch bf16", precision="fp32")
    asked = MEASURED | {"self_play": SETTINGS["self_play"] | {"precision": "bf16"}}
    watch, path = Watch(after=1), tmp_path / "run"
    train(path, watch, **asked, chosen=kept)
    assert evaluators(path) == ["torch bf16"]
    assert watch.notes[0].startswith(note)
    assert watch.notes[0].endswith(
        "for the settings 'torch bf16' of this run: torch bf16 from now on"
    )
    again = Watch(after=2)
    train(path, again, **asked)
    assert again.notes == []
    assert chosen(path)["inference_settings"] == "torch bf16"


@pytest.mark.parametrize("text", ["torch", "torch fp32 cpu cpu", "torch auto", "abacus fp32"])
def test_a_malformed_choice_is_replaced_and_reported(
    text: str, first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = (first / "config.toml").read_text()
    (first / "config.toml").write_text(config.replace('"torch fp32"', f'"{text}"'))
    timing(monkeypatch, fastest="torch bf16", precision="fp32")
    watch = Watch(after=3)
    train(first, watch, **MEASURED)
    assert chosen(first)["inference"] == ["torch bf16"]
    (note,) = watch.notes
    quoted = "'abacus'" if "abacus" in text else f"'{text}'"
    assert quoted in note


class Outgrown:
    """Actors whose network nothing computes any more but these."""

    def __init__(self, *able: str) -> None:
        self.able, self.asked = able, list[list[str]]()

    def prepare(self, orders: Any, wanted: Any) -> list[str]:
        self.asked.append(list(wanted))
        if any(choice not in self.able for choice in wanted):
            raise protocol.RefusedError("too far from the truth")
        return list(wanted) or ["torch bf16"] * len(orders)


def test_a_run_killed_before_it_tells_of_a_refusal_goes_on_in_the_same_order(
    tmp_path: Path,
) -> None:
    directory = RunDirectory(tmp_path / "run", HEXAPAWN, SETTINGS)
    choices = Choices(directory, Monitor())
    config = self_play_config(backend="auto", precision="auto")
    kept = ("native int8", "torch fp32")
    choices.record("at first", inference=kept, inference_settings="auto auto")
    actors: Any = Outgrown("native fp32", "torch fp32")
    found = preparation.prepare_actors(actors, [Any, Any], config, choices)  # type: ignore[list-item]
    # Nobody chose by time, and the other game keeps what it has.
    assert found == ["native fp32", "torch fp32"]
    assert list(choices.known.inference) == found
    assert [] not in actors.asked
    directory.close()


@pytest.mark.parametrize("known", ["workers", "threads"])
def test_who_computes_gradients_is_not_measured_again(known: str, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run", HEXAPAWN, SETTINGS)
    choices = Choices(directory, Monitor())
    choices.record("measured once", split=known)
    network = build_network(settings_of((HEXAPAWN,), directory.config))
    # Nothing of it may be touched.
    pool: Any = WorkerPool.__new__(WorkerPool)
    learning = LearningConfig(split="auto")
    hands = preparation.choose_gradient_workers((HEXAPAWN,), network, learning, pool, choices)
    assert hands is (pool if known == "workers" else None)
    directory.close()
    # It is in the file.
    again = RunDirectory(tmp_path / "run", HEXAPAWN, SETTINGS)
    assert again.config.chosen.split == known
    assert again.config == dataclasses.replace(directory.config, chosen=again.config.chosen)
    again.close()


def test_a_configuration_is_read_when_no_other_process_can_change_it(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = directory_module.lock

    def wait(path: Path) -> int:
        """The lock, just as another training gives it back."""
        monkeypatch.setattr(directory_module, "lock", lock)
        other = RunDirectory(path, HEXAPAWN, {})
        other.choose(dataclasses.replace(other.config.chosen, threads=3))
        other.close()
        return lock(path)

    monkeypatch.setattr(directory_module, "lock", wait)
    late = RunDirectory(first, HEXAPAWN, {})
    late.choose(dataclasses.replace(late.config.chosen, split="threads"))
    late.close()
    assert chosen(first) == FIRST | {"threads": 3, "split": "threads"}
