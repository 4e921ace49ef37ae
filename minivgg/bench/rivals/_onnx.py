"""The description as an ONNX model, which ONNX Runtime, OpenVINO and MNN read."""

from __future__ import annotations

from typing import Any

from minivgg.bench.network import Network, averaging

OPSET = 17


def model_bytes(network: Network, batch: int) -> bytes:
    """The network as a serialised model with input ``x`` (batch, C, H, W) and output ``y``."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []
    name = "x"

    def constant(array: Any) -> str:
        constants.append(numpy_helper.from_array(array, f"c{len(constants)}"))
        return constants[-1].name

    def add(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [f"v{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    for layer in network.layers:
        if layer.kind == "conv2d":
            h, w = layer.padding
            name = add("Conv", name, *map(constant, layer.arrays), kernel_shape=layer.arrays[0].shape[2:], strides=layer.stride, pads=[h, w, h, w])
        elif layer.kind == "linear":
            name = add("Gemm", name, *map(constant, layer.arrays), transB=1)
        elif layer.kind == "relu":
            name = add("Relu", name)
        elif layer.kind == "max_pool2d":
            name = add("MaxPool", name, kernel_shape=layer.size, strides=layer.stride)
        elif layer.kind == "flatten":
            name = add("Flatten", name)
        elif layer.input != layer.output:  # adaptive pooling to the size that is there already changes nothing
            (_, h, w), (_, p, q) = layer.input, layer.output
            name = add("MatMul", add("MatMul", constant(averaging(h, p)), name), constant(averaging(w, q).T.copy()))
    nodes[-1].output[0] = "y"
    shapes = {"x": (batch, *network.input), "y": (batch, *network.layers[-1].output)}
    x, y = (helper.make_tensor_value_info(which, TensorProto.FLOAT, shape) for which, shape in shapes.items())
    graph = helper.make_graph(nodes, network.name, [x], [y], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(made)
    return made.SerializeToString()
