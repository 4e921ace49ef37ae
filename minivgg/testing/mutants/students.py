"""Mistakes that students make in layers of their own; the expected diagnoses were written down before the rules had seen any of them."""

from __future__ import annotations

import numpy

from minivgg.testing.mutants import homework
from minivgg.testing.mutants.coursework import PAIRS
from minivgg.testing.mutants.mechanism import Mutant, call, mutant, normal

COURSE = "minivgg.testing.mutants.coursework:"
HOMEWORK = "minivgg.testing.mutants.homework:"


def _dilated(**options):
    return call(PAIRS["dilated"], normal(2, 2, 6, 5), normal(4, 2 // options.get("groups", 1), 2, 2, seed=1), normal(4, seed=2), **options)


def _images(name, *more):
    return lambda: call(PAIRS[name], normal(2, 3, 4, 5), *more)


def _rows(name, *more):
    return lambda: call(PAIRS[name], normal(4, 3), *more)


_labels, _targets = numpy.array([2, 0, 1, 2]), (normal(4, 3, seed=5) > 0).astype(float)

MUTANTS: list[Mutant] = [
    mutant(
        "the padding is cut off one row and column too early", "conv2d", COURSE + "dilated_backward",
        "pad : height - pad, pad : width - pad]", "pad - 1 : height - pad - 1, pad - 1 : width - pad - 1]", _dilated, "shifted",
    ),
    mutant(
        "the bias is summed over the images and rows, not over the columns", "conv2d", COURSE + "dilated_backward",
        "upstream.sum(axis=(0, 2, 3))", "upstream.sum(axis=(0, 2))", _dilated, "missing sum over broadcast",
    ),
    mutant(
        "the bias gets its first column alone", "conv2d", COURSE + "dilated_backward",
        "upstream.sum(axis=(0, 2, 3))", "upstream.sum(axis=(0, 2))[:, 0]", _dilated, "missing sum over broadcast",
    ),
    mutant(
        "the dilation is forgotten in the input's gradient", "conv2d", COURSE + "dilated_backward",
        "dpadded[:, maps, rows, columns] +=", "dpadded[:, maps, r : r + p, s : s + q] +=", _dilated, "other elements",
    ),
    mutant(
        "the dilation is forgotten in the weight's gradient", "conv2d", COURSE + "dilated_backward",
        "padded[:, maps, rows, columns])", "padded[:, maps, r : r + p, s : s + q])", _dilated, "other elements",
    ),
    mutant(
        "the input's gradient goes through the filters of the other group", "conv2d", COURSE + "dilated_backward",
        "w[filters, :, r, s], upstream", "numpy.roll(w, len(w) // groups, 0)[filters, :, r, s], upstream", lambda: _dilated(groups=2), "permuted",
    ),
    mutant(
        "every group's weight gradient is taken from the first group's maps", "conv2d", COURSE + "dilated_backward",
        "padded[:, maps, rows, columns])", "padded[:, :c, rows, columns])", lambda: _dilated(groups=2), "other elements",
    ),
    mutant(
        "the input's gradient overwrites what the other taps gave", "conv2d", COURSE + "dilated_backward",
        "columns] +=", "columns] =", _dilated, "overwritten instead of added",
    ),
    mutant(
        "divided by the size of the window at the border, too", "avg_pool2d", COURSE + "padded_average_backward",
        "count = window.shape[2] * window.shape[3]", "count = size**2", _images("padded_average"), "wrong at the border",
    ),
    mutant(
        "the gradient goes to the first cell of the window, not to the largest", "max_pool2d", HOMEWORK + "maxpool_backward",
        "window.argmax()", "0", lambda: call(homework.PAIRS["maxpool"], normal(2, 2, 4, 4)), "other elements",
    ),
    mutant(
        "the path through the mean is forgotten", "batch_norm", COURSE + "spatial_norm_backward",
        "(d - through_mean - through_variance)", "(d - through_variance)", _images("spatial_norm", normal(3, seed=3), normal(3, seed=4)), "missing term",
    ),
    mutant(
        "the weight is forgotten in the input's gradient", "batch_norm", COURSE + "spatial_norm_backward",
        "d = upstream * gamma[:, None, None]", "d = upstream", _images("spatial_norm", normal(3, seed=3), normal(3, seed=4)), "missing factor",
    ),
    mutant(
        "the weight's gradient is taken from the centred input, not divided by the deviation", "batch_norm", COURSE + "spatial_norm_backward",
        "(upstream * normal).sum(axes), ", "(upstream * centred).sum(axes), ", _images("spatial_norm", normal(3, seed=3), normal(3, seed=4)), "missing factor",
    ),
    mutant(
        "the path through the variance is divided by one less", "batch_norm", COURSE + "spatial_norm_backward",
        "keepdims=True) / count\n    dx", "keepdims=True) / (count - 1)\n    dx", _images("spatial_norm", normal(3, seed=3), normal(3, seed=4)), "missing term",
    ),
    mutant(
        "the sum over the classes is forgotten", "softmax", COURSE + "softmax_backward",
        "(upstream - (upstream * p).sum(axis=1, keepdims=True))", "upstream", _rows("softmax"), "missing term",
    ),
    mutant(
        "the derivative of a sigmoid", "softmax", COURSE + "softmax_backward",
        "(upstream - (upstream * p).sum(axis=1, keepdims=True))", "(1 - p) * upstream", _rows("softmax"), "missing term",
    ),
    mutant(
        "the upstream gradient's sum is taken for 1", "log_softmax", COURSE + "log_softmax_backward",
        "p * upstream.sum(axis=1, keepdims=True)", "p", _rows("log_softmax"), "not linear in the upstream gradient",
    ),
    mutant(
        "the mean of the losses is taken for their sum", "binary cross entropy", COURSE + "logistic_loss_backward",
        "- target) / z.size", "- target)", _rows("logistic_loss", _targets), "missing scale",
    ),
    mutant(
        "the weights of the classes are forgotten", "cross_entropy", COURSE + "weighted_loss_backward",
        " * weight[target][:, None]", "", _rows("weighted_loss", _labels, numpy.array([0.5, 1.0, 2.5])), "missing factor",
    ),
    mutant(
        "the linear part has the slope of the square", "huber", COURSE + "huber_backward",
        "numpy.where(numpy.abs(x) < 1, x, numpy.sign(x))", "x", _rows("huber"), "missing factor",
        known="it is right where |x| < 1, and that is what the check says",
    ),
    mutant(
        "the length is taken for a constant", "normalize", COURSE + "unit_rows_backward",
        " - y * (upstream * y).sum(axis=1, keepdims=True)", "", _rows("unit_rows"), "missing term",
    ),
    mutant(
        "the mask of the hidden layer is forgotten", "two layers", COURSE + "two_layers_backward",
        "dhidden * (hidden > 0)", "dhidden", _rows("two_layers", normal(3, 5, seed=1), normal(5, 2, seed=2)), "missing factor",
        known="the hidden layer is neither an input nor an output",
    ),
    mutant(
        "the first layer's gradient goes through the second layer's weight untransposed", "two layers", COURSE + "two_layers_backward",
        "upstream @ w.T", "upstream @ w", _rows("two_layers", normal(3, 4, seed=1), normal(4, 4, seed=2)), "transposed",
    ),
    mutant(
        "the slope of each channel gets the sum over all channels", "prelu", COURSE + "prelu_backward",
        "below.sum(axis=(0, 2, 3))", "numpy.full(slope.shape, below.sum())", _images("prelu", numpy.array([0.1, 0.3, 0.2])), "summed over too much",
    ),
    mutant(
        "the slope's gradient is multiplied by the slope", "prelu", COURSE + "prelu_backward",
        "below.sum(axis=(0, 2, 3))", "slope * below.sum(axis=(0, 2, 3))", _images("prelu", numpy.array([0.1, 0.3, 0.2])), "missing factor",
    ),
    mutant(
        "of the four copies only the first hands its gradient back", "upsample", COURSE + "upsample_backward",
        ".sum(axis=(3, 5))", "[:, :, :, 0, :, 0]", _images("upsample"), "elements left out",
    ),
    mutant(
        "divided by the rows, not by the rows times the columns", "global average", COURSE + "global_average_backward",
        "(height * width)", "height", _images("global_average"), "missing scale",
    ),
    mutant(
        "momentum and its complement are exchanged", "moving average", COURSE + "moving_average_backward",
        "return momentum * upstream, (1 - momentum) * dx", "return (1 - momentum) * upstream, momentum * dx",
        lambda: call(PAIRS["moving_average"], normal(3), normal(4, 3)), "missing scale",
    ),
    mutant(
        "the signal is turned round in time", "conv1d", COURSE + "causal_backward",
        "upstream[:, lag:] * x[:, : x.shape[1] - lag]", "upstream[:, lag:] * x[:, ::-1][:, : x.shape[1] - lag]",
        lambda: call(PAIRS["causal"], normal(2, 6), normal(3)), "flipped",
    ),
    mutant(
        "forward's filter in place of its transpose: the past gets nothing from the future", "conv1d", COURSE + "causal_backward",
        "dx[:, : x.shape[1] - lag] += w[lag] * upstream[:, lag:]", "dx[:, lag:] += w[lag] * upstream[:, : x.shape[1] - lag]",
        lambda: call(PAIRS["causal"], normal(2, 6), normal(3)), "transposed",
    ),
    mutant(
        "the scale is 1 / p, not 1 / (1 - p)", "dropout", COURSE + "channel_dropout_backward",
        "/ (1 - p)", "/ p", _images("channel_dropout"), "missing scale",
    ),
    mutant(
        "the two halves are handed back in the other order", "cat", COURSE + "concatenate_backward",
        "return left, right", "return right, left", _rows("concatenate", normal(4, 3, seed=1)), "gradients swapped",
    ),
    mutant(
        "the sum runs forwards again", "cumsum", COURSE + "cumsum_backward",
        "upstream[:, ::-1].cumsum(axis=1)[:, ::-1]", "upstream.cumsum(axis=1)", _rows("cumsum"), "transposed",
    ),
    mutant(
        "what flows past the layer is forgotten", "residual", COURSE + "residual_backward",
        "d @ w.T + upstream", "d @ w.T", _rows("residual", normal(3, 3, seed=1)), "missing term",
    ),
]  # fmt: skip
