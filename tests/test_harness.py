"""Tests of the tests: a defect of each kind is planted, and the check that is there for it must catch it.

The planted records are scratch: they never reach the registry that the other tests read.
"""

import time
from dataclasses import replace

import numpy
import pytest
import torch

import minivgg
from minivgg import registry
from minivgg.autograd import Function, Tensor
from minivgg.errors import ArgumentError, ShapeError
from minivgg.ops.reduce import sum_to
from minivgg.registry import ErrorSample, Operation, Sample, algorithms
from minivgg.testing import checks, gradcheck, kernel_checks
from minivgg.testing.operations import check_operation
from minivgg.testing.problems import problems
from minivgg.testing.shapes import bind, parse

FLOAT32, FLOAT64 = numpy.dtype("float32"), numpy.dtype("float64")


@pytest.fixture(autouse=True)
def scratch(monkeypatch):
    """Records made here are forgotten again."""
    monkeypatch.setattr(registry, "OPERATIONS", {})


def record(function, **fields):
    """A scratch record of an operation on one array."""
    fields = {"shapes": "* -> *", "samples": lambda rng: [], "oracle": lambda *args: None, **fields}
    return Operation(function, name="planted", **fields)


def sample(*arrays, **kwargs):
    return Sample(arrays, kwargs)


X = numpy.arange(1.0, 7.0).reshape(2, 3)


def caught(check, *args, match):
    with pytest.raises(AssertionError, match=match):
        check(*args)


# Gradients ------------------------------------------------------------------------------------------------------------


class Multiply(Function):
    """a · b of (2, 3) and (3,); subclasses get one thing wrong."""

    def forward(self, a, b):
        self.save_for_backward(a, b)
        return a * b

    def backward(self, grad):
        a, b = self.saved_tensors
        return grad * b, sum_to(grad * a, b.shape)


class WrongSign(Multiply):
    def backward(self, grad):
        a, b = self.saved_tensors
        return -grad * b, sum_to(grad * a, b.shape)


class MissingFactor(Multiply):
    def backward(self, grad):
        a, b = self.saved_tensors
        return grad, sum_to(grad * a, b.shape)


class SlightlyWrongFactor(Multiply):
    def backward(self, grad):
        a, b = self.saved_tensors
        return grad * b * 1.0001, sum_to(grad * a, b.shape)


class MissingSum(Multiply):
    """What broadcasting copied is not added up: only the first row counts."""

    def backward(self, grad):
        a, b = self.saved_tensors
        return grad * b, (grad * a)[0]


class MeanForSum(Multiply):
    def backward(self, grad):
        a, b = self.saved_tensors
        return grad * b, (grad * a).mean(0)


class Rearranged(Multiply):
    """Each gradient is right, but arrives at another element: f(x).sum() would not notice where b is uniform."""

    def backward(self, grad):
        a, b = self.saved_tensors
        return (grad * b).transpose(0, 1).reshape(2, 3), sum_to(grad * a, b.shape)


class NotLinear(Multiply):
    """Right for one size of the upstream gradient, wrong for others."""

    def backward(self, grad):
        a, b = self.saved_tensors
        return grad * b * grad.abs().max() / 2, sum_to(grad * a, b.shape)


class Forgotten(Multiply):
    """The gradient of the second argument is left out."""

    def backward(self, grad):
        _, b = self.saved_tensors
        return grad * b, None


@pytest.mark.parametrize("planted", [WrongSign, MissingFactor, SlightlyWrongFactor, MissingSum, MeanForSum, Rearranged, NotLinear, Forgotten])
def test_wrong_gradient_is_caught(planted):
    arguments = sample(X, numpy.array([2.0, 2.0, 2.0]))
    checks.check_gradient(record(lambda a, b: Multiply.apply(a, b)), arguments, 1)
    registry.OPERATIONS.clear()
    wrong = record(lambda a, b: planted.apply(a, b))
    caught(checks.check_gradient, wrong, arguments, 1, match=r"(?s)gradcheck of planted, order 1: FAILED.*FAIL  [ab] ")


def test_gradient_of_wrong_shape_is_an_error_of_the_engine():
    class Wrong(Multiply):
        def backward(self, grad):
            a, b = self.saved_tensors
            return grad * b, grad * a

    wrong = r"(?s)missing sum over broadcast.*ShapeError: Wrong: backward .* shape \(3,\).* argument 1, .* \(2, 3\)"
    with pytest.raises(AssertionError, match=wrong):
        checks.check_gradient(record(lambda a, b: Wrong.apply(a, b)), sample(X, numpy.ones(3)), 1)


def test_uniform_upstream_gradient_would_not_notice():
    """Why the upstream gradient is random."""
    a, b = minivgg.tensor(X, requires_grad=True), minivgg.tensor([2.0, 2.0, 2.0], dtype="float64")
    right, wrong = (minivgg.autograd.grad(kind.apply(a, b).sum(), a)[0].numpy() for kind in (Multiply, Rearranged))
    numpy.testing.assert_array_equal(right, wrong)


class Cube(Function):
    def forward(self, x):
        self.save_for_backward(x)
        return x**3

    def backward(self, grad):
        (x,) = self.saved_tensors
        return 3 * x * x * grad


class DetachedCube(Cube):
    """The first derivative is right; the second is cut off, because backward computes with an array."""

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * Tensor(3 * x.array * x.array)


class ArrayCube(Cube):
    """The same, and with respect to the upstream gradient too."""

    def backward(self, grad):
        (x,) = self.saved_tensors
        return Tensor(3 * x.array * x.array * grad.array)


class WronglyDerivedCube(Cube):
    """The gradient is computed by a Function whose own derivative is wrong."""

    def backward(self, grad):
        (x,) = self.saved_tensors
        return WrongSign.apply(x * x, 3 * grad)


@pytest.mark.parametrize("planted", [DetachedCube, ArrayCube, WronglyDerivedCube])
def test_wrong_second_derivative_is_caught(planted):
    right, wrong = record(lambda x: Cube.apply(x)), replace_function(lambda x: planted.apply(x))
    checks.check_gradient(right, sample(X), 2)
    checks.check_gradient(wrong, sample(X), 1)
    caught(checks.check_gradient, wrong, sample(X), 2, match="gradcheck of planted, order 2: FAILED")


def replace_function(function, **fields):
    registry.OPERATIONS.clear()
    return record(function, **fields)


def test_table_of_operations_shows_the_failure_and_goes_on():
    def raises(x):
        raise ZeroDivisionError("planted")

    row = check_operation(record(lambda a, b: WrongSign.apply(a, b), samples=lambda rng: [sample(X, numpy.ones(3))]))
    assert (row.ok, row.samples) == (False, 1)
    (failure,) = row.failures  # the second derivative is that of the wrong gradient, and right
    assert failure.order == 1
    assert "FAIL  a " in str(failure)
    row = check_operation(replace_function(raises, samples=lambda rng: [sample(X)]))
    assert not row.ok
    assert "ZeroDivisionError: planted" in str(row.failures[0])


# Operations -----------------------------------------------------------------------------------------------------------


def test_wrong_forward_is_caught():
    operation = record(lambda x: x * (1 + 1e-9), oracle=lambda x: x)
    caught(checks.check_forward, operation, sample(X), FLOAT64, match="planted: output 0 differs from the oracle, in float64")
    checks.check_forward(operation, sample(X), FLOAT32)


def test_wrong_shape_of_output_is_caught():
    operation = record(lambda x: x, oracle=lambda x: x.reshape(3, 2))
    caught(checks.check_forward, operation, sample(X), FLOAT64, match=r"output 0 has shape \(2, 3\), by the oracle, in float64 \(3, 2\)")


def test_missing_output_is_caught():
    operation = record(lambda x: x, oracle=lambda x: (x, x))
    caught(checks.check_forward, operation, sample(X), FLOAT64, match="1 outputs instead of 2")


def test_loss_of_float32_is_caught():
    operation = record(lambda x: x.to("float64"))
    caught(checks.check_dtype, operation, sample(X), FLOAT32, match="planted: output 0 is float64, the inputs are float32")
    checks.check_dtype(operation, sample(X), FLOAT64)


class MemoryOrder(Function):
    """Reads memory as it lies, whatever the strides say."""

    def forward(self, x):
        return numpy.frombuffer(x.tobytes(order="A"), x.dtype).reshape(x.shape) if x.flags.f_contiguous else x.copy()

    def backward(self, grad):
        return grad


class IgnoresStrides(Function):
    def forward(self, x):
        base = x if x.base is None or x.base.dtype != x.dtype else x.base
        return base.reshape(-1)[: x.size].reshape(x.shape).copy()

    def backward(self, grad):
        return grad


class WritesInput(Function):
    """Puts the input back, but has written to it."""

    def forward(self, x):
        x += 1
        x -= 1
        return x.copy()

    def backward(self, grad):
        return grad


@pytest.mark.parametrize(("planted", "layout"), [(MemoryOrder, "transposed"), (IgnoresStrides, "strided"), (IgnoresStrides, "reversed")])
def test_dependence_on_memory_order_is_caught(planted, layout):
    operation = record(lambda x: planted.apply(x))
    caught(checks.check_layout, operation, sample(X), layout, match=f"output 0 differs from row-major memory, for {layout} inputs")


def test_channels_last_is_another_memory_order():
    image = numpy.arange(24.0).reshape(1, 2, 3, 4)
    operation = record(lambda x: IgnoresStrides.apply(x))
    caught(checks.check_layout, operation, sample(image), "channels_last", match="for channels_last inputs")


def test_write_to_read_only_input_is_caught():
    with pytest.raises(ValueError, match="read-only"):
        checks.check_layout(record(lambda x: WritesInput.apply(x)), sample(X), "read_only")


def test_changed_input_is_caught():
    class Overwrites(Function):
        def forward(self, x):
            x[0] = 0
            return x.copy()

        def backward(self, grad):
            return grad

    caught(checks.check_inputs_unchanged, record(lambda x: Overwrites.apply(x)), sample(X), match="array 0 among its inputs was changed")


def test_input_changed_by_backward_is_caught():
    class Overwrites(Cube):
        def backward(self, grad):
            (x,) = self.saved_tensors
            x.array[0] = 0
            return grad

    caught(checks.check_inputs_unchanged, record(lambda x: Overwrites.apply(x)), sample(X), match="was changed")


def test_other_bits_in_a_second_run_are_caught():
    generator = numpy.random.default_rng(0)
    operation = record(lambda x: x + generator.standard_normal() * 1e-15)
    caught(checks.check_repeatable, operation, sample(X), match="output 0 has other bits in a second run")


@pytest.mark.parametrize(
    ("message", "error", "match"),
    [
        ("planted: x must be 1, got 3", ArgumentError, "but it was with\nArgumentError: planted: x must be 1, got 2"),
        ("planted: x must be 1, got 2", ShapeError, "must be refused with\nShapeError: .*\nbut it was with\nArgumentError: "),
    ],
)
def test_wrong_message_or_class_is_caught(message, error, match):
    def refuse(x):
        raise ArgumentError("planted", "x must be 1, got 2")

    checks.check_error(record(refuse), ErrorSample((X,), {}, ArgumentError, "planted: x must be 1, got 2"))
    caught(checks.check_error, replace_function(refuse), ErrorSample((X,), {}, error, message), match=match)


def test_missing_refusal_is_caught():
    caught(checks.check_error, record(lambda x: x), ErrorSample((X,), {}, ArgumentError, "no"), match="ArgumentError: no\nbut it was not")


@pytest.mark.parametrize(
    ("planted", "match"),
    [
        (lambda x: x.exp() + 1e-8, "output 0 differs from PyTorch"),
        (lambda x: x.exp().detach() + x - x.detach(), "gradient 0 differs from PyTorch"),
        (lambda x: DetachedExp.apply(x), "second gradient 0 differs from PyTorch"),
    ],
)
def test_disagreement_with_torch_is_caught(planted, match):
    checks.check_against_torch(record(lambda x: x.exp(), torch="exp"), sample(X), torch)
    caught(checks.check_against_torch, replace_function(planted, torch="exp"), sample(X), torch, match=f"planted: {match}")


class DetachedExp(Function):
    def forward(self, x):
        self.save_for_backward(x)
        return numpy.exp(x)

    def backward(self, grad):
        (x,) = self.saved_tensors
        return grad * Tensor(numpy.exp(x.array))


# Shapes ---------------------------------------------------------------------------------------------------------------


def test_wrong_line_of_shapes_is_caught():
    match = r"planted: argument 0 has 2 dimensions, 'N C H' has 3, in 'N C H -> N' \(shapes \(2, 3\), \(2, 3\)\)"
    caught(checks.check_shapes, record(lambda x: x * 1, shapes="N C H -> N"), sample(X), match=match)
    caught(checks.check_shapes, replace_function(lambda x: x * 1, shapes="N C -> C N"), sample(X), match="C is 2 in result 0, but 3 before")


FITS = [
    ("* -> *", [(2, 3)], (2, 3)),
    ("* -> _", [(2, 3)], (7,)),
    ("* -> ()", [(2, 3)], ()),
    ("..., ... -> ...", [(2, 1), (3,)], (2, 3)),
    ("... M K, ... K N -> ... M N", [(5, 1, 2, 3), (4, 3, 6)], (5, 4, 2, 6)),
    ("N C ..., N ... -> N ...", [(2, 3, 4, 5), (2, 4, 5)], (2, 4, 5)),
    ("N C H W, K C/g R S, K? -> N K P Q", [(1, 4, 5, 5), (6, 2, 3, 3)], (1, 6, 3, 3)),
    ("N C H W, K C/g R S, K? -> N K P Q", [(1, 4, 5, 5), (6, 2, 3, 3), (6,)], (1, 6, 3, 3)),
    ("K C/g R S, N K P Q -> N C H W", [(6, 2, 3, 3), (1, 6, 3, 3)], (1, 4, 5, 5)),
    ("N 2 -> N", [(3, 2)], (3,)),
    ("N -> N | N C -> N", [(3, 2)], (3,)),
]

DOES_NOT_FIT = [
    ("* -> *", [(2, 3)], (3, 2), r"\* is \(3, 2\) in result 0, but \(2, 3\) before"),
    ("* -> ()", [(2, 3)], (1,), r"result 0 has 1 dimensions, '\(\)' has 0"),
    ("..., ... -> ...", [(2, 1), (3,)], (3,), r"\.\.\. is \(3,\) in result 0, but \(2, 3\) before"),
    ("..., ... -> ...", [(2,), (3,)], (3,), r"\.\.\. is \(3,\) in argument 1, which does not broadcast with \(2,\)"),
    ("... M K, ... K N -> ... M N", [(2, 3), (4, 5)], (2, 5), "K is 4 in argument 1, but 3 before"),
    ("... M K -> ... M", [(3,)], (3,), r"argument 0 has 1 dimensions, '\.\.\. M K' needs at least 2"),
    ("N C H W, K C/g R S, K? -> N K P Q", [(1, 4, 5, 5), (6, 3, 3, 3)], (1, 6, 3, 3), "C/g is 3 in argument 1, which does not divide C 4"),
    ("N C H W, K C/g R S, K? -> N K P Q", [(1, 4, 5, 5), (6, 2, 3, 3), (5,)], (1, 6, 3, 3), "K is 5 in argument 2, but 6 before"),
    ("N C, K C -> N K", [(2, 3)], (2, 4), "nothing is given for 'K C'"),
    ("N C -> N", [(2, 3), (4,)], (2,), "1 shapes, but tensor number 1 is one too many"),
    ("N 2 -> N", [(3, 4)], (3,), "argument 0 has 4 where 2 is asked for"),
    ("N -> N | N C -> C", [(3, 2)], (3,), "'N' has 1, in 'N -> N'; C is 3 in result 0, but 2 before, in 'N C -> C'"),
]


@pytest.mark.parametrize(("line", "arguments", "result"), FITS)
def test_shapes_fit(line, arguments, result):
    bind(line, [numpy.zeros(shape) for shape in arguments], numpy.zeros(result))


@pytest.mark.parametrize(("line", "arguments", "result", "match"), DOES_NOT_FIT)
def test_shapes_do_not_fit(line, arguments, result, match):
    with pytest.raises(ShapeError, match=match):
        bind(line, [numpy.zeros(shape) for shape in arguments], numpy.zeros(result), "planted")


def test_shapes_of_lists_numbers_and_several_results():
    a, b = numpy.zeros((2, 3)), numpy.zeros((3,))
    assert bind("[*] -> _", [[a, a], 0], numpy.zeros((4, 3)))["*"] == (2, 3)
    assert bind("* -> [_]", [a, 2], (b, b, b)) == {"*": (2, 3)}
    assert bind("..., ... -> ...", [3, a], a)["..."] == (2, 3)
    assert bind("N C -> N, N?", [a, 1], numpy.zeros(2)) == {"N": 2, "C": 3}
    with pytest.raises(ShapeError, match=r"\* is \(3,\) in argument 0, but \(2, 3\) before"):
        bind("[*] -> _", [[a, b]], a)
    with pytest.raises(ShapeError, match="tensor number 0 is no list in the line, but a list in the call"):
        bind("* -> _", [[a, a]], a)
    with pytest.raises(ShapeError, match="tensor number 0 is a list in the line, but no list in the call"):
        bind("[*] -> _", [a], a)


@pytest.mark.parametrize("line", ["N C", "N -> C -> N", "N, -> N", "N C,, K -> N", "NC -> N", "N C/ -> N", "... ... -> N", "* N -> N", "N -> ...", "N -> *"])
def test_malformed_line_is_refused(line):
    with pytest.raises(ArgumentError, match=r"^shapes: "):
        parse(line)


# Algorithms -----------------------------------------------------------------------------------------------------------

PROBLEM = problems("conv2d")[0]
POOLING = problems("max_pool2d")[0]


def kernel(run, **fields):
    """The reference with another ``run``."""
    given = algorithms("conv2d")["reference"]
    return replace(given, name="planted", run=run, **fields)


def correct(spec, x, w, b, out):
    algorithms("conv2d")["reference"].run(spec, x, w, b, out)


def test_right_algorithm_passes():
    for dtype in (FLOAT32, FLOAT64):
        for layout in kernel_checks.LAYOUTS:
            kernel_checks.check_result(kernel(correct), PROBLEM, dtype, layout)
    kernel_checks.check_inputs(kernel(correct), PROBLEM)
    kernel_checks.check_workspace(kernel(correct), PROBLEM, FLOAT32, "row_major")


def test_unwritten_element_is_caught():
    def run(spec, x, w, b, out):
        before = float(out[1, 2, 3, 4])
        correct(spec, x, w, b, out)
        out[1, 2, 3, 4] = before

    caught(kernel_checks.check_result, kernel(run), PROBLEM, FLOAT32, "row_major", match=r"output 0 was left unwritten at \(1, 2, 3, 4\) \(and 0 more\)")


@pytest.mark.parametrize("hidden", [numpy.nan, 1e30])
def test_unwritten_element_is_caught_whatever_it_seems_to_hold(hidden):
    """Why there are two poisons: a kernel that happens to make something of one of them does not of the other."""

    def run(spec, x, w, b, out):
        keeps = numpy.array_equal(out[0, 0, 0, 0], out.dtype.type(hidden), equal_nan=True)
        before = float(out[0, 0, 0, 0])
        correct(spec, x, w, b, out)
        if not keeps:
            out[0, 0, 0, 0] = before

    caught(kernel_checks.check_result, kernel(run), PROBLEM, FLOAT32, "row_major", match=r"output 0 was left unwritten at \(0, 0, 0, 0\)")


def test_accumulation_into_old_memory_is_caught():
    def run(spec, x, w, b, out):
        fresh = numpy.empty_like(out)
        correct(spec, x, w, b, fresh)
        out += fresh

    caught(kernel_checks.check_result, kernel(run), PROBLEM, FLOAT64, "row_major", match="output 0 was left unwritten")


def test_unwritten_number_is_caught():
    def run(spec, x, out, numbers):
        before = int(numbers[0, 0, 0, 0])
        algorithms("max_pool2d")["reference"].run(spec, x, out, numbers)
        numbers[0, 0, 0, 0] = before

    planted = replace(algorithms("max_pool2d")["reference"], run=run)
    caught(kernel_checks.check_result, planted, POOLING, FLOAT32, "row_major", match="output 1 was left unwritten")


def test_wrong_number_of_a_tie_is_caught():
    """Small integers tie all the time: the first of equals must win."""

    def run(spec, x, out, numbers):
        flipped = numpy.flip(x, (2, 3))
        algorithms("max_pool2d")["reference"].run(spec, flipped, out, numbers)
        out[...] = numpy.flip(out, (2, 3)).copy()
        numbers[...] = numpy.flip(3 - numbers, (2, 3)).copy()

    planted = replace(algorithms("max_pool2d")["reference"], run=run)
    assert str(POOLING.spec) == "n2 c3 h8 w8 r2 s2"
    caught(kernel_checks.check_result, planted, POOLING, FLOAT32, "row_major", match="integers in float32, row_major: output 1 is")


def test_wrong_element_is_caught():
    def run(spec, x, w, b, out):
        correct(spec, x, w, b, out)
        out[0, 0, 0, 0] += 1

    caught(kernel_checks.check_result, kernel(run), PROBLEM, FLOAT32, "row_major", match=r"output 0 is .* at \(0, 0, 0, 0\), by the reference")


def test_algorithm_that_is_not_exact_is_caught():
    """A relative error of 1e-7 is allowed, but not to the bit; of 1e-5 it is too much."""

    def off_by(error):
        def run(spec, x, w, b, out):
            correct(spec, x, w, b, out)
            out *= out.dtype.type(1 + error)

        return run

    caught(kernel_checks.check_result, kernel(off_by(2e-7)), PROBLEM, FLOAT32, "row_major", match="integers in float32, row_major: output 0 is")
    kernel_checks.check_result(kernel(off_by(2e-7), exact=False), PROBLEM, FLOAT32, "row_major")
    match = r"relative error 1\.0.e-05, declared is at most 2\.00e-06"
    caught(kernel_checks.check_result, kernel(off_by(1e-5), exact=False), PROBLEM, FLOAT32, "row_major", match=match)


def test_float64_computed_in_float32_is_caught():
    def run(spec, x, w, b, out):
        single = numpy.empty(out.shape, "float32")
        correct(spec, x.astype("float32"), w.astype("float32"), b, single)
        out[...] = single

    caught(
        kernel_checks.check_result,
        kernel(run, exact=False),
        PROBLEM,
        FLOAT64,
        "row_major",
        match="normal in float64, row_major: output 0 has the relative error",
    )


def test_algorithm_that_ignores_strides_is_caught():
    def run(spec, x, w, b, out):
        flat = numpy.lib.stride_tricks.as_strided(x, x.shape, numpy.empty(x.shape, x.dtype).strides)
        correct(spec, flat if x.strides[-1] > 0 else x, w, b, out)

    caught(kernel_checks.check_result, kernel(run), PROBLEM, FLOAT32, "channels_last", match="channels_last: output 0")
    kernel_checks.check_result(kernel(run), PROBLEM, FLOAT32, "row_major")


def test_chance_is_caught():
    generator = numpy.random.default_rng(0)

    def run(spec, x, w, b, out):
        correct(spec, x, w, b, out)
        out *= 1 + generator.standard_normal(out.shape) * 1e-7

    caught(kernel_checks.check_result, kernel(run, exact=False), PROBLEM, FLOAT32, "row_major", match="other bits in a second run")


def test_changed_kernel_input_is_caught():
    def run(spec, x, w, b, out):
        correct(spec, x, w, b, out)
        if w.flags.writeable:
            w[0, 0, 0, 0] = 0

    caught(kernel_checks.check_inputs, kernel(run), PROBLEM, match="input 1 was changed")


def test_write_to_read_only_kernel_input_is_caught():
    def run(spec, x, w, b, out):
        x += 0
        correct(spec, x, w, b, out)

    caught(kernel_checks.check_inputs, kernel(run), PROBLEM, match="read-only inputs made it raise ValueError")


def test_undeclared_scratch_memory_is_caught():
    def run(spec, x, w, b, out):
        numpy.ones(1 << 20)
        correct(spec, x, w, b, out)

    caught(kernel_checks.check_workspace, kernel(run), PROBLEM, FLOAT32, "row_major", match="took 8[0-9]{6} bytes of scratch memory, declares")


@pytest.mark.parametrize(
    ("sentence", "match"),
    [
        (None, "is supported"),
        ("no", "'no' is no sentence that says why not"),
        ("stride must be 1.", "full stop"),
        ("stride must be 1, got 2", "refuses, but can be forced"),
    ],
)
def test_refusal_without_a_reason_is_caught(monkeypatch, sentence, match):
    """The last one refuses properly, but the registry holds another record by that name, which does not."""
    planted = kernel(correct, supports=lambda spec, dtype: sentence)
    monkeypatch.setitem(algorithms("conv2d"), "planted", kernel(correct))
    caught(kernel_checks.check_refusal, planted, PROBLEM, FLOAT32, match=match)


def test_proper_refusal_passes(monkeypatch):
    planted = kernel(correct, supports=lambda spec, dtype: "stride must be 1, got 2x2")
    monkeypatch.setitem(algorithms("conv2d"), "planted", planted)
    kernel_checks.check_refusal(planted, PROBLEM, FLOAT32)


def test_operation_without_problems_is_refused():
    with pytest.raises(ArgumentError, match=r"the kernels of planted have no problems to be judged by; add them to minivgg/testing/problems\.py"):
        problems("planted")


def test_gradcheck_measures_its_time():
    start = time.perf_counter()
    report = gradcheck(lambda x: x * 2, minivgg.tensor(X, requires_grad=True))
    assert 0 < report.seconds <= time.perf_counter() - start
