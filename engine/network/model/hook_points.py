"""Hook points: named places in a network where a caller may read or change an activation.

A module declares its points when it is built and sends each activation through its point:

    self.residual = hook_points.declare("block.3.residual")
    ...
    x = self.residual(x)

A caller opens points for as long as a `with` block lasts:

    with network.hook_points.read("block.3.residual", "final") as activations:
        network(positions)
    activations["final"]                                    # with its gradients

    with network.hook_points.replace({"block.3.attention.head": lambda x: x * keep}):
        network(positions)
    with network.hook_points.add({"block.3.residual": 2.0 * direction}):
        network(positions)                                  # steered
    with network.hook_points.project_out({"block.3.residual": direction}):
        network(positions)                                  # without its component

Gradients flow through all four, and into the tensors that are put in.

A closed point costs one test of an empty list. Open points belong to one network: nothing is
global, and a copy of a network has all its points closed.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import torch
from torch import Tensor

from engine.rules.errors import InputError

Edit = Callable[[Tensor], Tensor]


class HookPoint:
    """One place in a network. Callers open it through `HookPoints`."""

    __slots__ = ("edits", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.edits: list[Edit] = []

    def __call__(self, activation: Tensor) -> Tensor:
        """The activation after all edits; itself, unless the point is open."""
        for edit in self.edits:
            activation = edit(activation)
        return activation

    def __reduce__(self) -> tuple[type["HookPoint"], tuple[str]]:
        """A copy, deep copy or pickle is closed."""
        return HookPoint, (self.name,)

    @property
    def open(self) -> bool:
        """Whether a caller reads or edits it; a module may skip an activation that none does."""
        return bool(self.edits)


class HookPoints:
    """The hook points of one network, by name.

    At one point, readers and edits act in the order in which they were opened: a reader opened
    inside a replacement reads the replacement.
    """

    def __init__(self) -> None:
        self._points: dict[str, HookPoint] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in the order of the forward pass."""
        return tuple(self._points)

    def declare(self, name: str) -> HookPoint:
        """A new point, for the module that computes the activation. Names are unique."""
        if name in self._points:
            raise AssertionError(f"the point '{name}' is declared twice")
        self._points[name] = HookPoint(name)
        return self._points[name]

    def _find(self, name: str) -> HookPoint:
        if name not in self._points:
            near = difflib.get_close_matches(str(name), self._points, n=3)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            points = ", ".join(self._points)
            raise InputError(f"no hook point '{name}' ({meant}hook points: {points})")
        return self._points[name]

    @contextmanager
    def read(self, *names: str) -> Iterator[dict[str, Tensor]]:
        """A dictionary that each forward pass fills again; it may be used after the block.

        Its tensors are the network's own, with their gradients: detach those that you keep, and do
        not change them in place. Raises InputError for an unknown name.
        """
        activations: dict[str, Tensor] = {}

        def reader(name: str) -> Edit:
            def read(activation: Tensor) -> Tensor:
                activations[name] = activation
                return activation

            return read

        with self._edited({name: reader(name) for name in names}):
            yield activations

    def replace(self, replacements: Mapping[str, Tensor | Edit]) -> AbstractContextManager[None]:
        """Replace an activation by a tensor, or by a function of the activation.

        Raises InputError for an unknown name, and ValueError during the forward pass where the
        replacement's shape differs from the activation's.
        """
        return self._edited({name: _checked(name, new) for name, new in replacements.items()})

    def add(self, additions: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Add a tensor that broadcasts to the activation's shape to an activation.

        The sum has the activation's dtype: a network in bfloat16 stays in bfloat16. Raises
        InputError for an unknown name, and ValueError during the forward pass where the sum has
        another shape.
        """
        sums = {name: _checked(name, partial(_sum, new)) for name, new in additions.items()}
        return self._edited(sums)

    @contextmanager
    def project_out(self, directions: Mapping[str, Tensor]) -> Iterator[None]:
        """Remove the component in the span of directions [D] or [N, D] of an activation's last
        axis.

        x - (x Q) Q^T, with Q an orthonormal basis of the span. Directions must be linearly
        independent; they may have any lengths and angles, and gradients flow to them. Raises
        InputError for an unknown name, ValueError for directions that are not finite, zero or
        dependent, and during the forward pass for directions of another width.
        """
        with self._edited({name: _without(name, span) for name, span in directions.items()}):
            yield

    @contextmanager
    def _edited(self, edits: Mapping[str, Edit]) -> Iterator[None]:
        """Each edit acts after those that are already open."""
        opened = [(self._find(name), edit) for name, edit in edits.items()]
        for point, edit in opened:
            point.edits.append(edit)
        try:
            yield
        finally:
            for point, edit in opened:
                index = next(i for i, other in enumerate(point.edits) if other is edit)
                del point.edits[index]


def _checked(name: str, replacement: Tensor | Edit) -> Edit:
    def replace(activation: Tensor) -> Tensor:
        new = replacement if isinstance(replacement, Tensor) else replacement(activation)
        if new.shape != activation.shape:
            raise ValueError(
                f"{name}: replacement has shape {list(new.shape)}, not {list(activation.shape)}"
            )
        return new

    return replace


def _sum(added: Tensor, activation: Tensor) -> Tensor:
    return activation + added.to(activation)


def _without(name: str, directions: Tensor) -> Edit:
    if directions.ndim not in (1, 2):
        raise ValueError(f"{name}: directions of shape {list(directions.shape)}, not [D] or [N, D]")
    if not directions.isfinite().all():
        raise ValueError(f"{name}: a direction is not finite")
    span = (directions[None] if directions.ndim == 1 else directions).mT  # [D, N]
    # In float32 or better: torch decomposes no bfloat16.
    span = span if span.dtype == torch.float64 else span.float()
    # The rank's tolerance is relative to the longest direction, so all get length 1. First they are
    # divided by their largest entry, whose square float32 may not hold.
    largest = span.detach().abs().amax(0)
    if not bool((largest > 0).all()):
        raise ValueError(f"{name}: a direction is zero")
    span = span / largest
    span = span / torch.linalg.vector_norm(span, dim=0)
    if int(torch.linalg.matrix_rank(span.detach())) < span.shape[1]:
        raise ValueError(f"{name}: the {span.shape[1]} directions depend on each other")
    basis: Tensor = torch.linalg.qr(span).Q

    def project(activation: Tensor) -> Tensor:
        if activation.shape[-1] != basis.shape[0]:
            raise ValueError(
                f"{name}: directions of width {basis.shape[0]}, activations of width"
                f" {activation.shape[-1]}"
            )
        Q = basis.to(activation)
        return activation - activation @ Q @ Q.T  # ...d,dn,ed->...e: the part along the span

    return project
