"""A call made by minivgg, and by PyTorch: outputs and gradients as arrays, or the exception."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy
import torch

import minivgg
from fuzz.beside import BESIDE, MADE
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
        result = _run(_ours(example.operation), example, _tensor, minivgg.autograd.grad)
    for array, kept in zip(moved, before, strict=True):
        if array.flags.writeable:
            array[...] = kept
    return result


def theirs(example: Example) -> Results | Exception:
    """What PyTorch makes of it, on copies in C order: of a filter in other memory its weight gradient can be wrong."""
    options = {name: _dtype(value) if name == "dtype" else value for name, value in example.options.items()}
    example = dataclasses.replace(example, options=options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(
            _theirs(example.operation), example, lambda array: torch.tensor(numpy.array(array, array.dtype.newbyteorder("="), order="C")), torch.autograd.grad
        )


def _ours(name: str) -> Any:
    return BESIDE[name](minivgg) if name in BESIDE else OPERATIONS[name].function


def _theirs(name: str) -> Any:
    if name in BESIDE:
        return BESIDE[name](torch)
    return COMPOSED.get(name) or functools.reduce(getattr, str(OPERATIONS[name].torch).split("."), torch)


def _dtype(value: Any) -> Any:
    """PyTorch's, of that name."""
    return getattr(torch, value) if value in NAMES else value


NAMES = ("float16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")


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
    "dropout": torch.nn.functional.dropout,
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
        leaves = [leaf for leaf in leaves if str(leaf.dtype).rpartition(".")[2] in ("float32", "float64")]  # float16 carries no gradient here
        options = {name: replaced(value, tensor) for name, value in example.options.items()}
        for leaf in leaves:
            leaf.requires_grad = True
        result = call(*args, **options)
        outputs = [out for out in (result if isinstance(result, tuple | list) else [result]) if hasattr(out, "detach")]
        roots = [out for out in outputs if out.requires_grad and math.prod(out.shape) <= MANY]
        gradients = []
        if roots and leaves:
            rng = numpy.random.default_rng(example.seed)
            upstream = [tensor(numpy.asarray(rng.standard_normal(tuple(out.shape)), str(out.dtype).replace("torch.", ""))) for out in roots]
            gradients = grad(roots, leaves, upstream, allow_unused=True)
        found = [known(example, _kept(out)) for out in (*outputs, *moved)]
        if example.operation in MADE:
            found += [numpy.asarray(out.requires_grad) for out in outputs]
        return found, [None if one is None else known(example, _kept(one)) for one in gradients]
    except Exception as error:
        return error


def known(example: Example, array: numpy.ndarray) -> numpy.ndarray:
    """What is known of numbers that are drawn, or that nobody wrote: the rest is taken away."""
    if example.operation == "randperm":
        return numpy.sort(array)
    if example.operation == "rand":
        return numpy.floor(array)
    if example.operation == "randint":
        low, high = example.args[:2] if len(example.args) == 3 and example.args[1] is not None else (0, example.args[0])
        return ((array >= low) & (array < high)).astype(array.dtype)
    drawn = example.operation == "dropout" and 0 < example.args[1] < 1 and example.args[2]
    return numpy.zeros_like(array) if drawn or example.operation in ("randn", "randn_like", "empty") else array


def _kept(result: Any) -> numpy.ndarray:
    array = numpy.asarray(result.detach().numpy())
    return numpy.array(array) if array.size <= MANY else array
