"""The engine: carry a gradient from the outputs of the graph back to its leaves.

A node is created after everything that it was computed from. So visiting the nodes in descending order of creation
visits each one after all of its consumers, when its gradient is complete: no search, no recursion, one heap.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minivgg.autograd.function import Function
from minivgg.autograd.grad_mode import set_grad_enabled
from minivgg.autograd.tensor import Tensor, as_tensor
from minivgg.backend import namespace
from minivgg.errors import GraphError, ShapeError

Place = tuple[Any, int]
"""Where a gradient arrives: a node and which of its outputs, or a leaf and 0."""


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
    """Add the gradient of ``tensors`` to the ``grad`` of every leaf that they were computed from (or of ``inputs``).

    ``grad_tensors`` is the gradient with respect to ``tensors``, which may be left out for a single element.
    ``create_graph`` records the computation, so that the gradients can be differentiated again.
    """
    journey = Journey("backward", tensors, grad_tensors, inputs)
    arrived = journey.run(create_graph if retain_graph is None else retain_graph, create_graph)
    receivers = [leaf for leaf, _ in arrived] if inputs is None else dict.fromkeys(_sequence(inputs))
    with set_grad_enabled(create_graph):
        for tensor in receivers:
            gradient = arrived.get(place_of(tensor))
            if gradient is not None:
                _accumulate(tensor, gradient, create_graph, owned=journey.own(gradient))


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False, *,
    allow_unused: bool | None = None, materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The gradients of ``outputs`` with respect to ``inputs``, returned; no ``grad`` is touched.

    An input that the outputs do not depend on is an error; with ``allow_unused`` its gradient is None, with
    ``materialize_grads`` zeros.

    >>> import minivgg
    >>> x = minivgg.tensor(3.0, requires_grad=True)
    >>> (first,) = minivgg.autograd.grad(x**3, x, create_graph=True)
    >>> (second,) = minivgg.autograd.grad(first, x)
    >>> first.item(), second.item()
    (27.0, 18.0)
    """
    targets = _sequence(inputs)
    arrived = Journey("grad", outputs, grad_outputs, targets).run(create_graph if retain_graph is None else retain_graph, create_graph)
    results = [arrived.get(place_of(target)) for target in targets]
    for i, (target, result) in enumerate(zip(targets, results, strict=True)):
        if result is None and materialize_grads:
            results[i] = Tensor(namespace(target.array).zeros_like(target.array))
        elif result is None and not allow_unused:
            raise GraphError("grad", f"input {i}, of shape {target.shape}, was not used to compute the outputs; pass allow_unused=True to get None for it")
    return tuple(results)


def place_of(tensor: Tensor) -> Place:
    return (tensor, 0) if tensor.grad_fn is None else (tensor.grad_fn, tensor.output_nr)


class Journey:
    """One journey from the outputs back: to all leaves, or to the ``inputs`` only."""

    def __init__(self, operation: str, outputs: Any, gradients: Any, inputs: Any) -> None:
        self.operation = operation
        self.pending: dict[Any, dict[int, Tensor]] = {}  # for each node or leaf, the gradients of its outputs, so far
        self.heap: list[tuple[int, Function]] = []
        self.seen: set[int] = set()  # ids of arrays that somebody else may hold
        roots = list(_roots(operation, _sequence(outputs), _sequence(gradients)))
        self.wanted = None if inputs is None else _places(operation, _sequence(inputs))
        self.plan = None if self.wanted is None else _plan([target for (target, _), _ in roots], self.wanted)
        for place, gradient in roots:
            self.seen.add(id(gradient.array))
            if self.wanted is None or place in self.wanted or place[0] in self.plan:
                self.send(*place, gradient)

    def run(self, retain_graph: bool, create_graph: bool) -> dict[Place, Tensor]:
        """Visit the nodes from the last made to the first. Returns what arrived at the inputs, or at every leaf."""
        arrived: dict[Place, Tensor] = {}
        with set_grad_enabled(create_graph):
            while self.heap:
                node = heapq.heappop(self.heap)[1]
                gradients = self.pending.pop(node)
                for nr in gradients if node.hooks or node.retained else ():
                    gradients[nr] = self.call_hooks(node.hooks.get(nr), gradients[nr])
                    keeper = node.retained[nr]() if nr in node.retained else None
                    if keeper is not None and keeper.grad_fn is node:
                        _accumulate(keeper, gradients[nr], create_graph, owned=False)
                if self.wanted is not None:
                    arrived.update({(node, nr): gradient for nr, gradient in gradients.items() if (node, nr) in self.wanted})
                needed = node.needs_input_grad if self.plan is None else self.plan[node]
                if True not in needed:
                    continue
                for edge, need, gradient in zip(node.edges, needed, _call_backward(node, needed, gradients), strict=True):
                    if need and gradient is not None:
                        self.send(edge[0], edge[1], gradient)
                if not retain_graph:
                    node.release()
            for leaf, gradients in self.pending.items():
                arrived[leaf, 0] = self.call_hooks(leaf._hooks, gradients[0])
        return arrived

    def send(self, target: Any, nr: int, gradient: Tensor) -> None:
        slots = self.pending.get(target)
        if slots is None:
            self.pending[target] = {nr: gradient}
            if not isinstance(target, Tensor):
                heapq.heappush(self.heap, (-target.sequence, target))
        else:
            slots[nr] = slots[nr] + gradient if nr in slots else gradient

    def call_hooks(self, hooks: Mapping[int, Any] | None, gradient: Tensor) -> Tensor:
        for hook in list(hooks.values()) if hooks else ():
            self.seen.add(id(gradient.array))
            replaced = hook(gradient)
            if replaced is not None:
                gradient = as_tensor(replaced, like=gradient)
                self.seen.add(id(gradient.array))
        return gradient

    def own(self, gradient: Tensor) -> bool:
        """Whether nobody else holds the array of this gradient, or has been told so before."""
        key = id(gradient.array)
        owned = gradient.array.base is None and key not in self.seen
        self.seen.add(key)
        return owned


def _sequence(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple | Iterator) else (value,)


def _roots(operation: str, tensors: Sequence[Tensor], gradients: Sequence[Any]) -> Iterator[tuple[Place, Tensor]]:
    """Each output with the gradient that starts there."""
    if gradients == (None,):
        gradients = [None] * len(tensors)
    if len(gradients) != len(tensors):
        raise GraphError(operation, f"got {len(tensors)} outputs, but {len(gradients)} gradients for them")
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if not tensor._requires_grad:
            raise GraphError(
                operation, "this tensor does not require a gradient and was not computed from one that does (or under no_grad)", shape=tensor.shape
            )
        if gradient is None:
            if tensor.array.size != 1:
                problem = f"only a single element has an implied gradient of 1, this tensor has {tensor.array.size}"
                raise GraphError(operation, f"{problem}; pass the gradient, or reduce it with sum() or mean()", shape=tensor.shape)
            gradient = Tensor(namespace(tensor.array).ones_like(tensor.array))
        gradient = as_tensor(gradient, like=tensor)
        if gradient.shape != tensor.shape:
            raise ShapeError(operation, f"the gradient has shape {gradient.shape}, the tensor {tensor.shape}")
        yield place_of(tensor), gradient.to(tensor.dtype)


def _places(operation: str, inputs: Sequence[Tensor]) -> set[Place]:
    for i, tensor in enumerate(inputs):
        if not tensor._requires_grad:
            raise GraphError(operation, f"input {i}, of shape {tensor.shape}, does not require a gradient")
    return set(map(place_of, inputs))


def _plan(starts: Sequence[Any], wanted: set[Place]) -> dict[Function, tuple[bool, ...]]:
    """The nodes on the way to something wanted, each with the arguments whose gradient leads there."""
    targets = {target for target, _ in wanted}
    found: set[Function] = set()
    stack = [start for start in starts if not isinstance(start, Tensor)]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(edge[0] for edge in node.edges if edge is not None and not isinstance(edge[0], Tensor))
    plan: dict[Function, tuple[bool, ...]] = {}
    for node in sorted(found, key=lambda node: node.sequence):  # sources first
        needed = tuple([edge is not None and (edge[0] in targets or edge[0] in plan) for edge in node.edges])
        if True in needed or node in targets:
            plan[node] = needed
    return plan


def _call_backward(node: Function, needed: tuple[bool, ...], gradients: dict[int, Tensor]) -> Sequence[Tensor | None]:
    """The gradients of a node's arguments, each of the shape and dtype that the argument had."""
    if node.outputs is None:
        arguments = [gradients[0]]
    else:
        xp = namespace(next(iter(gradients.values())).array)
        arguments = [gradients[nr] if nr in gradients else Tensor(xp.zeros(*like)) for nr, like in enumerate(node.outputs)]
    full, node.needs_input_grad = node.needs_input_grad, needed
    try:
        results = type(node).backward(node, *arguments)
    finally:
        node.needs_input_grad = full
    results = list(results) if type(results) is tuple else [results]
    if len(results) != len(node.edges):
        raise GraphError(node.name, f"backward returned {len(results)} gradients, forward took {len(node.edges)} arguments")
    for i, (edge, result) in enumerate(zip(node.edges, results, strict=True)):
        if edge is None or result is None:
            continue
        if not isinstance(result, Tensor):
            raise GraphError(node.name, f"backward returned {type(result).__name__} for argument {i}; it must return tensors and None")
        if result.array.shape != edge[2]:
            raise ShapeError(node.name, f"backward returned a gradient of shape {result.shape} for argument {i} of shape {edge[2]}")
        if result.array.dtype != edge[3]:
            results[i] = result.to(edge[3])
    return results


def _accumulate(tensor: Tensor, gradient: Tensor, create_graph: bool, owned: bool) -> None:
    """Add to ``tensor.grad``, which shares its memory with no other tensor."""
    if tensor.grad is None:
        tensor.grad = gradient.clone() if create_graph else gradient.detach() if owned else Tensor(gradient.array.copy())
    elif create_graph:
        tensor.grad = tensor.grad + gradient
    else:
        tensor.grad += gradient
