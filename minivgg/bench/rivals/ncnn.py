"""ncnn on the CPU, in float32. Its two files, the text of the layers and the weights, are written here by hand."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy

from minivgg.bench.network import Layer, Network
from minivgg.bench.rivals import Rival, Run, layers_with_relu

MAGIC = 7767517
FLOAT32 = b"\0\0\0\0"
"""The mark in front of weights that are stored in float32."""


def parameters(layer: Layer, relu: bool) -> tuple[str, dict[int, int]]:
    """ncnn's name of a layer and its numbered parameters."""
    activation = {9: 1} if relu else {}
    if layer.kind == "conv2d":
        k, _, r, s = layer.arrays[0].shape
        size = {0: k, 1: s, 11: r, 3: layer.stride[1], 13: layer.stride[0], 4: layer.padding[1], 14: layer.padding[0]}
        return "Convolution", {**size, 5: int(layer.bias is not None), 6: layer.arrays[0].size, **activation}
    if layer.kind == "linear":
        return "InnerProduct", {0: layer.arrays[0].shape[0], 1: int(layer.bias is not None), 2: layer.arrays[0].size, **activation}
    if layer.kind == "max_pool2d":
        return "Pooling", {0: 0, 1: layer.size[1], 11: layer.size[0], 2: layer.stride[1], 12: layer.stride[0], 5: 1}
    if layer.kind == "adaptive_avg_pool2d":
        return "Pooling", {0: 1, 7: 1, 8: layer.size[1], 18: layer.size[0]}
    return "Flatten", {}


def write(network: Network, folder: Path) -> tuple[Path, Path, str]:
    """The two files, and the name of the output."""
    lines, weights = ["Input x 0 1 b0"], []
    for layer, relu in layers_with_relu(network):
        kind, numbers = parameters(layer, relu)
        i = len(lines)
        lines.append(f"{kind} l{i} 1 1 b{i - 1} b{i} " + " ".join(f"{key}={value}" for key, value in numbers.items()))
        if layer.arrays:
            weights += [FLOAT32, *(numpy.ascontiguousarray(array).tobytes() for array in layer.arrays)]
    text, data = folder / "model.param", folder / "model.bin"
    text.write_text("\n".join([str(MAGIC), f"{len(lines)} {len(lines)}", *lines, ""]), encoding="ascii")
    with data.open("wb") as file:
        file.writelines(weights)
    return text, data, f"b{len(lines) - 1}"


def forward(network: Network, images: numpy.ndarray, threads: int) -> Run:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_vulkan_compute"):
        setattr(net.opt, name, False)
    with tempfile.TemporaryDirectory() as folder:
        text, data, output = write(network, Path(folder))
        if net.load_param(str(text)) or net.load_model(str(data)):
            raise RuntimeError("ncnn does not read the model")
    inputs = [numpy.ascontiguousarray(image) for image in images]

    def run() -> numpy.ndarray:
        scores = []
        for image in inputs:
            extractor = net.create_extractor()
            extractor.input("b0", ncnn.Mat(image))
            scores.append(numpy.array(extractor.extract(output)[1]))
        return numpy.stack(scores)

    return run


SETTINGS = "fp16, bf16 and Vulkan off, Winograd and packed layouts on, image after image"
RIVALS = [Rival("ncnn", {"ncnn": "ncnn"}, SETTINGS, forward)]
