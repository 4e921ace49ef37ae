"""ONNX Runtime on its CPU provider."""

from __future__ import annotations

import numpy

from minivgg.bench.network import Network
from minivgg.bench.rivals import Rival, Run
from minivgg.bench.rivals._onnx import model_bytes


def forward(network: Network, images: numpy.ndarray, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads would take the cores from whoever is next
    session = onnxruntime.InferenceSession(model_bytes(network, len(images)), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": images})[0]


SETTINGS = "CPUExecutionProvider, all graph optimisations, session.force_spinning_stop"
RIVALS = [Rival("ONNX Runtime", {"onnxruntime": "onnxruntime", "onnx": "onnx"}, SETTINGS, forward)]
