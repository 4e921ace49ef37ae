"""float16: what is stored and moved keeps its bits, arithmetic is PyTorch's, and what does not compute in it says so by name."""

import copy
import operator
import warnings

import numpy
import pytest
import torch

import minivgg
from minivgg import nn, training
from minivgg.errors import DtypeError
from minivgg.nn import functional as F

RNG = numpy.random.default_rng(0)
A, B = (RNG.standard_normal((3, 4)).astype("float16") for _ in range(2))

ARITHMETIC = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "add a number": lambda a, b: a + 2, "rsub": lambda a, b: 1.5 - a,
    "div by a number": lambda a, b: a / 3, "neg": lambda a, b: -a, "abs": lambda a, b: abs(a), "pow": lambda a, b: a**2, "exp": lambda a, b: a.exp(),
    "log": lambda a, b: abs(a).log(), "sqrt": lambda a, b: abs(a).sqrt(), "clamp": lambda a, b: a.clamp(-0.5, 0.5), "relu": lambda a, b: a.relu(),
    "matmul": lambda a, b: a @ b.T, "sum": lambda a, b: a.sum(), "sum of rows": lambda a, b: a.sum(1), "max": lambda a, b: a.max(),
}  # fmt: skip
EXACT = {
    "reshape": lambda a, b: a.reshape(2, 6), "T": lambda a, b: a.T, "index": lambda a, b: a[1:, ::2], "clone": lambda a, b: a.clone(),
    "expand": lambda a, b: a[:1].expand(5, 4), "compare": lambda a, b: a > b, "argmax": lambda a, b: a.argmax(1), "long": lambda a, b: a.long(),
    "float": lambda a, b: a.float(), "double": lambda a, b: a.double(), "there and back": lambda a, b: a.float().half(), "mixed": lambda a, b: a + b.float(),
    "mixed with integers": lambda a, b: a + (b > 0).long(),
}  # fmt: skip


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_pytorch_s(name):
    """The same dtype, and at most one unit of the last place from it: each result is rounded once."""
    ours, theirs = ARITHMETIC[name](minivgg.tensor(A), minivgg.tensor(B)), ARITHMETIC[name](torch.tensor(A), torch.tensor(B))
    assert ours.dtype == numpy.float16
    expected = theirs.numpy()
    assert (numpy.abs(ours.numpy().astype(float) - expected.astype(float)) <= numpy.spacing(numpy.abs(expected)).astype(float)).all()


@pytest.mark.parametrize("name", EXACT)
def test_what_moves_or_compares_is_exact(name):
    ours, theirs = EXACT[name](minivgg.tensor(A), minivgg.tensor(B)).numpy(), EXACT[name](torch.tensor(A), torch.tensor(B)).numpy()
    assert ours.dtype == theirs.dtype
    assert numpy.array_equal(ours, theirs)


def test_joining_filling_choosing():
    a, b = minivgg.tensor(A), minivgg.tensor(B)
    assert numpy.array_equal(minivgg.cat([a, b]).numpy(), numpy.concatenate([A, B]))
    assert minivgg.cat([a, b]).dtype == minivgg.stack([a, b]).dtype == minivgg.where(a > 0, a, b).dtype == a.masked_fill(a > 0, 1.5).dtype == numpy.float16
    assert F.pad(a, (1, 1), value=0.5).numpy()[0].tolist() == [0.5, *A[0].tolist(), 0.5]


def test_made_in_float16():
    for made in (minivgg.tensor([1, 2.5], dtype="float16"), minivgg.zeros(2, dtype=minivgg.float16), minivgg.randn(2, dtype="float16"), minivgg.ones(2).half()):
        assert (made.dtype, made.is_floating_point()) == (numpy.float16, True)
    numbers = minivgg.rand(200_000, dtype="float16").numpy().astype(float)
    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert str(minivgg.tensor(A[0, :1])).endswith("dtype=float16)")


def test_too_large_is_infinite_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        large = minivgg.tensor([60000.0], dtype="float16")
        assert minivgg.tensor([1e6], dtype="float16").item() == minivgg.tensor([1e39]).item() == float("inf")
        assert (large * 2).item() == (large + 65520.0).item() == minivgg.tensor([1e6]).half().item() == float("inf")
        assert (large * 0 + 65519.0).item() == 65504


REFUSED = {
    "conv2d": lambda h: F.conv2d(h.reshape(1, 1, 3, 4), h[:2, :2].reshape(1, 1, 2, 2)),
    "linear": lambda h: F.linear(h, h),
    "max_pool2d": lambda h: F.max_pool2d(h.reshape(1, 1, 3, 4), 2),
    "avg_pool2d": lambda h: F.avg_pool2d(h.reshape(1, 1, 3, 4), 2),
    "cross_entropy": lambda h: F.cross_entropy(h, minivgg.tensor([0, 1, 2])),
    "mse_loss": lambda h: F.mse_loss(h, h),
    "batch_norm": lambda h: F.batch_norm(h, None, None, training=True),
    "dropout": lambda h: F.dropout(h),
    "softmax": lambda h: h.softmax(1),
    "mean": lambda h: h.mean(),
    "var": lambda h: h.var(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layers_and_losses_say_what_to_do(name):
    with pytest.raises(DtypeError, match=rf"^{name}: .*float16.*float(\(\)|32)"):
        REFUSED[name](minivgg.tensor(A))


def test_it_carries_no_gradient_and_loses_none_in_silence():
    x = minivgg.ones(2, requires_grad=True)
    with pytest.raises(DtypeError, match="to: float16 carries no gradient, and this tensor requires one; detach"):
        (x * 2).half()
    assert x.detach().half().dtype == numpy.float16
    with pytest.raises(DtypeError, match="only float32 and float64 carry a gradient, this tensor is float16"):
        minivgg.tensor(A, requires_grad=True)


@pytest.mark.parametrize("ending", ["safetensors", "npz"])
def test_weights_are_stored_in_half_the_bytes_and_loaded_into_float32(ending, tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 64))
    training.save(model, tmp_path / f"full.{ending}")
    training.save(copy.deepcopy(model).half(), tmp_path / f"half.{ending}")
    assert (tmp_path / f"half.{ending}").stat().st_size < 0.6 * (tmp_path / f"full.{ending}").stat().st_size
    other = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 64))
    training.load(other, tmp_path / f"half.{ending}")
    for name, tensor in model.state_dict().items():
        rounded = tensor.numpy().astype("float16").astype(tensor.dtype) if tensor.is_floating_point() else tensor.numpy()
        assert other.state_dict()[name].dtype == tensor.dtype
        assert numpy.array_equal(other.state_dict()[name].numpy(), rounded)
    with pytest.raises(training.FileError, match=r"is float32, the model's float16 \(model.to\('float32'\) changes that\)"):
        training.load(copy.deepcopy(model).half(), tmp_path / f"full.{ending}")


def test_a_model_in_float16_says_so_when_it_is_called_and_goes_back():
    model = nn.Sequential(nn.Conv2d(1, 2, 3)).half()
    with pytest.raises(DtypeError, match=r"conv2d: takes tensors of one dtype.* weight float16.*x\.float\(\) converts"):
        model(minivgg.ones(1, 1, 4, 4))
    assert model.float()(minivgg.ones(1, 1, 4, 4)).dtype == numpy.float32
    with pytest.raises(DtypeError, match=r"Module\.to: a module can be cast to float16, float32 and float64, got int64"):
        model.to("int64")
