"""What is meant to differ from PyTorch: each with the operations, the fault and the calls that it is about, and why. Nothing else may."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy

from fuzz.beside import MADE, MODULES, OPTIMIZERS
from fuzz.calls import CALLS
from fuzz.compare import SPREADING
from fuzz.example import Example

REFUSED, TAKEN = "refused, PyTorch takes it", "taken, PyTorch refuses it"
OUTPUTS, GRADIENTS, DTYPE = "outputs: other numbers", "gradients: other numbers", "outputs: another dtype"
ANY = (REFUSED, TAKEN, "outputs: another shape", OUTPUTS, GRADIENTS)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Explains faults of the kind ``what`` in the operations ``of`` (separated by spaces), if their text has ``words`` and ``when`` holds."""

    why: str
    what: str
    of: str
    words: str = ""
    when: Callable[[Example], bool] = lambda example: True

    def explains(self, example: Example, what: str, detail: str) -> bool:
        names = {example.operation, BEHIND.get(example.operation)}
        return what == self.what and not names.isdisjoint(self.of.split()) and self.words in detail and self.when(example)


def not_asked(example: Example, refusal: Exception) -> str:
    """Why PyTorch is not asked about a call that minivgg refuses; empty if it is."""
    if "makes a window step from the padding over the whole input" in str(refusal):
        return "of a window without a cell, PyTorch 2.13 takes the index -1 in max pooling, and its backward pass writes there"
    return ""


def of_kinds(kinds: str) -> Callable[[Example], bool]:
    """A first array of one of these kinds of elements."""
    return lambda example: bool(example.arrays()) and example.arrays()[0].dtype.kind in kinds


def of_half(example: Example) -> bool:
    return any(array.dtype.newbyteorder("=") == "float16" for array in example.arrays())


def of_several_dtypes(example: Example) -> bool:
    return len({array.dtype.newbyteorder("=") for array in example.arrays()}) > 1


def no_elements(example: Example) -> bool:
    return any(array.size == 0 for array in example.arrays())


def makes_nothing(example: Example) -> bool:
    return no_elements(example) or any(type(part) is int and part == 0 for part in _parts(example))


def no_channels(example: Example) -> bool:
    """Of an image or a filter, the second dimension counts, of an image without a batch the first."""
    return any(0 in (array.shape[-3:-2] if array.ndim > 2 else array.shape[1:2]) for array in example.arrays())


def a_number_for_a_tensor(example: Example) -> bool:
    return any(isinstance(value, int | float) for value in example.args)


def a_boolean(example: Example) -> bool:
    return any(isinstance(value, bool) for value in _parts(example))


def forced(example: Example) -> bool:
    return example.algorithm is not None


def option(name: str, place: int, *values: Any) -> Callable[[Example], bool]:
    """The argument that is called ``name``, or stands at ``place``, is one of these values."""

    def holds(example: Example) -> bool:
        missing = object()
        given = example.args[place] if len(example.args) > place else example.options.get(name, missing)
        return any(given is value or (type(given) is type(value) and given == value) for value in values)

    return holds


def a_huge_number(example: Example) -> bool:
    """More than 32 bits hold, alone or in a pair."""
    return any(isinstance(value, int) and abs(value) >= 2**31 for value in _parts(example))


def _parts(example: Example) -> list[Any]:
    """The arguments, and what is in those that hold several."""
    return [part for value in (*example.args, *example.options.values()) for part in (value if isinstance(value, tuple | list) else [value])]


def a_complex_number(example: Example) -> bool:
    return any(isinstance(value, complex) for value in _leaves([*example.args, *example.options.values()]))


def _leaves(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, list | tuple) else [value]


def a_list_of_one(example: Example) -> bool:
    return any(isinstance(value, list | tuple) and len(value) == 1 for value in (*example.args, *example.options.values()))


def a_skipped_vector(example: Example) -> bool:
    return any(array.shape == (0,) for array in example.arrays())


def wide_window(example: Example) -> bool:
    return isinstance(example.args[1], int) and example.args[1] > 2**30


def of_equal_numbers(example: Example) -> bool:
    """Or so nearly that the squares of their differences are 0."""
    x = example.args[0]
    return x.size > 0 and bool((abs(x - x.flat[0]) < (1e-23 if x.itemsize == 4 else 1e-162)).all())


def a_minus_zero(example: Example) -> bool:
    return any(bool((numpy.signbit(array) & (array == 0)).any()) for array in example.arrays() if array.dtype.kind == "f")


def an_index_of_bytes(example: Example) -> bool:
    parts = example.args[1] if isinstance(example.args[1], tuple) else example.args[1:]
    return any(isinstance(part, numpy.ndarray) and part.dtype == numpy.uint8 for part in parts)


def a_slice_of_nothing(example: Example) -> bool:
    """One slice of the index leaves nothing of its axis."""
    x, parts = example.args[0], example.args[1] if isinstance(example.args[1], tuple) else example.args[1:]
    taken = [getattr(part, "ndim", 1) if str(getattr(part, "dtype", "")) == "bool" else 0 if part is None or part is ... else 1 for part in parts]
    axis = 0
    for part, count in zip(parts, taken, strict=True):
        if isinstance(part, slice) and axis < x.ndim and not len(range(*part.indices(x.shape[axis]))):
            return True
        axis += x.ndim - sum(taken) if part is ... else count
    return False


def places_in_a_list(example: Example) -> bool:
    parts = example.args[1] if isinstance(example.args[1], tuple) else example.args[1:2]
    return any(isinstance(part, list) or (isinstance(part, numpy.ndarray) and part.dtype.kind in "iu") for part in parts)


def rows_or_columns_alike(example: Example) -> bool:
    """Of the image or of its filters: read from the same memory."""
    return any(stride == 0 and size > 1 for array in example.args[:2] for stride, size in zip(array.strides[-2:], array.shape[-2:], strict=True))


def pads_nothing(example: Example) -> bool:
    amounts = example.args[1] if len(example.args) > 1 else example.options["pad"]
    return all(amount <= 0 for amount in amounts)


def not_all_finite(example: Example) -> bool:
    return any(not numpy.isfinite(array).all() for array in example.arrays())


def ignored_and_infinite(example: Example) -> bool:
    return not_all_finite(example) and bool((example.args[1] == example.options.get("ignore_index", -100)).any())


def at_a_kink(example: Example) -> bool:
    """A bias of next to 0, which is all that an output has whose window lies in the padding: rounded, it lies on either side."""
    return (example.algorithm or "fft") in SPREADING and len(example.arrays()) > 2 and bool((numpy.abs(example.arrays()[2]) < 1e-30).any())


def infinite_channels(example: Example) -> bool:
    """A mean, variance, weight or bias that is not finite."""
    return any(not numpy.isfinite(array).all() for array in example.arrays()[1:])


def not_finite(*names: str) -> Callable[[Example], bool]:
    """One of these options is no finite number."""
    return lambda example: any(isinstance(v := example.options.get(n), bool) or (isinstance(v, float) and not math.isfinite(v)) for n in names)


def squares_overflow(example: Example) -> bool:
    return any(bool((abs(array) > (1e18 if array.itemsize == 4 else 1e150)).any()) for array in example.arrays() if array.dtype.kind == "f")


def above_one(name: str) -> Callable[[Example], bool]:
    return lambda example: example.options.get(name, 0) > 1


def variance_of_one(example: Example) -> bool:
    """RMSprop's mean is the last gradient itself."""
    return example.options.get("centered") is True and example.options.get("alpha") == 0


SHORT = ("int8", "uint8", "int16", "int32")
EVERY = " ".join(CALLS)
CONVOLUTIONS = "conv2d conv2d_relu conv2d_grad_input conv2d_grad_weight"
POOLING = "max_pool2d avg_pool2d adaptive_max_pool2d adaptive_avg_pool2d"
TENSORS = " ".join(MADE)
STEPS = " ".join(OPTIMIZERS)
ADAPTIVE = "adaptive_max_pool2d adaptive_avg_pool2d"
WRAPPED = "clamp pow masked_fill maximum minimum lt le gt ge eq ne add sub mul fill_ clamp_ setitem full full_like tensor arange linspace"
LOSSES = "cross_entropy nll_loss"
PAIRS = "maximum minimum lt le gt ge eq ne where add sub mul div pow matmul masked_fill"
FLOATING = f"{POOLING} {CONVOLUTIONS} linear batch_norm local_response_norm softmax log_softmax {LOSSES} mse_loss dropout"

BEHIND = {**MODULES, "setitem": "getitem"}
"""What differs in the operation behind it differs in these."""

HOLDS = f"clamp masked_fill pad clamp_ fill_ full full_like linspace tensor setitem {STEPS}"

DIFFERENCES = [
    # Element types
    Difference("float16 carries no gradient", REFUSED, EVERY, "float16 carries no gradient", of_half),
    Difference("float16 carries no gradient", REFUSED, EVERY, "carry a gradient, this tensor is float16"),
    Difference("means, layers and losses are for float32 and float64", REFUSED, EVERY, "float32 or float64", of_half),
    Difference("layers and losses are for floating numbers", REFUSED, FLOATING, "float32 or float64", of_kinds("iub")),
    Difference("no dtype is converted in silence", REFUSED, FLOATING, "one dtype", of_several_dtypes),
    Difference("no dtype is converted in silence", REFUSED, "linear", "the same for all", of_several_dtypes),
    Difference("any and all give booleans of uint8, too", DTYPE, "any all", "bool, in PyTorch uint8"),
    Difference("PyTorch wraps numbers that do not fit around, in comparisons all, else negative ones of uint8", REFUSED, WRAPPED, "does not fit into"),
    Difference("what does not fit is refused, although without amounts nothing is written", REFUSED, "pad", "does not fit into", pads_nothing),
    Difference("a number that float32 does not hold is infinity, as in arithmetic", TAKEN, HOLDS, "without overflow"),
    Difference("booleans are no numbers", REFUSED, "mse_loss", "must hold numbers, got bool"),
    Difference("PyTorch takes uint8 for booleans, and warns", REFUSED, "where masked_fill", "must be boolean, got uint8"),
    *(Difference("an index of uint8 counts places; PyTorch takes it for a mask, and warns", what, "getitem", "", an_index_of_bytes) for what in ANY),
    Difference("weights of classes are converted", TAKEN, LOSSES, "expected scalar type", of_several_dtypes),
    Difference("classes are integers of any size", TAKEN, LOSSES, "expected target dtype to be Long or Byte"),
    Difference("PyTorch cannot differentiate a power by booleans", TAKEN, "pow", "Subtraction, the `-` operator, with a bool tensor"),
    Difference("PyTorch does not look at dtypes where there are no elements", REFUSED, EVERY, "takes", no_elements),
    Difference("PyTorch does not look at dtypes where there are no elements", REFUSED, "matmul", "one dtype", no_elements),
    # Tensors that are made
    Difference("there are no complex numbers", REFUSED, EVERY, "must be a number, got", a_complex_number),
    Difference("there are no complex numbers", REFUSED, EVERY, "must be a finite number, got", a_complex_number),
    Difference("there are no complex numbers", REFUSED, "tensor", "complex128", a_complex_number),
    Difference("None is no flag", REFUSED, TENSORS, "must be True or False, got None"),
    Difference("a row of numbers ends at finite ones", REFUSED, "arange linspace", "must be finite, got"),
    Difference("a row of numbers holds no booleans", REFUSED, "linspace", "makes numbers, not booleans"),
    Difference("linspace computes in float64, and refuses integers that it does not hold", REFUSED, "linspace", "beyond 2**53"),
    Difference("an integer is one of int64, even where it becomes a float", REFUSED, "full full_like linspace arange fill_", "does not fit into int64"),
    Difference("a tensor without elements would need strides that NumPy has not", REFUSED, TENSORS, "more than any memory holds", a_huge_number),
    Difference("memory that one finds and the other does not", TAKEN, TENSORS, "can't allocate memory", a_huge_number),
    Difference("memory that one finds and the other does not", REFUSED, TENSORS, "memory is exhausted", a_huge_number),
    Difference("PyTorch draws integers that the dtype rounds, and warns", REFUSED, "randint", "does not hold every integer"),
    Difference("an end of None is none", TAKEN, "arange", "got (", option("end", 1, None)),
    Difference("as many columns as rows, if none are named", TAKEN, "eye", "got (int, NoneType", option("m", 1, None)),
    Difference("PyTorch does not draw where there are no elements", REFUSED, "rand randn randn_like", "draws float16", makes_nothing),
    Difference("a list of a number and of nothing is not rectangular", REFUSED, "tensor", "not rectangular"),
    Difference("PyTorch's count of int64 overflows", TAKEN, "arange", "invalid size, possible overflow", a_huge_number),
    Difference("PyTorch's count of int64 overflows", "outputs: another shape", "arange", "", a_huge_number),
    Difference("booleans are no numbers", REFUSED, TENSORS, "sizes must be whole numbers", a_boolean),
    # Arguments of another form
    Difference("numbers are operands", TAKEN, PAIRS, "Error: ", a_number_for_a_tensor),
    Difference("paddings by name are taken here, too", TAKEN, CONVOLUTIONS, "failed to match any schema", lambda e: isinstance(e.options.get("padding"), str)),
    Difference("dim=None means all, as in PyTorch's other signatures", TAKEN, "squeeze", "got (Tensor, NoneType)", option("dim", 1, None)),
    Difference("dim=None is no dim", TAKEN, "max min", "", option("dim", 1, None)),
    Difference("dim=() means all dimensions, as in sum", TAKEN, "any all", "", option("dim", 1, ())),
    Difference("dim=() means all dimensions, as in sum", "outputs: another shape", "any all", "", option("dim", 1, ())),
    Difference("PyTorch guesses a dimension, and warns", REFUSED, "softmax log_softmax", "dim must be an int, got None", option("dim", 1, None)),
    Difference("None keeps both sizes, as PyTorch's documentation says", TAKEN, ADAPTIVE, "has no len()", option("output_size", 1, None)),
    Difference("the dimensions one after the other are taken, too", TAKEN, "permute", "must be tuple of ints, not int"),
    Difference("booleans are no numbers", REFUSED, EVERY, "True", a_boolean),
    Difference("booleans are no numbers", REFUSED, EVERY, "boolean", a_boolean),
    Difference("a smoothing is a probability", REFUSED, "cross_entropy", "label_smoothing must "),
    Difference("nan and infinity are no exponents", REFUSED, "local_response_norm", "must be a finite number", not_finite("alpha", "beta", "k")),
    Difference("nan and infinity are no momentum", REFUSED, "batch_norm", "must be a finite number", not_finite("momentum", "eps")),
    Difference("PyTorch does not look at exponents where there are no elements", REFUSED, "local_response_norm", "must be a finite", no_elements),
    Difference("a negative step reads backwards, as in NumPy", TAKEN, "getitem", "step must be greater than zero"),
    Difference("an index is an integer of any size", TAKEN, "getitem", "tensors used as indices must be long, int, byte or bool"),
    Difference("PyTorch skips vectors without elements, whatever the dimension", REFUSED, "cat", "dim must lie", a_skipped_vector),
    Difference("a value is converted, whatever the index", TAKEN, "setitem", "source and destination dtypes match"),
    Difference("a list of numbers is a value", TAKEN, "setitem", "can't assign a "),
    Difference("a flag is True or False", REFUSED, "Conv2d Linear", "bias must be True or False"),
    Difference("booleans are no numbers", REFUSED, EVERY, "got False", a_boolean),
    Difference("PyTorch's integers have 64 bits, even where they become floats", TAKEN, f"{STEPS} {' '.join(MODULES)}", "OverflowError", a_huge_number),
    Difference("bytes are no numbers", REFUSED, "Conv2d", "got b'"),
    Difference("a list of one number stands for a pair", TAKEN, "Conv2d", "", a_list_of_one),
    Difference("PyTorch's own fault, of which it says so", TAKEN, EVERY, "please report a bug to PyTorch"),
    Difference("PyTorch does not look at a dampening without momentum", REFUSED, STEPS, "dampening must be a number"),
    Difference("an average that weighs more than 1 is none; PyTorch takes its root", OUTPUTS, "RMSprop", "in PyTorch [nan", above_one("alpha")),
    Difference("a square overflows by itself, and not where a sum is added to it at once", OUTPUTS, STEPS, "nan", squares_overflow),
    Difference("a variance that rounding takes below 0 is 0; PyTorch takes its root", OUTPUTS, "RMSprop", "in PyTorch [nan", option("centered", 6, True)),
    Difference("the variance of one number is 0, or what rounding leaves of it", OUTPUTS, "RMSprop", "", variance_of_one),
    Difference("of steps so long that they lead beyond what the dtype holds apart, rounding is left", OUTPUTS, STEPS, "", a_huge_number),
    Difference("nan is no option of an optimiser", REFUSED, STEPS, "got nan"),
    Difference("a flag is True or False", REFUSED, STEPS, "must be True or False"),
    Difference("high=None is no high, whatever the place", TAKEN, "randint", "", option("high", 1, None)),
    # Shapes
    Difference("PyTorch counts before it cuts off what is behind a point, but for int64", "outputs: another shape", "arange", "", option("dtype", 9, *SHORT)),
    Difference("a weight is a matrix, a bias a vector", REFUSED, "linear", "expects input (..., C), weight (K, C)"),
    Difference("a bias is not broadcast", REFUSED, "linear", "output features, bias"),
    Difference("an index has as many dimensions as its input", REFUSED, "gather", "index has 0 dimensions, input 1"),
    Difference("an index has as many dimensions as its input", REFUSED, "gather", "index has 1 dimensions, input 0"),
    Difference("pooling is for images", REFUSED, "adaptive_avg_pool2d", "input must be (N, C, H, W)"),
    Difference("PyTorch takes the classes for a batch, if there are as many", REFUSED, "nll_loss", "(1,) needs class indices of shape (), got (1,)"),
    Difference("weights of classes are a vector", REFUSED, LOSSES, "weight must hold one number for each"),
    Difference("one number a channel, in a vector", REFUSED, "batch_norm", "one a channel, got shape"),
    Difference("a window larger than the channels is all of them", TAKEN, "local_response_norm", "", wide_window),
    # Nothing to compute with
    Difference("no channels are as good as no images", TAKEN, POOLING, "non-zero size for non-batch dimensions", no_elements),
    Difference("an output of no rows is as good as no images", TAKEN, ADAPTIVE, "to have non-zero size for non-batch", option("size", 1, 0)),
    Difference("PyTorch refuses no channels where it computes with them", TAKEN, "batch_norm", "index 0 out of range", no_elements),
    Difference("a convolution of no channels has no filter to speak of", REFUSED, CONVOLUTIONS, "only the batch may be empty", no_elements),
    Difference("the mean of no cells is no number", REFUSED, "adaptive_avg_pool2d", "an input without rows or columns has no bins", no_elements),
    Difference("PyTorch does not look at indices where there are no elements", REFUSED, "gather", "index", no_elements),
    Difference("PyTorch does not look at indices where there are no elements", REFUSED, "getitem", "out of bounds", no_elements),
    Difference("PyTorch does not look at indices where there are no elements", REFUSED, "getitem", "out of bounds", a_slice_of_nothing),
    Difference("of no classes, no target is one", REFUSED, LOSSES, "class", no_elements),
    Difference("PyTorch does not look at the window where there are no elements", REFUSED, "local_response_norm", "size must be", no_elements),
    Difference("PyTorch does not look at a dilation where there are no elements", REFUSED, CONVOLUTIONS, "dilation must be", no_elements),
    Difference("PyTorch does not look at the gradient of no images", REFUSED, "conv2d_grad_weight", "grad_output expects shape", no_elements),
    # Numbers
    Difference("PyTorch divides by 0 in the gradient of a variance over dim=()", GRADIENTS, "var std", "", option("dim", 1, ())),
    Difference("of equal sums, each rounded in its own way, any may be the largest of a window", GRADIENTS, "conv2d_relu", "", rows_or_columns_alike),
    Difference("beside padding alone, a bias of 0 is at a ReLU's kink, and these algorithms round it", GRADIENTS, "conv2d_relu", "number 2", at_a_kink),
    Difference("of an element that is written twice one value counts, and one gradient; in PyTorch both do", GRADIENTS, "setitem", "", places_in_a_list),
    Difference("of an infinite filter and the padding some algorithms make nan, and another cell wins", GRADIENTS, "conv2d_relu", "", infinite_channels),
    Difference("the spread of equal numbers is 0, without PyTorch's rounding", OUTPUTS, "var std", "[0", of_equal_numbers),
    Difference("the spread of equal numbers has no direction to grow in", GRADIENTS, "std", "", of_equal_numbers),
    Difference("beside infinity the mean has no correction, and what is left is nan", GRADIENTS, "var std", "nan", not_all_finite),
    Difference("an integer to a negative power is no integer; PyTorch says so of numbers alone", REFUSED, "pow", "is no integer", of_kinds("iub")),
    Difference("PyTorch multiplies 0, behind infinity, by the infinite derivative of a power", GRADIENTS, "local_response_norm", "nan", not_all_finite),
    Difference("-inf to a fractional power is nan, as of every negative number", OUTPUTS, "pow", "[nan], in PyTorch [inf]", not_all_finite),
    Difference("-inf to a fractional power is nan, as of every negative number", GRADIENTS, "pow", "[nan], in PyTorch [inf]", not_all_finite),
    Difference("PyTorch takes a root for the power 0.5 alone, and its derivative is nan at -inf", GRADIENTS, "pow", "in PyTorch [nan", not_all_finite),
    Difference("a row whose target is ignored has no gradient, not even of infinity", GRADIENTS, "cross_entropy", "in PyTorch [nan", ignored_and_infinite),
    Difference("the sign of an infinite derivative at -0", GRADIENTS, "pow", "inf", a_minus_zero),
    Difference("of no images, a channel without a deviation has the gradient 0 · nan", GRADIENTS, "batch_norm", "in PyTorch [0.", no_elements),
    Difference("PyTorch and minivgg take an infinite mean or weight out of their sums at other places", GRADIENTS, "batch_norm", "", infinite_channels),
    Difference("PyTorch and minivgg take an infinite mean or weight out of their sums at other places", OUTPUTS, "batch_norm", "", infinite_channels),
    # What else is wanted here, or fails there
    Difference("an algorithm that was asked for by name and does not apply is an error", REFUSED, EVERY, "does not apply: ", forced),
    Difference("PyTorch's tensors here are copies, which can be written", REFUSED, "batch_norm", "is moved in training, but its memory is read-only"),
    Difference("PyTorch cannot differentiate of such memory", TAKEN, LOSSES, "grad_input must be contiguous"),
    Difference("PyTorch cannot differentiate of such memory", TAKEN, CONVOLUTIONS, "slow_conv2d: grad_weight must be contiguous"),
    Difference("PyTorch keeps strides in 32 bits", TAKEN, f"{CONVOLUTIONS} {POOLING}", "", a_huge_number),
    Difference("a view of more elements than any memory holds is refused", REFUSED, "expand", "more than any memory holds", a_huge_number),
    Difference("PyTorch computes a filter's span in 64 bits, where it overflows", REFUSED, CONVOLUTIONS, "the filter spans", a_huge_number),
    Difference("PyTorch's number of elements overflows", REFUSED, CONVOLUTIONS, "more than any memory holds", a_huge_number),
    Difference("PyTorch's number of chunks overflows", TAKEN, "chunk", "split_size", a_huge_number),
]
