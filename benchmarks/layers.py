"""Every layer but the convolution, forward and backward, beside PyTorch: time, and share of the speed at which memory is copied.

    python benchmarks/layers.py                    all, channels last, as many threads as cores
    python benchmarks/layers.py relu linear        those whose name contains one of the words
    python benchmarks/layers.py --rows             row-major memory

Both libraries compute with the same numbers, memory order and threads, and take turns (why, says README.md); first the
results are compared. Printed are medians of the turns. The share is that of the bytes that must be moved at the least
(inputs read once, results written once), over the time, in the speed of copying a large array.
"""

import statistics
import time
from argparse import ArgumentParser

import numpy
import torch
import torch.nn.functional as T

import minivgg
import minivgg.nn.functional as F
from minivgg.bench.machine import cores, processor, set_threads

TURNS = 9
PAUSE = 0.05


def images(shape, rows):
    n, c, h, w = shape
    rng = numpy.random.default_rng(0)
    x = rng.standard_normal((n, c, h, w) if rows else (n, h, w, c), dtype=numpy.float32)
    return x if rows else x.transpose(0, 3, 1, 2)


def layers(rows):
    """(name, our function, PyTorch's, the arrays to differentiate by)."""
    large, middle = images((8, 64, 224, 224), rows), images((8, 128, 112, 112), rows)
    rng = numpy.random.default_rng(1)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=numpy.float32)

    for name, call in {
        "relu": lambda f: f.relu,
        "max_pool2d 2": lambda f: lambda x: f.max_pool2d(x, 2),
        "max_pool2d 3 stride 2": lambda f: lambda x: f.max_pool2d(x, 3, 2),
        "avg_pool2d 2": lambda f: lambda x: f.avg_pool2d(x, 2),
        "adaptive_avg_pool2d 7": lambda f: lambda x: f.adaptive_avg_pool2d(x, 7),
        "adaptive_avg_pool2d 1": lambda f: lambda x: f.adaptive_avg_pool2d(x, 1),
    }.items():
        yield f"{name}, 8x64x224x224", call(F), call(T), [large]
    numbers = [normal(128), normal(128)]
    yield "batch_norm, 8x128x112x112", *(lambda x, w, b, f=f: f.batch_norm(x, None, None, w, b, training=True) for f in (F, T)), [middle, *numbers]
    yield "local_response_norm, 8x128x112x112", *(lambda x, f=f: f.local_response_norm(x, 5) for f in (F, T)), [middle]
    features = normal(64, 25088)
    yield "dropout, 64x25088", lambda x: F.dropout(x, 0.5, seed=1), lambda x: T.dropout(x, 0.5), [features]
    for n, c, k in ((1, 25088, 4096), (8, 25088, 4096), (8, 4096, 4096), (64, 4096, 4096), (8, 4096, 1000)):
        yield f"linear, {n} x {c} to {k}", F.linear, T.linear, [normal(n, c), normal(k, c) / 100, normal(k)]
    for shape in ((8, 1000), (4096, 1000)):
        target = rng.integers(0, 1000, shape[0])
        ours, theirs = minivgg.tensor(target), torch.from_numpy(target)
        yield f"cross_entropy, {shape[0]}x1000", lambda x, t=ours: F.cross_entropy(x, t), lambda x, t=theirs: T.cross_entropy(x, t), [normal(*shape)]
        yield f"log_softmax, {shape[0]}x1000", lambda x: F.log_softmax(x, 1), lambda x: T.log_softmax(x, 1), [normal(*shape)]


def optimisers():
    options = {"SGD": {"lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}, "Adam": {"lr": 1e-3}, "AdamW": {"lr": 1e-3}, "RMSprop": {"lr": 1e-3}}
    arrays = {"SGD": 3 + 2, "Adam": 4 + 3, "AdamW": 4 + 3, "RMSprop": 3 + 2}  # read and written
    for name, settings in options.items():
        p = minivgg.randn(1 << 24, requires_grad=True)
        p.grad = minivgg.randn(1 << 24)
        q = torch.from_numpy(p.detach().numpy().copy()).requires_grad_()
        q.grad = torch.from_numpy(p.grad.numpy().copy())
        ours, theirs = getattr(minivgg.optim, name)([p], **settings), getattr(torch.optim, name)([q], **settings)
        yield f"{name}, 16.8 M parameters", ours.step, theirs.step, arrays[name] * p.nbytes


def take_turns(*calls):
    """Median seconds of each."""
    times = [[] for _ in calls]
    for call in calls:
        call()
    for turn in range(TURNS):
        for i in sorted(range(len(calls)), reverse=turn % 2 == 1):
            time.sleep(PAUSE)
            start = time.perf_counter()
            calls[i]()
            times[i].append(time.perf_counter() - start)
    return [statistics.median(values) for values in times]


def copy_speed():
    """Bytes a second, read and written, of copying 256 MB with all threads."""
    source, target = torch.ones(1 << 26), torch.ones(1 << 26)
    (seconds,) = take_turns(lambda: target.copy_(source))
    return 2 * source.nbytes / seconds


def line(name, ours, theirs, moved, speed):
    print(f"{name:44} {1e3 * ours:9.2f} {1e3 * theirs:9.2f} {theirs / ours:7.2f} {moved / ours / speed:7.0%}", flush=True)


def agree(name, one, other, tolerance):
    """The same numbers; of dropout, whose masks differ, as many zeros."""
    one, other = one.numpy(), other.numpy()
    if name.startswith("dropout"):
        one, other = (one == 0).mean(), (other == 0).mean()
    numpy.testing.assert_allclose(one, other, rtol=1e-3, atol=tolerance)


def compare(name, ours, theirs, arrays, speed):
    a, b = [minivgg.Tensor(x, requires_grad=True) for x in arrays], [torch.from_numpy(x).requires_grad_() for x in arrays]
    y, expected = ours(*a), theirs(*b)
    agree(name, y.detach(), expected.detach(), 1e-3)
    moved = sum(x.nbytes for x in arrays) + y.nbytes
    line(f"{name} forward", *take_turns(lambda: ours(*a), lambda: theirs(*b)), moved, speed)
    grad = minivgg.Tensor(numpy.ones_like(y.array))
    grad_theirs = torch.from_numpy(grad.array)
    got = minivgg.autograd.grad(y, a, grad, retain_graph=True)
    for one, other in zip(got, torch.autograd.grad(expected, b, grad_theirs, retain_graph=True), strict=True):
        agree(name, one, other, 1e-2)
    backward = (
        lambda: minivgg.autograd.grad(y, a, grad, retain_graph=True),
        lambda: torch.autograd.grad(expected, b, grad_theirs, retain_graph=True),
    )  # fmt: skip
    line(f"{name} backward", *take_turns(*backward), sum(x.nbytes for x in arrays) + y.nbytes, speed)


def main():
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of names of layers")
    parser.add_argument("--rows", action="store_true", help="row-major memory instead of channels last")
    parser.add_argument("--threads", type=int, default=cores())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    set_threads(arguments.threads)
    speed = copy_speed()
    print(f"{processor()}, {arguments.threads} threads, {'row-major' if arguments.rows else 'channels last'}; copying moves {speed / 1e9:.1f} GB/s")
    print(f"{'float32':44} {'ours, ms':>9} {'torch, ms':>9} {'ratio':>7} {'memory':>7}")

    def wanted(name):
        return not arguments.names or any(word.lower() in name.lower() for word in arguments.names)

    for name, *rest in layers(arguments.rows):
        if wanted(name):
            compare(name, *rest, speed)
    for name, ours, theirs, moved in optimisers():
        if wanted(name):
            line(name, *take_turns(ours, theirs), moved, speed)


if __name__ == "__main__":
    main()
