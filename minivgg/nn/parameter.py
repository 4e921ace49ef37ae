"""Parameter: a tensor that a module owns and an optimiser changes."""

from __future__ import annotations

from typing import Any

from minivgg.autograd import Tensor
from minivgg.ops.promotion import as_tensor


class Parameter(Tensor):
    """A leaf that requires a gradient. Assigned to an attribute of a ``Module`` it is registered there by that name.

    ``data`` is a tensor or an array, whose memory is shared, or a (nested) list of numbers.

    >>> import minivgg
    >>> Parameter(minivgg.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(as_tensor(data).array.view(), requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
