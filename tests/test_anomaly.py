"""Anomaly detection: it stops where PyTorch's stops, names the first operation, its layer and its line, and costs nothing when off."""

import json
import linecache
import re
import threading

import numpy
import pytest
import torch

import minivgg
from minivgg import nn
from minivgg.autograd import AnomalyError, detect_anomaly, is_anomaly_enabled, set_detect_anomaly
from minivgg.data import DataLoader, TensorDataset
from minivgg.nn import functional as F
from minivgg.optim import SGD
from minivgg.training import DivergedError, fit, read_metrics

PROGRAMS = {
    "sqrt at 0, times 0": lambda library, x: (library.sqrt(x) * 0).sum(),
    "0 / 0 in forward, and its gradient": lambda library, x: (x / (x * 0)).sum(),
    "nan in forward, hidden by where": lambda library, x: library.where(x > 0.5, library.log(x - 0.5), x).sum(),
    "inf alone": lambda library, x: library.log(x).sum(),
    "power": lambda library, x: (x**0.5 * 0).sum(),
    "nothing wrong": lambda library, x: (x * x).sum(),
    "norm of zeros": lambda library, x: library.sqrt((x[:1] * x[:1]).sum()),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled|Error detected in")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("check_nan", [True, False])
def test_it_stops_where_pytorch_stops(name, check_nan):
    def stops(library, error):
        x = library.tensor([0.0, 1.0], requires_grad=True)
        try:
            with library.autograd.detect_anomaly(check_nan):
                PROGRAMS[name](library, x).backward()
        except error as found:
            return type(found) is error or "nan" in str(found)
        return False

    assert stops(minivgg, AnomalyError) == stops(torch, RuntimeError)


def message(call, error=AnomalyError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


class Root(nn.Module):
    def forward(self, x):
        return minivgg.sqrt(x)  # the line to be named


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), Root()))

    def forward(self, x):
        return self.parts(x)


def test_the_operation_the_layer_the_shapes_and_the_line_are_named():
    net = Net()
    minivgg.nn.init.zeros_(net.parts[0].weight)
    minivgg.nn.init.zeros_(net.parts[0].bias)
    with detect_anomaly():
        loss = (net(minivgg.ones(2, 3)) * minivgg.tensor([1.0, 0.0, 1.0])).sum()
        text = message(loss.backward)
    line = next(i for i in range(1, 100) if "the line to be named" in linecache.getline(__file__, i))
    assert text == (
        "Sqrt: backward gave nan (2 of 6 elements of shape (2, 3), the first at (0, 1)) for argument 0, from a gradient without, of shape (2, 3)"
        f"; in module parts.1.1 (Root), called at {__file__}, line {line}, in forward: return minivgg.sqrt(x)  # the line to be named"
    )


def test_forward_too_where_asked():
    x = minivgg.tensor([-1.0, 4.0], requires_grad=True)
    with detect_anomaly():
        minivgg.sqrt(x)
    with detect_anomaly(check_finite=True):
        assert message(lambda: minivgg.sqrt(x)).startswith("Sqrt: forward gave nan (1 of 2 elements of shape (2,), the first at (0,)) in result 0, from finite")
        assert message(lambda: (x * 1e30) * 1e30).startswith("Mul: forward gave -inf (2 of 2 elements")
        with minivgg.no_grad():
            assert message(lambda: x.mul_(1e30).mul_(1e30)).startswith("Mul: forward gave ")
        minivgg.sqrt(minivgg.tensor([numpy.nan]))  # was so before


def test_a_gradient_that_comes_in_wrong_and_a_forward_that_was_not_watched():
    x = minivgg.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    with detect_anomaly():
        text = message(lambda: y.backward(minivgg.tensor([numpy.nan, 1.0])))
    assert "as the gradient that arrived, of shape (2,), has already; its forward was not called inside detect_anomaly" in text


def test_one_pass_for_three_layers_is_taken_apart():
    """Conv2d, ReLU and MaxPool2d are computed together, except while a layer is looked for."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2))
    x = minivgg.randn(1, 1, 8, 8) * 1e30
    minivgg.nn.init.constant_(model[0].weight, 1e20)
    with detect_anomaly(check_finite=True):
        assert ", called at " in (text := message(lambda: model(x)))
    assert re.search(r"^Conv2d.*; in module 0 \(Conv2d\)", text)


def test_the_switch_works_as_pytorchs():
    assert not is_anomaly_enabled()
    with detect_anomaly():
        assert is_anomaly_enabled()
        with set_detect_anomaly(False):
            assert not is_anomaly_enabled()
        assert is_anomaly_enabled()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(is_anomaly_enabled()))
        thread.start()
        thread.join()
        assert seen == [False]
    assert not is_anomaly_enabled()
    set_detect_anomaly(True)
    assert is_anomaly_enabled()
    set_detect_anomaly(False)
    assert not is_anomaly_enabled()

    @detect_anomaly()
    def inside():
        return is_anomaly_enabled()

    assert inside()
    assert not is_anomaly_enabled()


def test_watching_changes_no_bit():
    def run():
        minivgg.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(36, 3))
        F.cross_entropy(model(minivgg.randn(5, 1, 8, 8)), minivgg.tensor([0, 1, 2, 0, 1])).backward()
        return [parameter.grad.numpy().tobytes() for parameter in model.parameters()]

    plain = run()
    with detect_anomaly(check_finite=True):
        assert run() == plain


# In the loop ----------------------------------------------------------------------------------------------------------


class Pitfall(nn.Module):
    """The square root of an image's brightness: its gradient is infinite where an image is empty."""

    def __init__(self):
        super().__init__()
        self.drop, self.linear = nn.Dropout(0.1), nn.Linear(4, 2, bias=False)

    def forward(self, x):
        return minivgg.sqrt(self.linear(self.drop(x)))


def data(bad_at, value=1.0):
    images = numpy.random.default_rng(0).random((40, 4)).astype("float32") + 0.1
    if bad_at is not None:
        images[bad_at] = value
    return DataLoader(TensorDataset(minivgg.from_numpy(images), minivgg.from_numpy(numpy.arange(40) % 2)), 4)


def bits(model):
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


def test_a_gradient_that_is_not_finite_stops_before_the_step(tmp_path):
    """The loss is finite there: without a look at the gradient, the next checkpoint would hold nan instead of weights."""
    minivgg.manual_seed(0)
    model = Pitfall()
    minivgg.nn.init.constant_(model.linear.weight, 0.5)
    paths = {"checkpoint_path": tmp_path / "c.safetensors", "metrics_path": tmp_path / "m.jsonl"}
    seen = []
    text = message(
        lambda: fit(
            model, data(13, 0.0), optimizer=SGD(model.parameters(), lr=1e-6), epochs=1, checkpoint_every=1,
            on_step=lambda step: seen.append((bits(model), minivgg.default_generator.get_state())), **paths,
        ),
        DivergedError,
    )  # fmt: skip
    assert re.match(r"fit: the gradient of linear.weight holds nan; it began at Sqrt: backward gave (inf|nan) \(", text)
    assert "; in Pitfall, called at " in text
    assert "in forward: return minivgg.sqrt(self.linear(self.drop(x))) (epoch 1, step " in text
    assert 1 <= len(seen) <= 4
    assert bits(model) == seen[-1][0]
    fresh = Pitfall()
    minivgg.training.load(fresh, paths["checkpoint_path"])
    assert bits(fresh) == bits(model)
    assert all(json.dumps(row, allow_nan=False) for row in read_metrics(paths["metrics_path"]))
    assert minivgg.default_generator.get_state() != seen[-1][1]  # dropout drew in the step that failed, and the search put that back
    assert not is_anomaly_enabled()


def test_the_loss_names_the_layer_and_the_data():
    def run(model, loader, lr=0.1):
        return message(lambda: fit(model, loader, optimizer=SGD(model.parameters(), lr=lr), epochs=3), DivergedError)

    minivgg.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert run(plain, data(7, numpy.nan)) == "fit: the loss is nan; the images held nan before this step (epoch 1, step 2, lr 0.1)"
    text = run(plain, data(None), lr=1e25)
    assert re.match(r"fit: the loss is (nan|inf); it began at \w+: forward gave -?(inf|nan) \(.*; in (module [02] \(Linear\)|module 2)", text)
    assert text.endswith("lr 1e+25)")
