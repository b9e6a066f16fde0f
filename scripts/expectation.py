"""What the minutes of a training can do where nobody can say it of the variant itself.

A variant that is solved shows its truth curve. Of any other the shipped networks tell something:
their curves say how many positions they learned from, in what time (on two cores). The time grows
with the squares of the board, which the network computes, and with the simulations of a search.
"""

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from engine.rules.variant import Variant, get_variant
from scripts.players import SHIPPED
from scripts.terminal.texts import minutes_text
from training.config import TrainingConfig
from training.evaluation.truth import is_solvable

_ALPHAZERO: Final = "AlphaZero learned chess from 44 million games"
"""Silver et al. 2018, table S3."""


@dataclass(frozen=True, kw_only=True)
class ShippedRun:
    """What is known of the training of a shipped network."""

    variant: Variant
    seconds: float
    positions: int
    # Simulations of its searches, and the blocks and channels of its trunk.
    simulations: int
    network: tuple[Any, ...]

    def rate_on(self, variant: Variant, config: TrainingConfig) -> float | None:
        """About how many positions a second a training with such settings brings; None for another
        network, whose time is not known."""
        if _network(config.network) != self.network:
            return None
        squares = variant.squares / self.variant.squares
        simulations = config.self_play.simulations / self.simulations
        return self.positions / self.seconds / squares / simulations


def shipped_runs() -> list[ShippedRun]:
    """All that are known."""
    runs = []
    for path in sorted(SHIPPED.glob("*.metrics.jsonl")):
        last = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        name = path.name.removesuffix(".metrics.jsonl")
        settings = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
        runs.append(
            ShippedRun(
                variant=get_variant(settings["variant"]),
                seconds=last["seconds"],
                positions=last["positions"],
                simulations=settings["self_play"]["simulations"],
                network=_network(settings["network"]),
            )
        )
    return runs


def _network(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(fields.get(name) for name in ("trunk", "blocks", "channels"))


def expectation(
    variants: Sequence[Variant], config: TrainingConfig, known: Sequence[ShippedRun]
) -> str | None:
    """One line about what the minutes of the configuration can do.

    None where a truth curve will tell, where there are as many minutes as the shipped network of
    the variant had, or where nothing is known.
    """
    unsolved = [variant for variant in variants if not is_solvable(variant)]
    if not unsolved or not known:
        return None
    variant = max(unsolved, key=lambda each: each.squares)
    # A network of the variant itself, else of the board that is nearest in size.
    run = min(known, key=lambda each: _distance(each.variant, variant))
    seconds = 60.0 * config.minutes
    rate = run.rate_on(variant, config)
    is_same = run.variant.digest == variant.digest
    if is_same and seconds >= run.seconds:
        return None
    parts = [f"{variant.name}: {variant.squares} squares, not solved"]
    if rate is not None and math.isfinite(seconds):
        positions = rate * seconds / len(variants)
        text = f"about {float(f'{positions:.1g}'):,.0f} positions in {minutes_text(config.minutes)}"
        # Fewer for each square than a network that is known to be no master.
        weak = positions / variant.squares < run.positions / run.variant.squares
        parts.append(f"expect {text}{', and a weak player' if weak else ''}")
    name = "its shipped network" if is_same else f"the shipped network of {run.variant.name}"
    board = "" if is_same else f" ({run.variant.squares} squares)"
    learned = f"{run.positions:,} positions in {run.seconds / 60:.0f} minutes on two cores"
    parts.append(f"{name}{board} learned from {learned}")
    if variant.digest == get_variant("chess").digest:
        parts.append(_ALPHAZERO)
    return "; ".join(parts)


def _distance(one: Variant, other: Variant) -> int:
    return -1 if one.digest == other.digest else abs(one.squares - other.squares)
