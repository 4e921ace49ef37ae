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
from collections.abc import Callable
from typing import Any

import numpy

from minivgg.anomaly import current as anomaly
from minivgg.anomaly import place
from minivgg.autograd.grad_mode import grad_mode
from minivgg.autograd.tensor import NO_HOOKS, Tensor
from minivgg.backend import FLOATING, Array, device_of, is_array
from minivgg.device import mixed_devices, out_of_memory
from minivgg.errors import GraphError

Edge = tuple[Any, int, tuple[int, ...], numpy.dtype]  # where a gradient goes: a node or leaf, which of its outputs; shape and dtype it must have

_sequence = itertools.count()
_UNVERSIONED = [0, 0]


class Function:
    """A recorded operation; all that a subclass does not define is set by ``apply``."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    edges: list[Edge | None]  # for each argument, where its gradient goes
    needs_input_grad: tuple[bool, ...]  # for each argument, is its gradient wanted?
    sequence: int  # greater than that of every node it was computed from
    outputs: list[tuple[tuple[int, ...], numpy.dtype]] | None = None  # shapes and dtypes, if there are several outputs
    is_view: bool = False  # an output shows the memory of an argument
    hooks: Any = NO_HOOKS  # for some outputs, by number, functions to be called with the gradient
    _saved: Any = ()  # arrays; once recorded, (array, output -1, -2, ... or input 0, 1, ... or None, version, version that backward expects)
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
    def saved_tensors(self) -> tuple[Any, ...]:
        """What was saved, as tensors: inputs and outputs keep their place in the graph, so any order works."""
        if self._saved is None:
            raise GraphError(self.name, "its saved arrays were freed by an earlier backward through this graph; pass retain_graph=True to that one")
        return tuple([None if entry[0] is None else self._restore(*entry) for entry in self._saved])

    def release(self) -> None:
        """Free the saved arrays; a second backward then says so."""
        self._saved = None if self._saved else ()

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run ``forward`` on the arrays of the arguments and, if a gradient may be wanted, record the node."""
        node, arrays = cls.prepare(args)
        returned = cls.run(node, arrays)
        results = returned if type(returned) is tuple else (returned,)
        outputs = []
        for result in results:
            array = result if is_array(result) else numpy.asarray(result)  # without dimensions, NumPy returns scalars
            base, output = array.base, Tensor(array)
            for arg in args:
                if isinstance(arg, Tensor) and (arg.array is array or (base is not None and (base is arg.array or base is arg.array.base))):
                    output._base = arg if arg._base is None else arg._base  # a view: its changes and those of its base count together
                    node.is_view, output._version, output._made_at = True, arg._version, arg._version[1]
                    break
            outputs.append(output)
        if True in node.needs_input_grad:
            node.record(args, arrays, results, outputs)
        return tuple(outputs) if results is returned else outputs[0]

    @classmethod
    def prepare(cls, args: tuple[Any, ...]) -> tuple[Function, list[Any]]:
        """A node with its edges, and the arguments with arrays in place of tensors."""
        node, enabled, elsewhere = cls(), grad_mode.enabled, False
        arrays: list[Any] = []
        edges: list[Edge | None] = []
        needed: list[bool] = []
        for arg in args:
            array, edge = arg, None
            if isinstance(arg, Tensor):
                array = arg.array
                elsewhere = elsewhere or not isinstance(array, numpy.ndarray)
                if enabled and arg._base is not None and arg._made_at != arg._version[1]:
                    raise GraphError(cls.__name__, "this view was taken before its tensor was changed in place; take the view again", shape=arg.shape)
                if enabled and arg._requires_grad:
                    edge = (arg if arg.grad_fn is None else arg.grad_fn, arg.output_nr, array.shape, array.dtype)
                for other in arrays:
                    if other is array:
                        array = array.view()  # record() tells them apart by identity
            arrays.append(array)
            edges.append(edge)
            needed.append(edge is not None)
        if elsewhere:
            cls.check_devices(args)
        node.edges, node.needs_input_grad = edges, tuple(needed)
        return node, arrays

    @classmethod
    def check_devices(cls, args: tuple[Any, ...]) -> None:
        """Refuse tensors on different devices, under the names that they have in ``forward``."""
        places = [(i, device_of(arg.array)) for i, arg in enumerate(args) if isinstance(arg, Tensor)]
        if any(place != places[0][1] for _, place in places):
            names = dict(enumerate(cls.forward.__code__.co_varnames[1 : cls.forward.__code__.co_argcount]))
            raise mixed_devices(cls.__name__, {names.get(i, f"argument {i}"): where for i, where in places}, place())

    @classmethod
    @numpy.errstate(divide="ignore", over="ignore", invalid="ignore")  # inf and nan are results, as in PyTorch, not warnings
    def run(cls, node: Function, arrays: list[Any]) -> Any:
        try:
            return cls.forward(node, *arrays) if anomaly.watch is None else anomaly.watch.forward(node, arrays)
        except MemoryError as error:
            raise out_of_memory(cls.__name__, error, place()) from error

    def record(self, args: tuple[Any, ...], arrays: list[Any], results: tuple[Array, ...], outputs: list[Tensor], changes: int = 0) -> None:
        """Make this node the origin of its outputs, and note where each saved array belongs."""
        if self._saved:
            known = {id(arrays[i]): (arrays[i], i, arg._version, arg._version[0]) for i, arg in enumerate(args) if isinstance(arg, Tensor)}
            known |= {id(results[nr]): (out.array, -1 - nr, out._version, out._version[0] + changes) for nr, out in enumerate(outputs)}
            self._saved = [known.get(id(saved)) or (saved, None, _UNVERSIONED, 0) for saved in self._saved]
        self.sequence = next(_sequence)
        if len(outputs) > 1:
            self.outputs = [(out.shape, out.dtype) for out in outputs]
        marked = set(map(id, self._non_differentiable))
        for nr, out in enumerate(outputs):
            if out.array.dtype in FLOATING and id(results[nr]) not in marked:
                out.grad_fn, out.output_nr, out._requires_grad = self, nr, True

    def _restore(self, array: Array, source: int | None, version: list[int], saved_at: int) -> Any:
        """A saved array as a tensor; while the computation is recorded, one that is linked to where the array came from."""
        if version[0] != saved_at:
            problem = f"an array of shape {array.shape} that it saved for backward was changed in place afterwards (version {version[0]}, expected {saved_at})"
            raise GraphError(self.name, f"{problem}; clone() the tensor before changing it")
        tensor = Tensor(array.view() if is_array(array) else numpy.asarray(array))
        tensor._version = version
        if grad_mode.enabled and source is not None:
            origin = (self, -1 - source) if source < 0 else self.edges[source]
            if origin is not None and isinstance(origin[0], Tensor):
                return origin[0]  # the leaf itself
            if origin is not None:
                tensor.grad_fn, tensor.output_nr, tensor._requires_grad = origin[0], origin[1], True
        return tensor
