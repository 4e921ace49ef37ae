"""Cross entropy by its definition, one row at a time in float64, with exact sums."""

import math
from typing import Any

from minivgg.backend import Array
from minivgg.kernels.common.sums import exact_sum
from minivgg.registry import algorithm


def _row(spec: Any, x: Array, target: int) -> tuple[list[float], list[float]]:
    """The scores less the largest, and q."""
    row, classes = [float(value) for value in x], spec.shape[1]
    rest = spec.label_smoothing / classes
    return [value - max(row) for value in row], [rest + (1 - spec.label_smoothing) * (c == target) for c in range(classes)]


@algorithm("cross_entropy", automatic=False, exact=False)
def cross_entropy(spec: Any, x: Array, target: Array, losses: Array, tops: Array, logs: Array) -> None:
    for i in range(spec.shape[0]):
        row, q = _row(spec, x[i], target[i])
        tops[i], logs[i] = x[i].max(), math.log(exact_sum(map(math.exp, row)))
        shares = [(share, value) for share, value in zip(q, row, strict=True) if share]  # of a class without a share, no score matters: 0 · inf
        losses[i] = 0 if target[i] < 0 else exact_sum(share * (float(logs[i]) - value) for share, value in shares)


@algorithm("cross_entropy_grad", automatic=False, exact=False)
def cross_entropy_grad(spec: Any, x: Array, target: Array, tops: Array, logs: Array, scale: Array, dx: Array) -> None:
    for i in range(spec.shape[0]):
        row, q = _row(spec, x[i], target[i])
        total = exact_sum(map(math.exp, row))
        dx[i] = [0 if target[i] < 0 else (math.exp(value) / total - share) * scale[i] for share, value in zip(q, row, strict=True)]
