"""PyTorch: eager in its default layout and in channels-last memory, and compiled by Inductor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from minivgg.bench.network import Layer, Network
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Rival, Run, Training
from minivgg.spec import Conv2dSpec

LIBRARY = {"torch": "torch"}


def _module(layer: Layer) -> Any:
    from torch import from_numpy, nn

    if layer.kind in ("conv2d", "linear"):
        weight = layer.arrays[0]
        made: Any
        if layer.kind == "conv2d":
            made = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], layer.stride, layer.padding, bias=layer.bias is not None, device="meta")
        else:
            made = nn.Linear(weight.shape[1], weight.shape[0], bias=layer.bias is not None, device="meta")
        made.weight = nn.Parameter(from_numpy(weight))
        made.bias = None if layer.bias is None else nn.Parameter(from_numpy(layer.bias))
        return made
    if layer.kind == "relu":
        return nn.ReLU(inplace=True)
    if layer.kind == "max_pool2d":
        return nn.MaxPool2d(layer.size, layer.stride)
    return nn.AdaptiveAvgPool2d(layer.size) if layer.kind == "adaptive_avg_pool2d" else nn.Flatten()


def prepare(network: Network, images: numpy.ndarray, threads: int, layout: str) -> tuple[Any, Any]:
    """The model and the images, both in the layout."""
    import torch

    torch.set_num_threads(threads)
    model: Any = torch.nn.Sequential(*map(_module, network.layers))
    form = getattr(torch, layout)
    return model.to(memory_format=form), torch.from_numpy(images).contiguous(memory_format=form)


def forward(layout: str, compiled: bool) -> Callable[..., Run]:
    def build(network: Network, images: numpy.ndarray, threads: int) -> Run:
        import torch

        model, x = prepare(network, images, threads, layout)
        model.eval()
        if compiled:
            torch._inductor.config.freezing = True  # weights become constants, which may then be stored as the kernels like them
            model = torch.compile(model, dynamic=False)
        guard = torch.no_grad if compiled else torch.inference_mode  # a frozen model is not compiled under inference_mode

        def run() -> numpy.ndarray:
            with guard():
                return model(x).numpy()

        return run

    return build


def step(layout: str, compiled: bool) -> Callable[..., Training]:
    def build(network: Network, images: numpy.ndarray, labels: numpy.ndarray, threads: int) -> Training:
        import torch

        model, x = prepare(network, images, threads, layout)
        y = torch.from_numpy(labels)
        parameters = list(model.parameters())
        optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)
        called = torch.compile(model, dynamic=False) if compiled else model

        def run() -> float:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(called(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        return run, lambda: [parameter.detach().numpy() for parameter in parameters]

    return build


def gradient(layout: str) -> Callable[..., Run]:
    def build(spec: Conv2dSpec, direction: str, inputs: Sequence[numpy.ndarray], threads: int) -> Run:
        import torch

        torch.set_num_threads(threads)
        form = getattr(torch, layout)
        dy, other = (torch.from_numpy(array).contiguous(memory_format=form) for array in inputs)
        missing = torch.empty(spec.input_shape if direction == "input" else spec.weight_shape).contiguous(memory_format=form)
        x, w = (missing, other) if direction == "input" else (other, missing)
        mask = [direction == "input", direction == "weight", False]
        top, _, left, _ = spec.padding

        def run() -> numpy.ndarray:
            found = torch.ops.aten.convolution_backward(
                dy, x, w, None, list(spec.stride), [top, left], list(spec.dilation), False, [0, 0], spec.groups, mask
            )  # fmt: skip
            return found[mask.index(True)].numpy()

        return run

    return build


def _rival(name: str, settings: str, layout: str, compiled: bool = False) -> Rival:
    return Rival(name, LIBRARY, settings, forward(layout, compiled), step(layout, compiled), None if compiled else gradient(layout))


RIVALS = [
    _rival("PyTorch", "eager, default layout, inference_mode, SGD fused=True", "contiguous_format"),
    _rival("PyTorch channels-last", "eager, channels_last, inference_mode, SGD fused=True", "channels_last"),
    _rival("PyTorch compiled", "torch.compile by Inductor, channels_last, freezing for inference, SGD fused=True", "channels_last", compiled=True),
]
