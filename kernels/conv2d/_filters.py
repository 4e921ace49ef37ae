"""Filters packed into panels, as a matrix product reads them: the output channels of one register tile side by side."""

from __future__ import annotations

import numpy

from minivgg.backend import empty
from minivgg.kernels.common.jit import compiled
from minivgg.kernels.common.layout import writable
from minivgg.kernels.common.simd import tile_columns
from minivgg.kernels.common.threads import parallel

TOGETHER = 16
"""Input channels whose weights are read together: they lie in one run of memory, and what is written stays in the first cache."""


@compiled
def pack_panel(w, turned, taps, together, panel, u):  # pragma: no cover compiled
    """u[group, panel, tap·C/g + c, column]: output channel panel·columns + column under tap (r, s) = taps[tap]; zeros beyond the outputs.

    ``turned``: w's filters are the inputs, and its channels the outputs, as the input gradient needs them.
    """
    zero, columns = w.dtype.type(0), u.shape[3]
    depth = w.shape[0] // u.shape[0] if turned else w.shape[1]
    outputs = w.shape[1] if turned else w.shape[0] // u.shape[0]
    for group in range(u.shape[0]):
        for first in range(0, depth, together):
            for column in range(columns):
                k = panel * columns + column
                for c in range(first, min(first + together, depth)):
                    for tap in range(taps.shape[0]):
                        r, s = taps[tap, 0], taps[tap, 1]
                        if k >= outputs:
                            u[group, panel, tap * depth + c, column] = zero
                        elif turned:
                            u[group, panel, tap * depth + c, column] = w[group * depth + c, k, r, s]
                        else:
                            u[group, panel, tap * depth + c, column] = w[group * outputs + k, c, r, s]


def packed(w: numpy.ndarray, turned: bool, taps: numpy.ndarray, groups: int) -> numpy.ndarray:
    """[G, panels, taps·C/g, columns] of the filters w (K, C/g, R, S) under ``taps`` [T, (r, s, ...)], in this order."""
    w = writable(numpy.ascontiguousarray(w))
    depth, outputs = (w.shape[0] // groups, w.shape[1]) if turned else (w.shape[1], w.shape[0] // groups)
    columns = tile_columns(w.dtype)
    u = empty((groups, -(-outputs // columns), len(taps) * depth, columns), w.dtype)
    parallel(lambda panel: pack_panel(w, turned, taps, 1 if turned else TOGETHER, panel, u), u.shape[1])
    return u
