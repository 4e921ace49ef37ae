"""A feed-forward network as a list of layers with their arrays: the one description that every competitor builds its own from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy

from minivgg import models, nn
from minivgg.autograd import Tensor, no_grad
from minivgg.errors import UnsupportedError
from minivgg.nn import Module
from minivgg.random import manual_seed
from minivgg.spec import Conv2dSpec


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: what it does to one image, without the batch's dimension in its shapes.

    ``kind`` is conv2d (weight K C R S, bias K, stride, padding), linear (weight K C, bias K), relu, max_pool2d (size,
    stride), adaptive_avg_pool2d (size) or flatten. Padding is on all sides alike, and pooling has none.
    """

    name: str
    kind: str
    input: tuple[int, ...]
    output: tuple[int, ...]
    weight: numpy.ndarray | None = None
    bias: numpy.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (1, 1)

    def spec(self, batch: int) -> Conv2dSpec:
        """The problem that a convolution solves."""
        return Conv2dSpec.of((batch, *self.input), self.arrays[0].shape, self.stride, self.padding)

    @property
    def arrays(self) -> list[numpy.ndarray]:
        """Weight and bias, in this order, as far as there are any."""
        return [array for array in (self.weight, self.bias) if array is not None]

    @property
    def macs(self) -> int:
        """Multiply-adds of the definition for one image; pooling and ReLU count as nothing."""
        if self.kind == "conv2d":
            return self.spec(1).macs
        return self.arrays[0].size if self.kind == "linear" else 0


@dataclass(frozen=True, eq=False)
class Network:
    """Layers in the order in which they compute, on float32 images of the shape ``input`` (C, H, W)."""

    name: str
    input: tuple[int, ...]
    layers: list[Layer] = field(default_factory=list)

    @property
    def arrays(self) -> list[numpy.ndarray]:
        """All weights and biases."""
        return [array for layer in self.layers for array in layer.arrays]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    def images(self, batch: int, seed: int = 1) -> numpy.ndarray:
        """Normally distributed input (batch, C, H, W)."""
        return numpy.random.default_rng(seed).standard_normal((batch, *self.input), dtype=numpy.float32)

    def labels(self, batch: int, seed: int = 2) -> numpy.ndarray:
        """One class an image, in int64."""
        return numpy.random.default_rng(seed).integers(0, self.layers[-1].output[-1], batch)


def convolution(spec: Conv2dSpec, w: numpy.ndarray, b: numpy.ndarray) -> Network:
    """A network of one convolution. Raises UnsupportedError for what a ``Layer`` cannot say."""
    top, bottom, left, right = spec.padding
    if (top, left) != (bottom, right) or spec.dilation != (1, 1) or spec.groups != 1:
        raise UnsupportedError("bench", "rivals are compared on convolutions without groups and dilation, padded on both sides alike", problem=spec)
    layer = Layer("conv", "conv2d", (spec.c, spec.h, spec.w), (spec.k, spec.p, spec.q), w, b, stride=spec.stride, padding=(top, left))
    return Network("conv", layer.input, [layer])


def describe(model: Module, input: tuple[int, ...], name: str) -> Network:
    """The layers of a model, in the order in which they are called for an image of shape ``input`` (C, H, W).

    Dropout is left out, as evaluation leaves it out; the arrays are the model's own. Raises UnsupportedError for a layer of
    another kind. That the list *is* the model shows when outputs are compared.

    >>> from minivgg.models.vgg import make_layers
    >>> for layer in describe(make_layers("8 M", in_channels=1), (1, 6, 6), "tiny").layers:
    ...     print(layer.kind, layer.output)
    conv2d (8, 6, 6)
    relu (8, 6, 6)
    max_pool2d (8, 3, 3)
    """
    network = Network(name, input)
    names = {id(module): path for path, module in model.named_modules()}
    state = {"shape": (1, *input)}

    def note(module: Module, args: tuple[Any, ...], output: Any) -> None:
        before, after = args[0].shape[1:], output.shape[1:]
        if args[0].shape != state["shape"]:  # a reshape between two layers: VGG.forward flattens without a module
            network.layers.append(Layer("flatten", "flatten", state["shape"][1:], before))
        state["shape"] = output.shape
        kind = type(module).__name__
        if kind == "Dropout":
            return
        if kind not in _READ:
            raise UnsupportedError("bench", f"{names[id(module)]} is a {kind}; rivals are built from {', '.join(_READ)} and Dropout")
        network.layers.append(Layer(names[id(module)], _KINDS[kind], before, after, **_READ[kind](module)))

    hooks = [module.register_forward_hook(note) for module in model.modules() if not list(module.children())]
    training = model.training
    try:
        with no_grad():
            model.eval()(Tensor(numpy.zeros((1, *input), numpy.float32)))
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return network


def build(name: str, image: int, seed: int = 0) -> Network:
    """A network of ``minivgg.models`` by its name, with the weights that the seed gives, for square images of that size.

    ``minivgg`` is MiniVGG without batch normalisation, on images with one channel.
    """
    manual_seed(seed)
    if name == "minivgg":
        return describe(models.MiniVGG(image_size=image, batch_norm=False), (1, image, image), name)
    known = [known for known in models.__all__ if re.fullmatch("vgg[0-9]+(_1x1)?", known)]
    if name not in known:
        raise UnsupportedError("bench", f"there is no network {name!r} to compare; there are {', '.join(known)}, minivgg")
    return describe(getattr(models, name)(), (3, image, image), name)


_KINDS = {"Conv2d": "conv2d", "Linear": "linear", "ReLU": "relu", "MaxPool2d": "max_pool2d", "AdaptiveAvgPool2d": "adaptive_avg_pool2d", "Flatten": "flatten"}


def _parameters(module: Any) -> dict[str, Any]:
    return {"weight": module.weight.detach().numpy(), "bias": None if module.bias is None else module.bias.detach().numpy()}


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _convolution(module: nn.Conv2d) -> dict[str, Any]:
    if module.groups != 1 or _pair(module.dilation) != (1, 1) or isinstance(module.padding, str):
        raise UnsupportedError("bench", f"rivals are built from convolutions without groups and dilation, padded by a number, got {module}")
    return {**_parameters(module), "stride": _pair(module.stride), "padding": _pair(module.padding)}


def _pooling(module: nn.MaxPool2d) -> dict[str, Any]:
    if _pair(module.padding) != (0, 0) or _pair(module.dilation) != (1, 1) or module.ceil_mode:
        raise UnsupportedError("bench", f"rivals are built from pooling without padding, dilation and ceil_mode, got {module}")
    return {"size": _pair(module.kernel_size), "stride": _pair(module.stride)}


_READ: dict[str, Callable[[Any], dict[str, Any]]] = {
    "Conv2d": _convolution,
    "Linear": _parameters,
    "ReLU": lambda module: {},
    "MaxPool2d": _pooling,
    "AdaptiveAvgPool2d": lambda module: {"size": _pair(module.output_size)},
    "Flatten": lambda module: {},
}


def averaging(size: int, windows: int) -> numpy.ndarray:
    """Adaptive average pooling along one axis as a matrix (windows, size): row i averages ⌊i·size/windows⌋ to ⌈(i+1)·size/windows⌉.

    For libraries that have no adaptive pooling: pooled = A · x · Bᵀ, exactly.

    >>> averaging(4, 2).tolist(), averaging(1, 2).tolist()
    ([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]], [[1.0], [1.0]])
    """
    matrix = numpy.zeros((windows, size), numpy.float32)
    for i in range(windows):
        first, last = i * size // windows, -(-(i + 1) * size // windows)
        matrix[i, first:last] = 1 / (last - first)
    return matrix
