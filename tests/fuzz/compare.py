"""Whether two libraries' results are the same numbers, as exactly as the call allows to ask.

Where every argument is a plain number, sums may round differently, and nothing else. Special numbers (nan, infinity, numbers whose
products overflow) need care twice. What does not depend on them must not change; PyTorch says which elements these are, when the
special numbers are replaced by plain ones. What does depend on them is nan, or infinite, in the same places; but a sum of huge
numbers may overflow in one order and not in another.
"""

from __future__ import annotations

from typing import Any

import numpy

from fuzz.example import Example
from fuzz.libraries import MANY, Results, theirs

TOLERANCE = {"float64": 1e-9, "float32": 2e-4, "float16": 2e-2}
"""Largest difference of sums, relative to the largest number that goes in."""

ROUNDINGS = {"float64": 1e-13, "float32": 2e-6, "float16": 2e-3}
"""Largest difference where nothing is added up, relative to the element itself."""

MOVES = {"clone", "contiguous", "reshape", "flatten", "permute", "transpose", "t", "squeeze", "unsqueeze", "expand", "cat", "stack", "split", "chunk"}
MOVES |= {"unbind", "getitem", "gather", "pad", "where", "masked_fill", "max", "min", "max_pool2d", "adaptive_max_pool2d"}
MOVES |= {"zeros", "ones", "full", "full_like", "zeros_like", "ones_like", "eye", "tensor", "copy_", "fill_", "zero_", "clamp_", "relu_", "setitem"}
MOVES |= {"Flatten", "Dropout", "MaxPool2d"}
"""Their outputs are elements of their inputs."""

ELEMENTWISE = MOVES | {"neg", "exp", "abs", "relu", "log", "sqrt", "add", "sub", "mul", "div", "maximum", "minimum", "clamp", "pow"}
ELEMENTWISE |= {"add_", "sub_", "mul_", "div_"}
"""Each element of their outputs is computed from one element of each input."""

SPREADING = {"fft", "winograd_f2", "winograd_f4"}
"""Algorithms in which a special number reaches outputs that do not depend on it: it is mixed with its neighbours."""

HUGE = {"float64": 1e100, "float32": 1e12}
"""Beyond it, products of a few numbers overflow."""


def compare(example: Example, ours: Results, theirs: Results) -> tuple[str, str]:
    """What differs, as a kind and its details; two empty texts if nothing does."""
    steady = steady_elements(example, theirs) if is_special(example) else None
    for place, what in enumerate(("outputs", "gradients")):
        if len(ours[place]) != len(theirs[place]):
            return f"another number of {what}", f"{len(ours[place])}, in PyTorch {len(theirs[place])}"
        for i, (a, b) in enumerate(zip(ours[place], theirs[place], strict=True)):
            if a is None or b is None:
                if (a is None) != (b is None) and (a if b is None else b).any():
                    return f"{what}: one of them none", f"number {i}: {a}, in PyTorch {b}"
                continue
            if a.shape != b.shape:
                return f"{what}: another shape", f"number {i}: {a.shape}, in PyTorch {b.shape}"
            if a.dtype != b.dtype:
                return f"{what}: another dtype", f"number {i}: {a.dtype}, in PyTorch {b.dtype}"
            a, b = corner(a), corner(b)
            added_up = example.operation not in ELEMENTWISE or (place == 1 and a.size < max(out.size for out in theirs[0]))
            wrong = differing(example, what, a, b, None if steady is None else steady[place][i], added_up)
            if wrong.any():
                return f"{what}: other numbers", f"number {i}: {wrong.sum()} of {a.size}: {a[wrong].ravel()[:4]}, in PyTorch {b[wrong].ravel()[:4]}"
    return "", ""


def differing(example: Example, what: str, a: numpy.ndarray, b: numpy.ndarray, steady: numpy.ndarray | None, added_up: bool) -> numpy.ndarray:
    """Where ``a`` is not what PyTorch's ``b`` says. ``steady`` is ``steady_elements``, None where nothing is special; ``added_up``: they are sums."""
    if a.dtype.kind != "f":
        return numpy.asarray(a != b)
    with numpy.errstate(all="ignore"):
        alone = what == "outputs" and example.operation in ELEMENTWISE
        precisions = [name for name in TOLERANCE if name in {a.dtype.name, *(array.dtype.newbyteorder("=").name for array in example.arrays())}]
        tolerance = max((ROUNDINGS if alone else TOLERANCE)[name] for name in precisions)
        tiny = 1e-7 if "float16" in precisions else 1e-37 if "float32" in precisions else 1e-300  # below lie the denormal numbers, which have few digits

        def far(where: numpy.ndarray, numbers: list[numpy.ndarray]) -> numpy.ndarray:
            scale = 0.0 if alone else max(1e-30, float(numpy.abs(b[where]).max(initial=0.0)), _terms(example, numbers) if added_up else 0.0)
            return where & ~(numpy.abs(a - b) <= tolerance * (numpy.abs(b) + scale) + tiny)

        unlike = ~_same_class(a, b)
        if steady is None:
            plain = numpy.isfinite(b)
            return far(plain, example.arrays()) | (~plain & unlike)
        both = numpy.isfinite(a) & numpy.isfinite(b)
        if _spreads(example):
            wrong = numpy.isfinite(a) & ~numpy.isfinite(b) & (not _overflows(example))
        else:
            plain = [array[~_special(array)] for array in example.arrays()]
            wrong = far(steady & both, plain) | far(~steady & both, example.arrays()) | (steady & ~both & unlike)
            if alone or not _overflows(example):
                wrong |= ~steady & ~both & unlike
        if _meets_padding(example, what):  # behind a ReLU or a maximum no element is steady: other numbers open other ways
            neither = ~numpy.isfinite(a) & ~numpy.isfinite(b)  # nan of the padding beside an infinity, or that alone
            beside = steady | neither | (example.operation == "conv2d_relu")
            wrong &= ~(beside & (numpy.isnan(a) ^ numpy.isnan(b)))
        return wrong


def _terms(example: Example, numbers: list[numpy.ndarray]) -> float:
    """The largest product of two numbers of the call: what sums that cancel are small beside. Of a plain sum, the largest number."""
    sizes = [float(numpy.abs(array[numpy.isfinite(array)]).max(initial=0.0)) for array in numbers if array.dtype.kind == "f"]
    if example.operation in ELEMENTWISE:  # the gradient of what was broadcast: of numbers that come from above, about 1, and of the other operand
        return max([1.0, *sizes])
    one = example.operation in ("sum", "mean", "avg_pool2d", "adaptive_avg_pool2d", "softmax", "log_softmax")
    return float(numpy.prod(sorted(sizes)[-1 if one else -2 :])) if sizes else 0.0


def _same_class(a: numpy.ndarray, b: numpy.ndarray) -> numpy.ndarray:
    """nan beside nan, an infinity beside the same."""
    return numpy.asarray((a == b) | (numpy.isnan(a) & numpy.isnan(b)))


def _special(array: numpy.ndarray) -> numpy.ndarray:
    if array.dtype.kind != "f":
        return numpy.zeros(array.shape, bool)
    with numpy.errstate(all="ignore"):
        return ~(numpy.abs(array) < HUGE.get(array.dtype.newbyteorder("=").name, numpy.inf))


def is_special(example: Example) -> bool:
    """Whether the call holds nan, infinity, or numbers whose products overflow."""
    return any(_special(array).any() for array in example.arrays()) or _has_huge_numbers(example)


def _overflows(example: Example) -> bool:
    """Whether it holds finite numbers whose products overflow."""
    with numpy.errstate(all="ignore"):
        found = any((_special(array) & numpy.isfinite(array)).any() for array in example.arrays())
    return found or _has_huge_numbers(example)


def _has_huge_numbers(example: Example) -> bool:
    return any(not abs(number) < 1e6 for number in example.numbers())


def _spreads(example: Example) -> bool:
    return example.operation.startswith("conv2d") and (example.algorithm or "fft") in SPREADING


def _meets_padding(example: Example, what: str) -> bool:
    """Whether nan or infinity meets the zeros of padding, which makes nan, or is left out with them, as the convolution's algorithm goes.

    The image is what is padded in the forward pass, so of the special numbers in it nothing there may be left out.
    """
    image = what == "outputs" and example.operation in ("conv2d", "conv2d_relu")
    return example.operation.startswith("conv2d") and not all(numpy.isfinite(array).all() for array in example.arrays()[image:])


def steady_elements(example: Example, results: Results) -> Results:
    """For each of PyTorch's results, which elements do not depend on the special numbers: they are the same for any plain ones in their place."""
    others: list[Any] = []
    for plain in (0.75, -1.25):
        others.append(theirs(example.with_arrays(lambda array, plain=plain: numpy.where(_special(array), plain, array).astype(array.dtype))))
    first, second = others
    if isinstance(first, Exception) or isinstance(second, Exception) or _has_huge_numbers(example):
        return tuple([None if b is None else numpy.zeros(corner(b).shape, bool) for b in arrays] for arrays in results)  # type: ignore[return-value]
    return tuple([_steady(*three) for three in zip(first[place], second[place], results[place], strict=True)] for place in (0, 1))  # type: ignore[return-value]


def _steady(first: numpy.ndarray | None, second: numpy.ndarray | None, found: numpy.ndarray | None) -> numpy.ndarray | None:
    """Both the same, and what was found, too, if it is a number: one that is another has lost its digits to huge ones that cancel."""
    if first is None or second is None or found is None:
        return None
    return _same_class(corner(first), corner(second)) & (_same_class(corner(first), corner(found)) | ~numpy.isfinite(corner(found)))


def corner(array: numpy.ndarray) -> numpy.ndarray:
    """All of a small array, the beginning of one that is expanded to more than can be looked at."""
    return array if array.size <= MANY else array[(slice(0, 16),) * array.ndim]
