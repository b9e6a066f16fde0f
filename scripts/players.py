"""Players as the commands make them: where their networks and solutions come from.

A checkpoint is written as a file, as a run directory (its last checkpoint counts), or not at all:
then the newest run of the game under `runs/` serves, or else a network that came with the program.
"""

import functools
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

import engine
from engine.player import Player
from engine.rules.errors import InputError
from engine.rules.variant import Variant
from engine.system.files import cache_folder
from search.evaluator import Evaluator
from search.exact.solver import Solution, estimate_positions, load_or_solve
from search.exact.tablebase.file import table_names
from search.exact.tablebase.tables import Tablebases
from search.players.builtin import make_player
from search.players.tablebase import PerfectEndgamePlayer, with_tablebases
from training.data.run_directory import RunError, checkpoint_of, run_checkpoints

if TYPE_CHECKING:
    from engine.network.language.move_predictor import MovePredictor

RUNS: Final = Path("runs")
SHIPPED: Final = Path(engine.__file__).with_name("weights")
NETWORK_PLAYER: Final = "mcts:400"
SEARCH_PLAYER: Final = "alphabeta:4"
_KEPT_EVALUATORS: Final = 16
_CALIBRATION: Final = 1024
"""Positions on which int8 finds its scales."""

PrecisionName = Literal["auto", "fp32", "bf16", "int8"]
"""In which numbers a player's network is computed."""
_LOOK_UP: Final = ("alphabeta", "gumbel", "mcts")
"""Players that look endgames up."""


def newest_checkpoint(variant: Variant) -> Path | None:
    """The last checkpoint of the newest run of these rules, else the one that was shipped."""
    return _newest(lambda path: _is_for(path, variant))


def newest_language(variant: Variant) -> Path | None:
    """As `newest_checkpoint`, of move language models."""
    return _newest(lambda path: _is_language_of(path, variant))


def _newest(serves: Callable[[Path], bool]) -> Path | None:
    last: list[Path] = []
    for run in RUNS.glob("*"):
        with suppress(RunError):
            last.append(run_checkpoints(run)[-1])
    last.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in [*last, *sorted(SHIPPED.glob("*.safetensors"))]:
        if serves(path):
            return path
    return None


def _is_for(path: Path, variant: Variant) -> bool:
    """Whether a network was trained for the game, or for it among others; False for a file that is
    damaged."""
    from engine.network.checkpoint import read_description

    try:
        return read_description(path).is_for(variant)
    except (InputError, OSError):
        return False


def _is_language_of(path: Path, variant: Variant) -> bool:
    """As `_is_for`, of a move language model."""
    from engine.network.language.checkpoint import read_language

    try:
        return read_language(path).variant_digest == variant.digest
    except (InputError, OSError):
        return False


def find_checkpoint(text: str | None, variant: Variant) -> Path:
    """The file that the text names; raises InputError where it names none."""
    if text is not None:
        return checkpoint_of(Path(text))
    newest = newest_checkpoint(variant)
    if newest is None:
        raise InputError(
            f"there is no network for {variant.name} under {RUNS}/: train one with"
            f" 'pawnscope train {variant.name}', or name a checkpoint"
        )
    return newest


def load_evaluator(
    text: str | None, variant: Variant, precision: PrecisionName = "auto"
) -> Evaluator:
    """The network that the text names, ready to judge by the fastest backend of the precision.

    Who asks for the same again is given the same: backends are tried for half a second each time.
    Raises InputError for a checkpoint that is missing, damaged or for other rules, for a precision
    that cannot be had, and OSError.
    """
    import torch

    # One game asks about one position at a time: a second thread would only be waited for.
    torch.set_num_threads(1)
    path = find_checkpoint(text, variant)
    found = path.stat()
    file = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
    return _loaded(path, file, variant, precision)


@functools.lru_cache(maxsize=_KEPT_EVALUATORS)
def _loaded(
    path: Path, file: tuple[int, ...], variant: Variant, precision: PrecisionName
) -> Evaluator:
    """`file` tells a file from another, also from one that has been put in its place."""
    from engine.network.checkpoint import load_checkpoint
    from engine.network.inference.evaluator import make_evaluator

    network = load_checkpoint(path, variant=variant).network
    calibration = _calibration(path, variant) if precision == "int8" else None
    return make_evaluator(network, precision=precision, calibration=calibration)


def find_language(text: str | None, variant: Variant) -> Path:
    """The file that the text names; raises InputError where it names none."""
    if text is not None:
        return checkpoint_of(Path(text))
    newest = newest_language(variant)
    if newest is None:
        raise InputError(
            f"there is no language model of {variant.name} under {RUNS}/: train one with"
            f" 'pawnscope language train {variant.name}', or name a checkpoint"
        )
    return newest


def load_language(text: str | None, variant: Variant) -> "MovePredictor":
    """The move language model that the text names, ready to predict moves.

    Raises InputError for a checkpoint that is missing, damaged or for other rules, and OSError.
    """
    import torch

    from engine.network.language.checkpoint import load_language as load
    from engine.network.language.move_predictor import MovePredictor

    torch.set_num_threads(1)
    loaded = load(find_language(text, variant), variant=variant)
    return MovePredictor(loaded.model, loaded.tokenizer, variant)


def _calibration(checkpoint: Path, variant: Variant) -> npt.NDArray[np.uint8]:
    """Positions uint8[N, R] of the newest games of the run that a checkpoint is from."""
    from training.data.shards import load_games, newest_shard

    games = newest_shard(checkpoint.resolve().parent.parent / "games", variant)
    if games is None:
        raise InputError(f"{checkpoint}: int8 finds its scales on a run's games; there are none")
    return load_games(games, variant).positions[-_CALIBRATION:]


def solution_cache() -> Path | None:
    """Where solutions are kept between commands; None where there is no place for caches."""
    return cache_folder("solutions")


def load_solution(variant: Variant) -> Solution:
    """The exact solution, from the cache or newly solved with a progress bar; raises InputError."""
    with tqdm(
        desc=f"solving {variant.name}",
        unit=" positions",
        unit_scale=True,
        leave=False,
        delay=0.5,
        disable=None,
    ) as bar:

        def progress(done: int, expected: int) -> None:
            bar.total = expected
            bar.update(done - bar.n)

        return load_or_solve(variant, solution_cache(), progress=progress, not_kept=_tell_not_kept)


def _tell_not_kept(problem: OSError) -> None:
    where = f": {problem.filename}" if problem.filename is not None else ""
    tqdm.write(f"the solution is not kept: {problem.strerror or problem}{where}", file=sys.stderr)


load_tablebases = functools.cache(Tablebases.load)
"""As `Tablebases.load`, once for all players."""


def has_tablebases(folder: Path, variant: Variant) -> bool:
    """Whether the folder has tables of the variant; raises OSError."""
    return any(table_names(folder, variant))


def player_of(
    spec: str,
    variant: Variant,
    rng: np.random.Generator,
    tablebases: Path | None = None,
    precision: PrecisionName = "auto",
) -> Player:
    """The player that a person wrote; raises InputError or OSError.

    With a folder of `tablebases`, which must have some of the variant, those who search look them
    up, and the perfect player of a game that cannot be solved from its start plays them.
    """
    tables = None if tablebases is None else load_tablebases(tablebases, variant)
    if tables is not None and spec == "perfect" and not variant.irreversible:
        return PerfectEndgamePlayer(tables)
    player = make_player(
        spec,
        variant,
        rng=rng,
        load_evaluator=functools.partial(load_evaluator, precision=precision),
        load_solution=load_solution,
        load_language=load_language,
    )
    if tables is None or spec.partition(":")[0] not in _LOOK_UP:
        return player
    return with_tablebases(player, tables)


def is_solved_quickly(variant: Variant) -> bool:
    """Whether the whole game is solved in about a second."""
    return variant.irreversible and estimate_positions(variant).exact


def default_player(variant: Variant, *, perfect: bool) -> str:
    """Who plays where nobody was named: a network, else (if `perfect`) the truth, else a search."""
    checkpoint = newest_checkpoint(variant)
    if checkpoint is not None:
        return f"{NETWORK_PLAYER}:{checkpoint}"
    if perfect and is_solved_quickly(variant):
        return "perfect"
    return SEARCH_PLAYER
