"""The results of probing one run: cells of (concept, layer, checkpoint), and their JSON.

No number stands without its controls: a cell holds a `Measurement` with all of them, or says why
there is none.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final

FORMAT: Final = "pawnscope-probe-report-1"
SMALLEST_GAIN: Final = 0.005
"""A smaller gain counts as none, however narrow its interval (as where all scores are near 1)."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One probe and its controls. Scores are R² for scalars, else balanced accuracy, held out."""

    # The probe on this layer.
    score: float
    # Macro one-against-rest area under the ROC curve; None for scalars.
    auc: float | None
    # The same probe's score on its own training rows.
    training_score: float
    # L2 penalty that validation chose inside the training rows.
    penalty: float
    # Always the most common class, or the training mean.
    majority: float
    # The probe on one-hot tokens and state features.
    raw_input: float
    # The probe on the same layer of untrained networks, by seed.
    random_init: tuple[float, ...]
    # The probe for labels permuted over the positions.
    shuffled_labels: float
    # The probe for labels by hash: on training rows (what it memorises) and held out.
    control_task_training: float
    # Likewise.
    control_task: float
    # Score minus the better of raw input and the mean of random init.
    gain: float
    # Bootstrap interval of the gain.
    gain_low: float
    # Likewise.
    gain_high: float

    @property
    def baseline(self) -> float:
        """The score of the better control."""
        return self.score - self.gain

    @property
    def is_above_controls(self) -> bool:
        """Whether there is a gain and its whole interval is above zero."""
        return self.gain >= SMALLEST_GAIN and self.gain_low > 0.0

    @property
    def is_below_controls(self) -> bool:
        """Whether there is a loss and its whole interval is below zero."""
        return self.gain <= -SMALLEST_GAIN and self.gain_high < 0.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The result for one concept, layer and checkpoint."""

    # `ConceptSummary.name`.
    concept: str
    # A named point.
    layer: str
    # `CheckpointSummary.name`.
    checkpoint: str
    # Numbers that the probe sees of a position.
    width: int
    # The result; None where it is refused.
    measurement: Measurement | None
    # Why there is no result; None where there is one.
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class ClassCount:
    """How often a label occurs, in rows."""

    # Its name in the report.
    name: str
    # Training rows.
    train: int
    # Held-out rows.
    test: int


@dataclass(frozen=True, kw_only=True)
class ConceptSummary:
    """A concept and its labels on this sample."""

    # Unique in the report.
    name: str
    # "binary", "categorical", "count" or "real".
    kind: str
    # "R²" or "balanced accuracy".
    metric: str
    # What exactly it is.
    definition: str
    # Empty for scalars.
    classes: tuple[ClassCount, ...] = ()
    # Mean of the labels (scalars).
    mean: float | None = None
    # Their standard deviation.
    spread: float | None = None
    # Why it is not measured at all; None where it is.
    absent: str | None = None


@dataclass(frozen=True, kw_only=True)
class CheckpointSummary:
    """A network that was probed."""

    # Unique in the report.
    name: str
    # "first" or "last" of the run, or "only".
    role: str
    # Learning steps taken; None where the file does not say.
    step: int | None

    @property
    def label(self) -> str:
        """Its name in the HTML report."""
        return self.name if self.step is None else f"{self.role}, step {self.step:,}"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The positions."""

    # Where they are from, in words.
    source: str
    # Rows in all.
    rows: int
    # Canonical positions among them.
    distinct: int
    # Training rows, and canonical positions among them.
    train_rows: int
    # Likewise.
    train_distinct: int
    # Rows held out, and canonical positions among them.
    test_rows: int
    # Likewise.
    test_distinct: int
    # Games that the held-out rows are from; None where games are not known.
    test_games: int | None
    # What was kept together: "canonical position", or that and "game".
    split_by: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything about one run."""

    # The run or checkpoint, as it was named on the command line.
    run: str
    # Name of the variant.
    variant: str
    # The network's build in a few words.
    network: str
    # How an activation was read out.
    readout: str
    # Of splits, controls and resamples.
    seed: int
    # Seeds of the untrained networks.
    random_seeds: tuple[int, ...]
    # Bootstrap resamples.
    resamples: int
    # Of the intervals.
    confidence: float
    # The positions.
    counts: Counts
    # In the order of training.
    checkpoints: tuple[CheckpointSummary, ...]
    # Points, in the order of the forward pass.
    layers: tuple[str, ...]
    # In the order of measurement.
    concepts: tuple[ConceptSummary, ...]
    # Concept by concept, checkpoint by checkpoint, layer by layer.
    cells: tuple[Cell, ...]

    def cell(self, concept: str, layer: str, checkpoint: str) -> Cell:
        """The cell of these names; raises KeyError."""
        for cell in self.cells:
            if (cell.concept, cell.layer, cell.checkpoint) == (concept, layer, checkpoint):
                return cell
        raise KeyError((concept, layer, checkpoint))

    def cells_of(self, concept: str, layer: str | None = None) -> list[Cell]:
        """The cells of a concept, or of one of its layers, in the order of the checkpoints."""
        return [
            cell for cell in self.cells if cell.concept == concept and layer in (None, cell.layer)
        ]

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as JSON can hold them."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """The JSON text; the same report gives the same text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
