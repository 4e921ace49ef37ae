"""What autotune measures, what is kept of it on disk, and when a later choice follows it."""

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy
import pytest

import minivgg
import minivgg.nn.functional as F
from minivgg import nn, registry, tuning
from minivgg.bench import autotune as module
from minivgg.bench import turns
from minivgg.errors import ArgumentError, UnsupportedError
from minivgg.models import MiniVGG
from minivgg.registry import algorithms, select
from minivgg.spec import Conv2dSpec
from minivgg.tuning import Measurement

ROOT = Path(__file__).parents[1]
PROBLEM = "n1 c16 h32 w32 k16 r3 p1"  # the policy takes winograd_f4
SPEC = Conv2dSpec.parse(PROBLEM)
float32 = numpy.dtype("float32")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, and nothing known from before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MINIVGG_AUTOTUNE")
    monkeypatch.delenv("MINIVGG_CONV2D", raising=False)
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    clock.update(now=0.0)
    new_process()
    yield tmp_path / "minivgg" / "autotune.json"
    new_process()


def new_process():
    """What this process has read is forgotten."""
    tuning._known.cache_clear()
    tuning.circumstances.cache_clear()


def measured(operation="conv2d", problem=SPEC, dtype="float32", threads=None, **seconds):
    seconds = seconds or {"im2col": 0.00123, "direct": 0.00456}
    return Measurement(operation, problem, numpy.dtype(dtype), threads or minivgg.get_num_threads(), seconds, "2026-11-24")


def chosen(operation="conv2d", problem=SPEC, dtype="float32"):
    name = select(operation, problem, numpy.dtype(dtype)).name
    assert minivgg.explain(problem, operation, dtype).chosen == name
    return name


def python(program, *arguments, **environment):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=os.environ | {"MINIVGG_NUM_THREADS": str(minivgg.get_num_threads())} | environment,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


# What is kept ---------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_what_auto_takes_here_and_in_a_new_process():
    assert chosen() == "winograd_f4"
    assert tuning.keep([measured()]) == tuning.path()
    program = f"import minivgg; print(minivgg.explain({PROBLEM!r}).chosen)"
    assert chosen() == python(program) == "im2col"
    assert python(program, MINIVGG_AUTOTUNE="off") == "winograd_f4"
    assert python(program, MINIVGG_NUM_THREADS=str(minivgg.get_num_threads() + 1)) == "winograd_f4"


def test_it_is_the_kernel_that_runs():
    x, w = minivgg.randn(*SPEC.input_shape), minivgg.randn(*SPEC.weight_shape)
    tuning.keep([measured()])
    assert numpy.array_equal(F.conv2d(x, w, padding=1).numpy(), F.conv2d(x, w, padding=1, algorithm="im2col").numpy())
    fused = F.conv2d_relu(x, w, padding=1, pool=True)  # im2col does not fuse
    assert numpy.array_equal(fused.numpy(), F.max_pool2d(F.relu(F.conv2d(x, w, padding=1, algorithm="im2col")), 2).numpy())


def test_only_the_same_problem_direction_dtype_and_threads_are_concerned():
    tuning.keep([measured()])
    new_process()
    assert chosen() == "im2col"
    assert chosen(problem=SPEC.with_batch(2)) == "winograd_f4"
    assert chosen("conv2d_grad_input") == "winograd_f4"
    assert chosen(dtype="float64") == "winograd_f4"
    before = minivgg.get_num_threads()
    try:
        minivgg.set_num_threads(before + 1)
        assert chosen() == "winograd_f4"
    finally:
        minivgg.set_num_threads(before)


def test_each_direction_keeps_its_own_and_the_latest_counts():
    tuning.keep([measured(), measured("conv2d_grad_weight", kn2row=0.1)])
    tuning.keep([measured(direct=0.2)])
    for _ in range(2):
        assert (chosen(), chosen("conv2d_grad_input"), chosen("conv2d_grad_weight")) == ("direct", "winograd_f4", "kn2row")
        new_process()


@pytest.mark.parametrize("what", ["processor", "__version__", "digest"])
def test_under_other_circumstances_it_does_not_count(what, monkeypatch):
    tuning.keep([measured()])
    with monkeypatch.context() as other:
        other.setattr(tuning, what, "9.9.9" if what.startswith("_") else lambda *_: "another")
        new_process()
        assert chosen() == "winograd_f4"
        tuning.keep([measured(direct=0.1)])  # does not touch what belongs to others
        assert chosen() == "direct"
    new_process()
    assert chosen() == "im2col"


def test_changed_kernels_are_other_circumstances(tmp_path):
    before = tuning.digest([ROOT / "kernels"])
    assert before[:16] in tuning.circumstances() or tuning.digest([ROOT / "minivgg" / "kernels", ROOT / "kernels"])[:16] in tuning.circumstances()
    (tmp_path / "family").mkdir()
    file = tmp_path / "family" / "kernel.py"
    file.write_text("x = 1")
    first = tuning.digest([tmp_path])
    os.utime(file, (1, 1))
    assert tuning.digest([tmp_path]) == first
    file.write_text("x = 2")
    assert tuning.digest([tmp_path]) != first


def test_the_file_is_bounded(monkeypatch):
    for i in range(tuning.KEPT + 3):
        monkeypatch.setattr(tuning, "processor", lambda i=i: f"processor {i}")
        new_process()
        tuning.keep([measured()])
    kept = json.loads(tuning.path().read_text())
    assert [text.partition(",")[0] for text in kept] == [f"processor {i}" for i in range(3, tuning.KEPT + 3)]


def test_exact_and_forced_ones_are_respected(monkeypatch):
    tuning.keep([measured(winograd_f2=0.1, direct=0.2, im2col=0.3)])
    assert chosen() == "winograd_f2"
    with minivgg.exact():
        explanation = minivgg.explain(SPEC)
        assert explanation.chosen == "direct"
        assert next(c.reason for c in explanation.candidates if c.name == "winograd_f2") == "passed over: it is not exact"
    with minivgg.use_algorithm(conv2d="kn2row"):
        assert minivgg.explain(SPEC).chosen == "kn2row"
    tuning.keep([measured(winograd_f2=0.1)])  # no exact one among them: the policy's best that is
    with minivgg.exact():
        assert minivgg.explain(SPEC).chosen == "direct"
    monkeypatch.setenv("MINIVGG_CONV2D", "fft")
    assert minivgg.explain(SPEC).chosen == "fft"


def test_arrays_elsewhere_follow_the_policy():
    tuning.keep([measured(kn2row=0.1)])
    assert select("conv2d", SPEC, float32, device="cuda:0").name == minivgg.explain(SPEC, device="cuda:0").chosen == "tensor_cores"


def test_explain_shows_the_times_and_ranks_by_them():
    tuning.keep([measured(threads=None, kn2row=0.00123456, im2col=0.0456)])
    threads = minivgg.get_num_threads()
    where = f"on this machine ({threads} thread{'s' * (threads > 1)}), 2026-11-24"
    first, second, third, *_ = minivgg.explain(SPEC).candidates
    assert (first.name, first.chosen, first.reason) == ("kn2row", True, f"measured 1.23 ms {where}")
    assert (second.name, second.chosen, second.reason) == ("im2col", False, f"measured 45.6 ms {where}")
    assert (third.name, third.chosen) == ("winograd_f4", False)
    names = [candidate.name for candidate in minivgg.explain(SPEC).candidates]
    assert sorted(names) == sorted(algorithms("conv2d"))


def test_one_thread_is_singular():
    assert measured(threads=1).ranked[0][1] == "measured 1.23 ms on this machine (1 thread), 2026-11-24"


def test_what_no_longer_applies_is_passed_over():
    too_long = Conv2dSpec.parse("n1 c512 h256 w256 k1 r256")
    tuning.keep([measured(problem=too_long, im2col=0.1), measured(reference=0.1, gone=0.2, kn2row=0.3)])
    assert chosen(problem=too_long) == "kn2row"
    assert chosen() == "kn2row"


# Files that are not as they should be ---------------------------------------------------------------------------------


def broken_files():
    entry = measured().as_dict()
    wrong = [{**entry, key: value} for key, value in (("problem", "n1"), ("dtype", "float31"), ("threads", None), ("day", "\x1b[31m"), ("seconds", [1]))]
    wrong += [{**entry, "seconds": {"im2col": value}} for value in (0, -1, float("nan"), float("inf"), 10**400, "fast", None)]
    wrong += [None, 7, "text", [], {}]
    yield "empty", b""
    yield "not text", bytes(range(256))
    yield "deep", b"[" * 100_000
    for value in (None, 7, [], {"x": 1}, {"x": [entry]}):
        yield f"foreign {value!r:.20}", json.dumps(value).encode()
    yield "wrong entries", wrong
    yield "not a list", {"a": 1}


@pytest.mark.parametrize("contents", [pytest.param(contents, id=name) for name, contents in broken_files()])
def test_a_broken_file_costs_the_measurements_only(contents, cache):
    cache.parent.mkdir()
    cache.write_bytes(contents if isinstance(contents, bytes) else json.dumps({tuning.circumstances(): contents}).encode())
    assert chosen() == "winograd_f4"
    tuning.keep([measured()])
    new_process()
    assert chosen() == "im2col"


def test_a_truncated_file_costs_the_measurements_only(cache):
    tuning.keep([measured()])
    whole = cache.read_bytes()
    for length in range(0, len(whole), 7):
        cache.write_bytes(whole[:length])
        new_process()
        assert chosen() == "winograd_f4"


def test_one_bad_entry_does_not_cost_the_others(cache):
    cache.parent.mkdir()
    cache.write_text(json.dumps({tuning.circumstances(): [{"operation": "conv2d"}, measured().as_dict()]}))
    assert chosen() == "im2col"


def test_where_nothing_can_be_kept_a_warning_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # for root, too
    with pytest.warns(RuntimeWarning, match=r"minivgg cannot keep what it measured, so it counts in this process only \(\w+: .*set XDG_CACHE_HOME"):
        assert tuning.keep([measured()]) is None
    assert chosen() == "im2col"
    new_process()
    assert chosen() == "winograd_f4"


def test_a_full_disk_leaves_the_old_file(cache, monkeypatch):
    tuning.keep([measured()])
    before = cache.read_bytes()

    def full(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("minivgg.files._sync", full)
    with pytest.warns(RuntimeWarning, match="disk full"):
        tuning.keep([measured(direct=0.1)])
    assert cache.read_bytes() == before
    assert list(cache.parent.iterdir()) == [cache]


def test_a_relative_cache_folder_is_ignored(monkeypatch):
    """As the XDG specification has it."""
    monkeypatch.setenv("HOME", "/somewhere")
    for value in ("relative", ""):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert tuning.path() == Path("/somewhere/.cache/minivgg/autotune.json")


WRITER = """
import sys, numpy
from minivgg import tuning
from minivgg.spec import Conv2dSpec
first = int(sys.argv[1])
for n in range(first, first + 30):
    spec = Conv2dSpec.parse(f"n{n} c4 h8 w8 k4 r3")
    tuning.keep([tuning.Measurement("conv2d", spec, numpy.dtype("float32"), 1, {"im2col": 0.1}, "2026-11-24")])
"""


@pytest.mark.skipif(os.name != "posix", reason="elsewhere the last one wins")
def test_processes_that_write_at_the_same_time_lose_nothing():
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(first)], cwd=ROOT) for first in (100, 200, 300)]
    while any(writer.poll() is None for writer in writers):
        if tuning.path().exists():
            json.loads(tuning.path().read_bytes())  # whole at every moment
        time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert {entry.problem.n for entry in tuning._read()} == {first + i for first in (100, 200, 300) for i in range(30)}
    assert list(tuning.path().parent.iterdir()) == [tuning.path()]


# The switch, and what looking costs -----------------------------------------------------------------------------------


def test_off_ignores_what_is_kept_but_lets_it_be_measured(monkeypatch):
    monkeypatch.setenv("MINIVGG_AUTOTUNE", "off")
    tuning.keep([measured()])
    assert chosen() == "winograd_f4"
    monkeypatch.setenv("MINIVGG_AUTOTUNE", "")
    new_process()
    assert chosen() == "im2col"


def test_another_word_than_off_is_refused(monkeypatch):
    monkeypatch.setenv("MINIVGG_AUTOTUNE", "no")
    with pytest.raises(ArgumentError, match="MINIVGG_AUTOTUNE: must be off, or empty to use what was measured, got 'no'"):
        chosen()


def test_forget(cache):
    tuning.keep([measured()])
    tuning.forget()
    assert not cache.exists()
    assert chosen() == "winograd_f4"
    tuning.forget()


def test_importing_reads_nothing_and_a_choice_reads_once():
    tuning.keep([measured()])
    program = f"""
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and "autotune.json" in str(args[0]) else None)
import minivgg, numpy
assert not opened, opened
from minivgg.registry import select
for _ in range(3):
    select("conv2d", minivgg.explain({PROBLEM!r}).problem, numpy.dtype("float32"))
print(len(opened), "minivgg.bench" in sys.modules)
"""
    assert python(program) == "1 False"


def test_looking_up_costs_a_microsecond_at_most():
    """0.2 µs where nothing is known of the problem, 0.4 where something is; the bound leaves room for a busy machine."""
    tuning.keep([measured()])
    for spec in (SPEC, SPEC.with_batch(7)):
        tuning.lookup("conv2d", spec, float32)
        best = min(_seconds(lambda spec=spec: tuning.lookup("conv2d", spec, float32), 2000) for _ in range(20))
        assert best < 2e-6


def _seconds(run, times):
    start = time.perf_counter()
    for _ in itertools.repeat(None, times):
        run()
    return (time.perf_counter() - start) / times


# Measuring ------------------------------------------------------------------------------------------------------------


def only(monkeypatch, *names):
    """Let these algorithms alone be measured: compiling all of them takes long."""
    for operation in module.DIRECTIONS.values():
        for name, algorithm in list(algorithms(operation).items()):
            if name not in names:
                monkeypatch.setitem(algorithms(operation), name, dataclasses.replace(algorithm, automatic=False))


clock = {"now": 0.0}


def plant(monkeypatch, name, seconds, wrong=0.0, **changes):
    """An algorithm for conv2d that takes so long by a clock of its own."""
    im2col = algorithms("conv2d")["im2col"]

    def run(spec, x, w, b, out):
        im2col.run(spec, x, w, b, out)
        out += wrong
        clock["now"] += seconds

    for each in (turns, module):
        monkeypatch.setattr(each, "time", types.SimpleNamespace(perf_counter=lambda: clock["now"], sleep=lambda seconds: None))
    monkeypatch.setitem(algorithms("conv2d"), name, dataclasses.replace(im2col, name=name, run=run, automatic=True, **changes))


def test_the_fastest_of_a_planted_pair_is_chosen_and_kept(monkeypatch):
    only(monkeypatch, "quick", "slow", "hopeless")
    monkeypatch.setitem(registry._POLICIES["cpu"], "conv2d", lambda spec, dtype: [("slow", "planted"), ("quick", "planted")])
    plant(monkeypatch, "quick", 0.02)
    plant(monkeypatch, "slow", 0.05)
    plant(monkeypatch, "hopeless", 0.2)
    assert chosen() == "slow"
    report = minivgg.autotune(PROBLEM, backward=False, replicates=3)
    (row,) = report.rows
    assert (row.policy, row.chosen) == ("slow", "quick")
    assert list(row.measurement.seconds) == ["quick", "slow"]  # hopeless was sorted out
    assert row.ratio == pytest.approx(2.5)
    assert row.measurement.seconds == pytest.approx({"quick": 0.02, "slow": 0.05})
    assert chosen() == "quick"
    new_process()
    assert chosen() == "quick"


def test_a_wrong_algorithm_is_named_and_never_chosen(monkeypatch):
    only(monkeypatch, "right", "wrong")
    monkeypatch.setitem(registry._POLICIES["cpu"], "conv2d", lambda spec, dtype: [("wrong", "planted")])
    plant(monkeypatch, "right", 0.2)
    plant(monkeypatch, "wrong", 0.1, wrong=0.1)
    report = minivgg.autotune(PROBLEM, backward=False, replicates=1)
    assert list(report.rows[0].measurement.seconds) == ["right"]
    assert re.search(r"^wrong is wrong on n1 c16 h32 w32 k16 r3 p1: wrong: relative error .*, allowed 2.0e-06$", str(report), re.MULTILINE)


def test_where_all_are_wrong_nothing_is_chosen(monkeypatch, cache):
    only(monkeypatch, "wrong")
    monkeypatch.setitem(registry._POLICIES["cpu"], "conv2d", lambda spec, dtype: [("wrong", "planted")])
    plant(monkeypatch, "wrong", 0.1, wrong=0.1)
    with pytest.raises(UnsupportedError, match="autotune: every algorithm is wrong: wrong: wrong: relative error"):
        minivgg.autotune(PROBLEM, backward=False)
    assert not cache.exists()


def test_too_much_scratch_memory_and_what_is_for_reading_is_not_measured(monkeypatch):
    only(monkeypatch, "modest", "greedy")
    monkeypatch.setitem(registry._POLICIES["cpu"], "conv2d", lambda spec, dtype: [("modest", "planted")])
    plant(monkeypatch, "modest", 0.2)
    plant(monkeypatch, "greedy", 0.1, workspace=lambda spec, dtype: 1 << 40)
    report = minivgg.autotune(PROBLEM, backward=False, replicates=1)
    assert list(report.rows[0].measurement.seconds) == ["modest"]


def test_the_policys_choice_and_the_best_exact_one_are_timed_in_any_case(monkeypatch):
    only(monkeypatch, "quick", "slow", "im2col", "kn2row")
    for name, seconds, exact in (("quick", 0.01, False), ("slow", 0.1, False), ("kn2row", 0.15, True), ("im2col", 0.05, True)):
        plant(monkeypatch, name, seconds, exact=exact)
    monkeypatch.setitem(registry._POLICIES["cpu"], "conv2d", lambda spec, dtype: [("slow", "planted")])
    report = minivgg.autotune(PROBLEM, backward=False, replicates=1)
    assert list(report.rows[0].measurement.seconds) == ["quick", "im2col", "slow"]
    with minivgg.exact():
        assert minivgg.explain(SPEC).chosen == "im2col"


def test_the_table():
    def row(policy, seconds, count=1, forms=(module.ALONE,), dtype="float32", **wrong):
        return module.Row(measured(dtype=dtype, threads=2, **seconds), policy, count, forms, wrong)

    rows = (row("im2col", {"im2col": 0.001}), row("fft", {"direct": 0.002, "fft": 0.003}, count=3), row("fft", {"direct": 0.01}, dtype="float64", fft="off"))
    text = str(module.Tuning(rows, Path("/cache/autotune.json")))
    assert text.splitlines() == [
        "problem                           direction  calls  policy           measured           ratio",
        "n1 c16 h32 w32 k16 r3 p1          conv2d         1  im2col  1.00 ms  im2col    1.00 ms   1.00",
        "n1 c16 h32 w32 k16 r3 p1          conv2d         3  fft     3.00 ms  direct    2.00 ms   1.50",
        "n1 c16 h32 w32 k16 r3 p1 float64  conv2d         1  fft       wrong  direct    10.0 ms    nan",
        "fft is wrong on n1 c16 h32 w32 k16 r3 p1: off",
        "4 calls, 2 threads: 10.0 ms by the policy, 7.00 ms as measured: 1.43",
        "kept in /cache/autotune.json",
    ]
    json.dumps(module.Tuning(rows, None).as_dict(), allow_nan=False)


# What a model calls ---------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stack = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(16, 4, 1), nn.BatchNorm2d(4), nn.Dropout(),
        )  # fmt: skip

    def forward(self, x):
        return {"scores": [self.stack(x)]}


def seen(model, *inputs, backward=True):
    return [(case.direction, str(case.spec), tuple(case.forms), case.count) for case in module.calls_of(model, inputs, backward)]


FORWARD = [
    ("output", "n2 c3 h8 w8 k16 r3 p1", (module.RELU,), 1),
    ("output", "n2 c16 h8 w8 k16 r3 p1", (module.RELU, module.RELU_POOL), 2),
    ("output", "n2 c16 h4 w4 k4 r1", (module.ALONE,), 1),
]
BACKWARD = [
    ("input", "n2 c16 h4 w4 k4 r1", (module.ALONE,), 1),
    ("weight", "n2 c16 h4 w4 k4 r1", (module.ALONE,), 1),
    ("input", "n2 c16 h8 w8 k16 r3 p1", (module.ALONE,), 2),
    ("weight", "n2 c16 h8 w8 k16 r3 p1", (module.ALONE,), 2),
    ("weight", "n2 c3 h8 w8 k16 r3 p1", (module.ALONE,), 1),
]


def test_a_model_is_asked_for_what_it_really_calls():
    model, image = Net(), minivgg.randn(2, 3, 8, 8)
    assert seen(model, image, backward=False) == FORWARD
    assert seen(model, image) == FORWARD + BACKWARD
    asking = minivgg.randn(2, 3, 8, 8, requires_grad=True)
    assert set(seen(model, asking)) == {*FORWARD, *BACKWARD, ("input", "n2 c3 h8 w8 k16 r3 p1", (module.ALONE,), 1)}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert seen(model, image) == FORWARD


@pytest.mark.parametrize("name", ["im2col", "direct", "winograd_f2"])
def test_what_follows_a_convolution_is_noted_whatever_algorithm_is_taken_at_the_moment(name):
    layers = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    with minivgg.use_algorithm(conv2d=name):
        assert seen(layers, minivgg.randn(1, 16, 8, 8), backward=False) == [("output", "n1 c16 h8 w8 k16 r3 p1", (module.RELU_POOL,), 1)]


def test_memory_order_is_that_of_the_model():
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))
    cases = {(case.direction, case.spec.c): case.channels_last for case in module.calls_of(model, (minivgg.randn(1, 3, 8, 8),), True)}
    assert cases["output", 3] == (False, False)
    assert cases["output", 16][0]
    assert cases["weight", 16][1]


def test_the_model_is_left_as_it_was():
    model, image = Net(), minivgg.randn(2, 3, 8, 8)
    model.stack[8].eval()
    state = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    modes = [each.training for each in model.modules()]
    draws = minivgg.default_generator.get_state()
    module.calls_of(model, (image,), True)
    assert [each.training for each in model.modules()] == modes
    assert all(numpy.array_equal(value.numpy(), state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert minivgg.default_generator.get_state() == draws
    assert vars(minivgg.Function)["run"].__func__.__module__ == "minivgg.autograd.function"


def test_noting_ends_with_an_error_too():
    run, can_fuse = vars(minivgg.Function)["run"], module.conv2d_relu.can_fuse
    with pytest.raises(ValueError, match="weight expects 3"):
        module.calls_of(Net(), (minivgg.randn(2, 4, 8, 8),), True)
    assert vars(minivgg.Function)["run"] is run
    assert module.conv2d_relu.can_fuse is can_fuse


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_whole_model_is_tuned_and_computes_the_same(dtype, monkeypatch):
    only(monkeypatch, "im2col", "kn2row")
    model = MiniVGG().to(dtype).eval()
    images = minivgg.randn(2, 1, 8, 8, dtype=dtype)
    before = model(images).detach().numpy()
    report = minivgg.autotune(model, images, replicates=1)
    for row in report.rows:
        assert row.measurement.dtype == dtype
        assert not row.wrong
        assert chosen(row.measurement.operation, row.measurement.problem, dtype) == row.chosen in ("im2col", "kn2row")
    assert {row.measurement.operation for row in report.rows} == set(module.DIRECTIONS.values())
    numpy.testing.assert_allclose(model(images).detach().numpy(), before, rtol=1e-4, atol=1e-5)


def test_every_form_is_timed_as_it_is_computed(monkeypatch):
    """A pass that ends in pooling is one call of an algorithm that fuses, and three of one that does not."""
    called = []
    for name in ("Conv2d", "Conv2dReLU", "ReLU", "MaxPool2d"):
        home = {"Conv2d": "conv2d", "Conv2dReLU": "conv2d_relu", "ReLU": "relu", "MaxPool2d": "max_pool2d"}[name]
        node = getattr(sys.modules[f"minivgg.ops.{home}"], name)
        monkeypatch.setattr(node, "forward", lambda self, *args, name=name, forward=node.forward: (called.append(name), forward(self, *args))[1])
    case = module.Case("output", SPEC, float32, (True, False), True, [module.ALONE, module.RELU, module.RELU_POOL])
    inputs = module.draw_inputs(SPEC, "output")
    module._call(case, "winograd_f4", inputs)()
    assert called == ["Conv2d", "Conv2dReLU", "Conv2dReLU"]
    called.clear()
    module._call(case, "im2col", inputs)()
    assert called == ["Conv2d", "Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]


@pytest.mark.parametrize(
    ("direction", "training", "recorded"), [("output", True, True), ("output", False, False), ("input", True, False), ("weight", True, False)]
)
def test_filters_are_transformed_anew_where_the_model_does_it(direction, training, recorded, monkeypatch):
    """Inference and backward record nothing, and kernels keep what they derive from the filters only then."""
    seen = []
    im2col = algorithms(module.DIRECTIONS[direction])["im2col"]
    watched = dataclasses.replace(im2col, run=lambda *args: (seen.append(minivgg.is_grad_enabled()), im2col.run(*args)))
    monkeypatch.setitem(algorithms(module.DIRECTIONS[direction]), "im2col", watched)
    case = module.Case(direction, SPEC, float32, (True, False), training, [module.ALONE])
    module._call(case, "im2col", module.draw_inputs(SPEC, direction))()
    assert seen == [recorded]


def test_tuning_is_the_first_thing_that_a_process_does():
    program = f"import minivgg; print(minivgg.autotune({PROBLEM!r}, backward=False, replicates=1).rows[0].chosen)"
    assert python(program) == chosen()


def test_a_list_of_problems_and_names(monkeypatch):
    only(monkeypatch, "im2col")
    report = minivgg.autotune(["n1 c4 h8 w8 k4 r3", "vgg-a:conv5_2"], backward=False, replicates=1)
    assert [(str(row.measurement.problem), row.count) for row in report.rows] == [("n1 c4 h8 w8 k4 r3", 1), ("n1 c512 h14 w14 k512 r3 p1", 2)]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((nn.Linear(2, 2),), "a model needs an example to run on"),
        ((nn.Linear(2, 2), minivgg.ones(1, 2)), "the model computed no convolution"),
        ((PROBLEM, minivgg.ones(1)), "takes an example only with a model"),
        (("n0 c4 h8 w8 k4 r3",), "a batch of no images takes no time: n0 c4 h8 w8 k4 r3"),
        (("vgg-e:conv9_1",), "vgg-e has no layer 'conv9_1'; it has conv1_1"),
        (("n1 c4",), "'n1 c4' lacks h, w, k, r"),
    ],
)
def test_what_cannot_be_tuned_is_refused(arguments, sentence, cache):
    with pytest.raises(ArgumentError, match=re.escape(sentence)):
        minivgg.autotune(*arguments)
    assert not cache.exists()
