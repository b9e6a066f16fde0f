"""Networks: load one by the name of a variant, from a file or from a run, and ask it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from engine.rules.errors import InputError, UnknownVariantError
from engine.rules.position import Position
from engine.rules.variant import Variant, get_variant
from engine.settings import quoted
from engine.system.files import home_expanded
from pawnscope.evaluations import Evaluation, Evaluations, evaluate_batch
from pawnscope.positions import Batch, Positions, batch_of
from pawnscope.threads import torch_threads_for

if TYPE_CHECKING:
    from engine.network.inference.network_evaluator import NetworkEvaluator
    from engine.network.model.policy_value import PolicyValueNet, VariantNetwork
    from engine.network.model.universal import UniversalNet

Activations: TypeAlias = npt.NDArray[np.float32]
"""float32[B, S, D] at most points (B positions, S squares, D channels), without B for one
position; points inside an attention block and behind the pooled board have other shapes."""

_NAMES_SHOWN: Final = 8


class Network:
    """A policy/value network with the position's words around it: see `load`.

        >>> import pawnscope as ps
        >>> net = ps.load("gardner")
        >>> position = ps.Position("gardner")
        >>> net.evaluate(position).best in net.evaluate(position).policy
        True
        >>> net.activations(position, "block.2.residual").shape     # [squares, channels]
        (25, 64)
        >>> net.activations([position, position], "block.2.residual").shape
        (2, 25, 64)

    It computes with `module` as that is now, in float32 on the CPU: open hook points and changed
    weights count. A network that was trained on several variants plays any; `variant` is None then
    and each position says its own.
    """

    def __init__(
        self,
        module: "PolicyValueNet | UniversalNet",
        *,
        variant: str | Variant | None = None,
        source: str = "made in this program",
    ) -> None:
        """Wrap a torch module, which is set to evaluation mode; `load` reads one from a file.

        `variant` is needed where a network of one variant bears a name that is not loaded.
        `source` says where it is from. Raises InputError, UnknownVariantError.
        """
        from engine.network.model.policy_value import PolicyValueNet
        from engine.network.model.universal import UniversalNet

        self.variant: Variant | None = _as_variant(variant)
        """The variant that it plays; None where it plays any."""
        if isinstance(module, PolicyValueNet):
            self.variant = self.variant or get_variant(module.config.variant)
            _require_same_board(module, self.variant)
        elif not isinstance(module, UniversalNet):
            raise InputError(f"a PolicyValueNet or a UniversalNet is wrapped, not {quoted(module)}")
        self.module: PolicyValueNet | UniversalNet = module.eval()
        """The torch module; `module.hook_points` reads, replaces and steers activations."""
        self.source = source
        """Where it is from."""

    @property
    def hook_points(self) -> tuple[str, ...]:
        """Names of the points that `activations` reads, in the order of the forward pass."""
        return self.module.hook_points.names

    @property
    def parameter_count(self) -> int:
        """Number of trained weights."""
        return self.module.parameter_count

    @overload
    def evaluate(self, positions: Position) -> Evaluation: ...

    @overload
    def evaluate(self, positions: Positions) -> Evaluations: ...

    def evaluate(self, positions: Position | Positions) -> Evaluation | Evaluations:
        """What it says without search of one position, of several, or of rows uint8[N, R].

        Raises InputError where a game is over, for another variant's positions and for none.
        """
        batch = self._batch(positions)
        with torch_threads_for(len(batch.rows)):
            found = evaluate_batch(self.evaluator(batch.variant), batch)
        return found[0] if batch.single else found

    @overload
    def activations(self, positions: Position | Positions, point: str) -> Activations: ...

    @overload
    def activations(
        self, positions: Position | Positions, point: list[str] | tuple[str, ...]
    ) -> dict[str, Activations]: ...

    def activations(
        self, positions: Position | Positions, point: str | list[str] | tuple[str, ...]
    ) -> Activations | dict[str, Activations]:
        """The activation at a hook point, or of several points by name.

        float32[B, S, D] for B positions at the points of the residual stream, and [S, D] for one.
        Squares are counted from a1 as the side to move sees them: with Black to move, ranks from
        the top. Finished games are allowed. Raises InputError for an unknown point.
        """
        points = [point] if isinstance(point, str) else point
        if not isinstance(points, list | tuple) or not points:
            raise InputError(f"the name of a hook point, or several, are expected, not {point!r}")
        batch = self._batch(positions)
        with torch_threads_for(len(batch.rows)):
            found = self._read(batch, points)
        if batch.single:
            found = {name: values[0] for name, values in found.items()}
        return found[point] if isinstance(point, str) else found

    def evaluator(self, variant: str | Variant | None = None) -> "NetworkEvaluator":
        """The network for a variant as `search` and players take it; the only one by default.

        Raises InputError for another variant than its own.
        """
        wanted = _as_variant(variant) or self.variant
        if wanted is None:
            raise InputError(f"{self._short} plays any variant: name one")
        if self.variant is not None and wanted.digest != self.variant.digest:
            raise InputError(f"{self._short} plays {self.variant.name}, not {wanted.name}")
        from engine.network.inference.network_evaluator import NetworkEvaluator

        return NetworkEvaluator(self._on(wanted), copy=False)

    def _on(self, variant: Variant) -> "VariantNetwork":
        from engine.network.model.universal import UniversalNet

        if isinstance(self.module, UniversalNet):
            return self.module.for_variant(variant)
        return self.module

    def _batch(self, positions: object) -> Batch:
        return batch_of(positions, self.variant, "the network")

    def _read(self, batch: Batch, points: Sequence[str]) -> dict[str, Activations]:
        """[B, …] by name of the point."""
        import torch

        from engine.network.inference.network_evaluator import BATCH

        network = self._on(batch.variant)
        parts: dict[str, list[Activations]] = {name: [] for name in points}
        with torch.inference_mode(), network.hook_points.read(*parts) as activations:
            for start in range(0, len(batch.rows), BATCH):
                network(torch.from_numpy(batch.rows[start : start + BATCH]))
                for name, found in parts.items():
                    # A copy: later layers may work in place.
                    found.append(activations[name].float().cpu().numpy().copy())
        return {name: np.concatenate(found) for name, found in parts.items()}

    @property
    def _short(self) -> str:
        return f"the network from {self.source}"

    def __repr__(self) -> str:
        config: Any = self.module.config
        plays = self.variant.name if self.variant else "any variant"
        kind = f"{config.trunk} {config.blocks}x{config.channels}"
        names = ", ".join(_shortened(self.hook_points))
        return (
            f"Network for {plays}: {kind}, {self.parameter_count:,} parameters\n"
            f"  from {self.source}\n"
            f"  {len(self.hook_points)} hook points: {names}"
        )


def load(network: str | Path | Variant, *, variant: str | Variant | None = None) -> Network:
    """A network by the name of a variant, from a checkpoint's file or from a run's directory.

        >>> import pawnscope as ps
        >>> ps.load("gardner").variant
        Variant('gardner', 5x5)
        >>> ps.load("runs/hexapawn").evaluate(ps.Position("hexapawn")).best in ("a2", "b2", "c2")
        True

    A text that is the name of a variant means that variant, even where a file has the same name;
    `./NAME`, or a `Path`, is always a file. A variant's network is the one that comes with
    Pawnscope, else one from `runs/` in the working directory. A run's network is its last.

    `variant` is the variant to play: of a network that was trained on several it makes a network
    for this one alone. Raises InputError where there is no such network, or only one for other
    rules, and OSError.
    """
    from engine.network.checkpoint import (
        Description,
        load_checkpoint,
        load_universal,
        read_description,
    )

    path, named = _find(network)
    wanted = _as_variant(variant) or named
    if named is not None and wanted is not None and named.digest != wanted.digest:
        raise InputError(f"the network for {named.name} does not play {wanted.name}")
    description = read_description(path)
    source = _source(path, description.metadata)
    if wanted is None:
        if not isinstance(description, Description):
            return Network(load_universal(path).network, source=source)
        wanted = _variant_in(path, description.variant_name)
    module = load_checkpoint(path, variant=wanted).network
    return Network(module, variant=wanted, source=source)


def _find(network: object) -> tuple[Path, Variant | None]:
    """The file, and the variant where that was given."""
    from training.data.run_directory import checkpoint_of

    if isinstance(network, Variant):
        return _network_for(network), network
    if not isinstance(network, str | Path):
        raise InputError(f"the name of a variant or a path is expected, not {quoted(network)}")
    unknown = "no such variant"
    if isinstance(network, str):
        try:
            variant = get_variant(network)
            return _network_for(variant), variant
        except UnknownVariantError as problem:
            unknown = str(problem)
    if not network:
        raise InputError("the name of a variant or a path is expected, not ''")
    path = home_expanded(network)
    if not path.exists():
        if isinstance(network, Path) or path.name != network:
            raise InputError(f"{network}: no such file or folder")
        raise InputError(f"{unknown}; nor is there a file or folder of that name")
    return checkpoint_of(path), None


def _network_for(variant: Variant) -> Path:
    """The network that comes with Pawnscope, else one under `runs/`."""
    from scripts.players import RUNS, SHIPPED, find_checkpoint

    shipped = sorted(SHIPPED.glob("*.safetensors"))
    for path in shipped:
        if _is_for(path, variant):
            return path
    try:
        return find_checkpoint(None, variant)
    except InputError:
        names = ", ".join(path.stem for path in shipped)
        raise InputError(
            f"there is no network for {variant.name}: none comes with Pawnscope (for {names} only)"
            f" and none lies under {RUNS}/; train({variant.name!r}) makes one"
        ) from None


def _is_for(path: Path, variant: Variant) -> bool:
    from engine.network.checkpoint import read_description

    return read_description(path).is_for(variant)


def _variant_in(path: Path, name: str) -> Variant:
    """The variant that a checkpoint names."""
    try:
        return get_variant(name)
    except UnknownVariantError:
        raise InputError(
            f"{path}: a network for {name!r}, whose rules are not loaded; load_variants(FILE) loads"
            " them"
        ) from None


def _require_same_board(module: "PolicyValueNet", variant: Variant) -> None:
    """Raises InputError for a network of another board or other promotions."""
    wanted = type(module.config).for_variant(variant)
    for name in ("width", "height", "promotion_types", "clock_rule"):
        found, true = getattr(module.config, name), getattr(wanted, name)
        if found != true:
            raise InputError(
                f"a network with {name} = {found!r} does not play {variant.name}, which has"
                f" {true!r}"
            )


def _as_variant(variant: str | Variant | None) -> Variant | None:
    if variant is None or isinstance(variant, Variant):
        return variant
    return get_variant(variant)


def _source(path: Path, metadata: dict[str, Any]) -> str:
    from scripts.players import SHIPPED

    step = metadata.get("step")
    text = f"{path}, step {step:,}" if isinstance(step, int) else str(path)
    if path.parent == SHIPPED:
        text = text.replace(str(path), f"{path.name} (comes with Pawnscope)")
    return text


def _shortened(names: Sequence[str]) -> list[str]:
    """The first names and the last."""
    if len(names) <= _NAMES_SHOWN:
        return list(names)
    return [*names[: _NAMES_SHOWN - 3], "…", *names[-2:]]
