"""Convolution: out[n,k,p,q] = b[k] + Σ_crs x[n, c, p·stride + r·dilation - pad, q·stride + s·dilation - pad] · w[k,c,r,s].

Output ``y(x, w)``, input gradient ``x̄(ȳ, w)`` and weight gradient ``w̄(ȳ, x)`` are three bilinear maps that add up the same
products x·w·y, each one over what the other two hold fixed. So the derivative of each is made of the other two, and
differentiation closes: any order works. How each is computed stands in ``kernels/conv2d/``, one algorithm a file.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy

from minivgg.autograd import Function, Tensor
from minivgg.backend import FLOATING, device_of, empty
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.ops.arguments import check_tensors, hint, read_int
from minivgg.registry import ErrorSample, Operation, Sample, forced, select
from minivgg.spec import Conv2dSpec

Size = int | tuple[int, ...] | list[int]


def _run(operation: str, spec: Conv2dSpec, algorithm: str | None, shape: tuple[int, ...], like: Any, *inputs: Any) -> Any:
    chosen = select(operation, spec, like.dtype, algorithm, device_of(like))
    if chosen.channels_last and shape != spec.weight_shape:
        n, c, h, w = shape
        out = empty((n, h, w, c), like.dtype, like).transpose(0, 3, 1, 2)
    else:
        out = empty(shape, like.dtype, like)
    chosen(spec, *inputs, out)
    return out


class Conv2d(Function):
    """y(x, w) + b. Keeps x only for the gradient of w, and w only for the gradient of x."""

    def forward(self, x, w, b, spec, algorithm):
        self.spec, self.algorithm = spec, algorithm
        need_x, need_w, *_ = self.needs_input_grad
        self.save_for_backward(x if need_w else None, w if need_x else None)
        return _run("conv2d", spec, algorithm, spec.output_shape, x, x, w, b)

    def backward(self, grad):
        x, w = self.saved_tensors
        need_x, need_w, need_b, *_ = self.needs_input_grad
        grad_x = Conv2dGradInput.apply(grad, w, self.spec, self.algorithm) if need_x else None
        grad_w = Conv2dGradWeight.apply(grad, x, self.spec, self.algorithm) if need_w else None
        return grad_x, grad_w, grad.sum((0, 2, 3)) if need_b else None, None, None


class Conv2dGradInput(Function):
    """x̄(ȳ, w), the transpose of x -> y(x, w): also what is known as transposed convolution."""

    def forward(self, dy, w, spec, algorithm):
        self.spec, self.algorithm = spec, algorithm
        need_dy, need_w, *_ = self.needs_input_grad
        self.save_for_backward(dy if need_w else None, w if need_dy else None)
        return _run("conv2d_grad_input", spec, algorithm, spec.input_shape, dy, dy, w)

    def backward(self, grad):
        dy, w = self.saved_tensors
        need_dy, need_w, *_ = self.needs_input_grad
        grad_dy = Conv2d.apply(grad, w, None, self.spec, self.algorithm) if need_dy else None
        grad_w = Conv2dGradWeight.apply(dy, grad, self.spec, self.algorithm) if need_w else None
        return grad_dy, grad_w, None, None


class Conv2dGradWeight(Function):
    """w̄(ȳ, x), the transpose of w -> y(x, w)."""

    def forward(self, dy, x, spec, algorithm):
        self.spec, self.algorithm = spec, algorithm
        need_dy, need_x, *_ = self.needs_input_grad
        self.save_for_backward(dy if need_x else None, x if need_dy else None)
        return _run("conv2d_grad_weight", spec, algorithm, spec.weight_shape, dy, dy, x)

    def backward(self, grad):
        dy, x = self.saved_tensors
        need_dy, need_x, *_ = self.needs_input_grad
        grad_dy = Conv2d.apply(x, grad, None, self.spec, self.algorithm) if need_dy else None
        grad_x = Conv2dGradInput.apply(dy, grad, self.spec, self.algorithm) if need_x else None
        return grad_dy, grad_x, None, None


# The functions --------------------------------------------------------------------------------------------------------


def _check_dtypes(operation: str, **tensors: Tensor | None) -> None:
    check_tensors(operation, **{name: tensor for name, tensor in tensors.items() if tensor is not None or name != "bias"})
    dtypes = {name: tensor.dtype for name, tensor in tensors.items() if tensor is not None}
    if len(set(dtypes.values())) > 1 or not set(dtypes.values()) <= set(FLOATING):
        came = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise DtypeError(operation, f"takes tensors of one dtype, float32 or float64, got {came}{hint(*dtypes.values())}")


_known: Any = functools.lru_cache(maxsize=1024)(Conv2dSpec.of)
"""The layers of a network ask for the same ones again and again. Not for True, which equals 1."""


def problem_of(input: Tensor, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size | str, dilation: Size, groups: int) -> Conv2dSpec:
    """The problem that the arguments of ``conv2d`` describe, if they fit together."""
    _check_dtypes("conv2d", input=input, weight=weight, bias=bias)
    plain = all(type(value) is int or (type(value) is tuple and {*map(type, value)} == {int}) for value in (stride, padding, dilation, groups))
    spec = (_known if plain else Conv2dSpec.of)(input.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None and bias.shape != (spec.k,):
        raise ShapeError("conv2d", f"bias expects {spec.k} numbers, one an output channel, got shape {bias.shape}", weight=weight.shape)
    return spec


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None,
    stride: Size = 1, padding: Size | str = 0, dilation: Size = 1, groups: int = 1, *, algorithm: str | None = None,
) -> Tensor:  # fmt: skip
    """out[n,k,p,q] = bias[k] + Σ_crs input[n, c, p·stride + r·dilation - padding, ...] · weight[k,c,r,s].

    Strictly a correlation: the filter is not mirrored.

    ``input``     (N, C, H, W) or (C, H, W), in any memory order
    ``weight``    (K, C/groups, R, S);  ``bias``  (K,)
    ``padding``   zeros around the input: a number, (rows, columns), "valid" (none), or "same" (P, Q = H, W; stride must
                  be 1; of an odd number the one more goes below and to the right)
    ``dilation``  distance between the filter's taps in the input
    ``groups``    output channels k of group g see input channels of group g alone; C groups are a depthwise convolution
    ``algorithm`` forces one for this call and its gradients, like ``use_algorithm(conv2d=...)`` around it

    Result: (N, K, P, Q) with P = ⌊(H + 2·padding - dilation·(R - 1) - 1) / stride⌋ + 1, in the input's dtype.
    Cost: N·K·P·Q·C/groups·R·S multiply-adds by the definition. Raises ShapeError, ArgumentError, DtypeError.

    >>> import minivgg
    >>> image = minivgg.arange(9, dtype="float32").reshape(1, 1, 3, 3)
    >>> minivgg.conv2d(image, minivgg.ones(1, 1, 2, 2)).tolist()
    [[[[8.0, 12.0], [20.0, 24.0]]]]
    """
    spec = problem_of(input, weight, bias, stride, padding, dilation, groups)
    algorithm = forced("conv2d", algorithm)
    if input.ndim == 3:
        return Conv2d.apply(input.unsqueeze(0), weight, bias, spec, algorithm).squeeze(0)
    return Conv2d.apply(input, weight, bias, spec, algorithm)


def conv2d_input(
    input_size: tuple[int, ...], weight: Tensor, grad_output: Tensor,
    stride: Size = 1, padding: Size | str = 0, dilation: Size = 1, groups: int = 1, *, algorithm: str | None = None,
) -> Tensor:  # fmt: skip
    """The gradient of ``conv2d`` with respect to its input, of size (N, C, H, W): what each input element gave rise to.

    in[n,c,h,w] = Σ grad_output[n,k,p,q] · weight[k,c,r,s] over all k, p, q, r, s with h = p·stride + r·dilation - padding
    (and w likewise).

    >>> import minivgg
    >>> minivgg.nn.grad.conv2d_input((1, 1, 3, 3), minivgg.ones(1, 1, 2, 2), minivgg.ones(1, 1, 2, 2)).tolist()
    [[[[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]]]
    """
    _check_dtypes("conv2d_input", weight=weight, grad_output=grad_output)
    size = _read_size("conv2d_input", "input_size", input_size)
    spec = _spec_of_gradient("conv2d_input", grad_output, size, weight.shape, stride, padding, dilation, groups)
    return Conv2dGradInput.apply(grad_output, weight, spec, forced("conv2d", algorithm))


def conv2d_weight(
    input: Tensor, weight_size: tuple[int, ...], grad_output: Tensor,
    stride: Size = 1, padding: Size | str = 0, dilation: Size = 1, groups: int = 1, *, algorithm: str | None = None,
) -> Tensor:  # fmt: skip
    """The gradient of ``conv2d`` with respect to its weight, of size (K, C/groups, R, S).

    w[k,c,r,s] = Σ_npq grad_output[n,k,p,q] · input[n, c, p·stride + r·dilation - padding, ...].

    >>> import minivgg
    >>> image = minivgg.arange(9, dtype="float32").reshape(1, 1, 3, 3)
    >>> minivgg.nn.grad.conv2d_weight(image, (1, 1, 2, 2), minivgg.ones(1, 1, 2, 2)).tolist()
    [[[[8.0, 12.0], [20.0, 24.0]]]]
    """
    _check_dtypes("conv2d_weight", input=input, grad_output=grad_output)
    size = _read_size("conv2d_weight", "weight_size", weight_size)
    spec = _spec_of_gradient("conv2d_weight", grad_output, input.shape, size, stride, padding, dilation, groups)
    return Conv2dGradWeight.apply(grad_output, input, spec, forced("conv2d", algorithm))


def _read_size(operation: str, name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list):
        raise ArgumentError(operation, f"{name} must hold the sizes of all dimensions, got {value!r}")
    return tuple(read_int(operation, f"a size in {name}", size) for size in value)


def _spec_of_gradient(operation: str, grad_output: Tensor, input: tuple[int, ...], weight: tuple[int, ...], *arguments: Any) -> Conv2dSpec:
    if len(input) != 4:
        raise ShapeError(operation, f"input must be (N, C, H, W), got {len(input)} dimensions", input=input)
    spec = Conv2dSpec.of(input, weight, *arguments)
    if grad_output.shape != spec.output_shape:
        raise ShapeError(operation, f"grad_output expects shape {spec.output_shape}, got {grad_output.shape}", input=input, weight=weight)
    return spec


# Records --------------------------------------------------------------------------------------------------------------

_CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("n2 c3 h5 w4 k4 r3 p1", {"padding": 1}),
    ("n2 c2 h7 w6 k3 r3x2 s2x1 p1x0", {"stride": (2, 1), "padding": (1, 0)}),
    ("n1 c4 h6 w6 k6 r2x3 d2x1 g2", {"dilation": (2, 1), "groups": 2}),
    ("n1 c3 h5 w5 k3 r4x2 p1:2x0:1 g3", {"padding": "same", "groups": 3}),
    ("n2 c3 h4 w4 k2 r1 s2", {"stride": 2, "padding": "valid"}),
    ("n0 c2 h4 w4 k3 r3", {}),
)
"""Problems, each with the arguments that mean it."""


def _samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for i, (text, options) in enumerate(_CASES):
        spec = Conv2dSpec.parse(text)
        x, w, b = (rng.standard_normal(shape) for shape in (spec.input_shape, spec.weight_shape, (spec.k,)))
        yield Sample((x, w, b) if i % 2 == 0 else (x, w), options)
    yield Sample((rng.standard_normal((3, 4, 4)), rng.standard_normal((2, 3, 3, 3)), rng.standard_normal(2)), {"padding": 1})


def _input_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for text, options in _numbers_only():
        spec = Conv2dSpec.parse(text)
        yield Sample((spec.input_shape, rng.standard_normal(spec.weight_shape), rng.standard_normal(spec.output_shape)), options)


def _weight_samples(rng: numpy.random.Generator) -> Iterable[Sample]:
    for text, options in _numbers_only():
        spec = Conv2dSpec.parse(text)
        yield Sample((rng.standard_normal(spec.input_shape), spec.weight_shape, rng.standard_normal(spec.output_shape)), options)


def _numbers_only() -> Iterable[tuple[str, dict[str, Any]]]:
    """torch.nn.grad does not take padding by name."""
    return [(text, options) for text, options in _CASES if not isinstance(options.get("padding"), str)]


def _oracle(function: Callable[..., Tensor]) -> Callable[..., numpy.ndarray]:
    """The definition as plain loops: ``kernels/conv2d/reference.py``."""

    def compute(*args: Any, **kwargs: Any) -> numpy.ndarray:
        tensors = [Tensor(arg) if isinstance(arg, numpy.ndarray) else arg for arg in args]
        return function(*tensors, **kwargs, algorithm="reference").array

    return compute


def _errors() -> Iterable[ErrorSample]:
    x, w = numpy.zeros((2, 3, 8, 8)), numpy.zeros((6, 3, 3, 3))

    def error(kind: type[Exception], problem: str, *args: Any, **kwargs: Any) -> ErrorSample:
        return ErrorSample(args, kwargs, kind, f"conv2d: {problem}")

    wide = numpy.zeros((6, 4, 3, 3))
    yield error(ShapeError, "weight expects 4 input channels, input has 3 (input (2, 3, 8, 8), weight (6, 4, 3, 3), groups 1)", x, wide)
    yield error(ShapeError, "input must be (N, C, H, W) or (C, H, W), got 2 dimensions (input (8, 8))", x[0, 0], w)
    yield error(ShapeError, "weight must be (K, C/groups, R, S), got 3 dimensions (weight (6, 3, 3))", x, w[..., 0])
    yield error(ShapeError, "bias expects 6 numbers, one an output channel, got shape (5,) (weight (6, 3, 3, 3))", x, w, numpy.zeros(5))
    yield error(
        ShapeError,
        "the filter spans 17x17, the padded input is only 8x8 (input (2, 3, 8, 8), weight (6, 3, 3, 3), padding (0, 0, 0, 0), dilation (8, 8))",
        x, w, dilation=8,
    )  # fmt: skip
    yield error(ShapeError, "groups must divide the channels: 3 in, 6 out, groups 2", x, w, groups=2)
    yield error(ArgumentError, "groups must be an int of at least 1, got 0", x, w, groups=0)
    yield error(ArgumentError, "groups must be an int of at least 1, got True", x, w, groups=True)
    yield error(ArgumentError, "stride must be at least 1, got 0", x, w, stride=0)
    yield error(ArgumentError, "padding must be at least 0, got (1, -1)", x, w, padding=(1, -1))
    yield error(ArgumentError, "padding must be a number, a pair, 'same' or 'valid', got 'full'", x, w, padding="full")
    yield error(ArgumentError, "padding 'same' needs stride 1, got 2", x, w, padding="same", stride=2)
    yield error(DtypeError, "takes tensors of one dtype, float32 or float64, got input float64, weight float32", x, w.astype("float32"))
    yield error(DtypeError, "takes tensors of one dtype, float32 or float64, got input int64, weight int64", x.astype("int64"), w.astype("int64"))


def _gradient_errors(operation: str) -> Callable[[], Iterable[ErrorSample]]:
    """Both take (size or array of the input, of the weight, gradient of the output), one of the first two as a size."""
    x, w, dy = numpy.zeros((2, 3, 8, 8)), numpy.zeros((6, 3, 3, 3)), numpy.zeros((2, 6, 6, 6))
    read = (lambda x, w, dy: (x.shape, w, dy)) if operation == "conv2d_input" else (lambda x, w, dy: (x, w.shape, dy))

    def errors() -> Iterable[ErrorSample]:
        numbers = "(input (2, 3, 8, 8), weight (6, 3, 3, 3))"
        yield ErrorSample(read(x, w, dy[:, :, 1:]), {}, ShapeError, f"{operation}: grad_output expects shape (2, 6, 6, 6), got (2, 6, 5, 6) {numbers}")
        one_number = (8, w, dy) if operation == "conv2d_input" else (x, 8, dy)
        name = "input_size" if operation == "conv2d_input" else "weight_size"
        yield ErrorSample(one_number, {}, ArgumentError, f"{operation}: {name} must hold the sizes of all dimensions, got 8")
        yield ErrorSample(read(x[0], w, dy), {}, ShapeError, f"{operation}: input must be (N, C, H, W), got 3 dimensions (input (3, 8, 8))")

    return errors


OPERATION = Operation(
    conv2d,
    shapes="... C H W, K C/g R S, K? -> ... K P Q",
    samples=_samples,
    oracle=_oracle(conv2d),
    errors=_errors,
    torch="nn.functional.conv2d",
)
GRAD_INPUT = Operation(
    conv2d_input,
    shapes="K C/g R S, N K P Q -> N C H W",
    samples=_input_samples,
    oracle=_oracle(conv2d_input),
    errors=_gradient_errors("conv2d_input"),
    torch="nn.grad.conv2d_input",
    name="conv2d_grad_input",
)
GRAD_WEIGHT = Operation(
    conv2d_weight,
    shapes="N C H W, N K P Q -> K C/g R S",
    samples=_weight_samples,
    oracle=_oracle(conv2d_weight),
    errors=_gradient_errors("conv2d_weight"),
    torch="nn.grad.conv2d_weight",
    name="conv2d_grad_weight",
)
