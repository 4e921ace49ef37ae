"""Layers that change the shape alone: Flatten and ZeroPad2d."""

from __future__ import annotations

from typing import Any

from minivgg.autograd import Tensor
from minivgg.errors import ArgumentError
from minivgg.nn import functional as F
from minivgg.nn.module import Module


class Flatten(Module):
    """Joins dimensions into one; by default (N, C, H, W) becomes (N, C·H·W), index c·H·W + h·W + w."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class ZeroPad2d(Module):
    """Zeros around the last two dimensions: one width for all sides, or (left, right, top, bottom)."""

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 4:
            raise ArgumentError("ZeroPad2d", f"padding must be an int or (left, right, top, bottom), got {padding!r}")

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding)

    def extra_repr(self) -> str:
        return str(self.padding)
