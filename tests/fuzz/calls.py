"""What to call: for each operation a generator of arguments over its whole space. Most calls are valid, by no means all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from minivgg.errors import OperationError
from minivgg.spec import Conv2dSpec

Call = tuple[tuple[Any, ...], dict[str, Any]]
Rng = numpy.random.Generator

CALLS: dict[str, Callable[[Rng], Call]] = {}
"""For each operation, by its name in the registry, a function that draws a call."""


def calls(*names: str) -> Callable[[Callable[..., Call]], Callable[..., Call]]:
    """Register a generator for one operation, or for several of the same form."""

    def register(draw: Callable[..., Call]) -> Callable[..., Call]:
        for name in names:
            CALLS[name] = draw
        return draw

    return register


def chance(rng: Rng, p: float) -> bool:
    return bool(rng.random() < p)


def one_of(rng: Rng, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def size(rng: Rng, low: int = 1, high: int = 5) -> int:
    """Mostly small; now and then none, or one more than a vector has lanes."""
    return 0 if chance(rng, 0.02) else int(rng.integers(15, 19)) if chance(rng, 0.04) else int(rng.integers(low, high + 1))


def shape(rng: Rng, low: int = 0, high: int = 4) -> tuple[int, ...]:
    return tuple(size(rng) for _ in range(int(rng.integers(low, high + 1))))


def array(rng: Rng, of: tuple[int, ...], kind: str | None = None) -> numpy.ndarray:
    """Numbers of one kind: normal, small integers with many ties, on a grid of halves, large and small together."""
    kind = kind or one_of(rng, "normal", "normal", "integers", "halves", "spread")
    if kind == "integers":
        return numpy.asarray(rng.integers(-2, 3, of), float)
    if kind == "halves":
        return numpy.asarray(rng.integers(-4, 5, of) / 2)
    numbers = rng.standard_normal(of)
    return numpy.asarray(numbers * 10.0 ** rng.integers(-6, 7, of) if kind == "spread" else numbers)


def one_or_two(rng: Rng, low: int, high: int) -> Any:
    return int(rng.integers(low, high + 1)) if chance(rng, 0.6) else (int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1)))


def broadcast_pair(rng: Rng) -> tuple[tuple[int, ...], tuple[int, ...]]:
    whole = shape(rng)
    narrow = tuple(1 if chance(rng, 0.3) else extent for extent in whole)[int(rng.integers(len(whole) + 1)) :]
    return (whole, narrow) if chance(rng, 0.5) else (narrow, whole)


def axis_of(rng: Rng, dimensions: int) -> int:
    """An axis, now and then one that does not exist."""
    return int(rng.integers(-dimensions - chance(rng, 0.05), dimensions + chance(rng, 0.05))) if dimensions else one_of(rng, 0, -1)


# Pointwise ------------------------------------------------------------------------------------------------------------


@calls("neg", "exp", "abs", "relu", "clone", "contiguous", "isnan", "isfinite")
def _one(rng: Rng) -> Call:
    return (array(rng, shape(rng)),), {}


@calls("log", "sqrt")
def _positive(rng: Rng) -> Call:
    return (numpy.asarray(numpy.abs(array(rng, shape(rng)))),), {}


@calls("add", "sub", "mul", "div", "maximum", "minimum", "lt", "le", "gt", "ge", "eq", "ne")
def _two(rng: Rng) -> Call:
    left, right = broadcast_pair(rng)
    other = array(rng, right) if chance(rng, 0.8) else one_of(rng, 2, -1.5, 0, True)
    return (array(rng, left), other), {}


@calls("pow")
def _pow(rng: Rng) -> Call:
    left, right = broadcast_pair(rng)
    return (numpy.asarray(numpy.abs(array(rng, left)) + 0.1), one_of(rng, 2, 3, -1, 0.5, 0, array(rng, right, "halves"))), {}


@calls("clamp")
def _clamp(rng: Rng) -> Call:
    low, high = one_of(rng, None, -1, -0.5), one_of(rng, None, 1, 0.5, -2)
    return (array(rng, shape(rng)),), {"min": low, "max": high}


@calls("where")
def _where(rng: Rng) -> Call:
    left, right = broadcast_pair(rng)
    return (numpy.asarray(array(rng, left) > 0), array(rng, left), array(rng, right)), {}


@calls("masked_fill")
def _masked_fill(rng: Rng) -> Call:
    left, right = broadcast_pair(rng)
    return (array(rng, left), numpy.asarray(array(rng, right) > 0), one_of(rng, 0, 1.5, -1)), {}


# Reductions and shapes ------------------------------------------------------------------------------------------------


@calls("sum", "mean", "var", "std")
def _reduce(rng: Rng) -> Call:
    of = shape(rng)
    options: dict[str, Any] = {}
    if chance(rng, 0.7):
        options["dim"] = axis_of(rng, len(of)) if chance(rng, 0.6) else tuple(axis_of(rng, len(of)) for _ in range(int(rng.integers(0, 3))))
        options["keepdim"] = chance(rng, 0.5)
    return (array(rng, of),), options


@calls("any", "all", "argmax", "argmin", "max", "min")
def _reduce_one(rng: Rng) -> Call:
    of = shape(rng)
    return (array(rng, of),), {"dim": axis_of(rng, len(of)), "keepdim": chance(rng, 0.5)} if chance(rng, 0.7) else {}


@calls("softmax", "log_softmax")
def _softmax(rng: Rng) -> Call:
    of = shape(rng, 1)
    return (array(rng, of), axis_of(rng, len(of))), {}


@calls("reshape")
def _reshape(rng: Rng) -> Call:
    of = shape(rng)
    total = int(numpy.prod(of))
    divisors = [d for d in range(1, total + 1) if total % d == 0] or [0]
    first = one_of(rng, *divisors)
    return (array(rng, of), one_of(rng, (total,), (-1,), (first, -1), (first, total // first if first else 0), (-1, -1), (first + 1, -1))), {}


@calls("flatten")
def _flatten(rng: Rng) -> Call:
    of = shape(rng)
    return (array(rng, of), *one_of(rng, (), (axis_of(rng, len(of)),), (axis_of(rng, len(of)), axis_of(rng, len(of))))), {}


@calls("permute")
def _permute(rng: Rng) -> Call:
    of = shape(rng)
    order = tuple(int(axis) for axis in rng.permutation(len(of)))
    return (array(rng, of), order if chance(rng, 0.9) else (*order[:-1], axis_of(rng, len(of)))), {}


@calls("transpose")
def _transpose(rng: Rng) -> Call:
    of = shape(rng)
    return (array(rng, of), axis_of(rng, len(of)), axis_of(rng, len(of))), {}


@calls("t")
def _t(rng: Rng) -> Call:
    return (array(rng, shape(rng, 0, 3)),), {}


@calls("squeeze")
def _squeeze(rng: Rng) -> Call:
    of = tuple(1 if chance(rng, 0.4) else extent for extent in shape(rng))
    return (array(rng, of), *one_of(rng, (), (axis_of(rng, len(of)),))), {}


@calls("unsqueeze")
def _unsqueeze(rng: Rng) -> Call:
    of = shape(rng)
    return (array(rng, of), axis_of(rng, len(of) + 1)), {}


@calls("expand")
def _expand(rng: Rng) -> Call:
    whole = shape(rng)
    narrow = tuple(1 if chance(rng, 0.4) else extent for extent in whole)[int(rng.integers(len(whole) + 1)) :]
    return (array(rng, narrow), tuple(-1 if chance(rng, 0.1) else extent for extent in whole)), {}


@calls("cat")
def _cat(rng: Rng) -> Call:
    of, count = shape(rng, 1), int(rng.integers(1, 4))
    axis = int(rng.integers(-len(of), len(of)))
    parts = []
    for _ in range(count):
        part = list(of)
        part[axis] = size(rng)
        parts.append(array(rng, tuple(part)))
    return (parts, axis), {}


@calls("stack")
def _stack(rng: Rng) -> Call:
    of = shape(rng)
    return ([array(rng, of) for _ in range(int(rng.integers(1, 4)))], axis_of(rng, len(of) + 1)), {}


@calls("split")
def _split(rng: Rng) -> Call:
    of = shape(rng, 1)
    axis = axis_of(rng, len(of))
    extent = of[axis] if -len(of) <= axis < len(of) else 2
    cut = int(rng.integers(0, extent + 1))
    return (array(rng, of), one_of(rng, int(rng.integers(0, 4)), [cut, extent - cut]), axis), {}


@calls("chunk")
def _chunk(rng: Rng) -> Call:
    of = shape(rng, 1)
    return (array(rng, of), int(rng.integers(0, 5)), axis_of(rng, len(of))), {}


@calls("unbind")
def _unbind(rng: Rng) -> Call:
    of = shape(rng, 1)
    return (array(rng, of), axis_of(rng, len(of))), {}


@calls("getitem")
def _getitem(rng: Rng) -> Call:
    of = shape(rng, 1)
    index: list[Any] = []
    for extent in of[: int(rng.integers(1, len(of) + 1))]:
        place = int(rng.integers(-extent - 1, extent + 1))
        every = slice(None, None, one_of(rng, 1, 2, 3))
        index.append(one_of(rng, place, slice(None), slice(place, None), every, None, rng.integers(-extent, max(extent, 1), 3)))
    return (array(rng, of), tuple(index) if len(index) > 1 or chance(rng, 0.5) else index[0]), {}


@calls("gather")
def _gather(rng: Rng) -> Call:
    of = shape(rng, 1)
    axis = int(rng.integers(-len(of), len(of)))
    index = list(of)
    index[axis] = size(rng)
    return (array(rng, of), axis, rng.integers(0 if chance(rng, 0.9) else -1, max(of[axis], 1), tuple(index))), {}


@calls("pad")
def _pad(rng: Rng) -> Call:
    of = shape(rng)
    amounts = tuple(int(rng.integers(-1, 4)) for _ in range(2 * int(rng.integers(0, len(of) + 1))))
    return (array(rng, of), amounts), {"value": one_of(rng, 0, 1.5)} if chance(rng, 0.3) else {}


# Products -------------------------------------------------------------------------------------------------------------


@calls("matmul")
def _matmul(rng: Rng) -> Call:
    m, k, n = size(rng), size(rng), size(rng)
    left, right = broadcast_pair(rng)
    return (array(rng, one_of(rng, (k,), (m, k), (*left, m, k))), array(rng, one_of(rng, (k,), (k, n), (*right, k, n)))), {}


@calls("linear")
def _linear(rng: Rng) -> Call:
    c, k = size(rng), size(rng)
    return (array(rng, (*shape(rng, 0, 3), c)), array(rng, (k, c)), *one_of(rng, (), (array(rng, (k,)),), (None,))), {}


# Layers ---------------------------------------------------------------------------------------------------------------


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
    if chance(rng, 0.4):
        options["padding"] = one_or_two(rng, 0, 2)
    if chance(rng, 0.3):
        options["ceil_mode"] = True
    if name == "max_pool2d" and chance(rng, 0.2):
        options["dilation"] = one_or_two(rng, 1, 2)
    if name == "avg_pool2d" and chance(rng, 0.3):
        options |= one_of(rng, {"count_include_pad": False}, {"divisor_override": int(rng.integers(1, 6))})
    x = (*one_of(rng, (), (size(rng, 1, 2),)), size(rng), int(rng.integers(1, 10)), int(rng.integers(1, 10)))
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
    return (array(rng, x, "normal"), *running, *scale), {"training": training, **({"eps": 1e-3} if chance(rng, 0.3) else {})}


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
