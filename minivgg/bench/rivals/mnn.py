"""MNN on the CPU, in float32. Its converter reads the ONNX model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy

from minivgg.bench.network import Network
from minivgg.bench.rivals import Rival, Run
from minivgg.bench.rivals._onnx import model_bytes


def forward(network: Network, images: numpy.ndarray, threads: int) -> Run:
    import _tools  # the converter, a module of the MNN package
    import MNN

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "model.mnn")
        source.write_bytes(model_bytes(network, len(images)))
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(target), "--bizCode", "minivgg"])
        source.unlink()
        settings = ({"backend": "CPU", "precision": "high", "power": "high", "memory": "normal", "numThread": threads},)
        module = MNN.nn.load_module_from_file(str(target), ["x"], ["y"], runtime_manager=MNN.nn.create_runtime_manager(settings), shape_mutable=False)
    x = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)

    def run() -> numpy.ndarray:
        scores = MNN.expr.convert(module.forward(x), MNN.expr.NCHW)
        return numpy.array(scores.read())  # a copy: what read() returns lives only as long as its variable

    return run


RIVALS = [Rival("MNN", {"MNN": "mnn", "onnx": "onnx"}, "precision high (float32), power high, memory normal", forward)]
