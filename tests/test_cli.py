"""The command line as a user meets it: every verb, its text, its JSON, its exit codes, its errors, Ctrl-C and resuming."""

import html.parser
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy
import pytest
from typer.testing import CliRunner

from minivgg import registry
from minivgg.bench import measure, turns
from minivgg.cli.app import app
from minivgg.cli.console import duration, size
from minivgg.testing import check_operation
from minivgg.threads import get_num_threads

COMMAND = [sys.executable, "-m", "minivgg.cli"]
VERBS = ["demo", "summary", "train", "eval", "predict", "gradcheck", "bench", "explain", "autotune", "doctor", "warmup"]
SPEC = "n1 c8 h12 w12 k8 r3 p1"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs are kept below the current folder, and no test waits for threads to go to sleep."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(turns, "PAUSE", 0.0)
    monkeypatch.setattr(turns, "SHORTEST", 1e-3)


def minivgg(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with three epochs of training."""
    folder = tmp_path_factory.mktemp("run")
    result = CliRunner().invoke(app, ["train", "--epochs", "3", "--out", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder, result


# What teaches ---------------------------------------------------------------------------------------------------------


def test_help_names_every_verb_and_where_to_begin():
    text = minivgg("--help").stdout
    assert all(verb in text for verb in VERBS)
    assert "minivgg demo" in text
    assert CliRunner().invoke(app, []).output.strip() == text.strip()


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_gives_examples_that_parse(verb):
    """Each ``minivgg ...`` line of a help text is a call that the parser takes."""
    text = minivgg(verb, "--help").stdout
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(f"minivgg {verb}")]
    assert lines
    known = set(re.findall(r"--[a-z-]+", text[text.index("Options") :]))
    for line in lines:
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line


def test_version():
    from minivgg.version import __version__

    assert minivgg("--version").stdout == f"minivgg {__version__}\n"


def test_start_is_quick():
    """The command's own module loads nothing that only one verb needs."""
    program = (
        "import sys, minivgg.cli.app; print([m for m in ('numba', 'torch', 'matplotlib', 'PIL', 'safetensors', 'cupy', 'rich.table') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary", "vgg12"], "error: summary: there is no network 'vgg12'; there are minivgg, vgg11"),
        (["summary", "vgg11", "--input", "3,x"], "error: summary: a size is written like 3,224,224"),
        (["explain", "n1 c3"], "error: parse: 'n1 c3' lacks h, w, k, r"),
        (["explain", "n1 c3 h2 w2 k4 r5"], "error: conv2d: the filter spans 5x5, the padded input is only 2x2"),
        (["autotune"], "error: autotune: takes either a network, a layer or a problem string, or --clear"),
        (["autotune", "vgg12"], "error: autotune: there is no network 'vgg12'; there are minivgg, vgg11"),
        (["autotune", SPEC, "--input", "3,8,8"], "error: autotune: --input is for networks, got"),
        (["explain", SPEC, "--operation", "relu"], "error: explain: there is no operation 'relu'"),
        (["gradcheck", "conv3d"], "error: gradcheck: there is no operation 'conv3d'; there are "),
        (["bench", "--layer", "conv9_9"], "error: bench: vgg16 has no layer 'conv9_9'; it has conv1_1, conv1_2"),
        (["bench", "--network", "alexnet"], "error: bench: there is no network 'alexnet'; there are vgg11, "),
        (["bench", "--layer", SPEC, "--algorithms", "guess"], "error: bench: conv2d has no algorithm 'guess'; there are "),
        (["bench", "--problems", "absent.txt"], "error: [Errno 2] No such file or directory: 'absent.txt'"),
        (["eval"], "error: there are no weights at runs/digits: train first with `minivgg train --out runs/digits`"),
        (["predict", "--samples", "5,400"], "error: predict: --samples takes numbers from 0 to 359, as in 0,17, got '5,400'"),
        (["predict", "absent.png"], "error: [Errno 2] No such file or directory: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_and_exit_code_1(words, message):
    result = minivgg(*words, code=1)
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_misused_options_are_exit_code_2():
    for words in (["train", "--epochs", "none"], ["train", "--epochs", "0"], ["predict", "--top", "11"], ["nonsense"], ["summary"]):
        result = minivgg(*words, code=2)
        assert "Usage:" in result.stderr
        assert "Traceback" not in result.output


def test_traceback_is_shown_on_request(monkeypatch):
    assert "ArgumentError" in minivgg("--traceback", "summary", "vgg12", code=1).stderr
    monkeypatch.setenv("MINIVGG_TRACEBACK", "1")
    assert 'raise ArgumentError("summary"' in minivgg("summary", "vgg12", code=1).stderr


def test_a_bug_is_not_hidden(monkeypatch):
    monkeypatch.setattr("minivgg.spec.Conv2dSpec.parse", lambda text: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        minivgg("explain", SPEC)


def test_damaged_weights_are_an_error_line(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"not weights")
    assert "weights.safetensors is not a safetensors file" in minivgg("eval", "weights.safetensors", code=1).stderr


def test_picture_that_is_none_and_picture_without_ink(run, tmp_path):
    from PIL import Image

    (tmp_path / "text.png").write_text("hello")
    assert "text.png is not an image" in minivgg("predict", "text.png", "--weights", run[0], code=1).stderr
    Image.new("L", (20, 20), 255).save(tmp_path / "empty.png")
    assert "empty.png shows no ink" in minivgg("predict", "empty.png", "--weights", run[0], code=1).stderr


# summary, explain, doctor ---------------------------------------------------------------------------------------------


def test_summary_shows_layers_costs_and_convention():
    text = minivgg("summary", "minivgg").stdout
    assert re.search(r"features\.3 +Conv2d +1×32×8×8 +\(8 \+ 2·1 - 3\)/1 \+ 1 = 8 +9,248 +589,824 +5x5", text)
    assert "82,474" in text
    assert "one multiply-add is counted once" in text


def test_summary_of_another_size_and_batch_as_json():
    found = json.loads(minivgg("summary", "vgg11", "--input", "3x32x32", "--batch", 2, "--json").stdout)
    assert found["parameters"] == 132_863_336
    assert found["input_shapes"] == [[2, 3, 32, 32]]
    assert found["rows"][0]["macs"] == 2 * 64 * 3 * 9 * 32 * 32


def test_summary_tells_the_peak_of_a_training_step():
    found = json.loads(minivgg("summary", "minivgg", "--batch", 32, "--training", "adam", "--json").stdout)["training_memory"]
    assert (found["optimizer"], found["batch"]) == (2 * 82_474 * 4, 32 * 64 * 4)
    text = minivgg("summary", "minivgg", "--batch", 32, "--training", "adam").stdout
    assert f"training step   {found['peak'] / 2**20:.2f} MiB at its peak ({found['where']}):" in text
    assert "+ 0.63 the optimiser's state +" in text
    assert "--training takes sgd, momentum, adam, got 'adagrad'" in minivgg("summary", "minivgg", "--training", "adagrad", code=1).stderr


def test_plain_summary_is_torchsummary_s():
    lines = minivgg("summary", "minivgg", "--plain").stdout.splitlines()
    assert lines[1] == "        Layer (type)               Output Shape         Param #"
    assert "Total params: 82,474" in lines


def test_explain_names_the_choice_and_the_others():
    text = minivgg("explain", SPEC).stdout
    assert "input (1, 8, 12, 12), weight (8, 8, 3, 3) -> output (1, 8, 12, 12); 82,944 multiply-adds" in text
    assert text.count("▶") == 3
    assert all(name in text for name in (*registry.algorithms("conv2d"), "conv2d_grad_input", "conv2d_grad_weight"))


def test_explain_as_json_agrees_with_the_choice():
    from minivgg.spec import Conv2dSpec

    found = json.loads(minivgg("explain", SPEC, "--operation", "conv2d_grad_weight", "--dtype", "float64", "--json").stdout)
    (chosen,) = [row["name"] for row in found["candidates"]["conv2d_grad_weight"] if row["chosen"]]
    assert chosen == registry.select("conv2d_grad_weight", Conv2dSpec.parse(SPEC), numpy.dtype("float64")).name
    assert list(found["candidates"]) == ["conv2d_grad_weight"]


def test_autotune_measures_keeps_and_forgets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "minivgg" / "autotune.json"
    text = minivgg("autotune", SPEC, "--replicates", "1", "--no-backward").stdout
    assert re.search(rf"^{SPEC} +conv2d +1  direct +[\d.]+ ms  \w+ +[\d.]+ ms +[\d.]+$", text, re.MULTILINE)
    assert f"\nkept in {file}\n" in text
    assert text.endswith("not used in this process: MINIVGG_AUTOTUNE is off\n")
    monkeypatch.delenv("MINIVGG_AUTOTUNE")
    environment = os.environ | {"MINIVGG_NUM_THREADS": str(get_num_threads())}
    shown = subprocess.run([*COMMAND, "explain", SPEC], capture_output=True, text=True, check=True, env=environment).stdout
    assert re.search(r"measured [\d.]+ ms on this machine", shown)
    found = json.loads(minivgg("autotune", "minivgg", "--batch", "2", "--input", "1,8,8", "--no-backward", "--replicates", "1", "--json").stdout)
    assert [row["problem"] for row in found["rows"]] == [f"n2 {rest} r3 p1" for rest in ("c1 h8 w8 k32", "c32 h8 w8 k32", "c32 h4 w4 k64", "c64 h4 w4 k64")]
    assert found["file"] == str(file)
    assert minivgg("autotune", "--clear").stdout == f"{file} is gone\n"
    assert not file.exists()


def test_doctor_finds_everything():
    text = minivgg("doctor").stdout
    assert re.search(rf"numpy +{re.escape(numpy.__version__)}", text)
    assert re.search(r"backend numba +works", text)
    assert "1,437 digits to train with, 360 to test with" in text
    found = json.loads(minivgg("doctor", "--json").stdout)
    assert found["healthy"] is True
    assert found["threads"]["blas"] >= 1
    assert {"im2col", "fft", "direct"} <= set(found["kernels"]["algorithms"]["conv2d"])


def test_doctor_says_what_is_wrong(monkeypatch, tmp_path):
    monkeypatch.setattr("minivgg.data.optical_digits.FILE", tmp_path / "absent.npz")
    result = minivgg("doctor", code=1)
    assert "the digits cannot be read" in result.stdout
    assert "something is wrong, see above" in result.stdout


@pytest.mark.parametrize("words", [("train", "--out", "run"), ("predict",), ("eval",)])
def test_without_a_device_one_line_says_so(words, run, tmp_path):
    given = {"predict": ["--weights", str(run[0])], "eval": [str(run[0])]}.get(words[0], [])
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([*COMMAND, *words, *given, "--device", "cuda"], capture_output=True, text=True, env=environment)
    assert result.returncode != 0
    assert re.search(r"device 'cuda' is not available, (CuPy|CUDA) ", " ".join(result.stderr.split()))
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


# gradcheck ------------------------------------------------------------------------------------------------------------


def test_gradcheck_shows_errors_and_agrees_with_the_check():
    text = minivgg("gradcheck", "relu", "linear").stdout
    assert re.search(r"relu .* ok", text)
    assert "2 operations" in text
    found = json.loads(minivgg("gradcheck", "linear", "--json").stdout)
    (row,) = found["operations"]
    assert found["ok"] is True
    assert row["elements"] == check_operation(registry.OPERATIONS["linear"]).elements
    assert 0 < row["first"] < found["allowed_error"]


def test_gradcheck_reports_a_wrong_gradient(monkeypatch):
    from minivgg.ops.relu import ReLU

    right = ReLU.backward
    monkeypatch.setattr(ReLU, "backward", lambda self, grad: (right(self, grad)[0] * 1.001, None))
    result = minivgg("gradcheck", "relu", code=1)
    assert "WRONG" in result.stdout
    assert "wrong: relu" in result.stdout
    found = json.loads(minivgg("gradcheck", "relu", "--json", code=1).stdout)
    assert found["operations"][0]["ok"] is False


# bench ----------------------------------------------------------------------------------------------------------------


def test_bench_shows_time_error_and_memory(tmp_path):
    options = ["--algorithms", "im2col,direct", "--rivals", "pytorch channels", "--replicates", 3]
    result = minivgg("bench", "--layer", SPEC, *options, "--json", "a.json", "--out", "a.png")
    for name in ("im2col", "direct", "PyTorch", "GFLOP/s", "scratch", "error", "fastest"):
        assert name in result.stdout
    rows = json.loads((tmp_path / "a.json").read_text())["results"]
    assert [row["algorithm"] for row in rows] == ["im2col", "direct", "PyTorch channels-last"]
    assert all(len(row["seconds"]) == 3 and row["error"] <= row["allowed_error"] for row in rows)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_bench_names_a_wrong_algorithm_and_fails(monkeypatch):
    import dataclasses

    known = registry.algorithms("conv2d")
    monkeypatch.setitem(known, "broken", dataclasses.replace(known["im2col"], name="broken", run=lambda spec, x, w, b, out: out.fill(0)))
    result = minivgg("bench", "--layer", SPEC, "--algorithms", "broken,im2col", "--replicates", 1, code=1)
    assert "wrong: relative error 1.0e+00" in result.stdout
    assert result.stderr == "error: 1 of 2 results are wrong and were not timed\n"


def test_bench_sums_a_file_of_problems_by_count(tmp_path):
    (tmp_path / "mine.txt").write_text(f'# two layers\n{SPEC} "mine:first*3"\nn1 c4 h6 w6 k4 r1 "mine:second"\n')
    words = ["bench", "--problems", "mine.txt", "--batch", 2, "--algorithms", "im2col", "--replicates", 1, "--direction", "input"]
    text = minivgg(*words).stdout
    assert "first ×3" in text
    assert "n2 c4 h6 w6 k4 r1" in text
    assert re.search(r"all, by count +im2col", text)
    found = json.loads(minivgg(*words, "--json", "-").stdout)
    assert [row["direction"] for row in found["results"]] == ["input", "input"]


def test_bench_lists_problems_that_it_can_read():
    lines = minivgg("bench", "--network", "E", "--layer", "conv3_4,conv5_1", "--list").stdout.splitlines()
    assert lines == ['n1 c256 h56 w56 k256 r3 p1 "vgg-e:conv3_2*3"', 'n1 c512 h14 w14 k512 r3 p1 "vgg-e:conv5_1*4"']


# train, eval, predict -------------------------------------------------------------------------------------------------


def test_training_writes_plain_lines_and_its_files(run):
    folder, result = run
    assert len(re.findall(r"^epoch +\d/3  loss \d\.\d+  right \d+\.\d%  held out \d+\.\d%  [\d,]+ images/s", result.stderr, re.M)) == 3
    assert "\x1b" not in result.output
    assert re.search(r"\d+\.\d\d% of the held-out digits right, after 3 epochs", result.stdout)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.safetensors", "metrics.jsonl", "settings.json"]
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if row["kind"] == "epoch"] == [1, 2, 3]


def test_eval_finds_what_training_reported(run):
    folder, trained = run
    found = json.loads(minivgg("eval", folder, "--json").stdout)
    assert f"{found['accuracy']:.2%} of the held-out digits right" in trained.stdout
    assert found["accuracy"] > 0.85
    confusion = numpy.array(found["confusion"])
    assert confusion.sum() == found["images"] == 360
    assert confusion.trace() == round(found["accuracy"] * 360)
    text = minivgg("eval", folder / "checkpoint.safetensors").stdout
    assert f"{confusion.trace()} of 360 right" in text
    assert json.loads(minivgg("eval", folder, "--train", "--json").stdout)["images"] == 1437


def test_predict_shows_bars_and_whether_it_is_right(run):
    text = minivgg("predict", "--weights", run[0], "--samples", "0,17", "--top", 2).stdout
    assert "held-out digit 17:" in text
    assert "██" in text
    assert text.count("%") == 4
    rows = json.loads(minivgg("predict", "--weights", run[0], "--json").stdout)
    assert len(rows) == 8
    for row in rows:
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(range(10), key=row["probabilities"].__getitem__)
    assert sum(row["predicted"] == row["label"] for row in rows) >= 6


def test_predict_reads_pictures_as_it_reads_the_digits(run, tmp_path):
    """A digit as a picture of 8x8 pixels is the digit; enlarged, dark on light, off its place, it is still read alike."""
    from PIL import Image

    from minivgg.data import digits

    data, agree = digits(train=False), 0
    for i in range(0, 360, 18):
        ink = numpy.round(data[i][0].numpy()[0] * 255).astype("uint8")
        Image.fromarray(ink).save(tmp_path / "small.png")
        large = Image.new("L", (200, 240), 230)
        large.paste(Image.fromarray(230 - (ink.astype(int) * 200 // 255).astype("uint8")).resize((96, 96), Image.Resampling.BICUBIC), (70, 40))
        large.save(tmp_path / "large.jpg", quality=95)
        exact, small, photo = json.loads(minivgg("predict", "--weights", run[0], "--samples", i, "--json").stdout) + json.loads(
            minivgg("predict", "--weights", run[0], "small.png", "large.jpg", "--json").stdout
        )
        assert small["probabilities"] == pytest.approx(exact["probabilities"], abs=1e-2)  # sixteenths became 8-bit numbers
        agree += photo["predicted"] == exact["predicted"]
    assert agree >= 17  # of 20


def test_a_run_is_not_overwritten_and_keeps_its_settings(run):
    folder, _ = run
    before = (folder / "checkpoint.safetensors").read_bytes()
    assert "holds a run already: add --resume" in minivgg("train", "--out", folder, code=1).stderr
    assert f"the run in {folder} was begun with epochs 3, not 9" in minivgg("train", "--out", folder, "--resume", "--epochs", 9, code=1).stderr
    assert "after 3 epochs" in minivgg("train", "--out", folder, "--resume").stdout  # nothing was left to do
    assert (folder / "checkpoint.safetensors").read_bytes() == before


def interrupt(command, when, folder):
    """Start a command, send Ctrl-C when ``when()`` is true, and return its exit code and output."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    deadline = time.monotonic() + 120
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_ctrl_c_ends_training_cleanly_and_resuming_gives_the_same_bits(tmp_path):
    metrics = tmp_path / "a" / "metrics.jsonl"

    def some_steps():
        return metrics.exists() and metrics.read_bytes().count(b"\n") >= 5

    code, out, err = interrupt([*COMMAND, "train", "--epochs", "2", "--out", "a"], some_steps, tmp_path)
    assert code == 130
    assert "Traceback" not in err
    assert re.search(r"stopped after \d+ steps; go on with: minivgg train --resume --out a", out)
    before = metrics.read_bytes()
    assert before.count(b"\n") < 44
    minivgg("train", "--resume", "--out", "a")
    assert metrics.read_bytes().startswith(before)  # with the seconds of the first part: nothing was done again
    minivgg("train", "--epochs", 2, "--out", "b")
    from minivgg.training.files import read_arrays

    resumed, straight = (read_arrays(tmp_path / name / "checkpoint.safetensors")[0] for name in "ab")
    assert all(numpy.array_equal(resumed[name], straight[name]) for name in straight if name.startswith("model."))


def test_output_into_a_closed_pipe_is_no_error():
    result = subprocess.run(f"{sys.executable} -m minivgg.cli explain '{SPEC}' --json | true", shell=True, capture_output=True, text=True)
    assert result.stderr == ""


def test_ctrl_c_ends_any_verb_without_a_traceback(monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "measure", interrupted)
    assert minivgg("bench", "--layer", SPEC, code=130).stderr == "interrupted\n"


# demo -----------------------------------------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Checks that elements are closed in order; collects anchors, links and what the page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.loads, self.text = [], [], [], [], ""

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.links += [named["href"]] if "href" in named else []
        self.loads += [named["src"]] if "src" in named else []
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text += data


def read_page(path):
    page = Page()
    source = path.read_text()
    page.feed(source)
    assert page.open == []
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    assert not re.search(r"url\(|@import|<script|https?:", source)
    assert "nan" not in re.findall(r'"[^"]*\bnan\b[^"]*"', source)
    return page


def test_interrupted_demo_reports_what_was_done_and_the_next_one_does_all_five_parts(tmp_path):
    folder = tmp_path / "runs" / "quick"
    metrics = folder / "metrics.jsonl"

    def one_epoch():
        return metrics.exists() and b'"kind": "epoch"' in metrics.read_bytes()

    code, out, err = interrupt([*COMMAND, "demo", "--quick"], one_epoch, tmp_path)
    assert code == 130
    assert "Traceback" not in err
    assert "interrupted: the report tells of what was done" in out
    page = read_page(folder / "report.html")
    assert page.ids == ["network", "learning", "answers", "inside", "gradients", "machine"]
    assert "The run was interrupted" in page.text

    result = minivgg("demo", "--quick")
    for title in ("1/5  The network", "2/5  Every gradient", "3/5  Training", "4/5  One layer", "5/5  What it reads"):
        assert title in result.stdout
    assert "going on from runs/quick/checkpoint.safetensors" in result.stdout
    assert "after 2 epochs" in result.stdout
    assert "report: runs/quick/report.html" in result.stdout
    page = read_page(folder / "report.html")
    assert page.ids == ["network", "learning", "answers", "inside", "gradients", "speed", "machine"]
    assert "The run was interrupted" not in page.text
    assert all(word in page.text for word in ("82,474", "im2col", "conv1_2", f"numpy {numpy.__version__}"))
    right = int(re.search(r"It reads (\d+) of them rightly", page.text)[1])
    assert f"{right} of 360 held-out digits right" in result.stdout
    assert right == round(json.loads(minivgg("eval", folder, "--json").stdout)["accuracy"] * 360)
    assert len(page.loads) > 20


def test_demo_that_finds_something_wrong_says_so_and_fails(monkeypatch, tmp_path):
    from minivgg.ops.relu import ReLU

    monkeypatch.setattr(ReLU, "backward", lambda self, grad: (grad, None))
    for part in ("train_network", "time_algorithms", "show_predictions"):
        monkeypatch.setattr(f"minivgg.cli.demo.{part}", lambda found, screen: None)
    result = minivgg("demo", "--quick", code=1)
    assert "the gradient of relu is wrong" in result.stdout
    page = read_page(tmp_path / "runs" / "quick" / "report.html")
    assert "Wrong: relu." in page.text
    assert page.ids == ["network", "gradients", "machine"]


def test_demo_says_so_when_a_complete_training_misses_the_goal(tmp_path):
    from minivgg.cli.report.findings import Findings
    from minivgg.training import Epoch, History

    def found(accuracy, epochs):
        last = Epoch(epochs, 1, 0.1, 0.9, 0.0, 1.0, 1.0, 1.0, 0.1, accuracy)
        return Findings(tmp_path, {"epochs": epochs}, history=History([last], 1, 1.0)).shortfall()

    assert found(0.99, 30) == found(0.95, 2) == ""
    assert found(0.98, 30).startswith("98.00% is less than the 99% that this recipe reaches on average")


# Small parts ----------------------------------------------------------------------------------------------------------


def test_numbers_are_written_for_people():
    assert [size(n) for n in (0, 1, 1023, 1024, 3 * 2**30, None)] == ["0", "1 B", "1023 B", "1.0 KiB", "3.0 GiB", "unknown"]
    assert [duration(s) for s in (5e-7, 0.5, 59.9, 60, 3601)] == ["0 µs", "500 ms", "59.90 s", "1:00 min", "60:01 min"]


def test_charts_stand_extreme_numbers():
    """No nan, no division by zero: one point, equal points, zeros, no errors at all."""
    from minivgg.page import charts

    drawn = [
        charts.lines({"a": [(1, 0.5)]}, "x", "y", percent=True),
        charts.lines({"a": [(1, 0.0), (2, 0.0)]}, "x", "y", logarithmic=True),
        charts.lines({"a": [(1, 3.0), (2, 3.0)], "b": [(1, 3.0), (2, 3.0)]}, "x", "y"),
        charts.dots([("a", [(1, "first", 0.0), (2, "second", float("inf"))])], 1e-5, "error"),
        charts.spans([("a", [("b", charts.Span(1, 1e-9, 1e-9, 1e-9, "note"))])], "ms"),
        charts.spans([("a", [("b", charts.Span(1, 10.0, 10.0, 10.0, "note"))])], "ms"),
        charts.matrix([[3, 0], [0, 2]], ["a", "b"]),
    ]
    for chart in drawn:
        assert chart.startswith("<svg")
        assert "nan" not in chart
        page = Page()
        page.feed(chart)
        assert page.open == []


def test_confusable_labels_on_the_right_do_not_overlap():
    from minivgg.page import charts

    chart = charts.lines({name: [(1, 0.0), (2, 1 + i / 1000)] for i, name in enumerate("abcd")}, "x", "y")
    heights = sorted(float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" class="name', chart))
    assert len(heights) == 4
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 14
