"""The engine: carry a gradient from the outputs of the graph back to its leaves.

A node is created after everything that it was computed from. So visiting the nodes in descending order of creation
visits each one after all of its consumers, when its gradient is complete: no search, no recursion, one heap.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from minivgg.anomaly import current as anomaly
from minivgg.autograd.function import Function
from minivgg.autograd.grad_mode import set_grad_enabled
from minivgg.autograd.tensor import Tensor
from minivgg.backend import Array, namespace
from minivgg.errors import GraphError, ShapeError

Place = tuple[Any, int]  # where a gradient arrives: a node and which of its outputs, or a leaf and 0


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
    """Add the gradient of ``tensors`` to the ``grad`` of every leaf that they were computed from (or of ``inputs``).

    ``grad_tensors`` is the gradient with respect to ``tensors``, which may be left out for a single element.
    ``create_graph`` records the computation, so that the gradients can be differentiated again.
    """
    targets = None if inputs is None else _sequence("backward", inputs)
    engine = Engine("backward", tensors, grad_tensors, targets, retain_graph, create_graph)
    for tensor in dict.fromkeys(targets or [leaf for leaf, _ in engine.arrived]):
        if place_of(tensor) in engine.arrived:
            engine.accumulate(tensor, engine.arrived[place_of(tensor)])


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False, *,
    allow_unused: bool | None = None, materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The gradients of ``outputs`` with respect to ``inputs``, returned; no ``grad`` of a leaf is touched.

    An input that the outputs do not depend on is an error; with ``allow_unused`` its gradient is None, with ``materialize_grads`` zeros.

    >>> import minivgg
    >>> x = minivgg.tensor(3.0, requires_grad=True)
    >>> (first,) = minivgg.autograd.grad(x**3, x, create_graph=True)
    >>> (second,) = minivgg.autograd.grad(first, x)
    >>> first.item(), second.item()
    (27.0, 18.0)
    """
    targets = _sequence("grad", inputs)
    arrived = Engine("grad", outputs, grad_outputs, targets, retain_graph, create_graph).arrived
    results = [arrived.get(place_of(target)) for target in targets]
    for i, (target, result) in enumerate(zip(targets, results, strict=True)):
        if result is None and materialize_grads:
            results[i] = Tensor(namespace(target.array).zeros_like(target.array))
        elif result is None and not allow_unused:
            raise GraphError("grad", f"input {i}, of shape {target.shape}, was not used to compute the outputs; pass allow_unused=True to get None for it")
    return tuple(results)


def place_of(tensor: Tensor) -> Place:
    return (tensor, 0) if tensor.grad_fn is None else (tensor.grad_fn, tensor.output_nr)


class Engine:
    """One journey from the outputs back: to all leaves, or to the ``inputs`` only. ``arrived`` is what came there."""

    @numpy.errstate(divide="ignore", over="ignore", invalid="ignore")  # as in Function.run
    def __init__(self, operation: str, outputs: Any, gradients: Any, inputs: Sequence[Tensor] | None, retain_graph: bool | None, create_graph: bool) -> None:
        roots = _roots(operation, _sequence(operation, outputs), gradients)
        self.create_graph, self.retain_graph = create_graph, create_graph if retain_graph is None else retain_graph
        self.wanted = {place_of(tensor) for tensor in inputs or ()}
        self.plan = None if inputs is None else _plan([place[0] for place, _ in roots], self.wanted)
        self.pending: dict[Any, dict[int, Tensor]] = {}  # for each node or leaf, the gradients of its outputs, so far
        self.heap: list[tuple[int, Function]] = []
        self.shared = {id(gradient.array) for _, gradient in roots}  # arrays that somebody else may hold
        self.arrived: dict[Place, Tensor] = {}
        with set_grad_enabled(create_graph), numpy.errstate(divide="ignore", over="ignore", invalid="ignore"):  # as in Function.run
            for (target, nr), gradient in roots:
                if self.plan is None or target in self.plan or (target, nr) in self.wanted:
                    self.send(target, nr, gradient)
            while self.heap:
                node = heapq.heappop(self.heap)[1]
                self.visit(node, self.pending.pop(node))
            for leaf, gradients in self.pending.items():
                self.arrived[leaf, 0] = self.call_hooks(leaf.hooks.get(0, {}), gradients[0])

    def send(self, target: Any, nr: int, gradient: Tensor) -> None:
        """Add a gradient to those that wait at a place."""
        waiting = self.pending.setdefault(target, {})
        if not waiting and not isinstance(target, Tensor):
            heapq.heappush(self.heap, (-target.sequence, target))
        waiting[nr] = waiting[nr] + gradient if nr in waiting else gradient

    def visit(self, node: Function, gradients: dict[int, Tensor]) -> None:
        """A node's gradients are complete: call its hooks and its ``backward``, and send on what comes out."""
        for nr in node.hooks.keys() & gradients.keys() if node.hooks else ():
            gradients[nr] = self.call_hooks(node.hooks[nr], gradients[nr])
        if self.wanted:
            self.arrived.update({(node, nr): gradient for nr, gradient in gradients.items() if (node, nr) in self.wanted})
        node.needs_input_grad = tuple([edge is not None for edge in node.edges]) if self.plan is None else self.plan[node]
        if True in node.needs_input_grad:
            for edge, need, gradient in zip(node.edges, node.needs_input_grad, _call_backward(node, gradients), strict=True):
                if edge is not None and need and gradient is not None:
                    self.send(edge[0], edge[1], gradient)
            if not self.retain_graph:
                node.release()

    def call_hooks(self, hooks: dict[float, Any], gradient: Tensor) -> Tensor:
        for _, hook in sorted(hooks.items()):
            replaced = hook(gradient)
            self.shared.update(id(tensor.array) for tensor in (gradient, replaced) if tensor is not None)
            gradient = gradient if replaced is None else replaced
        return gradient

    def accumulate(self, tensor: Tensor, gradient: Tensor) -> None:
        """Add to ``tensor.grad``, which shares its memory with no other tensor."""
        shares = not _alone(gradient.array) or id(gradient.array) in self.shared
        self.shared.add(id(gradient.array))
        with set_grad_enabled(self.create_graph):
            if tensor.grad is None:
                tensor.grad = gradient.clone() if shares or self.create_graph else Tensor(gradient.array)
            else:
                tensor.grad = tensor.grad + gradient if self.create_graph else tensor.grad.add_(gradient)


def _alone(array: Array) -> bool:
    """Whether an array owns its memory, or is the only view of what does."""
    base = array.base
    if base is None or not isinstance(array, numpy.ndarray):
        return base is None
    return array.flags.forc and array.flags.writeable and sys.getrefcount(base) <= 3  # of the array, of ``base``, of the call


def _sequence(operation: str, tensors: Any) -> Sequence[Tensor]:
    """One tensor or several, each of which must take part in differentiation."""
    result = tuple(tensors) if isinstance(tensors, list | tuple | Iterator) else (tensors,)
    for i, tensor in enumerate(result):
        if not tensor.requires_grad:
            raise GraphError(operation, f"tensor {i} requires no gradient, and was not computed from one that does (or under no_grad)", shape=tensor.shape)
    return result


def _roots(operation: str, tensors: Sequence[Tensor], gradients: Any) -> list[tuple[Place, Tensor]]:
    """Each output with the gradient that starts there."""
    given = gradients if isinstance(gradients, list | tuple) else [gradients] if gradients is not None else [None] * len(tensors)
    if len(given) != len(tensors):
        raise GraphError(operation, f"got {len(tensors)} outputs, but {len(given)} gradients for them")
    roots = []
    for tensor, gradient in zip(tensors, given, strict=True):
        if gradient is None and tensor.array.size != 1:
            problem = f"only a single element has an implied gradient of 1, this tensor has {tensor.array.size}"
            raise GraphError(operation, f"{problem}; pass the gradient, or reduce it with sum() or mean()", shape=tensor.shape)
        gradient = Tensor(namespace(tensor.array).ones_like(tensor.array)) if gradient is None else gradient
        if gradient.shape != tensor.shape:
            raise ShapeError(operation, f"the gradient has shape {gradient.shape}, the tensor {tensor.shape}")
        roots.append((place_of(tensor), gradient.to(tensor.dtype)))
    return roots


def _plan(starts: Sequence[Any], wanted: set[Place]) -> dict[Function, tuple[bool, ...]]:
    """The nodes on the way to something wanted, each with the arguments whose gradient leads there."""
    targets = {target for target, _ in wanted}
    found: set[Function] = set()
    stack = list(starts)
    while stack:
        node = stack.pop()
        if isinstance(node, Function) and node not in found:
            found.add(node)
            stack.extend(edge[0] for edge in node.edges if edge is not None)
    plan: dict[Function, tuple[bool, ...]] = {}
    for node in sorted(found, key=lambda node: node.sequence):  # sources first
        needed = tuple([edge is not None and (edge[0] in targets or edge[0] in plan) for edge in node.edges])
        if True in needed or node in targets:
            plan[node] = needed
    return plan


def _call_backward(node: Function, gradients: dict[int, Tensor]) -> Sequence[Tensor | None]:
    """The gradients of a node's arguments, each of the shape and dtype that the argument had."""
    arguments: Any = gradients.values()
    if node.outputs is not None:
        xp = namespace(next(iter(gradients.values())).array)
        arguments = [gradients[nr] if nr in gradients else Tensor(xp.zeros(*like)) for nr, like in enumerate(node.outputs)]
    results = type(node).backward(node, *arguments) if anomaly.watch is None else anomaly.watch.backward(node, list(arguments))
    results = list(results) if type(results) is tuple else [results]
    if len(results) != len(node.edges):
        raise GraphError(node.name, f"backward returned {len(results)} gradients, forward took {len(node.edges)} arguments")
    for i, (edge, result) in enumerate(zip(node.edges, results, strict=True)):
        if edge is None or result is None:
            continue
        if not isinstance(result, Tensor) or result.array.shape != edge[2]:
            came = f"a tensor of shape {result.shape}" if isinstance(result, Tensor) else f"a {type(result).__name__}"
            raise ShapeError(node.name, f"backward must return a tensor of shape {edge[2]} (or None) for argument {i}, got {came}")
        if result.array.dtype != edge[3]:
            results[i] = result.to(edge[3])
    return results
