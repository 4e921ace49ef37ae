"""What is done to gradients between backward and the optimiser's step: clip_grad_norm_."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import Array, namespace
from minivgg.errors import GraphError
from minivgg.registry import formula, kernel
from minivgg.threads import one_blas_thread


class Scaling(NamedTuple):
    """What the kernel is told."""

    shape: tuple[int, ...]
    factor: float


@formula("scaled")
def _scaled(spec: Scaling, g: Array, new_g: Array) -> None:
    new_g[...] = g * spec.factor


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False) -> Tensor:
    """Scale all gradients by min(1, max_norm / (norm + 1e-6)), in place, and return the norm before.

    The norm is that of all gradients as one vector: (Σ |g|^norm_type)^(1 / norm_type), or max |g| for ``math.inf``.

    >>> import minivgg
    >>> p = minivgg.zeros(2, requires_grad=True)
    >>> p.grad = minivgg.tensor([30.0, 40.0])
    >>> clip_grad_norm_([p], max_norm=5.0), p.grad
    (tensor(50.), tensor([3., 4.]))
    """
    tensors = [parameters] if isinstance(parameters, Tensor) else parameters
    grads = [p.grad for p in tensors if p.grad is not None]
    if not grads:
        return Tensor(numpy.zeros((), numpy.float32))
    xp = namespace(grads[0].array)
    with one_blas_thread():
        total = xp.linalg.norm(xp.stack([xp.linalg.norm(grad.array.reshape(-1), norm_type) for grad in grads]), norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise GraphError("clip_grad_norm_", f"the norm of the gradients is {total}, which cannot be clipped")
    scale = float(max_norm / (total + 1e-6))
    for grad in grads if not scale >= 1 else ():  # nan spreads
        with numpy.errstate(invalid="ignore"):
            kernel("scaled", spec := Scaling(grad.shape, scale), grad.array)(spec, grad.array, grad.array)
        grad._version[0] += 1
    return Tensor(xp.asarray(total))
