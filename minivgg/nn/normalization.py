"""Normalisation layers: BatchNorm2d, BatchNorm1d, LocalResponseNorm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minivgg.autograd import Tensor
from minivgg.creation import empty, ones, tensor, zeros
from minivgg.errors import ShapeError
from minivgg.nn import functional as F
from minivgg.nn import init
from minivgg.nn.module import Module
from minivgg.nn.parameter import Parameter


class _BatchNorm(Module):
    dims: tuple[int, ...]
    """How many dimensions the input may have."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        *, bias: bool = True, device: Any = None, dtype: Any = "float32",
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        placed = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(num_features, **placed)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_features, **placed)) if affine and bias else None)
        self.register_buffer("running_mean", zeros(num_features, **placed) if track_running_stats else None)
        self.register_buffer("running_var", ones(num_features, **placed) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if track_running_stats else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to scale 1, shift 0 and the running statistics of a standard normal input."""
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0), ("num_batches_tracked", 0)):
            if getattr(self, name) is not None:
                init.constant_(getattr(self, name), value)

    def forward(self, input: Tensor) -> Tensor:
        return self.normalise(F.batch_norm, input)

    def normalise(self, function: Callable[..., Tensor], input: Tensor, **options: Any) -> Tensor:
        """Call ``batch_norm``, or what computes it together with what follows, with the module's parameters and statistics."""
        if input.ndim not in self.dims:
            raise ShapeError(type(self).__name__, f"expects {' or '.join(map(str, self.dims))} dimensions, got {input.ndim}", input=input.shape)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats:
            self.num_batches_tracked.array += 1
            if self.momentum is None:  # the plain mean over all batches so far
                momentum = 1.0 / self.num_batches_tracked.item()
        batch_statistics = self.training or self.running_mean is None
        return function(input, self.running_mean, self.running_var, self.weight, self.bias, batch_statistics, momentum, self.eps, **options)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm2d(_BatchNorm):
    """(x - mean) / √(variance + eps) · weight + bias for each channel of (N, C, H, W). See ``functional.batch_norm``.

    In training the statistics are those of the batch, and the running ones move towards them by ``momentum`` (None:
    their plain mean); in evaluation the running ones are used.

    >>> BatchNorm2d(8)
    BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """

    dims = (4,)


class BatchNorm1d(_BatchNorm):
    """The same for (N, C) and (N, C, L)."""

    dims = (2, 3)


class LocalResponseNorm(Module):
    """x / (k + alpha/size · Σ x²)^beta, the sum over ``size`` neighbouring channels. See ``functional.local_response_norm``.

    >>> LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)
    LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
