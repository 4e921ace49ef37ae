"""Where windows lie, as tables: which cells they hold, and which windows hold a cell."""

import numpy

from minivgg.spec import Pool2dSpec


def windows(spec: Pool2dSpec) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Rows (P, 2) and columns (Q, 2) of the windows, begin and end; and what each sum is divided by, (P, Q).

    >>> rows, columns, divisors = windows(Pool2dSpec.parse("n1 c1 h4 w6 r3 s2 p1"))
    >>> rows.tolist(), divisors.tolist()
    ([[0, 2], [1, 4]], [[9.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    """
    tables, counts = [], []
    for size, outputs, kernel, stride, padding in zip((spec.h, spec.w), (spec.p, spec.q), spec.kernel, spec.stride, spec.padding, strict=True):
        begin = numpy.arange(outputs) * stride - padding
        low, high = (-padding, size + padding) if spec.count_include_pad else (0, size)
        counts.append(numpy.minimum(begin + kernel, high) - numpy.maximum(begin, low))
        tables.append(numpy.stack([numpy.maximum(begin, 0), numpy.minimum(begin + kernel, size)], axis=1))
    divisors = counts[0][:, None] * counts[1]
    if spec.divisor_override is not None:
        divisors = numpy.full_like(divisors, spec.divisor_override)
    return tables[0], tables[1], divisors.astype(float)


def windows_over(windows: numpy.ndarray, size: int) -> numpy.ndarray:
    """Of each of ``size`` cells, the first window over it and the one behind the last, (size, 2): windows go up in order.

    >>> windows_over(numpy.array([[0, 2], [1, 4]]), 5).tolist()
    [[0, 1], [0, 2], [1, 2], [1, 2], [2, 2]]
    """
    cells = numpy.arange(size)
    first, behind = numpy.searchsorted(windows[:, 1], cells, "right"), numpy.searchsorted(windows[:, 0], cells, "right")
    return numpy.stack([first, numpy.maximum(first, behind)], axis=1)


def places(spec: Pool2dSpec) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Where window (p, q) begins, as h·W + w, (P, Q); and how far from there each of its cells lies, by number.

    >>> begin, reach = places(Pool2dSpec.parse("n1 c1 h4 w6 r2"))
    >>> begin.tolist(), reach.tolist()
    ([[0, 2, 4], [12, 14, 16]], [0, 1, 6, 7])
    """
    begin, reach = [], []
    for outputs, kernel, stride, padding, dilation in zip((spec.p, spec.q), spec.kernel, spec.stride, spec.padding, spec.dilation, strict=True):
        begin.append(numpy.arange(outputs) * stride - padding)
        reach.append(numpy.arange(kernel) * dilation)
    return begin[0][:, None] * spec.w + begin[1], (reach[0][:, None] * spec.w + reach[1]).ravel()


def runs(columns: numpy.ndarray, divisors: numpy.ndarray) -> numpy.ndarray:
    """For each window of a row, how many from it on hold the same columns and have the same divisors, (Q,).

    >>> runs(numpy.array([[0, 1], [0, 1], [0, 1], [1, 2]]), numpy.ones((2, 4))).tolist()
    [3, 2, 1, 1]
    """
    same = (columns[1:] == columns[:-1]).all(1) & (divisors[:, 1:] == divisors[:, :-1]).all(0)
    ends = numpy.append(numpy.flatnonzero(~same), len(same))
    places = numpy.arange(len(columns))
    return ends[numpy.searchsorted(ends, places)] + 1 - places
