"""The report of a gradient check as text, as data and as a page: what it holds, that it stands by itself, that it is written whole."""

import html.parser
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy
import pytest

import minivgg
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
