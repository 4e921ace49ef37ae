"""Which convolutions Winograd's tiles fit, on any device; and which are nothing but 3x3."""

from __future__ import annotations

import numpy

from minivgg.spec import Conv2dSpec

PAPER = "Lavin & Gray 2015, arXiv:1509.09308"

THIN = (1, 3)
"""Channels of grey and colour images: sums so short that F(4x4) computes them on a CPU on the way to its outputs."""


def unlike_3x3(spec: Conv2dSpec) -> str | None:
    """None, or what makes it another convolution than one by 3x3 filters at every place."""
    if (spec.r, spec.s) != (3, 3):
        return f"the filter must be 3x3, got {spec.r}x{spec.s}"
    if spec.stride != (1, 1):
        return f"stride must be 1, got {spec.stride[0]}x{spec.stride[1]}"
    if spec.dilation != (1, 1):
        return f"dilation must be 1, got {spec.dilation[0]}x{spec.dilation[1]}"
    if spec.groups != 1:
        return f"groups must be 1, got {spec.groups}"
    return None


def supports(spec: Conv2dSpec, dtype: numpy.dtype) -> str | None:
    """None, or why the tiles do not fit."""
    if max(spec.padding) > 2:
        return unlike_3x3(spec) or f"padding must be at most 2, got {max(spec.padding)}"
    return unlike_3x3(spec)
