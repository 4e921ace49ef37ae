"""Planted mistakes: each is caught and named, and is gone afterwards; correct cases raise no alarm."""

import contextlib
import inspect
import io
import re
from pathlib import Path

import numpy
import pytest

import minivgg
from minivgg.errors import ArgumentError, GraphError
from minivgg.registry import OPERATIONS
from minivgg.testing import gradcheck
from minivgg.testing.mutants import MUTANTS, Edit, applied, judge
from minivgg.testing.mutants.correct import cases, count
from minivgg.testing.mutants.homework import PAIRS
from minivgg.testing.mutants.judge import correct, row, summary
from minivgg.testing.mutants.mechanism import find
from minivgg.testing.mutants.torch_judge import catches

PAGE = (Path(__file__).parents[1] / "docs" / "gradcheck.md").read_text(encoding="utf-8")


def name_of(mutant):
    return f"{mutant.operation}: {mutant.name}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=name_of)
def test_caught_and_named(mutant):
    """With the mistake the check fails and gives the expected diagnosis; without it, before and after, it passes."""
    verdict = judge(mutant, torch=False)
    assert verdict.caught
    assert verdict.diagnosed != bool(mutant.known), verdict.report
    assert all(diagnosis.sentence and diagnosis.evidence for diagnosis in verdict.report.diagnoses)
    assert " | ".join(row(0, verdict)[1:6]) in PAGE, "python -m minivgg.testing.mutants --write"
    after = correct(mutant)
    assert after, after


def test_enough_of_them_everywhere():
    """The issue's numbers, and no family of operations left out."""
    assert len(MUTANTS) >= 60
    assert len([mutant for mutant in MUTANTS if mutant.known]) <= 0.1 * len(MUTANTS)
    assert {mutant.order for mutant in MUTANTS} == {1, 2}
    assert len({(mutant.edits, mutant.order) for mutant in MUTANTS}) == len(MUTANTS)
    families = {"relu", "exp", "mul", "pow", "matmul", "linear", "conv2d", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d",
                "batch_norm", "local_response_norm", "dropout", "softmax", "log_softmax", "cross_entropy", "nll_loss", "mse_loss", "sum", "var", "std",
                "max", "maximum", "where", "getitem", "gather", "pad", "cat", "permute", "reshape", "expand", "clamp", "abs"}  # fmt: skip
    assert families <= {mutant.operation for mutant in MUTANTS}
    assert families <= set(OPERATIONS)
    named = {"kink", "tie in a maximum", "float32 too coarse", "transposed", "flipped", "missing scale", "missing sum over broadcast",
             "rows that a stride leaves uncovered", "swapped height and width", "second mask drawn in backward", "forward not deterministic",
             "input modified"}  # fmt: skip
    assert named <= {mutant.expects for mutant in MUTANTS}


def test_the_right_code_comes_back():
    """The same function object throughout, with its own code again, even if the block raises; nothing is left on class or module."""
    edit = Edit("minivgg.ops.pointwise:Exp.forward", "self.save_for_backward(out)", "type(self).out = out")
    function, code = find(edit.where), find(edit.where).__code__
    owner = minivgg.ops.pointwise.Exp
    with pytest.raises(GraphError), applied((edit,)):
        _is_changed(function, code)
    assert find(edit.where).__code__ is code
    assert not hasattr(owner, "out")


def _is_changed(function, code):
    assert function.__code__ is not code
    x = minivgg.tensor([1.0], requires_grad=True)
    x.exp()
    assert hasattr(minivgg.ops.pointwise.Exp, "out")
    raise GraphError("test", "leave the block")


@pytest.mark.parametrize(("old", "times"), [("nowhere", 0), ("x", 4)])
def test_a_text_that_is_not_there_once_is_refused(old, times):
    edit = Edit("minivgg.ops.pointwise:Log.forward", old, "y")
    assert inspect.getsource(find(edit.where)).count(old) == times
    with pytest.raises(ArgumentError, match=f"must stand in minivgg.ops.pointwise:Log.forward once, it stands there {times} times"), applied((edit,)):
        pass


def test_something_that_is_no_function_is_refused():
    with pytest.raises(ArgumentError, match="is no plain function"), applied((Edit("minivgg.ops.pointwise:Log", "a", "b"),)):
        pass


def test_every_second_kind_of_subject_is_judged_by_pytorch_too():
    """PyTorch's gradcheck sees the same mistakes through the wrapper, and none without them."""
    for mutant in MUTANTS[::6]:
        with applied(mutant.edits):
            found = judge_by_pytorch(mutant)
        assert found or mutant.expects in ("state shared between calls", "input modified", "kink", "tie in a maximum"), name_of(mutant)
        if mutant.expects not in ("kink", "tie in a maximum", "not finite"):  # it knows no kinks, and raises an alarm at every one
            assert not judge_by_pytorch(mutant), name_of(mutant)


def judge_by_pytorch(mutant):
    return catches(mutant.at(), mutant.order, fast=False)


def test_correct_cases_raise_no_alarm():
    """A few hundred here; ten thousand by ``python -m minivgg.testing.mutants --correct 10000``."""
    found = count(cases(240, seed=7))
    assert not found.alarms, "\n\n".join(found.alarms)
    assert found.cases == 240
    assert found.elements > 3000
    assert found.kinks > 50


def test_homework_is_right_at_other_sizes():
    """Each pair at a point of its own; the mistakes planted in it are seen by comparison with this."""
    x = numpy.random.default_rng(3).standard_normal((3, 5))
    for name in ("relu", "sigmoid", "tanh", "leaky relu", "softplus", "dropout"):
        assert gradcheck(PAIRS[name], x)


def test_the_page_shows_what_is_printed():
    """The example's output is the output, but for roundings, which are the processor's; every kind in the table of mutants is explained above it."""
    code, text = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert _without_roundings(printed.getvalue()) == _without_roundings(text)
    explained = PAGE.partition("## How each diagnosis is made")[2].partition("## The proof")[0]
    assert [kind for kind in sorted({mutant.expects for mutant in MUTANTS if not mutant.known}) if kind not in explained] == []
    assert f"{len(MUTANTS)} planted mistakes: caught {len(MUTANTS)} (100%)" in PAGE


def _without_roundings(report):
    """Of a row that is right, no numbers: its largest error is a rounding. Their width moves the columns."""
    return [line.split()[: 5 if line.startswith("ok ") else None] for line in report.splitlines()]


def test_summary_counts():
    verdicts = [judge(mutant, torch=False) for mutant in MUTANTS[:2]]
    assert summary(verdicts) == "2 planted mistakes: caught 2 (100%), diagnosed right 2 (100%)."
