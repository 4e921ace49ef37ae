"""Output and input gradient of a convolution as one operation, for GPU kernels that compute both with the same lines:

    out[n, place(i, j), k] = Σ_uvc source[n, i·step + first + u·tap, j·step + first + v·tap, c] · filters[u, v, c, k]

The output gathers from the input, with the stride as its step. The input gradient gathers from the output's gradient: row h
meets tap r of row p where h = p·stride + r·dilation - padding. The rows of one phase, h = phase + stride·i, all meet the same
taps, at p = i + first + u·tap; so every phase is a gather by itself that multiplies no zeros. gather.cuh has the structs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minivgg.backend import Array
from minivgg.kernels.common.cuda import ceil_div, struct
from minivgg.spec import Conv2dSpec, Pair


@dataclass(frozen=True)
class Gather:
    """One of them: pairs are (rows, columns); place (i, j) of the result is element (i, j) · to_step + to_first of ``out``."""

    filters: Array
    """[G, taps_y, taps_x, depth, columns], a view."""
    places: Pair
    step: Pair
    first: Pair
    tap: Pair
    to_step: Pair = (1, 1)
    to_first: Pair = (0, 0)

    def grid(self, source: Array, splits: int = 1, wide: bool = False) -> Any:
        """The ``Grid`` of a source (N, H, W, channels)."""
        groups, taps_y, taps_x, depth, columns = self.filters.shape
        n, height, width, channels = source.shape
        return struct(
            images=n, height=height, width=width, channels=channels, places_y=self.places[0], places_x=self.places[1],
            step_y=self.step[0], step_x=self.step[1], first_y=self.first[0], first_x=self.first[1],
            taps_y=taps_y, taps_x=taps_x, tap_y=self.tap[0], tap_x=self.tap[1],
            depth=depth, columns=columns, groups=groups, splits=splits, wide=wide,
        )  # fmt: skip

    def target(self, out: Array) -> Any:
        """The ``Target`` in an ``out`` (N, height, width, channels)."""
        height, width = out.shape[1:3]
        return struct(
            height=height, width=width, step_y=self.to_step[0], step_x=self.to_step[1], first_y=self.to_first[0], first_x=self.to_first[1]
        )  # fmt: skip


def by_group(spec: Conv2dSpec, w: Array) -> Array:
    """[G, K/G, C/G, R, S], a view where the filters lie in C order."""
    return w.reshape(spec.groups, spec.k // spec.groups, spec.c // spec.groups, spec.r, spec.s)


def of_output(spec: Conv2dSpec, w: Array) -> Gather:
    top, _, left, _ = spec.padding
    return Gather(by_group(spec, w).transpose(0, 3, 4, 2, 1), (spec.p, spec.q), spec.stride, (-top, -left), spec.dilation)


def of_input_gradient(spec: Conv2dSpec, w: Array) -> Iterator[Gather]:
    """One for each phase of the stride; some phases meet no tap, and their gradient is 0."""
    w = by_group(spec, w).transpose(0, 3, 4, 1, 2)
    (stride_y, stride_x), (top, _, left, _) = spec.stride, spec.padding
    for phase_y in range(min(stride_y, spec.h)):
        rows, first_y, tap_y = meeting(phase_y, spec.r, stride_y, top, spec.dilation[0])
        for phase_x in range(min(stride_x, spec.w)):
            columns, first_x, tap_x = meeting(phase_x, spec.s, stride_x, left, spec.dilation[1])
            places = ceil_div(spec.h - phase_y, stride_y), ceil_div(spec.w - phase_x, stride_x)
            yield Gather(w[:, rows, columns], places, (1, 1), (first_y, first_x), (tap_y, tap_x), spec.stride, (phase_y, phase_x))


def meeting(phase: int, taps: int, stride: int, padding: int, dilation: int) -> tuple[slice, int, int]:
    """The taps r that meet rows h = phase + stride·i of the input, the row p of the first one for i = 0, and how far on the next one's is.

    h = p·stride + r·dilation - padding, so every (stride / gcd)-th tap does, if any.

    >>> meeting(1, taps=3, stride=2, padding=1, dilation=1)  # rows 1, 3, 5, ...: taps 0 and 2
    (slice(0, 3, 2), 1, -1)
    """
    step = stride // math.gcd(stride, dilation)
    first = next((r for r in range(min(step, taps)) if (phase + padding - r * dilation) % stride == 0), None)
    if first is None:
        return slice(0, 0), 0, 0
    return slice(first, taps, step), (phase + padding - first * dilation) // stride, -step * dilation // stride
