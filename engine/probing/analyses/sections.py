"""Analyses of one run or several as the sections of a report: plain values, and words by rule.

    report.sections = sections({"runs/1": analyse(...), "runs/2": analyse(...)})

Each section has its template, `report/sections/NAME.html.j2`. A sentence is written from the
numbers: what is told apart from its control is said to be, and what is not is said not to be.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.probing.analyses.analyse import Analyses, CheckpointAnalysis
from engine.probing.analyses.attention import DIFFERENCE, HeadScore
from engine.probing.analyses.lens import Forgotten, Lens
from engine.probing.analyses.piece_values import PieceValues, Regression
from engine.probing.analyses.play import ALL, Play
from engine.probing.analyses.positions.resampling import Estimate, over_seeds, percentage
from engine.rules.errors import InputError

Values = dict[str, Any]
"""Plain values, as JSON can hold them."""


def sections(runs: Mapping[str, Analyses]) -> dict[str, Values]:
    """The sections of a report on these runs, by name; raises InputError for no run."""
    if not runs:
        raise InputError("no run to report on")
    each: dict[str, Callable[[Analyses], Values]] = {
        "lens": _lens,
        "attention": _attention,
        "piece_values": _piece_values,
        "openings": _openings,
        "play": _play,
    }
    return {
        name: {
            "runs": [_steps(run, found) | section(found) for run, found in runs.items()],
            "words": _words_over_seeds(name, list(runs.values())),
        }
        for name, section in each.items()
    }


def _steps(name: str, found: Analyses) -> Values:
    """What every section says of a run: its name, and the steps and names of its checkpoints."""
    steps = [each.step for each in found.checkpoints]
    places: Sequence[int | None] = steps
    known = [step for step in steps if step is not None]
    if len(known) < len(steps) or known != sorted(set(known)):
        places = range(len(steps))
    return {
        "name": name,
        "steps": list(places),
        "labels": [
            each.name if each.step is None else f"{each.step:,}" for each in found.checkpoints
        ],
        "positions": found.positions,
        "confidence": found.confidence,
    }


def _lens(found: Analyses) -> Values:
    last = found.checkpoints[-1].lens
    return {
        "checkpoints": [dataclasses.asdict(each.lens) for each in found.checkpoints],
        "untrained": dataclasses.asdict(found.untrained),
        "words": [*_layer_words(last), *_forgotten_words(last.best_move, last.result)],
        "examples": [
            dataclasses.asdict(each)
            | {
                "pieces": pieces(each.fen),
                "arrows": [
                    (*_squares(move, each.fen), "right" if right else "wrong", layer.layer)
                    for layer, (move, right) in zip(last.layers, each.moves, strict=True)
                ],
                "width": _size(each.fen)[0],
                "height": _size(each.fen)[1],
            }
            for each in last.examples
        ],
    }


def _layer_words(last: Lens) -> list[str]:
    output = last.layers[-1]
    kept = output.value_kept
    if kept is None or last.random_move is None:
        agrees = next(each for each in last.layers if each.agreement.value > 0.5)
        text = (
            "No exact values are known here, so layers are compared with the output alone. The"
            " first layer whose best move is the output's in more than half of the positions is"
            f" {agrees.layer}."
        )
        return [text]
    near = next(each for each in last.layers if each.behind is not None and each.behind.low <= 0.0)
    nearest = f"The first layer that is not clearly worse is {near.layer}."
    if near is last.layers[-1]:
        nearest = "Every earlier layer is clearly worse."
    text = (
        f"The output keeps the exact value in {kept.percent()} of {kept.positions:,} decisions; a"
        f" random legal move keeps it in {percentage(last.random_move)} %. {nearest}"
    )
    return [text]


def _forgotten_words(*questions: Forgotten | None) -> list[str]:
    words = []
    for each in questions:
        if each is None:
            continue
        what = (
            "loses the value in"
            if each.question == "best move"
            else "has another result likeliest in"
        )
        text = f"{each.question.capitalize()}: the output {what} {each.wrong.percent()}."
        if each.of_errors is not None and each.excess is not None:
            verdict = "not told apart from what"
            if each.excess.is_above_zero:
                verdict = "more than"
            elif each.excess.is_below_zero:
                verdict = "fewer than"
            text += (
                f" In {each.forgotten.percent()}, {each.of_errors.percent()} of these,"
                f" some earlier layer is right: {verdict} independent layers of the same accuracies"
                f" would give ({percentage(each.independent.value)} %). With another layer in the"
                f" last place the share would be {percentage(each.shuffled_least)} to"
                f" {percentage(each.shuffled_most)} %, on average {each.shuffled.percent()}."
            )
        text += f" Found by the output alone: {each.found_last.percent()}."
        words.append(text)
    return words


def _attention(found: Analyses) -> Values:
    last = found.checkpoints[-1].attention
    scores = [each.attention.scores for each in found.checkpoints]
    heads = sorted({(each.block, each.head) for each in last.scores})
    relations = list(dict.fromkeys(each.relation for each in last.scores))
    strongest = sorted(last.scores, key=lambda each: -each.gain)[:6]
    return {
        "absent": last.absent,
        "exact": last.exact,
        "heads": [f"block {block}, head {head}" for block, head in heads],
        "relations": relations,
        "scores": [
            [_score(last.scores, block, head, relation) for relation in relations]
            for block, head in heads
        ],
        "over_training": [
            {
                "name": f"{each.block}.{each.head} {each.relation}",
                "scores": [_score(those, each.block, each.head, each.relation) for those in scores],
            }
            for each in strongest
            if each.stands_out
        ],
        "words": _attention_words(found.checkpoints[-1]),
    }


def _score(scores: Sequence[HeadScore], block: int, head: int, relation: str) -> Values | None:
    for each in scores:
        if (each.block, each.head, each.relation) == (block, head, relation):
            return dataclasses.asdict(each) | {"stands_out": each.stands_out}
    return None


def _attention_words(last: CheckpointAnalysis) -> list[str]:
    found = last.attention
    if found.absent is not None:
        return [f"No attention to show: {found.absent}."]
    words = []
    for relation in dict.fromkeys(each.relation for each in found.scores):
        standing = [each for each in found.of(relation) if each.stands_out]
        if not standing:
            words.append(f"{relation.capitalize()}: no head is told apart from untrained ones.")
            continue
        first = standing[0]
        heads = [f"{each.block}.{each.head}" for each in standing]
        named = f"head {heads[0]} stands" if len(heads) == 1 else f"heads {', '.join(heads)} stand"
        words.append(
            f"{relation.capitalize()}: {named} out from untrained ones. {_strongest(first)}, a gain"
            f" of {first.gain:+.2f} ({first.corrected_low:+.2f} to {first.corrected_high:+.2f})."
        )
    return words


def _strongest(first: HeadScore) -> str:
    if first.relation == DIFFERENCE:
        return f"The strongest gives the best move {first.score:.2f} more of its attention"
    return (
        f"The strongest gives this {first.score:.2f} of its attention, a uniform head"
        f" {first.uniform:.2f}"
    )


def _piece_values(found: Analyses) -> Values:
    last = found.checkpoints[-1].piece_values
    return {
        "checkpoints": [dataclasses.asdict(each.piece_values) for each in found.checkpoints],
        "words": _piece_words(last),
    }


def _piece_words(last: PieceValues) -> list[str]:
    words = []
    if len(last.log_odds.order) > 1:
        words.append(f"Order by the value head's log-odds: {_order_words(last.log_odds)}.")
        if last.exact is not None:
            words.append(f"Order by the exact value: {_order_words(last.exact)}.")
    if last.exact is not None and last.score_where_exact is not None:
        pairs = zip(last.exact.pieces, last.score_where_exact.pieces, strict=True)
        for exact, own in pairs:
            agree = own.value.low <= exact.value.high and exact.value.low <= own.value.high
            words.append(
                f"A {exact.piece} more is worth {_worth(own.value)} of expected score to the"
                f" network and {_worth(exact.value)} in truth: the intervals"
                f" {'overlap' if agree else 'do not overlap'}."
            )
    words += [f"{piece.capitalize()}: not measured, {why}." for piece, why in last.absent]
    return words


def _worth(value: Estimate) -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"


def _order_words(regression: Regression) -> str:
    order = " > ".join(regression.order)
    pairs = zip(regression.order, regression.order[1:], regression.order_pairs, strict=False)
    unsure = [f"{first} and {second}" for first, second, share in pairs if share < 0.95]
    text = f"{order}, in {percentage(regression.order_certainty)} % of resamples"
    return text + (f"; not told apart: {', '.join(unsure)}" if unsure else "")


def _openings(found: Analyses) -> Values:
    return {"checkpoints": [dataclasses.asdict(each.opening) for each in found.checkpoints]}


def _play(found: Analyses) -> Values:
    if found.play is None:
        return {"play": None, "words": ["No exact values are known, so play cannot be judged."]}
    return {
        "play": dataclasses.asdict(found.play),
        "shares": {
            concept.concept: [
                dataclasses.asdict(found.play.share(concept.concept, name))
                for name in found.play.checkpoints
            ]
            for concept in found.play.concepts
        },
        "words": _play_words(found.play),
    }


def _play_words(play: Play) -> list[str]:
    words = []
    last = play.checkpoints[-1]
    for concept in play.concepts:
        if concept.concept == ALL:
            share = play.share(ALL, last)
            text = "At the last checkpoint the raw policy keeps the value in "
            text += share.network.percent()
            if share.search is not None:
                text += f", {play.search} in {share.search.percent()}"
            words.append(f"{text}; a random legal move in {percentage(concept.random_move)} %.")
    named = [each for each in play.concepts if each.concept != ALL]
    never = [each.concept for each in named if each.network_since is None]
    if named:
        words.append(
            f"Above untrained networks at some checkpoint, after correction:"
            f" {len(named) - len(never)} of {len(named)} concepts."
            + (f" Not: {', '.join(never)}." if never else "")
        )
    return words


def _words_over_seeds(name: str, runs: Sequence[Analyses]) -> list[str]:
    """The main figures of a section over training seeds; nothing for one run."""
    figures: dict[str, list[float | None]] = {}
    lasts = [run.checkpoints[-1] for run in runs]
    if name == "lens":
        figures = {
            "forgotten best moves": [_forgotten(each.lens.best_move) for each in lasts],
            "forgotten results": [_forgotten(each.lens.result) for each in lasts],
        }
    elif name == "play":
        figures = {"value kept by the raw policy": [_kept(run.play) for run in runs]}
    words = []
    for what, values in figures.items():
        numbers = [value for value in values if value is not None]
        estimate = over_seeds(numbers) if len(numbers) == len(runs) else None
        if estimate is not None:
            words.append(f"Over {len(runs)} training seeds, {what}: {estimate.percent()}.")
    if len(runs) > 1 and name == "attention":
        words += _relations_over_seeds(lasts)
    if len(runs) > 1 and name == "piece_values":
        words += _orders_over_seeds(lasts)
    return words


def _relations_over_seeds(lasts: Sequence[CheckpointAnalysis]) -> list[str]:
    standing = [
        {each.relation for each in last.attention.scores if each.stands_out} for last in lasts
    ]
    relations = dict.fromkeys(each.relation for last in lasts for each in last.attention.scores)
    if not relations:
        return []
    every = [name for name in relations if all(name in found for found in standing)]
    some = [
        name for name in relations if name not in every and any(name in found for found in standing)
    ]
    text = f"Some head stands out in all {len(lasts)} training seeds along: {_listed(every)}."
    return [text + (f" Only in some seeds: {_listed(some)}." if some else "")]


def _orders_over_seeds(lasts: Sequence[CheckpointAnalysis]) -> list[str]:
    orders = [last.piece_values.log_odds.order for last in lasts]
    if len(orders[0]) < 2:
        return []
    most = max(orders, key=orders.count)
    same = f"{orders.count(most)} of {len(orders)} training seeds"
    return [f"Order of the pieces in {same}: {' > '.join(most)}."]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _forgotten(found: Forgotten | None) -> float | None:
    return None if found is None else found.forgotten.value


def _kept(play: Play | None) -> float | None:
    if play is None or not play.concepts:
        return None
    return play.share(ALL, play.checkpoints[-1]).network.value


def _ranks(fen: str) -> list[list[str]]:
    """The squares of a FEN's ranks, the highest first; "" for an empty square."""
    ranks = []
    for rank in fen.split()[0].split("/"):
        squares: list[str] = []
        for letter in rank.replace("+", ""):
            squares += [""] * int(letter) if letter.isdigit() else [letter]
        ranks.append(squares)
    return ranks


def pieces(fen: str) -> list[str]:
    """The letters of a FEN's pieces [S], a1 first, file fastest, "" for an empty square."""
    return [letter for rank in reversed(_ranks(fen)) for letter in rank]


def _size(fen: str) -> tuple[int, int]:
    ranks = _ranks(fen)
    return len(ranks[0]), len(ranks)


def _squares(move: str, fen: str) -> tuple[int, int]:
    """From- and to-square of a move in UCI text."""
    width = _size(fen)[0]
    names = move[:2], move[2:4]
    first, second = ((int(name[1]) - 1) * width + ord(name[0]) - ord("a") for name in names)
    return first, second
