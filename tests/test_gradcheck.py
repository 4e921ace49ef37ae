"""The gradient check itself: known errors come out as known numbers, its report says where, and it leaves its inputs alone."""

import json

import hypothesis.extra.numpy as nps
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivgg
from minivgg import nn
from minivgg.errors import ArgumentError
from minivgg.registry import OPERATIONS
from minivgg.testing import GradcheckError, check_operation, gradcheck, gradcheck_all, gradgradcheck
from minivgg.testing.gradients.differences import central
from minivgg.testing.gradients.subject import subject_of


def leaf(value):
    return minivgg.tensor(numpy.asarray(value, "float64"), requires_grad=True)


class Scaled(minivgg.Function):
    """2x, with a gradient that may be multiplied elementwise by a wrong factor."""

    def forward(self, x, factor):
        self.factor = factor
        return 2 * x

    def backward(self, grad):
        return 2 * grad * minivgg.tensor(self.factor), None


def test_differences_have_the_error_that_theory_says():
    """(f(x + e) - f(x - e)) / 2e is 3x² + e² for x³, to the last digits."""
    subject = subject_of(lambda x: x**3, leaf([0.5, 2.0]))
    columns = [central(subject, "x", (i,), 0.25) for i in (0, 1)]
    numpy.testing.assert_allclose(columns, [[3 * 0.25 + 0.0625, 0], [0, 12 + 0.0625]], rtol=1e-14)


def test_error_is_the_planted_one():
    """A gradient 1 % too large has the error 0.01 · |n| / (|n| + atol / rtol)."""
    report = gradcheck(lambda x: Scaled.apply(x, numpy.full(4, 1.01)), leaf(numpy.ones(4)), raise_exception=False)
    (line,) = report.inputs
    assert not report
    assert line.analytic == pytest.approx(1.01 * line.numeric, rel=1e-8)
    assert report.max_error == line.error == pytest.approx(0.01 * abs(line.numeric) / (abs(line.numeric) + 1e-2), rel=1e-6)


def test_tolerances_are_pytorchs_criterion():
    """|analytic - numeric| <= atol + rtol · |numeric|."""

    def wrong(x):
        return Scaled.apply(x, numpy.full(1, 1.01))

    x = leaf([1.0])
    numeric = abs(gradcheck(wrong, x, raise_exception=False).inputs[0].numeric)
    assert gradcheck(wrong, x, atol=0.0, rtol=0.0101)
    assert not gradcheck(wrong, x, atol=0.0, rtol=0.0099, raise_exception=False)
    assert gradcheck(wrong, x, atol=0.011 * numeric, rtol=1e-12)
    assert not gradcheck(wrong, x, atol=0.009 * numeric, rtol=1e-12, raise_exception=False)


@given(nps.array_shapes(min_dims=1, max_dims=3, max_side=4), st.data())
def test_the_worst_index_is_the_wrong_element(shape, data):
    """One wrong element among many is found, and named."""
    index = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    factor = numpy.ones(shape)
    factor[index] = data.draw(st.sampled_from([-1.0, 0.0, 1.5, 0.9]))
    report = gradcheck(lambda x: Scaled.apply(x, factor), leaf(numpy.ones(shape)), raise_exception=False)
    assert not report
    assert report.inputs[0].worst == index
    assert gradcheck(lambda x: Scaled.apply(x, numpy.ones(shape)), leaf(numpy.ones(shape)))


def test_error_text_is_the_report():
    x, y = leaf(numpy.ones((2, 3))), leaf(2.0)
    factor = numpy.ones((2, 3))
    factor[1, 2] = 0.7
    with pytest.raises(GradcheckError) as caught:
        gradcheck(lambda x, y: Scaled.apply(x, factor) + y, (x, y))
    text, report = str(caught.value), caught.value.report
    assert text == str(report)
    title, coverage, head, first, second, *rest = text.splitlines()
    assert coverage == "checked: all 7 input elements, every one of 6 outputs and 3 random upstream gradients"
    assert title.startswith("gradcheck of <lambda>, order 1: FAILED, 7 elements, largest error ")
    assert head.split() == ["input", "shape", "elements", "error", "worst", "at", "analytic", "numeric"]
    assert first.startswith("FAIL  x      (2, 3)  6 ")
    assert "x[i=1, j=2]" in first
    assert second.startswith("ok    y      ()      1 ")
    assert rest[0] == "at x[i=1, j=2]:"
    assert rest[3].startswith("diagnosis (x): wrong at some elements. The gradient is wrong at i=1 (the last), j=2 (the last), and right elsewhere.")


def test_report_is_plain_data():
    report = gradcheck(lambda x: x.exp(), leaf([[1.0, 2.0]]))
    data = json.loads(json.dumps(report.as_dict()))
    assert (data["function"], data["order"], data["ok"], data["elements"], data["diagnoses"]) == ("<lambda>", 1, True, 2, [])
    assert data["inputs"][0]["shape"] == [1, 2]
    assert data["max_error"] == data["inputs"][0]["error"] < 1e-8


def test_second_derivative_is_checked_by_the_upstream_gradient_too():
    report = gradgradcheck(lambda a, b: a * b, (leaf(numpy.ones(3)), leaf(2.0)))
    assert [(line.name, line.elements) for line in report.inputs] == [("a", 3), ("b", 1), ("grad_output 0", 3)]


def test_module_is_checked_by_its_parameters_and_left_as_it_was():
    minivgg.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(minivgg.float64)
    before = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    x = leaf(numpy.ones((2, 3)))
    report = gradcheck(net, x)
    assert [line.name for line in report.inputs] == ["input", "0.weight", "0.bias", "1.weight", "1.bias"]
    assert report.elements == 6 + 12 + 4 + 8 + 2
    assert gradgradcheck(net, x)
    for name, value in net.state_dict().items():
        assert value.numpy().tobytes() == before[name].tobytes()
    assert x.grad is None
    assert all(parameter.grad is None for parameter in net.parameters())


def test_function_class_is_applied():
    assert gradcheck(Scaled, (leaf([1.0, 2.0]), numpy.ones(2)))
    assert gradgradcheck(Scaled, (leaf([1.0, 2.0]), numpy.ones(2)))


def test_several_outputs_views_and_integers():
    """Outputs that are views of the input move with it; integer outputs do not count."""
    assert gradcheck(lambda x: (x.reshape(6), x.max(1).values, x.argmax(1)), leaf(numpy.arange(6.0).reshape(2, 3)))


def test_inputs_that_require_no_gradient_are_constants():
    report = gradcheck(lambda x, c, n: x * c * n, (leaf([1.0]), minivgg.tensor([3.0], dtype="float64"), 2))
    assert [line.name for line in report.inputs] == ["x"]


def test_input_memory_is_not_written():
    frozen = numpy.ones(3)
    frozen.flags.writeable = False
    assert gradcheck(lambda x: x * x, minivgg.Tensor(frozen, requires_grad=True))


def test_no_elements():
    report = gradcheck(lambda x: x * 2, leaf(numpy.ones((0, 3))))
    assert report
    assert report.elements == 0


def test_kink_is_a_remark_not_an_alarm():
    """At the kink of ReLU differences give 1/2, backward 0, which lies between the derivatives from left and right."""
    report = gradcheck(lambda x: x.relu(), leaf([1.0, 0.0]))
    assert report.inputs[0].kinks == 1
    (remark,) = report.diagnoses
    assert (remark.kind, remark.fault) == ("kink", False)
    assert remark.evidence == "at x[i=1] = 0: from 0 to 1, backward gives 0"


def test_nan_is_no_agreement():
    assert not gradcheck(lambda x: (x - 2).log(), leaf([1.0]), raise_exception=False)


def test_functions_that_change_between_calls_are_named():
    calls = iter(range(1000))
    with pytest.raises(GradcheckError, match=r"forward not deterministic\. Two calls with the same inputs gave different results"):
        gradcheck(lambda x: x * next(calls), leaf([1.0]))


def test_refusals():
    with pytest.raises(ArgumentError, match="at least one input must require a gradient"):
        gradcheck(lambda a: a, minivgg.tensor([1.0]))
    with pytest.raises(ArgumentError, match="eps and rtol must be greater than 0"):
        gradcheck(lambda a: a, leaf([1.0]), eps=0.0)


def test_table_of_all_operations():
    """One row an operation, in their order, all of them passed; a few elements of each input here, all in test_operations.py."""
    rows = list(gradcheck_all(most=3))
    assert [row.name for row in rows] == list(OPERATIONS)
    assert [row.name for row in rows if not row.ok] == []
    for row in rows:
        order = OPERATIONS[row.name].order
        assert (row.first is not None, row.second is not None) == (order >= 1, order >= 2)
        assert (row.elements > 0) == (order >= 1)
        json.dumps(row.as_dict())


def test_one_operation_in_full():
    row = check_operation(OPERATIONS["relu"], order=1)
    assert row.elements == sum(sample.args[0].size for sample in OPERATIONS["relu"].samples(numpy.random.default_rng(0)))
    assert row.second is None
