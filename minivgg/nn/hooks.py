"""Hooks: functions called before and after a module's ``forward``, and when its gradients are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minivgg.autograd import Function, Tensor


class Boundary(Function):
    """The identity on several tensors at once; ``seen`` is called with the gradients that cross it on the way back.

    It copies. A view would make a following in-place operation, such as ``ReLU(inplace=True)``, an error.
    """

    def forward(self, seen, *arrays):
        self.seen = seen
        return tuple(array.copy() for array in arrays)

    def backward(self, *grads):
        return (None, *self.seen(grads))


def call_with_hooks(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``module.forward(*args, **kwargs)`` between the module's hooks, in the order in which they were registered."""
    for hook in list(module._forward_pre_hooks.values()):
        changed = hook(module, args)
        if changed is not None:
            args = changed if isinstance(changed, tuple) else (changed,)
    backward_hooks = list(module._backward_hooks.values())
    crossing = BackwardCrossing(module, backward_hooks) if backward_hooks else None
    if crossing is not None:
        args = crossing.enter(args)
    output = module.forward(*args, **kwargs)
    for hook in list(module._forward_hooks.values()):
        changed = hook(module, args, output)
        if changed is not None:
            output = changed
    return output if crossing is None else crossing.leave(output)


class BackwardCrossing:
    """One call of a module with backward hooks: the boundary before it, the boundary after it, and what crossed them.

    ``hook(module, grad_input, grad_output)`` gets a tuple with one gradient for each positional argument and one for
    each output (None for those without). What it returns, if not None, replaces ``grad_input``.
    """

    def __init__(self, module: Any, hooks: list[Callable[..., Any]]) -> None:
        self.module, self.hooks = module, hooks
        self.inputs: list[int] = []
        self.n_inputs = 0
        self.grad_output: tuple[Any, ...] = ()

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.n_inputs = len(args)
        args, self.inputs = _cross(args, self._seen_at_input)
        return args

    def leave(self, output: Any) -> Any:
        outputs = output if isinstance(output, tuple | list) else (output,)
        self.n_outputs = len(outputs)
        crossed, self.outputs = _cross(tuple(outputs), self._seen_at_output)
        return type(output)(crossed) if isinstance(output, tuple | list) else crossed[0]

    def _seen_at_output(self, grads: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        self.grad_output = _at(self.outputs, grads, self.n_outputs)
        if not self.inputs:  # nothing will arrive at the other boundary
            self._call((None,) * self.n_inputs)
        return grads

    def _seen_at_input(self, grads: tuple[Tensor, ...]) -> tuple[Any, ...]:
        grad_input = self._call(_at(self.inputs, grads, self.n_inputs))
        return tuple(grad_input[i] for i in self.inputs)

    def _call(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in self.hooks:
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is not None:
                grad_input = changed if isinstance(changed, tuple) else (changed,)
        return grad_input


def _cross(values: tuple[Any, ...], seen: Callable[..., Any]) -> tuple[tuple[Any, ...], list[int]]:
    """``values`` with the differentiable tensors led through a boundary, and their positions."""
    positions = [i for i, value in enumerate(values) if isinstance(value, Tensor) and value.requires_grad]
    if not positions:
        return values, positions
    crossed = dict(zip(positions, Boundary.apply(seen, *(values[i] for i in positions)), strict=True))
    return tuple(crossed.get(i, value) for i, value in enumerate(values)), positions


def _at(positions: list[int], grads: tuple[Tensor, ...], count: int) -> tuple[Any, ...]:
    """The gradients at their positions among ``count`` values, None elsewhere."""
    placed = dict(zip(positions, grads, strict=True))
    return tuple(placed.get(i) for i in range(count))
