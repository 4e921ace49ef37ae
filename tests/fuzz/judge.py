"""One call in both libraries: the same refusal, or the same numbers and gradients.

    python -m fuzz --examples 200000      # `make fuzz`: every operation in turn, counted
    python -m fuzz --operation conv2d --seed 12345 --examples 1 --show

What PyTorch refuses, minivgg must refuse, with an error of its own that names the operation. What PyTorch takes, minivgg
must take, but for what stands in ``DIFFERENCES``. A call that both take must give PyTorch's numbers, and its gradients must
be PyTorch's, in the same precision; inputs must be left as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import numpy
import torch

import minivgg
from fuzz.calls import CALLS, Rng, chance, one_of
from fuzz.hostile import hostile
from minivgg.errors import DtypeError, OperationError
from minivgg.registry import OPERATIONS, algorithms, operations_with_algorithms

TOLERANCE = {"float64": 1e-9, "float32": 2e-4}
"""Largest difference, relative to the largest number beside it."""


@dataclasses.dataclass(frozen=True)
class Example:
    """A call, drawn from its seed alone."""

    operation: str
    seed: int
    algorithm: str | None
    args: tuple[Any, ...]
    options: dict[str, Any]
    broken: bool

    def __str__(self) -> str:
        def shown(value: Any) -> str:
            if isinstance(value, numpy.ndarray):
                return f"{value.dtype}{list(value.shape)}strides{list(value.strides)}" + (f"={value.tolist()}" if value.size <= 6 else "")
            return f"[{', '.join(map(shown, value))}]" if isinstance(value, list | tuple) and any(isinstance(v, numpy.ndarray) for v in value) else repr(value)

        parts = [*map(shown, self.args), *(f"{name}={shown(value)}" for name, value in self.options.items())]
        return f"{self.operation}({', '.join(parts)})" + (f" by {self.algorithm}" if self.algorithm else "") + f"  [seed {self.seed}]"


def draw(operation: str, seed: int) -> Example:
    """The example of an operation that belongs to this seed."""
    rng = numpy.random.default_rng([seed, list(CALLS).index(operation)])
    generator = CALLS[operation]
    args, options = generator(rng, operation) if "name" in inspect.signature(generator).parameters else generator(rng)
    dtype = one_of(rng, "float64", "float64", "float32")
    args, options, broken = hostile(rng, args, options, dtype)
    return Example(operation, seed, _algorithm(rng, operation), args, options, broken)


def _algorithm(rng: Rng, operation: str) -> str | None:
    """Any of its algorithms, or the usual choice. The reference is for small problems, as these are."""
    known = algorithms(operation) if operation in operations_with_algorithms() else {}
    return one_of(rng, *known) if known and chance(rng, 0.7) else None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """``what`` is "agree", "both refuse", "declared" (a difference that stands in ``DIFFERENCES``), or a fault in words."""

    what: str
    detail: str = ""

    @property
    def fault(self) -> bool:
        return self.what not in ("agree", "both refuse", "declared", "not comparable")


def judge(example: Example) -> Outcome:
    """Make the call in both libraries."""
    given = _bits(example)
    ours = _ours(example)
    if isinstance(ours, Exception) and (UNSAFE in str(ours) or example.operation in UNCHECKED):
        return Outcome("declared", "PyTorch reads or writes outside its memory for such arguments")
    theirs = _theirs(example)
    if example.operation not in CONSTANT and _bits(example) != given:
        return Outcome("an input was changed")
    refused_there, refused_here = isinstance(theirs, Exception), isinstance(ours, Exception)
    declared = next((why for applies, why in DIFFERENCES if applies(example, theirs, ours)), None)
    if refused_here and not isinstance(ours, OperationError | TypeError | IndexError | MemoryError):
        return Outcome("an error that is not of our form", f"{type(ours).__name__}: {ours}")
    if isinstance(ours, TypeError) and not isinstance(ours, OperationError) and not refused_there:
        return Outcome("an error that is not of our form", f"{type(ours).__name__}: {ours}")
    if refused_here and refused_there:
        return Outcome("both refuse")
    if declared:
        return Outcome("declared", declared)
    if refused_here:
        return Outcome("refused, PyTorch takes it", f"{type(ours).__name__}: {ours}")
    if refused_there:
        return Outcome("taken, PyTorch refuses it", f"{type(theirs).__name__}: {str(theirs)[:200]}")
    return _compare(example, ours, theirs)


def _bits(example: Example) -> list[bytes]:
    found: list[bytes] = []

    def walk(value: Any) -> None:
        if isinstance(value, numpy.ndarray):
            found.append(value.tobytes())
        elif isinstance(value, list | tuple):
            for item in value:
                walk(item)

    walk((example.args, list(example.options.values())))
    return found


def _replaced(value: Any, change: Any) -> Any:
    if isinstance(value, numpy.ndarray):
        return change(value)
    if isinstance(value, list | tuple) and any(isinstance(item, numpy.ndarray) for item in value):
        return type(value)(_replaced(item, change) for item in value)
    return value


def _run(call: Any, example: Example, tensor: Any, grad: Any) -> Any:
    """Outputs and gradients as arrays, or the exception."""
    leaves: list[Any] = []

    def made(array: numpy.ndarray) -> Any:
        leaves.append(tensor(array))
        return leaves[-1]

    try:
        args = tuple(_replaced(value, made) for value in example.args)
        leaves = [leaf for i, leaf in enumerate(leaves) if leaf.detach().numpy().dtype.kind == "f" and i not in CONSTANT.get(example.operation, ())]
        options = {name: _replaced(value, tensor) for name, value in example.options.items()}
        for leaf in leaves:
            leaf.requires_grad = True
        result = call(*args, **options)
        outputs = [out for out in (result if isinstance(result, tuple | list) else [result]) if hasattr(out, "detach")]
        roots = [out for out in outputs if out.requires_grad]
        gradients = []
        if roots:
            rng = numpy.random.default_rng(example.seed)
            upstream = [tensor(numpy.asarray(rng.standard_normal(tuple(out.shape)), str(out.dtype).replace("torch.", ""))) for out in roots]
            gradients = grad(roots, leaves, upstream, allow_unused=True)
        return [numpy.array(out.detach().numpy()) for out in outputs], [None if one is None else numpy.array(one.detach().numpy()) for one in gradients]
    except Exception as error:
        return error


def _theirs(example: Example) -> Any:
    named = OPERATIONS[example.operation].torch
    call = functools.reduce(getattr, named.split("."), torch) if named else COMPOSED[example.operation]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run(call, example, lambda array: torch.tensor(numpy.array(array, array.dtype.newbyteorder("="))), torch.autograd.grad)


def _conv2d_relu(*args: Any, pool: Any = False, **options: Any) -> Any:
    if not isinstance(pool, bool):
        raise TypeError("pool must be a bool")
    out = torch.relu(torch.nn.functional.conv2d(*args, **options))
    return torch.nn.functional.max_pool2d(out, 2) if pool else out


UNSAFE = "makes a window step from the padding over the whole input"
"""Of a window that has no cell at all, PyTorch 2.13 takes the index -1 in max pooling, and its backward pass adds the gradient
there: before the beginning of the array. minivgg refuses such windows."""

UNCHECKED = ("conv2d_grad_input", "conv2d_grad_weight")
"""torch.nn.grad hands sizes on unchecked, and some end the process. What minivgg refuses here, PyTorch is not asked."""

COMPOSED: dict[str, Any] = {"conv2d_relu": _conv2d_relu}
"""What PyTorch has no name for."""


@contextlib.contextmanager
def _forced(example: Example) -> Iterator[None]:
    family = "conv2d" if example.operation.startswith("conv2d") else example.operation
    with minivgg.use_algorithm(**{family: example.algorithm}) if example.algorithm else contextlib.nullcontext(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        yield


def _tensor(array: numpy.ndarray) -> minivgg.Tensor:
    """On the array's own memory where that is possible."""
    return minivgg.Tensor(array) if array.dtype.isnative else minivgg.tensor(array)


def _ours(example: Example) -> Any:
    with _forced(example):
        return _run(OPERATIONS[example.operation].function, example, _tensor, minivgg.autograd.grad)


def _compare(example: Example, ours: Any, theirs: Any) -> Outcome:
    for what, got, expected in (("outputs", ours[0], theirs[0]), ("gradients", ours[1], theirs[1])):
        if len(got) != len(expected):
            return Outcome(f"another number of {what}", f"{len(got)}, in PyTorch {len(expected)}")
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            if a is None or b is None:
                if (a is None) != (b is None) and (a if b is None else b).any():
                    return Outcome(f"{what}: one of them none", f"number {i}: {a}, in PyTorch {b}")
                continue
            if a.shape != b.shape:
                return Outcome(f"{what}: another shape", f"number {i}: {a.shape}, in PyTorch {b.shape}")
            if a.dtype != b.dtype:
                return Outcome(f"{what}: another dtype", f"number {i}: {a.dtype}, in PyTorch {b.dtype}")
            fault = _numbers(example, a, b)
            if fault:
                return Outcome(f"{what}: other numbers", f"number {i}: {fault}")
    return Outcome("agree")


def _special(example: Example) -> bool:
    """Whether the call holds nan, infinity, or numbers whose products overflow."""
    found = False

    def look(array: numpy.ndarray) -> numpy.ndarray:
        nonlocal found
        if array.dtype.kind == "f" and array.size:
            with numpy.errstate(all="ignore"):
                sizes = numpy.abs(array)
            found |= not numpy.isfinite(array).all() or bool((sizes > 1e12).any())
        return array

    _replaced(example.args, look)
    _replaced(list(example.options.values()), look)
    return found


def _numbers(example: Example, a: numpy.ndarray, b: numpy.ndarray) -> str:
    if a.dtype.kind != "f":
        return "" if numpy.array_equal(a, b) else f"{a.tolist()}, in PyTorch {b.tolist()}"
    with numpy.errstate(all="ignore"):
        plain = numpy.isfinite(b)
        if _special(example):
            # sums of huge numbers overflow in one order and not in another; what PyTorch has as a plain number from plain
            # neighbours is compared, what is not finite there must not look like a result here
            if example.operation in POINTWISE and not numpy.array_equal(numpy.isnan(a), numpy.isnan(b)):
                return f"nan elsewhere: {a.tolist()}, in PyTorch {b.tolist()}"
            if example.operation not in POINTWISE:
                invented = example.operation in EXACT and (numpy.isnan(b) & numpy.isfinite(a) & (a != 0)).any()
                return f"a number where PyTorch has nan: {a.tolist()}, {b.tolist()}" if invented else ""
            difference = numpy.where(plain, numpy.abs(a - b), 0) > TOLERANCE[a.dtype.name] * (numpy.abs(b) + 1e-300)
            return f"{a.tolist()}, in PyTorch {b.tolist()}" if (difference | (~plain & ~numpy.isnan(b) & (a != b))).any() else ""
        if any(isinstance(value, int | float) and abs(value) > 1e6 for value in (*example.args, *example.options.values())):
            return ""  # powers and products of such arguments overflow in one order and not in another
        scale = max(1e-30, float(numpy.abs(b[plain]).max(initial=0.0)), _largest(example) if example.operation not in POINTWISE else 0.0)
        tolerance = max(TOLERANCE[name] for name in _precisions(example, a))
        wrong = ~numpy.isclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
        gap = float(numpy.nanmax(numpy.abs(a - b))) if wrong.any() else 0.0
    return f"by up to {gap:.3g} of {scale:.3g}: {a[wrong].ravel()[:4]}, in PyTorch {b[wrong].ravel()[:4]}" if wrong.any() else ""


def _precisions(example: Example, result: numpy.ndarray) -> set[str]:
    """The floating dtypes that take part: a float64 tensor without dimensions is computed with in float32 beside a float32 one."""
    found = {result.dtype.name}

    def look(array: numpy.ndarray) -> numpy.ndarray:
        found.update({array.dtype.newbyteorder("=").name} & set(TOLERANCE))
        return array

    _replaced(example.args, look)
    return found


def _largest(example: Example) -> float:
    """The largest product of numbers in the call: what sums that cancel are small beside."""
    sizes: list[float] = []

    def look(array: numpy.ndarray) -> numpy.ndarray:
        if array.dtype.kind == "f" and array.size:
            sizes.append(float(numpy.abs(array).max()))
        return array

    _replaced(example.args, look)
    _replaced(list(example.options.values()), look)
    return float(numpy.prod(sorted(sizes)[-2:])) if sizes else 0.0


CONSTANT = {"batch_norm": (1, 2)}
"""Positions of arrays that a call may change, and that nobody differentiates by: the running mean and variance."""

POINTWISE = {
    "neg",
    "exp",
    "abs",
    "relu",
    "clone",
    "contiguous",
    "log",
    "sqrt",
    "add",
    "sub",
    "mul",
    "div",
    "maximum",
    "minimum",
    "clamp",
    "where",
    "masked_fill",
}
EXACT = POINTWISE | {"max_pool2d", "adaptive_max_pool2d", "max", "min", "reshape", "permute", "transpose", "cat", "stack", "pad", "getitem", "gather"}


def _numbers_for_tensors(example: Example, theirs: Any, ours: Any) -> bool:
    """PyTorch's maximum(x, 0) and eq(2, x) are errors of its signature; here numbers are operands everywhere."""
    pair = example.operation in ("maximum", "minimum", "lt", "le", "gt", "ge", "eq", "ne", "where", "add", "sub", "mul", "div", "pow", "matmul", "masked_fill")
    return pair and isinstance(theirs, TypeError) and not isinstance(ours, Exception) and any(not isinstance(arg, numpy.ndarray) for arg in example.args)


def _says(*words: str, of: tuple[str, ...] = ()) -> Any:
    """PyTorch's error holds all of these words."""
    return lambda example, theirs, ours: isinstance(theirs, Exception) and all(word in str(theirs) for word in words) and (not of or example.operation in of)


def _we_say(*words: str) -> Any:
    """Our error does."""
    return lambda example, theirs, ours: isinstance(ours, Exception) and all(word in str(ours) for word in words)


def _variance_over_an_empty_tuple(example: Example, theirs: Any, ours: Any) -> bool:
    return example.operation in ("var", "std") and example.options.get("dim") == () and not isinstance(theirs, Exception)


def _no_dims(example: Example, theirs: Any, ours: Any) -> bool:
    return example.operation in ("any", "all") and example.options.get("dim") == ()


def _negative_bound_of_bytes(example: Example, theirs: Any, ours: Any) -> bool:
    return example.operation == "clamp" and isinstance(example.args[0], numpy.ndarray) and example.args[0].dtype.kind == "u"


def _spread_of_equal_numbers(example: Example, theirs: Any, ours: Any) -> bool:
    return (
        example.operation == "std"
        and isinstance(example.args[0], numpy.ndarray)
        and example.args[0].size > 0
        and bool((example.args[0] == example.args[0].flat[0]).all())
    )


def _root_of_minus_zero(example: Example, theirs: Any, ours: Any) -> bool:
    return example.operation == "pow" and any(isinstance(arg, numpy.ndarray) and bool((numpy.signbit(arg) & (arg == 0)).any()) for arg in example.args)


def _no_elements(example: Example, theirs: Any, ours: Any) -> bool:
    return isinstance(ours, DtypeError | IndexError) and any(isinstance(arg, numpy.ndarray) and arg.size == 0 for arg in example.args)


def _bytes_of_any_and_all(example: Example, theirs: Any, ours: Any) -> bool:
    return example.operation in ("any", "all") and not isinstance(theirs, Exception) and theirs[0][0].dtype == numpy.uint8


def _extreme_without_dim(example: Example, theirs: Any, ours: Any) -> bool:
    return example.operation in ("max", "min") and "dim" in example.options and example.options["dim"] is None


DIFFERENCES: list[tuple[Any, str]] = [
    (_numbers_for_tensors, "numbers are operands"),
    (_we_say("does not apply"), "an algorithm that was asked for by name and does not apply is an error"),
    (_variance_over_an_empty_tuple, "PyTorch divides by 0 in the gradient of a variance over dim=()"),
    (_says("grad_input must be contiguous"), "PyTorch cannot differentiate nll_loss of such memory"),
    (_says("without overflow"), "PyTorch keeps strides in 32 bits"),
    (_says("split_size", of=("chunk",)), "PyTorch's number of chunks overflows"),
    (_says("got (Tensor, NoneType)", of=("squeeze",)), "dim=None means all, as in Python's signatures of PyTorch"),
    (_says("can't allocate memory", of=("local_response_norm",)), "a window larger than the channels is all of them"),
    (_negative_bound_of_bytes, "PyTorch wraps a negative bound of unsigned numbers around"),
    (_says("index 0 out of range", of=("batch_norm",)), "PyTorch refuses no channels where it computes with them"),
    (_says("has no len()", of=("adaptive_max_pool2d", "adaptive_avg_pool2d")), "None keeps both sizes, as PyTorch's documentation says"),
    (_says("non-zero size for non-batch dimensions"), "no channels are as good as no images"),
    (_we_say("only the batch may be empty"), "a convolution of no channels has no filter to speak of"),
    (_we_say("local_response_norm:", "must be a finite number"), "nan and infinity are no exponents"),
    (_we_say("local_response_norm: size must be"), "PyTorch does not look at the size where there are no elements"),
    (_we_say("its memory is read-only"), "PyTorch's tensors here are copies, which can be written"),
    (_we_say("softmax: dim must be an int, got None"), "PyTorch guesses a dimension, and warns"),
    (_we_say("max_pool2d: takes float32"), "pooling is for floating numbers"),
    (_we_say("linear: expects input (..., C), weight (K, C)"), "a weight is a matrix, a bias a vector"),
    (_we_say("got a boolean"), "booleans are no numbers"),
    (_we_say("the condition must be boolean"), "PyTorch takes uint8, and warns"),
    (_we_say("weight must hold one number for each"), "weights of classes are a vector"),
    (_we_say("gather: index has"), "PyTorch does not look at an index without elements"),
    (_says("expected scalar type", of=("cross_entropy", "nll_loss")), "weights of classes are converted"),
    (_we_say("mse_loss: input must be float32"), "losses are for floating numbers"),
    (_bytes_of_any_and_all, "any and all give booleans of uint8, too"),
    (_extreme_without_dim, "dim=None is no dim"),
    (_spread_of_equal_numbers, "the spread of equal numbers has no direction to grow in"),
    (_root_of_minus_zero, "the sign of an infinite derivative at -0"),
    (_no_elements, "PyTorch does not look at dtypes and indices where there are no elements"),
    (_we_say("adaptive_avg_pool2d: input must be (N, C, H, W)"), "pooling is for images"),
    (_says("resulted in a negative output size", of=("local_response_norm",)), "a window larger than the channels is all of them"),
    (_says("stride should be greater than zero", of=UNCHECKED), "PyTorch keeps strides in 32 bits"),
    (_we_say("linear: weight has", "output features, bias"), "a bias is not broadcast"),
    (_we_say("avg_pool2d: takes float32"), "pooling is for floating numbers"),
    (_says("failed to match any schema", of=UNCHECKED), "paddings by name are taken here, too"),
    (_says("Subtraction", "bool tensor", of=("pow",)), "PyTorch cannot differentiate a power by booleans"),
    (_says("must be tuple of ints, not int", of=("permute",)), "the dimensions one after the other are taken, too"),
    (_we_say("takes tensors of one dtype"), "no dtype is converted in silence"),
    (_we_say("an input of no classes"), "of no classes, no target is one"),
    (_we_say("class indices must lie in"), "of no classes, no target is one"),
    (_we_say("a channel, got shape"), "one number a channel, in a vector"),
    (_we_say("index is larger than input in dimension"), "PyTorch does not look at an index without elements"),
    (_we_say("conv2d_weight: grad_output expects shape"), "PyTorch does not look at the gradient of no images"),
    (_we_say("label_smoothing must lie in [0, 1]"), "a smoothing is a probability"),
    (_says("expected target dtype to be Long or Byte", of=("cross_entropy", "nll_loss")), "classes are integers of any size"),
    (_says("Storage size calculation overflowed", of=("local_response_norm",)), "a window larger than the channels is all of them"),
    (_no_dims, "dim=() means all dimensions, as in sum"),
    (_we_say("local_response_norm: takes float32"), "PyTorch does not look at the dtype where there are no elements"),
]
"""What is meant to differ from PyTorch: ``(applies(example, theirs, ours), why)``; outcomes are either exceptions or numbers."""
