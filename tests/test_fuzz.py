"""Random and hostile calls of every operation beside PyTorch: a few of those that ``make fuzz`` makes, and that planted faults are found."""

import collections
import sys
import threading
from pathlib import Path

import numpy
import pytest
from fuzz.__main__ import in_processes
from fuzz.beside import BESIDE
from fuzz.calls import CALLS
from fuzz.example import Example, draw
from fuzz.hostile import MEMORY, NUMBERS, SPECIAL
from fuzz.judge import judge

import minivgg
from minivgg.errors import ArgumentError
from minivgg.registry import OPERATIONS, algorithms

EXAMPLES = 40
"""An operation; ``make fuzz`` takes thousands."""

NOT_FUZZED = {"to": "its arguments are dtypes and devices"}


def test_every_operation_has_its_calls():
    assert set(CALLS) - set(BESIDE) == set(OPERATIONS) - set(NOT_FUZZED)
    assert set(BESIDE) <= set(CALLS)


@pytest.mark.parametrize("operation", CALLS)
def test_agrees_with_pytorch_or_refuses_like_it(operation):
    outcomes = []
    for seed in range(EXAMPLES):
        example = draw(operation, seed)
        outcome = judge(example)
        assert not outcome.fault, f"{outcome.what}: {example}\n{outcome.detail}"
        outcomes.append(outcome.what)
    assert outcomes.count("agree") >= EXAMPLES // 4, "most calls should be valid"


def test_examples_have_every_kind_of_input():
    examples = [draw(name, seed) for name in ("add", "conv2d", "max_pool2d", "sum") for seed in range(400)]
    arrays = [array for example in examples for array in example.arrays()]
    assert {array.dtype.newbyteorder("=").name for array in arrays} >= {"float32", "float64", *NUMBERS}
    seen = {
        "negative strides": [stride < 0 for array in arrays for stride in array.strides],
        "zero strides": [stride == 0 < array.size for array in arrays for stride in array.strides],
        "misaligned": [not array.flags.aligned for array in arrays],
        "swapped bytes": [not array.dtype.isnative for array in arrays],
        "Fortran order": [array.flags.f_contiguous and not array.flags.c_contiguous for array in arrays],
        "read-only": [not array.flags.writeable for array in arrays],
        "odd strides of an axis of one": [n == 1 and abs(s) > 100 * a.itemsize for a in arrays for n, s in zip(a.shape, a.strides, strict=True)],
        "no elements": [array.size == 0 for array in arrays],
        "no dimensions": [array.ndim == 0 for array in arrays],
        "nan": [bool(numpy.isnan(array).any()) for array in arrays],
        "infinity": [bool(numpy.isinf(array).any()) for array in arrays],
        "denormal": [bool(((array != 0) & (abs(array) < numpy.finfo(array.dtype).tiny)).any()) for array in arrays if array.dtype.kind == "f"],
        "huge logits": [bool((numpy.abs(array) >= 88).any()) for array in arrays if array.dtype.kind == "f"],
        "padding of 2**62": [2**62 in _flat(example.options.get("padding")) for example in examples],
        "a size of 9e18": [9 * 10**18 in _flat(value) for example in examples for value in (*example.args, *example.options.values())],
    }
    assert [kind for kind, cases in seen.items() if not any(cases)] == []
    assert {example.algorithm for example in examples if example.operation == "conv2d"} == {None, *algorithms("conv2d")}


def _flat(value):
    return [part for part in (value if isinstance(value, tuple | list) else [value]) if isinstance(part, int)]


@pytest.mark.parametrize("name", MEMORY)
def test_memory_of_another_kind_holds_the_same_numbers(name):
    for shape in ((), (3,), (2, 1, 4, 3), (0, 2)):
        array = numpy.random.default_rng(0).standard_normal(shape)
        made = MEMORY[name](array)
        assert made.shape == shape
        if not name.startswith("expanded"):
            numpy.testing.assert_array_equal(made, array)


def plant(monkeypatch, name, function):
    """Put a function in an operation's place, in a record like its own that is not registered."""
    record = object.__new__(type(OPERATIONS[name]))
    for field, value in vars(OPERATIONS[name]).items():
        object.__setattr__(record, field, value)
    object.__setattr__(record, "function", function)
    monkeypatch.setitem(OPERATIONS, name, record)


def example_of(name, *args, **options):
    return Example(name, 0, None, args, options, False)


NUMBERS_GIVEN = numpy.array([-1.0, 2.0, 3.0])


def one_more(x, place, value):
    """``x`` with one element changed, in the graph."""
    change = numpy.zeros(x.shape, x.dtype)
    change.reshape(-1)[place] = value
    return x + minivgg.tensor(change)


def test_judge_finds_one_wrong_element(monkeypatch):
    plant(monkeypatch, "relu", lambda x: one_more(x.clamp(min=0), 1, 1e-9))
    assert judge(example_of("relu", NUMBERS_GIVEN)).what == "outputs: other numbers"


def test_judge_finds_a_wrong_element_beside_large_ones(monkeypatch):
    plant(monkeypatch, "exp", lambda x: one_more(OPERATIONS["sqrt"].function(x) * 0 + minivgg.tensor(numpy.exp(x.array)), 0, 1e-9))
    assert judge(example_of("exp", numpy.array([0.0, 30.0]))).what == "outputs: other numbers"


def test_judge_finds_one_wrong_output_of_several(monkeypatch):
    plant(monkeypatch, "split", lambda x, size, axis: [*minivgg.split(x, size, axis)[:-1], minivgg.split(x, size, axis)[-1] * 2])
    assert judge(example_of("split", NUMBERS_GIVEN, 2, 0)).detail.startswith("number 1")


def test_judge_finds_other_gradients(monkeypatch):
    plant(monkeypatch, "relu", lambda x: x.detach().clamp(min=0) + 0 * x)
    assert judge(example_of("relu", NUMBERS_GIVEN)).what == "gradients: other numbers"


def test_judge_finds_another_dtype(monkeypatch):
    plant(monkeypatch, "relu", lambda x: x.clamp(min=0).to("float32"))
    assert judge(example_of("relu", NUMBERS_GIVEN)).what == "outputs: another dtype"


def test_judge_finds_a_changed_input(monkeypatch):
    def change(x):
        x.array[0] = 5.0
        return x.clamp(min=0)

    plant(monkeypatch, "relu", change)
    assert judge(example_of("relu", NUMBERS_GIVEN.copy())).what == "an input was changed"


def test_judge_finds_a_running_mean_that_was_not_moved(monkeypatch):
    real = OPERATIONS["batch_norm"].function
    plant(monkeypatch, "batch_norm", lambda x, mean, var, **options: real(x, mean.clone(), var, **options))
    example = example_of("batch_norm", numpy.array([[1.0], [2.0]]), numpy.zeros(1), numpy.ones(1), training=True)
    assert judge(example).what == "outputs: other numbers"


def test_judge_finds_what_should_be_refused_and_what_should_not(monkeypatch):
    plant(monkeypatch, "log", lambda x: minivgg.ones(2))
    assert judge(example_of("log", "x")).what == "taken, PyTorch refuses it"
    plant(monkeypatch, "relu", _refuse)
    assert judge(example_of("relu", NUMBERS_GIVEN)).what == "refused, PyTorch takes it"


def _refuse(x):
    raise ArgumentError("relu", "no")


def test_judge_finds_errors_of_another_form(monkeypatch):
    plant(monkeypatch, "relu", lambda x: x.no_such_method())
    assert judge(example_of("relu", NUMBERS_GIVEN)).what == "an error that is not of our form"
    plant(monkeypatch, "log", lambda x: x + 1)
    assert judge(example_of("log", [])).what == "an error that is not of our form", "PyTorch refuses it, but Python's own error is none"


IMAGE, FILTER = numpy.arange(1.0, 26.0).reshape(1, 1, 5, 5), numpy.arange(1.0, 10.0).reshape(1, 1, 3, 3)


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, 1e300])
@pytest.mark.parametrize(("place", "becomes"), [(0, 0.0), (8, 0.0), (8, numpy.nan)])
def test_judge_finds_wrong_elements_beside_special_numbers(monkeypatch, value, place, becomes):
    """The first window holds the special number, the last does not."""
    image = IMAGE.copy()
    image[0, 0, 0, 0] = value
    example = Example("conv2d", 0, "direct", (image, FILTER), {}, False)
    assert judge(example).what == "agree"
    real, mask = OPERATIONS["conv2d"].function, numpy.arange(9).reshape(1, 1, 3, 3) == place
    plant(monkeypatch, "conv2d", lambda x, w: real(x, w).masked_fill(minivgg.tensor(mask), becomes))
    assert judge(example).what == "outputs: other numbers"


def test_judge_finds_nan_that_becomes_a_number_in_any_algorithm(monkeypatch):
    image = IMAGE.copy()
    image[0, 0, 2, 2] = numpy.nan
    example = Example("conv2d", 0, "winograd_f4", (image, FILTER), {}, False)
    assert judge(example).what == "agree"
    real = OPERATIONS["conv2d"].function
    plant(monkeypatch, "conv2d", lambda x, w: real(x, w).masked_fill(real(x, w).isnan(), 0.0))
    assert judge(example).what == "outputs: other numbers"


def test_special_numbers_are_special_in_both_precisions():
    assert {type(value) for value in SPECIAL} == {float}
    assert any(0 < value < numpy.finfo("float32").tiny for value in SPECIAL)
    assert any(0 < value < numpy.finfo("float64").tiny for value in SPECIAL)


PLANTED = """
import os, sys, time
sys.path.insert(0, {folder!r})
import fuzz.__main__ as command
from minivgg.registry import OPERATIONS

real = OPERATIONS["relu"].function

def relu(x):
    with open({calls!r}, "a+") as calls:
        calls.write("call ")
    number = os.path.getsize({calls!r}) // 5
    if number == 3:
        os.kill(os.getpid(), 11)
    if number == 5:
        os._exit(7)
    if number == 7:
        __import__("numpy").ones(1 << 31)
    if number == 8:
        command.signal.alarm(1)
        time.sleep(60)
    return real(x)

object.__setattr__(OPERATIONS["relu"], "function", relu)
command.work("relu", int(sys.argv[2]), int(sys.argv[4]))
"""


def test_command_finds_crashes_hangs_and_boundless_memory_and_goes_on_behind_them(tmp_path):
    plan = PLANTED.format(folder=str(Path(__file__).parent), calls=str(tmp_path / "calls"))
    counts, shown = collections.Counter(), []
    in_processes([sys.executable, "-c", plan], 100, 10, counts, shown.append, threading.Event())
    faults = [line for line in shown if line.startswith("FAULT")]
    assert [word in fault for word, fault in zip(("with -11", "with 7", "not of our form", "hangs for"), faults, strict=True)] == [True] * 4
    assert [f"[seed {seed}]" in fault for seed, fault in zip((102, 104, 106, 107), faults, strict=True)] == [True] * 4
    assert sum(counts.values()) == 10
