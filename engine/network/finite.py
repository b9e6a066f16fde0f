"""Refusal of numbers that are not finite (`engine.rules.errors`), for tensors of any dtype."""

from collections.abc import Mapping

from torch import Tensor

from engine.rules.errors import NotFiniteError, first_fault


def tensor_fault(tensor: Tensor) -> str | None:
    """`first_fault` for the first number of a tensor that is not finite, or too large for float32;
    None if there is none, and for tensors of whole numbers."""
    if not tensor.is_floating_point():
        return None
    return first_fault(tensor.detach().float().cpu().numpy())


def require_finite_tensors(tensors: Mapping[str, Tensor], owner: str) -> None:
    """Raises NotFiniteError, as "`owner` 'name' is …", for a tensor with a `tensor_fault`."""
    for name, tensor in tensors.items():
        fault = tensor_fault(tensor)
        if fault is not None:
            raise NotFiniteError(f"{owner} '{name}' is {fault}")


def require_finite_gradient(gradients: Mapping[str, Tensor], norm: Tensor) -> None:
    """Raises NotFiniteError, naming the parameter, for gradients whose `norm` (total length) is not
    finite. Each number may be finite, and only their norm too large."""
    if not bool(norm.isfinite()):
        require_finite_tensors(gradients, "the gradient of")
        raise NotFiniteError(f"the length of the gradient is {float(norm)}")


def require_distributions(logits: Tensor, name: str) -> None:
    """Raises NotFiniteError where a row of logits [..., V] has no softmax: with NaN or +inf, or
    with -inf alone. Among other numbers, -inf excludes a token."""
    highest = logits.detach().amax(-1)
    finite = highest.isfinite()
    if not bool(finite.all()):
        raise NotFiniteError(f"{name}: the largest logit is {float(highest[~finite][0])}")
