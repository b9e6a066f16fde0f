"""Training a move language model: a directory that goes on where it was left.

    runs/NAME/ config.toml  learner.safetensors  checkpoints/RRRRRRRR.safetensors  metrics.jsonl
               games.safetensors (policy games only)  .lock

Training goes in rounds: some hundred games, in batches of games alike in length. The games of a
round and their order are a function of (seed, round), so that weights, optimiser and the number of
batches done are all that a killed run needs. The learning rate rises, stays, and falls to zero over
the last part of the training (Hägele et al. 2024): a run may be given more later. A run of so many
`rounds` ends in the same weights to the bit, however often it was killed; one of so many minutes
does not, whose learning rate goes by the clock. A measurement is written before the state of its
round is saved: a killed run either has both or makes both again.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.network.checkpoint import (
    CheckpointError,
    header_field,
    load_tensors,
    read_metadata,
    save_tensors,
)
from engine.network.finite import (
    require_distributions,
    require_finite_gradient,
    require_finite_tensors,
)
from engine.network.inference.network_evaluator import fastest_precision
from engine.network.language.checkpoint import save_language
from engine.network.language.model import LanguageModel
from engine.network.language.move_tokens import FIRST_MOVE, NO_TOKEN, START, MoveTokenizer
from engine.network.language.sampling import Sampling
from engine.network.model.config import quoted
from engine.rules.compilation.compile_time import working_time
from engine.rules.errors import NotFiniteError, require_finite
from engine.rules.variant import Variant
from engine.system.files import append_whole, write_whole
from search.evaluator import Evaluator
from training.config import differences, to_toml
from training.data.index import is_kept
from training.data.run_directory import (
    RunError,
    changes_of,
    checkpoints_in,
    lock,
    read_metrics,
    refuse_foreign,
    sweep,
)
from training.language.config import LanguageTrainingConfig
from training.language.held_out import (
    PrefixHashes,
    SeenPrefixes,
    distinct_held_out,
    held_out_games,
)
from training.language.measures import (
    AS_IT_SAYS,
    HeldOutFigures,
    Judge,
    ModelPredictor,
    OwnGameFigures,
)
from training.language.play import CHUNK, play_by_policy, play_corpus, play_randomly
from training.language.sources import FixedSource, GameSource, RandomSource
from training.language.token_games import (
    TokenGames,
    batches,
    load_token_games,
    save_token_games,
)
from training.learner.learner import check_optimiser

SAVE_SECONDS: Final = 30.0
"""A kill loses so many seconds of learning, and a round."""
_STATE_FORMAT: Final = "pawnscope-language-run-1"
_FREE: Final = ("minutes", "rounds")
"""What a run may be given anew when it goes on."""
_PARTS: Final = 1000
"""Of the bar that shows how far training is."""
_OWN_PART: Final = 0.4
_SHARED_PART: Final = 0.6
"""What a move's vector has of its own and from its squares, in units of the spread."""
_MEASURE_SECONDS: Final = 20.0
_QUICK_GAMES: Final = 64
"""Held-out games of the measurements during training; the last is on all."""
_OWN_GAMES: Final = 500
COOL: Final = Sampling(temperature=0.5)
_BETAS: Final = (0.9, 0.95)
_CLIP: Final = 1.0


class LanguageDirectory:
    """The directory of a language run, locked by this process until `close`."""

    def __init__(self, path: Path, variant: Variant, overrides: dict[str, Any]) -> None:
        """Open the run, or begin one in an empty or new directory.

        `overrides` are what the person asked for; a run that exists must agree with them. Raises
        RunError, ConfigError or OSError, and then nothing has been changed.
        """
        self.path = path
        config_path = path / "config.toml"
        if not config_path.exists():
            refuse_foreign(path, "a language run")
            self.config = LanguageTrainingConfig.resolve(variant, overrides)
            # A word that the vocabulary lacks is better known now than with a directory half made.
            tokenizer_of(self.config, variant).codes(variant)
        path.mkdir(parents=True, exist_ok=True)
        self._descriptor = lock(path)
        try:
            # Read only now: until then another process may have changed it.
            if config_path.exists():
                self.config = _existing_config(path, variant, overrides)
            # The minutes of this session are those of the run from now on.
            write_whole(config_path, to_toml(self.config))
            (path / "checkpoints").mkdir(exist_ok=True)
            sweep(path)
        except BaseException:
            self.close()
            raise

    @property
    def state(self) -> Path:
        """Everything that a resumed run needs."""
        return self.path / "learner.safetensors"

    @property
    def games(self) -> Path:
        """The games that a network played."""
        return self.path / "games.safetensors"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    def checkpoint_path(self, round_number: int) -> Path:
        """Where the model after so many rounds is kept."""
        return self.path / "checkpoints" / f"{round_number:08d}.safetensors"

    def drop_after(self, round_number: int) -> tuple[int, float]:
        """Forget what a killed session wrote after the state of that round, for its rounds are
        learned again; of a run without a state (-1) everything.

        Returns round and seconds of the last measurement that is left, (-1, 0.0) where none is.
        Raises OSError.
        """
        for path in checkpoints_in(self.path):
            if int(path.stem) > round_number:
                path.unlink()
        if not self.metrics.exists():
            return -1, 0.0
        told = read_metrics(self.path)
        kept = [values for values in told if values["round"] <= round_number]
        if len(kept) < len(told):
            write_whole(self.metrics, "".join(json.dumps(values) + "\n" for values in kept))
        return (kept[-1]["round"], kept[-1]["seconds"]) if kept else (-1, 0.0)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._descriptor)


def _existing_config(
    path: Path, variant: Variant, overrides: dict[str, Any]
) -> LanguageTrainingConfig:
    config = LanguageTrainingConfig.load(path / "config.toml")
    changes = changes_of(path, config, variant.name, overrides, _FREE)
    if "minutes" in changes:
        # Rounds, where there are any, come before minutes: those that the run was begun with end.
        changes.setdefault("rounds", 0)
    return LanguageTrainingConfig.resolve(variant, dataclasses.asdict(config) | changes)


LoadEvaluator = Callable[[str, Variant], Evaluator]
"""From a network's file and the variant."""


class Monitor(Protocol):
    """Hears what a run does."""

    def task(self, name: str, total: int) -> None:
        """Something begins that is done in so many parts."""
        ...

    def advance(self, amount: int) -> None:
        """So many parts of it are done."""
        ...

    def metrics(self, values: dict[str, Any]) -> None:
        """A measurement, as it stands in metrics.jsonl."""
        ...


@dataclass(frozen=True, kw_only=True)
class LanguageSummary:
    """What a run has come to."""

    checkpoint: Path
    parameters: int
    # Words of the vocabulary, and tokens of the context.
    vocabulary: int
    context: int
    # Seconds of learning in all sessions, and games and tokens learned from.
    seconds: float
    games: int
    tokens: int
    held_out: HeldOutFigures
    # In its own games at temperature 1, and at half of that, where it takes fewer risks.
    own: OwnGameFigures
    own_cool: OwnGameFigures


def fresh_model(config: LanguageTrainingConfig, tokenizer: MoveTokenizer) -> LanguageModel:
    """The model before training; the seed decides its weights.

    A move begins as the sum of a vector for its first square, one for its second and one for what a
    pawn becomes, beside some of its own. On Gardner, after 0.3 million tokens, the likeliest word
    is legal in 72 % of the positions, and in 55 % with words that have nothing in common.
    """
    generator = torch.Generator().manual_seed(config.seed)
    # Fresh weights are drawn from torch's own generator, which is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LanguageModel(config.model(len(tokenizer)))
    vectors: dict[str, Tensor] = {}
    with torch.no_grad():
        for token in range(FIRST_MOVE, len(tokenizer)):
            word = tokenizer.texts[token]
            whole = model.token.weight[token] * _OWN_PART
            for part in (f"{word[:2]}-", f"-{word[2:4]}", word[4:]):
                if part and part not in vectors:
                    drawn = torch.randn(config.channels, generator=generator)
                    vectors[part] = drawn * config.spread * _SHARED_PART
                if part:
                    whole += vectors[part]
            model.token.weight[token] = whole
    return model


class LanguageLearner:
    """The model and its optimisers: Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW
    for everything else. AdamW alone needed 0.6 million tokens on Gardner for what these learn in
    0.4."""

    def __init__(self, config: LanguageTrainingConfig, model: LanguageModel, *, bf16: bool) -> None:
        self.model = model.train()
        self._bf16, self._config = bf16, config
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in model.named_parameters():
            matrix = parameter.ndim == 2 and name.startswith("backbone.blocks.")
            (matrices if matrix else others).append(parameter)
        self._optimisers: list[tuple[torch.optim.Optimizer, float]] = []
        if matrices:
            muon = torch.optim.Muon(
                matrices, lr=config.matrix_rate, weight_decay=config.weight_decay
            )
            self._optimisers.append((muon, config.matrix_rate))
        adam = torch.optim.AdamW(
            others, lr=config.learning_rate, betas=_BETAS, weight_decay=0.0, fused=True
        )
        self._optimisers.append((adam, config.learning_rate))
        self.steps = 0

    def learn(self, games: TokenGames, fraction: float) -> float:
        """A step on a batch, `fraction` of the way through the training; the loss before it, in
        nats a token. Raises NotFiniteError for a loss or a gradient that is not finite, and then
        the weights are those before it."""
        longest = int(games.lengths.max())
        tokens = torch.from_numpy(games.tokens[:, : longest + 1]).long()
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            logits = self.model(tokens[:, :-1].clamp_min(START))
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=NO_TOKEN
        )
        require_finite(float(loss.detach()), "the loss")
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._clip()
        share = self._share(fraction)
        for optimiser, rate in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * share
            optimiser.step()
        self.steps += 1
        return float(loss.detach())

    def _clip(self) -> None:
        """Bound the gradient's length; raises NotFiniteError, naming the parameter."""
        named = self.model.named_parameters()
        gradients = {name: value.grad for name, value in named if value.grad is not None}
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        require_finite_gradient(gradients, norm)
        torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), _CLIP, norm)

    @torch.no_grad()
    def require_sound(self) -> None:
        """Raises NotFiniteError, naming it, for a tensor of the state that is not finite, and for a
        model that expects nothing after the start: finite weights may be too large."""
        require_finite_tensors(self.state(), "the learner's")
        logits = self.model(torch.full((1, 1), START))
        require_distributions(logits, "the model at the start of a game")

    def _share(self, fraction: float) -> float:
        """Of the highest learning rates."""
        config = self._config
        risen = min(1.0, (self.steps + 1) / (config.warm_up + 1))
        left = min(1.0, (1.0 - fraction) / config.decay) if config.decay else 1.0
        return max(0.0, min(risen, left))

    def state(self) -> dict[str, Tensor]:
        """Everything that goes on after a restart, as named tensors."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for number, (optimiser, _) in enumerate(self._optimisers):
            for index, entries in optimiser.state_dict()["state"].items():
                for name, value in entries.items():
                    tensors[f"optimiser.{number}.{index}.{name}"] = value
        return tensors

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """The inverse of `state`; raises RuntimeError, ValueError or KeyError for another model's
        tensors."""
        prefix = "model."
        self.model.load_state_dict(
            {
                name.removeprefix(prefix): value
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
        )
        for number, (optimiser, _) in enumerate(self._optimisers):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                if name.startswith(f"optimiser.{number}."):
                    _, _, index, entry = name.split(".", 3)
                    state.setdefault(int(index), {})[entry] = value
            check_optimiser(optimiser, state)
            optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
        self.steps = steps


class LanguageRun:
    """A run under way: what it learns from, what it is measured on, and where it stands."""

    def __init__(
        self,
        directory: LanguageDirectory,
        variant: Variant,
        monitor: Monitor,
        load_evaluator: LoadEvaluator,
    ) -> None:
        """Prepare a new run, or go on where it was left; plays the games of a network first where
        the run is to learn from them and has none.

        Raises InputError, also where networks were kept and the state is gone, and OSError.
        """
        if not directory.state.exists() and checkpoints_in(directory.path):
            raise RunError(f"{directory.state}: missing, but networks were kept before")
        config = directory.config
        self._directory, self._variant, self._config = directory, variant, config
        self._monitor = monitor
        self.tokenizer = tokenizer_of(config, variant)
        self._codes = self.tokenizer.codes(variant)
        self._hashes = PrefixHashes(len(self.tokenizer), config.context)
        self._source, held_out = self._games(load_evaluator)
        self._seen = SeenPrefixes(held_out, self._hashes)
        self._judge = Judge(variant, self._codes, len(self.tokenizer), held_out)
        self._bf16 = self._computes_in_bf16()
        model = fresh_model(config, self.tokenizer)
        self._learner = LanguageLearner(config, model, bf16=self._bf16)
        # Rounds, games and tokens learned from so far.
        self._round, self._trained_games, self._tokens = 0, 0, 0
        # Seconds of learning, and those of them in which games were made.
        self._seconds, self._making = 0.0, 0.0
        # Mean loss of the last round; None before the first.
        self._loss: float | None = None
        resumed = directory.state.exists()
        if resumed:
            self._restore()
        # The round of the last saved state; None before the first.
        self.saved_rounds = self._round if resumed else None
        # Round and seconds of the last measurement that is written.
        self._told = directory.drop_after(self._round if resumed else -1)

    def _games(self, load_evaluator: LoadEvaluator) -> tuple[GameSource, TokenGames]:
        """The training set, and the games held out of it."""
        config, variant, codes = self._config, self._variant, self._codes
        if config.games == "random":

            def make(rng: np.random.Generator) -> TokenGames:
                return play_randomly(variant, codes, CHUNK, config.context, rng)

            held = held_out_games(make, self._hashes, config.held_out_games)
            source = RandomSource(
                variant, codes, self._hashes, games=config.round_games, seed=config.seed
            )
            return source, held
        corpus = self._corpus(load_evaluator)
        held = distinct_held_out(corpus, self._hashes, config.held_out_games)
        rounds = FixedSource(corpus, self._hashes, round_games=config.round_games, seed=config.seed)
        return rounds, held

    def _computes_in_bf16(self) -> bool:
        """As the run began, wherever it goes on: other numbers would be another run."""
        if self._directory.state.exists():
            kept = read_metadata(self._directory.state).get("precision")
            if kept is not None:
                return bool(kept == "bf16")
        return fastest_precision() == "bfloat16"

    def _corpus(self, load_evaluator: LoadEvaluator) -> TokenGames:
        """The run's own file of games, made now where there is none."""
        config, path = self._config, self._directory.games
        if not path.exists():
            evaluator = load_evaluator(config.checkpoint, self._variant)

            def make(games: int, rng: np.random.Generator) -> TokenGames:
                return play_by_policy(
                    self._variant,
                    self._codes,
                    evaluator,
                    games,
                    config.context,
                    config.temperature,
                    rng,
                )

            self._monitor.task("play", config.corpus)
            games = play_corpus(make, config.corpus, config.seed, self._monitor.advance)
            save_token_games(path, games, self._variant, self.tokenizer.digest)
        vocabulary = len(self.tokenizer)
        return load_token_games(path, self._variant, self.tokenizer.digest, vocabulary=vocabulary)

    @property
    def model(self) -> LanguageModel:
        """The model that learns."""
        return self._learner.model

    def learn(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Learn until the time, or the rounds, are over, and save.

        After every round `stop` is asked; where it says so, the state is saved and
        KeyboardInterrupt raised.
        """
        if self._fraction() < 1.0:
            self._learn(stop)
        if self._told[0] < self._round:
            # Also where ^C came in the last round of all, which saves and does not measure.
            self._report()
            self.save()

    def train(self) -> LanguageSummary:
        """Learn what is left to learn; measures, and keeps the last model."""
        self.learn()
        if not self._directory.checkpoint_path(self._round).exists():
            self._keep()
        self._monitor.task("measure", 1)
        held_out, own = self.measure()
        summary = LanguageSummary(
            checkpoint=self._directory.checkpoint_path(self._round),
            parameters=self._learner.model.parameter_count,
            vocabulary=len(self.tokenizer),
            context=self._config.context,
            seconds=self._seconds,
            games=self._trained_games,
            tokens=self._tokens,
            held_out=held_out,
            own=own,
            own_cool=self._own_games(_OWN_GAMES, COOL),
        )
        self._monitor.advance(1)
        return summary

    def measure(self, games: int | None = None) -> tuple[HeldOutFigures, OwnGameFigures]:
        """All figures, always with the same draws, on all held-out games or the first few."""
        predict = ModelPredictor(self._learner.model, bf16=self._bf16)
        generator = torch.Generator().manual_seed(self._config.seed)
        shared = self._seen.shared()
        held_out = self._judge.held_out(predict, shared, generator, games)
        own_games = _OWN_GAMES if games is None else min(games, _OWN_GAMES)
        return held_out, self._own_games(own_games, AS_IT_SAYS)

    def _own_games(self, games: int, sampling: Sampling) -> OwnGameFigures:
        generator = torch.Generator().manual_seed(self._config.seed)
        return self._judge.own_games(self._learner.model, games, generator, sampling)

    def _fraction(self) -> float:
        """How far the training is, in [0, 1]."""
        if self._config.rounds:
            return min(1.0, self._round / self._config.rounds)
        wanted = 60.0 * self._config.minutes
        return 1.0 if self._seconds >= wanted else self._seconds / wanted

    def _learn(self, stop: Callable[[], bool]) -> None:
        self._monitor.task("learn", _PARTS)
        saved = self._seconds
        if not self._learner.steps and self._told[0] < 0:
            self._report()
            # Before any network is kept: those of a run without a state are not its own.
            self.save()
        shown = 0
        while self._fraction() < 1.0:
            self._loss = self._learn_soundly()
            part = int(self._fraction() * _PARTS)
            self._monitor.advance(part - shown)
            shown = part
            if is_kept(self._round):
                self._keep()
            if stop():
                self.save()
                raise KeyboardInterrupt
            if self._seconds - self._told[1] >= _MEASURE_SECONDS and self._fraction() < 1.0:
                self._report()
            if self._seconds - saved >= SAVE_SECONDS:
                self.save()
                saved = self._seconds

    def _learn_soundly(self) -> float:
        """`_learn_round`, after which the model may be kept. Raises NotFiniteError, naming the
        round; what was saved before it stays."""
        number = self._round + 1
        try:
            loss = self._learn_round()
            self._learner.require_sound()
        except NotFiniteError as fault:
            config = self._config
            raise NotFiniteError(
                f"{self._directory.path}: round {number}: {fault}; what was saved before stays"
                f" (are learning_rate = {config.learning_rate:g} and matrix_rate ="
                f" {config.matrix_rate:g} too high?)"
            ) from None
        return loss

    def _learn_round(self) -> float:
        """The games of one round, in batches; the mean loss in nats a token."""
        begun = working_time()
        games = self._source.round(self._round)
        self._seen.mark(games)
        rng = np.random.default_rng([self._config.seed, 3, self._round])
        parts = batches(games, self._config.batch, rng)
        self._making += working_time() - begun
        before, total = self._fraction(), 0.0
        step = 1.0 / self._config.rounds if self._config.rounds else 0.0
        for number, part in enumerate(parts):
            fraction = before + step * number / len(parts)
            total += self._learner.learn(part, fraction) * part.token_count
        self._round += 1
        self._trained_games += len(games)
        self._tokens += games.token_count
        self._seconds += working_time() - begun
        return total / max(1, games.token_count)

    def _report(self) -> None:
        """Measure on a few games, and note it."""
        held_out, own = self.measure(_QUICK_GAMES)
        values = {
            "round": self._round,
            "seconds": round(self._seconds, 2),
            "games": self._trained_games,
            "tokens": self._tokens,
            "tokens_per_second": round(self._tokens / max(self._seconds, 1e-9), 1),
            "making_share": round(self._making / max(self._seconds, 1e-9), 4),
            "loss": self._loss,
            "perplexity": held_out.everywhere.perplexity,
            "floor": held_out.everywhere.floor,
            "best_legal": held_out.best_legal.share,
            "legal_mass": held_out.legal_mass.share,
            "own_legal_moves": own.legal_moves.share,
            "own_legal_games": own.wholly_legal.share,
        }
        append_whole(self._directory.metrics, json.dumps(values) + "\n")
        self._told = self._round, self._seconds
        self._monitor.metrics(values)

    def _keep(self) -> None:
        """Write the model as it is now."""
        metadata = {
            "round": self._round,
            "seconds": self._seconds,
            "games": self._trained_games,
            "tokens": self._tokens,
            "training": dataclasses.asdict(self._config),
        }
        save_language(
            self._directory.checkpoint_path(self._round),
            self._learner.model,
            self.tokenizer,
            self._variant,
            metadata=metadata,
        )

    def save(self) -> None:
        """Write all that a resumed run needs; raises OSError."""
        tensors = self._learner.state() | {"seen": torch.from_numpy(self._seen.seen)}
        header = {
            "format": _STATE_FORMAT,
            "variant": self._variant.digest,
            "tokenizer": self.tokenizer.digest,
            "config": dataclasses.asdict(self._config),
            "round": self._round,
            "steps": self._learner.steps,
            "games": self._trained_games,
            "tokens": self._tokens,
            "seconds": self._seconds,
            "making": self._making,
            "loss": self._loss,
            "precision": "bf16" if self._bf16 else "fp32",
        }
        save_tensors(self._directory.state, tensors, header)
        self.saved_rounds = self._round

    def _restore(self) -> None:
        """Go on from the last `save`; raises CheckpointError naming what does not fit."""
        path = self._directory.state
        tensors, header = load_tensors(path)
        wanted = {
            "format": _STATE_FORMAT,
            "variant": self._variant.digest,
            "tokenizer": self.tokenizer.digest,
        }
        for name, value in wanted.items():
            if header.get(name) != value:
                raise CheckpointError(f"{path}: {name} = {quoted(header.get(name))}, not {value!r}")
        config = header_field(path, header, "config")
        unknown = [name for name in config if not hasattr(self._config, name)]
        if unknown:
            raise CheckpointError(f"{path}: unknown field {quoted(unknown[0])} in its config")
        fixed = {name: value for name, value in config.items() if name not in _FREE}
        different = differences(self._config, fixed)
        if different:
            raise CheckpointError(f"{path}: {different[0]}")
        try:
            _check_counts(header)
            self._learner.restore(tensors, header["steps"])
            seen = tensors["seen"].numpy()
            if seen.shape != self._seen.seen.shape:
                raise ValueError(f"seen {list(seen.shape)}, not {list(self._seen.seen.shape)}")
            self._seen.seen[:] = seen
            self._round, self._tokens = header["round"], header["tokens"]
            self._trained_games = header["games"]
            self._seconds, self._making = header["seconds"], header["making"]
            self._loss = header.get("loss")
        except (KeyError, RuntimeError, ValueError, TypeError) as problem:
            text = " ".join(str(problem).split())
            raise CheckpointError(f"{path}: does not fit its configuration ({text})") from None


def _check_counts(header: dict[str, Any]) -> None:
    """Raises ValueError or KeyError for a state whose counters are none."""
    for name in ("round", "steps", "games", "tokens", "seconds", "making"):
        kinds = (int, float) if name in ("seconds", "making") else (int,)
        if type(header[name]) not in kinds or not 0 <= header[name] < 1 << 53:
            raise ValueError(f"{name} = {quoted(header[name])} is no count")


def tokenizer_of(config: LanguageTrainingConfig, variant: Variant) -> MoveTokenizer:
    """The vocabulary that the configuration asks for."""
    return MoveTokenizer.of(variant) if config.vocabulary == "variant" else MoveTokenizer.of_all()
