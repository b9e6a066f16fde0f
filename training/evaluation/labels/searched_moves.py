"""The best moves of searches with a network, for the analyses that compare play."""

import numpy as np
import numpy.typing as npt

from engine.network.inference.network_evaluator import NetworkEvaluator
from engine.network.model.policy_value import VariantNetwork
from engine.probing.analyses.analyse import Search
from engine.probing.data.canonical import Rows
from engine.rules.kernels import generate_batch
from engine.rules.variant import Variant
from training.evaluation.truth import search_positions


def search_of(variant: Variant, simulations: int, positions: int = 300) -> Search:
    """PUCT without noise of so many simulations, of at most `positions` decisions of a concept.

    In float32 by torch, so that the same network plays the same moves everywhere. Positions are
    searched without their history: repetitions count from them on.
    """

    def moves(network: VariantNetwork, rows: Rows) -> npt.NDArray[np.uint16]:
        evaluator = NetworkEvaluator(network, copy=False)
        found = search_positions(variant, rows, evaluator, "puct", simulations)
        # `places` are those of the moves in the order in which they are generated.
        chosen: npt.NDArray[np.uint16] = generate_batch(variant.tables, rows)[0][found.places]
        return chosen

    return Search(name=f"{simulations} simulations", moves=moves, positions=positions)
