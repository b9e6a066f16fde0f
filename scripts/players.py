"""Players for the commands: where their networks, solutions and endgame tables come from.

A checkpoint is written as a file, as a run directory (its last checkpoint), or not at all: then the
strongest network of the variant serves, of those under `runs/` and the shipped ones, by what is
measured of them (`training.evaluation.strength`). The newest serves where nothing is measured.
"""

import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

import engine
from engine.player import Player
from engine.rules.errors import InputError
from engine.rules.position import Position
from engine.rules.variant import Variant
from engine.system.files import cache_folder, described
from scripts.terminal.progress import detail, say, shows_bars, write_line
from search.evaluator import Evaluator
from search.exact.solution import Solution
from search.exact.solver import estimate_positions, load_or_solve
from search.exact.tablebase.tables import Tablebases
from search.players.builtin import PerfectPlayer
from search.players.external import DEFAULT_LIMITS
from search.players.language import LanguagePlayer
from search.players.make import is_deterministic, make_player
from search.players.tablebase import PerfectEndgamePlayer, with_tablebases
from training.evaluation.games.tags import PROGRAM, PlayerTags, time_control
from training.evaluation.strength import (
    RATINGS,
    REFERENCE,
    Strength,
    read_strength,
    strength_of_run,
)

# What loads torch is imported where a checkpoint is needed: other players start without it.
if TYPE_CHECKING:
    from engine.network.language.move_predictor import MovePredictor

RUNS: Final = Path("runs")
SHIPPED: Final = Path(engine.__file__).with_name("weights")
NETWORK_PLAYER: Final = "mcts:400"
SEARCH_PLAYER: Final = REFERENCE
_KEPT_EVALUATORS: Final = 16
_CALIBRATION: Final = 1024
"""Positions from which int8 takes its scales."""
_ENGINE_LIMIT: Final = re.compile(r":(?:nodes|movetime)=\d+\Z")
_WITH_NETWORK: Final = ("gumbel", "mcts", "policy")
_WITH_TABLES: Final = ("alphabeta", "gumbel", "mcts")
"""Kinds of players that probe endgame tables."""

PrecisionName = Literal["auto", "fp32", "bf16", "int8"]
"""The numbers in which a player's network is computed."""


class KnownCheckpoint(NamedTuple):
    """A checkpoint and what is known of its strength."""

    path: Path
    strength: Strength

    def __str__(self) -> str:
        return f"{self.path} ({self.strength})"


def strongest_checkpoint(variant: Variant) -> KnownCheckpoint | None:
    """The strongest network of these rules: by its measured strength, else the newest."""
    found = []
    for path in _newest_first(variant, _plays):
        if path.parent == SHIPPED:
            ratings, metrics = (path.with_suffix(end) for end in (f".{RATINGS}", ".metrics.jsonl"))
            strength = read_strength(metrics, ratings, variant.name)
        else:
            strength = strength_of_run(path.parent.parent, variant.name)
        found.append(KnownCheckpoint(path, strength))
    # Of equals the first.
    return max(found, key=lambda one: one.strength.order(), default=None)


def _newest_first(variant: Variant, serves: Callable[[Path, Variant], bool]) -> Iterator[Path]:
    """The last checkpoints of the runs that serve, newest first, then the shipped networks."""
    from training.data.run_directory import RunError, run_checkpoints

    last: list[Path] = []
    for run in RUNS.glob("*"):
        with suppress(RunError):
            last.append(run_checkpoints(run)[-1])
    last.sort(key=_changed, reverse=True)
    for path in [*last, *sorted(SHIPPED.glob("*.safetensors"))]:
        with suppress(InputError, OSError):
            if serves(path, variant):
                yield path


def _changed(path: Path) -> float:
    """When a file was last changed; 0 where a run that is training has removed it since."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _plays(path: Path, variant: Variant) -> bool:
    """Whether a network was trained on the variant, alone or among others."""
    from engine.network.checkpoint import read_description

    return read_description(path).is_for(variant)


def _speaks(path: Path, variant: Variant) -> bool:
    """Whether a file is a move language model of the variant."""
    from engine.network.language.checkpoint import read_language

    return read_language(path).variant_digest == variant.digest


def find_checkpoint(text: str | None, variant: Variant) -> Path:
    """The network's file that the text names, or the strongest; raises InputError for none."""
    from training.data.run_directory import checkpoint_of

    if text is not None:
        return checkpoint_of(Path(text))
    return _strongest(variant).path


def _strongest(variant: Variant) -> KnownCheckpoint:
    found = strongest_checkpoint(variant)
    if found is None:
        raise _nothing_found(variant, "network", "train")
    return found


@functools.cache
def _say_which(found: KnownCheckpoint, variant: Variant) -> None:
    """Say once which network was taken, where the person named none."""
    say(f"{variant.name}: the network {found}")


def _nothing_found(variant: Variant, what: str, command: str) -> InputError:
    return InputError(
        f"there is no {what} for {variant.name} under {RUNS}/: train one with"
        f" 'pawnscope {command} {variant.name}', or name a checkpoint"
    )


def load_evaluator(
    text: str | None, variant: Variant, precision: PrecisionName = "auto"
) -> Evaluator:
    """The network that the text names, with the fastest backend of the precision.

    Evaluators are kept, since choosing a backend takes half a second. Raises InputError for a
    checkpoint that is missing, damaged or for other rules, and for an unavailable precision, and
    OSError.
    """
    import torch

    # One game evaluates one position at a time: more threads would only cost time.
    torch.set_num_threads(1)
    if text is None:
        strongest = _strongest(variant)
        _say_which(strongest, variant)
        path = strongest.path
    else:
        path = find_checkpoint(text, variant)
    found = path.stat()
    file = found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
    return _loaded(path, file, variant, precision)


@functools.lru_cache(maxsize=_KEPT_EVALUATORS)
def _loaded(
    path: Path, file: tuple[int, ...], variant: Variant, precision: PrecisionName
) -> Evaluator:
    """`file` identifies the file: another one may replace it at the same path."""
    from engine.network.checkpoint import load_checkpoint
    from engine.network.inference.evaluator import make_evaluator

    network = load_checkpoint(path, variant=variant).network
    calibration = _calibration(path, variant) if precision == "int8" else None
    evaluator = make_evaluator(network, precision=precision, calibration=calibration)
    detail("; ".join([f"{path}: computed by {evaluator.choice}", *evaluator.notes]))
    return evaluator


def find_language(text: str | None, variant: Variant) -> Path:
    """The move language model's file that the text names, or the newest; raises InputError."""
    from training.data.run_directory import checkpoint_of

    path = Path(text) if text is not None else next(_newest_first(variant, _speaks), None)
    if path is None:
        raise _nothing_found(variant, "language model", "language train")
    return checkpoint_of(path)


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
    """Positions uint8[N, R] of the newest games of a checkpoint's run."""
    from training.data.shards import load_games, newest_file

    games = newest_file(checkpoint.resolve().parent.parent / "games", variant)
    if games is None:
        raise InputError(
            f"{checkpoint}: int8 takes its scales from the games of a run, and there are none"
        )
    return load_games(games, variant).positions[-_CALIBRATION:]


def solution_cache() -> Path | None:
    """Where solutions are kept between commands; None without a cache folder."""
    return cache_folder("solutions")


def load_solution(variant: Variant) -> Solution:
    """The exact solution, from the cache or newly solved with a progress bar; raises InputError."""
    with tqdm(
        desc=f"solving {variant.name}",
        unit=" positions",
        unit_scale=True,
        leave=False,
        delay=0.5,
        disable=not shows_bars(),
        dynamic_ncols=True,
    ) as bar:

        def progress(done: int, expected: int) -> None:
            bar.total = expected
            bar.update(done - bar.n)

        kept = solution_cache()
        where = "nowhere (there is no cache folder)" if kept is None else kept
        detail(f"the solution of {variant.name} is kept in {where}")
        return load_or_solve(variant, kept, progress=progress, not_kept=_report_not_kept)


def _report_not_kept(problem: OSError) -> None:
    write_line(f"the solution is not kept: {described(problem)}", sys.stderr)


# Kept for all players.
_load_tablebases = functools.cache(Tablebases.load)


def player_of(
    spec: str,
    variant: Variant,
    rng: np.random.Generator,
    tablebases: Path | None = None,
    precision: PrecisionName = "auto",
) -> Player:
    """The player that a text describes; raises InputError or OSError.

    With a folder of `tablebases`, which must have some of the variant, the searches probe them, and
    the perfect player of a game that cannot be solved from its start plays from them.
    """
    tables = None if tablebases is None else _load_tablebases(tablebases, variant)
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
    if tables is None or spec.partition(":")[0] not in _WITH_TABLES:
        return player
    return with_tablebases(player, tables)


def require_playable(player: Player, position: Position) -> None:
    """Raises InputError where a player that knows only some positions does not know this one."""
    if isinstance(player, LanguagePlayer):
        if not np.array_equal(position.first_row, position.variant.start_row):
            raise InputError(
                f"{player.name} knows only games from the start of {position.variant.name}, and"
                f" this one begins elsewhere, '{position.fen()}'"
            )
    elif isinstance(player, (PerfectPlayer, PerfectEndgamePlayer)):
        player.choose(position)


def player_tags(
    spec: str,
    variant: Variant,
    *,
    seed: int | None,
    tablebases: Path | None = None,
    precision: PrecisionName = "auto",
) -> PlayerTags:
    """What the PGN of a game says of a player: the files and numbers that its text leaves open.

    Raises what `player_of` does.
    """
    kind, _, rest = spec.partition(":")
    settings: dict[str, object] = {}
    if kind in _WITH_NETWORK:
        text = rest if kind == "policy" else rest.partition(":")[2]
        settings = {"network": find_checkpoint(text or None, variant), "precision": precision}
    elif kind == "language":
        settings = {"network": find_language(rest or None, variant)}
    elif kind == "uci" and not _ENGINE_LIMIT.search(spec):
        settings = {"nodes": DEFAULT_LIMITS.nodes}
    if tablebases is not None and kind in (*_WITH_TABLES, "perfect"):
        settings["tablebases"] = tablebases
    if seed is not None and not is_deterministic(spec) and kind != "uci":
        settings["seed"] = seed
    text = "; ".join(f"{name}={value}" for name, value in settings.items())
    return PlayerTags(PROGRAM, text, time_control(spec))


def is_solved_quickly(variant: Variant) -> bool:
    """Whether the whole game is solved in about a second."""
    return variant.irreversible and estimate_positions(variant).exact


def how_to_rate(run: Path, variant_name: str, *, several: bool) -> str:
    """The command that measures a run's strength at a variant; `several` if it learns others."""
    which = f" --game {variant_name}" if several else ""
    return f"'pawnscope evaluate {run}{which} --only ladder' rates it"


def _learned_several(path: Path) -> bool:
    from engine.network.checkpoint import UniversalDescription, read_description

    description = read_description(path)
    return isinstance(description, UniversalDescription) and len(description.trained_on) > 1


class DefaultPlayer(NamedTuple):
    """A player, as the commands write it, and why it is the one."""

    spec: str
    reason: str


def default_player(variant: Variant, *, perfect: bool) -> DefaultPlayer:
    """The strongest known network, else (if `perfect`) the perfect player, else a search.

    A network of whose strength nothing is known is not taken, nor one that is known to be weaker
    than the search.
    """
    network = strongest_checkpoint(variant)
    if network is not None and network.strength.known and not network.strength.below_reference:
        return DefaultPlayer(f"{NETWORK_PLAYER}:{network.path}", str(network.strength))
    reason = "no network yet"
    if network is not None:
        run = network.path.parent.parent
        reason = f"{run}: {network.strength}"
        if not network.strength.known:
            reason += f"; {how_to_rate(run, variant.name, several=_learned_several(network.path))}"
    solved = perfect and is_solved_quickly(variant)
    return DefaultPlayer("perfect" if solved else SEARCH_PLAYER, reason)
