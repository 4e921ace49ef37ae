"""summary and inspect: golden text, published counts, receptive fields found by poking, memory and formulas counted by hand."""

import json
import math
import tracemalloc
from pathlib import Path

import numpy
import pytest

import minivgg
from minivgg import models, nn
from minivgg.inspect import inspect, summary, summary_text
from minivgg.registry import use_algorithm

GOLDEN = Path(__file__).parent / "golden"


def rows_by_name(model, size, **options):
    return {row.name: row for row in inspect(model, size, **options).rows}


# summary --------------------------------------------------------------------------------------------------------------


def test_summary_is_torchsummary_s(capsys):
    assert minivgg.summary is summary
    assert minivgg.summary(models.vgg16(init_weights=False), (3, 224, 224)) is None
    assert capsys.readouterr().out == (GOLDEN / "torchsummary_vgg16.txt").read_text()


def test_summary_counts_frozen_layers_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(1000, 3, bias=False), Split()
            self.left.requires_grad_(False)

        def forward(self, a, b):
            return self.right(self.left(a)), b

    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(minivgg.ones(3))

        def forward(self, x):
            return x * self.scale, x

    lines = summary_text(Two(), [(1000,), (4, 4)], batch_size=512).splitlines()
    assert lines[3:5] == [
        "            Linear-1                   [512, 3]           3,000",
        "             Split-2       [[512, 3], [512, 3]]               3",
    ]
    assert lines[6:9] == ["Total params: 3,003", "Trainable params: 3", "Non-trainable params: 3,000"]
    assert lines[10:14] == [
        f"Input size (MB): {1016 * 512 * 4 / 2**20:.2f}",
        f"Forward/backward pass size (MB): {2 * 9 * 512 * 4 / 2**20:.2f}",
        f"Params size (MB): {3003 * 4 / 2**20:.2f}",
        f"Estimated Total Size (MB): {(1016 * 512 + 18 * 512 + 3003) * 4 / 2**20:.2f}",
    ]


@pytest.mark.parametrize("look", [lambda model: summary_text(model, (1, 8, 8)), lambda model: inspect(model, (1, 8, 8))])
def test_looking_changes_nothing(look):
    model = models.MiniVGG()
    model.features[1].eval()
    model.classifier.requires_grad_(False)
    before = {name: tensor.tolist() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    minivgg.manual_seed(5)
    expected = minivgg.rand(3).tolist()
    minivgg.manual_seed(5)
    look(model)
    assert minivgg.rand(3).tolist() == expected
    assert [module.training for module in model.modules()] == modes
    assert {name: tensor.tolist() for name, tensor in model.state_dict().items()} == before
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_looking_at_what_fails_leaves_no_hooks():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(3, 2))
    for look in (summary_text, inspect):
        with pytest.raises(ValueError, match="linear: weight expects 3"):
            look(model, (3,))
    assert model.training
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("size", [(), (3, 0, 4), (3.0, 4), [(3, 4), (2, -1)], []])
def test_sizes_that_are_none(size):
    with pytest.raises(ValueError, match="input_size: must be a size such as"):
        summary_text(nn.ReLU(), size)


# inspect --------------------------------------------------------------------------------------------------------------

# configuration, multiply-adds of the convolutions, of all, receptive field at pool5
PUBLISHED = [
    ("A", 7_485_456_384, 7_609_090_048, 150),
    ("A-LRN", 7_485_456_384, 7_609_090_048, 150),
    ("B", 11_184_832_512, 11_308_466_176, 156),
    ("C", 11_647_254_528, 11_770_888_192, 156),
    ("D", 15_346_630_656, 15_470_264_320, 212),
    ("E", 19_508_428_800, 19_632_062_464, 268),
]


@pytest.fixture(scope="module")
def classifier():
    return models.VGG(nn.Sequential(), init_weights=False)


@pytest.mark.parametrize(("configuration", "convolutions", "total", "field"), PUBLISHED)
def test_multiply_adds_and_receptive_fields_are_the_published_ones(classifier, configuration, convolutions, total, field):
    classifier.features = models.make_layers(configuration)
    table = inspect(classifier, (3, 224, 224))
    assert sum(row.macs for row in table.rows if row.kind == "Conv2d") == convolutions
    assert table.macs == total
    assert [row.receptive_field for row in table.rows if row.kind == "MaxPool2d"][-1] == f"{field}x{field}"
    assert [row.receptive_field for row in table.rows if row.kind == "Linear"] == ["all"] * 3
    assert table.parameters == sum(parameter.numel() for parameter in classifier.parameters()) == sum(row.parameters for row in table.rows)
    if configuration == "D":  # 15.48, 15.52, 15.61 G: other tools' numbers
        biases = 64 * 2 * 224**2 + 128 * 2 * 112**2 + 256 * 3 * 56**2 + 512 * 3 * (28**2 + 14**2)
        pooled = 64 * 224**2 + 128 * 112**2 + 256 * 56**2 + 512 * (28**2 + 14**2 + 7**2)
        linear = total - convolutions
        assert [count.macs for count in table.other_counts] == [
            total + biases + 9192,
            total + biases + 9192 + 2 * (biases + 8192 + pooled),
            total + biases + linear,
        ]
        assert [f"{count.macs / 1e9:.2f}" for count in table.other_counts] == ["15.48", "15.52", "15.61"]


POKED = [
    ("Conv2d(1, 1, 3, padding=1), Conv2d(1, 1, (3, 5), padding=(1, 2))", (15, 15)),
    ("Conv2d(1, 1, 3, stride=2, padding=1), AvgPool2d(2), Conv2d(1, 1, 3, padding=1)", (32, 32)),
    ("Conv2d(1, 1, 3, dilation=(2, 3), padding=(2, 3)), AvgPool2d(3, 1, 1), Conv2d(1, 1, 1)", (17, 21)),
    ("AdaptiveAvgPool2d((8, 6)), Conv2d(1, 1, 3, padding=1)", (24, 30)),
    ("AvgPool2d(2), AdaptiveMaxPool2d(4), BatchNorm2d(1)", (24, 16)),
]


@pytest.mark.parametrize(("layers", "size"), POKED)
def test_receptive_fields_are_what_a_poke_reaches(layers, size):
    """Change one pixel after the other: those that move a middle output span the receptive field."""
    net = nn.Sequential(*eval(f"[{layers}]", dict(vars(nn)))).double().eval()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    flat = minivgg.zeros(1, 1, *size, dtype="float64")
    middle = tuple(n // 2 for n in net(flat).shape)
    pokes = numpy.zeros((size[0] * size[1], 1, *size))
    pokes.reshape(len(pokes), -1)[numpy.diag_indices(len(pokes))] = 1.0
    seen = (net(minivgg.tensor(pokes)).detach().numpy() - net(flat).detach().numpy())[:, 0, middle[2], middle[3]].reshape(size) != 0
    rows, columns = (numpy.flatnonzero(seen.any(axis)) for axis in (1, 0))
    assert inspect(net, (1, *size)).rows[-1].receptive_field == f"{rows[-1] - rows[0] + 1}x{columns[-1] - columns[0] + 1}"


@pytest.mark.parametrize(
    ("layer", "size", "formula"),
    [
        ("Conv2d(2, 2, 3)", (2, 9, 9), "(9 + 2·0 - 3)/1 + 1 = 7"),
        ("Conv2d(2, 2, 3, stride=2, padding=1)", (2, 8, 8), "⌊(8 + 2·1 - 3)/2⌋ + 1 = 4"),
        ("Conv2d(2, 2, (3, 1), padding=(1, 0))", (2, 8, 9), "rows (8 + 2·1 - 3)/1 + 1 = 8; columns (9 + 2·0 - 1)/1 + 1 = 9"),
        ("Conv2d(2, 2, 4, padding='same')", (2, 8, 8), "(8 + 1 + 2 - 4)/1 + 1 = 8"),
        ("Conv2d(2, 2, 3, dilation=2)", (2, 8, 8), "(8 + 2·0 - 2·(3 - 1) - 1)/1 + 1 = 4"),
        ("MaxPool2d(2)", (2, 7, 7), "⌊(7 + 2·0 - 2)/2⌋ + 1 = 3"),
        ("MaxPool2d(2, ceil_mode=True)", (2, 7, 7), "⌈(7 + 2·0 - 2)/2⌉ + 1 = 4"),
        ("AvgPool2d(2, 3, 1, ceil_mode=True)", (2, 5, 5), "⌈(5 + 2·1 - 2)/3⌉ + 1 - 1 (it would begin beyond the input) = 2"),
        ("AdaptiveAvgPool2d((3, None))", (2, 7, 7), "rows ⌊i·7/3⌋ to ⌈(i + 1)·7/3⌉ for i < 3"),
        ("AdaptiveMaxPool2d(2)", (2, 7, 7), "⌊i·7/2⌋ to ⌈(i + 1)·7/2⌉ for i < 2"),
        ("Flatten()", (2, 3, 4), "2·3·4 = 24"),
        ("Linear(5, 3)", (5,), "5 to 3"),
        ("ReLU()", (5,), ""),
    ],
)
def test_size_formulas(layer, size, formula):
    (row,) = inspect(eval(layer, dict(vars(nn))), size).rows
    assert row.size_formula == formula
    for part in formula.split(";"):  # and each is true
        claim = part.removeprefix("rows").strip().removeprefix("columns").replace("·", "*").replace("(it would begin beyond the input)", "")
        if "for i <" not in claim and "=" in claim:
            left, _, right = claim.partition("=")
            left = left.replace("⌊", "math.floor(").replace("⌈", "math.ceil(").replace("⌋", ")").replace("⌉", ")")
            assert eval(left, {"math": math}) == int(right)
            assert int(right) in row.output_shape


def test_memory_counted_by_hand():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3))
    with minivgg.use_algorithm(conv2d="im2col"):  # row-major results, so that Flatten is a view
        table = inspect(net, (2, 8, 8), batch_size=3)
    conv, relu, pool, flat, linear = table.rows
    assert [row.output_shape for row in table.rows] == [(3, 4, 8, 8), (3, 4, 8, 8), (3, 4, 4, 4), (3, 64), (3, 3)]
    image, full, quarter = 3 * 2 * 64 * 4, 3 * 4 * 64 * 4, 3 * 4 * 16 * 4
    assert [row.activation_bytes for row in table.rows] == [full, 0, quarter, 0, 3 * 3 * 4]
    assert conv.saved_bytes == image  # its input; the weight is counted as a parameter
    assert relu.saved_bytes == full  # its output
    assert pool.saved_bytes == quarter // 4  # a byte for each output: the number of the largest cell in its window
    assert flat.saved_bytes == 0
    assert linear.saved_bytes == quarter  # the pooling's output
    assert [row.gradient_bytes for row in table.rows] == [full + 4 * (4 * 18 + 4), full, quarter, quarter, 36 + 4 * (64 * 3 + 3)]
    assert table.macs == 3 * (8 * 8 * 4 * 18 + 64 * 3)
    assert table.saved_bytes == image + full + quarter // 4 + quarter
    assert inspect(net.double(), (2, 8, 8), batch_size=3).saved_bytes == 2 * (image + full + quarter) + quarter // 4
    net[0].requires_grad_(False)
    frozen = inspect(net.float(), (2, 8, 8)).rows[0]
    assert (frozen.saved_bytes, frozen.gradient_bytes, frozen.parameters) == (0, full // 3, 76)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_saved_memory_is_what_dropping_the_graph_frees(batch_norm):
    net = models.MiniVGG(image_size=32, width=8, batch_norm=batch_norm).eval()
    x = minivgg.randn(8, 1, 32, 32)
    net(x)  # whatever is set up once

    def held():
        arrays = tracemalloc.DomainFilter(True, 389047)  # NumPy's; the graph's own objects are another 2 %
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)

    def freed():
        tracemalloc.start()
        try:
            y = net(x)
            before = held()
            del y
            return before - held()
        finally:
            tracemalloc.stop()

    expected = inspect(net, (1, 32, 32), batch_size=8).saved_bytes - x.nbytes  # the image stays
    together = freed()
    for module in net.features:
        module.register_forward_hook(lambda *_: None)  # so each layer is computed by itself
    assert freed() == pytest.approx(expected, rel=0.005)
    if batch_norm:
        assert together == pytest.approx(expected, rel=0.005)
    else:
        assert together < 0.9 * expected  # convolution, ReLU and pooling in one pass save less


def test_algorithms_and_their_workspace():
    net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(2))
    with use_algorithm(conv2d="kn2row"):
        forced = inspect(net, (8, 16, 16)).rows[0]
    assert (forced.algorithm, forced.reason) == ("kn2row", "forced")
    chosen = inspect(net, (8, 16, 16)).rows
    spec = minivgg.spec.Conv2dSpec.parse("n1 c8 h16 w16 k8 r3 p1")
    expected = minivgg.registry.select("conv2d", spec, numpy.dtype("float32"))
    assert chosen[0].algorithm == expected.name
    assert chosen[0].workspace_bytes == expected.workspace(spec, numpy.dtype("float32"))
    assert chosen[0].reason in {candidate.reason for candidate in minivgg.explanation.candidates("conv2d", spec, numpy.dtype("float32"))}
    backward = [minivgg.registry.select(f"conv2d_grad_{side}", spec, numpy.dtype("float32")) for side in ("input", "weight")]
    assert chosen[0].backward_workspace_bytes == max(algorithm.workspace(spec, numpy.dtype("float32")) for algorithm in backward)
    assert chosen[1].algorithm


class Functional(nn.Module):
    """A layer used twice, a functional call between layers, a parameter of its own, a branch, and dropout."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.drop = nn.Dropout()
        self.scale = nn.Parameter(minivgg.ones(1))
        self.weight = nn.Parameter(minivgg.ones(5, 2 * 36))

    def forward(self, x):
        y = self.conv(self.drop(self.conv(x))) + x * self.scale
        return y.flatten(1) @ self.weight.transpose(0, 1)


def test_what_runs_outside_of_layers_has_its_row():
    table = inspect(Functional(), (2, 6, 6))
    assert [(row.name, row.kind, row.receptive_field) for row in table.rows] == [
        ("conv", "Conv2d", "3x3"), ("drop", "Dropout", "3x3"), ("conv", "Conv2d", "5x5"), ("forward", "Mul", "1x1"), ("forward", "Add", "5x5"),
        ("forward", "Reshape", ""), ("forward", "Permute", ""), ("forward", "MatMul", "all"),
    ]  # fmt: skip
    assert table.macs == 2 * (36 * 2 * 18) + 72 * 5
    assert [row.parameters for row in table.rows] == [38, 0, 0, 1 + 5 * 72, 0, 0, 0, 0]
    assert table.parameters == 38 + 1 + 5 * 72


def test_examples_may_be_given():
    table = inspect(nn.Conv2d(1, 2, 3), minivgg.zeros(4, 1, 5, 5))
    assert (table.rows[0].name, table.input_shapes, table.rows[0].output_shape, table.macs) == ("", [(4, 1, 5, 5)], (4, 2, 3, 3), 4 * 9 * 2 * 9)

    class Add(nn.Module):
        def forward(self, a, b):
            return a + b

    both = inspect(Add(), (minivgg.zeros(2, 3), minivgg.zeros(3)))
    assert [(row.kind, row.output_shape) for row in both.rows] == [("Add", (2, 3))]
    assert inspect(Add(), [(3,), (3,)]).input_shapes == [(1, 3), (1, 3)]


def test_text_and_json():
    table = inspect(nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()), (1, 64, 64))
    data = json.loads(json.dumps(table.as_dict()))
    assert (data["macs"], data["parameters"], data["rows"][0]["output_shape"]) == (64 * 64 * 72, 80, [1, 8, 64, 64])
    assert data["convention"].startswith("one multiply-add is counted once")
    lines = str(table).splitlines()
    assert len({len(line) for line in (lines[1],)} | {max(map(len, lines[:4]))}) == 1
    assert lines[2].split()[:4] == ["0", "Conv2d", "1x8x64x64", "(64"]
    assert "multiply-adds   294,912 = 0.00 G: one multiply-add is counted once" in str(table)
    assert "parameters      80: 0.00 MiB" in str(table)
