"""device="cuda": making, moving, mixing, training, loading and saving, on the stand-in for CuPy where there is no GPU."""

import copy
import itertools
import sys

import numpy
import pytest
import strict_arrays
import strict_cuda
import torch

import minivgg
from minivgg import nn
from minivgg.backend import is_channels_last
from minivgg.data import DataLoader, TensorDataset
from minivgg.device import cuda_problem
from minivgg.errors import DeviceError, OutOfMemoryError, UnsupportedError
from minivgg.inspect import inspect
from minivgg.models import MiniVGG
from minivgg.training import evaluate, fit, load, save


@pytest.fixture
def cupy(monkeypatch):
    module = strict_arrays.module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def lies_on_device(tensor):
    return isinstance(tensor.array, strict_arrays.ndarray)


# What is not there ----------------------------------------------------------------------------------------------------


def test_without_cupy_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # what Python raises is then ModuleNotFoundError, as without the package
    with pytest.raises(UnsupportedError, match=r"^zeros: device 'cuda' is not available, CuPy is not installed: pip install 'minivgg\[cuda12\]'") as refusal:
        minivgg.zeros(2, device="cuda")
    assert "\n" not in str(refusal.value)
    assert not minivgg.cuda.is_available()
    assert minivgg.cuda.device_count() == 0


def test_without_a_driver_or_a_device_one_sentence_says_so(cupy, monkeypatch):
    cupy.cuda.count = 0
    assert cuda_problem() == "CUDA found no device"

    def fails():
        raise strict_cuda.CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")

    cupy.cuda.runtime.getDeviceCount = fails
    with pytest.raises(UnsupportedError, match=r"^Module.to: device 'cuda' is not available, CUDA found no device it can use \(cudaErrorInsufficientDriver"):
        nn.Linear(2, 2).cuda()
    assert not minivgg.cuda.is_available()


def test_devices_that_do_not_exist(cupy):
    for device in ("tpu", "cuda:x", "cuda:", "cpu:0"):
        with pytest.raises(UnsupportedError, match="there is no device"):
            minivgg.zeros(2, device=device)
    with pytest.raises(UnsupportedError, match="zeros: there is no device 'cuda:1', CUDA found 1: cuda:0"):
        minivgg.zeros(2, device="cuda:1")


# Making and moving ----------------------------------------------------------------------------------------------------

MADE = [
    lambda d: minivgg.tensor([[1, 2], [3, 4]], device=d), lambda d: minivgg.tensor(2.5, device=d), lambda d: minivgg.full((2, 3), 7, device=d),
    lambda d: minivgg.zeros(2, 3, device=d), lambda d: minivgg.ones((2, 0), device=d), lambda d: minivgg.arange(1, 9, 2, device=d),
    lambda d: minivgg.linspace(0, 1, 5, device=d), lambda d: minivgg.eye(3, device=d), lambda d: minivgg.rand(3, 4, device=d),
    lambda d: minivgg.randn((), device=d), lambda d: minivgg.randn(5, dtype="float64", device=d), lambda d: minivgg.randint(9, (4,), device=d),
    lambda d: minivgg.randperm(7, device=d), lambda d: minivgg.ones_like(minivgg.zeros(3, device=d)), lambda d: minivgg.randn_like(minivgg.zeros(3, device=d)),
    lambda d: minivgg.tensor(minivgg.ones(2, device=d)), lambda d: minivgg.as_tensor([1.0, 2.0], device=d), lambda d: minivgg.arange(0, 1, 0.3, device=d),
]  # fmt: skip


@pytest.mark.parametrize("make", MADE)
def test_what_is_made_on_the_device_has_the_bits_of_the_host(make, cupy):
    """Random numbers too: they are drawn on the host, so a seed means the same everywhere."""
    minivgg.manual_seed(3)
    expected = make("cpu")
    minivgg.manual_seed(3)
    made = make("cuda")
    assert lies_on_device(made)
    assert made.device == "cuda:0"
    assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
    assert made.cpu().numpy().tobytes() == expected.numpy().tobytes()


def test_empty_is_made_on_the_device(cupy):
    assert lies_on_device(minivgg.empty(2, 3, device="cuda"))


def test_moving_there_and_back(cupy):
    x = minivgg.tensor([[1.0, 2.0]], requires_grad=True)
    for there in (x.to("cuda"), x.cuda(), x.cuda(0), x.to(device="cuda:0"), x.to(minivgg.zeros(1, device="cuda"))):
        assert lies_on_device(there)
        assert there.cuda() is there
        assert there.cpu().device == "cpu"
    assert x.cpu() is x
    assert x.to("cuda", "float64").dtype == numpy.float64
    assert repr(x.detach().cuda()) == "tensor([[1., 2.]], device='cuda:0')"
    (x.cuda() * 3).cpu().sum().backward()  # gradients go the same way back
    assert x.grad.device == "cpu"
    assert x.grad.tolist() == [[3.0, 3.0]]


def test_the_order_in_memory_survives_a_move(cupy):
    x = minivgg.tensor(numpy.arange(24.0).reshape(1, 2, 3, 4).transpose(0, 3, 1, 2))
    x = minivgg.from_numpy(numpy.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))
    assert is_channels_last(x.array)
    for moved in (x.cuda(), x.cuda().cpu(), x.pin_memory(), x.pin_memory().to("cuda", non_blocking=True)):
        assert is_channels_last(moved.array)
        assert moved.tolist() == x.tolist()


def test_copies_of_tensors_on_the_device(cupy):
    x = minivgg.ones(2, device="cuda")
    assert lies_on_device(copy.deepcopy(x))
    assert lies_on_device(x.clone())
    assert (x[0].item(), x.tolist()) == (1.0, [1.0, 1.0])
    with pytest.raises(TypeError, match=r"numpy: the elements lie on cuda:0; use tensor\.to\('cpu'\)\.numpy\(\)"):
        x.numpy()


def test_indices_may_lie_on_the_host(cupy):
    x = minivgg.arange(6, device="cuda").reshape(2, 3)
    assert x[minivgg.tensor([1, 0])].tolist() == [[3, 4, 5], [0, 1, 2]]
    assert x[:, [0, 2]].tolist() == [[0, 2], [3, 5]]
    assert x[minivgg.tensor([True, False])].tolist() == [[0, 1, 2]]
    x[0] = minivgg.tensor([7, 8, 9])
    assert x[0].tolist() == [7, 8, 9]


# Mixing ---------------------------------------------------------------------------------------------------------------

MIXED = [
    (lambda x, y: x + y, "add: all tensors must lie on one device, but the left side on cuda:0, the right side on cpu; move the right side with .to('cuda:0')"),
    (lambda x, y: y * x, "mul: all tensors must lie on one device, but the left side on cpu, the right side on cuda:0; move the left side with .to('cuda:0')"),
    (lambda x, y: nn.functional.linear(x, y), "linear: all tensors must lie on one device, but input on cuda:0, weight on cpu; move weight with .to('cuda:0')"),
    (lambda x, y: minivgg.cat([x, y]), "cat: all tensors must lie on one device, but tensor 0 on cuda:0, tensor 1 on cpu; move tensor 1 with"),
    (lambda x, y: x @ y, "all tensors must lie on one device"),
    (lambda x, y: minivgg.where(y > 0, x, x), "Where: all tensors must lie on one device, but condition on cpu, a on cuda:0, b on cuda:0; move condition with"),
    (lambda x, y: nn.functional.cross_entropy(x, y), "all tensors must lie on one device"),
    (lambda x, y: nn.functional.mse_loss(x, y), "all tensors must lie on one device"),
    (lambda x, y: minivgg.conv2d(x[None, None], y[None, None]), "conv2d: all tensors must lie on one device, but input on cuda:0, weight on cpu; move weight"),
    (lambda x, y: x.gather(0, y.long()), "gather: all tensors must lie on one device, but input on cuda:0, index on cpu"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), MIXED)
def test_mixed_devices_are_refused_by_name(call, text, cupy):
    with pytest.raises(DeviceError) as refusal:
        call(minivgg.ones(2, 2, device="cuda"), minivgg.ones(2, 2))
    assert text in str(refusal.value)
    assert isinstance(refusal.value, RuntimeError)  # as in PyTorch


def test_the_error_names_the_layer_and_the_line(cupy):
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 2))
    with pytest.raises(DeviceError, match=r"in module 1 \(Linear\), called at .*test_device\.py, line \d+") as refusal:
        model(minivgg.ones(1, 2, device="cuda"))
    assert "input on cuda:0, weight on cpu" in str(refusal.value)


def test_a_number_without_dimensions_moves_by_itself(cupy):
    """As in PyTorch; and the gradient finds its way home."""
    x, scale = minivgg.ones(3, device="cuda"), minivgg.tensor(2.0, requires_grad=True)
    (x * scale).sum().backward()
    assert scale.grad.device == "cpu"
    assert scale.grad.item() == 3.0
    assert lies_on_device(scale - x)


# Memory ---------------------------------------------------------------------------------------------------------------


def test_out_of_memory_says_what_was_asked_what_is_free_and_which_layer(cupy):
    x = minivgg.ones(1 << 14, 1 << 10, device="cuda")
    layer = nn.Sequential(nn.Linear(1 << 10, 1 << 14, device="cuda"))
    with pytest.raises(OutOfMemoryError) as refusal:
        layer(x)
    text = str(refusal.value)
    assert text.startswith("Linear: the memory of cuda:0 is exhausted: Out of memory allocating 1,073,741,824 bytes")
    assert "896 MiB of 1,024 MiB are free, minivgg's arrays hold 128 MiB" in text
    assert "in module 0 (Linear), called at " in text
    assert isinstance(refusal.value, MemoryError)
    with pytest.raises(OutOfMemoryError, match="zeros: the memory of cuda:0 is exhausted"):
        minivgg.zeros(1 << 30, device="cuda")


def test_out_of_memory_on_the_host_names_the_operation():
    class Greedy(minivgg.Function):
        def forward(self, x):
            raise MemoryError("Unable to allocate 9 TiB")

    with pytest.raises(OutOfMemoryError, match="Greedy: the host's memory is exhausted: Unable to allocate 9 TiB; called at"):
        Greedy.apply(minivgg.ones(1))


def test_the_namespace_of_the_device(cupy):
    assert minivgg.cuda.is_available()
    assert (minivgg.cuda.device_count(), minivgg.cuda.current_device(), minivgg.cuda.get_device_name()) == (1, 0, "Stand-in")
    minivgg.cuda.synchronize()
    before = minivgg.cuda.memory_allocated()
    minivgg.cuda.reset_peak_memory_stats()
    x = minivgg.zeros(1000, device="cuda")
    y = minivgg.zeros(500, device="cuda")
    del y
    assert minivgg.cuda.memory_allocated() - before == x.nbytes
    assert minivgg.cuda.max_memory_allocated() - before == 6000
    minivgg.cuda.reset_peak_memory_stats()
    assert minivgg.cuda.max_memory_allocated() == minivgg.cuda.memory_allocated() <= minivgg.cuda.memory_reserved()
    minivgg.cuda.empty_cache()
    assert ("free_all_blocks", None) in cupy.cuda.log
    free, total = minivgg.cuda.mem_get_info()
    assert 0 < free < total
    minivgg.cuda.set_per_process_memory_fraction(0.25)
    with pytest.raises(OutOfMemoryError):
        minivgg.zeros(1 << 27, device="cuda")
    minivgg.cuda.set_per_process_memory_fraction(1)
    assert minivgg.zeros(1 << 27, device="cuda").nbytes == 1 << 29
    with pytest.raises(ValueError, match=r"fraction must lie in \(0, 1\], got 0"):
        minivgg.cuda.set_per_process_memory_fraction(0)


# Other libraries ------------------------------------------------------------------------------------------------------


class Foreign:
    """Another library's tensor on the device, as DLPack shows it."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return (2, 0)


def test_dlpack_shares_the_memory_of_the_device(cupy):
    array = cupy.asarray(numpy.ones(3))
    shared = minivgg.from_dlpack(Foreign(array))
    shared.fill_(4.0)
    assert array.get().tolist() == [4.0] * 3
    assert minivgg.from_numpy(array).fill_(5.0).tolist() == array.get().tolist() == [5.0] * 3


def test_dlpack_hands_every_question_on_to_the_array():
    """Streams, versions and copies are between the two libraries."""
    asked = {}
    array = numpy.ones(2).view(type("Recorder", (numpy.ndarray,), {"__dlpack__": lambda self, **options: asked.update(options) or "capsule"}))
    assert minivgg.Tensor(array).__dlpack__(stream=7, max_version=(1, 0), dl_device=(2, 0), copy=False) == "capsule"
    assert asked == {"stream": 7, "max_version": (1, 0), "dl_device": (2, 0), "copy": False}


def test_dlpack_with_torch_on_the_host():
    theirs = torch.ones(2)
    ours = minivgg.from_dlpack(theirs)
    ours[0] = 5.0
    assert theirs.tolist() == [5.0, 1.0]
    assert torch.from_dlpack(ours).data_ptr() == theirs.data_ptr()


# Modules, optimisers, training ----------------------------------------------------------------------------------------


def small(seed=0, device="cpu"):
    minivgg.manual_seed(seed)
    return MiniVGG(num_classes=3, in_channels=1, image_size=8).double().to(device=device)


def batch_of(seed=0, device="cpu"):
    rng = numpy.random.default_rng(seed)
    return minivgg.tensor(rng.standard_normal((4, 1, 8, 8))).to(device), minivgg.tensor(rng.integers(0, 3, 4)).to(device)


def step(model, optimizer, device):
    images, labels = batch_of(device=device)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


EPS = 1e-6  # a bias in front of batch norm has a gradient of 0: with the usual 1e-8, its rounding errors would be steps of 1e-9
OPTIMIZERS = {
    "SGD": lambda p: minivgg.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "Adam": lambda p: minivgg.optim.Adam(p, lr=0.01, eps=EPS, amsgrad=True),
    "AdamW": lambda p: minivgg.optim.AdamW(p, lr=0.01, eps=EPS),
    "RMSprop": lambda p: minivgg.optim.RMSprop(p, lr=0.01, eps=EPS, momentum=0.5, centered=True),
}


def close(a, b):
    """Equal up to the rounding of another algorithm's sums, in float64: on the host, compiled kernels may be chosen."""
    numpy.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_steps_on_either_device_with_dropout(name, cupy):
    losses = {}
    for device in ("cpu", "cuda"):
        model = small(device=device)
        optimizer = OPTIMIZERS[name](model.parameters())
        minivgg.manual_seed(1)  # the masks of dropout follow from it on either device
        losses[device] = [step(model, optimizer, device) for _ in range(3)], {k: v.cpu().numpy() for k, v in model.state_dict().items()}
    close(losses["cuda"][0], losses["cpu"][0])
    for key, value in losses["cpu"][1].items():
        close(losses["cuda"][1][key], value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_of_an_optimiser_follows_its_parameters(name, cupy):
    results = []
    for moves in (False, True):
        model = small()
        optimizer = OPTIMIZERS[name](model.parameters())
        minivgg.manual_seed(1)
        step(model, optimizer, "cpu")
        if moves:
            model.cuda()
            step(model, optimizer, "cuda")
            state = [value for entries in optimizer.state.values() for value in entries.values() if isinstance(value, minivgg.Tensor)]
            assert state
            assert all(map(lies_on_device, state))
            model.cpu()
        else:
            step(model, optimizer, "cpu")
        step(model, optimizer, "cpu")
        results.append([p.detach().numpy().copy() for p in model.parameters()])
    for expected, got in zip(*results, strict=True):
        close(got, expected)


def test_a_module_moves_whole(cupy):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    parameter = model[0].weight
    model(minivgg.ones(1, 1, 4, 4)).sum().backward()
    assert model.cuda() is model
    assert model[0].weight is parameter
    assert all(lies_on_device(t) for t in (*model.parameters(), *model.buffers(), parameter.grad))
    assert model.double().to("float32")[1].num_batches_tracked.device == "cuda:0"  # a cast moves nothing
    model.zero_grad(set_to_none=False)
    assert lies_on_device(parameter.grad)
    assert model.cpu()[1].running_mean.device == "cpu"
    assert nn.Conv2d(1, 1, 3, device="cuda").weight.device == nn.BatchNorm2d(1, device="cuda").running_var.device == "cuda:0"


def test_initial_weights_are_the_same_bits_on_either_device(cupy):
    minivgg.manual_seed(5)
    host = nn.Linear(6, 4)
    minivgg.manual_seed(5)
    device = nn.Linear(6, 4, device="cuda")
    assert all(numpy.array_equal(a.detach().numpy(), b.detach().cpu().numpy()) for a, b in zip(host.parameters(), device.parameters(), strict=True))


def test_weights_and_checkpoints_move_between_devices(cupy, tmp_path):
    """Files know no device: values land where the model lies that reads them."""
    there, here = small(1, "cuda"), small(2)
    save(there, tmp_path / "weights.safetensors")
    load(here, tmp_path / "weights.safetensors")
    assert all(numpy.array_equal(a.detach().cpu().numpy(), b.detach().numpy()) for a, b in zip(there.parameters(), here.parameters(), strict=True))
    back = small(3, "cuda")
    back.load_state_dict(here.state_dict())
    assert all(map(lies_on_device, back.parameters()))
    here.load_state_dict(there.state_dict())
    assert {p.device for p in here.parameters()} == {"cpu"}


def test_an_optimisers_state_is_loaded_where_the_parameters_lie(cupy):
    here, there = small(), small(device="cuda")
    ours, theirs = (OPTIMIZERS["Adam"](model.parameters()) for model in (here, there))
    step(here, ours, "cpu")
    theirs.load_state_dict(ours.state_dict())
    assert all(lies_on_device(value) for entries in theirs.state.values() for value in entries.values() if isinstance(value, minivgg.Tensor))
    step(there, theirs, "cuda")


def data(count=10):
    rng = numpy.random.default_rng(0)
    return TensorDataset(minivgg.tensor(rng.standard_normal((count, 1, 8, 8))), minivgg.tensor(rng.integers(0, 3, count)))


def run(device, path, epochs, resume=False):
    model = small(device=device)
    loader = DataLoader(data(), 4, shuffle=True, generator=minivgg.Generator().manual_seed(0), device=device)
    minivgg.manual_seed(7)
    history = fit(
        model, loader, optimizer=OPTIMIZERS["SGD"](model.parameters()), epochs=epochs, checkpoint_path=path, resume=resume, test_loader=DataLoader(data(), 5)
    )  # fmt: skip
    return model, history


def test_a_run_goes_on_on_the_other_device(cupy, tmp_path):
    model, history = run("cpu", tmp_path / "whole.safetensors", 2)
    run("cpu", tmp_path / "half.safetensors", 1)
    moved, continued = run("cuda", tmp_path / "half.safetensors", 2, resume=True)
    assert all(map(lies_on_device, moved.parameters()))
    close([epoch.train_loss for epoch in continued.epochs], [epoch.train_loss for epoch in history.epochs])
    for a, b in zip(moved.parameters(), model.parameters(), strict=True):
        close(a.detach().cpu().numpy(), b.detach().numpy())
    assert evaluate(moved, DataLoader(data(), 5)).accuracy == evaluate(model, DataLoader(data(), 5)).accuracy


@pytest.mark.parametrize("training", [False, True])
def test_vgg_on_either_device(training, cupy):
    """Every kind of layer of the paper's networks, with few channels: scores, loss, every gradient and buffer."""
    results = {}
    for device in ("cpu", "cuda"):
        minivgg.manual_seed(0)
        features = minivgg.models.make_layers("4 LRN M 8 M 8 8/1 M 8 8 M", batch_norm=True)
        model = nn.Sequential(features, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2))
        model.double().to(device).train(training)
        minivgg.manual_seed(1)
        images, labels = minivgg.randn(2, 3, 32, 32, dtype="float64", device=device), minivgg.tensor([0, 1], device=device)
        scores = model(images)
        loss = nn.functional.cross_entropy(scores, labels, label_smoothing=0.1)
        loss.backward()
        results[device] = [scores, loss, *(parameter.grad for parameter in model.parameters()), *model.buffers()]
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        results[device] += [parameter.grad for parameter in model.parameters()]
    assert all(map(lies_on_device, results["cuda"]))
    for expected, got in zip(results["cpu"], results["cuda"], strict=True):
        close(got.detach().cpu().numpy(), expected.detach().numpy())


# The loader -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_on_the_device_have_the_same_bits(prefetch, cupy):
    expected = [[part.numpy() for part in batch] for batch in DataLoader(data(), 4, shuffle=True).batches(seed=5)]
    got = list(DataLoader(data(), 4, shuffle=True, device="cuda", prefetch=prefetch).batches(seed=5))
    assert all(lies_on_device(part) for batch in got for part in batch)
    for a, b in zip(expected, got, strict=True):
        assert all(numpy.array_equal(x, y.cpu().numpy()) for x, y in zip(a, b, strict=True))
    pinned = list(DataLoader(data(), 4, shuffle=True, pin_memory=True, prefetch=prefetch).batches(seed=5))
    assert all(part.is_pinned() and part.device == "cpu" for batch in pinned for part in batch)
    assert all(numpy.array_equal(x, y.numpy()) for a, b in zip(expected, pinned, strict=True) for x, y in zip(a, b, strict=True))


def test_a_batch_is_copied_on_a_stream_of_its_own_while_the_one_before_is_used(cupy):
    loader = iter(DataLoader(data(), 4, device="cuda"))
    cupy.cuda.log.clear()
    next(loader)
    own = next(stream for what, stream in cupy.cuda.log if what == "create")
    events = [entry for entry in cupy.cuda.log if entry[0] in ("set", "wait for default", f"wait for {own}")]
    copied = [("wait for default", own), ("set", own)] * 2  # images and labels, each after what the compute stream was told before
    assert events == [*copied, *copied, (f"wait for {own}", "default")]  # two batches on their way before the first is handed out


def test_an_error_in_the_data_arrives_in_its_batchs_turn(cupy):
    class Broken(TensorDataset):
        def __getitem__(self, index):
            if index == 5:
                raise ValueError("broken")
            return super().__getitem__(index)

    loader = iter(DataLoader(Broken(minivgg.arange(8)), 2, device="cuda"))
    assert [part.tolist() for (part,) in itertools.islice(loader, 2)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="broken"):
        next(loader)


def test_pinned_memory(cupy):
    x = minivgg.arange(5)
    assert not x.is_pinned()
    pinned = x.pin_memory()
    assert pinned.is_pinned()
    assert pinned[1:].is_pinned()
    assert pinned.tolist() == x.tolist()
    cupy.cuda.log.clear()
    assert pinned.to("cuda", non_blocking=True).tolist() == x.tolist()
    assert ("set", "default") in cupy.cuda.log
    cupy.cuda.log.clear()
    assert x.to("cuda", non_blocking=True).tolist() == x.tolist()  # from other memory the copy is an ordinary one
    assert ("set", "default") not in cupy.cuda.log
    assert minivgg.zeros(0).pin_memory().shape == (0,)


def test_looking_at_a_model_on_the_device(cupy, capsys):
    model = small(device="cuda")
    minivgg.summary(model, (1, 8, 8))
    assert "Total params" in capsys.readouterr().out
    found = inspect(model, (1, 8, 8))
    assert found.macs == inspect(small(), (1, 8, 8)).macs > 0
