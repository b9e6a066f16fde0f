"""The results of probing: cells of (run, concept, layer, checkpoint), and what follows from them.

No number stands without its controls: a cell holds a `Measurement` with all of them, or says why
there is none. A *score* is R² for numbers and balanced accuracy for classes, held out. A *gain* is
a score minus the better of raw input and the mean of the untrained networks.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Final

from engine.probing.report.rounding import rounded

FORMAT: Final = "pawnscope-probe-report-2"
SMALLEST_GAIN: Final = 0.005
"""A smaller gain counts as none, however narrow its interval (as where all scores are near 1)."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A gain on another set of held-out positions, with its bootstrap interval."""

    # The score there.
    score: float
    # Of the better control there.
    baseline: float
    # Score minus baseline.
    gain: float
    # Pointwise interval of the gain.
    gain_low: float
    # Likewise.
    gain_high: float
    # Held-out rows that were scored.
    rows: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One probe and its controls."""

    # The probe on this layer.
    score: float
    # Macro one-against-rest area under the ROC curve; None for numbers.
    auc: float | None
    # The same probe's score on its own training rows.
    training_score: float
    # L2 penalty that cross-validation chose inside the training rows.
    penalty: float
    # Always the most common class, or the training mean.
    majority: float
    # The probe on raw input.
    raw_input: float
    # The probe on the same layer of untrained networks, by seed.
    random_init: tuple[float, ...]
    # The probe for labels permuted over the positions.
    shuffled_labels: float
    # The probe for labels by hash: on training rows (what it memorises) and held out.
    control_task_training: float
    # Likewise.
    control_task: float
    # Score minus the control task's held-out score (Hewitt and Liang 2019, section 2.2).
    selectivity: float
    # Minimum description length: bits a position of the online code (Voita and Titov 2020); of a
    # number relative to the code of its marginal distribution, so that less than 0 saves bits.
    bits: float
    # The same on raw input.
    bits_raw_input: float
    # The same on untrained networks, their mean.
    bits_random_init: float
    # Bits a position without features: by the class frequencies; 0 for numbers.
    bits_marginal: float
    # Score minus the better of raw input and the mean of random init.
    gain: float
    # Pointwise interval of the gain: over positions and initialisations.
    gain_low: float
    # Likewise.
    gain_high: float
    # Ends that all cells of the report hold at once (max-statistic): all lower ones with that
    # confidence, and all upper ones.
    corrected_low: float
    # Likewise.
    corrected_high: float
    # The gain on held-out positions that occur in self-play; None where that is not apart.
    self_play: Gain | None
    # The gain where whole material signatures or pawn skeletons are held out; None where the
    # split leaves too few positions or labels.
    harder: Gain | None

    @property
    def baseline(self) -> float:
        """The score of the better control."""
        return self.score - self.gain

    @property
    def is_above_controls(self) -> bool:
        """Whether there is a gain, and its corrected interval is above zero."""
        return self.gain >= SMALLEST_GAIN and self.corrected_low > 0.0

    @property
    def is_below_controls(self) -> bool:
        """Whether there is a loss, and its corrected interval is below zero."""
        return self.gain <= -SMALLEST_GAIN and self.corrected_high < 0.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The result for one concept, layer and checkpoint of a run."""

    # `RunSummary.name`.
    run: str
    # `ConceptSummary.name`.
    concept: str
    # A named point.
    layer: str
    # `CheckpointSummary.name`.
    checkpoint: str
    # Numbers that the probe sees of a position, or of a square for a per-square concept.
    width: int
    # The result; None where it is refused.
    measurement: Measurement | None
    # Why there is no result; None where there is one.
    refused: str | None


@dataclass(frozen=True, kw_only=True)
class Combined:
    """A concept's gain at a layer and a place of training, over the training seeds."""

    # `ConceptSummary.name`.
    concept: str
    # A named point.
    layer: str
    # Index into `RunSummary.checkpoints`, the same for all runs.
    place: int
    # The gain of each run, in the order of the runs.
    gains: tuple[float, ...]
    # Their mean.
    gain: float
    # Pointwise interval of the mean gain of further seeds.
    gain_low: float
    # Likewise.
    gain_high: float
    # Interval that all combined cells hold at once.
    corrected_low: float
    # Likewise.
    corrected_high: float

    @property
    def is_above(self) -> bool:
        """Whether there is a gain, and its corrected interval is above zero."""
        return self.gain >= SMALLEST_GAIN and self.corrected_low > 0.0

    @property
    def is_below(self) -> bool:
        """Whether there is a loss, and its corrected interval is below zero."""
        return self.gain <= -SMALLEST_GAIN and self.corrected_high < 0.0

    @property
    def is_clear(self) -> bool:
        """Whether it is one of the two."""
        return self.is_above or self.is_below


@dataclass(frozen=True, kw_only=True)
class Emergence:
    """When a concept appears: at the first checkpoint with a cell clear of zero, of any layer."""

    # `ConceptSummary.name`.
    concept: str
    # Index of that checkpoint by run; None where it never appears.
    places: tuple[int | None, ...]
    # Learning steps of these checkpoints.
    steps: tuple[int | None, ...]
    # Rank in the order of appearance, 1 the first; the mean rank where several appear together.
    rank: float
    # Interval of the rank over resamples of the positions and, where there are several, of runs.
    rank_low: float
    # Likewise.
    rank_high: float


@dataclass(frozen=True, kw_only=True)
class FamilyEmergence:
    """When most concepts of a family have appeared."""

    # `ConceptSummary.family`.
    family: str
    # Those of its concepts that appear in every run, and all that are measured.
    appearing: int
    concepts: int
    # Median rank of all its concepts; those that do not appear are the last.
    rank: float
    # Interval of that median, over resamples as `Emergence.rank_low`.
    rank_low: float
    # Likewise.
    rank_high: float


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
    # Where the definition is from.
    source: str = ""
    # Under which heading it is listed.
    family: str = ""
    # Whether it has a label for each square, one drawn square a position.
    per_square: bool = False
    # Share of the rows for which it is defined.
    defined: float = 1.0
    # Share of each class where it is defined; empty for numbers.
    classes: tuple[ClassCount, ...] = ()
    # Mean of the labels (numbers).
    mean: float | None = None
    # Their standard deviation.
    spread: float | None = None
    # Why it is not measured at all; None where it is.
    absent: str | None = None


@dataclass(frozen=True, kw_only=True)
class ExampleBoard:
    """A held-out position and what a probe says of it."""

    # Piece codes [S] as the side to move sees them, its own left corner first.
    codes: tuple[int, ...]
    # The label.
    label: float
    # What the probe predicts: the number, or the probability of class 1 (of the label, if several).
    prediction: float
    # The square that is asked about, for a per-square concept.
    square: int | None = None


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Held-out positions of one concept, by its best layer of the last checkpoint."""

    # `ConceptSummary.name`.
    concept: str
    # A named point.
    layer: str
    # The highest predictions, the highest first.
    highest: tuple[ExampleBoard, ...]
    # The lowest, the lowest first.
    lowest: tuple[ExampleBoard, ...]
    # The worst errors, the worst first.
    wrong: tuple[ExampleBoard, ...]


@dataclass(frozen=True, kw_only=True)
class CheckpointSummary:
    """A network that was probed."""

    # Unique in its run.
    name: str
    # "first" or "last" of the run, "only", or "" for one between.
    role: str
    # Learning steps taken; None where the file does not say.
    step: int | None

    @property
    def label(self) -> str:
        """Its name in the HTML report."""
        if self.step is None:
            return self.name
        return f"{self.role}, step {self.step:,}" if self.role else f"step {self.step:,}"


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run, or a single checkpoint."""

    # As it was named on the command line.
    name: str
    # In the order of training; all runs have as many.
    checkpoints: tuple[CheckpointSummary, ...]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The positions."""

    # Where they are from, in words.
    source: str
    # Whether they are all positions of a solved game.
    census: bool
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
    # Held-out rows that occur in self-play; None where that is not known.
    test_self_play: int | None
    # What was kept together: "canonical position", or that and "game".
    split_by: str
    # What the harder split keeps together: "material signature" or "pawn skeleton".
    harder_by: str
    # How many of these there are, and how many are held out.
    harder_groups: int
    # Likewise.
    harder_test_groups: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything about one run, or about several of the same build that differ in their seed."""

    # All of one build and variant; one where nothing is combined.
    runs: tuple[RunSummary, ...]
    # Name of the variant.
    variant: str
    # Its board.
    width: int
    # Likewise.
    height: int
    # Letters of its piece types by code, upper case; the empty square is code 0.
    letters: tuple[tuple[int, str], ...]
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
    # Points, in the order of the forward pass.
    layers: tuple[str, ...]
    # In the order of measurement.
    concepts: tuple[ConceptSummary, ...]
    # Run by run, concept by concept, checkpoint by checkpoint, layer by layer.
    cells: tuple[Cell, ...]
    # Over the runs; empty for one run.
    combined: tuple[Combined, ...] = ()
    # In the order of appearance.
    emergence: tuple[Emergence, ...] = ()
    # Of the families, in the order of their concepts.
    families: tuple[FamilyEmergence, ...] = ()
    # One for each concept with a measurement.
    examples: tuple[Examples, ...] = ()
    # Results of engine/probing/analyses by section name, as plain values.
    sections: dict[str, Any] = field(default_factory=dict)
    # Seconds that the measurements took.
    seconds: float = 0.0
    # The command that made it; empty where it was not made by one.
    command: str = ""

    @property
    def checkpoints(self) -> tuple[CheckpointSummary, ...]:
        """Those of the first run."""
        return self.runs[0].checkpoints

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, as JSON can hold them; floats have six significant digits."""
        return {"format": FORMAT, **rounded(dataclasses.asdict(self))}

    def to_json(self) -> str:
        """The JSON text; the same report gives the same text, but for its seconds."""
        return json.dumps(self.to_dict(), allow_nan=False, separators=(",", ":")) + "\n"
