"""`engine.rules.errors` for tensors, whatever they are made of: float64 down to bfloat16."""

from collections.abc import Mapping

from torch import Tensor

from engine.rules.errors import NotFiniteError, first_fault


def tensor_fault(tensor: Tensor) -> str | None:
    """The first number of a tensor that is not finite, or that float32 cannot hold, as
    `first_fault` has it; None for none, and for whole numbers."""
    if not tensor.is_floating_point():
        return None
    return first_fault(tensor.detach().float().cpu().numpy())


def require_finite_tensors(tensors: Mapping[str, Tensor], owner: str) -> None:
    """Raises NotFiniteError, naming it as "`owner` 'name'", for a tensor with a `tensor_fault`."""
    for name, tensor in tensors.items():
        fault = tensor_fault(tensor)
        if fault is not None:
            raise NotFiniteError(f"{owner} '{name}' is {fault}")


def require_finite_gradient(gradients: Mapping[str, Tensor], norm: Tensor) -> None:
    """Raises NotFiniteError, naming the parameter, for gradients whose `norm` (total length) is not
    finite; where each number is, they are too large together."""
    if not bool(norm.isfinite()):
        require_finite_tensors(gradients, "the gradient of")
        raise NotFiniteError(f"the length of the gradient is {float(norm)}")


def require_distributions(logits: Tensor, name: str) -> None:
    """Raises NotFiniteError where a row of logits [..., V] has no softmax: NaN or +inf in it, or
    nothing but -inf. A single -inf is a token that is ruled out."""
    highest = logits.detach().amax(-1)
    finite = highest.isfinite()
    if not bool(finite.all()):
        raise NotFiniteError(f"{name}: the largest logit is {float(highest[~finite][0])}")
