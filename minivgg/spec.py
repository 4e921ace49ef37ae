"""Problem descriptors: what a convolution or a pooling is asked to do, apart from the numbers in its arrays.

A descriptor is frozen and checks itself when it is built, so a kernel that receives one need not check anything again.
``str(spec)`` is a problem string that ``parse`` reads back: the same text serves tests, benchmarks and error messages.

Index letters, everywhere in the project: n image, c input channel, k output channel, h w input row and column,
p q output row and column, r s filter row and column, g group.
"""

import math
import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple

import numpy

from minivgg.errors import ArgumentError, ShapeError

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
"""Rows above, rows below, columns left, columns right."""


MOST_ELEMENTS = 1 << 44
"""What no array may have, whatever it holds: 64 tebibytes of float32. Slips of a parenthesis ask for more."""


def check_size(operation: str, shape: tuple[int, ...], **facts: Any) -> None:
    """Refuse a result that nobody can mean, before any memory is asked for.

    >>> check_size("pad", (3, 2**62))
    Traceback (most recent call last):
        ...
    minivgg.errors.ShapeError: pad: the result of shape (3, 4611686018427387904) would have 1.4e+19 elements, more than any memory holds
    """
    count = math.prod(max(size, 1) for size in shape)  # an axis of none does not make the others smaller
    if count > MOST_ELEMENTS:
        raise ShapeError(operation, f"the result of shape {shape} would have {Decimal(count):.1e} elements, more than any memory holds", **facts)


def _read_nearby(size: int, taps: int, dilation: int, outputs: int, stride: int, before: int, after: int) -> tuple[int, int, int, int]:
    """The dilation, stride and paddings of one axis, those changed that lead far beyond the input, where nothing is read: no algorithm
    shall set aside memory for that, or count to it. Outputs and what each of them reads stay the same."""
    while True:
        if dilation > size + (outputs - 1) * stride + 1:
            dilation, before, after = _nearer(size, taps, dilation, outputs, stride, before)
        elif stride > size + (taps - 1) * dilation + 1:
            stride, before, after = _nearer(size, outputs, stride, taps, dilation, before)
        else:
            return dilation, stride, before, after


def _nearer(size: int, taps: int, step: int, outputs: int, stride: int, before: int) -> tuple[int, int, int]:
    """A step between taps, and paddings, with which each output reads the same places of the input, if the taps lie farther apart
    than the input and all outputs of one: then one tap at most is ever inside, and the others may be anywhere outside.

    The places are o + p · stride + t · step, so taps and outputs may change their parts.

    >>> _nearer(8, 3, 9 * 10**18, 8, 1, 9 * 10**18)  # padding="same": the tap in the middle
    (16, 16, 16)
    """
    reach = (outputs - 1) * stride
    apart = size + reach + 1
    tap = -((before - reach) // -step)  # the first that is not before the input for every output
    tap, place = (tap, min(tap * step - before, size)) if tap < taps else (taps - 1, -reach - 1)
    return apart, apart * tap - place, max(0, reach + apart * (taps - 1 - tap) + place + 1 - size)


def pair(operation: str, name: str, value: Any, minimum: int) -> Pair:
    """Read an int or a sequence of two ints, each at least ``minimum``.

    >>> pair("conv2d", "stride", 2, 1), pair("conv2d", "stride", (2, 1), 1)
    ((2, 2), (2, 1))
    """
    if type(value) is int and value >= minimum:
        return value, value
    values = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(values) == 1:
        values = values * 2
    if len(values) != 2 or not all(hasattr(v, "__index__") and not isinstance(v, bool) for v in values):
        raise ArgumentError(operation, f"{name} must be an int or a pair of ints, got {value!r}")
    first, second = (int(v.__index__()) for v in values)
    if min(first, second) < minimum:
        raise ArgumentError(operation, f"{name} must be at least {minimum}, got {value!r}")
    return first, second


@dataclass(frozen=True, slots=True)
class Conv2dSpec:
    """One convolution problem: out[n,k,p,q] = Σ_crs x[n, c, p·stride + r·dilation - pad, ...] · w[k,c,r,s].

    ``c`` and ``k`` count all channels; a filter has ``c // groups`` of them. ``padding`` is (top, bottom, left, right).

    >>> spec = Conv2dSpec.parse("n1 c64 h224 w224 k64 r3 p1")
    >>> spec.p, spec.q, spec.macs
    (224, 224, 1849688064)
    >>> str(spec)
    'n1 c64 h224 w224 k64 r3 p1'
    """

    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    stride: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    span: Pair = field(init=False, repr=False, compare=False)
    """Input rows and columns that one output element looks at: dilation · (filter - 1) + 1."""
    p: int = field(init=False, repr=False, compare=False)
    """Output rows: ⌊(h + top + bottom - span) / stride⌋ + 1."""
    q: int = field(init=False, repr=False, compare=False)
    """Output columns: ⌊(w + left + right - span) / stride⌋ + 1."""

    def __post_init__(self) -> None:
        if min(self.c, self.h, self.w, self.k, self.r, self.s) < 1:
            raise ShapeError("conv2d", f"only the batch may be empty, got input {self.input_shape}, weight {self.weight_shape}")
        if self.n < 0:
            raise ShapeError("conv2d", f"n must be at least 0, got {self.n}")
        if self.groups < 1:
            raise ArgumentError("conv2d", f"groups must be an int of at least 1, got {self.groups}")
        for name, values, minimum in (("stride", self.stride, 1), ("dilation", self.dilation, 1), ("padding", self.padding, 0)):
            if min(values) < minimum:
                raise ArgumentError("conv2d", f"{name} must be at least {minimum}, got {values}")
        if self.c % self.groups or self.k % self.groups:
            raise ShapeError("conv2d", f"groups must divide the channels: {self.c} in, {self.k} out, groups {self.groups}")
        top, bottom, left, right = self.padding
        span = self.dilation[0] * (self.r - 1) + 1, self.dilation[1] * (self.s - 1) + 1
        object.__setattr__(self, "span", span)
        object.__setattr__(self, "p", (self.h + top + bottom - span[0]) // self.stride[0] + 1)
        object.__setattr__(self, "q", (self.w + left + right - span[1]) // self.stride[1] + 1)
        if self.p < 1 or self.q < 1:
            raise ShapeError(
                "conv2d",
                f"the filter spans {self.span[0]}x{self.span[1]}, the padded input is only "
                f"{self.h + top + bottom}x{self.w + left + right}",
                input=self.input_shape, weight=self.weight_shape, padding=self.padding, dilation=self.dilation,
            )  # fmt: skip
        check_size("conv2d", self.output_shape, input=self.input_shape, padding=self.padding)
        sides = [
            _read_nearby(size, taps, step, outputs, stride, *padding)
            for size, taps, step, outputs, stride, padding in zip(
                (self.h, self.w), (self.r, self.s), self.dilation, (self.p, self.q), self.stride, ((top, bottom), (left, right)), strict=True
            )
        ]
        object.__setattr__(self, "dilation", tuple(side[0] for side in sides))
        object.__setattr__(self, "stride", tuple(side[1] for side in sides))
        object.__setattr__(self, "padding", (*sides[0][2:], *sides[1][2:]))
        object.__setattr__(self, "span", (self.dilation[0] * (self.r - 1) + 1, self.dilation[1] * (self.s - 1) + 1))
        rows, columns = self.h + sum(self.padding[:2]), self.w + sum(self.padding[2:])
        if rows * columns > MOST_ELEMENTS:
            facts = {"padding": (top, bottom, left, right), "stride": self.stride, "dilation": self.dilation}
            raise ShapeError("conv2d", f"a padded input of {rows}x{columns} is more than any memory holds", **facts)

    @classmethod
    def of(
        cls, input: tuple[int, ...], weight: tuple[int, ...], stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: Any = 1
    ) -> "Conv2dSpec":  # fmt: skip
        """Read PyTorch's arguments: numbers or pairs, padding by name, an input (N, C, H, W) or (C, H, W).

        >>> Conv2dSpec.of((3, 8, 8), (6, 3, 4, 4), padding="same").padding
        (1, 2, 1, 2)
        """
        if len(input) not in (3, 4):
            raise ShapeError("conv2d", f"input must be (N, C, H, W) or (C, H, W), got {len(input)} dimensions", input=input)
        if len(weight) != 4:
            raise ShapeError("conv2d", f"weight must be (K, C/groups, R, S), got {len(weight)} dimensions", weight=weight)
        n, c, h, w = input if len(input) == 4 else (1, *input)
        k, channels, r, s = weight
        steps, taps = pair("conv2d", "stride", stride, 1), pair("conv2d", "dilation", dilation, 1)
        if isinstance(groups, bool) or not hasattr(groups, "__index__") or groups < 1:
            raise ArgumentError("conv2d", f"groups must be an int of at least 1, got {groups!r}")
        if c != channels * groups and not (c % groups or k % groups):
            raise ShapeError("conv2d", f"weight expects {channels * groups} input channels, input has {c}", input=input, weight=weight, groups=groups)
        if padding == "same":
            if steps != (1, 1):
                raise ArgumentError("conv2d", f"padding 'same' needs stride 1, got {stride}")
            rows, columns = taps[0] * (r - 1), taps[1] * (s - 1)
            sides = (rows // 2, rows - rows // 2, columns // 2, columns - columns // 2)
        elif isinstance(padding, str) and padding != "valid":
            raise ArgumentError("conv2d", f"padding must be a number, a pair, 'same' or 'valid', got {padding!r}")
        else:
            rows, columns = (0, 0) if padding == "valid" else pair("conv2d", "padding", padding, 0)
            sides = (rows, rows, columns, columns)
        return cls(n, c, h, w, k, r, s, steps, sides, taps, groups)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.c, self.h, self.w

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.k, self.c // self.groups, self.r, self.s

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.k, self.p, self.q

    @property
    def macs(self) -> int:
        """Multiply-adds of the definition: n·k·p·q·(c/groups)·r·s; the bias is not counted."""
        return self.n * self.k * self.p * self.q * (self.c // self.groups) * self.r * self.s

    def with_batch(self, n: int) -> "Conv2dSpec":
        """The same layer on ``n`` images."""
        return replace(self, n=n)

    def __str__(self) -> str:
        text = f"n{self.n} c{self.c} h{self.h} w{self.w} k{self.k} r{_sizes(self.r, self.s)}"
        if self.stride != (1, 1):
            text += f" s{_sizes(*self.stride)}"
        top, bottom, left, right = self.padding
        if any(self.padding):
            text += f" p{_sizes(top, left)}" if (top, left) == (bottom, right) else f" p{top}:{bottom}x{left}:{right}"
        if self.dilation != (1, 1):
            text += f" d{_sizes(*self.dilation)}"
        return text + (f" g{self.groups}" if self.groups != 1 else "")

    @classmethod
    def parse(cls, text: str) -> "Conv2dSpec":
        """Read a problem string: ``n c h w k``, ``r`` filter, ``s`` stride, ``p`` padding, ``d`` dilation, ``g`` groups.

        A square size is one number, another is ``3x5``; padding that differs between the sides is ``p0:1x0:1``.

        >>> Conv2dSpec.parse("n2 c8 h9 w7 k4 r3x1 s2 p1x0 g2").weight_shape
        (4, 4, 3, 1)
        """
        fields: dict[str, str] = {}
        for word in text.split():
            match = re.fullmatch(r"([nchwkrspdg])([0-9x:]+)", word)
            if match is None or match[1] in fields:
                raise ArgumentError("parse", f"{word!r} is not a field like c64, r3x5 or p0:1x0:1, or stands twice, in {text!r}")
            fields[match[1]] = match[2]
        missing = [letter for letter in "nchwkr" if letter not in fields]
        if missing:
            raise ArgumentError("parse", f"{text!r} lacks {', '.join(missing)}")
        try:
            rows, _, columns = fields.get("p", "0").partition("x")
            top, _, bottom = rows.partition(":")
            left, _, right = (columns or rows).partition(":")
            n, c, h, w, k = (int(fields[letter]) for letter in "nchwk")
            padding = int(top), int(bottom or top), int(left), int(right or left)
            stride, dilation, groups = _read_sizes(fields.get("s", "1")), _read_sizes(fields.get("d", "1")), int(fields.get("g", "1"))
            return cls(n, c, h, w, k, *_read_sizes(fields["r"]), stride, padding, dilation, groups)
        except ValueError as error:
            if isinstance(error, ShapeError | ArgumentError):
                raise
            raise ArgumentError("parse", f"{text!r} has a malformed number") from error


def _sizes(rows: int, columns: int) -> str:
    return str(rows) if rows == columns else f"{rows}x{columns}"


def _read_sizes(text: str) -> Pair:
    rows, _, columns = text.partition("x")
    return int(rows), int(columns or rows)


class LinearSpec(NamedTuple):
    """One fully connected layer on n rows: y (n, k) = x (n, c) · wᵀ (c, k).

    >>> LinearSpec(n=8, c=25088, k=4096).macs
    822083584
    """

    n: int
    c: int
    k: int

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return self.n * self.c * self.k


@dataclass(frozen=True, slots=True)
class Pool2dSpec:
    """One pooling problem: windows of ``kernel`` cells, as PyTorch lays them over the input.

    Window (p, q) has the cells h = p·stride + r·dilation - padding, and w likewise; cells outside the input hold -inf for a
    maximum and 0 for an average. There are ⌊(h + 2·padding - span) / stride⌋ + 1 rows of windows; with ``ceil_mode`` the
    quotient is rounded up, and a last window that would begin beyond the input and its leading padding is dropped.

    ``count_include_pad`` and ``divisor_override`` concern averages alone: what the sum of a window is divided by.

    >>> Pool2dSpec(1, 64, 7, 7, kernel=(2, 2), stride=(2, 2)).output_shape
    (1, 64, 3, 3)
    >>> Pool2dSpec(1, 64, 7, 7, kernel=(2, 2), stride=(2, 2), ceil_mode=True).output_shape
    (1, 64, 4, 4)
    """

    n: int
    c: int
    h: int
    w: int
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None
    operation: str = "pool2d"
    """The name that error messages carry."""

    def __post_init__(self) -> None:
        name, facts = self.operation, {"input": self.input_shape, "kernel_size": self.kernel, "padding": self.padding}
        if self.n < 0 or min(self.c, self.h, self.w) < 1:
            raise ShapeError(name, f"only the batch may be empty, got input {self.input_shape}")
        if min(self.kernel) < 1 or min(self.stride) < 1 or min(self.dilation) < 1 or min(self.padding) < 0:
            problem = f"kernel_size, stride and dilation must be at least 1, padding at least 0; got stride {self.stride}, dilation {self.dilation}"
            raise ArgumentError(name, problem, **facts)
        if max(*self.kernel, *self.stride, *self.dilation) >= 1 << 31:
            raise ArgumentError(name, f"kernel_size, stride and dilation must be less than 2**31, got stride {self.stride}, dilation {self.dilation}", **facts)
        if any(2 * padding > kernel for padding, kernel in zip(self.padding, self.kernel, strict=True)):
            raise ArgumentError(name, f"padding must be at most half the kernel, got padding {self.padding} for kernel {self.kernel}")
        if self.divisor_override == 0:
            raise ArgumentError(name, "divisor_override must not be 0")
        if self.p < 1 or self.q < 1:
            raise ShapeError(name, f"the output would be {max(self.p, 0)}x{max(self.q, 0)}: the window is larger than the padded input", **facts)
        check_size(name, self.output_shape, **facts)
        for axis, (size, outputs) in enumerate(((self.h, self.p), (self.w, self.q))):
            starts_outside = range(-self.padding[axis], 0, self.stride[axis])[: min(outputs, self.dilation[axis])]  # the remainders repeat
            if any(start % self.dilation[axis] >= size for start in starts_outside):
                raise ArgumentError(name, f"dilation {self.dilation} makes a window step from the padding over the whole input", **facts)

    @classmethod
    def of(
        cls, operation: str, shape: tuple[int, ...], kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, **average: Any,
    ) -> "Pool2dSpec":  # fmt: skip
        """Read PyTorch's arguments: numbers or pairs, a stride that defaults to the kernel, (N, C, H, W) or (C, H, W).

        >>> Pool2dSpec.of("max_pool2d", (64, 224, 224), 2).output_shape
        (1, 64, 112, 112)
        """
        if len(shape) not in (3, 4):
            raise ShapeError(operation, f"input must be (N, C, H, W) or (C, H, W), got {len(shape)} dimensions", input=shape)
        n, c, h, w = shape if len(shape) == 4 else (1, *shape)
        kernel = pair(operation, "kernel_size", kernel_size, 1)
        return cls(
            n, c, h, w, kernel,
            stride=kernel if stride is None or stride == () or stride == [] else pair(operation, "stride", stride, 1),
            padding=pair(operation, "padding", padding, 0), dilation=pair(operation, "dilation", dilation, 1),
            ceil_mode=bool(ceil_mode), operation=operation, **average,
        )  # fmt: skip

    def _outputs(self, size: int, axis: int) -> int:
        stride, padding = self.stride[axis], self.padding[axis]
        room = size + 2 * padding - self.dilation[axis] * (self.kernel[axis] - 1) - 1
        if not self.ceil_mode:
            return room // stride + 1
        count = -(-room // stride) + 1
        return count - 1 if (count - 1) * stride >= size + padding else count

    @property
    def p(self) -> int:
        """Output rows."""
        return self._outputs(self.h, 0)

    @property
    def q(self) -> int:
        """Output columns."""
        return self._outputs(self.w, 1)

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.c, self.h, self.w

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return self.n, self.c, self.p, self.q

    @property
    def number_dtype(self) -> numpy.dtype:
        """The smallest integers that number the cells of a window: one byte for up to 256 cells."""
        return numpy.min_scalar_type(self.kernel[0] * self.kernel[1] - 1)

    def with_batch(self, n: int) -> "Pool2dSpec":
        """The same layer on ``n`` images."""
        return replace(self, n=n)

    def __str__(self) -> str:
        text = f"n{self.n} c{self.c} h{self.h} w{self.w} r{_sizes(*self.kernel)} s{_sizes(*self.stride)}"
        if any(self.padding):
            text += f" p{_sizes(*self.padding)}"
        if self.dilation != (1, 1):
            text += f" d{_sizes(*self.dilation)}"
        if self.divisor_override is not None:
            text += f" divisor{self.divisor_override}"
        return text + (" ceil" if self.ceil_mode else "") + ("" if self.count_include_pad else " nopad")

    @classmethod
    def parse(cls, text: str, operation: str = "pool2d") -> "Pool2dSpec":
        """Read a problem string: ``n c h w``, ``r`` window, ``s`` stride (the window if left out), ``p`` padding,
        ``d`` dilation, ``ceil`` for ceil_mode; for averages ``nopad`` (padding does not count) and ``divisor9``.

        >>> Pool2dSpec.parse("n1 c64 h224 w224 r3 s2 ceil").output_shape
        (1, 64, 112, 112)
        >>> str(Pool2dSpec.parse("n1 c64 h8 w8 r3x2 p1 nopad"))
        'n1 c64 h8 w8 r3x2 s3x2 p1 nopad'
        """
        fields: dict[str, str] = {}
        for word in text.split():
            match = re.fullmatch(r"([nchwrspd])(\d+(?:x\d+)?)|(divisor)(-?\d+)|(ceil|nopad)", word)
            name = (match[1] or match[3] or match[5]) if match else ""
            if match is None or name in fields:
                raise ArgumentError("parse", f"{word!r} is not a field like c64, r3x5, divisor9, ceil or nopad, or stands twice, in {text!r}")
            fields[name] = match[2] or match[4] or ""
        missing = [letter for letter in "nchwr" if letter not in fields]
        if missing or any("x" in fields[letter] for letter in "nchw"):
            raise ArgumentError("parse", f"{text!r} lacks {', '.join(missing)}" if missing else f"{text!r} has a pair where one number stands")
        n, c, h, w = (int(fields[letter]) for letter in "nchw")
        return cls(
            n, c, h, w, _read_sizes(fields["r"]), _read_sizes(fields.get("s", fields["r"])), _read_sizes(fields.get("p", "0")),
            _read_sizes(fields.get("d", "1")), ceil_mode="ceil" in fields, count_include_pad="nopad" not in fields,
            divisor_override=int(fields["divisor"]) if "divisor" in fields else None, operation=operation,
        )  # fmt: skip
