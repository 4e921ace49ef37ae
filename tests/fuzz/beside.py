"""Calls of what is no operation of the registry: functions that make tensors, changes in place, modules, and optimisers.

``BESIDE`` says what to call in either library; the names are of one name space with the operations'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from fuzz.drawing import CALLS, Call, Rng, array, broadcast_pair, calls, chance, one_of, shape, size

BESIDE: dict[str, Callable[[Any], Any]] = {}
"""From the library, minivgg or torch, what to call."""

UNUSUAL = (-1, 0, 1, 2.0, 2.5, -0.5, True, False, None, "3", "", float("nan"), float("inf"), -float("inf"), 1e300, 5e-324, (2, 3), [2], (), ((2,),))
UNUSUAL += (2**40, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**30, 1j, b"2")

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool", float, int, bool, None)


def usual(rng: Rng, value: Any, p: float = 0.06) -> Any:
    """The value; now and then something else."""
    return one_of(rng, *UNUSUAL) if chance(rng, p) else value


def _options(rng: Rng, *dtypes: Any, drawn: bool = False) -> dict[str, Any]:
    options: dict[str, Any] = {"dtype": one_of(rng, *(dtypes or DTYPES))} if chance(rng, 0.5) else {}
    if chance(rng, 0.03):
        options["dtype"] = one_of(rng, "x", 3, "", [], {}, numpy.dtype("i8,f4"))
    if not drawn and chance(rng, 0.2):
        options["requires_grad"] = usual(rng, chance(rng, 0.7))
    return options


# Functions that make tensors ------------------------------------------------------------------------------------------

MADE = ("zeros", "ones", "empty", "rand", "randn", "full", "full_like", "zeros_like", "ones_like", "randn_like", "arange", "linspace", "eye", "randint")
MADE += ("randperm", "tensor")
BESIDE |= {name: (lambda library, name=name: getattr(library, name)) for name in MADE}


def _sizes(rng: Rng) -> list[Any]:
    return [usual(rng, extent) for extent in shape(rng, 0, 3)]


@calls("zeros", "ones", "empty", "rand", "randn")
def _sized(rng: Rng, name: str) -> Call:
    sizes = _sizes(rng)
    options = _options(rng, *(DTYPES[:3] if name.startswith("rand") and chance(rng, 0.8) else ()))
    return (tuple(sizes) if sizes and chance(rng, 0.5) else (one_of(rng, tuple(sizes), sizes),)), options


def _number(rng: Rng) -> Any:
    return usual(
        rng, one_of(rng, 0, 1, -1, 3, 255, 300, -2.5, 0.1, True, float("nan"), float("inf"), numpy.float64(1.5), numpy.int32(7), numpy.float32(0.1)), 0.2
    )


@calls("full")
def _full(rng: Rng) -> Call:
    return (usual(rng, tuple(_sizes(rng))), _number(rng)), _options(rng)


@calls("full_like", "zeros_like", "ones_like", "randn_like")
def _like(rng: Rng, name: str) -> Call:
    x = array(rng, shape(rng)) if chance(rng, 0.7) or name == "randn_like" else rng.integers(-5, 5, shape(rng))
    return (x, *((_number(rng),) if name == "full_like" else ())), _options(rng)


@calls("arange")
def _arange(rng: Rng) -> Call:
    whole = chance(rng, 0.5)
    start, end, step = (int(v) if whole else float(v) / 4 for v in (*rng.integers(-20, 20, 2), one_of(rng, 1, 2, 3, 7)))
    step = -step if end < start and chance(rng, 0.9) else step
    options = _options(rng, *(DTYPES if whole else ("float32", "float64", "int64", None)))
    return tuple(usual(rng, value) for value in one_of(rng, (abs(end),), (start, end), (start, end, step))), options


@calls("linspace")
def _linspace(rng: Rng) -> Call:
    start, end = (int(v) if chance(rng, 0.5) else float(v) / 4 for v in rng.integers(-20, 20, 2))
    options = _options(rng, "float32", "float64", "int64", "int32", "bool", None)
    if str(options.get("dtype")).startswith("int"):  # the step of a power of two is exact, and no number lies just below an integer
        return (usual(rng, int(start)), usual(rng, int(end)), usual(rng, one_of(rng, 0, 1, 2, 3, 5, 9))), options
    return (usual(rng, start), usual(rng, end), usual(rng, int(rng.integers(0, 20)))), options


@calls("eye")
def _eye(rng: Rng) -> Call:
    return tuple(usual(rng, size(rng)) for _ in range(int(rng.integers(1, 3)))), _options(rng)


@calls("randint")
def _randint(rng: Rng) -> Call:
    low, high = int(rng.integers(-10, 3)), one_of(rng, 3, 10, 200, 256)
    of = usual(rng, tuple(_sizes(rng)), 0.03)
    return one_of(rng, (usual(rng, high), of), (usual(rng, low), usual(rng, high), of)), _options(rng, *DTYPES, drawn=True)


@calls("randperm")
def _randperm(rng: Rng) -> Call:
    return (usual(rng, size(rng), 0.3),), {}


def _nested(rng: Rng, of: tuple[int, ...]) -> Any:
    if of:
        return one_of(rng, list, tuple)(_nested(rng, of[1:]) for _ in range(of[0])) if chance(rng, 0.99) else 1
    return one_of(rng, 0, 1, -3, 255, 256, 1.5, -0.0, True, 2**53 + 1, *((2**63 - 1, 2**63, -(2**63), 1e300, "x", None, 1j) if chance(rng, 0.05) else (2,)))


@calls("tensor")
def _tensor(rng: Rng) -> Call:
    kind = one_of(rng, "numbers", "numbers", "integers", "arrays")
    data = _nested(rng, shape(rng, 0, 3)) if kind == "numbers" else rng.integers(-3, 300, shape(rng, 0, 3)).tolist()
    return (array(rng, shape(rng)) if kind == "arrays" else data,), _options(rng)


# Changes in place -----------------------------------------------------------------------------------------------------

CHANGES = ("add_", "sub_", "mul_", "div_", "copy_", "fill_", "zero_", "clamp_", "relu_")
BESIDE |= {name: (lambda library, name=name: lambda x, *args, **options: getattr(x.clone(), name)(*args, **options)) for name in CHANGES}


@calls("add_", "sub_", "mul_", "div_", "copy_")
def _changed(rng: Rng) -> Call:
    left, right = broadcast_pair(rng)
    if len(right) > len(left) or (any(a < b for a, b in zip(left[::-1], right[::-1], strict=False)) and chance(rng, 0.8)):
        left, right = right, left
    return (array(rng, left), array(rng, right) if chance(rng, 0.8) else array(rng, ())), {}


@calls("fill_")
def _fill(rng: Rng) -> Call:
    return (array(rng, shape(rng)), _number(rng)), {}


@calls("zero_", "relu_")
def _changed_alone(rng: Rng) -> Call:
    return (array(rng, shape(rng)),), {}


@calls("clamp_")
def _clamp(rng: Rng) -> Call:
    return (array(rng, shape(rng)),), {"min": one_of(rng, None, -1, -0.5), "max": one_of(rng, None, 1, 0.5, -2)}


def _set(x: Any, index: Any, value: Any) -> Any:
    changed = x.clone()
    changed[index] = value
    return changed


BESIDE["setitem"] = lambda library: _set


@calls("setitem")
def _setitem(rng: Rng) -> Call:
    (x, index), _ = CALLS["getitem"](rng)
    try:
        of = numpy.zeros(x.shape, bool)[index].shape
    except (IndexError, TypeError, ValueError):
        of = ()
    places = index if isinstance(index, tuple) else (index,)
    twice = any(isinstance(part, numpy.ndarray) and part.dtype != bool for part in places)  # then the last one written stands, whichever it is
    return (x, index, one_of(rng, 0, 1.5, -2) if twice or chance(rng, 0.3) else array(rng, of[int(rng.integers(len(of) + 1)) :])), {}


@calls("dropout")
def _dropout(rng: Rng) -> Call:
    return (array(rng, shape(rng)), usual(rng, one_of(rng, 0.0, 0.5, 1.0, 0, 1, 0.25), 0.3), usual(rng, chance(rng, 0.5), 0.1)), {}


# Modules and optimisers -----------------------------------------------------------------------------------------------


def _module(name: str) -> Callable[[Any], Any]:
    """The module made, its parameters filled, and called: in evaluation, where nothing is random."""

    def of(library: Any) -> Any:
        def call(x: Any, *args: Any, **options: Any) -> Any:
            module = getattr(library.nn, name)(*args, **options).eval()
            with library.no_grad():
                for parameter in module.parameters():
                    parameter.fill_(0.5)
            return (module.double() if x.dtype == library.float64 else module)(x)

        return call

    return of


def _optimizer(name: str) -> Callable[[Any], Any]:
    """What three steps with a gradient, and with another, make of a parameter."""

    def of(library: Any) -> Any:
        def call(x: Any, first: Any, second: Any, **options: Any) -> Any:
            parameter = x.detach().clone().requires_grad_()
            optimizer = getattr(library.optim, name)([parameter], **options)
            for gradient in (first, second, first):
                parameter.grad = gradient.detach().clone()
                optimizer.step()
            return parameter.detach()

        return call

    return of


MODULES = {
    "Conv2d": "conv2d", "Linear": "linear", "BatchNorm2d": "batch_norm", "MaxPool2d": "max_pool2d", "AvgPool2d": "avg_pool2d", "Dropout": "dropout",
    "AdaptiveAvgPool2d": "adaptive_avg_pool2d", "LocalResponseNorm": "local_response_norm", "Flatten": "flatten",
}  # fmt: skip
"""And what each calls."""

OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop")
BESIDE |= {name: _module(name) for name in MODULES} | {name: _optimizer(name) for name in OPTIMIZERS}


def _image(rng: Rng, channels: int) -> numpy.ndarray:
    return array(rng, (size(rng, 1, 2), channels, int(rng.integers(4, 9)), int(rng.integers(4, 9))))


def _some(rng: Rng, **drawn: Any) -> dict[str, Any]:
    return {name: usual(rng, value) for name, value in drawn.items() if chance(rng, 0.3)}


@calls("Conv2d")
def _conv2d(rng: Rng) -> Call:
    groups = one_of(rng, 1, 1, 2)
    c, k = (groups * int(rng.integers(1, 3)) for _ in range(2))
    options = _some(rng, stride=one_of(rng, 1, 2, (1, 2)), padding=one_of(rng, 0, 1, "same", "valid", "x"), dilation=one_of(rng, 1, 2), bias=chance(rng, 0.5))
    return (_image(rng, c), usual(rng, c), usual(rng, k), usual(rng, one_of(rng, 1, 3, (2, 3)))), {"groups": usual(rng, groups), **options}


@calls("Linear")
def _linear(rng: Rng) -> Call:
    c = size(rng)
    return (array(rng, (*shape(rng, 0, 2), c)), usual(rng, c), usual(rng, size(rng))), _some(rng, bias=chance(rng, 0.5))


@calls("BatchNorm2d")
def _batch_norm(rng: Rng) -> Call:
    c = int(rng.integers(1, 4))
    options = _some(rng, eps=1e-3, momentum=one_of(rng, 0.5, None), affine=chance(rng, 0.5), track_running_stats=chance(rng, 0.5))
    return (_image(rng, c), usual(rng, c)), options


@calls("MaxPool2d", "AvgPool2d")
def _pool(rng: Rng) -> Call:
    taps = one_of(rng, 2, 3, (2, 3))
    return (_image(rng, 2), usual(rng, taps)), _some(rng, stride=one_of(rng, 1, 2, None), padding=one_of(rng, 0, 1), ceil_mode=chance(rng, 0.5))


@calls("AdaptiveAvgPool2d")
def _adaptive(rng: Rng) -> Call:
    return (_image(rng, 2), usual(rng, one_of(rng, 1, 2, (2, 3), (None, 1)))), {}


@calls("LocalResponseNorm")
def _response(rng: Rng) -> Call:
    return (_image(rng, 3), usual(rng, int(rng.integers(1, 6)))), _some(rng, alpha=1e-3, beta=0.5, k=2.0)


@calls("Dropout")
def _dropout_module(rng: Rng) -> Call:
    return (array(rng, shape(rng)), usual(rng, one_of(rng, 0.0, 0.5, 1.0), 0.4)), {}


@calls("Flatten")
def _flatten(rng: Rng) -> Call:
    return (array(rng, shape(rng, 1, 4)),), _some(rng, start_dim=one_of(rng, 0, 1, -1), end_dim=one_of(rng, -1, 1))


@calls("SGD", "Adam", "AdamW", "RMSprop")
def _optimized(rng: Rng, name: str) -> Call:
    of = shape(rng)
    options = _some(rng, lr=one_of(rng, 0.1, 1e-3, 0, 1), weight_decay=one_of(rng, 0, 0.1), maximize=chance(rng, 0.5))
    options |= _some(rng, **{"SGD": {"momentum": 0.9, "dampening": one_of(rng, 0, 0.1), "nesterov": chance(rng, 0.5)},
                             "RMSprop": {"momentum": 0.9, "alpha": 0.9, "centered": chance(rng, 0.5), "eps": 1e-6}}.get(
        name, {"betas": one_of(rng, (0.9, 0.99), (0.0, 0.5), (1.0, 0.5), (0.9,), 3), "eps": 1e-6, "amsgrad": chance(rng, 0.5)}))  # fmt: skip
    return (array(rng, of, "normal"), array(rng, of, "normal"), array(rng, of, "normal")), options
