"""How a move language model is trained: everything that its weights depend on."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from engine.network.model.config import LanguageConfig
from engine.rules.variant import Variant
from training.config import ConfigError, build, merge, read_toml
from training.language.play import usual_context

GamesKind = Literal["random", "policy"]
LONGEST_CONTEXT: Final = 512
"""What is longer than that is cut off; attention over it would cost more than all else."""


@dataclass(frozen=True, kw_only=True)
class LanguageTrainingConfig:
    """A run's configuration; it stands in its `config.toml`."""

    # Name of the game.
    variant: str
    # Where weights and games come from.
    seed: int = 1
    # "random": new games at every step, each legal move as likely as any other. "policy": games
    # that a network plays against itself by its policy, made once.
    games: GamesKind = "random"
    # Of policy games: the network's file …
    checkpoint: str = ""
    # … how many there are …
    corpus: int = 20_000
    # … and what divides the logits by which their moves are drawn.
    temperature: float = 1.0
    # Words: those of the variant's own pieces, or of all built-in variants.
    vocabulary: Literal["variant", "all"] = "variant"
    # Tokens that a game may have, its result included: 2 or more; 0 for what 99 of 100 random games
    # need.
    context: int = 0
    # Width, blocks, attention heads and hidden width (0: four times the width) of the model.
    channels: int = 128
    blocks: int = 4
    heads: int = 4
    hidden: int = 0
    # Standard deviation of fresh weights.
    spread: float = 0.05
    # When training ends: after so many minutes of it …
    minutes: float = 15.0
    # … or, if this is not 0, after so many rounds.
    rounds: int = 0
    # Games of a round, which are sorted by length and cut into batches.
    round_games: int = 256
    # Games of a batch, on average: all batches have about the same number of tokens.
    batch: int = 16
    # Highest learning rate of the matrices of the blocks (Muon) …
    matrix_rate: float = 0.02
    # … and of everything else (AdamW).
    learning_rate: float = 2e-3
    # Steps in which they grow to that.
    warm_up: int = 50
    # Share of the training, at its end, in which they fall to 0.
    decay: float = 0.4
    # Decoupled, of the matrices only.
    weight_decay: float = 0.01
    # Held-out games on which the model is measured.
    held_out_games: int = 1000

    def __post_init__(self) -> None:
        """Raises ConfigError, naming the field, for what is out of range."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                wanted = f"from {low} to {high}" if high < math.inf else f"{low} or more"
                raise ConfigError(f"configuration: {name} = {value!r} is not {wanted}")
        if self.context == 1:
            # After the start and a move something must be left to be named.
            raise ConfigError("configuration: context = 1 is not 2 or more")

    def model(self, vocabulary: int) -> LanguageConfig:
        """The model over so many words; raises InputError, naming the field, for sizes that do not
        fit."""
        return LanguageConfig(
            vocabulary=vocabulary,
            context=self.context,
            channels=self.channels,
            blocks=self.blocks,
            heads=self.heads,
            hidden=self.hidden or 4 * self.channels,
            dropout=0.0,
            spread=self.spread,
        )

    @classmethod
    def resolve(cls, variant: Variant, overrides: dict[str, Any]) -> Self:
        """The defaults with `overrides` over them, for a new run; raises ConfigError."""
        config = build(cls, merge(overrides, {"variant": variant.name}), "configuration")
        if config.games == "policy" and not config.checkpoint:
            raise ConfigError("configuration: checkpoint = '': policy games need a network")
        if not config.context:
            context = usual_context(variant, LONGEST_CONTEXT)
            config = dataclasses.replace(config, context=context)
        config.model(1)
        return config

    @classmethod
    def load(cls, path: Path) -> Self:
        """A run's own file, in which every field must stand; raises ConfigError."""
        values = read_toml(path)
        for field in dataclasses.fields(cls):
            if field.name not in values:
                raise ConfigError(
                    f"{path}: the field '{field.name}' is missing (another kind of run, or an"
                    " older version?)"
                )
        return build(cls, values, str(path))


_RANGES: Final[dict[str, tuple[float, float]]] = {
    "seed": (0, math.inf),
    "corpus": (1, math.inf),
    "temperature": (0.01, 100),
    "context": (0, LONGEST_CONTEXT),
    "minutes": (0, math.inf),
    "rounds": (0, math.inf),
    "round_games": (1, math.inf),
    "batch": (1, math.inf),
    "matrix_rate": (0, 1),
    "learning_rate": (0, 1),
    "warm_up": (0, math.inf),
    "decay": (0, 1),
    "weight_decay": (0, 10),
    "held_out_games": (1, math.inf),
}
