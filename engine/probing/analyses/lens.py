"""Logit lens: what the heads of a network would say if it stopped after a layer.

nostalgebraist 2020, "interpreting GPT: the logit lens", for policy and value: the stream after each
block goes through the network's own last LayerNorm and its own heads. Both trunks end in such a
norm, also a residual tower that has no other, so the lens of the last block is the output itself.

    embed --> block 0 --> block 1 --> ... --> last block
      |          |           |                    |
    norm       norm        norm                 norm
      |          |           |                    |
    heads      heads       heads                heads = the output

A **forgotten solution** is a position that some earlier layer gets right and the output does not
(Sandmann 2025, "forgotten puzzles"). Any layer may be right by luck, and there are several, so the
share stands beside what independent layers of the same accuracies would give, and beside the share
with the layers in any other order.
"""

import dataclasses
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.network.model.backbone import Backbone
from engine.network.model.policy_value import VariantNetwork
from engine.network.model.residual_tower import ResidualTower
from engine.network.model.universal import VariantView
from engine.probing.analyses.positions.evaluations import (
    Collected,
    Evaluations,
    batches,
    evaluating,
    variant_of,
)
from engine.probing.analyses.positions.move_table import (
    ExactMoves,
    Flags,
    MoveTable,
    MoveTruth,
    move_table,
)
from engine.probing.analyses.positions.resampling import (
    Array,
    Estimate,
    Resamples,
    counted,
    percentage,
    present,
)
from engine.probing.data.canonical import Rows, canonical_boards, canonical_groups
from engine.rules.notation.fen import write_fen
from engine.rules.notation.uci import write_uci
from engine.rules.variant import Variant

EXAMPLES: Final = 6
"""Forgotten solutions that are shown."""


@dataclass(frozen=True, kw_only=True)
class LensLayer:
    """What the heads say after one layer; the last layer is the output."""

    # Name of its hook point.
    layer: str
    # Share of positions whose best move is the output's.
    agreement: Estimate
    # Kullback-Leibler divergence of its policy from the output's, nats.
    divergence: Estimate
    # Share of decisions in which its best move keeps the exact value.
    value_kept: Estimate | None
    # Share of decisions that it keeps and the output does not, and the reverse.
    kept_here_only: Estimate | None
    kept_by_output_only: Estimate | None
    # The output's share less its own, over the same decisions.
    behind: Estimate | None
    # Share of positions whose likeliest result (win, draw or loss) is the exact one.
    result_right: Estimate | None
    # Mean distance of its expected score from the exact value, 0 to 2.
    value_error: Estimate | None


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """Positions that some earlier layer gets right and the output does not, and the reverse."""

    # "best move": the best move keeps the exact value, over decisions. "result": the likeliest
    # result is the exact one, over all positions.
    question: str
    positions: int
    # Share that the output gets wrong.
    wrong: Estimate
    # Share that the output gets wrong and some earlier layer right.
    forgotten: Estimate
    # The same if each layer were right with its own frequency, independently of the others.
    independent: Estimate
    # Of the positions that the output gets wrong, the share that some earlier layer gets right; and
    # that less what independent layers would give. None where the output gets nothing wrong.
    of_errors: Estimate | None
    excess: Estimate | None
    # The same share if another layer were the last: the mean over all orders of the layers, and
    # the smallest and the largest.
    shuffled: Estimate
    shuffled_least: float
    shuffled_most: float
    # Share that the output gets right and no earlier layer.
    found_last: Estimate
    # The same for independent layers.
    found_last_independent: Estimate


@dataclass(frozen=True, kw_only=True)
class LensExample:
    """A forgotten solution: what each layer would play."""

    fen: str
    # Exact value for the side to move.
    value: int
    # For each layer its best move as UCI text, and whether that keeps the value.
    moves: tuple[tuple[str, bool], ...]
    # For each layer the probability of the moves that keep the value.
    kept: tuple[float, ...]
    # For each layer the expected score, -1 to 1.
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class Lens:
    """The logit lens of one network, by layer."""

    variant: str
    positions: int
    # Positions in which some legal moves keep the exact value and others do not; None unsolved.
    decisions: int | None
    # Share of the legal moves that keep the value, in decisions; None unsolved.
    random_move: float | None
    layers: tuple[LensLayer, ...]
    # None where the game is not solved.
    best_move: Forgotten | None
    result: Forgotten | None
    examples: tuple[LensExample, ...]
    # Of the intervals.
    confidence: float

    def __repr__(self) -> str:
        return _table(self)


def lens(
    network: VariantNetwork,
    rows: Rows,
    truth: MoveTruth | None = None,
    *,
    variant: Variant | None = None,
    resamples: int = 1_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Lens:
    """The logit lens of a network on unfinished positions uint8[N, R], N >= 1.

    `truth` gives exact values, where the game is solved: without it only the agreement with the
    output is measured. `variant` is the network's unless given. Where moves or results are equally
    likely, one is drawn, for all layers alike. Raises InputError for rows of another variant and
    for finished positions, NotFiniteError for outputs that are not finite.

        >>> import pawnscope as ps
        >>> network, position = ps.load("gardner").module, ps.Position("gardner")
        >>> found = lens(network, position.row[None])
        >>> print(found)                                # doctest: +ELLIPSIS
        logit lens of 1 position of gardner...
        >>> found.layers[-1].agreement.value            # the last layer is the output
        1.0
    """
    variant = variant_of(network, variant)
    legal = move_table(rows, variant, truth)
    groups = canonical_groups(canonical_boards(rows, variant))
    layers = evaluate_layers(network, legal)
    return lens_of(layers, legal, Resamples(groups, resamples, seed, confidence), seed)


def lens_of(
    layers: dict[str, Evaluations], legal: MoveTable, resamples: Resamples, seed: int = 0
) -> Lens:
    """The same of the layers from `evaluate_layers`, with what other analyses share."""
    rng = np.random.default_rng(seed)
    ties, result_ties = rng.random(len(legal.moves)), rng.random((len(legal), 3))
    chosen = np.stack([legal.best(each.policy, ties) for each in layers.values()], axis=1)
    results = np.stack([_result(each, result_ties) for each in layers.values()], axis=1)
    exact, correct = legal.exact, None
    if exact is not None:
        correct = _Correctness(exact, exact.keeping[chosen], results == exact.values[:, None])
    random_move = None
    if exact is not None and exact.decisions.any():
        random_move = float(exact.chance[exact.decisions].mean())
    return Lens(
        variant=legal.variant.name,
        positions=len(legal),
        decisions=None if exact is None else int(exact.decisions.sum()),
        random_move=random_move,
        layers=tuple(
            _layer(name, index, layers, chosen, legal, correct, resamples)
            for index, name in enumerate(layers)
        ),
        best_move=correct
        and _forgotten("best move", correct.kept, correct.exact.decisions, resamples),
        result=correct and _forgotten("result", correct.right, correct.exact.known, resamples),
        examples=() if correct is None else _examples(legal, layers, chosen, correct),
        confidence=resamples.confidence,
    )


def evaluate_layers(network: VariantNetwork, legal: MoveTable) -> dict[str, Evaluations]:
    """The lens of every layer by its hook point, `embed` first; the last is the output.

    Raises NotFiniteError, naming the layer.
    """
    names = [
        name
        for name in network.hook_points.names
        if name == "embed" or (name.startswith("block.") and name.endswith(".residual"))
    ]
    trunk = trunk_of(network)
    collected = {name: Collected(legal, name) for name in names}
    with evaluating(network), network.hook_points.read(*names) as streams:
        for batch in batches(legal):
            network(batch.boards)
            # The heads declare hook points, too: what they read must not be mixed up.
            for name, stream in dict(streams).items():
                outputs = network.outputs(trunk.norm(stream))
                collected[name].add(batch, network, outputs)
    return {name: each.evaluations() for name, each in collected.items()}


def output_of(layers: dict[str, Evaluations]) -> Evaluations:
    """The lens of the last layer."""
    return layers[list(layers)[-1]]


def trunk_of(network: VariantNetwork) -> Backbone | ResidualTower:
    """The trunk of a network, also of a universal one's view."""
    owner = network.universal if isinstance(network, VariantView) else network
    trunk = owner.trunk
    assert isinstance(trunk, Backbone | ResidualTower)
    return trunk


def _result(evaluations: Evaluations, ties: Array) -> npt.NDArray[np.int64]:
    """The likeliest result [N] as a value: 1, 0 or -1."""
    wdl = evaluations.wdl
    tied = wdl >= wdl.max(axis=1, keepdims=True)
    results: npt.NDArray[np.int64] = 1 - np.where(tied, ties, -1.0).argmax(axis=1)
    return results


class _Correctness(NamedTuple):
    """Which of L layers are right in which of N positions."""

    exact: ExactMoves
    # bool[N, L] whether the best move keeps the exact value.
    kept: Flags
    # bool[N, L] whether the likeliest result is the exact one.
    right: Flags


def _layer(
    name: str,
    index: int,
    layers: dict[str, Evaluations],
    chosen: npt.NDArray[np.int64],
    legal: MoveTable,
    correct: _Correctness | None,
    resamples: Resamples,
) -> LensLayer:
    each, output = layers[name], output_of(layers)
    divergence = legal.sums(np.exp(output.policy) * (output.policy - each.policy))
    everywhere = np.ones(len(legal), bool)
    found: dict[str, Estimate | None] = dict.fromkeys(
        (
            *("value_kept", "kept_here_only", "kept_by_output_only", "behind"),
            *("result_right", "value_error"),
        )
    )
    if correct is not None:
        exact, kept, output_kept = correct.exact, correct.kept[:, index], correct.kept[:, -1]
        error = np.where(exact.known, np.abs(each.expected_score - exact.values), np.nan)
        found = {
            "value_kept": resamples.share(kept, exact.decisions),
            "kept_here_only": resamples.share(kept & ~output_kept, exact.decisions),
            "kept_by_output_only": resamples.share(~kept & output_kept, exact.decisions),
            "behind": resamples.mean(
                np.where(exact.decisions, 1.0 * output_kept - 1.0 * kept, np.nan)
            ),
            "result_right": resamples.share(correct.right[:, index], exact.known),
            "value_error": resamples.mean(error),
        }
    return LensLayer(
        layer=name,
        agreement=present(resamples.share(chosen[:, index] == chosen[:, -1], everywhere)),
        divergence=present(resamples.mean(np.maximum(divergence, 0.0))),
        **found,
    )


def _forgotten(question: str, right: Flags, among: Flags, resamples: Resamples) -> Forgotten | None:
    """Of layers that are right or not, bool[N, L], among positions bool[N]; None of none."""
    if not among.any():
        return None
    earlier: Flags = np.logical_or.reduce(right[:, :-1], axis=1)
    last = right[:, -1]
    columns = np.column_stack([right, earlier & ~last, last & ~earlier, ~last])
    means = resamples.means(np.where(among[:, None], columns, np.nan))
    accuracies = means[:, : right.shape[1]]
    missed_by_all = (1.0 - accuracies[:, :-1]).prod(axis=1)
    independent = (1.0 - missed_by_all) * (1.0 - accuracies[:, -1])
    late_independent = missed_by_all * accuracies[:, -1]
    forgotten, late, wrong = means[:, -3:].T
    of_errors = resamples.share(earlier, among & ~last)
    excess = None
    if of_errors is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            above = forgotten / wrong - (1.0 - missed_by_all)
        excess = resamples.estimate(above, of_errors.positions)
        # Where all errors are alike, resamples do not vary: what was not seen may still differ.
        alike = above[0] - of_errors.value
        excess = dataclasses.replace(
            excess,
            low=min(excess.low, of_errors.low + alike),
            high=max(excess.high, of_errors.high + alike),
        )
    # In a random order of the layers each is the last one equally often.
    orders = np.stack([right.any(axis=1) & ~each for each in right.T], axis=1)
    of_orders = orders[among].mean(axis=0)
    count = int(among.sum())
    distinct = len(np.unique(resamples.groups[among]))
    return Forgotten(
        question=question,
        positions=count,
        wrong=resamples.estimate(wrong, count, unseen=distinct),
        forgotten=resamples.estimate(forgotten, count, unseen=distinct),
        independent=resamples.estimate(independent, count),
        of_errors=of_errors,
        excess=excess,
        shuffled=present(resamples.share(orders.mean(axis=1), among)),
        shuffled_least=float(of_orders.min()),
        shuffled_most=float(of_orders.max()),
        found_last=resamples.estimate(late, count, unseen=distinct),
        found_last_independent=resamples.estimate(late_independent, count),
    )


def _examples(
    legal: MoveTable,
    layers: dict[str, Evaluations],
    chosen: npt.NDArray[np.int64],
    correct: _Correctness,
) -> tuple[LensExample, ...]:
    """The forgotten solutions of which some earlier layer was surest and the output least."""
    exact, kept = correct.exact, correct.kept
    chances = np.stack(
        [legal.sums(np.exp(each.policy) * exact.keeping) for each in layers.values()], axis=1
    )
    forgotten = np.flatnonzero(exact.decisions & kept[:, :-1].any(axis=1) & ~kept[:, -1])
    sureness = chances[forgotten, :-1].max(axis=1, initial=0.0) - chances[forgotten, -1]
    found = []
    for place in forgotten[np.argsort(-sureness, kind="stable")][:EXAMPLES].tolist():
        row = legal.rows[place]
        found.append(
            LensExample(
                fen=write_fen(legal.variant, row),
                value=int(exact.values[place]),
                moves=tuple(
                    (write_uci(legal.variant, row, int(legal.moves[move])), bool(right))
                    for move, right in zip(chosen[place], kept[place], strict=True)
                ),
                kept=tuple(chances[place].tolist()),
                scores=tuple(float(each.expected_score[place]) for each in layers.values()),
            )
        )
    return tuple(found)


def _table(found: Lens) -> str:
    lines = [f"logit lens of {counted(found.positions, 'position')} of {found.variant}"]
    solved = found.decisions is not None
    heading = f"{'layer':18}{'agrees':>8}{'KL':>8}"
    if solved:
        heading += f"{'keeps':>8}{'result':>8}{'error':>8}"
        lines[0] += f", {found.decisions:,} of them decisions"
    lines.append(heading)
    for each in found.layers:
        line = f"{each.layer:18}{percentage(each.agreement.value):>6} %"
        line += f"{each.divergence.value:8.3f}"
        for share in (each.value_kept, each.result_right) if solved else ():
            line += f"{'-':>8}" if share is None else f"{percentage(share.value):>6} %"
        lines.append(line + (f"{each.value_error.value:8.3f}" if each.value_error else ""))
    if found.random_move is not None:
        lines.append(f"{'a random move':34}{percentage(found.random_move):>6} %")
    for each_question in (found.best_move, found.result):
        if each_question is not None:
            lines.append(
                f"{each_question.question}: forgotten {each_question.forgotten.percent()}, "
                f"independent layers {percentage(each_question.independent.value)} %, "
                f"found last {each_question.found_last.percent()}"
            )
    return "\n".join(lines)
