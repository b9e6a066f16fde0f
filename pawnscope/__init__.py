"""Pawnscope as a library: an AlphaZero small enough to look inside.

    import pawnscope as ps

    net = ps.load("gardner")
    position = ps.Position("gardner")
    print(net.evaluate(position))
    print(ps.search(net, position, simulations=400))

The network comes first, then one position, a list of them, or rows uint8[N, R]: one gives a result
that prints as a table, several give arrays. Values are seen from the side to move. Wrong input
raises `InputError`, which quotes it.

Below these names, `engine`, `search` and `training` are documented in their READMEs. PyTorch is
imported by the first function that needs it.
"""

import os

from pawnscope.own_packages import require_own_packages

require_own_packages()
# Where PyTorch is not loaded yet: its waiting threads spin by default, and on a busy machine work
# takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from engine.rules.errors import InputError  # noqa: E402
from engine.rules.position import Position  # noqa: E402
from engine.rules.variant import Variant, get_variant, load_variants, variant_names  # noqa: E402
from pawnscope.evaluations import Evaluation, Evaluations  # noqa: E402
from pawnscope.games import Game, read_games  # noqa: E402
from pawnscope.matches import MatchResult, match  # noqa: E402
from pawnscope.networks import Network, load  # noqa: E402
from pawnscope.probes import ProbeReport, probe  # noqa: E402
from pawnscope.runs import Run, train  # noqa: E402
from pawnscope.searches import SearchResult, SearchResults, search  # noqa: E402
from pawnscope.solutions import Solution, solve  # noqa: E402

__all__ = [
    "Evaluation",
    "Evaluations",
    "Game",
    "InputError",
    "MatchResult",
    "Network",
    "Position",
    "ProbeReport",
    "Run",
    "SearchResult",
    "SearchResults",
    "Solution",
    "Variant",
    "get_variant",
    "load",
    "load_variants",
    "match",
    "probe",
    "read_games",
    "search",
    "solve",
    "train",
    "variant_names",
]
