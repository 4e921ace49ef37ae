"""A call made by minivgg, and by PyTorch: outputs and gradients as arrays, or the exception."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy
import torch

import minivgg
from fuzz.example import Example, family_of, replaced
from minivgg.registry import OPERATIONS

Results = tuple[list[numpy.ndarray], list[numpy.ndarray | None]]
"""Outputs, and a gradient for each floating argument."""

MANY = 1 << 22
"""Elements; of larger results, which only expand gives, no copy is made and no gradient taken."""

MOVED = {"batch_norm": (1, 2)}
"""Arguments that a call may change, and that nobody differentiates by: the running mean and variance. What they become is an output."""


def ours(example: Example) -> Results | Exception:
    """What minivgg makes of the call, on the example's own memory where it takes it."""
    moved = [value for i, value in enumerate(example.args) if i in MOVED.get(example.operation, ()) and isinstance(value, numpy.ndarray)]
    before = [array.copy() for array in moved]
    with _forced(example):
        result = _run(OPERATIONS[example.operation].function, example, _tensor, minivgg.autograd.grad)
    for array, kept in zip(moved, before, strict=True):
        if array.flags.writeable:
            array[...] = kept
    return result


def theirs(example: Example) -> Results | Exception:
    """What PyTorch makes of it, on copies in C order: of a filter in other memory its weight gradient can be wrong."""
    named = OPERATIONS[example.operation].torch
    call = COMPOSED.get(example.operation) or functools.reduce(getattr, str(named).split("."), torch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(call, example, lambda array: torch.tensor(numpy.array(array, array.dtype.newbyteorder("="), order="C")), torch.autograd.grad)


def _conv2d_relu(*args: Any, pool: Any = False, **options: Any) -> Any:
    if not isinstance(pool, bool):
        raise TypeError("pool must be a bool")
    out = torch.relu(torch.nn.functional.conv2d(*args, **options))
    return torch.nn.functional.max_pool2d(out, 2) if pool else out


def _checked_gradient(name: str) -> Any:
    """torch.nn.grad hands sizes on unchecked, and some end the process: they are those that the convolution itself does not take."""

    def call(first: Any, second: Any, grad: Any, *args: Any, **options: Any) -> Any:
        shapes = [tuple(getattr(value, "shape", value)) for value in (first, second)]
        image, weight = (torch.empty(of, dtype=grad.dtype, device="meta") for of in shapes)
        out = torch.nn.functional.conv2d(image, weight, None, *args, **options)
        if out.shape != grad.shape or image.ndim != 4:
            raise ValueError(f"the convolution of {shapes} gives {tuple(out.shape)}, not {tuple(grad.shape)}")
        if min(*image.shape[1:], *weight.shape) < 1:
            raise ValueError(f"no channels, rows or columns in {shapes}")
        return getattr(torch.nn.grad, name)(first, second, grad, *args, **options)

    return call


COMPOSED: dict[str, Any] = {
    "conv2d_relu": _conv2d_relu,
    "conv2d_grad_input": _checked_gradient("conv2d_input"),
    "conv2d_grad_weight": _checked_gradient("conv2d_weight"),
}
"""What PyTorch has no name for, or what must be checked before it is asked."""


@contextlib.contextmanager
def _forced(example: Example) -> Iterator[None]:
    choice = minivgg.use_algorithm(**{family_of(example.operation): example.algorithm}) if example.algorithm else contextlib.nullcontext()
    with choice, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        yield


def _tensor(array: numpy.ndarray) -> minivgg.Tensor:
    return minivgg.from_numpy(array) if array.dtype.isnative else minivgg.tensor(array)


def _run(call: Any, example: Example, tensor: Any, grad: Any) -> Results | Exception:
    leaves: list[Any] = []
    moved: list[Any] = []

    def made(array: numpy.ndarray, to: list[Any]) -> Any:
        to.append(tensor(array))
        return to[-1]

    try:
        places = MOVED.get(example.operation, ())
        args = tuple(replaced(value, lambda array, to=moved if i in places else leaves: made(array, to)) for i, value in enumerate(example.args))
        leaves = [leaf for leaf in leaves if leaf.detach().numpy().dtype.kind == "f"]
        options = {name: replaced(value, tensor) for name, value in example.options.items()}
        for leaf in leaves:
            leaf.requires_grad = True
        result = call(*args, **options)
        outputs = [out for out in (result if isinstance(result, tuple | list) else [result]) if hasattr(out, "detach")]
        roots = [out for out in outputs if out.requires_grad and math.prod(out.shape) <= MANY]
        gradients = []
        if roots:
            rng = numpy.random.default_rng(example.seed)
            upstream = [tensor(numpy.asarray(rng.standard_normal(tuple(out.shape)), str(out.dtype).replace("torch.", ""))) for out in roots]
            gradients = grad(roots, leaves, upstream, allow_unused=True)
        return [_kept(out) for out in (*outputs, *moved)], [None if one is None else _kept(one) for one in gradients]
    except Exception as error:
        return error


def _kept(result: Any) -> numpy.ndarray:
    array = numpy.asarray(result.detach().numpy())
    return numpy.array(array) if array.size <= MANY else array
