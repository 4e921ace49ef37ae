"""Run a model once and note what ran: every call of a module, and the graph nodes that the call recorded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from minivgg.autograd import Function, Tensor, enable_grad
from minivgg.backend import Array
from minivgg.creation import ones, randn
from minivgg.errors import ArgumentError
from minivgg.nn import Module
from minivgg.random import Generator, default_generator

Origin = Function | Tensor
"""Where a tensor came from: the node that made it, or itself if it is a leaf."""


@dataclass
class Call:
    """One call of one module. The nodes that it recorded have sequence numbers between ``first`` and ``last``."""

    name: str
    module: Module
    inputs: list[Tensor]
    first: int
    last: int = 0
    output_shapes: list[tuple[int, ...]] = field(default_factory=list)
    origin: Origin | None = None
    """Of the first output."""
    new_bytes: int = 0
    """Memory of the outputs that is not memory of the inputs."""
    nodes: list[Function] = field(default_factory=list)
    """The nodes recorded by this module itself, not by a module inside it."""


@dataclass
class Execution:
    """All calls in the order in which they began, all nodes in the order in which they ran, and each node's output shape."""

    calls: list[Call]
    nodes: list[Function]
    shapes: dict[Function, tuple[int, ...]]
    inputs: list[Tensor]


@contextlib.contextmanager
def evaluation(model: Module) -> Iterator[None]:
    """Evaluation mode for a block, so that looking at a model changes neither its statistics nor the random numbers."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def as_in_training(model: Module) -> Iterator[None]:
    """Training mode for a block; its modes, its statistics and the random numbers are put back."""
    modes, random_state = [(module, module.training) for module in model.modules()], default_generator.get_state()
    statistics = [(buffer.array, buffer.array.copy()) for buffer in model.buffers()]
    model.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for array, before in statistics:
            array[...] = before
        default_generator.set_state(random_state)


def read_examples(model: Module, input: Any, batch_size: int = 1) -> list[Tensor]:
    """What ``inspect`` is given, as tensors: a tensor, a tuple of them, or sizes without the batch."""
    if isinstance(input, Tensor):
        return [input]
    return list(input) if all(isinstance(part, Tensor) for part in input) else example_inputs(model, input, batch_size)


def example_inputs(model: Module, sizes: Any, batch_size: int = 1) -> list[Tensor]:
    """Random inputs, always the same, in the dtype and place of the model: for one size such as (3, 224, 224), or a list of sizes."""
    several = isinstance(sizes, list | tuple) and any(isinstance(size, list | tuple) for size in sizes)
    shapes = [tuple(size) for size in sizes] if several else [tuple(sizes)]
    if not all(shapes) or not all(isinstance(n, int) and n > 0 for shape in shapes for n in shape):
        raise ArgumentError("input_size", f"must be a size such as (3, 224, 224), without the batch, or a list of sizes, got {sizes!r}")
    dtype, place = next(((parameter.dtype, parameter.device) for parameter in model.parameters()), ("float32", "cpu"))
    generator = Generator().manual_seed(0)
    return [randn(batch_size, *shape, generator=generator, dtype=dtype, device=place) for shape in shapes]


def execute(model: Module, inputs: Sequence[Tensor]) -> Execution:
    """Run ``model(*inputs)`` in evaluation mode and look at what was recorded.

    The inputs are made to require a gradient, so that the whole computation is recorded, whatever is frozen.
    """
    inputs = [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in inputs]
    calls: list[Call] = []
    open_calls: list[Call] = []
    ruler = ones(1, requires_grad=True)

    def now() -> int:
        node = ruler.clone().grad_fn
        assert node is not None
        return node.sequence

    def before(module: Module, args: tuple[Any, ...]) -> None:
        open_calls.append(Call(names[id(module)], module, [arg for arg in args if isinstance(arg, Tensor)], first=now()))
        calls.append(open_calls[-1])

    def after(module: Module, args: tuple[Any, ...], output: Any) -> None:
        call = open_calls.pop()
        outputs = tensors_in(output)
        known = {id(owner(tensor.array)) for tensor in call.inputs}
        call.last = now()
        call.output_shapes = [tensor.shape for tensor in outputs]
        call.new_bytes = sum(tensor.nbytes for tensor in outputs if id(owner(tensor.array)) not in known)
        call.origin = origin(outputs[0]) if outputs else None

    names = {id(module): name for name, module in model.named_modules()}
    hooks = [module.register_forward_pre_hook(before) for module in model.modules()]
    hooks += [module.register_forward_hook(after) for module in model.modules()]
    try:
        with evaluation(model), enable_grad():
            # A layer may work in place, which a leaf that requires a gradient does not allow: hence the clone.
            outputs = tensors_in(model(*(tensor.clone() for tensor in inputs)))
    finally:
        for hook in hooks:
            hook.remove()
    nodes = recorded(outputs)
    for node in nodes:
        around = [call for call in calls if call.first < node.sequence < call.last]
        if around:
            max(around, key=lambda call: call.first).nodes.append(node)
    return Execution(calls, nodes, output_shapes(nodes, outputs), inputs)


def recorded(outputs: Sequence[Tensor]) -> list[Function]:
    """All nodes that the outputs were computed from, in the order in which they ran."""
    found: set[Function] = set()
    stack = [tensor.grad_fn for tensor in outputs]
    while stack:
        node = stack.pop()
        if node is not None and node not in found:
            found.add(node)
            stack.extend(edge[0] for edge in node.edges if edge is not None and isinstance(edge[0], Function))
    return sorted(found, key=lambda node: node.sequence)


def output_shapes(nodes: Sequence[Function], outputs: Sequence[Tensor]) -> dict[Function, tuple[int, ...]]:
    """The shape of each node's first output, as those that used it know it."""
    shapes = {tensor.grad_fn: tensor.shape for tensor in outputs if tensor.grad_fn is not None}
    for node in nodes:
        shapes |= {edge[0]: edge[2] for edge in node.edges if edge is not None and isinstance(edge[0], Function) and edge[1] == 0}
    return shapes


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in an output: a tensor, or tuples, lists and dictionaries of them."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for part in value for tensor in tensors_in(part)] if isinstance(value, tuple | list) else []


def origin(tensor: Tensor) -> Origin:
    return tensor if tensor.grad_fn is None else tensor.grad_fn


def owner(array: Array) -> Array:
    """The array that owns the memory, of which this one is a view."""
    while type(base := getattr(array, "base", None)) is type(array):
        array = base
    return array
