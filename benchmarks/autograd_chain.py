"""A chain of 10,000 tiny operations, x = x · 1.0001 on 4 elements, forward and backward: what the graph itself costs.

    python benchmarks/autograd_chain.py [operations]

The two libraries take turns on one thread; printed are medians and quartiles of the milliseconds, and the ratio of the
medians. With 4 elements the arithmetic costs nothing, so this measures recording and walking, the worst case for Python.
"""

import statistics
import sys
import time

import torch

import minivgg

ROUNDS = 15


def seconds(tensor, operations):
    """One forward and backward pass over the chain; the graph is freed within the time."""
    x = tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    start = time.perf_counter()
    y = x
    for _ in range(operations):
        y = y * 1.0001
    y.sum().backward()
    del y
    return time.perf_counter() - start, x.grad


def main():
    operations = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    torch.set_num_threads(1)
    libraries = {"minivgg": minivgg.tensor, "torch": torch.tensor}
    gradients = {name: seconds(tensor, operations)[1].tolist() for name, tensor in libraries.items()}  # warm-up and validation
    assert all(abs(a - b) <= 1e-5 * abs(b) for a, b in zip(*gradients.values(), strict=True)), gradients
    times = {name: [] for name in libraries}
    for _ in range(ROUNDS):
        for name, tensor in libraries.items():
            times[name].append(seconds(tensor, operations)[0])
    for name, values in times.items():
        low, median, high = (1e3 * value for value in statistics.quantiles(values, n=4))
        print(f"{name:8} {median:7.1f} ms ({low:.1f} to {high:.1f}), {1e3 * median / operations:.2f} µs an operation")
    print(f"ratio    {statistics.median(times['minivgg']) / statistics.median(times['torch']):7.2f}")


if __name__ == "__main__":
    main()
