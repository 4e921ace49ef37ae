"""The engine: carry a gradient from the outputs of the graph back to its leaves.

A node is created after everything that it was computed from. So visiting the nodes in descending order of creation
visits each one after all of its consumers, when its gradient is complete: no search, no recursion, one heap.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from typing import Any

from minivgg.autograd.function import Function
from minivgg.autograd.tensor import Tensor, as_tensor, grad_mode
from minivgg.backend import Array, namespace
from minivgg.errors import GraphError, ShapeError


class _Switch(contextlib.ContextDecorator):
    mode: bool

    def __init__(self) -> None:
        self._before: list[bool] = []

    def _recreate_cm(self) -> _Switch:
        return type(self)()  # a decorated function may call itself, or run in several threads

    def __enter__(self) -> None:
        self._before.append(grad_mode.enabled)
        grad_mode.enabled = self.mode

    def __exit__(self, *exception: object) -> None:
        grad_mode.enabled = self._before.pop()


class no_grad(_Switch):
    """Record nothing: ``with no_grad(): ...`` or ``@no_grad()``."""

    mode = False


class enable_grad(_Switch):
    """Record again inside ``no_grad``."""

    mode = True


class set_grad_enabled:
    """Record or not, by value: as a statement until further notice, or for a ``with`` block."""

    def __init__(self, mode: bool) -> None:
        self._before, grad_mode.enabled = grad_mode.enabled, bool(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        grad_mode.enabled = self._before


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return grad_mode.enabled


def backward(tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None) -> None:
    """Add the gradient of ``tensors`` to the ``grad`` of every leaf that they were computed from (or of ``inputs``).

    ``grad_tensors`` is the gradient with respect to ``tensors``, which may be left out for a single element.
    ``create_graph`` records the computation, so that the gradients can be differentiated again.
    """
    roots = _roots("backward", _sequence(tensors), _sequence(grad_tensors))
    wanted = None if inputs is None else _wanted("backward", _sequence(inputs))
    captured, leaves = _run(roots, create_graph if retain_graph is None else retain_graph, create_graph, wanted)
    arrived = leaves.items() if inputs is None else zip(_sequence(inputs), captured, strict=True)
    given = {id(gradient.array) for _, gradient in roots}
    with set_grad_enabled(create_graph):
        for tensor, gradient in arrived:
            if gradient is None:
                continue
            if tensor.grad is not None:
                tensor.grad = tensor.grad + gradient
            else:
                tensor.grad = gradient if create_graph else Tensor(_owned(gradient.array, given, tensor))


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    allow_unused: bool | None = None, materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """The gradients of ``outputs`` with respect to ``inputs``, returned; no ``grad`` is touched.

    >>> import minivgg
    >>> x = minivgg.tensor(3.0, requires_grad=True)
    >>> (first,) = minivgg.autograd.grad(x**3, x, create_graph=True)
    >>> (second,) = minivgg.autograd.grad(first, x)
    >>> first.item(), second.item()
    (27.0, 18.0)
    """
    targets = _sequence(inputs)
    roots = _roots("grad", _sequence(outputs), _sequence(grad_outputs))
    wanted = _wanted("grad", targets)
    captured, _ = _run(roots, create_graph if retain_graph is None else retain_graph, create_graph, wanted)
    if allow_unused is None:
        allow_unused = materialize_grads
    for i, (target, result) in enumerate(zip(targets, captured, strict=True)):
        if result is None and not allow_unused:
            raise GraphError("grad", f"input {i}, of shape {target.shape}, was not used to compute the outputs; pass allow_unused=True to get None for it")
    if materialize_grads:
        captured = [Tensor(namespace(t.array).zeros_like(t.array)) if g is None else g for t, g in zip(targets, captured, strict=True)]
    return tuple(captured)


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _key(tensor: Tensor) -> tuple[Any, int]:
    """Where the gradient of a tensor arrives: the node's output, or the leaf."""
    return (tensor, 0) if tensor.grad_fn is None else (tensor.grad_fn, tensor.output_nr)


def _roots(operation: str, tensors: Sequence[Tensor], gradients: Sequence[Any]) -> list[tuple[tuple[Any, int], Tensor]]:
    """Each output with the gradient that starts there."""
    if len(gradients) != len(tensors):
        if any(g is not None for g in gradients):
            raise GraphError(operation, f"got {len(tensors)} outputs, but {len(gradients)} gradients for them")
        gradients = [None] * len(tensors)
    roots = []
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if not tensor._requires_grad:
            raise GraphError(operation, "this tensor does not require a gradient and was not computed from one that does (or under no_grad)", shape=tensor.shape)
        if gradient is None:
            if tensor.array.size != 1:
                raise GraphError(operation, f"only a single element has an implied gradient of 1, this tensor has {tensor.array.size}; pass the gradient, or reduce it with sum() or mean()", shape=tensor.shape)
            gradient = Tensor(namespace(tensor.array).ones_like(tensor.array))
        gradient = as_tensor(gradient, like=tensor)
        if gradient.shape != tensor.shape:
            raise ShapeError(operation, f"the gradient has shape {gradient.shape}, the tensor {tensor.shape}")
        if gradient.dtype != tensor.dtype:
            gradient = gradient.to(tensor.dtype)
        roots.append((_key(tensor), gradient))
    return roots


def _wanted(operation: str, inputs: Sequence[Tensor]) -> dict[tuple[Any, int], list[int]]:
    wanted: dict[tuple[Any, int], list[int]] = {}
    for i, tensor in enumerate(inputs):
        if not tensor._requires_grad:
            raise GraphError(operation, f"input {i}, of shape {tensor.shape}, does not require a gradient")
        wanted.setdefault(_key(tensor), []).append(i)
    return wanted


def _run(
    roots: list[tuple[tuple[Any, int], Tensor]], retain_graph: bool, create_graph: bool, wanted: dict[tuple[Any, int], list[int]] | None
) -> tuple[list[Tensor | None], dict[Tensor, Tensor]]:  # fmt: skip
    """Visit the nodes from the last made to the first. Returns what arrived at ``wanted``, and at each leaf."""
    captured: list[Tensor | None] = [None] * (0 if wanted is None else sum(map(len, wanted.values())))
    on_the_way = None if wanted is None else _on_the_way([key[0] for key, _ in roots], wanted)
    pending: dict[Function, dict[int, Tensor]] = {}  # the gradients of each node's outputs, so far
    leaves: dict[Tensor, Tensor] = {}
    heap: list[tuple[int, Function]] = []

    def send(target: Any, nr: int, gradient: Tensor) -> None:
        if isinstance(target, Tensor):
            leaves[target] = leaves[target] + gradient if target in leaves else gradient
        elif target in pending:
            arrived = pending[target]
            arrived[nr] = arrived[nr] + gradient if nr in arrived else gradient
        elif on_the_way is None or target in on_the_way:
            pending[target] = {nr: gradient}
            heapq.heappush(heap, (-target.sequence, target))

    with set_grad_enabled(create_graph):
        for (target, nr), gradient in roots:
            send(target, nr, gradient)
        while heap:
            node = heapq.heappop(heap)[1]
            gradients = pending.pop(node)
            if node.tensor_hooks is not None:
                for nr, gradient in gradients.items():
                    gradients[nr] = _call_hooks(node.tensor_hooks.get(nr), gradient)
            if on_the_way is not None:
                for nr, gradient in gradients.items():
                    for i in wanted.get((node, nr), ()):  # type: ignore[union-attr]
                        captured[i] = gradient
                if not on_the_way[node]:
                    continue
            for edge, gradient in zip(node.edges, _call_backward(node, gradients), strict=True):
                if edge is not None and gradient is not None:
                    send(edge[0], edge[1], gradient)
            if not retain_graph:
                node.release()
        for leaf, gradient in leaves.items():
            leaves[leaf] = gradient = _call_hooks(leaf._hooks, gradient)
            for i in wanted.get((leaf, 0), ()) if wanted is not None else ():
                captured[i] = gradient
    return captured, leaves


def _call_backward(node: Function, gradients: dict[int, Tensor]) -> Sequence[Tensor | None]:
    """The gradients of a node's arguments, each of the shape and dtype that the argument had."""
    if node.outputs is None:
        results = type(node).backward(node, gradients[0])
    else:
        xp = namespace(next(iter(gradients.values())).array)
        full = [gradients[nr] if nr in gradients else Tensor(xp.zeros(shape, dtype)) for nr, (shape, dtype) in enumerate(node.outputs)]
        results = type(node).backward(node, *full)
    if type(results) is not tuple:
        results = (results,)
    if len(results) != len(node.edges):
        raise GraphError(node.name, f"backward returned {len(results)} gradients, forward took {len(node.edges)} arguments")
    checked: Sequence[Tensor | None] = results
    for i, (edge, result) in enumerate(zip(node.edges, results, strict=True)):
        if edge is None or result is None:
            continue
        array = result.array
        if array.shape != edge[2]:
            raise ShapeError(node.name, f"backward returned a gradient of shape {array.shape} for argument {i} of shape {edge[2]}")
        if array.dtype != edge[3]:
            checked = [*checked[:i], result.to(edge[3]), *checked[i + 1 :]]
    return checked


def _call_hooks(hooks: dict[int, Any] | None, gradient: Tensor) -> Tensor:
    for hook in list(hooks.values()) if hooks else ():
        replaced = hook(gradient)
        if replaced is not None:
            gradient = replaced
    return gradient


def _on_the_way(starts: list[Any], wanted: dict[tuple[Any, int], list[int]]) -> dict[Function, bool]:
    """The nodes to visit, each with whether something wanted lies behind it, so that its ``backward`` must run."""
    targets = {target for target, _ in wanted}
    found: set[Function] = set()
    stack = [start for start in starts if not isinstance(start, Tensor)]
    while stack:
        node = stack.pop()
        if node not in found:
            found.add(node)
            stack.extend(edge[0] for edge in node.edges if edge is not None and not isinstance(edge[0], Tensor))
    visit: dict[Function, bool] = {}
    for node in sorted(found, key=lambda node: node.sequence):  # sources first
        behind = any(edge is not None and (edge[0] in targets or edge[0] in visit) for edge in node.edges)
        if behind or node in targets:
            visit[node] = behind
    return visit


def _owned(array: Array, given: set[int], leaf: Tensor) -> Array:
    """An array that no other tensor shares: ``array`` itself if it was made for this leaf alone, else a copy."""
    if array.base is None and id(array) not in given and not leaf._hooks:
        given.add(id(array))
        return array
    return array.copy()
