"""minivgg.graph, on the stand-in: while it captures, calls are noted and nothing is computed; a launch makes the calls, in the same memory.

So a result can only be right if all that it is made of was recorded, with places that are still those of the launch. What would
need a number from the device, or copies from the host, is refused as CUDA refuses it. Whether CUDA records what CuPy's libraries do
for themselves, only a GPU can say.
"""

import sys

import emulator
import numpy
import pytest
import strict_arrays

import minivgg
from minivgg import nn
from minivgg.errors import UnsupportedError
from minivgg.models import MiniVGG

needs_compiler = pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))


@pytest.fixture
def cupy(monkeypatch):
    module = strict_arrays.module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


def images(seed, n=4, device="cuda"):
    return minivgg.tensor(numpy.random.default_rng(seed).standard_normal((n, 1, 8, 8)), dtype="float32", device=device)


def labels(seed, n=4):
    return minivgg.tensor(numpy.random.default_rng(seed).integers(0, 3, n), device="cuda")


def network():
    minivgg.manual_seed(0)
    return MiniVGG(num_classes=3, in_channels=1, image_size=8).cuda()


def bits(tensors):
    return [tensor.detach().cpu().numpy().tobytes() for tensor in tensors]


def test_a_forward_pass_has_the_bits_of_one_without_a_graph(cupy):
    model = network().eval()
    fast = minivgg.graph(model, images(0))
    for seed in (1, 2, 3):
        x = images(seed)
        assert bits([fast(x)]) == bits([model(x)])
    assert bits([fast(images(1).cpu())]) == bits([model(images(1))])  # from the host, or page-locked memory of it
    assert bits([fast(images(2).cpu().pin_memory())]) == bits([model(images(2))])
    assert not fast.outputs.requires_grad
    assert [what for what, _ in cupy.cuda.log].count("launch") == 5
    model.load_state_dict({name: value * 2 for name, value in model.state_dict().items()})
    assert bits([fast(images(1))]) == bits([model(images(1))])  # values may change, places may not
    assert repr(fast).startswith("<Graph of MiniVGG for (4, 1, 8, 8): ")
    assert fast.memory_bytes > 4 * 32 * 8 * 8 * 4  # an activation of the first layer, at least


def test_recording_computes_nothing(cupy):
    """Of two calls the first is real, and the second leaves no trace until it is launched."""
    counter = minivgg.zeros(1, device="cuda")

    def count(x):
        counter.add_(1)
        return x + counter

    fast = minivgg.graph(count, minivgg.ones(1, device="cuda"))
    assert counter.item() == 1
    assert [fast(minivgg.full((1,), float(i), device="cuda")).item() for i in range(3)] == [2.0, 4.0, 6.0]
    assert counter.item() == 4


@needs_compiler
@pytest.mark.parametrize("ignored", [False, True])
def test_training_steps_have_the_bits_of_steps_without_a_graph(ignored, cupy):
    """With batch norm's running statistics, momentum, dropout's masks, and labels that count nothing."""
    results = []
    for graphed in (False, True):
        model = network()
        optimizer = minivgg.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            scores = model(x)
            loss = nn.functional.cross_entropy(scores, y, ignore_index=2 if ignored else -100)
            loss.backward()
            optimizer.step()
            return loss, scores

        minivgg.manual_seed(7)
        fast = minivgg.graph(step, images(0), labels(0)) if graphed else step
        if not graphed:
            step(images(0), labels(0))  # as recording does
        found = []
        for seed in (1, 2, 3, 4):
            if seed == 3:  # a schedule turns the learning rate down: the work is recorded anew
                optimizer.param_groups[0]["lr"] = 0.01
            found.append(bits(fast(images(seed), labels(seed))))
        assert any(isinstance(module, nn.Dropout) for module in model.modules())
        results.append((found, bits(model.parameters()), bits(model.buffers()), minivgg.random.default_generator.get_state()))
        if graphed:
            assert fast.memory_bytes > 0
            assert all(parameter.grad is not None for parameter in model.parameters())
    assert results[0] == results[1]


def test_pooling_with_tables_and_gathering(cupy):
    """Tables that the host computes are on the device before the recording, and stay."""
    layers = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 1, 1), nn.AdaptiveMaxPool2d(2), nn.LocalResponseNorm(3))

    columns = minivgg.tensor([[0], [1], [2], [0]], device="cuda")

    def step(x):
        x = x.detach().requires_grad_()
        y = nn.functional.log_softmax(layers(x).flatten(1), 1).gather(1, columns)
        (gradient,) = minivgg.autograd.grad(y.sum(), x)
        return y, gradient

    fast = minivgg.graph(step, images(0))
    for seed in (1, 2):
        assert bits(fast(images(seed))) == bits(step(images(seed)))


CANNOT = {
    "item": lambda x: x * x.sum().item(),
    "float": lambda x: x * float(x.max()),
    "branch": lambda x: x if x.sum() > 0 else -x,
    "mask": lambda x: x[x > 0],
    "numbers": lambda x: x[:, 0] + minivgg.tensor([[1.0] * 8] * 8, device="cuda"),
    "random": lambda x: x + minivgg.randn(1, device="cuda"),
    "print": lambda x: print(x) or x,
    "host": lambda x: x.cpu().cuda(),
    "pinned": lambda x: x + minivgg.ones(1).pin_memory().to("cuda", non_blocking=True),
}


def test_a_product_of_cublas_is_refused_with_the_line(cupy):
    """CuPy refuses cuBLAS while a stream is captured: a bare ``@`` is its product, that of ``nn.Linear`` our own."""
    with pytest.raises(UnsupportedError, match=r"^graph: .*cuBLAS"):
        minivgg.graph(lambda x: x @ x, minivgg.ones(2, 2, device="cuda"))
    assert cupy.cuda.capture is None
    assert minivgg.graph(nn.Linear(2, 2).cuda(), minivgg.ones(2, 2, device="cuda")) is not None


@pytest.mark.parametrize("name", CANNOT)
def test_what_cannot_be_recorded_is_refused_with_the_line(name, cupy):
    class Layer(nn.Module):
        def forward(self, x):
            return CANNOT[name](x)

    with pytest.raises(UnsupportedError, match=r"^graph: something asks .* in module 0 \(Layer\), called at .*test_cuda_graph\.py, line \d+") as refusal:
        minivgg.graph(nn.Sequential(Layer()), images(0))
    assert "cudaErrorStreamCaptureUnsupported" in str(refusal.value)
    assert cupy.cuda.capture is None  # the stream is itself again
    assert minivgg.graph(nn.ReLU(), images(0)) is not None


def test_an_optimiser_that_counts_its_steps_is_refused(cupy):
    p = minivgg.ones(2, device="cuda").requires_grad_()
    optimizer = minivgg.optim.Adam([p])

    def step(x):
        optimizer.zero_grad()
        (p * x).sum().backward()
        optimizer.step()
        return p

    with pytest.raises(UnsupportedError, match=r"^Adam: counts its steps on the host.*call step\(\) after the graph, not in it"):
        minivgg.graph(step, minivgg.ones(2, device="cuda"))


def test_arguments_that_do_not_fit(cupy):
    fast = minivgg.graph(nn.ReLU(), images(0))
    with pytest.raises(ValueError, match=r"graph: argument 0 was float32 \(4, 1, 8, 8\) when the work was recorded, got float32 \(5, 1, 8, 8\)"):
        fast(images(0, n=5))
    with pytest.raises(ValueError, match="got float64"):
        fast(images(0).double())
    with pytest.raises(ValueError, match="graph: was recorded for 1 tensors, got 2"):
        fast(images(0), images(0))
    with pytest.raises(TypeError, match="graph: example 0 must be a tensor, got list"):
        minivgg.graph(nn.ReLU(), [1.0])


def test_on_the_cpu_one_sentence_says_why_not():
    with pytest.raises(UnsupportedError, match="graph: records the work of a GPU, so it needs examples on one; on the CPU a call costs nothing"):
        minivgg.graph(nn.ReLU(), minivgg.ones(1))


def test_recording_takes_memory_from_a_pool_of_its_own(cupy):
    """Nobody else is ever given memory that a launch writes to."""
    model = network().eval()
    cupy.cuda.pool.own = 0
    fast = minivgg.graph(model, images(0))
    taken = cupy.cuda.pool.own
    fast(images(1))
    assert fast.memory_bytes > 0
    assert cupy.cuda.allocators == [cupy.cuda.pool.malloc]
    assert taken >= fast.memory_bytes  # the real call before it


def test_a_recording_inside_another_is_refused(cupy):
    with pytest.raises(UnsupportedError, match="graph: a graph is being recorded already"):
        minivgg.graph(lambda x: minivgg.graph(nn.ReLU(), x)(x), images(0))
