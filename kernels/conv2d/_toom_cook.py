"""The matrices of Winograd's minimal filtering F(m, r), as data that proves itself when it is built.

m outputs of an r-tap filter need n = m + r - 1 multiplications instead of m·r:

    y = Aᵀ [(G g) ⊙ (Bᵀ d)]        d: n inputs, g: r taps, y: m outputs, ⊙ elementwise

The construction is Toom's and Cook's: a convolution is a product of polynomials, and a polynomial is known from its
values at n points. Which points is a matter of rounding errors alone: 0, ±5/8, ±3/2, ∞ lose half as much as the
textbook's 0, ±1, ±2, ∞ (measured: ``python -m minivgg bench --layer conv3_2 --algorithms winograd_f4``).

Sources: Winograd 1980, Arithmetic Complexity of Computations; Lavin & Gray 2015, arXiv:1509.09308.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

import numpy

Matrix = tuple[tuple[Fraction, ...], ...]


def _product(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of Π (x - root), the constant one first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        coefficients = [high - root * low for high, low in zip(shifted, [*coefficients, Fraction(0)], strict=True)]
    return coefficients


@dataclass(frozen=True)
class MinimalFilter:
    """F(outputs, taps) at the given finite points and infinity. Building one checks the identity in exact fractions.

    >>> MinimalFilter(2, 3, (0, 1, -1)).multiplications
    4
    """

    outputs: int
    taps: int
    points: tuple[Fraction | int, ...]
    at: Matrix = field(init=False)
    g: Matrix = field(init=False)
    bt: Matrix = field(init=False)

    def __post_init__(self) -> None:
        points = [Fraction(p) for p in self.points]
        n = self.multiplications
        if len(set(points)) != n - 1:
            raise ValueError(f"F({self.outputs}, {self.taps}) needs {n - 1} different finite points, got {self.points}")
        infinite = [Fraction(0)] * n
        at = [[p**i for p in points] + [Fraction(int(i == self.outputs - 1))] for i in range(self.outputs)]
        g = [[p**k / prod(p - o for o in points if o != p) for k in range(self.taps)] for p in points]
        g.append([Fraction(int(k == self.taps - 1)) for k in range(self.taps)])
        bt = [(_product([o for o in points if o != p]) + infinite)[:n] for p in points] + [_product(points)]
        for name, matrix in (("at", at), ("g", g), ("bt", bt)):
            object.__setattr__(self, name, tuple(map(tuple, matrix)))
        for i in range(self.outputs):
            for k in range(self.taps):
                for j in range(n):
                    weight = sum(self.at[i][x] * self.g[x][k] * self.bt[x][j] for x in range(n))
                    if weight != int(j == i + k):
                        raise AssertionError(f"F({self.outputs}, {self.taps}): output {i} takes {weight} of tap {k} · input {j}")

    @property
    def multiplications(self) -> int:
        """n = outputs + taps - 1, in one dimension; its square in two."""
        return self.outputs + self.taps - 1

    def arrays(self) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """Aᵀ (m x n), G (n x r), Bᵀ (n x n) in float64."""
        at, g, bt = (numpy.array(matrix, dtype="float64") for matrix in (self.at, self.g, self.bt))
        return at, g, bt


F2_POINTS = (0, 1, -1)
F4_POINTS = (0, Fraction(5, 8), Fraction(-5, 8), Fraction(3, 2), Fraction(-3, 2))
