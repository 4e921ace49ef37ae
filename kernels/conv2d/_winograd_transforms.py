"""Small constant matrices as straight-line vector code: Y = L X Lᵀ for a vector of channels at once.

The points of the transforms come in pairs ±p, so half of every matrix mirrors the other half; sums and differences of
mirrored inputs, or even and odd parts of mirrored outputs, are computed once and used twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
from llvmlite import ir

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


def _grid(v: Vectors, base: ir.Value, row: Any, column: Any, i: int, j: int) -> ir.Value:
    return v.at(base, v.builder.add(v.builder.mul(row, integer(i)), v.builder.mul(column, integer(j))))


def _both_sides(v: Vectors, matrix: numpy.ndarray, source: Any, row: Any, column: Any) -> list[list[Any]]:
    """``matrix · X · matrixᵀ`` of the grid of vectors at ``source``."""
    size, source = matrix.shape[1], v.at(source)
    half = [multiply(v, matrix, [v.load(_grid(v, source, row, column, i, j)) for i in range(size)]) for j in range(size)]
    return [multiply(v, matrix, [values[i] for values in half]) for i in range(matrix.shape[0])]


def sandwich(matrix: numpy.ndarray) -> Any:
    """An intrinsic that writes ``matrix · X · matrixᵀ`` for a grid X of vectors.

    ``f(zero, source, source_row, source_column, target, target_row, target_column)``: addresses, and steps in elements.
    """

    def transform(v: Vectors, source: Any, source_row: Any, source_column: Any, target: Any, target_row: Any, target_column: Any) -> None:
        target = v.at(target)
        for i, line in enumerate(_both_sides(v, matrix, source, source_row, source_column)):
            for j, value in enumerate(line):
                v.store(value, _grid(v, target, target_row, target_column, i, j))

    return emitter(transform)


def finished_sandwich(matrix: numpy.ndarray) -> Any:
    """The same plus the vector at ``bias``, and not below the one at ``floor`` (0 for ReLU, -inf for none)."""

    def transform(
        v: Vectors, source: Any, source_row: Any, source_column: Any, target: Any, target_row: Any, target_column: Any, bias: Any, floor: Any
    ) -> None:  # fmt: skip
        target, added, least = v.at(target), v.load(v.at(bias)), v.load(v.at(floor))
        for i, line in enumerate(_both_sides(v, matrix, source, source_row, source_column)):
            for j, value in enumerate(line):
                v.store(v.maximum(v.builder.fadd(value, added), least), _grid(v, target, target_row, target_column, i, j))

    return emitter(transform)


def pooled_sandwich(matrix: numpy.ndarray) -> Any:
    """The same, and of each 2x2 window the maximum alone; the numbers of the winning cells go to ``cells``, a byte each."""

    def transform(
        v: Vectors, source: Any, source_row: Any, source_column: Any, target: Any, target_row: Any, target_column: Any, bias: Any, floor: Any,
        cells: Any, cells_row: Any, cells_column: Any,
    ) -> None:  # fmt: skip
        target, added, least = v.at(target), v.load(v.at(bias)), v.load(v.at(floor))
        lines = _both_sides(v, matrix, source, source_row, source_column)
        finished = [[v.maximum(v.builder.fadd(value, added), least) for value in line] for line in lines]
        for i in range(0, len(finished), 2):
            for j in range(0, len(finished), 2):
                best, cell = v.window_maximum([finished[i + r][j + s] for r in range(2) for s in range(2)])
                v.store(best, _grid(v, target, target_row, target_column, i // 2, j // 2))
                v.store_bytes(cell, cells, v.builder.mul(cells_row, integer(i // 2)), v.builder.mul(cells_column, integer(j // 2)))

    return emitter(transform)
