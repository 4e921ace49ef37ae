"""tinygrad on the CPU: its own code generator, compiled by clang, replayed by TinyJit."""

from __future__ import annotations

import numpy

from minivgg.bench.network import Network, averaging
from minivgg.bench.rivals import Rival, Run


def forward(network: Network, images: numpy.ndarray, threads: int) -> Run:
    from tinygrad import Tensor, TinyJit

    made = [[Tensor(array).realize() for array in layer.arrays] for layer in network.layers]
    x = Tensor(images).realize()

    @TinyJit
    def scores(x: Tensor) -> Tensor:
        for layer, arrays in zip(network.layers, made, strict=True):
            if layer.kind == "conv2d":
                x = x.conv2d(*arrays, stride=layer.stride, padding=layer.padding)
            elif layer.kind == "linear":
                x = x.linear(arrays[0].T, *arrays[1:])
            elif layer.kind == "relu":
                x = x.relu()
            elif layer.kind == "max_pool2d":
                x = x.max_pool2d(layer.size, layer.stride)
            elif layer.kind == "flatten":
                x = x.flatten(1)
            elif layer.input != layer.output:
                (_, h, w), (_, p, q) = layer.input, layer.output
                x = Tensor(averaging(h, p)) @ x @ Tensor(averaging(w, q).T.copy())
        return x.realize()

    for _ in range(2):  # the first call computes, the second records, from the third on it is replayed
        scores(x)
    return lambda: scores(x).numpy()


def environment(threads: int) -> dict[str, str]:
    return {"DEV": "CPU", "NUM_CPU_THREADS": str(threads)}


RIVALS = [Rival("tinygrad", {"tinygrad": "tinygrad"}, "DEV=CPU, TinyJit, no BEAM search", forward, environment=environment, program=("CC", "clang"))]
