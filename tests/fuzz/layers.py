"""Calls of convolutions and their gradients, pooling, normalisation, and losses."""

from __future__ import annotations

from typing import Any

import numpy

from fuzz.drawing import Call, Rng, array, calls, chance, one_of, one_or_two, shape, size
from minivgg.errors import OperationError
from minivgg.spec import Conv2dSpec


def _span(taps: Any, dilation: Any) -> tuple[int, int]:
    taps, dilation = ((value, value) if isinstance(value, int) else value for value in (taps, dilation))
    return tuple(d * (r - 1) + 1 for r, d in zip(taps, dilation, strict=True))  # type: ignore[return-value]


@calls("conv2d")
def _conv2d(rng: Rng) -> Call:
    taps = (3, 3) if chance(rng, 0.4) else (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    options: dict[str, Any] = {}
    if chance(rng, 0.5):
        options["padding"] = one_of(rng, 1, one_or_two(rng, 0, 3), "same", "valid")
    if options.get("padding") != "same" and chance(rng, 0.3):
        options["stride"] = one_or_two(rng, 1, 3)
    if chance(rng, 0.2):
        options["dilation"] = one_or_two(rng, 1, 3)
    groups = options["groups"] = int(rng.integers(1, 4)) if chance(rng, 0.2) else 1
    high, wide = _span(taps, options.get("dilation", 1))
    channels, filters = groups * size(rng, 1, 3), groups * size(rng, 1, 3)
    x = (*one_of(rng, (), (size(rng, 1, 2),), (1,)), channels, max(1, high - 1) + int(rng.integers(0, 9)), max(1, wide - 1) + int(rng.integers(0, 9)))
    return (array(rng, x), array(rng, (filters, channels // groups, *taps)), *one_of(rng, (), (array(rng, (filters,)),))), options


@calls("conv2d_relu")
def _conv2d_relu(rng: Rng) -> Call:
    args, options = _conv2d(rng)  # in normal numbers: equal sums, added in another order, would win their window by a last bit
    return tuple(array(rng, arg.shape, "normal") for arg in args), {**options, "pool": chance(rng, 0.5)}


@calls("conv2d_grad_input", "conv2d_grad_weight")
def _conv2d_gradient(rng: Rng, name: str) -> Call:
    """The gradient of a convolution as an operation of its own; torch.nn.grad has no padding by name."""
    (x, w, *_), options = _conv2d(rng)
    options = {key: value for key, value in options.items() if not isinstance(value, str)}
    x = x if x.ndim == 4 else x[None]
    try:
        spec = Conv2dSpec.of(x.shape, w.shape, **options)
    except OperationError:
        return ((2, 3, 5, 5), array(rng, (4, 3, 3, 3)), array(rng, (2, 4, 4, 4))), {}
    grad = array(rng, spec.output_shape)
    return ((x.shape, w, grad) if name == "conv2d_grad_input" else (x, w.shape, grad)), options


@calls("max_pool2d", "avg_pool2d")
def _pool2d(rng: Rng, name: str = "") -> Call:
    taps = one_or_two(rng, 1, 4)
    options: dict[str, Any] = {}
    if chance(rng, 0.5):
        options["stride"] = one_or_two(rng, 1, 4)
    if chance(rng, 0.4):  # more than half a window is refused
        options["padding"] = one_or_two(rng, 0, (taps if isinstance(taps, int) else min(taps)) // 2 if chance(rng, 0.9) else 2)
    if chance(rng, 0.3):
        options["ceil_mode"] = True
    if name == "max_pool2d" and chance(rng, 0.2):
        options["dilation"] = one_or_two(rng, 1, 2)
    if name == "avg_pool2d" and chance(rng, 0.3):
        options |= one_of(rng, {"count_include_pad": False}, {"divisor_override": int(rng.integers(1, 6))})
    high, wide = _span(taps, options.get("dilation", 1))
    x = (*one_of(rng, (), (size(rng, 1, 2),)), size(rng), max(1, high - 1) + int(rng.integers(0, 9)), max(1, wide - 1) + int(rng.integers(0, 9)))
    return (array(rng, x), taps), options


@calls("adaptive_avg_pool2d", "adaptive_max_pool2d")
def _adaptive(rng: Rng) -> Call:
    x = (*one_of(rng, (), (size(rng, 1, 2),)), size(rng), int(rng.integers(1, 10)), int(rng.integers(1, 10)))
    return (array(rng, x), one_of(rng, one_or_two(rng, 1, 8), (None, 2), (3, None))), {}


@calls("batch_norm")
def _batch_norm(rng: Rng) -> Call:
    c = size(rng)
    x = (size(rng, 2, 4), c, *shape(rng, 0, 2))
    training = chance(rng, 0.6)
    running = (array(rng, (c,), "normal"), numpy.abs(array(rng, (c,), "normal")) + 0.1) if not training or chance(rng, 0.5) else (None, None)
    scale = one_of(rng, (), (array(rng, (c,), "normal"), array(rng, (c,), "normal")))
    return (array(rng, x, "normal"), *running, *scale), {"training": training, **one_of(rng, {}, {"eps": 1e-3}, {"momentum": one_of(rng, 0.0, 0.5, 1.0)})}


@calls("local_response_norm")
def _lrn(rng: Rng) -> Call:
    options = {"alpha": float(rng.uniform(0, 1)), "beta": one_of(rng, 0.5, 0.75, 1.0), "k": one_of(rng, 1.0, 2.0)} if chance(rng, 0.5) else {}
    return (array(rng, (size(rng), size(rng), *shape(rng, 1, 2)), "normal"), int(rng.integers(1, 7))), options


def _classes(rng: Rng) -> tuple[numpy.ndarray, numpy.ndarray, int]:
    n, c, inner = size(rng), size(rng, 1, 6), shape(rng, 0, 2)
    low = 0 if chance(rng, 0.9) else -1
    return array(rng, (n, c, *inner), "normal"), rng.integers(low, max(c, 1) + chance(rng, 0.05), (n, *inner)), c


@calls("cross_entropy", "nll_loss")
def _cross_entropy(rng: Rng, name: str = "") -> Call:
    scores, target, c = _classes(rng)
    options: dict[str, Any] = {}
    if chance(rng, 0.5):
        options["reduction"] = one_of(rng, "mean", "sum", "none")
    if chance(rng, 0.3):
        options["weight"] = numpy.abs(array(rng, (c,), "normal")) + 0.1
    if chance(rng, 0.3):
        options["ignore_index"] = int(rng.integers(-1, max(c, 1)))
    if name == "cross_entropy" and chance(rng, 0.3):
        options["label_smoothing"] = float(rng.uniform(0, 1))
    return (scores, target), options


@calls("mse_loss")
def _mse(rng: Rng) -> Call:
    of = shape(rng)
    return (array(rng, of), array(rng, of)), {"reduction": one_of(rng, "mean", "sum", "none")} if chance(rng, 0.5) else {}
