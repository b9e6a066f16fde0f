"""The training loop: rounds of play, learning and measurement, resumable at every round.

A round n plays its games with the network that round n - 1 left, learns from the window, and leaves
a checkpoint and the learner's whole state. A run that is killed goes on from the last whole file:
the games of an unfinished round that are already written count.

A run may have several games: each brings an equal share of a round's positions, has a window of its
own and lends every batch an equal share of its rows; one network learns them all.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from engine.network.checkpoint import (
    load_tensors,
    read_metadata,
    save_checkpoint,
    save_tensors,
)
from engine.network.inference.evaluator import NetworkEvaluator
from engine.rules.compilation.compile_time import working_time
from engine.rules.finite import NotFiniteError
from search.exact.solver import Solution
from training.config import Games, games_of
from training.data.index import Index, Shard, account_of, is_kept
from training.data.rescoring import Oracle
from training.data.run_directory import (
    RunDirectory,
    RunError,
    checkpoint_of,
    is_checkpoint,
    is_round_line,
    read_metrics,
)
from training.evaluation.truth import TruthCurves, TruthShares
from training.learner.learner import Learner
from training.learner.losses import Losses
from training.learner.networks import (
    Network,
    begun_network,
    build_network,
    check_settings,
    settings_of,
    specialised_network,
    variants_learned,
)
from training.run.choices import Choices
from training.run.gate import mean_gate_score
from training.run.monitor import Monitor, Reason, Summary
from training.run.setup import (
    GATING,
    LEARNING,
    WARMING,
    choose_hands,
    choose_threads,
    follow_inference,
    generator_of,
    make_teacher,
    prepare_actors,
    resolve_learning,
)
from training.run.variant_state import RunGame, teacher_windows
from training.selfplay.actors.processes import Company, WorkerPool, company_of_actors
from training.selfplay.actors.protocol import Actors, Order

STATE_FORMAT: Final = "pawnscope-learner-3"
_LARGEST_FINAL: Final = 6_000
"""Decision positions, over all games, that the closing measurement searches; of a larger game a
sample."""
_LARGEST_RAW: Final = 100_000
"""Decision positions, over all games, on which it measures the raw network."""


def _is_state(header: dict[str, Any], names: list[str]) -> bool:
    """Whether a header of the learner's state says what a run of these games needs; raises
    KeyError, TypeError or AttributeError where it says nothing of it."""
    acting = header["acting"]
    counts = [header["round"], header["steps"]]
    counts += [header["games"][name][kind] for name in names for kind in ("positions", "games")]
    texts = [header["digests"][name] for name in names] + list(header.get("learned", {}).values())
    return (
        (acting is None or (is_checkpoint(Path(acting)) and Path(acting).name == acting))
        and isinstance(header.get("network", {}), dict)
        and (header.get("line") is None or is_round_line(header["line"]))
        and all(isinstance(text, str) for text in texts)
        and all(type(count) is int and 0 <= count < 1 << 53 for count in counts)
        and type(header["seconds"]) in (int, float)
        and header["seconds"] >= 0
    )


class TrainingRun:
    """One session of a run. Use `train`, then `close`."""

    def __init__(
        self,
        directory: RunDirectory,
        games: Games,
        monitor: Monitor,
        *,
        solution: Solution | None = None,
        oracle: Oracle | None = None,
    ) -> None:
        """Take up the run where its files stand; raises RunError, CheckpointError, OSError.

        Of a run of one game, `solution` spares the solving where that is done already, and `oracle`
        knows values for `rescore`; without one it is the run's tablebases or the solution, if there
        are any.
        """
        self.directory = directory
        self.config = directory.config
        self._monitor = monitor
        self._choices = Choices(directory, monitor.note)
        self._round = 0
        # Rounds that are saved.
        self.rounds = 0
        self._seconds = 0.0
        self._acting: str | None = None
        self._variants = games_of(games)
        self._settings = settings_of(self._variants, self.config)
        # Digests by name of all games that the network knows: those too that it began with.
        self._learned: dict[str, str] = {}
        self._games = [
            RunGame(
                variant,
                self.config,
                number=number,
                games=len(self._variants),
                solution=solution,
                oracle=oracle,
            )
            for number, variant in enumerate(self._variants)
        ]
        curves = {game.variant.name: game.curve for game in self._games if game.curve}
        self._curves = TruthCurves(curves, self.config.measure_seconds)
        torch.set_num_threads(choose_threads(self.config, self._choices))
        self._index = Index(directory.path)
        header = self._read_state()
        network = self._first_network(header)
        self._learning = resolve_learning(self._variants, network, self.config, self._choices)
        self._pool = self._make_pool(network)
        try:
            hands = choose_hands(self._variants, network, self._learning, self._pool, self._choices)
            self._learner = Learner(
                self._variants, network, self._learning, hands.vectors if hands else None, hands
            )
            self._take_up(header)
            self._actors = self._make_actors()
            if self._pool:
                # A worker that still starts would count as time of the first round.
                self._pool.prepare([], [])
            orders = [self._order(game, 0) for game in self._games]
            # With what the network is computed in self-play, for each game.
            self._inference = prepare_actors(
                self._actors, orders, self.config.self_play, self._choices
            )
        except BaseException:
            if self._pool:
                self._pool.close()
            raise
        self._round_positions = 0
        # The last round's line of the metrics, which may not stand there yet.
        self._last_line = header.get("line") if header else None

    def _read_state(self) -> dict[str, Any] | None:
        """The header of the learner's state, if there is one; raises RunError."""
        path = self.directory.learner_state
        if not path.exists():
            if self._index.shards():
                raise RunError(f"{path}: missing, but games were played before")
            return None
        header = read_metadata(path)
        if header.get("format") != STATE_FORMAT:
            raise RunError(f"{path}: not the state of a learner that this version can read")
        names = [game.variant.name for game in self._games]
        sound = False
        with suppress(KeyError, TypeError, AttributeError):
            sound = _is_state(header, names)
        if not sound:
            raise RunError(f"{path}: its header is not that of a run of {', '.join(names)}")
        if "network" in header:
            check_settings(path, header["network"], self._settings)
        for game in self._games:
            name = game.variant.name
            if header["digests"][name] != game.variant.digest:
                raise RunError(f"{path}: the rules of {name} have changed since")
            game.take_up(header["games"][name])
        self._learned = header.get("learned", {})
        self._round, self._seconds = header["round"], header["seconds"]
        self.rounds = self._round
        self._acting = header["acting"]
        return header

    def _first_network(self, header: dict[str, Any] | None) -> Network:
        """Fresh, or begun with another's; of a run that goes on the learner's state fills it.

        Raises CheckpointError, RunError, InputError, OSError.
        """
        initial = self.config.initial
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            if initial and header is None:
                path = checkpoint_of(Path(initial))
                self._learned = variants_learned(path)
                return begun_network(path, self._variants, self._settings)
            return build_network(self._settings)

    def _unfinished(self, game: RunGame) -> list[Shard]:
        """The shards of the round that comes next."""
        number = self._round + 1
        return self._index.shards_of(game.variant.name, range(number, number + 1))

    def _make_pool(self, network: Network) -> WorkerPool | None:
        """Workers where the configuration asks for some."""
        if not self.config.self_play.actors:
            return None
        return WorkerPool(
            self._variants,
            self.config.self_play,
            self._learning,
            network,
            seed=self.config.seed,
            first_round=self._round,
            first_parts=[len(self._unfinished(game)) for game in self._games],
        )

    def _make_actors(self) -> Actors:
        """Whoever brings positions: teachers, the workers, or actors in this process."""
        config = self.config
        if config.teacher == "solver":
            teachers = {}
            for game in self._games:
                dealt = sum(shard.positions for shard in self._index.shards_of(game.variant.name))
                teachers[game.variant.name] = make_teacher(
                    game.variant, game.solution, config, dealt, game.number
                )
            return Company(teachers)
        return self._pool or company_of_actors(
            self._variants,
            config.self_play,
            seed=config.seed,
            first_round=self._round,
            number=0,
            first_parts=[len(self._unfinished(game)) for game in self._games],
        )

    def _take_up(self, header: dict[str, Any] | None) -> None:
        """Restore the learner and the windows, and write again what is missing."""
        path = self.directory.learner_state
        if header is not None:
            tensors, _ = load_tensors(path)
            try:
                self._learner.restore(tensors, header["steps"])
            except (KeyError, RuntimeError, ValueError, TypeError) as problem:
                # States of older versions do not say what their network is made of.
                text = textwrap.shorten(str(problem), 160, placeholder=" …")
                raise RunError(f"{path}: does not fit the run's network ({text})") from None
        elif self.config.gate_games:
            self._acting = self._newest.name
        self._index.take_up_checkpoints(self._round)
        lost = header is not None and self._acting is not None and not self.checkpoint.exists()
        if lost:
            self.directory.log(f"{self.checkpoint}: missing, the newest network plays")
            self._acting = self._newest.name
        if header is None or lost or not self._newest.exists():
            # Whose line of the metrics may still be untold.
            self._save(header.get("line") if header else None)
        for game in self._games:
            finished = self._index.shards_of(game.variant.name, range(self._round + 1))
            game.fill(self.directory.games, finished, self.directory.log)

    def _save(self, line: dict[str, Any] | None = None) -> Path:
        """Write the network of this step, then the learner's state; the state is the commitment.

        With the state goes the round's `line` of the metrics, as far as it is known by then.
        Raises NotFiniteError, and then what stood there stays, and OSError.
        """
        with self._refusing(f"round {self._round} is not saved"):
            self._learner.require_sound()
        path = self._newest
        about = {
            "round": self._round,
            "step": self._learner.steps,
            "seed": self.config.seed,
            "seconds": round(self._seconds, 2),
        }
        digests = {game.variant.name: game.variant.digest for game in self._games}
        learned = self._learned | digests
        save_checkpoint(
            path,
            self._learner.average,
            metadata=about,
            trained_on=list(learned),
            digests={name: digest for name, digest in learned.items() if digest},
        )
        header = {
            "format": STATE_FORMAT,
            "network": self._settings.to_dict(),
            "digests": digests,
            "learned": learned,
            "steps": self._learner.steps,
            "round": self._round,
            "seconds": self._seconds,
            "games": {game.variant.name: game.counts() for game in self._games},
            "acting": self._acting,
            "line": line,
        }
        save_tensors(self.directory.learner_state, self._learner.state(), header)
        self.rounds = self._round
        if is_kept(self._round):
            self._index.add_checkpoint(path.name, self._round, self._learner.steps)
        kept = self._index.checkpoints() | {self._newest.name, self.checkpoint.name}
        self.directory.drop_checkpoints(kept)
        return path

    @property
    def _newest(self) -> Path:
        return self.directory.checkpoint_path(self._learner.steps)

    @property
    def checkpoint(self) -> Path:
        """The network that plays: the newest, or the last that came through the gate."""
        return self.directory.checkpoints / self._acting if self._acting else self._newest

    @property
    def network(self) -> Network:
        """The acting network of the last step."""
        return self._learner.average

    def train(self, *, measured: bool = True) -> Summary:
        """Go on until the network is as good as `stop_at_raw` says, or the time is over; raises
        OSError, and NotFiniteError where learning ends in NaN or infinities: the last sound state
        stays.

        Without `measured` there are no shares of the truth in the summary. KeyboardInterrupt may
        break in anywhere: the files are whole at any moment.
        """
        self._begin()
        self._mark = working_time()
        while True:
            reason = self._reason_to_stop()
            if reason:
                return self._finish(reason, measured)
            before = self._seconds
            with self._refusing(f"round {self._round + 1}"):
                shards = self._play_round()
                played = self._count_time()
                losses = self._learn_round()
                learned = self._count_time()
                gate = self._pass_gate()
            self._round += 1
            self._count_time()
            shares = {"play_seconds": round(played, 3), "learn_seconds": round(learned, 3)}
            account = shares | account_of(shards) | gate
            line = self._line(losses, self._seconds - before, account)
            self._save(line)
            self._report(line)
            self._count_time()

    def _begin(self) -> None:
        """Before the first round of the session: what an earlier one left untold; of the run: a
        teacher's games, and the curve's point at step 0."""
        if self.directory.take_up_metrics(self._round, self._last_line):
            # A session was killed when it had saved the round and not yet told of it.
            assert self._last_line is not None
            self._report(self._last_line, measured=True)
        elif self._round:
            self._curves.measure_raw(self._evaluator)
        if self._round:
            return
        self._mark = working_time()
        if self.config.warm_start and not self._learner.steps:
            self._warm_up(Path(self.config.warm_start))
            if self.config.gate_games:
                self._acting = self._newest.name
            self._count_time()
            self._save()
        # Of a run that was killed before it had written it the file may be there, and empty.
        told = self.directory.metrics.exists() and read_metrics(self.directory.path)
        if len(self._curves) and not told:
            self._report(self._standing())

    def _warm_up(self, source: Path) -> None:
        """Learn a teacher's games; the run itself begins with empty windows."""
        windows = teacher_windows(self._games, source)
        total = sum(map(len, windows))
        steps = max(1, round(total * self.config.warm_start_passes / self._learning.batch))
        self._monitor.task("learn", steps)
        generator = generator_of(self.config.seed, WARMING)
        with self._refusing("the warm start"):
            self._learner.learn(windows, steps, generator, self._monitor.advance)

    def _count_time(self) -> float:
        """Add the time since the last call, measuring and writing included but nothing that was
        compiled; returns it."""
        now = working_time()
        spent = now - self._mark
        self._seconds += spent
        self._mark = now
        return spent

    def _play_round(self) -> list[Shard]:
        """The games of the next round: those already written, and what is missing."""
        written, orders = [], []
        for game in self._games:
            shards = self._unfinished(game)
            written += shards
            missing = game.quota - sum(shard.positions for shard in shards)
            if missing > 0:
                orders.append(self._order(game, missing))
        self._monitor.task("play", sum(order.positions for order in orders))
        if orders:
            names = self._actors.play(orders, self._monitor.advance)
            new = [self._index.add_shard(name) for name in names]
            self._inference = follow_inference(
                self._variants, new, self._inference, self.config.self_play, self._choices
            )
            written += new
        for game in self._games:
            own = [shard for shard in written if shard.variant == game.variant.name]
            game.add(self.directory.games, own)
        self._round_positions = sum(shard.positions for shard in written)
        return written

    def _order(self, game: RunGame, positions: int) -> Order:
        """So many positions of a game for the next round."""
        return Order(
            variant=game.variant.name,
            checkpoint=self.checkpoint,
            folder=self.directory.games,
            round=self._round + 1,
            positions=positions,
        )

    def _learn_round(self) -> Losses:
        learning = self._learning
        steps = max(1, round(self._round_positions * learning.passes / learning.batch))
        self._monitor.task("learn", steps)
        generator = generator_of(self.config.seed, LEARNING, self._round)
        windows = [game.window for game in self._games]
        return self._learner.learn(windows, steps, generator, self._monitor.advance)

    @contextmanager
    def _refusing(self, doing: str) -> Iterator[None]:
        """Say of numbers that are not finite where in the run they came up, and what is left."""
        try:
            yield
        except NotFiniteError as fault:
            path = self.directory.learner_state
            saved = f"round {read_metadata(path)['round']}" if path.exists() else "nothing"
            raise NotFiniteError(
                f"{self.directory.path}: {doing}: {fault}; the last state saved is {saved} (is"
                f" learning_rate = {self._learning.learning_rate:g} too high?)"
            ) from None

    def _pass_gate(self) -> dict[str, Any]:
        """Whether the new network plays from now on; without a gate it always does."""
        games = self.config.gate_games
        if not games:
            return {}
        score = mean_gate_score(
            self._variants,
            self._evaluator,
            self.checkpoint,
            self.config.self_play,
            games,
            generator_of(self.config.seed, GATING, self._round),
        )
        if score >= 0.5:
            self._acting = self._newest.name
        return {"gate": {"score": score, "passed": self._acting == self._newest.name}}

    def _evaluator(self, name: str) -> NetworkEvaluator:
        """The acting network of the last step on the game of that name."""
        (variant,) = (variant for variant in self._variants if variant.name == name)
        return NetworkEvaluator(specialised_network(self._learner.average, variant))

    def _standing(self) -> dict[str, Any]:
        """How far the run is."""
        return {
            "seconds": round(self._seconds, 2),
            "round": self._round,
            "step": self._learner.steps,
            "games": sum(game.games for game in self._games),
            "positions": sum(game.positions for game in self._games),
        }

    def _line(self, losses: Losses, took: float, account: dict[str, Any]) -> dict[str, Any]:
        """The round's line of the metrics, without a point of the truth curve."""
        values = self._standing() | {
            "positions_per_second": round(self._round_positions / took, 1),
            "window": sum(len(game.window) for game in self._games),
            **account,
            "losses": {name: round(value, 5) for name, value in asdict(losses).items()},
        }
        if len(self._games) > 1:
            values["by_game"] = {game.variant.name: game.counts() for game in self._games}
        return values

    def _report(self, line: dict[str, Any], *, measured: bool = False) -> None:
        """Write the round's line, with a point of the truth curve where one is due or asked for."""
        if len(self._curves) and (measured or self._curves.is_due(self._seconds)):
            line = line | {"truth": self._measure()}
        self.directory.add_metrics(line)
        self._monitor.metrics(line)

    def _measure(self) -> dict[str, Any]:
        """The truth curve's next point; of several games {"games": {name: point}}."""
        points = self._curves.measure(self._evaluator, self._seconds)
        return {"games": points} if len(self._games) > 1 else points[self._variants[0].name]

    def _reason_to_stop(self) -> Reason | None:
        raw = self._curves.raw
        # Of a game that is not solved nobody can say that it is played well enough.
        solved = len(self._curves) == len(self._games)
        if solved and raw is not None and raw >= self.config.stop_at_raw:
            perfect = all(reached.perfect for reached in self._curves.reached.values())
            return "perfect" if perfect else "reached"
        return "time" if self._seconds >= 60.0 * self.config.minutes else None

    def _finish(self, reason: Reason, measured: bool) -> Summary:
        shares: dict[str, TruthShares] = {}
        if measured:
            shares = self._curves.conclude(
                self._evaluator, raw=_LARGEST_RAW, search=_LARGEST_FINAL, seed=self.config.seed
            )
        several = len(self._games) > 1
        return Summary(
            seconds=self._seconds,
            rounds=self._round,
            checkpoint=self._newest,
            truth=None if several else shares.get(self._variants[0].name),
            truths=shares if several else {},
            reached=self._curves.reached,
            reason=reason,
        )

    def close(self) -> None:
        """End the workers and let go of the directory."""
        self._actors.close()
        if self._pool:
            self._pool.close()
        self._index.close()
        self.directory.close()
