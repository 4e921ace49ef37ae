"""Calls of pointwise operations, reductions, changes of shape, and products."""

from __future__ import annotations

from typing import Any

import numpy

from fuzz.drawing import Call, Rng, array, axis_of, broadcast_pair, calls, chance, one_of, shape, size

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
    return (array(rng, left), numpy.asarray(array(rng, right) > 0), one_of(rng, 0, 1.5, -1, 300)), {}


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
        chosen = one_of(rng, rng.integers(-extent, max(extent, 1), 3), rng.random(extent) < 0.5, numpy.asarray(place))
        unusual = one_of(rng, ..., slice(None, None, -1), slice(-(2**62), 2**62), slice(place, 2**63), 2**62, [], True) if chance(rng, 0.1) else None
        index.append(one_of(rng, place, slice(None), slice(place, None), every, unusual, chosen))
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
