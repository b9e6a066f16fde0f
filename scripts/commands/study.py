"""`pawnscope study NAME`: train networks side by side and compare what they learn."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from engine.settings import Range
from scripts.options import FigureOptions, parse_options, print_json
from scripts.players import RUNS
from scripts.plots.curve import draw_panels
from scripts.terminal.interruption import telling
from scripts.terminal.progress import Waiting


@dataclass(frozen=True, kw_only=True)
class StudyOptions(FigureOptions):
    """Train networks side by side, one on each core, and compare them. The same command resumes.

    ablation: what each switch of the training configuration is worth on Hexapawn 5x5.
    several: one network for two sizes of Hexapawn and Gardner beside networks for one variant.
    sizes: what a network trained on four sizes of Hexapawn knows of two that it has never seen.
    losalamos: Gardner's network trained on at Los Alamos beside one that begins from zero.
    trunks: the residual tower beside transformers as large and as fast, by truth, speed and Elo.
    planted: how often probing finds what is there, and what is not, on networks built by hand.
    """

    # The study.
    name: Literal["ablation", "several", "sizes", "losalamos", "trunks", "planted"]
    # Minutes of training of every network; "planted" trains none.
    minutes: Annotated[float, Range(0, above_low=True)] = 5.0
    # Folder of runs, results and the picture; runs/study-NAME unless given.
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run what is missing, print the figures and draw the curves."""
    options = parse_options(StudyOptions, "study", arguments)
    study = importlib.import_module(f"scripts.experiments.{options.name}")
    folder = options.out or RUNS / f"study-{options.name}"
    picture = folder / f"{options.name}.svg"
    kept = f"{folder}: every saved round and every result is kept; the same command continues"
    with telling(kept), Waiting(f"study {options.name}") as waiting:
        found = study.measure(folder, options.minutes, waiting.report)
    draw_panels(study.panels(found), study.TITLE, picture)
    if options.json:
        print_json({"study": options.name, "picture": str(picture), "results": found})
    else:
        print("\n".join([*study.table(found), f"curves in {picture}"]))
    return 0
