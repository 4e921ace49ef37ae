"""Pooling by its definition: one window after the other, one cell after the other, in float64."""

import itertools
import math
from collections.abc import Iterator

from minivgg.backend import Array
from minivgg.registry import algorithm
from minivgg.spec import Pool2dSpec


def _windows(spec: Pool2dSpec) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Each window's place (p, q) and its cells (h, w) inside the input, row by row."""
    for p, q in itertools.product(range(spec.p), range(spec.q)):
        rows = _inside(p * spec.stride[0] - spec.padding[0], spec.dilation[0], spec.kernel[0], spec.h)
        columns = _inside(q * spec.stride[1] - spec.padding[1], spec.dilation[1], spec.kernel[1], spec.w)
        yield p, q, [(h, w) for h in rows for w in columns]


def _inside(start: int, step: int, count: int, size: int) -> range:
    """Of the places start, start + step, ..., ``count`` of them, those in [0, size)."""
    return range(start, start + count * step, step)[max(0, -(start // step)) : max(0, -((start - size) // step))]


def _divisor(spec: Pool2dSpec, p: int, q: int, inside: int) -> int:
    """What the sum of a window is divided by: its cells within the input and, if they count, the padding on all four sides.

    A last window that ``ceil_mode`` added may reach beyond the padding; that part never counts.
    """
    if spec.divisor_override is not None:
        return spec.divisor_override
    if not spec.count_include_pad:
        return inside
    rows = min(p * spec.stride[0] + spec.kernel[0], spec.h + 2 * spec.padding[0]) - p * spec.stride[0]
    columns = min(q * spec.stride[1] + spec.kernel[1], spec.w + 2 * spec.padding[1]) - q * spec.stride[1]
    return rows * columns


@algorithm("max_pool2d", automatic=False)
def max_pool2d(spec: Pool2dSpec, x: Array, out: Array, numbers: Array | None) -> None:
    """The first of the largest cells; the last nan, if there is one."""
    for n, c in itertools.product(range(spec.n), range(spec.c)):
        for p, q, cells in _windows(spec):
            largest, where = -math.inf, cells[0]
            for cell in cells:
                value = float(x[n, c, cell[0], cell[1]])
                if value > largest or math.isnan(value):
                    largest, where = value, cell
            out[n, c, p, q] = largest
            if numbers is not None:
                r, s = ((where[i] + spec.padding[i] - (p, q)[i] * spec.stride[i]) // spec.dilation[i] for i in range(2))
                numbers[n, c, p, q] = r * spec.kernel[1] + s


@algorithm("max_pool2d_grad_input", automatic=False)
def max_pool2d_grad_input(spec: Pool2dSpec, grad: Array, numbers: Array, out: Array) -> None:
    """Each window's gradient is added to its largest cell."""
    for n, c in itertools.product(range(spec.n), range(spec.c)):
        total = [[0.0] * spec.w for _ in range(spec.h)]
        for p, q in itertools.product(range(spec.p), range(spec.q)):
            r, s = divmod(int(numbers[n, c, p, q]), spec.kernel[1])
            h, w = (place * spec.stride[i] + tap * spec.dilation[i] - spec.padding[i] for i, (place, tap) in enumerate(((p, r), (q, s))))
            total[h][w] += float(grad[n, c, p, q])
        for h, w in itertools.product(range(spec.h), range(spec.w)):
            out[n, c, h, w] = total[h][w]


@algorithm("avg_pool2d", automatic=False)
def avg_pool2d(spec: Pool2dSpec, x: Array, out: Array) -> None:
    """The sum of a window's cells over its divisor."""
    for n, c in itertools.product(range(spec.n), range(spec.c)):
        for p, q, cells in _windows(spec):
            out[n, c, p, q] = sum(float(x[n, c, h, w]) for h, w in cells) / _divisor(spec, p, q, len(cells))


@algorithm("avg_pool2d_grad_input", automatic=False)
def avg_pool2d_grad_input(spec: Pool2dSpec, grad: Array, out: Array) -> None:
    """Each window's gradient over its divisor is added to each of its cells."""
    for n, c in itertools.product(range(spec.n), range(spec.c)):
        total = [[0.0] * spec.w for _ in range(spec.h)]
        for p, q, cells in _windows(spec):
            for h, w in cells:
                total[h][w] += float(grad[n, c, p, q]) / _divisor(spec, p, q, len(cells))
        for h, w in itertools.product(range(spec.h), range(spec.w)):
            out[n, c, h, w] = total[h][w]
