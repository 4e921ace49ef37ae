"""Batch normalisation, ReLU and 2x2 max pooling in the passes of the normalisation: what lies between is neither written nor read back."""

from __future__ import annotations

import math

from minivgg.autograd import Tensor, is_grad_enabled
from minivgg.backend import empty, empty_like, is_channels_last
from minivgg.ops.batch_norm import BatchNorm, Problem, batch_norm, check_batch_norm, move_statistics
from minivgg.ops.max_pool2d import MaxPool2dGradInput, max_pool2d
from minivgg.ops.relu import ReLUGrad, relu
from minivgg.registry import algorithm_for, forced
from minivgg.spec import Pool2dSpec

VECTOR = 16
"""Channels that the widest vector holds: with fewer, pooling is done by itself."""


class BatchNormReLU(BatchNorm):
    """(out, mean, variance) of a batch with out = max(y, 0), of which ``pool`` keeps the largest of each 2x2 window.

    Saves a byte a window: which cell won, or 4 where nothing is above 0, so that no gradient flows.
    """

    def forward(self, x, w, b, eps, pool):  # type: ignore[override]
        self.spec = Problem(x.shape, eps)
        self.pooling = Pool2dSpec.of("max_pool2d", x.shape, 2) if pool else None
        out = empty_like(x, self.pooling.output_shape if self.pooling else None)
        cells = empty_like(out, dtype="uint8") if pool else None
        mean, variance = empty((x.shape[1],), x.dtype), empty((x.shape[1],), x.dtype)
        algorithm_for("batch_norm", self.spec, x).run(self.spec, x, w, b, out, mean, variance, relu=True, cells=cells)
        self.save_for_backward(x, w, mean, variance, out, cells)
        self.mark_non_differentiable(mean, variance)
        return out, mean, variance

    def backward(self, grad, *_):
        x, w, mean, variance, out, cells = self.saved_tensors
        if not is_grad_enabled():
            return *self.at_once(grad, x, w, mean, variance, y=out.array, cells=None if cells is None else cells.array), None, None
        grad = ReLUGrad.apply(grad, out.array)
        if cells is not None:
            grad = MaxPool2dGradInput.apply(grad, cells.array % 4, self.pooling, None)
        return *self.recorded(grad, x, w), None, None


def batch_norm_relu(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None, bias: Tensor | None = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *, pool: bool = False,
) -> Tensor:  # fmt: skip
    """``relu(batch_norm(...))``, and with ``pool`` ``max_pool2d(relu(batch_norm(...)), 2)``: the same numbers in fewer passes.

    Arguments and errors are those of ``batch_norm``. In one go in training, for images in channels-last memory; elsewhere the
    operations follow one another. ``nn.Sequential`` calls this by itself where these modules are neighbours.

    >>> import minivgg
    >>> x = minivgg.tensor([[[[1.0, 3.0], [1.0, 3.0]]]])
    >>> batch_norm_relu(x, None, None, training=True, eps=1e-9, pool=True).tolist()
    [[[[1.0]]]]
    """
    arguments = input, running_mean, running_var, weight, bias, training
    check_batch_norm(*arguments, momentum, eps)
    if pool and not (_can_fuse(input, training) and _windows_fit(input)):
        return max_pool2d(batch_norm_relu(*arguments, momentum, eps), 2)
    if not _can_fuse(input, training):
        return relu(batch_norm(*arguments, momentum, eps))
    out, mean, variance = BatchNormReLU.apply(input, weight, bias, eps, pool)
    count = math.prod(input.shape) // input.shape[1]
    move_statistics(running_mean, running_var, momentum, mean.array, variance.array * (count / (count - 1)))
    return out


def _can_fuse(input: Tensor, training: bool) -> bool:
    """Whether the compiled kernel is what would compute it, and nobody asks for another one."""
    x = input.array
    return training and is_channels_last(x) and not forced("relu") and algorithm_for("batch_norm", Problem(x.shape, 1.0), x).backend == "numba"


def _windows_fit(input: Tensor) -> bool:
    """Whether 2x2 windows tile the image, of as many channels as make a vector."""
    _, channels, height, width = input.shape
    return channels >= VECTOR and height % 2 == width % 2 == 0 and not forced("max_pool2d")
