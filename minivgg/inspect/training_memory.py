"""How much memory a training step takes at its peak, and where: a formula, filled in from the graph that one forward pass records.

A step is ``optimizer.zero_grad()``, forward, ``backward()``, ``optimizer.step()``. All through it there live the parameters and
buffers P, what the optimiser remembers of them S, and the batch B. With the nodes of the graph numbered 1, 2, ... m as they ran:

    forward of node i     P + S + B + A(i) + x(i) + y(i) + scratch(i)
    backward of node i    P + S + B + A(i) + G(i) + d(i) + waiting(i)
    update                P + S + B + G(1)

``A(i)``         what nodes 1 to i saved for backward, each array once: inputs, outputs, masks, a byte a pooling window. A node's
                 share is freed when its gradients are computed
``x(i)``, ``y(i)``  a node's input and output, where they are not among what is saved
``G(i)``         gradients of the parameters that nodes i to m have
``d(i)``         the gradient of a node's output, those of its inputs, and its scratch memory: see ``_backward_bytes``
``waiting(i)``   gradients that other branches of the network left for nodes that are not reached yet

Frozen layers in front of all trainable ones record nothing: they have a forward only, and save nothing.

The peak is the largest of these. Not in it: the loss (some copies of the scores), labels, and the objects of Python.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy

from minivgg import registry
from minivgg.autograd import Function, Tensor, enable_grad
from minivgg.autograd.function import Edge
from minivgg.inspect.execution import as_in_training, output_shapes, owner, read_examples, recorded, tensors_in
from minivgg.nn import Module
from minivgg.optim import Optimizer
from minivgg.spec import Conv2dSpec


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes at the peak of a training step, and what they are made of."""

    peak: int
    where: str
    """The moment of the peak, such as ``"backward of Conv2dReLU to 8x64x112x112"``, or ``"update"``."""
    parameters: int
    """With buffers."""
    optimizer: int
    batch: int
    saved: int
    """For backward, at the peak."""
    gradients: int
    """Of parameters, at the peak."""
    passing: int
    """Everything else: gradients on their way, inputs, outputs and scratch memory of the layer that is being computed."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def training_memory(model: Module, input: Any, optimizer: Optimizer, batch_size: int = 1) -> TrainingMemory:
    """The peak of a training step of ``model`` with ``optimizer``, by the formula of this file.

    ``input`` and ``batch_size`` are those of ``inspect``. The model runs once, forward, in training mode; its statistics and the
    random numbers are put back. Costs one forward pass and the memory of its graph.

    >>> import minivgg
    >>> from minivgg import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 16 * 16, 10))
    >>> memory = training_memory(model, (3, 32, 32), minivgg.optim.Adam(model.parameters()), batch_size=8)
    >>> memory.optimizer == 2 * memory.parameters, memory.batch == 8 * 3 * 32 * 32 * 4
    (True, True)
    """
    examples = read_examples(model, input, batch_size)
    # Inputs that require a gradient, so that frozen layers are recorded too; and no leaves, so that a layer may work in place.
    inputs = [tensor.detach().requires_grad_(tensor.is_floating_point()).clone() for tensor in examples]
    with as_in_training(model), enable_grad():
        graph = Graph(tensors_in(model(*inputs)), model, inputs)
    lasting, batch = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())), sum(tensor.nbytes for tensor in examples)
    remembered = sum(p.nbytes * tensors_remembered(optimizer, group) for group in optimizer.param_groups for p in group["params"] if p.requires_grad)
    where, saved, gradients, passing = max([*graph.forward(), *graph.backward()], key=lambda moment: sum(moment[1:]))
    return TrainingMemory(lasting + remembered + batch + saved + gradients + passing, where, lasting, remembered, batch, saved, gradients, passing)


def tensors_remembered(optimizer: Optimizer, group: dict[str, Any]) -> int:
    """How many tensors of a parameter's size an optimiser keeps for it: tried on a parameter of one element."""
    state: dict[str, Any] = {}
    optimizer.update(numpy.zeros(1), numpy.zeros(1), state, group)
    return sum(isinstance(value, Tensor) for value in state.values())


Moment = tuple[str, int, int, int]
"""Where, and the bytes that are saved, of the parameters' gradients, and of all that is passing."""


class Graph:
    """The nodes in the order in which they ran, which of them a training step would record, and what that keeps."""

    def __init__(self, outputs: Sequence[Tensor], model: Module, inputs: Sequence[Tensor]) -> None:
        self.outputs, beginnings = outputs, {tensor.grad_fn for tensor in inputs}
        self.nodes = [node for node in recorded(outputs) if node not in beginnings]
        self.shapes = output_shapes(self.nodes, outputs)
        self.lasting = {id(owner(tensor.array)) for tensor in (*model.parameters(), *model.buffers(), *inputs)}
        self.edges: dict[Any, list[Edge | None]] = {}
        """Of each node that a step records, where its gradients go."""
        for node in self.nodes:
            edges = [edge if edge is not None and (edge[0] in self.edges or isinstance(edge[0], Tensor)) else None for edge in node.edges]
            if any(edges):
                self.edges[node] = edges
        self.saved: dict[Function, int] = {}
        """A(i)."""

    def forward(self) -> Iterator[Moment]:
        known, total = set(self.lasting), 0
        for node in self.nodes:
            for array in [owner(entry[0]) for entry in node._saved if entry[0] is not None and node in self.edges]:
                total += 0 if id(array) in known else array.nbytes
                known.add(id(array))
            self.saved[node] = total
            yield f"forward of {self.title(node)}", total, 0, self.forward_bytes(node)

    def backward(self) -> Iterator[Moment]:
        """After ``forward``: the nodes from the last to the first, then the update."""
        waiting: dict[Any, Gradient] = {tensor.grad_fn: Gradient(tensor.nbytes) for tensor in self.outputs}
        parameters = 0
        for node in [node for node in reversed(self.nodes) if node in self.edges]:
            incoming, before = waiting.pop(node), waiting.copy()
            own = met = 0
            for edge in filter(None, self.edges[node]):
                if isinstance(edge[0], Tensor):
                    own += _bytes(edge)
                else:
                    met += 2 * _bytes(edge) if edge[0] in before else 0  # what comes to one that is waiting, and their sum
                    waiting[edge[0]] = incoming if node.name in HANDING_ON and edge[2] == self.shapes[node] else Gradient(_bytes(edge))
            own_work = max(self.backward_bytes(node, incoming.size) - own, met)
            passing = own_work + sum(gradient.size for gradient in {incoming, *before.values()})
            parameters += own
            yield f"backward of {self.title(node)}", self.saved[node], parameters, passing
        yield "update", 0, parameters, 0

    def forward_bytes(self, node: Function) -> int:
        """A node's inputs and output, where nobody has saved them, and its scratch memory."""
        if node.is_view:
            return 0
        edges = [edge for i, edge in enumerate(node.edges) if edge is not None and isinstance(edge[0], Function) and not self.saves(node, i)]
        inputs = sum(_bytes(edge) for edge in edges if not self.saves(edge[0], -1))
        output = 0 if self.saves(node, -1) else math.prod(self.shapes[node]) * _dtype(node).itemsize
        return inputs + output + (_scratch(node, "conv2d") if _is_convolution(node) else 0)

    def saves(self, node: Function, source: int) -> bool:
        """Whether a step's node saves its input of that number, or, of number -1, its output."""
        return node in self.edges and any(entry[1] == source for entry in node._saved)

    def backward_bytes(self, node: Function, incoming: int) -> int:
        """What a node's ``backward`` takes besides the gradient that comes in.

        In general the gradients of its inputs; none where the one that came in is handed on. A convolution computes the input's
        gradient first, then the weight's, each with its scratch memory. Of one that was computed together with ReLU and pooling,
        the gradient first passes back through these: for ReLU as large as what comes in, for pooling as large as the
        convolution's output.
        """
        sizes = [0 if edge is None else _bytes(edge) for edge in self.edges[node]]
        if not _is_convolution(node):
            return 0 if node.is_view or node.name in HANDING_ON else sum(sizes)
        fused, pooled = node.name == "Conv2dReLU", getattr(node, "pooling", None)
        full = math.prod(node.spec.output_shape) * _dtype(node).itemsize if pooled else incoming if fused else 0  # type: ignore[attr-defined]
        return max(
            incoming + full if pooled else 0,
            full + sizes[0] + (_scratch(node, "conv2d_grad_input") if sizes[0] else 0),
            full + sum(sizes) + (_scratch(node, "conv2d_grad_weight") if sizes[1] else 0),
        )

    def title(self, node: Function) -> str:
        return f"{node.name} to {'x'.join(map(str, self.shapes[node]))}"


@dataclass(eq=False)
class Gradient:
    """One on its way; it may be on its way to several nodes."""

    size: int


HANDING_ON = ("Add", "Reshape", "Permute")
"""Their gradient is the one that came in, or a view of it, if the shapes are the same."""


def _is_convolution(node: Function) -> bool:
    return isinstance(getattr(node, "spec", None), Conv2dSpec)


def _scratch(node: Any, operation: str) -> int:
    """What the algorithm of a convolution declares."""
    return registry.select(operation, node.spec, _dtype(node), node.algorithm).workspace(node.spec, _dtype(node))


def _dtype(node: Function) -> numpy.dtype:
    return next(edge[3] for edge in node.edges if edge is not None)


def _bytes(edge: Edge) -> int:
    """Of a gradient that goes along an edge."""
    return math.prod(edge[2]) * edge[3].itemsize
