"""Random and hostile calls of every operation beside PyTorch: a few of those that ``make fuzz`` makes, and that planted faults are found."""

import numpy
import pytest
from fuzz.calls import CALLS
from fuzz.judge import Example, draw, judge

from minivgg.registry import OPERATIONS

EXAMPLES = 40
"""An operation; ``make fuzz`` takes thousands."""

NOT_FUZZED = {"to": "its arguments are dtypes and devices", "dropout": "draws its own numbers"}


def test_every_operation_has_its_calls():
    assert set(CALLS) == set(OPERATIONS) - set(NOT_FUZZED)


@pytest.mark.parametrize("operation", CALLS)
def test_agrees_with_pytorch_or_refuses_like_it(operation):
    outcomes = []
    for seed in range(EXAMPLES):
        example = draw(operation, seed)
        outcome = judge(example)
        assert not outcome.fault, f"{outcome.what}: {example}\n{outcome.detail}"
        outcomes.append(outcome.what)
    assert outcomes.count("agree") >= EXAMPLES // 4, "most calls should be valid"


def relu_example():
    return Example("relu", 0, None, (numpy.array([-1.0, 2.0, 3.0]),), {}, False)


def test_judge_finds_other_numbers(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "relu", _changed(lambda x: x.clamp(min=0) * 1.001))
    assert judge(relu_example()).what == "outputs: other numbers"


def test_judge_finds_other_gradients(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "relu", _changed(lambda x: x.detach().clamp(min=0) + 0 * x))
    assert judge(relu_example()).what == "gradients: other numbers"


def test_judge_finds_a_changed_input(monkeypatch):
    def change(x):
        x.array[0] = 5.0
        return x.clamp(min=0)

    monkeypatch.setitem(OPERATIONS, "relu", _changed(change))
    assert judge(relu_example()).what == "an input was changed"


def test_judge_finds_what_should_be_refused_and_what_should_not(monkeypatch):
    wrong = Example("log", 0, None, ("x",), {}, True)
    monkeypatch.setitem(OPERATIONS, "log", _changed(lambda x: OPERATIONS["relu"].function(_tensor())))
    assert judge(wrong).what == "taken, PyTorch refuses it"
    monkeypatch.setitem(OPERATIONS, "relu", _changed(_refuse))
    assert judge(relu_example()).what == "refused, PyTorch takes it"


def test_judge_finds_errors_of_another_form(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "relu", _changed(lambda x: x.no_such_method()))
    assert judge(relu_example()).what == "an error that is not of our form"


def _tensor():
    import minivgg

    return minivgg.ones(2)


def _refuse(x):
    from minivgg.errors import ArgumentError

    raise ArgumentError("relu", "no")


def _changed(function):
    """A record like that of relu, with another function; not registered."""
    record = object.__new__(type(OPERATIONS["relu"]))
    for name, value in vars(OPERATIONS["relu"]).items():
        object.__setattr__(record, name, value)
    object.__setattr__(record, "function", function)
    return record
