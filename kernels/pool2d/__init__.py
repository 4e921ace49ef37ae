"""Pooling: the largest or the average cell of each window. One file an algorithm; here is what "auto" does.

``max_pool2d``             ``run(spec, x, out, indices)``: indices h·W + w of the largest cells, or None if nobody asks
``avg_pool2d``             ``run(spec, x, out)``
``avg_pool2d_grad_input``  ``run(spec, grad, out)``: its transpose; that of max pooling needs no windows, only the indices
"""

import numpy

from minivgg.registry import policy
from minivgg.spec import Pool2dSpec


def _choose(spec: Pool2dSpec, dtype: numpy.dtype) -> list[tuple[str, str]]:
    return [("strided", "a few whole-array passes for each cell of the window")]


for _operation in ("max_pool2d", "avg_pool2d", "avg_pool2d_grad_input"):
    policy(_operation)(_choose)
