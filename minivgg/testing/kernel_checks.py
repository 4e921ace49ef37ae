"""The checks that every algorithm is put through: each takes its record and a problem, and raises AssertionError.

A kernel is called as ``run(spec, *inputs, *outputs)``. The judge is the algorithm named ``reference``, in float64.
"""

from __future__ import annotations

import functools
import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy

from minivgg import threads
from minivgg.errors import UnsupportedError
from minivgg.registry import Algorithm, algorithms, select
from minivgg.testing.layouts import channels_last, poison, read_only, reversed_memory, strided
from minivgg.testing.problems import Problem

LAYOUTS: dict[str, Callable[[numpy.ndarray], numpy.ndarray]] = {
    "row_major": numpy.copy,
    "channels_last": channels_last,
    "strided": strided,
    "reversed": reversed_memory,
}
"""Memory of the inputs. Outputs are in row-major order, but channels last where the inputs are."""

FLOAT64 = 2.0**-29
"""How much smaller float64's roundings are than float32's, so how much closer to the truth a result must be."""

FIXED_BYTES = 3 * 8 * numpy.getbufsize() + (64 << 10)
"""Scratch memory that no algorithm needs to declare: NumPy's own buffers (8192 elements for each of three operands), Python's objects."""


def data(problem: Problem, dtype: Any, kind: str) -> list[numpy.ndarray | None]:
    """Inputs: small ``"integers"``, whose sums are exact in any order, or ``"normal"`` numbers."""
    rng = numpy.random.default_rng(0)
    inputs: list[numpy.ndarray | None] = []
    for shape in problem.inputs:
        if shape is None:
            inputs.append(None)
        elif kind == "integers":
            inputs.append((rng.integers(-3, 4, shape) * problem.multiple).astype(dtype))
        else:
            inputs.append(rng.standard_normal(shape).astype(dtype))
    problem.prepare(problem.spec, inputs)
    return inputs


def poisoned_outputs(problem: Problem, dtype: Any, which: int, layout: str = "row_major") -> list[numpy.ndarray | None]:
    """Arrays full of values that no result contains."""
    outputs: list[numpy.ndarray | None] = []
    for shape, kind in itertools.zip_longest(problem.outputs, problem.kinds):
        kind = numpy.dtype(dtype if kind is None else kind)
        full = None if shape is None else numpy.full(shape, poison(kind)[which], kind)
        outputs.append(channels_last(full) if full is not None and layout == "channels_last" else full)
    return outputs


@functools.cache
def expected(problem: Problem, dtype: Any, kind: str) -> list[numpy.ndarray | None]:
    """What the reference computes in float64 from the same (rounded) numbers."""
    inputs = [array if array is None or array.dtype.kind != "f" else array.astype("float64") for array in data(problem, dtype, kind)]
    outputs = poisoned_outputs(problem, "float64", 0)
    algorithms(problem.operation)["reference"].run(problem.spec, *inputs, *outputs)
    return outputs


def check_result(algorithm: Algorithm, problem: Problem, dtype: Any, layout: str) -> None:
    """Every element of every output is written and right, whatever the memory held before; and a second run repeats its bits.

    Integers: to the bit where the algorithm is ``exact``. Else, and for all other numbers: within ``max_error``.
    """
    for kind in ("integers", "normal"):
        inputs = [None if array is None else LAYOUTS[layout](array) for array in data(problem, dtype, kind)]
        runs = []
        for which in range(2):
            outputs = poisoned_outputs(problem, dtype, which, layout)
            algorithm.run(problem.spec, *inputs, *outputs)
            runs.append(outputs)
        for i, (first, second, truth) in enumerate(zip(*runs, expected(problem, numpy.dtype(dtype), kind), strict=True)):
            if first is None or second is None or truth is None:
                continue
            where = f"{_title(algorithm, problem)}, {kind} in {numpy.dtype(dtype)}, {layout}: output {i}"
            for array, value in ((first, poison(first.dtype)[0]), (second, poison(first.dtype)[1])):
                left = numpy.isnan(array) if value != value else array == value
                assert not left.any(), f"{where} was left unwritten at {_first_index(left)} (and {int(left.sum()) - 1} more)"
            different = first != second
            assert not different.any(), f"{where} has other bits in a second run, at {_first_index(different)}"
            _judge(where, first, truth, exact=first.dtype.kind != "f" or (algorithm.exact and kind == "integers"), algorithm=algorithm)


def _judge(where: str, got: numpy.ndarray, truth: numpy.ndarray, exact: bool, algorithm: Algorithm) -> None:
    if exact:
        wrong = got != truth.astype(got.dtype)
        if wrong.any():
            index = _first_index(wrong)
            raise AssertionError(f"{where} is {got[index].item()} at {index}, by the reference {truth[index].item()} (and {int(wrong.sum()) - 1} more)")
        return
    bound = algorithm.max_error * (FLOAT64 if got.dtype == numpy.float64 else 1.0)
    error = relative_error(got, truth)
    assert error <= bound, f"{where} has the relative error {error:.2e}, declared is at most {bound:.2e}"


def relative_error(got: numpy.ndarray, truth: numpy.ndarray) -> float:
    """‖got - truth‖₂ / ‖truth‖₂; 0 where both are nothing."""
    distance, size = float(numpy.linalg.norm((got - truth).ravel())), float(numpy.linalg.norm(truth.ravel()))
    return distance / size if size else distance


def check_fused(algorithm: Algorithm, problem: Problem, dtype: Any, layout: str) -> None:
    """What it fuses is to the bit what comes of doing it afterwards: ReLU, and the first largest cell of each 2x2 window, or nan."""
    inputs = [None if array is None else LAYOUTS[layout](array) for array in data(problem, dtype, "normal")]
    plain, found = (numpy.full(problem.spec.output_shape, value, dtype) for value in poison(numpy.dtype(dtype)))
    algorithm.run(problem.spec, *inputs, plain)
    truth = numpy.maximum(plain, 0)
    found = channels_last(found) if layout == "channels_last" else found
    algorithm.run(problem.spec, *inputs, found, relu=True)
    numpy.testing.assert_array_equal(found, truth, err_msg=f"{_title(algorithm, problem)}, {layout}: fused ReLU")
    n, k, p, q = plain.shape
    if "pool" not in algorithm.fuses or min(n, p, q) < 2:
        return
    windows = truth[:, :, : p // 2 * 2, : q // 2 * 2].reshape(n, k, p // 2, 2, q // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, k, p // 2, q // 2, 4)
    found, cells = (numpy.full(windows.shape[:-1], value, kind) for value, kind in ((numpy.nan, dtype), (9, "uint8")))
    if layout == "channels_last":
        found, cells = channels_last(found), channels_last(cells)
    algorithm.run(problem.spec, *inputs, found, relu=True, pool=True, cells=cells)
    numpy.testing.assert_array_equal(found, windows.max(-1), err_msg=f"{_title(algorithm, problem)}, {layout}: fused pooling")
    numpy.testing.assert_array_equal(cells, windows.argmax(-1), err_msg=f"{_title(algorithm, problem)}, {layout}: the winning cells")


def check_inputs(algorithm: Algorithm, problem: Problem) -> None:
    """Inputs may lie in memory that cannot be written to, and are the same afterwards."""
    for kind, make in (("read-only", read_only), ("writable", numpy.copy)):
        before = data(problem, "float32", "normal")
        inputs = [None if array is None else make(array) for array in before]
        try:
            algorithm.run(problem.spec, *inputs, *poisoned_outputs(problem, "float32", 0))
        except (ValueError, TypeError) as error:
            raise AssertionError(f"{_title(algorithm, problem)}: {kind} inputs made it raise {type(error).__name__}: {error}") from error
        for i, (old, new) in enumerate(zip(before, inputs, strict=True)):
            assert old is None or new is None or old.tobytes() == new.tobytes(), f"{_title(algorithm, problem)}: input {i} was changed"


def check_workspace(algorithm: Algorithm, problem: Problem, dtype: Any, layout: str) -> None:
    """Scratch memory, at its peak, is at most what the algorithm declares; copies of images are allowed in another memory order only."""
    inputs = [None if array is None else LAYOUTS[layout](array) for array in data(problem, dtype, "normal")]
    outputs = poisoned_outputs(problem, dtype, 0, layout)
    algorithm.run(problem.spec, *inputs, *outputs)  # compile and import first
    tracemalloc.start()
    try:
        algorithm.run(problem.spec, *inputs, *outputs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    declared = algorithm.workspace(problem.spec, numpy.dtype(dtype))
    if algorithm.channels_last:  # the weight's own order is row-major
        declared += sum(a.nbytes for a in (*inputs, *outputs) if a is not None and (layout != "channels_last" or a.shape == problem.spec.weight_shape))
    assert peak <= declared + FIXED_BYTES, (
        f"{_title(algorithm, problem)}, {numpy.dtype(dtype)}, {layout}: took {peak} bytes of scratch memory, declares {declared}"
    )


def check_threads(algorithm: Algorithm, problem: Problem, dtype: Any) -> None:
    """It gives the same bits with any number of threads, and again."""
    inputs = data(problem, dtype, "normal")
    before, seen = threads.get_num_threads(), set()
    try:
        for count in (1, 2, 3, 7, 3):
            threads.set_num_threads(count)
            outputs = poisoned_outputs(problem, dtype, 0)
            algorithm.run(problem.spec, *inputs, *outputs)
            seen.add(b"".join(out.tobytes() for out in outputs if out is not None))
            assert len(seen) == 1, f"{_title(algorithm, problem)}, {numpy.dtype(dtype)}: has other bits with {count} threads than before"
    finally:
        threads.set_num_threads(before)


def check_refusal(algorithm: Algorithm, problem: Problem, dtype: Any, device: str = "cpu") -> None:
    """What it does not support, it refuses with a sentence that the user sees when forcing it."""
    sentence = algorithm.supports(problem.spec, numpy.dtype(dtype))
    assert sentence is not None, f"{_title(algorithm, problem)}: is supported"
    assert len(sentence.split()) >= 3, f"{_title(algorithm, problem)}: {sentence!r} is no sentence that says why not"
    assert sentence.strip(" .\n") == sentence, f"{_title(algorithm, problem)}: {sentence!r} has a full stop or blanks at its ends"
    try:
        select(algorithm.operation, problem.spec, numpy.dtype(dtype), algorithm.name, device)
    except UnsupportedError as error:
        text = str(error)
    else:
        raise AssertionError(f"{_title(algorithm, problem)}: refuses, but can be forced")
    assert f"{algorithm.name} does not apply: {sentence}" in text, f"{_title(algorithm, problem)}: {text!r} does not say {sentence!r}"


def _title(algorithm: Algorithm, problem: Problem) -> str:
    return f"{algorithm.operation}, {algorithm.name} ({algorithm.backend}), {problem}"


def _first_index(mask: numpy.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in numpy.argwhere(mask)[0])
