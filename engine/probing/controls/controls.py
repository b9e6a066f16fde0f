"""What a score must be compared with before it means anything.

majority       the most common class, or the mean: no features at all
raw input      the same probe on what the network is shown: did it have to compute anything?
random init    the same probe on networks of the same build that have learned nothing, over
               seeds: random features of a board are good features
shuffled       the concept's labels dealt anew over the canonical positions: chance, unless the
               split leaks
control task   labels that a hash of the board decides, drawn from the concept's own
               distribution (Hewitt and Liang 2019, section 2): nothing to learn, so the fit to
               the *training* rows says how much a probe of this width can memorise, and on
               held-out rows it is chance
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from engine.network.model.config import NetworkConfig
from engine.network.model.policy_value import PolicyValueNet
from engine.probing.concepts.registry import Labels
from engine.probing.data.canonical import board_fractions
from engine.probing.data.splits import Sample


def random_networks(config: NetworkConfig, seeds: Sequence[int]) -> Iterator[PolicyValueNet]:
    """Freshly initialised networks of this configuration, one for each seed."""
    for seed in seeds:
        # PyTorch initialises from its global generator: it is put back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = PolicyValueNet(config)
        yield network.eval()


def shuffled_labels(sample: Sample, labels: Labels, rng: np.random.Generator) -> Labels:
    """Each canonical position takes the label [N] of another; twins go on sharing theirs."""
    _, first = np.unique(sample.groups, return_index=True)
    shuffled: Labels = labels[rng.permutation(first)][sample.groups]
    return shuffled


def control_task_labels(sample: Sample, labels: Labels, seed: int) -> Labels:
    """Labels [N] from the distribution of `labels`, chosen by a hash of the canonical board."""
    chosen = board_fractions(sample.boards, seed) * len(labels)
    drawn: Labels = np.sort(labels)[chosen.astype(np.int64)]
    return drawn
