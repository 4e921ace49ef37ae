"""PyTorch on a GPU, for gpu.py: cuDNN in both memory orders, in each precision, compiled, and under a CUDA graph; its flags are set before each turn.

A way is a ``Way``; ``forward``, ``step`` and ``convolution`` return what gpu.py times, a function of one of the rotating inputs.
"""

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from minivgg.bench.machine import cores
from minivgg.bench.network import Network
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY
from minivgg.bench.rivals.pytorch import prepare
from minivgg.spec import Conv2dSpec

LAYOUTS = {"channels-first": "contiguous_format", "channels-last": "channels_last"}


class Way(NamedTuple):
    """How PyTorch computes: "float32", "TF32" or "BF16"; a key of LAYOUTS; "eager", "compiled", "graph" or "heuristic".

    The last is eager with ``cudnn.benchmark`` off: cuDNN guesses which of its kernels is the fastest, instead of trying them.
    """

    precision: str
    layout: str
    mode: str = "eager"

    @property
    def name(self) -> str:
        return f"PyTorch {self.precision} {self.layout}" + f" {self.mode}" * (self.mode != "eager")

    @property
    def flags(self) -> str:
        tf32 = self.precision == "TF32"
        dtype = "bfloat16" if self.precision == "BF16" else "float32"
        return f"cudnn.allow_tf32={tf32}, cuda.matmul.allow_tf32={tf32}, cudnn.benchmark={self.benchmark}, {dtype}"

    @property
    def benchmark(self) -> bool:
        return self.mode != "heuristic"


STRICT = [Way("float32", layout) for layout in LAYOUTS]
QUICK = [Way("float32", "channels-first"), Way("float32", "channels-last", "heuristic")]
"""Gradients channels last, for which ``cudnn.benchmark`` tries kernels that take seconds each, as cuDNN guesses."""
EAGER = [Way(precision, layout) for precision in ("float32", "TF32", "BF16") for layout in LAYOUTS]
COMPILED = [Way(precision, "channels-last", "compiled") for precision in ("float32", "TF32", "BF16")]
GRAPH = [Way("float32", layout, "graph") for layout in LAYOUTS]

DEVICE = "cuda"

MAY_DIFFER = {"float32": 1e-3, "TF32": 2e-2, "BF16": 2e-1}
"""From minivgg's result, relatively, and still count as the same work."""


def missing() -> str | None:
    """Why PyTorch cannot be compared with, or None."""
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed"
    import torch

    return None if torch.cuda.is_available() else "PyTorch finds no GPU"


def flagged(way: Way, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under the flags of a way: they belong to the process, and the competitors take turns in one."""

    def under_flags(*arguments: Any) -> Any:
        _set_flags(way)
        return function(*arguments)

    return under_flags


def _set_flags(way: Way) -> None:
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = way.precision == "TF32"
    torch.backends.cudnn.benchmark = way.benchmark


def _like(way: Way, array: Any) -> Any:
    """A tensor that shares CuPy's memory, or a copy where the way has another memory order or element type."""
    import torch

    tensor = torch.from_dlpack(array)
    dtype = torch.bfloat16 if way.precision == "BF16" else tensor.dtype
    return tensor.to(dtype=dtype).contiguous(memory_format=getattr(torch, LAYOUTS[way.layout])) if tensor.ndim == 4 else tensor


def _model(way: Way, network: Network) -> Any:
    import torch

    model, _ = prepare(network, network.images(1), cores(), LAYOUTS[way.layout])
    return model.to(device=DEVICE, dtype=torch.bfloat16 if way.precision == "BF16" else torch.float32)


def forward(way: Way, network: Network, images: Sequence[Any]) -> tuple[Callable[[Any], Any], list[Any]]:
    """The function, and its inputs made of CuPy's."""
    import torch

    model, inputs = _model(way, network).eval(), [_like(way, x) for x in images]
    if way.mode == "graph":
        _set_flags(way)  # the recording holds the kernels that they choose
        return _graph(model, inputs[0]), inputs
    called, guard = (torch.compile(model, dynamic=False), torch.no_grad) if way.mode == "compiled" else (model, torch.inference_mode)

    def run(x: Any) -> Any:
        with guard():
            return called(x)

    return run, inputs


def _graph(model: Any, example: Any) -> Callable[[Any], Any]:
    """The model recorded; a call copies its input to where the recording reads it, as ours does."""
    import torch

    place = example.clone()
    with torch.inference_mode():
        graph, result = _record(model, place)

    def run(x: Any) -> Any:
        place.copy_(x)
        graph.replay()
        return result

    return run


def _record(run: Callable[[Any], Any], example: Any) -> tuple[Any, Any]:
    """A CUDA graph of ``run(example)``, and the result that each replay fills."""
    import torch

    graph, aside = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # what is recorded has to be warm, on another stream than the legacy one
        for _ in range(3):
            run(example)
    torch.cuda.current_stream().wait_stream(aside)
    with torch.cuda.graph(graph):
        result = run(example)
    return graph, result


def recorded(run: Callable[[Any], Any], inputs: Sequence[Any]) -> Callable[[], None]:
    """``run`` of the next input at each call, each recorded in a CUDA graph of its own."""
    graphs = itertools.cycle([_record(run, each)[0] for each in inputs])
    return lambda: next(graphs).replay()


def step(way: Way, network: Network, batches: Sequence[tuple[Any, Any]]) -> tuple[Callable[[Any], Any], list[Any]]:
    """Forward, cross entropy, backward, SGD; the loss stays on the device."""
    import torch

    model = _model(way, network)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)
    called = torch.compile(model, dynamic=False) if way.mode == "compiled" else model

    def run(batch: Any) -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(called(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run, [(_like(way, x), torch.from_dlpack(y)) for x, y in batches]


def convolution(way: Way, spec: Conv2dSpec, direction: str, inputs: Sequence[Sequence[Any]]) -> tuple[Callable[[Any], Any], list[Any]]:
    """One direction of one convolution, padded on both sides alike."""
    import torch

    padding = [spec.padding[0], spec.padding[2]]
    missing = None if direction == "output" else torch.empty(spec.input_shape if direction == "input" else spec.weight_shape, device=DEVICE)
    if missing is not None:
        missing = missing.contiguous(memory_format=getattr(torch, LAYOUTS[way.layout]))
    mask = [direction == "input", direction == "weight", False]

    def run(arrays: Any) -> Any:
        if direction == "output":
            return torch.nn.functional.conv2d(*arrays, spec.stride, padding)
        dy, other = arrays
        x, w = (missing, other) if direction == "input" else (other, missing)
        return torch.ops.aten.convolution_backward(dy, x, w, None, list(spec.stride), padding, [1, 1], False, [0, 0], 1, mask)[mask.index(True)]

    return run, [[_like(way, array) for array in arrays] for arrays in inputs]


def as_numpy(result: Any) -> numpy.ndarray:
    return result.detach().float().cpu().numpy()
