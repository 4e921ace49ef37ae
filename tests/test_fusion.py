"""Convolution or batch normalisation, ReLU and pooling together: the same numbers as the separate layers, and only where nobody can tell."""

import numpy
import pytest

import minivgg
from minivgg import nn
from minivgg.autograd import Function
from minivgg.ops.batch_norm_relu import BatchNormReLU, batch_norm_relu
from minivgg.ops.conv2d_relu import Conv2dReLU


@pytest.fixture
def runs(monkeypatch):
    """What ran fused: (ReLU alone, or with pooling) of each."""
    seen, forward = [], Conv2dReLU.forward

    def note(self, x, w, b, spec, pool, algorithm):
        seen.append("pool" if pool else "relu")
        return forward(self, x, w, b, spec, pool, algorithm)

    monkeypatch.setattr(Conv2dReLU, "forward", note)
    return seen


def network(*behind, side=16):
    return nn.Sequential(nn.Conv2d(side, 32, 3, padding=1), nn.ReLU(), *behind)


def separately(model, x):
    """The same modules, called one after the other."""
    for module in model:
        x = module(x)
    return x


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("behind", "expected"),
    [((), ["relu"]), ((nn.MaxPool2d(2),), ["pool"]), ((nn.MaxPool2d((2, 2), stride=2),), ["pool"]), ((nn.MaxPool2d(3, 2, 1),), ["relu"]),
     ((nn.MaxPool2d(2, 1),), ["relu"]), ((nn.MaxPool2d(2, ceil_mode=True),), ["relu"]), ((nn.AvgPool2d(2),), ["relu"])],
)  # fmt: skip
def test_result_and_gradients_are_those_of_the_separate_layers(runs, behind, expected, inplace):
    minivgg.manual_seed(0)
    model = network(*behind)
    model[1] = nn.ReLU(inplace=inplace)
    results = []
    for run in (model, lambda x: separately(model, x)):
        x = minivgg.randn(2, 16, 11, 14, generator=minivgg.Generator().manual_seed(1)).requires_grad_()
        model.zero_grad()
        y = run(x)
        (y * y).sum().backward()
        results.append([y.detach().numpy(), x.grad.numpy(), *(parameter.grad.numpy() for parameter in model.parameters())])
    assert runs == expected
    for fused, plain in zip(*results, strict=True):
        numpy.testing.assert_allclose(fused, plain, rtol=1e-5, atol=1e-5)
    numpy.testing.assert_array_equal(results[0][0], results[1][0])


def test_first_layer_with_few_channels_is_fused_with_relu_alone(runs):
    model = network(nn.MaxPool2d(2), side=2)
    x = minivgg.randn(1, 2, 8, 8)
    assert minivgg.equal(model(x), separately(model, x))
    assert runs == ["relu"]  # direct convolution knows ReLU, not pooling


def test_a_hook_sees_its_layer(runs):
    x = minivgg.randn(1, 16, 8, 8)
    for index in range(3):
        model = network(nn.MaxPool2d(2))
        shapes = []
        model[index].register_forward_hook(lambda module, inputs, output, shapes=shapes: shapes.append((inputs[0].shape, output.shape)))
        model(x)
        assert shapes == [[((1, 16, 8, 8), (1, 32, 8, 8)), ((1, 32, 8, 8), (1, 32, 8, 8)), ((1, 32, 8, 8), (1, 32, 4, 4))][index]]
    assert runs == ["relu"]  # only where the hook sat on the pooling


def test_subclasses_and_replaced_methods_are_called(runs):
    class Louder(nn.ReLU):
        def forward(self, input):
            return super().forward(input) * 2

    x = minivgg.randn(1, 16, 8, 8)
    model = nn.Sequential(nn.Conv2d(16, 32, 3), Louder())
    assert minivgg.equal(model(x), separately(model, x))
    model = network()
    model[1].forward = lambda input: input * 3
    assert minivgg.equal(model(x), model[0](x) * 3)
    assert runs == []


def test_a_forced_algorithm_is_the_one_that_runs(runs, monkeypatch):
    model, x = network(nn.MaxPool2d(2)), minivgg.randn(1, 16, 8, 8)
    with minivgg.use_algorithm(conv2d="im2col"):
        by_im2col = model(x)
    assert runs == []
    with minivgg.use_algorithm(max_pool2d="strided"):
        model(x)
    assert runs.pop() == "relu"
    with minivgg.use_algorithm(conv2d="winograd_f2"):
        by_winograd = model(x)
    assert runs == ["pool"]
    assert not minivgg.equal(by_im2col, by_winograd)
    assert minivgg.allclose(by_im2col, by_winograd, atol=1e-5)


def test_only_what_the_gradient_needs_is_saved(runs):
    """A whole activation less than the separate layers: of the pooled output, its cells in a byte each, and the input."""
    model, x = network(nn.MaxPool2d(2)), minivgg.randn(1, 16, 8, 8)
    saved, save = [], Function.save_for_backward

    def note(self, *arrays):
        saved.extend(array for array in arrays if array is not None)
        return save(self, *arrays)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Function, "save_for_backward", note)
        model(x)
    assert runs == ["pool"]
    sizes = sorted((getattr(array, "array", array).shape, str(getattr(array, "array", array).dtype)) for array in saved)
    assert ((1, 32, 8, 8), "float32") not in sizes
    assert ((1, 32, 4, 4), "uint8") in sizes


def test_nan_passes_relu_and_wins_the_window(runs):
    model = network(nn.MaxPool2d(2))
    x = minivgg.randn(1, 16, 8, 8)
    x[0, 0, 3, 3] = float("nan")
    assert minivgg.equal(model(x).isnan(), separately(model, x).isnan())
    assert model(x).isnan().any()
    assert runs == ["pool", "pool"]


def test_a_training_run_is_that_of_the_separate_layers(runs):
    """Ten steps of a small network, with and without the fused pass, in float64."""

    def train(fused):
        minivgg.manual_seed(3)
        model = nn.Sequential(*network(nn.MaxPool2d(2)), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16 * 16, 4))
        model = model.to("float64")
        if not fused:
            for module in model:
                module.register_forward_hook(lambda *_: None)
        optimizer = minivgg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        generator = minivgg.Generator().manual_seed(4)
        for _ in range(10):
            x = minivgg.randn(6, 16, 8, 8, generator=generator, dtype="float64")
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), minivgg.tensor([0, 1, 2, 3, 0, 1])).backward()
            optimizer.step()
        return [parameter.detach().numpy() for parameter in model.parameters()]

    ours = train(fused=True)
    assert runs == ["pool", "relu"] * 10
    for fused, plain in zip(ours, train(fused=False), strict=True):
        numpy.testing.assert_allclose(fused, plain, rtol=1e-9, atol=1e-12)


# Batch normalisation --------------------------------------------------------------------------------------------------


@pytest.fixture
def normalised(monkeypatch):
    """What ran fused: with pooling or without."""
    seen, forward = [], BatchNormReLU.forward

    def note(self, x, w, b, eps, pool):
        seen.append("pool" if pool else "relu")
        return forward(self, x, w, b, eps, pool)

    monkeypatch.setattr(BatchNormReLU, "forward", note)
    return seen


def images(shape, seed=1, dtype="float32"):
    """Random ones in channels-last memory, near some of which ReLU and pooling have to decide."""
    n, c, h, w = shape
    x = numpy.random.default_rng(seed).standard_normal((n, h, w, c)).round(1).astype(dtype)
    return minivgg.tensor(x).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "behind", "expected"),
    [((4, 16, 8, 10), (), ["relu"]), ((4, 16, 8, 10), (nn.MaxPool2d(2),), ["pool"]), ((3, 37, 6, 8), (nn.MaxPool2d(2),), ["pool"]),
     ((2, 24, 80, 90), (nn.MaxPool2d(2),), ["pool"]), ((4, 16, 9, 10), (nn.MaxPool2d(2),), ["relu"]), ((4, 16, 8, 9), (nn.MaxPool2d(2),), ["relu"]),
     ((8, 15, 8, 10), (nn.MaxPool2d(2),), ["relu"]), ((4, 16, 8, 10), (nn.MaxPool2d(3, 2),), ["relu"]), ((1, 16, 2, 2), (nn.MaxPool2d(2),), [])],
)  # fmt: skip
def test_batch_norm_has_the_bits_of_the_separate_layers_and_gradients_near_theirs(normalised, shape, behind, expected, dtype):
    results = []
    for run in (lambda model, x: model(x), separately):
        minivgg.manual_seed(0)
        model = nn.Sequential(nn.BatchNorm2d(shape[1], dtype=dtype), nn.ReLU(inplace=True), *behind)
        model[0].weight.data.copy_(minivgg.randn(shape[1]))
        model[0].bias.data.copy_(minivgg.randn(shape[1]))
        x = images(shape, dtype=dtype).requires_grad_()
        y = run(model, x)
        (y * images(y.shape, 2, dtype)).sum().backward()
        buffers = [buffer.numpy() for buffer in model.buffers()]
        results.append([y.detach().numpy(), *buffers, x.grad.numpy(), *(parameter.grad.numpy() for parameter in model.parameters())])
    assert normalised == expected
    for i, (fused, plain) in enumerate(zip(*results, strict=True)):
        if i < 4:
            numpy.testing.assert_array_equal(fused, plain)
        else:
            numpy.testing.assert_allclose(fused, plain, rtol=0, atol=(2e-6 if dtype == "float32" else 1e-14) * abs(plain).max())


@pytest.mark.parametrize("pool", [False, True])
def test_batch_norm_with_relu_against_pytorch(normalised, pool):
    torch = pytest.importorskip("torch")
    x, weight, bias = images((8, 16, 8, 8)).numpy(), *(numpy.random.default_rng(3).standard_normal((2, 16)).astype("float32"))
    results = []
    for library in (torch, minivgg):
        given = [library.tensor(array.copy(order="K"), requires_grad=True) for array in (x, weight, bias)]
        if library is minivgg:
            y = batch_norm_relu(given[0], None, None, *given[1:], training=True, pool=pool)
            (first,) = minivgg.autograd.grad((y * y * y).sum(), given[0], create_graph=True)
        else:
            y = torch.relu(torch.nn.functional.batch_norm(given[0], None, None, *given[1:], training=True))
            y = torch.nn.functional.max_pool2d(y, 2) if pool else y
            (first,) = torch.autograd.grad((y * y * y).sum(), given[0], create_graph=True)
        (first * first).sum().backward()
        results.append([y.detach().numpy(), first.detach().numpy(), *(tensor.grad.numpy() for tensor in given)])
    assert normalised == ["pool" if pool else "relu"]
    for ours, theirs in zip(*results[::-1], strict=True):
        numpy.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * abs(theirs).max())


def test_batch_norm_keeps_nan_and_lets_it_decide_as_the_separate_layers_do(normalised):
    x = images((4, 16, 8, 8)).numpy().copy(order="K")
    x[1, 3, 2, 5] = numpy.nan  # the whole channel becomes nan
    model = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
    results = []
    for run in (lambda x: model(x), lambda x: separately(model, x)):
        tensor = minivgg.tensor(x.copy(order="K"), requires_grad=True)
        y = run(tensor)
        y.sum().backward()
        results.append((y.detach().numpy(), tensor.grad.numpy()))
    assert normalised == ["pool"]
    assert numpy.isnan(results[0][0][:, 3]).all()
    for fused, plain in zip(*results, strict=True):
        numpy.testing.assert_array_equal(numpy.isnan(fused), numpy.isnan(plain))


def test_batch_norm_has_the_same_bits_with_any_number_of_threads(normalised):
    before, seen = minivgg.get_num_threads(), set()
    try:
        for threads in (1, 2, 5):
            minivgg.set_num_threads(threads)
            for pool in (False, True):
                x = images((6, 32, 40, 36)).requires_grad_()
                y = batch_norm_relu(x, None, None, training=True, pool=pool)
                (y * y).sum().backward()
                seen.add((pool, y.detach().numpy().tobytes(), x.grad.numpy().tobytes()))
    finally:
        minivgg.set_num_threads(before)
    assert len(seen) == 2
    assert len(normalised) == 6


@pytest.mark.parametrize("wish", ["evaluation", "memory order", "relu", "max_pool2d", "batch_norm"])
def test_batch_norm_stands_alone_where_it_has_to(normalised, wish):
    model, x = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)).train(wish != "evaluation"), images((4, 16, 8, 8))
    if wish == "memory order":
        x = minivgg.tensor(numpy.ascontiguousarray(x.numpy()))
    forced = {"relu": {"relu": "formula"}, "max_pool2d": {"max_pool2d": "strided"}, "batch_norm": {"batch_norm": "formula"}}.get(wish, {})
    with minivgg.use_algorithm(**forced):
        model(x)
    assert normalised == (["relu"] if wish == "max_pool2d" else [])


def test_batch_norm_of_wrong_input_is_refused_in_its_own_words():
    model = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU())
    with pytest.raises(minivgg.errors.ShapeError, match="BatchNorm2d: expects 4 dimensions, got 2"):
        model(minivgg.zeros(4, 16))
    with pytest.raises(minivgg.errors.ShapeError, match="batch_norm: running_mean expects 15 numbers"):
        model(minivgg.zeros(4, 15, 2, 2))
