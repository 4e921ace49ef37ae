"""Pooling: the largest or the average cell of each window. One file an algorithm; here is what "auto" does.

``max_pool2d``             ``run(spec, x, out, numbers)``: number r·S + s, within its window, of each largest cell; None if nobody asks
``max_pool2d_grad_input``  ``run(spec, grad, numbers, out)``: its transpose, each gradient to the cell that it came from
``avg_pool2d``             ``run(spec, x, out)``
``avg_pool2d_grad_input``  ``run(spec, grad, out)``: its transpose
"""

import numpy

from minivgg.registry import policy
from minivgg.spec import Pool2dSpec

SMALL = 1 << 12
"""Input elements up to which a compiled kernel is not worth being loaded."""


def _choose(spec: Pool2dSpec, dtype: numpy.dtype) -> list[tuple[str, str]]:
    order = [
        ("direct", "compiled: one pass over the input and one over the output"),
        ("strided", "a few whole-array passes for each cell of the window"),
    ]
    return order if spec.n * spec.c * spec.h * spec.w > SMALL else order[::-1]


for _operation in ("max_pool2d", "max_pool2d_grad_input", "avg_pool2d", "avg_pool2d_grad_input"):
    policy(_operation)(_choose)
    policy(_operation, "cuda")(
        lambda spec, dtype: [
            ("direct", "CUDA C++: one pass over the input and one over the output"),
            ("strided", "a few whole-array passes for each cell of the window"),
        ]
    )
