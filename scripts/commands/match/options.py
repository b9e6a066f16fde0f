"""The options of `pawnscope match`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from engine.settings import Count, Natural, Range
from scripts.options import EndgameOptions, FigureOptions
from scripts.players import PrecisionName


@dataclass(frozen=True, kw_only=True)
class MatchOptions(FigureOptions, EndgameOptions):
    """Let two players play; every opening twice, with colours swapped.

    A player is random, perfect, minimax:DEPTH, alphabeta:DEPTH, uct:SIMULATIONS,
    mcts:SIMULATIONS[:CHECKPOINT], gumbel:SIMULATIONS[:CHECKPOINT], policy[:CHECKPOINT],
    language[:CHECKPOINT] or uci:COMMAND[:nodes=N|movetime=MS]. A checkpoint is a file, a run
    directory, or absent for the strongest network known of the variant (the newest language model).
    """

    # The player whose results the figures describe.
    a: str
    # The other player.
    b: str
    # The variant.
    variant: str
    # Games to play; 100 unless given, and with --sprt at most 20,000.
    games: Count | None = None
    # Plies of the openings: all openings of that length in random order. 2 unless given; 0 on
    # boards of less than 16 squares. Openings repeat when all are used; in a test of two
    # deterministic players longer ones follow. With games in --openings: plies of each of them.
    opening_plies: Natural | None = None
    # A .pgn or .epd file with openings, played in random order in place of those. Of games, all
    # moves or --opening-plies of them. They repeat when all are used; a test of two deterministic
    # players ends then. (A number stands for --opening-plies.)
    openings: str | None = None
    # Stop as soon as the test can tell whether A is ELO0 (H0) or ELO1 (H1) stronger than B.
    sprt: tuple[float, float] | None = None
    # Of the test: probability of saying H1 where H0 is true.
    alpha: Annotated[float, Range(0, 0.5, above_low=True, below_high=True)] = 0.05
    # Of the test: probability of saying H0 where H1 is true.
    beta: Annotated[float, Range(0, 0.5, above_low=True, below_high=True)] = 0.05
    # Precision of A's network: auto, fp32, bf16 or int8 (calibrated on games of the checkpoint's
    # run) ...
    precision_a: PrecisionName = "auto"
    # ... and B's.
    precision_b: PrecisionName = "auto"
    # Parallel games against an external engine, each with its own process.
    concurrency: Count = 8
    # Seed of the openings and of the players.
    seed: Natural = 1
    # A file to which each finished game is appended.
    pgn: Path | None = None
