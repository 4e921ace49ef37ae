"""OpenVINO on the CPU, in float32."""

from __future__ import annotations

import numpy

from minivgg.bench.network import Network
from minivgg.bench.rivals import Rival, Run
from minivgg.bench.rivals._onnx import model_bytes


def forward(network: Network, images: numpy.ndarray, threads: int) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(model=model_bytes(network, len(images)))
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer({0: images})[0].copy()


SETTINGS = "INFERENCE_PRECISION_HINT f32, PERFORMANCE_HINT LATENCY, one stream"
RIVALS = [Rival("OpenVINO", {"openvino": "openvino", "onnx": "onnx"}, SETTINGS, forward)]
