"""Conv2d: the layer that owns the weight and bias of ``functional.conv2d``."""

from __future__ import annotations

import math
from typing import Any

from minivgg.autograd import Tensor
from minivgg.creation import empty
from minivgg.errors import ArgumentError
from minivgg.nn import functional as F
from minivgg.nn import init
from minivgg.nn.module import Module
from minivgg.nn.parameter import Parameter
from minivgg.ops.arguments import check_flags, read_int
from minivgg.spec import pair


class Conv2d(Module):
    """(N, C, H, W) to (N, K, P, Q); weight (K, C/groups, R, S), bias (K,) or None. See ``functional.conv2d``.

    ``padding`` is an int, a pair, ``"same"`` or ``"valid"``. Weight and bias start uniform over ±1/√fan-in.

    >>> import minivgg
    >>> layer = Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
    >>> layer, layer.weight.shape
    (Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)), (8, 3, 3, 3))
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
        groups: int = 1, bias: bool = True, *, device: Any = None, dtype: Any = "float32",
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups}
        in_channels, out_channels, groups = (read_int("Conv2d", name, value) for name, value in sizes.items())
        check_flags("Conv2d", bias=bias)
        if groups < 1 or in_channels < 1 or out_channels < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError("Conv2d", f"groups must divide both numbers of channels, got {in_channels} in, {out_channels} out, groups {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.dilation = pair("Conv2d", "dilation", dilation, 1)
        if padding == "same" and self.stride != (1, 1):
            raise ArgumentError("Conv2d", f"padding='same' needs stride 1, got {stride}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError("Conv2d", f"padding must be an int, a pair, 'same' or 'valid', got {padding!r}")
        self.padding = padding if isinstance(padding, str) else pair("Conv2d", "padding", padding, 0)
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))  # a gain of √(1/3), so that the bound is 1/√fan-in
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, usual in (("padding", (0, 0)), ("dilation", (1, 1)), ("groups", 1)):
            value = getattr(self, name)
            if value != usual:
                text += f", {name}={value}"
        return text + (", bias=False" if self.bias is None else "")
