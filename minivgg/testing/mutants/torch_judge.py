"""PyTorch's gradcheck as the second judge: any call as a function of PyTorch, whose backward is minivgg's, to both orders.

PyTorch is only imported here, where it is installed; nothing else needs it.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy

from minivgg.autograd import Tensor, enable_grad, grad
from minivgg.backend import FLOATING
from minivgg.nn.module import Module
from minivgg.random import default_generator
from minivgg.testing.mutants.mechanism import Call
from minivgg.testing.samples import tensors_of


def available() -> bool:
    """Whether PyTorch is installed."""
    return importlib.util.find_spec("torch") is not None


def catches(call: Call, order: int, fast: bool) -> bool:
    """Whether ``torch.autograd.gradcheck`` (or gradgradcheck), with its default tolerances, raises."""
    import torch

    made = _of_pair(call) if isinstance(call.function, tuple) else _of_tensors(call)
    function, inputs = made
    check = torch.autograd.gradcheck if order == 1 else torch.autograd.gradgradcheck
    torch.manual_seed(0)
    numpy.random.seed(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(function, inputs, fast_mode=fast)
    except Exception:
        return True
    return False


def _of_tensors(call: Call) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The call as a Function of PyTorch. Its tensors and minivgg's are the same memory, so a change in place is seen on both sides."""
    import torch

    values, function = call.inputs, call.function
    leaves: list[Tensor] = [value for value in values if isinstance(value, Tensor) and value.requires_grad]
    if isinstance(function, Module):
        leaves += function.parameters()
    apply = function.apply if hasattr(function, "apply") and not isinstance(function, Module) else function
    state = default_generator.get_state()

    def run(arrays: list[numpy.ndarray]) -> tuple[list[Tensor], list[Tensor]]:
        """Leaves on these arrays, and the floating outputs."""
        default_generator.set_state(state)
        if isinstance(function, Module):
            for leaf, array in zip(leaves, arrays, strict=True):
                leaf.array = array
            here, made = leaves, apply(*values)
        else:
            here = [Tensor(array, requires_grad=True) for array in arrays]
            given = iter(here)
            made = apply(*(next(given) if any(value is leaf for leaf in leaves) else value for value in values))
        return here, [out for out in tensors_of(made) if out.dtype in FLOATING]

    def to_torch(array: numpy.ndarray) -> Any:
        return torch.from_numpy(numpy.array(array))

    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            ctx.save_for_backward(*tensors)
            with enable_grad():
                ctx.leaves, ctx.outputs = run([tensor.detach().numpy() for tensor in tensors])
            return tuple(to_torch(out.array) for out in ctx.outputs)

        @staticmethod
        def backward(ctx, *upstream):
            if torch.is_grad_enabled():
                return Backward.apply(len(ctx.saved_tensors), *ctx.saved_tensors, *upstream)
            roots = [(out, Tensor(one.numpy())) for out, one in zip(ctx.outputs, upstream, strict=True) if out.requires_grad]
            found = grad([out for out, _ in roots], ctx.leaves, [one for _, one in roots], allow_unused=True, retain_graph=True)
            return tuple(None if one is None else to_torch(one.array) for one in found)

    class Backward(torch.autograd.Function):
        """The gradient as a function of the inputs and the upstream gradients; its backward is minivgg's second derivative."""

        @staticmethod
        def forward(ctx, count, *tensors):
            with enable_grad():
                here, outputs = run([tensor.detach().numpy() for tensor in tensors[:count]])
                upstream = [Tensor(tensor.detach().numpy(), requires_grad=True) for tensor in tensors[count:]]
                first = grad(outputs, here, upstream, create_graph=True, allow_unused=True)
            ctx.leaves = [*here, *upstream]
            ctx.outputs = [Tensor(numpy.zeros_like(leaf.array)) if one is None else one for leaf, one in zip(here, first, strict=True)]
            return tuple(to_torch(one.array) for one in ctx.outputs)

        @staticmethod
        def backward(ctx, *upstream):
            roots = [(out, Tensor(one.detach().numpy())) for out, one in zip(ctx.outputs, upstream, strict=True) if out.requires_grad]
            if not roots:
                return None, *(None for _ in ctx.leaves)
            found = grad([out for out, _ in roots], ctx.leaves, [one for _, one in roots], allow_unused=True, retain_graph=True)
            return None, *(None if one is None else to_torch(one.array) for one in found)

    return Forward.apply, tuple(to_torch(leaf.array).requires_grad_() for leaf in leaves)


def _of_pair(call: Call) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A pair of NumPy functions as a Function of PyTorch."""
    import torch

    forward, backward = call.function
    floating = [isinstance(value, numpy.ndarray) and value.dtype.kind == "f" for value in call.values]
    state = numpy.random.get_state()

    class Pair(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *tensors):
            given = iter(tensors)
            arrays = [next(given).detach().numpy() if wanted else value for value, wanted in zip(call.values, floating, strict=True)]
            numpy.random.set_state(state)
            result = forward(*arrays)
            out, ctx.rest = (result[0], result[1:]) if isinstance(result, tuple) else (result, arrays)
            return torch.from_numpy(numpy.array(out))

        @staticmethod
        def backward(ctx, upstream):
            arrived = backward(upstream.numpy(), *ctx.rest)
            arrived = arrived if isinstance(arrived, tuple) else (arrived,)
            return tuple(None if one is None else torch.from_numpy(numpy.array(one)) for one in arrived[: sum(floating)])

    return Pair.apply, tuple(torch.from_numpy(value.copy()).requires_grad_() for value, wanted in zip(call.values, floating, strict=True) if wanted)
