"""Initialisation: fill a tensor in place with constants or random numbers, scaled to what flows through the layer.

A weight's *fan-in* is the number of inputs that one output sums, c/g·r·s; its *fan-out* the number of outputs that one
input reaches, k·r·s. If weights are independent with variance 1/fan-in, a linear layer keeps the variance of what passes
forward; with 1/fan-out, that of what passes back. A ReLU halves the mean square, which ``calculate_gain`` makes up for.
Glorot & Bengio 2010 take the mean of the two fans ("xavier"), He et al. 2015 (arXiv:1502.01852) one of them ("kaiming").
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy

from minivgg.autograd import Tensor, no_grad
from minivgg.errors import ArgumentError, ShapeError
from minivgg.random import Generator, numpy_generator

Draw = Callable[[numpy.ndarray], None]


def _fill(tensor: Tensor, draw: Draw) -> Tensor:
    """Let ``draw`` write random numbers into the tensor's memory, or beside it where that is not plain host memory."""
    with no_grad():
        array = tensor.array
        in_place = isinstance(array, numpy.ndarray) and array.flags.c_contiguous
        drawn = array if in_place else numpy.empty(tensor.shape, tensor.dtype)
        draw(drawn)
        return tensor.copy_(drawn) if not in_place else _changed(tensor)


def _changed(tensor: Tensor) -> Tensor:
    tensor._version[0] += 1
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Numbers from the uniform distribution over [a, b)."""

    def draw(out: numpy.ndarray) -> None:
        numpy_generator("uniform_", generator).random(dtype=out.dtype, out=out)
        out *= b - a
        out += a

    return _fill(tensor, draw)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Numbers from the normal distribution with this mean and standard deviation.

    >>> import minivgg
    >>> weight = normal_(minivgg.empty(100, 100), std=0.01, generator=minivgg.Generator().manual_seed(0))
    >>> round(weight.std().item(), 4)
    0.01
    """

    def draw(out: numpy.ndarray) -> None:
        numpy_generator("normal_", generator).standard_normal(dtype=out.dtype, out=out)
        out *= std
        out += mean

    return _fill(tensor, draw)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """One number everywhere."""
    with no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan-in, fan-out) of a weight (K, C) or (K, C/g, R, S): C/g·R·S and K·R·S.

    >>> import minivgg
    >>> fans(minivgg.empty(64, 3, 3, 3))
    (27, 576)
    """
    if tensor.ndim < 2:
        raise ShapeError("init", f"the fans of a weight need at least 2 dimensions, got shape {tensor.shape}")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """What the standard deviation is multiplied with to make up for the non-linearity behind the layer.

    ``param`` is the negative slope of ``leaky_relu`` (0.01 if None), for which the gain is √(2 / (1 + slope²)).

    >>> calculate_gain("relu") == 2**0.5
    True
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0, "sigmoid": 1.0,
        "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "leaky_relu": math.sqrt(2.0 / (1.0 + slope**2)), "selu": 0.75,
    }  # fmt: skip
    if nonlinearity not in gains:
        raise ArgumentError("calculate_gain", f"there is no gain for {nonlinearity!r}; there are {', '.join(gains)}")
    return gains[nonlinearity]


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2.0 / max(sum(fans(tensor)), 1))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError("kaiming", f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fans(tensor)[mode == "fan_out"], 1))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Uniform over ±gain·√(6 / (fan-in + fan-out))."""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain·√(2 / (fan-in + fan-out))."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Uniform over ±gain·√(3 / fan), ``a`` the negative slope of ``leaky_relu``."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", generator: Generator | None = None
) -> Tensor:  # fmt: skip
    """Normal with standard deviation gain/√fan, ``a`` the negative slope of ``leaky_relu``."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)
