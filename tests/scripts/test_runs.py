"""`pawnscope runs`: listing, removal, and the figures of runs in other formats."""

import csv
import io
import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from scripts import cli
from scripts.commands.runs import removal
from scripts.setup.checks import ROOT
from scripts.tensorboard import TensorBoardWriter
from scripts.terminal.training_bars import TrainingBars
from training.data.run_directory import lock

OLD_RUNS = ROOT / "tests" / "golden" / "old_runs"
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a self-play run and a language run in `runs`."""
    monkeypatch.chdir(tmp_path)
    for name in ("hexapawn", "language_hexapawn"):
        shutil.copytree(OLD_RUNS / name, tmp_path / "runs" / name)
    return tmp_path


def rows(text: str) -> dict[str, str]:
    return {line.split()[0]: line for line in text.splitlines()}


def test_runs_are_listed_with_what_they_learn_and_how_strong_they_are(
    folder: Path, capsys: Printed
) -> None:
    shutil.copytree(folder / "runs" / "hexapawn", folder / "runs" / "damaged")
    (folder / "runs" / "damaged" / "config.toml").write_text("variant = ")
    (folder / "runs" / "notes").mkdir()
    assert cli.main(["runs"]) == 0
    found = rows(capsys.readouterr().out)
    assert "notes" not in str(found)
    last = json.loads((folder / "runs/hexapawn/metrics.jsonl").read_text().splitlines()[-1])
    assert f"  {last['games']}  " in found["runs/hexapawn"]
    assert found["runs/hexapawn"].endswith("0.0 %")
    assert "hexapawn (language)" in found["runs/language_hexapawn"]
    assert "damaged: config.toml: " in found["runs/damaged"]


def test_sizes_and_shares_are_those_of_the_files(folder: Path, capsys: Printed) -> None:
    assert cli.main(["runs", "--json"]) == 0
    run = {Path(each["path"]).name: each for each in json.loads(capsys.readouterr().out)["runs"]}
    files = [path for path in (folder / "runs" / "hexapawn").rglob("*") if path.is_file()]
    assert run["hexapawn"]["files"] == len(files)
    assert run["hexapawn"]["bytes"] == sum(512 * path.stat().st_blocks for path in files)
    assert run["hexapawn"]["strengths"]["hexapawn"]["search"] == 1.0
    assert run["language_hexapawn"]["kind"] == "language"


def test_an_empty_folder_says_what_makes_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["runs"]) == 0
    assert "pawnscope train hexapawn" in capsys.readouterr().out
    assert cli.main(["runs", "delete"]) == 2
    assert "delete: neither a folder nor rm" in capsys.readouterr().err


class Terminal(io.StringIO):
    """A stream that a person sits at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "stays"), [("y\n", False), ("n\n", True), ("\n", True), ("", True)]
)
def test_a_run_is_removed_after_asking(
    answer: str, stays: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    monkeypatch.setattr("sys.stderr", screen)
    assert cli.main(["runs", "rm", "hexapawn", "runs/hexapawn"]) == 0
    assert (folder / "runs" / "hexapawn").exists() is stays
    assert sorted(os.listdir(folder / "runs")) == ["hexapawn"] * stays + ["language_hexapawn"]
    # A person who keeps the output in a file sees the question, and what it is about.
    assert screen.getvalue().startswith("runs/hexapawn: ")
    assert "remove this run? [y/N] " in screen.getvalue()
    expected = "nothing removed" if stays else "removed runs/hexapawn"
    assert capsys.readouterr().out == f"{expected}\n"


def test_a_run_is_named_from_inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "runs" / "hexapawn")
    assert cli.main(["runs", "rm", "--yes", "."]) == 0
    assert os.listdir(folder / "runs") == ["language_hexapawn"]


def test_a_project_of_another_program_is_no_run(folder: Path, capsys: Printed) -> None:
    project = folder / "runs" / "project"
    (project / "checkpoints").mkdir(parents=True)
    (project / "config.toml").write_text("learning_rate = 0.1\n")
    assert cli.main(["runs", "rm", "--yes", "project"]) == 2
    assert "project: not a training run" in capsys.readouterr().err
    assert (project / "config.toml").exists()
    # A copy of a run may lack its lock and the learner's state.
    (folder / "runs" / "hexapawn" / "learner.safetensors").unlink()
    assert cli.main(["runs"]) == 0
    assert rows(capsys.readouterr().out).keys() >= {"runs/hexapawn"}


def test_an_interrupted_removal_says_where_the_rest_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    assert cli.main(["runs", "rm", "--yes", "hexapawn"]) == cli.INTERRUPTED
    (rest,) = (folder / "runs").glob("hexapawn.*")
    assert f"runs/{rest.name}: what is left of runs/hexapawn\n" in capsys.readouterr().err


def test_nothing_is_removed_where_a_word_names_no_run(folder: Path, capsys: Printed) -> None:
    (folder / "notes").mkdir()
    for words, complaint in (
        (["runs/hexapawn", "nope"], "nope: no such run"),
        (["runs/hexapawn", "notes"], "notes: not a training run"),
        ([], "which runs?"),
    ):
        assert cli.main(["runs", "rm", "--yes", *words]) == 2
        assert complaint in capsys.readouterr().err
    assert (folder / "runs" / "hexapawn").exists()


def test_without_a_terminal_nothing_is_removed_unasked(folder: Path, capsys: Printed) -> None:
    assert cli.main(["runs", "rm", "hexapawn"]) == 2
    assert "--yes removes without asking" in capsys.readouterr().err
    assert (folder / "runs" / "hexapawn").exists()
    assert cli.main(["runs", "rm", "hexapawn", "--yes"]) == 0
    assert not (folder / "runs" / "hexapawn").exists()


def test_a_run_that_is_training_is_shown_and_stays(folder: Path, capsys: Printed) -> None:
    held = lock(folder / "runs" / "hexapawn")
    try:
        assert cli.main(["runs"]) == 0
        assert " now " in rows(capsys.readouterr().out)["runs/hexapawn"]
        assert cli.main(["runs", "rm", "hexapawn", "--yes"]) == 2
        assert f"process {os.getpid()} is training there" in capsys.readouterr().err
    finally:
        os.close(held)
    assert (folder / "runs" / "hexapawn" / "config.toml").exists()


def test_of_a_link_only_the_link_is_removed(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    (folder / "runs" / "hexapawn").rename(elsewhere)
    (folder / "runs" / "hexapawn").symlink_to(elsewhere)
    assert "a link; " in removal.remove(folder / "runs" / "hexapawn")
    assert not (folder / "runs" / "hexapawn").exists()
    assert (elsewhere / "config.toml").exists()


def test_a_csv_has_the_figures_of_every_line(folder: Path, capsys: Printed) -> None:
    assert cli.main(["runs", "csv", "hexapawn"]) == 0
    printed = capsys.readouterr().out
    table = list(csv.DictReader(printed.splitlines()))
    lines = [json.loads(line) for line in (folder / "runs/hexapawn/metrics.jsonl").open()]
    assert [int(row["round"]) for row in table] == [line["round"] for line in lines]
    assert table[0]["losses.policy"] == ""
    assert float(table[1]["losses.policy"]) == lines[1]["losses"]["policy"]
    assert table[1]["evaluator"] == lines[1]["evaluator"]
    assert cli.main(["runs", "csv", "hexapawn", "--out", "curve.csv"]) == 0
    assert (folder / "curve.csv").read_text() == printed


def test_tensorboard_reads_the_figures(folder: Path, capsys: Printed) -> None:
    for _ in range(2):
        # A second time the files are written anew and not twice.
        assert cli.main(["runs", "tensorboard", "hexapawn"]) == 0
    assert "tensorboard --logdir runs/hexapawn/tensorboard" in capsys.readouterr().out
    events = EventAccumulator(str(folder / "runs/hexapawn/tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (folder / "runs/hexapawn/metrics.jsonl").open()]
    expected = [(line["step"], line["losses"]["policy"]) for line in lines if "losses" in line]
    found = [(event.step, event.value) for event in events.Scalars("losses/policy")]
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected])
    assert cli.main(["runs", "tensorboard", "hexapawn", "--out", "runs"]) == 2
    assert "--out runs: exists already" in capsys.readouterr().err
    (folder / "runs/hexapawn/metrics.jsonl").write_text("")
    assert cli.main(["runs", "tensorboard", "hexapawn", "--out", "new"]) == 2
    assert "runs/hexapawn: it has no figures yet" in capsys.readouterr().err


def test_a_training_that_continues_writes_its_whole_curve_for_tensorboard(folder: Path) -> None:
    run = folder / "runs" / "hexapawn"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    # Left by an earlier session, which went further than the run's saved state.
    with closing(TensorBoardWriter(run, run / "tensorboard")) as writer:
        writer.add({"round": 0, "step": 999, "games": 1})
    bars = TrainingBars(run, quiet=True, tensorboard=True)
    with bars.training():
        bars.metrics(lines[-1])
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("games")] == [line["step"] for line in lines]
