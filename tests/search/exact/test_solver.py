"""The solver against published counts, a dull solver on the naive rules, and its own promises."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.tables import CLOCK
from engine.rules.variant import Variant, get_variant
from scripts.commands import solve as command
from search.exact.position_count import sampled_count
from search.exact.solution import Solution, UnreachablePositionError
from search.exact.solver import estimate_positions, load_or_solve, solve
from tests.support.search.solver_cases import known_positions, row_of, strange_game

GOLDEN_FILE = Path(__file__).resolve().parents[2] / "golden" / "hexapawn.tsv"
GOLDEN = [
    tuple(int(field) for field in line.split("\t"))
    for line in GOLDEN_FILE.read_text().splitlines()
    if line[0].isdigit()
]
HEXAPAWN = get_variant("hexapawn")
SMALL = [
    *(get_variant(name) for name in ("hexapawn", "hexapawn4x3", "hexapawn3x4", "hexapawn2x5")),
    *(strange_game(name) for name in ("passing", "kinds", "broad", "giveaway", "promoting")),
]


def name_of(variant: Variant) -> str:
    return variant.name


@pytest.mark.parametrize(("width", "height", "reachable", "winner", "plies"), GOLDEN)
def test_golden(width: int, height: int, reachable: int, winner: int, plies: int) -> None:
    solution = solve(get_variant(f"hexapawn{width}x{height}"))
    assert solution.position_count == reachable
    assert (solution.winner, solution.plies) == (winner, plies)


@pytest.mark.nojit
def test_what_is_known_of_3x3() -> None:
    solution = solve(HEXAPAWN)
    assert len(solution.positions()) == solution.position_count == 135
    assert len(solution.unfinished_positions()) == 70
    decisions = solution.decision_positions()
    white_to_move = decisions[:, HEXAPAWN.squares] == 0
    assert (len(decisions), int(white_to_move.sum())) == (27, 8)
    assert (solution.winner, solution.plies) == (2, 6)
    assert solution.value(HEXAPAWN.start_row) == -1


def test_what_is_known_of_4x4() -> None:
    solution = solve(get_variant("hexapawn4x4"))
    assert len(solution.unfinished_positions()) == 11420
    assert len(solution.decision_positions()) == 5073


@pytest.mark.parametrize("variant", SMALL, ids=name_of)
def test_agrees_with_a_dull_solver(variant: Variant) -> None:
    solution, known = solve(variant), known_positions(variant)
    assert solution.position_count == len(known)
    rows = np.stack([row_of(variant, text) for text in known])
    assert {row.tobytes() for row in solution.positions()} == {row.tobytes() for row in rows}
    values, distances = solution.lookup_batch(rows)
    assert values.tolist() == [position.value for position in known.values()]
    assert distances.tolist() == [position.distance for position in known.values()]
    unfinished = {row_of(variant, text).tobytes() for text, at in known.items() if at.moves}
    assert {row.tobytes() for row in solution.unfinished_positions()} == unfinished
    decisions = {
        row_of(variant, text).tobytes()
        for text, at in known.items()
        if len({value for value, _ in at.moves.values()}) > 1
    }
    assert {row.tobytes() for row in solution.decision_positions()} == decisions


@pytest.mark.parametrize("variant", SMALL, ids=name_of)
def test_best_moves_agree_with_a_dull_solver(variant: Variant) -> None:
    solution = solve(variant)
    for text, known in known_positions(variant).items():
        row = row_of(variant, text)
        position = Position.from_row(row, variant)
        kept = {position.uci(int(move)) for move in solution.value_preserving_moves(row)}
        best = {position.uci(int(move)) for move in solution.optimal_moves(row)}
        outcome = (known.value, known.distance)
        assert kept == {move for move, (value, _) in known.moves.items() if value == known.value}
        assert best == {move for move, after in known.moves.items() if after == outcome}


def test_games_in_these_tests_have_draws_and_en_passant() -> None:
    passing = known_positions(strange_game("passing"))
    assert any(text.split()[3] != "-" for text in passing)
    for name in ("passing", "promoting"):
        values = {at.value for at in known_positions(strange_game(name)).values()}
        assert values == {-1, 0, 1}


@pytest.mark.nojit
def test_clock_does_not_matter_and_unreachable_positions_are_refused() -> None:
    solution = solve(HEXAPAWN)
    row = HEXAPAWN.start_row.copy()
    row[HEXAPAWN.squares + CLOCK] = 7
    assert solution.distance(row) == 6
    stranger = row_of(HEXAPAWN, "ppp/P2/PPP w - -")
    for look in (solution.value, solution.distance):
        with pytest.raises(UnreachablePositionError, match="ppp/P2/PPP w"):
            look(stranger)
    with pytest.raises(UnreachablePositionError, match="ppp/P2/PPP w"):
        solution.lookup_batch(np.stack([row, stranger]))
    # The stranger itself is not looked up here, but what its moves lead to is.
    with pytest.raises(UnreachablePositionError, match="ppp/P2/PPP w"):
        solution.optimal_moves(stranger)


def test_finished_positions_have_no_moves() -> None:
    solution = solve(HEXAPAWN)
    finished = row_of(HEXAPAWN, "pP1/P1p/1P1 b - -")
    assert (solution.value(finished), solution.distance(finished)) == (-1, 0)
    assert len(solution.optimal_moves(finished)) == 0
    assert len(solution.value_preserving_moves(finished)) == 0


def test_memory_is_counted_and_small() -> None:
    for variant in (get_variant("hexapawn5x4"), get_variant("hexapawn4x4"), HEXAPAWN):
        solution = solve(variant)
        assert solution.report is not None
        per_position = solution.report.peak_bytes / solution.position_count
        # A full table at its highest load is 12 bytes a position and 13.3 with its free slots.
        assert 13 < per_position < 40


@pytest.mark.parametrize("error", [0, 1, 3])
def test_limit_is_kept(error: int) -> None:
    variant = get_variant("hexapawn5x4")
    with pytest.raises(InputError) as caught:
        solve(variant, limit_bytes=1 << 20 >> error)
    message = str(caught.value)
    assert message.startswith("hexapawn5x4: about ")
    assert "positions" in message
    assert message.endswith("; raise the limit")
    assert "\n" not in message
    solution = solve(variant, limit_bytes=10 << 20)
    assert solution.report is not None
    assert solution.report.peak_bytes <= 10 << 20


def test_a_limit_that_the_estimate_let_pass_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.exact.solver.sampled_count", lambda *_: 1)
    with pytest.raises(InputError, match=r"hexapawn5x4: [\d,]+ positions fill .* raise the limit"):
        solve(get_variant("hexapawn5x4"), limit_bytes=1 << 20)


def test_giants_are_refused_at_once() -> None:
    with pytest.raises(InputError, match=r"breakthrough: 1,000,000,000,000 positions or more"):
        solve(get_variant("breakthrough"))


@pytest.mark.parametrize("name", ["gardner", "chess", "4x5chess"])
def test_reversible_games_are_refused(name: str) -> None:
    for attempt in (solve, estimate_positions):
        with pytest.raises(InputError, match=f"^{name}: only games in which no move"):
            attempt(get_variant(name))


def test_games_that_a_clock_may_draw_are_refused() -> None:
    with pytest.raises(InputError, match="nMoveRule of 3"):
        solve(strange_game("clocked"))


def test_estimates_of_small_games_are_exact() -> None:
    estimate = estimate_positions(get_variant("hexapawn4x4"))
    assert (estimate.positions, estimate.exact) == (20286, True)
    # A sample that holds every level counts, too.
    assert sampled_count(HEXAPAWN, np.random.default_rng(1)) == 135
    assert sampled_count(strange_game("broad"), np.random.default_rng(1)) == len(
        known_positions(strange_game("broad"))
    )


@pytest.mark.parametrize(
    ("variant", "truth"),
    [
        (get_variant("hexapawn5x4"), 359_894),
        (get_variant("hexapawn4x5"), 118_133),
        (get_variant("hexapawn6x3"), 64_074),
        # Counted by the solver itself.
        (strange_game("breakthrough4x4"), 387_693),
    ],
    ids=["hexapawn5x4", "hexapawn4x5", "hexapawn6x3", "breakthrough4x4"],
)
def test_estimates_of_larger_games(variant: Variant, truth: int) -> None:
    estimate = estimate_positions(variant, counted=1000)
    assert not estimate.exact
    assert truth / 1.5 < estimate.positions < truth * 1.5
    assert estimate.bytes < 40 * estimate.positions
    # A sample of 1 in 1,000 gives at least the order of magnitude.
    small = sampled_count(variant, np.random.default_rng(2), sample=truth // 1000)
    assert truth / 3 < small < truth * 3


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    solve(get_variant("hexapawn5x4"), progress=lambda done, all_: told.append((done, all_)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[0][0] == 0
    assert told[-1][0] == 359_894
    assert all(done <= expected for done, expected in told)


@pytest.mark.parametrize("name", ["hexapawn3x4", "broad"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    variant = strange_game(name) if name == "broad" else get_variant(name)
    solution = solve(variant)
    path = tmp_path / "game.solution"
    solution.save(path)
    loaded = Solution.load(path, variant)
    rows = solution.positions()
    np.testing.assert_array_equal(loaded.positions(), rows)
    for ours, theirs in zip(loaded.lookup_batch(rows), solution.lookup_batch(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (loaded.winner, loaded.plies) == (solution.winner, solution.plies)
    assert loaded.report is None
    assert [file.name for file in tmp_path.iterdir()] == ["game.solution"]
    assert path.stat().st_size < 40 * len(rows) + 1000


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "empty":
        content = bytearray()
    elif kind == "flipped":
        content[-100] ^= 4
    elif kind == "foreign":
        content = bytearray(safetensors.numpy.save({"keys": np.zeros((3, 2), np.uint32)}))
    else:
        content = bytearray(b"not a tensor in sight" * 9)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["truncated", "empty", "flipped", "foreign", "text"])
def test_damaged_files_are_refused_and_caches_renewed(kind: str, tmp_path: Path) -> None:
    load_or_solve(HEXAPAWN, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    assert load_or_solve(HEXAPAWN, tmp_path / "cache").report is None
    damage(path, kind)
    with pytest.raises(InputError) as caught:
        Solution.load(path, HEXAPAWN)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert load_or_solve(HEXAPAWN, tmp_path / "cache").report is not None
    assert load_or_solve(HEXAPAWN, tmp_path / "cache").report is None


def test_solutions_of_other_rules_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.solution"
    solve(HEXAPAWN).save(path)
    with pytest.raises(InputError, match="a solution of 'hexapawn' by other rules than those of"):
        Solution.load(path, get_variant("hexapawn4x3"))
    with pytest.raises(FileNotFoundError):
        Solution.load(tmp_path / "none.solution", HEXAPAWN)


def test_command_prints_figures_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kept.solution"
    assert command.main(["hexapawn", "--json", "--out", str(path)]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"positions", "winner", "plies", "seconds", "bytes_per_position"}
    assert (figures["positions"], figures["winner"], figures["plies"]) == (135, 2, 6)
    assert figures["seconds"] > 0
    assert Solution.load(path, HEXAPAWN).position_count == 135


def test_command_speaks_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["hexapawn4x4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "hexapawn4x4: the side that moves first wins, in 11 plies"
    assert lines[1].startswith("20,286 positions in ")
    assert "bytes a position" in lines[2]


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 << 30), ("500MB", 500_000_000), ("64k", 65_536), ("1.5 MiB", 1_572_864), ("9", 9)],
)
def test_sizes(text: str, size: int) -> None:
    assert command.parse_size(text) == size


@pytest.mark.parametrize("words", [["--limit", "much"], ["--limit", "-1"], ["--out", "no/such/x"]])
def test_command_refuses_bad_words_before_it_starts(words: list[str]) -> None:
    with pytest.raises(InputError, match=words[1] if "o" in words[1] else "limit"):
        command.main(["hexapawn", *words])


def resign(path: Path, change: Callable[[dict[str, Any]], None], order: tuple[str, str]) -> None:
    """Change arrays of a table, with a checksum that fits again."""
    with safetensors.safe_open(path, framework="np") as file:
        about, arrays = file.metadata(), {name: file.get_tensor(name) for name in order}
    change(arrays)
    digest = hashlib.sha256()
    for name in order:
        digest.update(np.ascontiguousarray(arrays[name]).data)
    about["checksum"] = digest.hexdigest()
    path.write_bytes(safetensors.numpy.save(arrays, about))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.update(keys=arrays["keys"][:, :1].copy()),
        lambda arrays: arrays.update(keys=arrays["keys"][::-1].copy()),
        lambda arrays: arrays.update(keys=arrays["keys"].astype(np.int64)),
        lambda arrays: arrays.update(scores=arrays["scores"][:-1].copy()),
        lambda arrays: arrays.update(scores=arrays["scores"].astype(np.float32)),
    ],
    ids=["narrow", "backwards", "wide numbers", "a score short", "scores in halves"],
)
def test_a_solution_whose_checksum_fits_is_still_looked_at(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    solution = solve(HEXAPAWN)
    path = tmp_path / "hexapawn.solution"
    solution.save(path)
    assert Solution.load(path, HEXAPAWN).position_count == solution.position_count
    resign(path, change, ("keys", "scores"))
    with pytest.raises(
        InputError, match=f"^{path}: damaged, its keys are not those of this game's positions"
    ):
        Solution.load(path, HEXAPAWN)
