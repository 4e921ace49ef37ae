"""The gradient check of whole models: what it covers, what it finds, and that the model is left as it was."""

import tracemalloc

import numpy
import pytest

import minivgg
from minivgg import models, nn
from minivgg.errors import ArgumentError
from minivgg.nn import functional
from minivgg.random import default_generator
from minivgg.testing import gradcheck, gradgradcheck


def small(**options):
    minivgg.manual_seed(0)
    return models.MiniVGG(width=2, **options)


def state_of(model):
    """Everything that a check could leave changed."""
    arrays = {name: (tensor.array.tobytes(), tensor.dtype, tensor.requires_grad) for name, tensor in model.state_dict(keep_vars=True).items()}
    gradients = {name: None if parameter.grad is None else parameter.grad.array.tobytes() for name, parameter in model.named_parameters()}
    return arrays, gradients, [module.training for module in model.modules()], str(default_generator.get_state())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_model_with_batch_norm_and_dropout_passes_and_is_left_as_it_was(dtype, training):
    model = small().to(numpy.dtype(dtype)).train(training)
    images = minivgg.randn(3, 1, 8, 8, dtype=dtype, requires_grad=True)
    model(images).sum().backward()  # gradients and running means that are not those of the beginning
    before, of_images = state_of(model), images.grad.array.copy()
    report = gradcheck(model, images, samples=4)
    assert report
    running = [name for name, _ in model.named_buffers() if "running" in name]  # read in evaluation, written in training
    assert [line.name for line in report.inputs] == ["x", *(name for name, _ in model.named_parameters()), *([] if training else running)]
    assert state_of(model) == before
    numpy.testing.assert_array_equal(images.grad.array, of_images)


def test_loss_makes_one_number_of_the_outputs():
    model, images, labels = small(), minivgg.randn(3, 1, 8, 8), minivgg.tensor([3, 1, 4])
    report = gradcheck(model, images, loss=lambda scores: functional.cross_entropy(scores, labels), samples=4)
    assert report
    assert len(report.inputs) == len(list(model.parameters()))
    assert "every one of 1 outputs" in report.coverage
    with pytest.raises(ArgumentError, match=r"^gradcheck: loss is for functions and modules of tensors, got a pair of NumPy functions$"):
        gradcheck((numpy.tanh, lambda v, x: v), numpy.ones(2), loss=sum)


def test_loss_of_a_model_of_pytorch():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2).double()
    labels = torch.tensor([1, 0])
    report = gradcheck(model, torch.randn(2, 3, dtype=torch.float64), loss=lambda scores: torch.nn.functional.cross_entropy(scores, labels))
    assert report
    assert [line.name for line in report.inputs] == ["weight", "bias"]


class Normalised(nn.Module):
    """A buffer that is read, one that is written, one that only steers, and an integer one."""

    def __init__(self, right=True):
        super().__init__()
        self.weight = nn.Parameter(minivgg.tensor([1.0, 2.0], dtype="float64"))
        self.register_buffer("shift", minivgg.tensor([0.5, 0.25], dtype="float64"))
        self.register_buffer("mean", minivgg.zeros(2, dtype="float64"))
        self.register_buffer("limit", minivgg.tensor(0.1, dtype="float64"))
        self.register_buffer("calls", minivgg.tensor(0))
        self.right = right

    def forward(self, x):
        self.mean.array[...] = 0.9 * self.mean.array + 0.1 * x.array.mean(0)
        self.calls.array[...] += 1
        factor = Shifted.apply(x, self.shift, self.right)
        return factor * self.weight if float(self.limit.array) < 1 else factor


class Shifted(minivgg.Function):
    def forward(self, x, shift, right):
        self.right = right
        return x - shift

    def backward(self, grad):
        return grad, (-grad if self.right else grad).sum(0), None


def test_buffers_that_are_read_are_checked_and_those_that_are_written_are_not():
    model, x = Normalised(), minivgg.randn(3, 2, dtype="float64", requires_grad=True)
    before = state_of(model)
    report = gradcheck(model, x)
    assert [line.name for line in report.inputs] == ["x", "weight", "shift"]
    assert gradgradcheck(model, x)
    wrong = gradcheck(Normalised(right=False), x, raise_exception=False)
    assert [line.name for line in wrong.inputs if not line.ok] == ["shift"]
    assert state_of(model) == before


def test_buffers_of_a_float32_model_are_checked_in_float64():
    model, x = Normalised().to(numpy.float32), minivgg.randn(3, 2)
    before = state_of(model)
    report = gradcheck(model, x)
    assert report
    assert [line.name for line in report.inputs] == ["weight", "shift"]
    assert report.max_error < 1e-7
    assert state_of(model) == before


def test_wrong_layer_is_found_by_name(monkeypatch):
    from minivgg.ops.linear import Linear

    right = Linear.backward
    monkeypatch.setattr(Linear, "backward", lambda self, grad: (right(self, grad)[0], right(self, grad)[1] * 1.01, *right(self, grad)[2:]))
    report = gradcheck(small(), minivgg.randn(3, 1, 8, 8), samples=4, raise_exception=False)
    assert [line.name for line in report.inputs if not line.ok] == ["classifier.0.weight", "classifier.3.weight"]


class Scaled(minivgg.Function):
    """What the weight is multiplied by, element by element; one of the million gradients may be wrong."""

    def forward(self, weight, wrong):
        self.wrong = wrong
        return weight * 1

    def backward(self, grad):
        found = grad.array.copy()
        found[0, 123] *= -1 if self.wrong else 1
        return minivgg.Tensor(found), None


class Large(nn.Module):
    def __init__(self, wrong):
        super().__init__()
        self.weight = nn.Parameter(minivgg.randn(1000, 1100, dtype="float64"))
        self.wrong = wrong

    def forward(self, x):
        return (x @ Scaled.apply(self.weight, self.wrong)).sum(1)


def test_one_wrong_parameter_of_a_million_is_found_and_the_coverage_stated():
    """The sample of three passes it by; random directions of all at once do not."""
    x = minivgg.randn(2, 1000, dtype="float64")
    report = gradcheck(Large(wrong=False), x)
    assert report
    assert report.coverage.startswith("checked: 3 of 1,100,000 (corners, borders, interiors) input elements, every one of 2 outputs")
    assert "3 random directions" in report.coverage
    wrong = gradcheck(Large(wrong=True), x, raise_exception=False)
    assert [diagnosis.kind for diagnosis in wrong.diagnoses] == ["wrong along a direction"]
    assert wrong.inputs[0].ok


def test_a_large_model_takes_five_copies_of_its_parameters_at_most():
    """Of gradients the elements that are compared are kept, not all of them for every upstream gradient."""
    model, x = nn.Linear(1500, 1000, dtype="float64"), minivgg.randn(2, 1500, dtype="float64")
    gradcheck(nn.Linear(3, 2, dtype="float64"), x[:, :3], loss=lambda scores: scores.sum())  # whatever is loaded once
    tracemalloc.start()
    try:
        assert gradcheck(model, x, loss=lambda scores: (scores * scores).sum())
        assert tracemalloc.get_traced_memory()[1] < 5 * model.weight.nbytes
    finally:
        tracemalloc.stop()
