"""Looking at gradients on their way back: register_hook, retain_grad."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

from minivgg.autograd import Tensor, method
from minivgg.errors import DtypeError, GraphError, ShapeError
from minivgg.hooks import RemovableHandle

LAST = math.inf


@method()
def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Call ``hook(grad)`` when this tensor's gradient is complete; a returned tensor, of the same shape and dtype, replaces it.

    >>> import minivgg
    >>> x = minivgg.tensor(1.0, requires_grad=True)
    >>> handle = x.register_hook(lambda grad: grad * 10)
    >>> (x * 3).backward()
    >>> x.grad
    tensor(30.)
    """
    _check_differentiable("register_hook", self)

    def checked(grad: Tensor) -> Tensor | None:
        replaced = hook(grad)
        if replaced is not None and not isinstance(replaced, Tensor):
            raise DtypeError("register_hook", f"a hook returns a tensor or None, this one returned {type(replaced).__name__}")
        if replaced is not None and (replaced.shape, replaced.dtype) != (grad.shape, grad.dtype):
            problem = f"a hook must return {grad.dtype} of shape {grad.shape}, this one returned {replaced.dtype} of shape {replaced.shape}"
            raise ShapeError("register_hook", problem)
        return replaced

    return RemovableHandle(_hooks_of(self), checked)


@method()
def retain_grad(self: Tensor) -> None:
    """Keep this non-leaf's gradient in ``grad`` when ``backward`` passes through.

    >>> import minivgg
    >>> x = minivgg.tensor(1.0, requires_grad=True)
    >>> y = x * 3
    >>> y.retain_grad()
    >>> (y * 2).backward()
    >>> y.grad
    tensor(2.)
    """
    _check_differentiable("retain_grad", self)
    if self.grad_fn is None:
        return
    self.retains_grad = True
    reference = weakref.ref(self)  # a node does not keep its results

    def keep(grad: Tensor) -> None:
        tensor = reference()
        if tensor is not None:
            grad = grad.clone()
            tensor.grad = grad if tensor.grad is None else tensor.grad + grad

    _hooks_of(self)[LAST] = keep


def forget_retained(self: Tensor) -> None:
    """Undo ``retain_grad`` at the node that made the tensor, before another one makes it anew."""
    _hooks_of(self).pop(LAST, None)


def _hooks_of(tensor: Tensor) -> dict[float, Any]:
    """The hooks of a tensor, called in the order of their keys; the node keeps them, or the leaf itself."""
    owner = tensor if tensor.grad_fn is None else tensor.grad_fn
    owner.hooks = {tensor.output_nr: {}, **owner.hooks}
    return owner.hooks[tensor.output_nr]


def _check_differentiable(operation: str, tensor: Tensor) -> None:
    if not tensor.requires_grad:
        raise GraphError(operation, "this tensor does not require a gradient", shape=tensor.shape)
