"""The loop of every kind of training: rounds until there is a reason to stop.

A kind of training is a `Trainer`: self-play training is `rounds.TrainingRun`, that of language
models is in training/language. What they share:

- `training.data.run_directory.LockedDirectory`: files, lock, configuration, metrics and log;
- `training.run.state`: `read_header` and `must_fit` for the state file, `saved_round` for messages,
  `naming_fault` for numbers that are not finite;
- `training.run.monitor.Monitor`: who watches;
- this loop.

The state file commits a round. A killed session loses the rounds after the last saved one: they are
made again, so `begin` drops their lines of the metrics (`drop_metrics_after`), and the checkpoints
and games of such rounds where they cannot be used again.
"""

from collections.abc import Callable
from typing import Protocol

from training.run.monitor import Reason


class Trainer(Protocol):
    """One kind of training. KeyboardInterrupt may come anywhere: the files are whole at any
    moment. Every method may raise OSError, and NotFiniteError where learning ends in NaN or
    infinities: the last sound state stays."""

    def begin(self) -> None:
        """Before the first round of a session: bring the metrics into agreement with the saved
        state, and measure what the first call of `reason_to_stop` needs."""

    def reason_to_stop(self) -> Reason | None:
        """Why no other round begins, None where one does."""

    def run_round(self) -> None:
        """Play and learn one round, and count it. Afterwards `save` may be called."""

    def finish_round(self) -> None:
        """Save, measure and report, as often as this kind of training does."""

    def save(self) -> None:
        """Write the state of now."""


def run_rounds(trainer: Trainer, interrupted: Callable[[], bool] = lambda: False) -> Reason:
    """Train until there is a reason to stop, which is returned.

    Where `interrupted` says so after a round, the state is saved and KeyboardInterrupt raised.
    Raises as `Trainer`.
    """
    trainer.begin()
    while True:
        reason = trainer.reason_to_stop()
        if reason is not None:
            return reason
        trainer.run_round()
        if interrupted():
            trainer.save()
            raise KeyboardInterrupt
        trainer.finish_round()
