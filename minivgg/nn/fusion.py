"""Neighbours in a ``Sequential`` that are computed together: Conv2d or BatchNorm2d, ReLU, and MaxPool2d(2) behind them.

Nothing else changes: a module with a hook, a subclass, or one whose ``forward`` was replaced is called like any other, and
the gradients are those of the separate layers. Anomaly detection, which wants to name a layer, sees the separate layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from minivgg.autograd import Tensor, is_anomaly_enabled
from minivgg.nn.activation import ReLU
from minivgg.nn.convolution import Conv2d
from minivgg.nn.module import Module
from minivgg.nn.normalization import BatchNorm2d
from minivgg.nn.pooling import MaxPool2d
from minivgg.ops.batch_norm_relu import batch_norm_relu
from minivgg.ops.conv2d_relu import conv2d_relu

Step = Callable[[Any], Any]


def steps(modules: Sequence[Module]) -> Iterator[Step]:
    """What to call one after the other: modules, or functions that stand for two or three of them."""
    i = 0
    while i < len(modules):
        module, *following = modules[i : i + 3]
        if is_anomaly_enabled() or not (following and _is_plain(following[0], ReLU) and (_is_plain(module, Conv2d) or _is_plain(module, BatchNorm2d))):
            yield module
            i += 1
            continue
        pool = len(following) > 1 and _is_plain(following[1], MaxPool2d) and _halves(following[1])
        yield partial(_together, module, pool, modules[i : i + 2 + pool])
        i += 2 + pool


def _is_plain(module: Module, kind: type[Module]) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    return type(module) is kind and not hooked and "forward" not in vars(module)


def _halves(pool: Any) -> bool:
    sizes = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.return_indices)
    return all(size in (plain, (plain, plain)) for size, plain in zip(sizes, (2, 2, 0, 1, False), strict=True)) and not pool.ceil_mode


def _together(first: Any, pool: bool, modules: Sequence[Module], input: Any) -> Any:
    if not isinstance(input, Tensor) or (isinstance(first, BatchNorm2d) and input.ndim != 4):  # the module itself has the right words for that
        for module in modules:
            input = module(input)
        return input
    if isinstance(first, BatchNorm2d):
        return first.normalise(batch_norm_relu, input, pool=pool)
    return conv2d_relu(input, first.weight, first.bias, first.stride, first.padding, first.dilation, first.groups, pool=pool)
