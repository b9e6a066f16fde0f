"""Learning: batches from the replay window, one optimiser step at a time.

No step is taken with a loss or a gradient that is not finite, and `require_sound` is called before
every save, so that training can continue from the last state on disk.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.network.finite import require_finite_gradient, require_finite_tensors
from engine.rules.errors import NotFiniteError, require_finite
from engine.rules.variant import Variant
from training.config import LearningConfig
from training.data.replay import ReplayWindow, share_out
from training.learner.losses import Draw, Gradients, LocalGradients, LossTerms, flatten
from training.learner.networks import Network, network_for_variant

_ORDINARY: Final = 100.0
"""Weights of a network that learns stay far below; products of smaller weights do not overflow."""


_LARGEST: Final = "max_exp_avg_sq"


class _AdamW:
    """AdamW (Loshchilov and Hutter 2019) on one vector, with torch's own fused kernel.

    With AMSGrad (Reddi, Kale and Kumar 2018): a gradient is divided by the root of the largest mean
    square so far, not of the last one. A network that plays perfectly has gradients of a thirtieth
    of the former size. Plain AdamW's mean squares shrink with them, so that one surprising batch is
    a step of many times the usual size (training/README.md, "Longer runs").

    The same numbers, bit for bit, as `torch.optim.AdamW(fused=True, amsgrad=True)`, whose first
    step imports all of torch's compiler, which takes a second and is not used here.
    """

    _BETAS: Final = (0.9, 0.999)
    _EPSILON: Final = 1e-8

    def __init__(self, weights: Tensor, gradient: Tensor, decay: float) -> None:
        """Updates `weights` float32[P] by `gradient` [P], in place; decoupled weight decay."""
        self._weights, self._gradient, self._decay = weights, gradient, decay
        # As torch names them: running means of the gradient and of its square, the largest of the
        # latter, and steps taken.
        self._state = {
            "step": torch.zeros((), dtype=torch.float32),
            "exp_avg": torch.zeros_like(weights),
            "exp_avg_sq": torch.zeros_like(weights),
            _LARGEST: torch.zeros_like(weights),
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step of that size."""
        state = self._state
        state["step"] += 1
        torch._fused_adamw_(
            [self._weights],
            [self._gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [state[_LARGEST]],
            [state["step"]],
            lr=rate,
            beta1=self._BETAS[0],
            beta2=self._BETAS[1],
            weight_decay=self._decay,
            eps=self._EPSILON,
            amsgrad=True,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """The tensors to save; none before the first step."""
        return dict(self._state) if self._state["step"] else {}

    def check(self, state: dict[str, Tensor]) -> None:
        """Raises ValueError for a state that is not one of an AdamW of this vector."""
        if state and set(state) | {_LARGEST} != set(self._state):
            raise ValueError(f"optimiser: {', '.join(sorted(state))}")
        for name, entry in state.items():
            if entry.shape != self._state[name].shape or not entry.is_floating_point():
                raise ValueError(f"optimiser's {name}: {list(entry.shape)}")

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`; raises as `check`."""
        self.check(state)
        if state:
            # States of older versions lack the largest mean squares.
            state = {_LARGEST: state["exp_avg_sq"]} | state
        for name, tensor in self._state.items():
            tensor.copy_(state[name] if state else torch.zeros(()))


class Learner:
    """The network that learns, the moving average (EMA) of its weights, and the optimiser."""

    def __init__(
        self,
        variants: Sequence[Variant],
        network: Network,
        config: LearningConfig,
        gradients: Gradients | None = None,
    ) -> None:
        """Train `network`, a network for `variants`, in place; without `gradients` this process
        computes them."""
        self.network = network.train()
        self.ema = copy.deepcopy(network).requires_grad_(False).eval()
        self.steps = 0
        self._variants = variants
        self._config = config
        self._gradients = gradients or LocalGradients(network, variants, config)
        self._weights, self._gradient = self._gradients.vectors
        flatten(network, self._weights, self._gradient)
        self._ema_weights = torch.empty_like(self._weights)
        flatten(self.ema, self._ema_weights)
        self._parameter = nn.Parameter(self._weights)
        self._parameter.grad = self._gradient
        self._optimiser = _AdamW(self._weights, self._gradient, config.weight_decay)

    def learn(
        self,
        windows: Sequence[ReplayWindow],
        steps: int,
        rng: np.random.Generator,
        progress: Callable[[int], None] = lambda _: None,
    ) -> dict[str, float]:
        """Take so many steps; returns the means of their losses, by the names of LossTerms.

        A batch is drawn from the windows of all variants, in their order, the same share from each.
        Raises NotFiniteError, naming the loss or the parameter and the step, before a step with a
        loss or a gradient that is not finite; the weights are then those before it.
        """
        sums: npt.NDArray[np.float64] = np.zeros(len(LossTerms._fields))
        for _ in range(steps):
            terms = self._gradients.compute(self._draw(windows, rng))
            try:
                for name, term in zip(LossTerms._fields, terms.tolist(), strict=True):
                    require_finite(term, f"the loss '{name}'")
                self._step()
            except NotFiniteError as fault:
                raise NotFiniteError(f"step {self.steps + 1}: {fault}") from None
            sums += terms
            progress(1)
        return dict(zip(LossTerms._fields, (sums / max(1, steps)).tolist(), strict=True))

    def _draw(self, windows: Sequence[ReplayWindow], rng: np.random.Generator) -> list[Draw]:
        """A batch; the rows of a variant with symmetric rules are mirrored or not, all of them."""
        config, draws = self._config, list[Draw]()
        sizes = share_out(config.batch, len(windows))
        for variant, window, size in zip(self._variants, windows, sizes, strict=True):
            rows = window.sample(size, rng)
            mirror = config.mirror and variant.mirrorable and bool(rng.random() < 0.5)
            draws.append(Draw(rows, mirror))
        return draws

    @torch.no_grad()
    def _step(self) -> None:
        """One step of the optimiser, then of the EMA."""
        config = self._config
        rate = config.learning_rate * min(1.0, (self.steps + 1) / (config.warm_up + 1))
        norm = torch.nn.utils.get_total_norm([self._gradient])
        named = self.network.named_parameters()
        require_finite_gradient(
            {name: value.grad for name, value in named if value.grad is not None}, norm
        )
        torch.nn.utils.clip_grads_with_norm_([self._parameter], 1.0, norm)
        self._optimiser.step(rate)
        self.steps += 1
        # Early on the horizon is no longer than a tenth of the history.
        horizon = min(config.ema_steps, (self.steps + 9) / 10)
        self._ema_weights.lerp_(self._weights, 1.0 / max(1.0, horizon))

    @torch.no_grad()
    def require_sound(self) -> None:
        """Raises NotFiniteError, naming it, for a tensor of the state that is not finite, and for a
        network whose outputs for a start position are not: finite weights may be too large."""
        require_finite_tensors(self.state(), "the learner's")
        for owner, network, weights in (
            ("network", self.network, self._weights),
            ("EMA", self.ema, self._ema_weights),
        ):
            # A forward pass costs more than a look at all weights.
            if np.abs(weights.numpy()).max() <= _ORDINARY:
                continue
            for variant in self._variants:
                outputs = network_for_variant(network, variant)(
                    torch.from_numpy(variant.start_row[None])
                )
                about = f"the {owner}'s outputs for {variant.name}'s start,"
                require_finite_tensors(outputs._asdict(), about)

    def state(self) -> dict[str, Tensor]:
        """Everything that training needs to continue, as named tensors."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        tensors |= {f"optimiser.{name}": entry for name, entry in self._optimiser.state().items()}
        return tensors

    def restore(self, tensors: dict[str, Tensor], steps: int) -> None:
        """The inverse of `state`; raises RuntimeError, ValueError or KeyError for another network's
        tensors."""

        def part(prefix: str) -> dict[str, Any]:
            start = prefix + "."
            return {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}

        entries = part("optimiser")
        self._optimiser.check(entries)
        self.network.load_state_dict(part("network"))
        # States of older versions call the EMA "average".
        self.ema.load_state_dict(part("ema") or part("average"))
        self._optimiser.restore(entries)
        self.steps = steps


_KEPT: Final = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "Muon": {"momentum_buffer"}}
"""What optimisers keep of a parameter; a step is one number."""


def check_optimiser(optimiser: torch.optim.Optimizer, state: dict[int, dict[str, Tensor]]) -> None:
    """Raises ValueError for a state, of each parameter by its number, that an AdamW or a Muon of
    other parameters has left, or that is none: torch accepts it and fails at the next step."""
    parameters = [value for group in optimiser.param_groups for value in group["params"]]
    for index, entries in state.items():
        if index not in range(len(parameters)) or set(entries) != _KEPT[type(optimiser).__name__]:
            raise ValueError(f"optimiser of parameter {index}: {', '.join(sorted(entries))}")
        for name, entry in entries.items():
            wanted = torch.Size() if name == "step" else parameters[index].shape
            if entry.shape != wanted or not entry.is_floating_point():
                raise ValueError(f"optimiser's {name} of parameter {index}: {list(entry.shape)}")
