"""Where the time and the memory of a training step go: every array computation, with the layer and the direction it belongs to.

Inside ``with Profile(names):`` the two places through which all work passes, ``Function.run`` and the engine's call of a node's
``backward``, note when they begin and end. A hook on a module would do less and change more: layers with hooks are not fused.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy

from minivgg import nn
from minivgg.autograd import Function, Tensor, engine
from minivgg.backend import is_array
from minivgg.bench.network import Network, build
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from minivgg.bench.rivals._itself import model
from minivgg.memory import POOL
from minivgg.optim import SGD

DIRECTIONS = ("forward", "input gradient", "weight gradient", "rest of backward", "update")
"""What an event can be. The rest of backward: masks of ReLU, indices of pooling, sums for the bias, additions."""


@dataclass(slots=True)
class Event:
    """One computation. Seconds since the profile began; bytes are 0 if memory is not followed."""

    layer: str
    operation: str
    direction: str
    start: float
    end: float
    held: int = 0
    """Bytes in use when it ended."""
    reserved: int = 0
    """The same with what is kept for the next array of that size."""

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Profile:
    """Collects events while its block runs. ``names`` maps the address of a weight's memory to the layer's name.

    >>> import minivgg
    >>> x = minivgg.ones(2, 3, requires_grad=True)
    >>> with Profile({address(x.array): "first"}) as profile:
    ...     x.relu().sum().backward()
    >>> [(event.layer, event.operation, event.direction) for event in profile.events][:2]
    [('first', 'ReLU', 'forward'), ('Sum', 'Sum', 'forward')]
    """

    def __init__(self, names: dict[int, str], memory: bool = False) -> None:
        self.names, self.memory = names, memory
        self.events: list[Event] = []
        self.layers: dict[int, str] = {}  # the layer of each node
        self.node: Function | None = None  # the one whose backward runs
        self.turned = False  # forward is over

    def __enter__(self) -> Profile:
        self.run, self.call_backward = vars(Function)["run"], engine._call_backward
        whole = self

        def run(cls: type[Function], node: Function, arrays: list[Any]) -> Any:
            with whole.event(*whole.place(node, arrays)):
                return whole.run.__func__(cls, node, arrays)

        def call_backward(node: Function, gradients: Any) -> Any:
            whole.node, whole.turned = node, True
            try:
                return whole.call_backward(node, gradients)
            finally:
                whole.node = None

        Function.run, engine._call_backward = classmethod(run), call_backward  # type: ignore[assignment,method-assign]
        self.began = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        Function.run, engine._call_backward = self.run, self.call_backward  # type: ignore[method-assign]

    def place(self, node: Function, arrays: list[Any]) -> tuple[str, str, str]:
        """The layer, the name and the direction of a computation."""
        weights = [self.names[address(array)] for array in arrays if is_array(array) and address(array) in self.names]
        if not self.turned:
            self.layers[id(node)] = weights[0] if weights else node.name
            return self.layers[id(node)], node.name, "forward"
        layer = self.layers.get(id(self.node), node.name)
        linear = node.name == "MatMul" and self.node is not None and self.node.name == "Linear"
        if node.name in ("Conv2dGradInput", "LinearGradInput") or (linear and weights):
            return layer, node.name, "input gradient"
        if node.name in ("Conv2dGradWeight", "LinearGradWeight") or linear:
            return layer, node.name, "weight gradient"
        return layer, node.name, "rest of backward"

    @contextmanager
    def event(self, layer: str, operation: str, direction: str) -> Iterator[None]:
        """Note what happens in the block."""
        start = time.perf_counter() - self.began
        yield
        event = Event(layer, operation, direction, start, time.perf_counter() - self.began)
        if self.memory:
            event.held = tracemalloc.get_traced_memory()[0]
            event.reserved = event.held + POOL.held - POOL.used + sum(piece.size for _, piece in list(POOL.returned))
        self.events.append(event)


def address(array: numpy.ndarray) -> int:
    """Where an array's elements begin: the same for a tensor and the views of all of it."""
    return int(array.__array_interface__["data"][0])


def layer_names(network: Network) -> dict[int, str]:
    """The layers' names as the papers have them, by the addresses of their weights: conv1_1, ..., linear1."""
    names, block, place, linear = {}, 1, 0, 0
    for layer in network.layers:
        if layer.kind == "max_pool2d":
            block, place = block + 1, 0
        elif layer.kind == "conv2d":
            place += 1
            names[address(layer.arrays[0])] = f"conv{block}_{place}"
        elif layer.kind == "linear":
            linear += 1
            names[address(layer.arrays[0])] = f"linear{linear}"
    return names


def profile_steps(name: str, image: int, batch: int, steps: int = 5, memory: bool = False) -> list[list[Event]]:
    """The events of training steps, after two that compile, touch the memory and create the momentum.

    With ``memory`` all memory is followed from the weights on, which costs time: take the seconds from another run.
    """
    if memory:
        tracemalloc.start()
    try:
        network = build(name, image)
        ours, names, found = model(network), layer_names(network), []
        optimizer = SGD(ours.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        x, y = Tensor(network.images(batch)), Tensor(network.labels(batch))
        for _ in range(2 + steps):
            with Profile(names, memory) as profile:
                optimizer.zero_grad()
                nn.functional.cross_entropy(ours(x), y).backward()
                with profile.event("SGD", "SGD", "update"):
                    optimizer.step()
            found.append(profile.events)
        return found[2:]
    finally:
        if memory:
            tracemalloc.stop()


def middle(steps: list[list[Event]]) -> list[Event]:
    """The step of median length."""
    return sorted(steps, key=lambda events: events[-1].end)[len(steps) // 2]
