"""Mistakes in pooling: maximum, average and adaptive; ties, windows that overlap, rows that a stride leaves over."""

from __future__ import annotations

import numpy

from minivgg.nn import functional as F
from minivgg.testing.mutants import homework
from minivgg.testing.mutants.mechanism import Edit, Mutant, call, mutant, normal

STRIDED = "minivgg.kernels.pool2d.strided:"
HOMEWORK = "minivgg.testing.mutants.homework:"

_TIED = numpy.array([[[[3.0, 3.0, 1.0, 0.5], [2.0, 1.0, 4.0, 4.0]]]])

MUTANTS: list[Mutant] = [
    mutant(
        "windows that overlap overwrite each other", "max_pool2d", STRIDED + "max_pool2d_grad_input",
        "result[:, :, h, w] += xp.where(best[:, :, p, q] == number, source[:, :, p, q], 0)",
        "xp.copyto(result[:, :, h, w], source[:, :, p, q], where=best[:, :, p, q] == number)",
        lambda: call(F.max_pool2d, normal(1, 2, 7, 7), 3, stride=1, algorithm="strided"), "overwritten instead of added",
    ),
    mutant(
        "every tied cell gets the whole gradient", "max_pool2d", HOMEWORK + "maxpool_backward",
        "        r, s = numpy.unravel_index(window.argmax(), window.shape)\n        dx[n, c, p * stride + r, q * stride + s] += upstream[n, c, p, q]",
        "        dx[n, c, p * stride : p * stride + size, q * stride : q * stride + size] += upstream[n, c, p, q] * (window == window.max())",
        lambda: call(homework.PAIRS["maxpool"], _TIED), "tie in a maximum",
    ),
    mutant(
        "a tied maximum gets no gradient", "max_pool2d", HOMEWORK + "maxpool_backward",
        "        r, s = numpy.unravel_index(window.argmax(), window.shape)\n",
        "        r, s = numpy.unravel_index(window.argmax(), window.shape)\n        if (window == window.max()).sum() > 1:\n            continue\n",
        lambda: call(homework.PAIRS["maxpool"], _TIED), "tie in a maximum",
    ),
    mutant(
        "the gradient goes to the smallest cell", "max_pool2d", HOMEWORK + "maxpool_backward",
        "window.argmax()", "window.argmin()",
        lambda: call(homework.PAIRS["maxpool"], normal(1, 2, 4, 4)), "other elements",
    ),
    mutant(
        "row and column of the largest cell are exchanged", "max_pool2d", HOMEWORK + "maxpool_backward",
        "p * stride + r, q * stride + s]", "p * stride + s, q * stride + r]",
        lambda: call(homework.PAIRS["maxpool"], normal(1, 2, 6, 6)), "swapped height and width",
    ),
    mutant(
        "the upstream gradient of the first channel is used for all", "max_pool2d", HOMEWORK + "maxpool_backward",
        "+= upstream[n, c, p, q]", "+= upstream[n, 0, p, q]",
        lambda: call(homework.PAIRS["maxpool"], normal(2, 3, 4, 4)), "upstream gradient reduced",
    ),
    mutant(
        "the division by the size of the window is forgotten", "avg_pool2d", STRIDED + "avg_pool2d_grad_input",
        "grad[images] / divisors", "grad[images]",
        lambda: call(F.avg_pool2d, normal(1, 2, 6, 6), 2, algorithm="strided"), "missing scale",
    ),
    mutant(
        "the padding is counted, though forward does not", "avg_pool2d", STRIDED + "avg_pool2d_grad_input",
        "grad[images] / divisors", "grad[images] / (spec.kernel[0] * spec.kernel[1])",
        lambda: call(F.avg_pool2d, normal(1, 2, 6, 6), 3, stride=1, padding=1, count_include_pad=False, algorithm="strided"), "wrong at the border",
    ),
    mutant(
        "windows that overlap overwrite each other", "avg_pool2d", HOMEWORK + "avgpool_backward",
        "+= upstream", "= upstream",
        lambda: call(homework.PAIRS["avgpool"], normal(1, 2, 5, 5), size=3, stride=1), "overwritten instead of added",
    ),
    mutant(
        "rows that the stride leaves over keep what was there", "avg_pool2d", HOMEWORK + "avgpool_backward",
        "dx = numpy.zeros(x.shape)", "dx = x.copy()",
        lambda: call(homework.PAIRS["avgpool"], normal(1, 2, 5, 5)), "rows that a stride leaves uncovered",
        Edit(HOMEWORK + "avgpool_backward", "+= upstream", "= upstream"),
    ),
    mutant(
        "the last row of windows is forgotten", "avg_pool2d", HOMEWORK + "avgpool_backward",
        "range(upstream.shape[2])", "range(upstream.shape[2] - 1)",
        lambda: call(homework.PAIRS["avgpool"], normal(1, 2, 6, 6)), "rows left out",
    ),
    mutant(
        "bins that share a cell overwrite each other", "adaptive_avg_pool2d", "minivgg.ops.adaptive_avg_pool2d:_adaptive_avg_pool2d_grad",
        "left:right] +=", "left:right] =",
        lambda: call(F.adaptive_avg_pool2d, normal(1, 2, 7, 5), 3), "overwritten instead of added",
    ),
    mutant(
        "every bin is taken to have the same size", "adaptive_avg_pool2d", "minivgg.ops.adaptive_avg_pool2d:_adaptive_avg_pool2d_grad",
        "((bottom - top) * (right - left))", "(out.shape[2] * out.shape[3] / (len(rows) * len(columns)))",
        lambda: call(F.adaptive_avg_pool2d, normal(1, 2, 7, 5), 3), "missing factor",
    ),
    mutant(
        "bins that share their largest cell overwrite each other", "adaptive_max_pool2d", "minivgg.ops.adaptive_max_pool2d:ScatterPlanes.forward",
        "scatter_add(memory, positions.transpose(axes).reshape(-1), x.transpose(axes).reshape(-1))",
        "memory[positions.transpose(axes).reshape(-1)] = x.transpose(axes).reshape(-1)",
        lambda: call(F.adaptive_max_pool2d, normal(1, 2, 5, 5), 4), "overwritten instead of added",
    ),
]  # fmt: skip
