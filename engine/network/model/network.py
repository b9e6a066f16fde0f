"""What all networks share: hook points, and a form without memory that only has shapes."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from engine.network.model.hook_points import HookPoints

_CPU: Final = torch.device("cpu")


class Network(nn.Module):
    """A network of one configuration."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.hook_points = HookPoints()

    @classmethod
    def without_memory(cls, config: Any) -> Self:
        """A network whose weights are on torch's device "meta": they have shapes and no values.

        For counting and checking, and for `load_state_dict(…, assign=True)`. Takes milliseconds at
        any size.
        """
        with _WithoutMemory():
            return cls(config)

    def frozen(self, dtype: torch.dtype = torch.float32, device: torch.device = _CPU) -> Self:
        """A copy for inference, which later training does not change. Its hook points are closed,
        and it has neither gradients nor dropout."""
        return copy.deepcopy(self).to(device, dtype).eval().requires_grad_(False)

    @property
    def parameter_count(self) -> int:
        """Number of trained weights; those that are shared count once."""
        return sum(parameter.numel() for parameter in self.parameters())


class _WithoutMemory(TorchFunctionMode):
    """Within this mode, modules make their parameters on "meta" and do not initialise them.

    Tables are made as ever: the first computation on "meta" takes seconds, since torch imports its
    decompositions.
    """

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        # Most initialisers ask the mode themselves; He's only calls `normal_`.
        initialises = getattr(function, "__module__", None) == nn.init.__name__
        if initialises or function is Tensor.normal_:
            return args[0] if args else kwargs["tensor"]
        if function is torch.empty:
            kwargs = {**kwargs, "device": "meta"}
        return function(*args, **kwargs)
