"""Filters packed into panels, as a matrix product reads them: the output channels of one register tile side by side."""

from __future__ import annotations

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import writable
from minivgg.kernels.common.simd import address, copy_vector, lanes, transpose_block
from minivgg.parallel import parallel


@compiled
def pack_panel(w, turned, ranks, depth, outputs, panel, vector, u):  # pragma: no cover compiled
    """u[group, panel, rank·depth + c, column]: output channel panel·columns + column of input channel c under the tap of that rank.

    ``ranks`` [R·S] has each tap's place in the column, or -1 for one that is not in it. The weights of an output channel lie
    one behind the other, so vectors of them, from as many channels as a vector has lanes, are turned over as a block.
    ``turned``: w's filters are the inputs, and its channels the outputs, as the input gradient needs them.
    """
    zero, size, taps = w.dtype.type(0), w.itemsize, ranks.size
    columns, line = u.shape[3], w.reshape(w.size)
    block = numpy.empty((vector, vector), w.dtype)
    inputs, length, step = (depth, taps, taps) if turned else (1, depth * taps, depth * taps)  # elements of a run, and from one output to the next
    for group in range(u.shape[0]):
        for first in range(inputs):
            for start in range(0, length, vector):
                for column in range(0, columns, vector):
                    k = panel * columns + column
                    source = (group * depth + first) * w.shape[1] * taps + k * step + start if turned else (group * outputs + k) * step + start
                    count = min(vector, length - start)
                    if k + vector <= outputs and source + (vector - 1) * step + vector <= line.size:
                        transpose_block(zero, address(w) + size * source, step, address(block))
                    else:
                        for j in range(count):
                            for i in range(vector):
                                block[j, i] = line[source + i * step + j] if k + i < outputs else zero
                    c, tap = first + start // taps, start % taps
                    for j in range(count):
                        if ranks[tap] >= 0:
                            target = address(u) + size * (((group * u.shape[1] + panel) * u.shape[2] + ranks[tap] * depth + c) * columns + column)
                            copy_vector(zero, address(block) + size * j * vector, target)
                        tap += 1
                        if tap == taps:
                            c, tap = c + 1, 0


def packed(w: numpy.ndarray, turned: bool, taps: numpy.ndarray, groups: int, columns: int) -> numpy.ndarray:
    """[G, panels, taps·C/g, columns] of the filters w (K, C/g, R, S) under ``taps`` [T, (r, s)], in this order; ``columns`` of whole vectors."""
    w = writable(numpy.ascontiguousarray(w))
    depth, outputs = (w.shape[0] // groups, w.shape[1]) if turned else (w.shape[1], w.shape[0] // groups)
    ranks = numpy.full(w.shape[2] * w.shape[3], -1)
    ranks[[r * w.shape[3] + s for r, s, *_ in taps.tolist()]] = range(len(taps))
    u = empty((groups, -(-outputs // columns), len(taps) * depth, columns), w.dtype)
    parallel(lambda panel: pack_panel(w, turned, ranks, depth, outputs, panel, lanes(w.dtype), u), u.shape[1])
    return u
