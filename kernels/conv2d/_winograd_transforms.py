"""Small constant matrices as straight-line vector code: Y = L X Lᵀ for a vector of channels at once.

The points of the transforms come in pairs ±p, so half of every matrix mirrors the other half; sums and differences of
mirrored inputs, or even and odd parts of mirrored outputs, are computed once and used twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy
from llvmlite import ir

from minivgg.kernels.common.simd import INTEGER, Vectors, emitter, integer

OVERLAP = 2
"""Columns that neighbouring tiles of the input share: one less than a filter has."""


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


def _mirrored_rows(matrix: numpy.ndarray) -> list[list[int]]:
    """The rows, those that mirror each other together."""
    groups: list[list[int]] = []
    for i, row in enumerate(matrix):
        partner = next((group for group in groups if len(group) == 1 and _mirrored(matrix[group[0]], row)), None)
        if partner is None:
            groups.append([i])
        else:
            partner.append(i)
    return groups


def _places(v: Vectors, base: Any, table: Any, count: int) -> list[ir.Value]:
    """``count`` pointers: an address and the offsets in bytes of a table."""
    offsets = v.builder.inttoptr(table, INTEGER.as_pointer())
    return [v.at(v.builder.add(base, v.builder.load(v.builder.gep(offsets, [integer(i)])))) for i in range(count)]


def _both_sides(v: Vectors, matrix: numpy.ndarray, value: Callable[[int], Any]) -> list[list[Any]]:
    """``matrix · X · matrixᵀ`` of a grid of vectors, given by their numbers, which are asked for column by column."""
    size = matrix.shape[1]
    half = [multiply(v, matrix, [value(i * size + j) for i in range(size)]) for j in range(size)]
    return [multiply(v, matrix, [values[i] for values in half]) for i in range(matrix.shape[0])]


def _grid(v: Vectors, matrix: numpy.ndarray, source: Any, places: Any) -> Callable[[int], Any]:
    """The vectors that lie at ``places`` behind ``source``."""
    return [v.load(pointer) for pointer in _places(v, source, places, matrix.shape[1] ** 2)].__getitem__


def _products(v: Vectors, source: Any, step: Any, u: Any, depth: int) -> Callable[[int], Any]:
    """The vectors Σ_c V[ξ, c] · U[ξ, c] over ``depth`` channels: a tile's numbers lie ``step`` elements apart from point to point, U's in order."""

    def value(point: int) -> Any:
        total = None
        for c in range(depth):
            number = v.at(source, v.builder.mul(step, integer(point)), integer(c))
            factors = v.broadcast(v.builder.load(number)), v.load(v.at(u, integer((point * depth + c) * v.count)))
            total = v.builder.fmul(*factors) if total is None else v.fma(*factors, total)
        return total

    return value


def sandwich(matrix: numpy.ndarray) -> Any:
    """An intrinsic that writes ``matrix · X · matrixᵀ`` for a grid X of vectors.

    ``f(zero, source, places, target, row, column, ahead, following, stream)``: X lies at ``source`` + offsets, in bytes, whose table begins at
    ``places``, so that any of it may lie elsewhere, as zeros beyond a border do; the result lies ``row`` and ``column`` elements apart.
    Unless it is 0, the memory ``ahead`` elements behind the result is fetched, for a later result: n² stores beside the caches wait
    long. So is what lies ``following`` elements behind X, but for its first OVERLAP columns, which are the last of this X. ``stream``:
    the result is written past the cache.

    Rows of the result that mirror each other are computed together, and X is loaded again for the next two: with all of
    ``matrix · X`` at hand at once, half of it would have to be kept outside the registers.
    """

    def transform(v: Vectors, source: Any, places: Any, target: Any, row: Any, column: Any, ahead: Any, following: Any, stream: Any) -> None:
        builder, size, target = v.builder, matrix.shape[0], v.at(target)
        pointers = _places(v, source, places, matrix.shape[1] ** 2)
        at = [[v.at(target, builder.add(builder.mul(row, integer(i)), builder.mul(column, integer(j)))) for j in range(size)] for i in range(size)]
        for rows in _mirrored_rows(matrix):
            grid = [v.load(pointer) for pointer in pointers]
            half = [multiply(v, matrix[rows], grid[j :: matrix.shape[1]]) for j in range(matrix.shape[1])]
            values = [multiply(v, matrix, [column[number] for column in half]) for number in range(len(rows))]

            def write(store: Any, rows: list[int] = rows, values: list[list[Any]] = values) -> None:
                for i, line in zip(rows, values, strict=True):
                    for value, place in zip(line, at[i], strict=True):
                        store(value, place)

            v.store_by(stream, write)
        with builder.if_then(builder.icmp_signed("!=", ahead, integer(0))):
            for place in (place for line in at for place in line):
                v.prefetch(v.at(place, ahead), write=True)
        with builder.if_then(builder.icmp_signed("!=", following, integer(0))):
            for number, pointer in enumerate(pointers):
                if number % matrix.shape[1] >= OVERLAP:
                    v.prefetch(v.at(pointer, following))

    return emitter(transform)


def _finished(v: Vectors, matrix: numpy.ndarray, value: Callable[[int], Any], bias: Any, floor: Any) -> list[list[Any]]:
    """``matrix · X · matrixᵀ`` plus the vector at ``bias``, and not below the one at ``floor`` (0 for ReLU, -inf for none)."""
    added, least = v.load(v.at(bias)), v.load(v.at(floor))
    return [[v.maximum(v.builder.fadd(each, added), least) for each in line] for line in _both_sides(v, matrix, value)]


def _store_finished(v: Vectors, lines: list[list[Any]], target: Any, targets: Any, stream: Any) -> None:
    """At ``target`` + the offsets of a table. ``stream``: past the cache."""
    values = [value for line in lines for value in line]
    pointers = _places(v, target, targets, len(values))

    def write(store: Any) -> None:
        for value, pointer in zip(values, pointers, strict=True):
            store(value, pointer)

    v.store_by(stream, write)


def finished_sandwich(matrix: numpy.ndarray) -> Any:
    """The same, finished with bias and floor; what it writes lies at ``target`` + the offsets of a table, too. ``stream``: past the cache."""

    def transform(v: Vectors, source: Any, places: Any, bias: Any, floor: Any, target: Any, targets: Any, stream: Any) -> None:
        _store_finished(v, _finished(v, matrix, _grid(v, matrix, source, places), bias, floor), target, targets, stream)

    return emitter(transform)


def product_sandwich(matrix: numpy.ndarray, depth: int) -> Any:
    """The same with X = Σ_c V[ξ, c] · U[ξ, c] over so few channels that X is computed when it is asked for, and never lies in memory.

    ``f(zero, source, step, u, bias, floor, target, targets, stream)``: V begins at ``source``, its points lie ``step`` elements apart; U is (ξ, c, lanes).
    """

    def transform(v: Vectors, source: Any, step: Any, u: Any, bias: Any, floor: Any, target: Any, targets: Any, stream: Any) -> None:
        value = _products(v, v.at(source), step, v.at(u), depth)
        _store_finished(v, _finished(v, matrix, value, bias, floor), target, targets, stream)

    return emitter(transform)


def pooled_sandwich(matrix: numpy.ndarray) -> Any:
    """The same, and of each 2x2 window the maximum alone; the numbers of the winning cells, a byte each, go to a table of their own."""

    def transform(v: Vectors, source: Any, places: Any, bias: Any, floor: Any, target: Any, targets: Any, cells: Any, cell_places: Any) -> None:
        lines = _finished(v, matrix, _grid(v, matrix, source, places), bias, floor)
        corners = [(i, j) for i in range(0, len(lines), 2) for j in range(0, len(lines), 2)]
        pointers = zip(_places(v, target, targets, len(corners)), _places(v, cells, cell_places, len(corners)), strict=True)
        for (i, j), (place, cell_place) in zip(corners, pointers, strict=True):
            best, cell = v.window_maximum([lines[i + r][j + s] for r in range(2) for s in range(2)])
            v.store(best, place)
            v.store_bytes(cell, cell_place)

    return emitter(transform)
