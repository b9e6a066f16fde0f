"""Perplexity and legality of a move language model, on held-out games and on games of its own.

The model never sees the rules; here its tokens are compared with them. A token is *allowed* in a
position if it is a legal move, or the correct result where the game is over.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.network.finite import require_distributions
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import FIRST_MOVE, START, Codes, next_tokens
from engine.network.language.sampling import Sampling, draw
from engine.rules.compilation.decorators import copy_into, kernel
from engine.rules.compilation.signatures import Array2D, Array3D
from engine.rules.history import push
from engine.rules.tables import MAX_MOVES, Tables
from engine.rules.variant import Variant
from training.evaluation.elo import NORMAL_WIDTH
from training.language.token_games import TokenGames

_BATCH: Final = 32
_OWN_BATCH: Final = 128
"""Games that a model plays at once: their key/value caches must fit in memory."""
TEMPERATURE_1: Final = Sampling()
HALF_TEMPERATURE: Final = Sampling(temperature=0.5)
_LARGEST_EXPONENT: Final = 709.0
"""The largest argument of exp in float64, rounded down."""


Predictor = Callable[[Tensor], Tensor]
"""From `tokens` int64[B, T] the logits [B, T, V] of the token after each."""


def model_predictor(model: LanguageModel, *, bf16: bool) -> Predictor:
    """A language model in evaluation mode, without gradients, in bfloat16 if asked for.

    The predictor raises NotFiniteError for logits that are not finite.
    """

    @torch.no_grad()
    def predict(tokens: Tensor) -> Tensor:
        training = model.training
        model.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits: Tensor = model(tokens)
        model.train(training)
        logits = logits.float()
        require_distributions(logits, "the language model")
        return logits

    return predict


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share of cases that come in clusters: the positions of one game are not independent."""

    # In [0, 1]; 0 without cases.
    share: float
    # Cases counted; for probabilities, their sum.
    count: float
    # All cases.
    total: int
    # The 95 % confidence interval.
    low: float
    high: float

    @classmethod
    def of(cls, counts: npt.NDArray[Any], totals: npt.NDArray[Any]) -> "Share":
        """From the cases counted and all cases of each cluster, float[G] and int[G].

        Wilson's interval (Wilson 1927) for the effective number of cases: the number of independent
        cases that would give the same certainty (Kish 1965, the design effect). If there is a
        single cluster, or the share is 0 or 1, the spread between clusters is unknown, and each
        cluster counts as one case.
        """
        count, total = float(counts.sum()), int(totals.sum())
        if not total:
            return cls(share=0.0, count=0.0, total=0, low=0.0, high=1.0)
        share = min(1.0, count / total)
        clustered = float(((counts - share * totals) ** 2).sum()) / total**2
        alone = share * (1.0 - share) / total
        clusters = int((totals > 0).sum())
        tells_spread = alone > 0.0 and clusters > 1
        effective = total / max(1.0, clustered / alone) if tells_spread else float(clusters)
        z2 = NORMAL_WIDTH**2 / effective
        middle = (share + z2 / 2) / (1 + z2)
        half = math.sqrt(z2 * share * (1 - share) + z2 * z2 / 4) / (1 + z2)
        # Despite rounding the interval contains the share.
        low, high = min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
        return cls(share=share, count=count, total=total, low=low, high=high)


def _exponential(value: float) -> float:
    """exp, with infinity in place of an overflow."""
    return math.exp(value) if value < _LARGEST_EXPONENT else math.inf


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """The exponential of the mean surprisal over tokens, beside the same of the policy that played.

    The latter is the `floor`: no prediction has a lower perplexity, on average. For random games it
    is the geometric mean of the number of legal moves.
    """

    tokens: int
    perplexity: float
    # The 95 % confidence interval, for independent games; 1 to infinity for a single game.
    low: float
    high: float
    floor: float

    @classmethod
    def of(
        cls,
        surprisal: npt.NDArray[np.floating[Any]],
        floor: npt.NDArray[np.floating[Any]],
        which: npt.NDArray[np.bool_],
    ) -> "Perplexity":
        """Over the tokens [G, T] in `which`, from surprisals [G, T] in nats."""
        sums = np.where(which, surprisal, 0.0).sum(1, dtype=np.float64)
        counts = which.sum(1)
        total = int(counts.sum())
        if not total:
            return cls(tokens=0, perplexity=1.0, low=1.0, high=math.inf, floor=1.0)
        mean = float(sums.sum()) / total
        spread = math.sqrt(float(((sums - mean * counts) ** 2).sum())) / total
        if (counts > 0).sum() == 1:
            # The spread between games is unknown, and surprisal has no bound.
            spread = math.inf
        lowest = float(np.where(which, floor, 0.0).sum(dtype=np.float64)) / total
        return cls(
            tokens=total,
            perplexity=_exponential(mean),
            low=max(1.0, _exponential(mean - NORMAL_WIDTH * spread)),
            high=_exponential(mean + NORMAL_WIDTH * spread),
            floor=_exponential(lowest),
        )


@dataclass(frozen=True, kw_only=True)
class HeldOutFigures:
    """Measurements on held-out games."""

    games: int
    # Over all tokens, results included.
    everywhere: Perplexity
    # After prefixes with which no training game began, and after those with which one did.
    new: Perplexity
    shared: Perplexity
    # The share of shared prefixes at each place, from the start.
    shared_by_place: list[float]
    # Share of the positions before a move in which the most likely token is legal.
    best_legal: Share
    # The same after new prefixes only.
    best_legal_new: Share
    # Mean probability of all legal moves together.
    legal_mass: Share
    # Share of positions in which a token drawn at temperature 1 is legal.
    drawn_legal: Share
    # Share of finished games in which the most likely last token is the correct result.
    result_named: Share


@dataclass(frozen=True, kw_only=True)
class OwnGameFigures:
    """Measurements on games that the model plays alone, each up to the first token not allowed."""

    games: int
    # Share of legal moves among those drawn and the tokens not allowed.
    legal_moves: Share
    # Share of games that reach the correct result, or the end of the context, with allowed tokens.
    wholly_legal: Share
    # Moves before the end, on average.
    mean_plies: float


@kernel
def _mark_allowed(
    tables: Tables,
    codes: Codes,
    start: npt.NDArray[np.uint8],
    moves: Array2D[np.uint16],
    plies: npt.NDArray[np.int64],
    allowed: Array3D[np.bool_],
) -> None:
    """Set `allowed` [G, T, V]: the tokens allowed after the prefix up to place t."""
    row, after = np.empty_like(start), np.empty_like(start)
    legal, tokens = np.empty(MAX_MOVES, np.uint16), np.empty(MAX_MOVES, np.int32)
    history = np.empty(moves.shape[1] + 1, np.uint64)
    for game in range(moves.shape[0]):
        copy_into(row, start)
        for ply in range(allowed.shape[1]):
            count = next_tokens(tables, codes, row, legal, tokens)
            for index in range(max(1, count)):
                allowed[game, ply, tokens[index]] = True
            if ply >= plies[game] or count == 0:
                break
            push(tables, row, np.int64(moves[game, ply]), history, ply, after)


def allowed_tokens(
    variant: Variant, codes: Codes, games: TokenGames, vocabulary: int
) -> npt.NDArray[np.bool_]:
    """bool[G, T, V]: the tokens allowed after place t of each game; none after its end."""
    allowed = np.zeros((len(games), games.context, vocabulary), np.bool_)
    start = variant.start_row
    _mark_allowed(variant.tables, codes, start, games.moves, games.plies, allowed)
    return allowed


class Measures:
    """Measures models of one variant on the same held-out games."""

    def __init__(self, variant: Variant, codes: Codes, vocabulary: int, games: TokenGames) -> None:
        self._variant, self._codes, self._vocabulary = variant, codes, vocabulary
        self.games = games

    def held_out(
        self,
        predict: Predictor,
        shared: npt.NDArray[np.bool_],
        generator: torch.Generator,
        games: int | None = None,
    ) -> HeldOutFigures:
        """Of the first `games` (None: all); `shared` is that of SeenPrefixes."""
        held = self.games.select(np.arange(len(self.games))[:games])
        parts = [
            self._score(
                predict, held.select(np.arange(begin, min(begin + _BATCH, len(held)))), generator
            )
            for begin in range(0, len(held), _BATCH)
        ]
        surprisal, best, mass, drawn = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        shared = shared[: len(held)]
        target = held.tokens[:, 1:]
        real, move = target >= 0, target >= FIRST_MOVE

        def share(values: npt.NDArray[Any], which: npt.NDArray[np.bool_]) -> Share:
            return Share.of(np.where(which, values, 0).sum(1), which.sum(1))

        floor = held.surprisal
        by_place = (real & shared).sum(0) / np.maximum(1, real.sum(0))
        return HeldOutFigures(
            games=len(held),
            everywhere=Perplexity.of(surprisal, floor, real),
            new=Perplexity.of(surprisal, floor, real & ~shared),
            shared=Perplexity.of(surprisal, floor, real & shared),
            shared_by_place=np.trim_zeros(by_place, "b").tolist(),
            best_legal=share(best, move),
            best_legal_new=share(best, move & ~shared),
            legal_mass=share(mass, move),
            drawn_legal=share(drawn, move),
            result_named=share(best, real & ~move),
        )

    def _score(
        self, predict: Predictor, games: TokenGames, generator: torch.Generator
    ) -> tuple[npt.NDArray[Any], ...]:
        """Arrays [B, T]: surprisal in nats, whether the most likely token is allowed, the
        probability of allowed tokens, whether a drawn token is allowed."""
        longest = int(games.lengths.max())
        tokens = torch.from_numpy(games.tokens[:, : longest + 1]).long()
        logits = predict(tokens[:, :-1].clamp_min(START))
        logs = logits.log_softmax(-1)
        target = tokens[:, 1:].clamp_min(0)
        allowed = torch.from_numpy(
            allowed_tokens(self._variant, self._codes, games, self._vocabulary)[:, :longest]
        )
        flat = logs.flatten(0, 1)
        drawn = draw(flat, TEMPERATURE_1, generator)[:, None]
        inside = allowed.flatten(0, 1)
        found = (
            -logs.gather(-1, target[..., None]).squeeze(-1),
            inside.gather(-1, flat.argmax(-1, keepdim=True)).view(target.shape),
            (flat.exp() * inside).sum(-1).view(target.shape),
            inside.gather(-1, drawn).view(target.shape),
        )
        padding = (0, games.context - longest)
        return tuple(F.pad(part, padding).numpy() for part in found)

    def own_games(
        self,
        model: LanguageModel,
        games: int,
        generator: torch.Generator,
        sampling: Sampling = TEMPERATURE_1,
    ) -> OwnGameFigures:
        """Let the model play alone from the start."""
        training = model.training
        model.eval()
        parts = [
            self._own_games(model, min(_OWN_BATCH, games - begin), generator, sampling)
            for begin in range(0, games, _OWN_BATCH)
        ]
        model.train(training)
        legal, faults = (np.concatenate(column) for column in zip(*parts, strict=True))
        ones = np.ones_like(faults)
        return OwnGameFigures(
            games=games,
            legal_moves=Share.of(legal, legal + faults),
            wholly_legal=Share.of(ones - faults, ones),
            mean_plies=float(legal.mean()),
        )

    @torch.no_grad()
    def _own_games(
        self, model: LanguageModel, games: int, generator: torch.Generator, sampling: Sampling
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """`games` games at once, each to its end: the number of legal moves [G], and 1 for those
        that ended with a token not allowed [G]."""
        context = model.config.context
        rows = np.repeat(self._variant.start_row[None], games, 0)
        histories = np.zeros((games, context + 1), np.uint64)
        legal, faults = np.zeros(games, np.int64), np.zeros(games, np.int64)
        going = np.ones(games, np.bool_)
        prompt = torch.full((games, 1), START)
        cache = model.new_cache(games)
        for ply in range(context):
            tokens = draw(model(prompt, cache)[:, -1], sampling, generator)
            drawn = tokens.numpy().astype(np.int32)
            tables = self._variant.tables
            _take(tables, self._codes, rows, histories, ply, drawn, going, legal, faults)
            if not going.any():
                break
            prompt = tokens[:, None]
        return legal, faults


@kernel
def _take(
    tables: Tables,
    codes: Codes,
    rows: Array2D[np.uint8],
    histories: Array2D[np.uint64],
    ply: int,
    drawn: npt.NDArray[np.int32],
    going: npt.NDArray[np.bool_],
    legal_moves: npt.NDArray[np.int64],
    faults: npt.NDArray[np.int64],
) -> None:
    """Play the tokens `drawn` [G] in the games that are `going`, and count as `_own_games`."""
    after = np.empty(rows.shape[1], np.uint8)
    legal, tokens = np.empty(MAX_MOVES, np.uint16), np.empty(MAX_MOVES, np.int32)
    for game in range(rows.shape[0]):
        if not going[game]:
            continue
        count = next_tokens(tables, codes, rows[game], legal, tokens)
        index = 0
        while index < max(1, count) and tokens[index] != drawn[game]:
            index += 1
        if index == max(1, count):
            faults[game] = 1
        elif count:
            legal_moves[game] += 1
            push(tables, rows[game], np.int64(legal[index]), histories[game], ply, after)
            continue
        going[game] = False
