"""The report of a gradient check as text, as data and as a page: what it holds, that it stands by itself, that it is written whole."""

import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy
import pytest
from typer.testing import CliRunner

import minivgg
from minivgg.cli.app import app
from minivgg.errors import ArgumentError
from minivgg.nn import functional
from minivgg.testing import gradcheck
from minivgg.testing.gradients.heat import CELLS, Heat, heat_map, heat_text

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Reader(html.parser.HTMLParser):
    """Opens and closes every element, and notes what is fetched from elsewhere."""

    def __init__(self, page):
        super().__init__()
        self.open, self.fetched, self.scripts = [], [], 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        self.fetched += [value for name, value in attributes if name in ("src", "href", "xlink:href") and not value.startswith("#")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def leaf(*shape, seed=0):
    return minivgg.tensor(numpy.random.default_rng(seed).standard_normal(shape), requires_grad=True)


class Flawed(minivgg.Function):
    """A convolution whose gradients are spoilt by ``spoil(grad_x, grad_w)``."""

    spoil = staticmethod(lambda x, w: (x, w))

    def forward(self, x, weight):
        self.save_for_backward(x, weight)
        with minivgg.no_grad():
            return functional.conv2d(minivgg.Tensor(x), minivgg.Tensor(weight), padding=1).array

    def backward(self, grad):
        copies = [minivgg.Tensor(saved.array, requires_grad=True) for saved in self.saved_tensors]
        with minivgg.enable_grad():
            out = functional.conv2d(*copies, padding=1)
        x, weight = minivgg.autograd.grad(out, copies, minivgg.Tensor(grad.array))
        return tuple(minivgg.Tensor(numpy.ascontiguousarray(array)) for array in self.spoil(x.array, weight.array))


class Flipped(Flawed):
    spoil = staticmethod(lambda x, w: (x, w[:, :, ::-1, ::-1]))


def _last_row(x, w):
    x = x.copy()
    x[:, :, -1] *= 1.1
    return x, w


class Border(Flawed):
    spoil = staticmethod(_last_row)


@pytest.fixture(scope="module")
def reports():
    inputs = leaf(2, 3, 6, 5), leaf(4, 3, 3, 3, seed=1)
    return {function.__name__: gradcheck(function, inputs, raise_exception=False) for function in (Flawed, Flipped, Border)}


@pytest.mark.parametrize("name", ["Flawed", "Flipped", "Border"])
def test_page_stands_by_itself(reports, name, tmp_path):
    reports[name].save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert reader.open == []
    assert reader.fetched == []
    assert reader.scripts == 0
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(picture)
    assert "nan" not in "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert anchors
    assert all(f'<section id="{anchor}">' in page for anchor in anchors)


def test_page_says_what_the_report_says(reports, tmp_path):
    report = reports["Flipped"]
    report.save(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<h1>The gradient of Flipped is wrong</h1>" in page
    assert report.coverage[1:] in page
    (diagnosis,) = report.diagnoses
    assert all(html.escape(words) in page for words in (diagnosis.kind, diagnosis.sentence, diagnosis.evidence))
    assert page.count("is wrong</h1>") == page.count('class="card fault"') == 1
    reports["Flawed"].save(tmp_path / "right.html")
    right = (tmp_path / "right.html").read_text(encoding="utf-8")
    assert "<h1>The gradient of Flawed is right</h1>" in right
    assert "heatmap" not in re.sub(r"<style>.*?</style>", "", right, flags=re.DOTALL)


def test_heat_map_colours_the_wrong_elements(reports):
    """As many red cells as elements whose gradient was spoilt, and they are those."""
    spoilt = {"weight": numpy.ones((4, 3, 3, 3), bool), "x": numpy.zeros((2, 3, 6, 5), bool)}
    spoilt["weight"][..., 1, 1] = False
    spoilt["x"][:, :, 5] = True
    for name, (label, where) in zip(("Flipped", "Border"), spoilt.items(), strict=True):
        (line,) = [line for line in reports[name].inputs if not line.ok]
        assert line.name == label
        picture = ElementTree.fromstring(heat_map(Heat.of(label, line.errors), 1e-3))
        cells = [rect for rect in picture.iter("rect") if "heat" in rect.get("class")]
        assert len(cells) == where.size
        red = [rect.find("title").text for rect in cells if " w" in rect.get("class")]
        places = [tuple(int(i) for i in re.findall(r"=(\d+)", title)) for title in red]
        assert sorted(places) == sorted(map(tuple, numpy.argwhere(where).tolist()))


def test_curve_is_flat_for_the_wrong_gradient_and_a_valley_for_a_right_one(reports):
    (line,) = [line for line in reports["Flipped"].inputs if not line.ok]
    steps, wrong, rounding, right = numpy.array(line.curve).T
    assert len(steps) == 9
    numpy.testing.assert_allclose(wrong, abs(line.analytic - line.numeric), rtol=1e-3)
    assert right.max() < 1e-3 * wrong.min()
    assert (right <= rounding + 1e-12).all()


def test_large_arrays_are_folded_to_the_largest_error_and_say_so():
    errors = numpy.zeros((256, 128, 3, 3))
    errors[201, 77, 2, 1] = 0.5
    errors[3, 4] = numpy.nan
    heat = Heat.of("weight", errors)
    assert heat.values.size <= CELLS
    assert "folded: a cell is the largest error of up to 128 elements (16 of k, 8 of c)" in heat.caption
    assert numpy.argwhere(heat.values == 0.5).tolist() == [[201 // 16, 77 // 8, 2, 1]]
    assert not numpy.isnan(heat.values).any()  # of each block something was checked
    assert "folded" not in Heat.of("weight", errors[:8, :8]).caption
    for shape in ((), (5,), (40,), (5000,), (7, 900), (3, 4, 5), (2, 3, 2, 4, 4), (2, 3, 500, 500)):
        heat = Heat.of("x", numpy.full(shape, 0.25))
        assert heat.values.size <= CELLS
        assert set(numpy.unique(heat.values)) <= {0.25, -1.0}
        ElementTree.fromstring(heat_map(heat, 1e-3))


def test_vector_goes_on_in_the_next_row():
    errors = numpy.zeros(40)
    errors[35] = 1
    picture = ElementTree.fromstring(heat_map(Heat.of("x", errors), 1e-3))
    (red,) = [rect for rect in picture.iter("rect") if " w" in rect.get("class")]
    assert red.find("title").text == "x[i=35]: error 1.00e+00"
    assert len(list(picture.iter("rect"))) == 40


def test_text_shows_where(reports):
    assert str(reports["Flipped"]).endswith("where weight is wrong (#), r down, s across, the same for every k, c:\n    ###\n    #.#\n    ###")
    assert str(reports["Border"]).endswith("the same for every n, c:" + 5 * "\n    ....." + "\n    #####")
    assert "#" not in str(reports["Flawed"])
    errors = numpy.full((2, 2, 2), numpy.nan)
    errors[0], errors[1, 0] = [[1.0, 0.0], [1.0, 0.0]], [0.0, 1.0]
    assert heat_text("x", errors, 1e-3).splitlines()[1:] == ["    #.  .#", "    #.  ??"]
    assert heat_text("x", numpy.ones((2, 2)), 1e-3) == heat_text("x", numpy.eye(40), 1e-3) == ""


def test_json_is_the_data_and_strict(tmp_path):
    class Nothing(minivgg.Function):
        def forward(self, x):
            return x * 2

        def backward(self, grad):
            return grad * float("nan")

    report = gradcheck(Nothing, leaf(2), raise_exception=False)
    report.save(tmp_path / "report.json")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    data = json.loads((tmp_path / "report.json").read_text(), parse_constant=refuse)
    assert data == report.as_dict()
    assert data["ok"] is False
    assert data["inputs"][0]["error"] == "inf"
    report.save(tmp_path / "report.html")
    Reader((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_text_file_is_the_text(reports, tmp_path):
    reports["Border"].save(str(tmp_path / "deeper" / "report.txt"))
    assert (tmp_path / "deeper" / "report.txt").read_text(encoding="utf-8") == f"{reports['Border']}\n"


def test_file_is_written_whole_or_not_at_all(reports, tmp_path, monkeypatch):
    place = tmp_path / "report.html"
    place.write_text("old")
    with pytest.raises(ArgumentError, match=r"^GradcheckReport.save: the name must end in .html, .json or .txt, got .*report.pdf$"):
        reports["Border"].save(tmp_path / "report.pdf")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            reports["Border"].save(place)
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert place.read_text() == "old"


# The command line ------------------------------------------------------------------------------------------------------


def command(*words, code=0):
    result = CliRunner().invoke(app, ["gradcheck", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


MINE = """
import numpy
from typer.testing import CliRunner

import minivgg
from minivgg.cli.app import app
from minivgg import nn
from minivgg.autograd import Function

class Square(Function):
    def forward(self, x):
        self.save_for_backward(x)
        return x * x

    def backward(self, grad):
        (x,) = self.saved_tensors
        return x * grad

def cubed(x):
    return x**3 * minivgg.randn(3, dtype="float64")

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(3, width)

    def forward(self, x):
        return self.linear(x).relu()

class Wide(Net):
    def __init__(self, width):
        super().__init__(width)

net = Net(2)

def forward(x, w):
    return x @ w

def backward(upstream, x, w):
    return upstream @ w.T, x.T @ upstream

def wrong(upstream, x, w):
    return upstream @ w.T, -x.T @ upstream

pair = forward, backward
number = 3
"""

TORCH = """
import torch

class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        return 3 * grad

def swish(x):
    return x * torch.sigmoid(x)

net = torch.nn.Linear(3, 2)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "theirs.py").write_text(TORCH)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["mine.py:Square", "--shape", "3"], 1, "gradcheck of Square, order 1: FAILED, 3 elements"),
        (["mine.py:cubed", "--shape", "3"], 0, "gradcheck of cubed, order 1: passed, 3 elements"),
        (["mine.py:cubed", "--shape", "3", "--order", "2"], 0, "gradcheck of cubed, order 2: passed, 6 elements"),
        (["mine.py:Net", "--shape", "5,3"], 0, "linear.weight  (4, 3)"),
        (["mine.py:net", "--shape", "5,3", "--samples", "2"], 0, "order 1: passed, 6 elements"),
        (["mine.py:net", "--shape", "5,3", "--mode", "vectors"], 0, "10 outputs by 3 random upstream gradients"),
        (["mine.py:forward,backward", "--shape", "2,3", "--shape", "3,4"], 0, "gradcheck of forward, order 1: passed, 18 elements"),
        (["mine.py:forward,wrong", "--shape", "2,3", "--shape", "3,4"], 1, "sign"),
        (["mine.py:pair", "--shape", "2,3", "--shape", "3,4", "--mode", "projected"], 0, "random directions"),
        (["mine.py:Square", "--shape", "3", "--rtol", "10"], 0, "passed"),
        (["theirs.py:Twice", "--shape", "3"], 1, "1.5 times"),
        (["theirs.py:swish", "--shape", "3"], 0, "gradcheck of swish, order 1: passed, 3 elements"),
        (["theirs.py:net", "--shape", "5,3"], 0, "weight"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_own_code_of_every_kind(mine, words, code, says):
    if words[0].startswith("theirs"):
        pytest.importorskip("torch")
    assert says in command(*words, code=code).stdout


def test_own_code_is_the_library_check(mine):
    """The same numbers as the call, drawn from the seed."""
    rng = numpy.random.default_rng(5)
    arrays = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    expected = gradcheck((lambda x, w: x @ w, lambda v, x, w: (v @ w.T, x.T @ v)), arrays).as_dict()
    data = json.loads(command("mine.py:forward,backward", "--shape", "2,3", "--shape", "3,4", "--seed", 5, "--json").stdout)
    assert data["inputs"] == expected["inputs"]


def test_own_inputs(mine):
    with (mine / "mine.py").open("a") as file:
        file.write("\ndef inputs():\n    return numpy.arange(3.0)\n")
    assert "gradcheck of Square, order 1: FAILED, 3 elements" in command("mine.py:Square", code=1).stdout
    assert "FAILED, 4 elements" in command("mine.py:Square", "--shape", "4", code=1).stdout
    with (mine / "mine.py").open("a") as file:
        file.write("\ninputs = numpy.ones((2, 3)), numpy.ones((3, 4))\n")
    assert "passed, 18 elements" in command("mine.py:pair").stdout


def test_own_report_is_written(mine):
    for name in ("report.html", "report.json", "report.txt"):
        command("mine.py:Square", "--shape", "3", "--out", name, code=1)
    assert "The gradient of Square is wrong" in (mine / "report.html").read_text(encoding="utf-8")
    assert json.loads((mine / "report.json").read_text())["function"] == "Square"
    assert (mine / "report.txt").read_text().startswith("gradcheck of Square")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.py:f"], "error: gradcheck: there is no file nothing.py\n"),
        (["mine.py:f"], "error: gradcheck: there is no f in mine.py; it has Square, cubed, Net, Wide, net, forward, backward, wrong\n"),
        (["mine.py"], "error: gradcheck: say what in mine.py to check, as in mine.py:MyFunction; it has Square, cubed,"),
        (["mine.py:Square"], "error: gradcheck: there are no inputs for Square: give the shape of each, as in --shape 2,3,8,8 --shape 4,3,3,3, or write in"),
        (["mine.py:number"], "error: gradcheck: number must be a function, a Function, a Module or a pair (forward, backward), got int\n"),
        (["mine.py:Wide"], "error: gradcheck: Wide cannot be made without arguments ("),
        (["mine.py:forward,backward,wrong"], "error: gradcheck: a pair is forward,backward, got 3 names: forward,backward,wrong\n"),
        (["mine.py:Square", "--shape", "3;4"], "error: gradcheck: a shape is written like 2,3,8,8, got '3;4'\n"),
        (["mine.py:Square", "--shape", "3", "--out", "a.pdf"], "error: GradcheckReport.save: the name must end in .html, .json or .txt, got a.pdf\n"),
        (["mine.py:Square", "--shape", "3", "--mode", "some"], "error: gradcheck: mode must be full, vectors or projected, got 'some'\n"),
        (
            ["mine.py:forward,backward", "--shape", "3,2", "--shape", "3,4"],
            "error: gradcheck: mine.py:forward,backward raised ValueError at inputs (3, 2)",
        ),
        (["mine.py:pair", "--shape", "2,3", "--shape", "3,4", "--order", "2"], "error: gradgradcheck: forward is a pair of NumPy functions"),
        (["mine.py:Square", "conv2d"], "error: gradcheck: code of your own is checked one at a time, got mine.py:Square, conv2d\n"),
        (["conv2d", "--shape", "3"], "error: gradcheck: --shape is for code of your own, named like my_file.py:MyFunction\n"),
        (["broken.py:f"], "error: gradcheck: broken.py raised ZeroDivisionError in line 2: division by zero\n"),
        (["unreadable.py:f"], "error: gradcheck: unreadable.py raised SyntaxError in line 1: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_say_what_to_do(mine, words, message):
    (mine / "broken.py").write_text("one = 1\nf = one / 0\n")
    (mine / "unreadable.py").write_text("def f(:\n")
    result = command(*words, code=1)
    assert result.stderr.startswith(message)
    assert result.stdout == ""
