"""In-place operations: what may be overwritten, and how the new value enters the graph; copy_, fill_, zero_."""

from __future__ import annotations

from typing import Any

from minivgg.autograd import Function, Tensor, is_grad_enabled, method
from minivgg.backend import is_writeable
from minivgg.errors import GraphError, ShapeError
from minivgg.ops.arguments import check_fits, check_tensors, read_number
from minivgg.ops.cast import to
from minivgg.ops.hooks import forget_retained, retain_grad
from minivgg.ops.promotion import as_tensor, check_broadcast
from minivgg.ops.reduce import sum_to
from minivgg.ops.where import zero_of


def in_place(function: type[Function], target: Tensor, *args: Any) -> Tensor:
    """``function.apply(target, *args)``, whose result overwrites ``target`` and takes its place in the graph.

    ``forward`` may write into its first array and return it, or return a new array, which is then copied over.
    Whatever was saved of the old value for backward is noticed there as changed.
    """
    node, arrays = function.prepare((target, *args))
    recorded = True in node.needs_input_grad
    _check_target(f"{function.__name__} in place", target, recorded)
    result = function.run(node, arrays)
    if result is not target.array:
        if result.shape != target.shape:
            raise ShapeError(f"{function.__name__} in place", f"the result has shape {result.shape}, the tensor {target.shape}")
        target.array[...] = result
    if recorded:
        if target.retains_grad:
            forget_retained(target)
        node.record((target, *args), arrays, (result,), [target], changes=1)
        target._version[1] += 1
        if target.retains_grad:
            retain_grad(target)  # that of the new value
    target._version[0] += 1
    return target


def _check_target(operation: str, target: Tensor, recorded: bool) -> None:
    if recorded and target.is_leaf and target.requires_grad:
        problem = "a leaf that requires a gradient cannot be changed in place; use no_grad() or an operation that returns a new tensor"
    elif target._base is not None and (recorded or (is_grad_enabled() and target._base.requires_grad)):
        problem = "a view cannot be changed in place in a graph; index the tensor that it is a view of (x[i] = ...), or clone() it"
    elif not is_writeable(target.array):
        problem = "the memory of this tensor is read-only (expanded or frozen); clone() it first"
    else:
        return
    raise GraphError(operation, problem, shape=target.shape)


class Copy(Function):
    """All elements are replaced, so the gradient goes to the source alone."""

    def forward(self, x, source):
        self.shape = source.shape
        x[...] = source
        return x

    def backward(self, grad):
        return zero_of(grad).expand(grad.shape), sum_to(grad, self.shape)


@method()
def copy_(input: Tensor, source: Any) -> Tensor:
    """Overwrite every element with ``source``, broadcast, cast and moved to this tensor's shape, dtype and device.

    >>> import minivgg
    >>> minivgg.zeros(2).copy_(minivgg.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    source = to(as_tensor(source, input, "copy_"), dtype=input.dtype, device=input.device)
    if check_broadcast("copy_", input.shape, source.shape) != input.shape:
        raise ShapeError("copy_", f"a source of shape {source.shape} does not fit into {input.shape}")
    return in_place(Copy, input, source)


@method()
def fill_(input: Tensor, value: float) -> Tensor:
    """Overwrite every element with a number, or with that in a tensor without dimensions, which gets the sum of the gradients.

    >>> import minivgg
    >>> minivgg.zeros(2).fill_(3)
    tensor([3., 3.])
    """
    check_tensors("fill_", input=input)
    if isinstance(value, Tensor):
        if value.shape:
            raise ShapeError("fill_", f"value must be a number or a tensor without dimensions, got shape {value.shape}")
        return copy_(input, value)
    number = read_number("fill_", "value", value)
    check_fits("fill_", input.dtype, number)
    return copy_(input, number)


@method()
def zero_(input: Tensor) -> Tensor:
    """Overwrite every element with 0.

    >>> import minivgg
    >>> minivgg.ones(2).zero_()
    tensor([0., 0.])
    """
    return copy_(input, 0)
