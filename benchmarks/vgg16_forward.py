"""VGG-16 on one 224x224 image, forward: time beside PyTorch's, and memory beyond the activations.

    python benchmarks/vgg16_forward.py [algorithm] [threads]      im2col (or auto, fft, ...); as many threads as cores

Both libraries compute with the same weights, the same input and the same number of threads, and take turns with a pause
before each one (why, says README.md). First the results are compared. Printed are medians and quartiles, and the ratio
of the medians.

Memory is what tracemalloc sees at the peak of a forward pass. The activations that any forward pass must hold at once are
the input and the output of one layer; the largest such pair is subtracted.
"""

import statistics
import sys
import time
import tracemalloc

import numpy
import torch

import minivgg
from minivgg import nn
from minivgg.bench.machine import cores, processor, set_threads
from minivgg.models import vgg16

ROUNDS = 9
PAUSE = 0.3


def same_in_torch(module):
    """The same layers in PyTorch, sharing the weights' memory."""
    if isinstance(module, nn.Sequential):
        return torch.nn.Sequential(*map(same_in_torch, module))
    if isinstance(module, nn.Conv2d | nn.Linear):
        size = {"kernel_size": module.kernel_size, "padding": module.padding} if isinstance(module, nn.Conv2d) else {}
        outputs, inputs = module.weight.shape[:2]
        layer = getattr(torch.nn, type(module).__name__)(inputs, outputs, **size, device="meta")
        layer.weight, layer.bias = (torch.nn.Parameter(torch.from_numpy(parameter.detach().numpy())) for parameter in (module.weight, module.bias))
        return layer
    if isinstance(module, nn.MaxPool2d):
        return torch.nn.MaxPool2d(module.kernel_size, module.stride)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return torch.nn.AdaptiveAvgPool2d(module.output_size)
    return {"ReLU": torch.nn.ReLU(inplace=True), "Dropout": torch.nn.Identity()}[type(module).__name__]


def peak_bytes(run):
    """Allocated at the most while ``run`` runs."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def largest_pair(model, x):
    """Bytes of the input and output of the layer where they are largest; a layer that works in place has one array."""
    pairs = []

    def note(module, inputs, output):
        separate = not numpy.shares_memory(inputs[0].array, output.array)
        pairs.append(output.nbytes + separate * inputs[0].nbytes)

    handles = [module.register_forward_hook(note) for module in model.modules() if not list(module.children())]
    model(x)
    for handle in handles:
        handle.remove()
    return max(pairs)


def main():
    algorithm = sys.argv[1] if len(sys.argv) > 1 else "im2col"
    threads = int(sys.argv[2]) if len(sys.argv) > 2 else cores()
    torch.set_num_threads(threads)
    set_threads(threads)
    minivgg.manual_seed(0)
    model = vgg16().eval()
    theirs = torch.nn.Sequential(same_in_torch(model.features), same_in_torch(model.avgpool), torch.nn.Flatten(), same_in_torch(model.classifier))
    x = minivgg.randn(1, 3, 224, 224)
    x_theirs = torch.from_numpy(x.numpy())
    runs = {"minivgg": lambda: model(x).numpy(), "torch": lambda: theirs(x_theirs).numpy()}
    with minivgg.no_grad(), torch.no_grad(), minivgg.use_algorithm(conv2d=algorithm):
        ours, expected = runs["minivgg"](), runs["torch"]()
        error = numpy.linalg.norm(ours - expected) / numpy.linalg.norm(expected)
        assert error < 1e-4, f"the two libraries differ by {error:.1e}"
        activations = largest_pair(model, x)
        peak = peak_bytes(runs["minivgg"])
        times = {name: [] for name in runs}
        for turn in range(ROUNDS):
            for name in sorted(runs, reverse=turn % 2 == 1):
                time.sleep(PAUSE)
                start = time.perf_counter()
                runs[name]()
                times[name].append(time.perf_counter() - start)
    print(f"{processor()}, {threads} threads; conv2d by {algorithm}; relative difference of the results {error:.1e}")
    for name, values in times.items():
        low, median, high = (1e3 * value for value in statistics.quantiles(values, n=4))
        print(f"{name:8} {median:7.1f} ms ({low:.1f} to {high:.1f})")
    print(f"ratio    {statistics.median(times['minivgg']) / statistics.median(times['torch']):7.2f}")
    print(f"memory   {(peak - activations) / 2**20:7.1f} MiB at the peak, beyond {activations / 2**20:.1f} MiB of input and output of the largest layer")


if __name__ == "__main__":
    main()
