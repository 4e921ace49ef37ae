"""Linear: the layer that owns the weight and bias of ``functional.linear``; Identity: the layer that does nothing."""

from __future__ import annotations

import math
from typing import Any

from minivgg.autograd import Tensor
from minivgg.creation import empty
from minivgg.nn import functional as F
from minivgg.nn import init
from minivgg.nn.module import Module
from minivgg.nn.parameter import Parameter
from minivgg.ops.arguments import check_flags, read_int


class Linear(Module):
    """(..., in_features) to (..., out_features): x·weightᵀ + bias; weight (out, in), bias (out,) or None.

    Both start uniform over ±1/√in_features.

    >>> import minivgg
    >>> Linear(4, 2)(minivgg.ones(3, 4)).shape
    (3, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, *, device: Any = None, dtype: Any = "float32") -> None:
        super().__init__()
        self.in_features, self.out_features = read_int("Linear", "in_features", in_features), read_int("Linear", "out_features", out_features)
        check_flags("Linear", bias=bias)
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # a gain of √(1/3), so that the bound is 1/√fan-in
        if self.bias is not None:
            bound = 1 / math.sqrt(max(self.in_features, 1))
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Hands on its input; takes any arguments, so that it can stand in for any layer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
