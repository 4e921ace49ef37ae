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
from collections.abc import Callable
from typing import Any, ClassVar

import numpy

from minivgg.autograd.tensor import Tensor, grad_mode
from minivgg.backend import FLOATING, Array, is_array
from minivgg.errors import GraphError

Edge = tuple[Any, int, tuple[int, ...], numpy.dtype]
"""Where a gradient goes: the node (or leaf tensor), which of its outputs, and the shape and dtype it must have."""

_sequence = itertools.count()


class Function:
    """A recorded operation: ``edges`` lead to what it was computed from, saved arrays wait for ``backward``."""

    __slots__ = ("__dict__", "__weakref__", "_non_differentiable", "_saved", "edges", "outputs", "sequence", "tensor_hooks")

    is_view: ClassVar[bool] = False
    """True if ``forward`` may return memory of its first argument."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    edges: list[Edge | None]
    outputs: list[tuple[tuple[int, ...], numpy.dtype]] | None
    sequence: int
    tensor_hooks: dict[int, dict[int, Any]] | None
    _saved: Any
    _non_differentiable: tuple[Array, ...]

    @property
    def name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self.name}>"

    # What forward and backward use ----------------------------------------------------------------------------------

    @property
    def needs_input_grad(self) -> tuple[bool, ...]:
        """For each argument of ``apply``: is its gradient wanted?"""
        return tuple(edge is not None for edge in self.edges)

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
            raise GraphError(self.name, "going backward through this graph a second time: its saved arrays were freed by the first; pass retain_graph=True to that one")
        return tuple([self._restore(*entry) for entry in self._saved])

    def _restore(self, array: Array | None, source: int | None, version: list[int], saved_at: int) -> Any:
        if array is None:
            return None
        if version[0] != saved_at:
            raise GraphError(
                self.name,
                f"an array of shape {array.shape} that it saved for backward was changed in place afterwards (version {version[0]}, expected {saved_at}); clone() the tensor before changing it",
            )
        tensor = Tensor(array.view())
        tensor._version = version
        if not grad_mode.enabled or source is None:
            return tensor
        if source >= 0:
            edge = self.edges[source]
            if edge is None:
                return tensor
            if isinstance(edge[0], Tensor):
                return edge[0]  # the leaf itself
            tensor.grad_fn, tensor.output_nr = edge[0], edge[1]
        else:
            tensor.grad_fn, tensor.output_nr = self, -1 - source
        tensor._requires_grad = True
        return tensor

    # Recording ------------------------------------------------------------------------------------------------------

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` on the arrays of the arguments and, if a gradient may be wanted, record the node."""
        node, arrays, recorded = cls._begin(args)
        result = cls.forward(node, *arrays)
        if type(result) is tuple:
            results = result
            outputs = [Tensor(array if is_array(array) else numpy.asarray(array)) for array in result]
        else:
            if type(result) is not numpy.ndarray and not is_array(result):
                result = numpy.asarray(result)  # NumPy makes scalars of arrays without dimensions
            for array in arrays:
                if result is array:
                    result = result.view()  # arrays are told apart by identity
                    break
            results = (result,)
            outputs = [Tensor(result)]
        if cls.is_view:
            _share_memory(args[0], outputs)
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
            raise GraphError(operation, "a leaf that requires a gradient cannot be changed in place; use no_grad() or an operation that returns a new tensor", shape=target.shape)
        if recorded and target._base is not None:
            raise GraphError(operation, "a view cannot be changed in place in a graph; index the tensor that it is a view of (x[i] = ...), or clone() it", shape=target.shape)
        if not target.array.flags.writeable:
            raise GraphError(operation, "the memory of this tensor is read-only (expanded or frozen); clone() it first", shape=target.shape)
        result = cls.forward(node, *arrays)
        if result is not target.array:
            if numpy.shape(result) != target.shape:
                raise GraphError(operation, f"the result has shape {numpy.shape(result)}, the tensor {target.shape}")
            target.array[...] = result
        if recorded:
            node._record((target, *args), arrays, (result,), [target], changes=1)
            target._version[1] += 1
        target._version[0] += 1
        return target

    @classmethod
    def _begin(cls, args: tuple[Any, ...]) -> tuple[Function, list[Any], bool]:
        node = cls()
        node._saved = node._non_differentiable = ()
        node.tensor_hooks = None
        arrays: list[Any] = []
        node.edges = edges = []
        recorded, enabled = False, grad_mode.enabled
        for arg in args:
            edge = None
            if isinstance(arg, Tensor):
                array = arg.array
                if enabled and arg._requires_grad:
                    if arg._base is not None and arg._made_at != arg._version[1]:
                        raise GraphError(cls.__name__, "this view was taken before its tensor was changed in place; take the view again", shape=arg.shape)
                    edge = (arg if arg.grad_fn is None else arg.grad_fn, arg.output_nr, array.shape, array.dtype)
                    recorded = True
                arrays.append(array)
            else:
                arrays.append(arg)
            edges.append(edge)
        return node, arrays, recorded

    def _record(self, args: tuple[Any, ...], arrays: list[Any], results: tuple[Array, ...], outputs: list[Tensor], changes: int = 0) -> None:
        """Make this node the origin of its outputs, and note where each saved array belongs.

        A saved array is told by identity: an output (source -1, -2, ...), an input (0, 1, ...) or neither (None).
        """
        self.sequence = next(_sequence)
        if self._saved:
            entries = []
            for saved in self._saved:
                for j, result in enumerate(results):
                    if saved is result:
                        version = outputs[j]._version
                        entries.append((outputs[j].array, -1 - j, version, version[0] + changes))
                        break
                else:
                    for i, array in enumerate(arrays):
                        if saved is array and isinstance(args[i], Tensor):
                            version = args[i]._version
                            entries.append((saved, i, version, version[0]))
                            break
                    else:
                        entries.append((saved, None, _UNVERSIONED, 0))
            self._saved = entries
        self.outputs = None if len(outputs) == 1 else [(out.shape, out.dtype) for out in outputs]
        for nr, (result, output) in enumerate(zip(results, outputs, strict=True)):
            if output.array.dtype in FLOATING and not any(result is array for array in self._non_differentiable):
                output.grad_fn, output.output_nr, output._requires_grad = self, nr, True

    def release(self) -> None:
        """Free the saved arrays; a second backward then says so."""
        if self._saved:
            self._saved = None

    # Looking at gradients on their way ------------------------------------------------------------------------------

    def hooks_of(self, output_nr: int) -> dict[int, Any]:
        """The hooks on one output, to be called with its gradient in the order of their keys."""
        if self.tensor_hooks is None:
            self.tensor_hooks = {}
        return self.tensor_hooks.setdefault(output_nr, {})

    def keep_gradient(self, output_nr: int, tensor: weakref.ref[Tensor]) -> None:
        """Put the gradient of an output into that tensor's ``grad``."""

        def keep(grad: Tensor) -> None:
            alive = tensor()
            if alive is not None:
                own = grad if grad_mode.enabled else Tensor(grad.array.copy())
                alive.grad = own if alive.grad is None else alive.grad + own

        hooks = self.hooks_of(output_nr)
        hooks[max(hooks, default=-1) + 1] = keep


_UNVERSIONED = [0, 0]


def _share_memory(source: Tensor, outputs: list[Tensor]) -> None:
    """Views count changes together with what they are a view of."""
    for output in outputs:
        base = output.array.base
        if base is not None and (base is source.array or base is source.array.base):
            output._version = source._version
            output._base = source if source._base is None else source._base
            output._made_at = source._version[1]
