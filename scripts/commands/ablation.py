"""`pawnscope ablation VARIANT`: what each switch of training is worth, against the truth."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.rules.errors import InputError
from engine.rules.variant import get_variant
from scripts.options import FigureOptions, parse_options, print_json
from scripts.progress import Waiting
from training.studies.ablation import (
    VARIATIONS,
    missing_trials,
    prepare,
    read_results,
    run_ablation,
    table,
)
from training.studies.side_by_side import many_trainings


@dataclass(frozen=True, kw_only=True)
class AblationOptions(FigureOptions):
    """Train every variation for the same time, one on each core; again to go on."""

    # The game; one that can be solved.
    variant: str
    # Seconds of training for each.
    seconds: float = 120.0
    # Seeds of each, from 1.
    seeds: int = 3
    # Variations, divided by commas; all where left out.
    only: str | None = None
    # Where runs and results go; runs/ablation-VARIANT where left out.
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run what is missing and print the table."""
    options = parse_options(AblationOptions, "ablation", arguments)
    variant = get_variant(options.variant)
    if not options.seconds > 0:
        raise InputError(f"--seconds {options.seconds}: a training takes some time")
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: there is at least one")
    names = list(VARIATIONS) if options.only is None else options.only.split(",")
    for name in names:
        if name not in VARIATIONS:
            raise InputError(f"no variation '{name}' (there are: {', '.join(VARIATIONS)})")
    folder = options.out or Path("runs") / f"ablation-{variant.name}"
    prepare(variant, folder)
    trials = missing_trials(variant, folder, names, options.seeds, options.seconds)
    count = 0
    with Waiting(f"ablation {variant.name}") as waiting:

        def report(line: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            waiting.report(
                f"{count}/{len(trials)}  {line['variation']}, seed {line['seed']}:"
                f" raw {line['raw']:.1%}, with search {line['search']:.1%}"
            )

        waiting.report(many_trainings(len(trials), options.seconds))
        run_ablation(trials, folder, report)
    lines = [
        line
        for line in read_results(folder)
        if line["variation"] in names
        and (line["variant"], line["seconds"]) == (variant.name, options.seconds)
        and line["seed"] <= options.seeds
    ]
    if options.json:
        print_json({"results": lines})
    else:
        print(table(lines))
    return 0
