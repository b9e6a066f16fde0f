"""Tables on the disk: whole or not at all, refused when damaged or of other rules; the command."""

import hashlib
import json
import lzma
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from engine.rules.errors import InputError
from engine.rules.tables import CLOCK
from engine.rules.variant import Registry, get_variant
from scripts.cli import main
from scripts.commands import solve as command
from search.exact.stored import OtherRulesError
from search.exact.tablebase.file import read_table, write_table
from search.exact.tablebase.tables import Tablebases, solve_endgames
from search.scores import UNPROVEN

ROOT = Path(__file__).resolve().parents[3]
SILVERMAN = get_variant("silverman4x4")
FILES = {
    f"silverman4x4-{name}.tablebase" for name in ("KvK", "KNvK", "KBvK", "KRvK", "KQvK", "KPvK")
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    solve_endgames(SILVERMAN, 3, folder=tmp_path / "tables")
    return tmp_path / "tables"


def test_kept_and_read_again(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == FILES
    solved, _ = solve_endgames(SILVERMAN, 3)
    loaded = Tablebases.load(folder, SILVERMAN)
    assert loaded.men == 3
    assert set(loaded.names) == set(solved.names)
    old = {report.name: report for report in solved.reports()}
    for report in loaded.reports():
        rows = solved.positions(report.name)
        for ours, theirs in zip(loaded.lookup(rows), solved.lookup(rows), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert report.longest == old[report.name].longest
        assert report.positions == old[report.name].positions == len(rows)
        assert report.bytes == (folder / f"silverman4x4-{report.name}.tablebase").stat().st_size


def test_one_file_alone(folder: Path) -> None:
    loaded = Tablebases.load(folder / "silverman4x4-KRvK.tablebase", SILVERMAN)
    assert loaded.names == ("KRvK",)
    solved, _ = solve_endgames(SILVERMAN, 3)
    rows = solved.positions("KRvK")
    for ours, theirs in zip(loaded.lookup(rows), solved.lookup(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(loaded.lookup(solved.positions("KvK"))[0].tolist()) == {-2}


def test_games_share_a_folder(folder: Path) -> None:
    solve_endgames(get_variant("gardner"), 2, folder=folder)
    assert Tablebases.load(folder, get_variant("gardner")).names == ("KvK",)
    assert len(Tablebases.load(folder, SILVERMAN).names) == 6
    with pytest.raises(InputError, match="no tablebases of petty there; make them with"):
        Tablebases.load(folder, get_variant("petty"))
    with pytest.raises(FileNotFoundError):
        Tablebases.load(folder / "none", SILVERMAN)


def places(content: bytes | bytearray, tensor: str) -> tuple[int, int]:
    """Where a tensor begins and ends in a file."""
    head = int.from_bytes(content[:8], "little")
    start, end = json.loads(content[8 : 8 + head])[tensor]["data_offsets"]
    return 8 + head + start, 8 + head + end


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "empty":
        content = bytearray()
    elif kind.startswith("flipped"):
        start, end = places(content, kind.partition(" ")[2])
        content[(start + end) // 2] ^= 4
    elif kind == "without zeroing":
        with safetensors.safe_open(path, framework="numpy") as file:
            kept = {name: file.get_tensor(name) for name in ("codes", "legend")}
            content = bytearray(safetensors.numpy.save(kept, file.metadata()))
    elif kind == "longer":
        content += b"\0"
    elif kind == "foreign":
        content = bytearray(safetensors.numpy.save({"codes": np.zeros(9, np.uint8)}))
    else:
        content = bytearray(b"not a tensor in sight" * 9)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "kind",
    [
        *("truncated", "empty", "flipped codes", "flipped legend", "flipped zeroing", "longer"),
        *("foreign", "text", "without zeroing"),
    ],
)
def test_damaged_files_are_refused_and_made_again(kind: str, folder: Path) -> None:
    path = folder / "silverman4x4-KQvK.tablebase"
    damage(path, kind)
    with pytest.raises(InputError) as caught:
        Tablebases.load(folder, SILVERMAN)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    _, reports = solve_endgames(SILVERMAN, 3, folder=folder)
    assert [report.name for report in reports if report.seconds > 0] == ["KQvK"]
    assert len(Tablebases.load(folder, SILVERMAN).names) == 6


def test_files_of_the_first_format_are_read_and_made_again(folder: Path) -> None:
    for path in folder.iterdir():
        with safetensors.safe_open(path, framework="numpy") as file:
            packed, legend = file.get_tensor("codes"), file.get_tensor("legend")
            metadata = file.metadata()
        codes = lzma.decompress(
            packed.tobytes(), format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}]
        )
        metadata["format"] = "pawnscope-tablebase-1"
        metadata["checksum"] = hashlib.sha256(legend.tobytes() + codes).hexdigest()
        safetensors.numpy.save_file({"codes": packed, "legend": legend}, path, metadata)
    solved, _ = solve_endgames(SILVERMAN, 3)
    old = Tablebases.load(folder, SILVERMAN)
    rows = solved.positions("KPvK")
    for ours, theirs in zip(old.lookup(rows), solved.lookup(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert all(report.drawn_by_rule == 0 for report in old.reports())
    rows[:, SILVERMAN.squares + CLOCK] = 92
    values, distances = old.lookup(rows)
    late = (values != 0) & (92 + distances > 100) & (distances > 0)
    assert late.any()
    # What they say is right; near the move rule they say nothing.
    assert (old.values(rows)[late] == UNPROVEN).all()
    np.testing.assert_array_equal(old.values(rows)[~late], solved.values(rows)[~late])
    _, reports = solve_endgames(SILVERMAN, 3, folder=folder)
    assert all(report.seconds > 0 for report in reports)
    np.testing.assert_array_equal(
        Tablebases.load(folder, SILVERMAN).values(rows), solved.values(rows)
    )


def test_a_file_under_another_name_is_refused(folder: Path) -> None:
    (folder / "silverman4x4-KQvK.tablebase").rename(folder / "silverman4x4-KRvK.tablebase")
    with pytest.raises(InputError, match="holds 'KQvK', not KRvK"):
        Tablebases.load(folder, SILVERMAN)
    (folder / "silverman4x4-KRvK.tablebase").rename(folder / "silverman4x4-KQKvK.tablebase")
    with pytest.raises(InputError, match="'KQKvK' is no material of silverman4x4"):
        Tablebases.load(folder, SILVERMAN)


def test_other_rules_are_refused_and_left_alone(folder: Path) -> None:
    registry = Registry()
    text = (ROOT / "engine" / "rules" / "variants.ini").read_text()
    changed = text.replace("[silverman4x4:gardner]", "[silverman4x4:gardner]\nstalemateValue = win")
    registry.add_text(changed, "changed")
    other = registry.get("silverman4x4")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OtherRulesError, match="a tablebase of 'silverman4x4' by other rules"):
        Tablebases.load(folder, other)
    with pytest.raises(OtherRulesError):
        solve_endgames(other, 3, folder=folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    def interrupt(done: int, expected: int) -> None:
        if done > expected // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve_endgames(SILVERMAN, 3, folder=tmp_path, progress=interrupt)
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept
    assert kept < FILES
    _, reports = solve_endgames(SILVERMAN, 3, folder=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    reused = {f"silverman4x4-{report.name}.tablebase" for report in reports if not report.seconds}
    assert reused == kept


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("search.exact.tablebase.file.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        solve_endgames(SILVERMAN, 2, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_leavings_of_the_killed_are_swept_up(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f"silverman4x4-KvK.tablebase.{dead.pid}.partial"
    nobody = tmp_path / f"silverman4x4-KvK.tablebase.{10**20}.partial"
    at_work = tmp_path / f"silverman4x4-KvK.tablebase.{os.getppid()}.partial"
    for path in (left, nobody, at_work):
        path.write_bytes(b"half")
    solve_endgames(SILVERMAN, 2, folder=tmp_path)
    assert not left.exists()
    assert not nobody.exists()
    assert at_work.exists()


def test_killed_at_any_moment(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "scripts.cli", "solve", "silverman4x5", "--men", "4", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*words, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    end = time.monotonic() + 60
    while len(list(tmp_path.glob("*.tablebase"))) < 12 and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = list(tmp_path.glob("*.tablebase"))
    assert 12 <= len(found) < 36
    loaded = Tablebases.load(tmp_path, get_variant("silverman4x5"))
    assert len(loaded.names) == len(found)


def test_command_prints_figures_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["silverman4x4", "--men", "3", "--json", "--out", str(tmp_path / "new" / "folder")]
    assert command.main(words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["materials"] == len(figures["tables"]) == 6
    assert figures["positions"] == sum(table["positions"] for table in figures["tables"])
    assert figures["longest_mate_plies"] == 20
    assert figures["seconds"] > 0
    sizes = [path.stat().st_size for path in (tmp_path / "new" / "folder").iterdir()]
    assert figures["file_bytes"] == sum(sizes)
    assert figures["bytes"] > 0


def test_command_speaks_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["silverman4x4", "--men", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["material", "positions", "won", "lost", "plies", "longest"]
    assert lines[1].split()[:2] == ["KvK", "78"]
    assert re.fullmatch(
        r"silverman4x4: 6 tables of up to 3 men, [\d,]+ positions, longest 20 plies", lines[-2]
    )
    assert re.fullmatch(r"6 solved in .* s, 0 read; .* in memory", lines[-1])


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["gardner", "--men", "9"], "--men 9: expected 2 to 6 for gardner"),
        (["gardner", "--men", "many"], "--men 'many' is not a whole number of at least 2"),
        (
            ["chess", "--men", "4", "--limit", "1MB"],
            "4 men take 1.3 GiB .* limit of 976.6 KiB; raise the",
        ),
        (["gardner", "--men", "2", "--out", str(ROOT / "README.md")], "File exists"),
    ],
)
def test_command_refuses_bad_words(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["solve", *words]) == 2
    assert re.search(complaint, capsys.readouterr().err)


@pytest.mark.parametrize(
    "legend",
    [
        np.array([16385, 0], np.int16),
        np.array([0], np.int16),
        np.array([[0, 1]], np.int16),
        np.zeros(2, np.float32),
    ],
    ids=["beyond a win", "one short", "a table", "halves"],
)
def test_a_tablebase_whose_checksum_fits_is_still_looked_at(
    legend: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    codes, path = np.array([0, 1, 2], np.uint8), tmp_path / "a.tablebase"
    zeroing = np.zeros(3, np.uint8)
    write_table(path, SILVERMAN, "KvK", codes, np.array([16384, -32768], np.int16), zeroing)
    assert read_table(path, SILVERMAN, "KvK", 3)[0].tolist() == [0, 1, 2]
    write_table(path, SILVERMAN, "KvK", codes, legend, zeroing)
    with pytest.raises(InputError, match=f"^{path}: damaged, it holds numbers that are no scores"):
        read_table(path, SILVERMAN, "KvK", 3)
