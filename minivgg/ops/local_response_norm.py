"""Local response normalisation: each channel divided by a power of the mean square of its neighbours (Krizhevsky et al. 2012)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy

from minivgg.autograd import Function, Tensor, is_grad_enabled
from minivgg.backend import empty_like
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_floating, check_numbers
from minivgg.registry import ErrorSample, Operation, Sample, formula, kernel


def _sum_over_neighbours(x, before, after):
    """out[:, c] = Σ x[:, c - before] + ... + x[:, c + after], of the channels that exist."""
    out = x.copy()
    for distance in range(1, min(before, x.shape[1] - 1) + 1):
        out[:, distance:] += x[:, :-distance]
    for distance in range(1, min(after, x.shape[1] - 1) + 1):
        out[:, :-distance] += x[:, distance:]
    return out


class SumOverNeighbours(Function):
    """The transpose looks the other way."""

    def forward(self, x, before, after):
        self.reach = before, after
        return _sum_over_neighbours(x, before, after)

    def backward(self, grad):
        before, after = self.reach
        return SumOverNeighbours.apply(grad, after, before), None, None


class Problem(NamedTuple):
    """What the kernels are told."""

    shape: tuple[int, ...]
    size: int
    alpha: float
    beta: float
    k: float

    @property
    def reach(self) -> tuple[int, int]:
        """Channels before and behind."""
        return self.size // 2, (self.size - 1) // 2


@formula("local_response_norm")
def _local_response_norm(spec, x, out):
    total = _sum_over_neighbours(x * x, *spec.reach) * (spec.alpha / spec.size) + spec.k
    out[...] = x * total**-spec.beta


@formula("local_response_norm_grad")
def _local_response_norm_grad(spec, grad, x, dx):
    total = _sum_over_neighbours(x * x, *spec.reach) * (spec.alpha / spec.size) + spec.k
    direct = grad * total**-spec.beta
    dx[...] = direct - 2 * spec.alpha * spec.beta / spec.size * x * _sum_over_neighbours(direct * x / total, *spec.reach[::-1])


class LocalResponseNorm(Function):
    """Saves the input. A recorded backward computes the formula on tensors, to be differentiated."""

    def forward(self, x, spec):
        self.spec, out = spec, empty_like(x)
        kernel("local_response_norm", spec, x)(spec, x, out)
        self.save_for_backward(x)
        return out

    def backward(self, grad):
        (x,), spec = self.saved_tensors, self.spec
        if not is_grad_enabled():
            dx = empty_like(x.array)
            kernel("local_response_norm_grad", spec, dx)(spec, grad.array, x.array, dx)
            return Tensor(dx), None
        total = SumOverNeighbours.apply(x * x, *spec.reach) * (spec.alpha / spec.size) + spec.k
        direct = grad * total**-spec.beta
        return direct - 2 * spec.alpha * spec.beta / spec.size * x * SumOverNeighbours.apply(direct * x / total, *spec.reach[::-1]), None


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """out[n, c] = input[n, c] / (k + alpha/size · Σ_j input[n, j]²)^beta over the ``size`` channels j around c.

    ``input``  (N, C, ...), at least 3 dimensions, float32 or float64
    ``size``   channels c - ⌊size/2⌋ to c + ⌊(size-1)/2⌋: an even number takes one more before than behind; channels
               that do not exist count as 0

    As in PyTorch, alpha is divided by ``size``; in the paper it is not: its n=5, k=2, α=1e-4, β=0.75 are
    ``local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2)``. Source: "ImageNet Classification with Deep Convolutional
    Neural Networks" (2012), section 3.3. Cost: one pass over the input and one for its gradient, size
    additions and a power an element; a power of 1/2, 3/4 or 1 is cheap.

    >>> import minivgg
    >>> x = minivgg.tensor([[[1.0], [2.0], [3.0]]])
    >>> minivgg.nn.functional.local_response_norm(x, 2, alpha=2.0, beta=1.0, k=1.0).flatten()
    tensor([0.5000, 0.3333, 0.2143])
    """
    if input.ndim < 3:
        raise ShapeError("local_response_norm", f"input must be (N, C, ...) with at least 3 dimensions, got {input.ndim}", input=input.shape)
    check_floating("local_response_norm", input)
    check_numbers("local_response_norm", alpha=alpha, beta=beta, k=k)
    if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
        raise ArgumentError("local_response_norm", f"size must be an int of at least 1, got {size!r}")
    return LocalResponseNorm.apply(input, Problem(input.shape, size.__index__(), alpha, beta, k))


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for shape, size in (((2, 5, 3, 2), 3), ((2, 5, 2, 2), 4), ((1, 3, 2, 2), 9), ((2, 4, 3), 2), ((1, 3, 2, 1, 2), 1), ((0, 3, 2, 2), 2)):
        yield Sample((rng.standard_normal(shape), size), {"alpha": 0.5, "beta": 0.6, "k": 1.5})
    for beta in (0.5, 0.75, 1.0):
        yield Sample((rng.standard_normal((2, 5, 2, 2)), 3), {"alpha": 0.5, "beta": beta, "k": 2.0})


def _oracle(x: numpy.ndarray, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> numpy.ndarray:
    """The definition, one channel after the other."""
    out = numpy.empty_like(x)
    for c in range(x.shape[1]):
        neighbours = [j for j in range(c - size // 2, c - size // 2 + size) if 0 <= j < x.shape[1]]
        out[:, c] = x[:, c] / (k + alpha * sum(x[:, j] ** 2 for j in neighbours) / size) ** beta
    return out


def _errors() -> Iterable[ErrorSample]:
    x = numpy.zeros((1, 3, 2, 2))

    def error(kind: type[Exception], problem: str, *args: Any) -> ErrorSample:
        return ErrorSample(args, {}, kind, f"local_response_norm: {problem}")

    yield error(ShapeError, "input must be (N, C, ...) with at least 3 dimensions, got 2 (input (2, 2))", x[0, 0], 2)
    yield error(ArgumentError, "size must be an int of at least 1, got 0", x, 0)
    yield error(ArgumentError, "size must be an int of at least 1, got 2.5", x, 2.5)
    yield error(DtypeError, "takes float32 or float64, got int64", x.astype("int64"), 2)


OPERATION = Operation(
    local_response_norm, shapes="* -> *", samples=_samples, oracle=_oracle, errors=_errors, torch="nn.functional.local_response_norm"
)  # fmt: skip
