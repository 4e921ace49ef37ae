"""Small constant matrices as straight-line vector code: Y = L X Lᵀ for a vector of channels at once.

The points of the transforms come in pairs ±p, so half of every matrix mirrors the other half; sums and differences of
mirrored inputs, or even and odd parts of mirrored outputs, are computed once and used twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from minivgg.kernels.common.simd import Vectors, emitter, integer


def _mirrored(a: numpy.ndarray, b: numpy.ndarray) -> bool:
    return numpy.array_equal(abs(a), abs(b)) and not numpy.array_equal(a, b)


def _combine(v: Vectors, weights: Sequence[float], terms: Sequence[Any]) -> Any:
    """Σ weight · term: additions where the weight is ±1, fused multiply-adds elsewhere, nothing where it is 0."""
    total = None
    for weight, term in sorted(zip(weights, terms, strict=True), key=lambda pair: pair[0] != 1):
        if weight == 0:
            continue
        if total is None:
            total = term if weight == 1 else v.builder.fmul(v.constant(weight), term)
        elif abs(weight) == 1:
            total = v.builder.fadd(total, term) if weight == 1 else v.builder.fsub(total, term)
        else:
            total = v.fma(v.constant(weight), term, total)
    return total


def multiply(v: Vectors, matrix: numpy.ndarray, xs: Sequence[Any]) -> list[Any]:
    """The vectors ``matrix @ xs``."""
    rows, columns = matrix.shape
    terms, weights, paired = [], [], set()
    for j in range(columns):
        if j in paired:
            continue
        k = next((k for k in range(j + 1, columns) if k not in paired and _mirrored(matrix[:, j], matrix[:, k])), None)
        if k is None:
            terms.append(xs[j])
            weights.append(matrix[:, j])
        else:
            paired.add(k)
            same = matrix[:, j] == matrix[:, k]
            terms += [v.builder.fadd(xs[j], xs[k]), v.builder.fsub(xs[j], xs[k])]
            weights += [numpy.where(same, matrix[:, j], 0), numpy.where(same, 0, matrix[:, j])]
    table = numpy.array(weights).T
    results: list[Any] = [None] * rows
    for i in range(rows):
        if results[i] is not None:
            continue
        k = next((k for k in range(i + 1, rows) if results[k] is None and _mirrored(table[i], table[k])), None)
        if k is None:
            results[i] = _combine(v, table[i], terms)
        else:
            even, odd = _combine(v, (table[i] + table[k]) / 2, terms), _combine(v, (table[i] - table[k]) / 2, terms)
            results[i], results[k] = v.builder.fadd(even, odd), v.builder.fsub(even, odd)
    return results


def sandwich(matrix: numpy.ndarray, bias: bool = False) -> Any:
    """An intrinsic that writes ``matrix · X · matrixᵀ`` for a grid X of vectors; with ``bias``, plus a vector.

    ``f(zero, source, source_row, source_column, target, target_row, target_column[, bias])``: addresses, and steps in elements.
    """
    rows, columns = matrix.shape

    def transform(v: Vectors, source: Any, s_row: Any, s_column: Any, target: Any, t_row: Any, t_column: Any, added: Any) -> None:
        def place(base: Any, row: Any, i: int, column: Any, j: int) -> Any:
            return v.at(base, v.builder.add(v.builder.mul(row, integer(i)), v.builder.mul(column, integer(j))))

        source, target = v.at(source), v.at(target)
        half = [multiply(v, matrix, [v.load(place(source, s_row, i, s_column, j)) for i in range(columns)]) for j in range(columns)]
        for i in range(rows):
            for j, value in enumerate(multiply(v, matrix, [column[i] for column in half])):
                v.store(value if added is None else v.builder.fadd(value, added), place(target, t_row, i, t_column, j))

    def plain(v: Vectors, source: Any, source_row: Any, source_column: Any, target: Any, target_row: Any, target_column: Any) -> None:
        transform(v, source, source_row, source_column, target, target_row, target_column, None)

    def biased(v: Vectors, source: Any, source_row: Any, source_column: Any, target: Any, target_row: Any, target_column: Any, bias: Any) -> None:
        transform(v, source, source_row, source_column, target, target_row, target_column, v.load(v.at(bias)))

    return emitter(biased if bias else plain)
