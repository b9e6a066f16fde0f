"""Features of layers on disk, for whoever asks for them: they are large.

One file a network and layer. A later measurement on the same positions reads them instead of
running the network again.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from engine.probing.activations.capture import Readout
from engine.probing.activations.layers import LayerFeatures, Squares
from engine.probing.data.canonical import Rows
from engine.system.files import replacing

Compute = Callable[[Sequence[str]], Iterator[LayerFeatures]]
"""Computes the features of layers."""


class ActivationStore:
    """The files of one set of positions, in a folder of a person's own."""

    def __init__(self, folder: Path, rows: Rows, squares: Squares, readout: Readout) -> None:
        """`rows` uint8[N, R] with a square each. Raises OSError."""
        digest = hashlib.sha256(readout.encode() + rows.tobytes() + squares.tobytes())
        self._folder = folder / digest.hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)

    def load(self, network: str, layer: str) -> LayerFeatures | None:
        """What is kept of a layer of a network, named by the digest of its weights; else None."""
        try:
            with np.load(self._path(network, layer), allow_pickle=False) as arrays:
                square = arrays["square"] if "square" in arrays.files else None
                return LayerFeatures(layer=layer, board=arrays["board"], square=square)
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            # Not there, or torn by a kill: it is computed again.
            return None

    def through(
        self, network: str, layers: Sequence[str], compute: Compute
    ) -> Iterator[LayerFeatures]:
        """The features of each layer: those that are kept, then the others, which are kept as they
        go by. Raises OSError."""
        missing = []
        for layer in layers:
            features = self.load(network, layer)
            if features is None:
                missing.append(layer)
            else:
                yield features
        for features in compute(missing) if missing else ():
            self.save(network, features)
            yield features

    def save(self, network: str, features: LayerFeatures) -> None:
        """Raises OSError."""
        arrays: dict[str, Any] = {"board": features.board}
        if features.square is not None:
            arrays["square"] = features.square
        with replacing(self._path(network, features.layer)) as path, path.open("wb") as file:
            np.savez(file, **arrays)

    def _path(self, network: str, layer: str) -> Path:
        return self._folder / f"{network}-{layer}.npz"
