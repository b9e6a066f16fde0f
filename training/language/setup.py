"""Opening a language run: its directory, its games, its learner, all restored if it has a state.

runs/NAME/ config.toml  learner.safetensors  checkpoints/RRRRRRRR.safetensors  metrics.jsonl
           games.safetensors (policy games only)  .lock
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engine.network.checkpoint import CheckpointError, header_field, load_tensors
from engine.network.inference.network_evaluator import fastest_precision
from engine.network.language.move_tokens import MoveTokenizer
from engine.rules.variant import Variant
from engine.settings import quoted
from search.evaluator import Evaluator
from training.config import differences
from training.data.run_directory import LockedDirectory, RunError, changes_of, checkpoints_in
from training.data.shards import are_counts
from training.language.config import LanguageTrainingConfig
from training.language.held_out import (
    PrefixHashes,
    SeenPrefixes,
    distinct_held_out,
    held_out_games,
)
from training.language.learner import LanguageLearner, fresh_model
from training.language.measures import Measures
from training.language.play import CHUNK, play_by_policy, play_corpus, play_randomly
from training.language.run import STATE_FORMAT, LanguageRun, Progress
from training.language.sources import fixed_source, random_source
from training.language.token_games import TokenGames, load_token_games, save_token_games
from training.run.monitor import Monitor, Outlook
from training.run.state import must_fit, read_header

_FREE: Final = ("minutes", "rounds")
"""Settings that a resumed run may get anew."""

LoadEvaluator = Callable[[str, Variant], Evaluator]
"""From a network's file and the variant."""


class LanguageDirectory(LockedDirectory[LanguageTrainingConfig]):
    """The directory of a language run."""

    def __init__(self, path: Path, variant: Variant, overrides: dict[str, Any]) -> None:
        """`overrides` are the person's settings; an existing run must agree with them. Raises as
        `LockedDirectory`."""

        def new() -> LanguageTrainingConfig:
            config = LanguageTrainingConfig.resolve(variant, overrides)
            # Refused before anything is written: a move that the vocabulary lacks.
            tokenizer_of(config, variant).codes(variant)
            return config

        def existing() -> LanguageTrainingConfig:
            config = LanguageTrainingConfig.load(path / "config.toml")
            changes = changes_of(path, config, variant.name, overrides, _FREE)
            if "minutes" in changes:
                # Rounds take precedence over minutes, so the run's earlier limit must go.
                changes.setdefault("rounds", 0)
            settings = dataclasses.asdict(config) | changes
            config = LanguageTrainingConfig.resolve(variant, settings)
            # The new minutes or rounds are the run's from now on.
            self.write_config(config)
            return config

        super().__init__(path, "a language run", new, existing)


def tokenizer_of(config: LanguageTrainingConfig, variant: Variant) -> MoveTokenizer:
    """The vocabulary of the configuration."""
    return MoveTokenizer.of(variant) if config.vocabulary == "variant" else MoveTokenizer.of_all()


def open_language_run(
    directory: LanguageDirectory, variant: Variant, monitor: Monitor, load_evaluator: LoadEvaluator
) -> LanguageRun:
    """A new run, or one that continues from its saved state. A run on policy games that has none
    yet plays them first.

    Raises InputError, also where checkpoints exist without a state, and OSError.
    """
    config = directory.config
    header = _read_state(directory, variant)
    tokenizer = tokenizer_of(config, variant)
    codes = tokenizer.codes(variant)
    hashes = PrefixHashes(len(tokenizer), config.context)
    monitor.step(f"making {config.held_out_games:,} held-out games")
    if config.games == "random":
        held_out = held_out_games(
            lambda rng: play_randomly(variant, codes, CHUNK, config.context, rng),
            hashes,
            config.held_out_games,
        )
        source = random_source(variant, codes, hashes, games=config.round_games, seed=config.seed)
    else:
        corpus = _corpus(directory, variant, tokenizer, monitor, load_evaluator)
        held_out = distinct_held_out(corpus, hashes, config.held_out_games)
        source = fixed_source(corpus, hashes, round_games=config.round_games, seed=config.seed)
    # A resumed run keeps the precision that it began with: another would give other weights.
    precision = header.get("precision") if header else None
    bf16 = precision == "bf16" if precision else fastest_precision() == "bfloat16"
    run = LanguageRun(
        directory=directory,
        variant=variant,
        tokenizer=tokenizer,
        monitor=monitor,
        source=source,
        seen=SeenPrefixes(held_out, hashes),
        measures=Measures(variant, codes, len(tokenizer), held_out),
        learner=LanguageLearner(config, fresh_model(config, tokenizer), bf16=bf16),
        progress=Progress(),
    )
    if header is not None:
        _restore(run, header)
    progress = run.progress
    monitor.session(
        Outlook(
            round=None if header is None else progress.round,
            games=progress.games,
            seconds=progress.seconds,
            limit=60.0 * config.minutes,
            rounds=config.rounds,
        )
    )
    monitor.detail(
        f"a model of {run.model.parameter_count:,} parameters,"
        f" {'bf16' if bf16 else 'fp32'}, context {config.context}"
    )
    return run


def _corpus(
    directory: LanguageDirectory,
    variant: Variant,
    tokenizer: MoveTokenizer,
    monitor: Monitor,
    load_evaluator: LoadEvaluator,
) -> TokenGames:
    """The policy games of the run's own file, which is written first if it is missing."""
    config, path = directory.config, directory.path / "games.safetensors"
    if not path.exists():
        monitor.step(f"loading {config.checkpoint}")
        evaluator = load_evaluator(config.checkpoint, variant)
        codes = tokenizer.codes(variant)

        def make(games: int, rng: np.random.Generator) -> TokenGames:
            return play_by_policy(
                variant, codes, evaluator, games, config.context, config.temperature, rng
            )

        monitor.task("play", config.corpus)
        games = play_corpus(make, config.corpus, config.seed, monitor.advance)
        save_token_games(path, games, variant, tokenizer.digest)
    return load_token_games(path, variant, tokenizer.digest, vocabulary=len(tokenizer))


def _read_state(directory: LanguageDirectory, variant: Variant) -> dict[str, Any] | None:
    """The header of the run's state, None in a new run; raises RunError, CheckpointError for a
    state that does not fit."""
    path, config = directory.learner_state, directory.config
    header = read_header(path, STATE_FORMAT)
    if header is None:
        if checkpoints_in(directory.path):
            raise RunError(f"{path}: missing, but there are checkpoints")
        return None
    wanted = {"variant": variant.digest, "tokenizer": tokenizer_of(config, variant).digest}
    for name, value in wanted.items():
        if header.get(name) != value:
            raise CheckpointError(f"{path}: {name} = {quoted(header.get(name))}, not {value!r}")
    saved = header_field(path, header, "config")
    unknown = [name for name in saved if not hasattr(config, name)]
    if unknown:
        raise CheckpointError(f"{path}: unknown field {quoted(unknown[0])} in its config")
    fixed = {name: value for name, value in saved.items() if name not in _FREE}
    different = differences(config, fixed)
    if different:
        raise CheckpointError(f"{path}: {different[0]}")
    return header


def _restore(run: LanguageRun, header: dict[str, Any]) -> None:
    """Continue from the saved state; raises RunError, CheckpointError, OSError."""
    path = run.directory.learner_state
    with must_fit(path, "its configuration"):
        if not are_counts([header[name] for name in ("round", "steps", "games", "tokens")]):
            raise ValueError("a count in its header is not one")
        for name in ("seconds", "making"):
            if type(header[name]) not in (int, float) or header[name] < 0:
                raise ValueError(f"{name} = {quoted(header[name])}")
        tensors, _ = load_tensors(path)
        run.learner.restore(tensors, header["steps"])
        seen = tensors["seen"]
        if seen.shape != run.seen.seen.shape or seen.dtype != torch.uint8:
            raise ValueError(f"seen {list(seen.shape)}, not {list(run.seen.seen.shape)}")
        run.seen.seen[:] = seen.numpy()
    names = [field.name for field in dataclasses.fields(Progress)]
    run.progress = Progress(**{name: header[name] for name in names if name in header})
