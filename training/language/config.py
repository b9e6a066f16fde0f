"""Settings of a language run: everything that its weights depend on."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from engine.network.model.config import LanguageConfig
from engine.rules.variant import Variant
from engine.settings import Count, Natural, Range, Seed, SettingError, Settings, Share, build
from training.config import merge, read_toml
from training.language.play import usual_context

GamesKind = Literal["random", "policy"]
LONGEST_CONTEXT: Final = 512
"""Longer games are cut off; attention over them would cost more than everything else."""


@dataclass(frozen=True, kw_only=True)
class LanguageTrainingConfig(Settings):
    """The configuration of a run, written to its `config.toml`."""

    # Name of the variant.
    variant: str
    # Seed of weights and games.
    seed: Seed = 1
    # "random": new games in every round, with uniformly random moves. "policy": games in which a
    # network plays against itself by its policy, made once.
    games: GamesKind = "random"
    # For policy games: the file of the network,
    checkpoint: str = ""
    # the number of games,
    corpus: Count = 20_000
    # and the temperature at which moves are drawn.
    temperature: Annotated[float, Range(0.01, 100)] = 1.0
    # The vocabulary: the moves of the variant, or of all built-in variants.
    vocabulary: Literal["variant", "all"] = "variant"
    # The most tokens of a game, its result included: 2 or more; 0 for what 99 of 100 random games
    # need.
    context: Annotated[int, Range(0, LONGEST_CONTEXT)] = 0
    # Width, blocks, attention heads and hidden width (0: four times the width) of the model.
    channels: int = 128
    blocks: int = 4
    heads: int = 4
    hidden: int = 0
    # Standard deviation of fresh weights.
    spread: float = 0.05
    # Training ends after this many minutes,
    minutes: Annotated[float, Range(0, infinite=True)] = 15.0
    # or, unless 0, after this many rounds.
    rounds: Natural = 0
    # Games of a round; they are sorted by length and divided into batches.
    round_games: Count = 256
    # Mean number of games in a batch: all batches have about the same number of tokens.
    batch: Count = 16
    # The highest learning rate of the matrices of the blocks (Muon),
    matrix_rate: Share = 0.02
    # and of everything else (AdamW).
    learning_rate: Share = 2e-3
    # Steps over which the learning rates rise.
    warm_up: Natural = 50
    # Share of the training, at its end, over which they fall to 0.
    decay: Share = 0.4
    # Decoupled weight decay, of the matrices only.
    weight_decay: Annotated[float, Range(0, 10)] = 0.01
    # Held-out games on which the model is measured.
    held_out_games: Count = 1000

    def __post_init__(self) -> None:
        """Raises SettingError, naming the field, for what is out of range."""
        super().__post_init__()
        if self.context == 1:
            raise SettingError(
                "context = 1: a model needs at least 2 tokens, one for the start of a game and"
                " one for a move; 0 takes what 99 of 100 random games need"
            )

    def model(self, vocabulary: int) -> LanguageConfig:
        """The model's configuration for a vocabulary of that size; raises InputError, naming the
        field, for sizes that do not fit."""
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
        """The defaults with `overrides`, for a new run; raises SettingError."""
        config = build(cls, merge(overrides, {"variant": variant.name}), "configuration")
        if config.games == "policy" and not config.checkpoint:
            raise SettingError(
                "configuration: games = 'policy' needs a network, but checkpoint is empty"
            )
        if not config.context:
            context = usual_context(variant, LONGEST_CONTEXT)
            config = dataclasses.replace(config, context=context)
        config.model(1)
        return config

    @classmethod
    def load(cls, path: Path) -> Self:
        """A run's own file, in which every field must stand; raises SettingError."""
        return build(cls, read_toml(path), str(path), complete=True)
