"""Rows of scores: what softmax and cross entropy share.

A maximum and a sum are LANES of them side by side, because their order is fixed and one after the other would take the
latency of an addition each.
"""

from minivgg.kernels.common.jit import compiled

LANES = 32
ITEM = 1 << 17
"""Elements of a work item."""


@compiled
def largest(row, some):  # pragma: no cover compiled
    """The largest element; ``some`` is scratch memory for LANES of them."""
    whole = row.size // LANES * LANES
    some[:] = row[0]
    for j in range(0, whole, LANES):
        for lane in range(LANES):
            value = row[j + lane]
            some[lane] = some[lane] if value <= some[lane] else value  # nan wins, and stays unless a number follows
    top = row[0]
    for lane in range(LANES):
        top = top if some[lane] <= top else some[lane]
    for j in range(whole, row.size):
        top = top if row[j] <= top else row[j]
    return top


@compiled
def sum_of(row, some):  # pragma: no cover compiled
    """The sum of the elements; ``some`` is scratch memory for LANES of them."""
    whole = row.size // LANES * LANES
    some[:] = 0
    for j in range(0, whole, LANES):
        for lane in range(LANES):
            some[lane] += row[j + lane]
    total = some.sum()
    for j in range(whole, row.size):
        total += row[j]
    return total
