"""minivgg itself, through the same door as its rivals: built from the description, with or without a forced algorithm."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy

from minivgg import nn
from minivgg.autograd import Tensor, no_grad
from minivgg.bench.machine import set_threads
from minivgg.bench.network import Layer, Network
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Rival, Run, Training
from minivgg.optim import SGD
from minivgg.registry import use_algorithm

MODULES = {
    "relu": lambda layer: nn.ReLU(inplace=True),
    "max_pool2d": lambda layer: nn.MaxPool2d(layer.size, layer.stride),
    "adaptive_avg_pool2d": lambda layer: nn.AdaptiveAvgPool2d(layer.size),
    "flatten": lambda layer: nn.Flatten(),
}


def _module(layer: Layer) -> nn.Module:
    if layer.kind not in ("conv2d", "linear"):
        return MODULES[layer.kind](layer)
    made: Any
    if layer.kind == "conv2d":
        outputs, inputs, *size = layer.arrays[0].shape
        made = nn.Conv2d(inputs, outputs, tuple(size), layer.stride, layer.padding, bias=False)
    else:
        made = nn.Linear(1, 1, bias=False)  # of any size: drawing a hundred million weights to replace them takes seconds
        made.out_features, made.in_features = layer.arrays[0].shape
    made.weight = nn.Parameter(Tensor(layer.arrays[0]))
    made.bias = None if layer.bias is None else nn.Parameter(Tensor(layer.bias))
    return made


def model(network: Network) -> nn.Sequential:
    """The network as a model that shares the description's arrays."""
    return nn.Sequential(*map(_module, network.layers))


def itself(algorithm: str = "auto") -> Rival:
    """minivgg with its own choice of algorithms, or with one that computes every convolution."""

    def forward(network: Network, images: numpy.ndarray, threads: int) -> Run:
        set_threads(threads)
        ours, x = model(network).eval(), Tensor(images)

        def run() -> numpy.ndarray:
            with no_grad(), use_algorithm(conv2d=algorithm):
                return ours(x).numpy()

        return run

    def step(network: Network, images: numpy.ndarray, labels: numpy.ndarray, threads: int) -> Training:
        set_threads(threads)
        ours, x, y = model(network), Tensor(images), Tensor(labels)
        optimizer = SGD(ours.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)

        def run() -> float:
            with use_algorithm(conv2d=algorithm):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(ours(x), y)
                loss.backward()
                optimizer.step()
            return loss.item()

        return run, lambda: [parameter.detach().numpy() for parameter in ours.parameters()]

    name = "minivgg" if algorithm == "auto" else f"minivgg {algorithm}"
    return Rival(name, {}, f"conv2d by {algorithm}", forward, step)


def in_float64(network: Network) -> Network:
    """The same network with its arrays in float64: by an exact algorithm, the truth that everyone is held to."""

    def wide(array: numpy.ndarray | None) -> numpy.ndarray | None:
        return None if array is None else array.astype(numpy.float64)

    layers = [dataclasses.replace(layer, weight=wide(layer.weight), bias=wide(layer.bias)) for layer in network.layers]
    return dataclasses.replace(network, layers=layers)
