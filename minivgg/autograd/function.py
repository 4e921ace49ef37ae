"""Function: one node of the graph, and the two rules that make it up.

Write a subclass with ``forward`` on arrays and ``backward`` on tensors, then call ``MyFunction.apply(...)``::

    class Square(Function):
        def forward(self, x):              # arrays in, array (or tuple of arrays) out
            self.save_for_backward(x)
            return x * x

        def backward(self, grad):          # d(loss)/d(output) in, d(loss)/d(input) out, one for each argument
            (x,) = self.saved_tensors
            return 2 * x * grad

Because ``backward`` is written with tensor operations, differentiating it again needs no further code.
PyTorch's form with ``@staticmethod`` and ``ctx`` works too: ``ctx`` is the node.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy

from minivgg.autograd.grad_mode import grad_mode
from minivgg.autograd.tensor import Tensor
from minivgg.backend import FLOATING, Array, is_array
from minivgg.errors import GraphError

Edge = tuple[Any, int, tuple[int, ...], numpy.dtype]
"""Where a gradient goes: the node (or leaf tensor), which of its outputs, and the shape and dtype it must have."""

_sequence = itertools.count()
_UNVERSIONED = [0, 0]


class Function:
    """A recorded operation.

    ``edges``             for each argument of ``apply``, where its gradient goes, or None
    ``needs_input_grad``  for each argument of ``apply``, is its gradient wanted?
    ``sequence``          when it was recorded: greater than that of everything it was computed from
    ``outputs``           the shape and dtype of each output, None if there is one only
    ``hooks, retained``   functions to be called with an output's gradient, and tensors that keep it, by output number
    """

    edges: list[Edge | None]
    needs_input_grad: tuple[bool, ...]
    sequence: int
    outputs: list[tuple[tuple[int, ...], numpy.dtype]] | None = None
    hooks: Mapping[int, dict[int, Any]] = MappingProxyType({})
    retained: Mapping[int, weakref.ref[Tensor]] = MappingProxyType({})
    forward: Callable[..., Any]
    backward: Callable[..., Any]

    _saved: Sequence[Any] | None = ()
    _non_differentiable: tuple[Array, ...] = ()

    @property
    def name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.name}>"

    def save_for_backward(self, *arrays: Array | None) -> None:
        """Keep inputs, outputs or intermediate arrays. An in-place change before ``backward`` is then an error."""
        self._saved = arrays

    def mark_non_differentiable(self, *outputs: Array) -> None:
        """Outputs such as indices, through which no gradient flows."""
        self._non_differentiable = outputs

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """What was saved, as tensors: inputs and outputs keep their place in the graph, so any order works."""
        if self._saved is None:
            raise GraphError(
                self.name, "going backward through this graph a second time: its saved arrays were freed by the first; pass retain_graph=True to that one"
            )
        return tuple([self._restore(*entry) for entry in self._saved])

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` on the arrays of the arguments and, if a gradient may be wanted, record the node."""
        node, arrays, recorded = cls._begin(args)
        result = _run(cls.forward, node, arrays)
        results = result if type(result) is tuple else (result,)
        outputs = [Tensor(array if is_array(array) else numpy.asarray(array)) for array in results]  # NumPy makes scalars of arrays without dimensions
        for output in outputs:
            if output.array.base is not None or any(output.array is array for array in arrays):
                _share_memory(output, args)
        if recorded:
            node._record(args, arrays, results, outputs)
        return tuple(outputs) if results is result else outputs[0]

    @classmethod
    def apply_(cls, target: Tensor, *args: Any) -> Tensor:
        """The same in place: ``target``, the first argument, takes on the result and its place in the graph.

        ``forward`` may write into its first array and return it, or return a new array, which is then copied over.
        """
        operation = f"{cls.__name__} in place"
        node, arrays, recorded = cls._begin((target, *args))
        if recorded and target._requires_grad and target.grad_fn is None:
            raise GraphError(
                operation,
                "a leaf that requires a gradient cannot be changed in place; use no_grad() or an operation that returns a new tensor",
                shape=target.shape,
            )
        if target._base is not None and (recorded or (grad_mode.enabled and target._base._requires_grad)):
            raise GraphError(
                operation, "a view cannot be changed in place in a graph; index the tensor that it is a view of (x[i] = ...), or clone() it", shape=target.shape
            )
        if not getattr(target.array.flags, "writeable", True):
            raise GraphError(operation, "the memory of this tensor is read-only (expanded or frozen); clone() it first", shape=target.shape)
        result = _run(cls.forward, node, arrays)
        if result is not target.array:
            if result.shape != target.shape:
                raise GraphError(operation, f"the result has shape {result.shape}, the tensor {target.shape}")
            target.array[...] = result
        if recorded:
            node._record((target, *args), arrays, (result,), [target], changes=1)
            target._version[1] += 1
            if target._retained:
                target.retain_grad()
        target._version[0] += 1
        return target

    @classmethod
    def _begin(cls, args: tuple[Any, ...]) -> tuple[Function, list[Any], bool]:
        """A node with its edges, the arguments with arrays in place of tensors, and whether any gradient may be wanted."""
        node = cls()
        arrays: list[Any] = []
        edges: list[Edge | None] = []
        needed: list[bool] = []
        enabled = grad_mode.enabled
        for arg in args:
            edge = None
            if isinstance(arg, Tensor):
                array = arg.array
                if enabled:
                    if arg._base is not None and arg._made_at != arg._version[1]:
                        raise GraphError(cls.__name__, "this view was taken before its tensor was changed in place; take the view again", shape=arg.shape)
                    if arg._requires_grad:
                        edge = (arg if arg.grad_fn is None else arg.grad_fn, arg.output_nr, array.shape, array.dtype)
                for other in arrays:
                    if other is array:
                        array = array.view()  # saved arrays are told apart by identity
                        break
                arrays.append(array)
            else:
                arrays.append(arg)
            edges.append(edge)
            needed.append(edge is not None)
        node.edges, node.needs_input_grad = edges, tuple(needed)
        return node, arrays, True in needed

    def _record(self, args: tuple[Any, ...], arrays: list[Any], results: tuple[Array, ...], outputs: list[Tensor], changes: int = 0) -> None:
        """Make this node the origin of its outputs, and note where each saved array belongs."""
        self.sequence = next(_sequence)
        if self._saved:
            self._saved = [_trace(saved, args, arrays, results, outputs, changes) for saved in self._saved]
        if len(outputs) > 1:
            self.outputs = [(out.shape, out.dtype) for out in outputs]
        for nr, (result, output) in enumerate(zip(results, outputs, strict=True)):
            if output.array.dtype in FLOATING and not any(result is array for array in self._non_differentiable):
                output.grad_fn, output.output_nr, output._requires_grad = self, nr, True

    def _restore(self, array: Array | None, source: int | None, version: list[int], saved_at: int) -> Any:
        """A saved array as a tensor; when the computation is recorded, one that is linked to where the array came from."""
        if array is None:
            return None
        if version[0] != saved_at:
            problem = f"an array of shape {array.shape} that it saved for backward was changed in place afterwards (version {version[0]}, expected {saved_at})"
            raise GraphError(self.name, f"{problem}; clone() the tensor before changing it")
        tensor = Tensor(array.view())
        tensor._version = version
        if not grad_mode.enabled or source is None:
            return tensor
        if source < 0:
            tensor.grad_fn, tensor.output_nr = self, -1 - source
        else:
            edge = self.edges[source]
            if edge is None:
                return tensor
            if isinstance(edge[0], Tensor):
                return edge[0]  # the leaf itself
            tensor.grad_fn, tensor.output_nr = edge[0], edge[1]
        tensor._requires_grad = True
        return tensor

    def release(self) -> None:
        """Free the saved arrays; a second backward then says so."""
        if self._saved:
            self._saved = None

    def hooks_of(self, output_nr: int) -> dict[int, Any]:
        """The hooks on one output, to be called with its gradient in the order of their keys."""
        if output_nr not in self.hooks:
            self.hooks = {**self.hooks, output_nr: {}}
        return self.hooks[output_nr]


@numpy.errstate(divide="ignore", over="ignore", invalid="ignore")  # inf and nan are results, as in PyTorch, not warnings
def _run(forward: Callable[..., Any], node: Function, arrays: list[Any]) -> Any:
    return forward(node, *arrays)


def _trace(saved: Any, args: Sequence[Any], arrays: list[Any], results: tuple[Array, ...], outputs: list[Tensor], changes: int) -> tuple[Any, ...]:
    """A saved array, where it belongs (output -1, -2, ..., input 0, 1, ... or None), its version, and the one that backward expects."""
    for nr, result in enumerate(results):
        if saved is result:
            version = outputs[nr]._version
            return outputs[nr].array, -1 - nr, version, version[0] + changes
    for i, array in enumerate(arrays):
        if saved is array and isinstance(args[i], Tensor):
            version = args[i]._version
            return saved, i, version, version[0]
    return saved if saved is None or is_array(saved) else numpy.asarray(saved), None, _UNVERSIONED, 0


def _share_memory(output: Tensor, args: Sequence[Any]) -> None:
    """A view counts changes together with what it is a view of."""
    array = output.array
    for source in args:
        if isinstance(source, Tensor) and (
            array is source.array or (array.base is not None and (array.base is source.array or array.base is source.array.base))
        ):
            output._version, output._made_at = source._version, source._version[1]
            output._base = source if source._base is None else source._base
            return
