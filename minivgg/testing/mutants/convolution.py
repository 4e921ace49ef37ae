"""Mistakes in convolution, in all three directions: in the Function itself, in im2col and in loops of a homework."""

from __future__ import annotations

from minivgg.nn import functional as F
from minivgg.testing.mutants import homework
from minivgg.testing.mutants.mechanism import Call, Mutant, call, mutant, normal

IM2COL = "minivgg.kernels.conv2d.im2col:"
FUNCTION = "minivgg.ops.conv2d:"
HOMEWORK = "minivgg.testing.mutants.homework:"


def _by_im2col(**options: object) -> Call:
    return call(F.conv2d, normal(2, 2, 6, 6), normal(3, 2, 3, 3), normal(3), algorithm="im2col", **options)


def _grouped() -> Call:
    return call(F.conv2d, normal(2, 4, 4, 4), normal(6, 2, 3, 3), groups=2, padding=1, algorithm="im2col")


def _by_loops(**options: object) -> Call:
    return call(homework.PAIRS["conv"], normal(2, 2, 6, 6), normal(3, 2, 3, 3), normal(3), **options)


MUTANTS: list[Mutant] = [
    mutant(
        "the filter is turned by 180 degrees once more", "conv2d", IM2COL + "input_gradient",
        "columns[:, tap.r, tap.s]", "columns[:, -1 - tap.r, -1 - tap.s]",
        lambda: _by_im2col(padding=1), "flipped",
    ),
    mutant(
        "the weight gradient comes out turned by 180 degrees", "conv2d", IM2COL + "weight_gradient",
        "columns[:, tap.r, tap.s]", "columns[:, -1 - tap.r, -1 - tap.s]",
        lambda: _by_im2col(padding=1), "flipped",
    ),
    mutant(
        "only the rows of the filter are reversed", "conv2d", IM2COL + "weight_gradient",
        "columns[:, tap.r, tap.s]", "columns[:, -1 - tap.r, tap.s]",
        lambda: _by_im2col(), "flipped",
    ),
    mutant(
        "rows and columns of the filter are exchanged", "conv2d", IM2COL + "weight_gradient",
        "columns[:, tap.r, tap.s]", "columns[:, tap.s, tap.r]",
        lambda: _by_im2col(), "swapped height and width",
    ),
    mutant(
        "a tap is added at (w, h) in place of (h, w)", "conv2d", "minivgg.kernels.conv2d._places:Tap.scatter",
        "self.h, self.w", "self.w, self.h",
        lambda: _by_im2col(), "swapped height and width",
    ),
    mutant(
        "the order of channels within groups is taken for that of groups", "conv2d", IM2COL + "input_gradient",
        "by_group(spec, dy, 1)", "dy.reshape(spec.n, -1, spec.groups, spec.p, spec.q).swapaxes(1, 2)",
        _grouped, "permuted",
    ),
    mutant(
        "the filters of the groups are exchanged", "conv2d", IM2COL + "input_gradient",
        "filters.transpose(0, 2, 1)", "filters[::-1].transpose(0, 2, 1)",
        _grouped, "permuted",
    ),
    mutant(
        "the bias gets the gradient of the first image alone", "conv2d", FUNCTION + "Conv2d.backward",
        "grad.sum((0, 2, 3))", "grad[0].sum((1, 2))",
        lambda: _by_im2col(), "missing sum over broadcast",
    ),
    mutant(
        "the bias gets the mean over the images", "conv2d", FUNCTION + "Conv2d.backward",
        "grad.sum((0, 2, 3))", "grad.sum((2, 3)).mean(0)",
        lambda: _by_im2col(), "missing scale",
    ),
    mutant(
        "the last column of the output is left out", "conv2d", IM2COL + "weight_gradient",
        "y[...] = dy[tile.n, :, k, tile.p, tile.q].transpose(1, 2, 0, 3, 4)",
        "y[...] = dy[tile.n, :, k, tile.p, tile.q].transpose(1, 2, 0, 3, 4); y[..., -1] = 0",
        lambda: _by_im2col(), "elements left out",
    ),
    mutant(
        "what a tap gives overwrites what the others gave", "conv2d", "minivgg.kernels.conv2d._places:Tap.scatter",
        "target += seen[:, :, self.p, self.q].transpose(1, 0, 2, 3)", "target[...] = seen[:, :, self.p, self.q].transpose(1, 0, 2, 3)",
        lambda: _by_im2col(), "overwritten instead of added",
    ),
    mutant(
        "only the last window counts for the filter: = in place of +=", "conv2d", HOMEWORK + "conv_backward",
        "dw += ", "dw[...] = ",
        lambda: _by_loops(), "overwritten instead of added",
    ),
    mutant(
        "the padding is cut off at one side only", "conv2d", HOMEWORK + "conv_backward",
        "pad : height - pad, pad : width - pad]", ": height - 2 * pad, : width - 2 * pad]",
        lambda: _by_loops(pad=1), "shifted",
    ),
    mutant(
        "the stride is forgotten on the way back", "conv2d", HOMEWORK + "conv_backward",
        "slice(p * stride, p * stride + r), slice(q * stride, q * stride + s)", "slice(p, p + r), slice(q, q + s)",
        lambda: _by_loops(stride=2), "other elements",
    ),
    mutant(
        "the windows are taken with rows and columns exchanged", "conv2d", HOMEWORK + "conv_backward",
        "upstream[:, :, p, q], w, 1)", "upstream[:, :, q, p], w, 1)",
        lambda: _by_loops(), "swapped height and width",
    ),
    mutant(
        "input and output channels are exchanged in the weight gradient", "conv2d", HOMEWORK + "conv_backward",
        "return dx_padded[:, :, pad : height - pad, pad : width - pad], dw,",
        "return dx_padded[:, :, pad : height - pad, pad : width - pad], dw.swapaxes(0, 1),",
        lambda: call(homework.PAIRS["conv"], normal(2, 3, 5, 5), normal(3, 3, 3, 3), normal(3)), "transposed",
    ),
    mutant(
        "the bias is summed over the images and the rows, then averaged", "conv2d", HOMEWORK + "conv_backward",
        "upstream.sum(axis=(0, 2, 3))", "upstream.sum(axis=(0, 2)).mean(axis=1)",
        lambda: _by_loops(), "missing scale",
    ),
]  # fmt: skip
