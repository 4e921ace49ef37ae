"""The same bits with every NumPy that is supported: ``make numpies`` installs one of each minor release, and runs this file's program in it.

Compared are every operation on its samples, and every convolution algorithm, forward and all gradients, in both precisions; products of
matrices that lie in every order; random numbers; a training run.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

VERSIONS = ("2.0.*", "2.1.*", "2.2.*", "2.3.*", "2.4.*")
"""One a minor release, from the oldest that pyproject.toml allows."""


def program():
    """A line for each thing computed: its name, and the hash of its bits."""
    import numpy
    from faults import print_bits

    import minivgg
    import minivgg.nn.functional as F
    from minivgg.registry import OPERATIONS, algorithms
    from minivgg.testing.operations import samples_of
    from minivgg.testing.samples import as_function, changed, is_floating, leaves_of, tensors_of

    def show(name, *tensors):
        digest = hashlib.sha256()
        for tensor in tensors:
            digest.update(tensor.detach().numpy().tobytes())
        print(name, digest.hexdigest()[:16])

    rng = numpy.random.default_rng(0)
    for dtype in ("float32", "float64"):

        def array(*shape, dtype=dtype):
            return minivgg.tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)

        for name in algorithms("conv2d"):
            for image in ((2, 16, 14, 14), (1, 3, 9, 8)):
                x, w, b = array(*image), array(8, image[1], 3, 3), array(8)
                with minivgg.use_algorithm(conv2d=name):
                    y = F.conv2d(x, w, b, padding=1)
                    (y * y).sum().backward()
                show(f"{dtype} {name}", y, x.grad, w.grad, b.grad)
        x, w = array(64, 300), array(100, 300)
        y = F.linear(x, w)
        loss = F.cross_entropy(y, minivgg.tensor(rng.integers(0, 100, 64)))
        loss.backward()
        show(f"{dtype} linear, cross entropy", y, loss, x.grad, w.grad)
        for operation in list(OPERATIONS.values()):
            results = []
            for sample in samples_of(operation):
                sample = changed(sample, lambda x, dtype=dtype: x.astype(dtype) if is_floating(x) else x)
                leaves = leaves_of(sample)
                outputs = tensors_of(as_function(operation.function, sample)(*leaves))
                smooth = [y for y in outputs if y.requires_grad]
                if smooth:
                    minivgg.autograd.backward(smooth, [minivgg.ones_like(y) for y in smooth])
                results += [*outputs, *(leaf.grad for leaf in leaves if leaf.grad is not None)]
            show(f"{dtype} {operation.name}", *results)
        whole = array(40, 30).detach()
        orders = (whole, whole[::-1], whole[::2, ::3], whole.transpose(0, 1), whole.transpose(0, 1)[::2, ::-3], whole[:1], whole[:, 3:4])
        show(f"{dtype} products", *(a @ b.transpose(0, 1) for a in orders for b in orders if a.shape[1] == b.shape[1]))
    minivgg.manual_seed(3)
    show("random", minivgg.rand(100), minivgg.randn(100), minivgg.randint(9, (100,)), minivgg.randperm(100))
    show("made", minivgg.arange(0, 5, 0.3), minivgg.linspace(0, 1, 77))
    print("training", end=" ")
    print_bits()


def main():
    root, lines = Path(__file__).resolve().parent.parent, {}
    with tempfile.TemporaryDirectory() as folder:
        for version in VERSIONS:
            place = Path(folder) / version[:-2]
            python = place / "bin" / "python"
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", f"numpy=={version}", root], check=True)
            run = [python, "-c", f"import sys; sys.path.insert(0, {str(root / 'tests')!r}); import numpies; numpies.program()"]
            exact = subprocess.run([python, "-c", "import numpy; print(numpy.__version__)"], check=True, capture_output=True, text=True).stdout.strip()
            lines[exact] = subprocess.run(run, check=True, stdout=subprocess.PIPE, text=True, cwd=folder).stdout.splitlines()
            print(f"NumPy {exact}: {len(lines[exact])} results, all together {hashlib.sha256(repr(lines[exact]).encode()).hexdigest()[:16]}", flush=True)
    first = next(iter(lines.values()))
    for version, found in lines.items():
        for one, other in zip(first, found, strict=True):
            if one != other:
                print(f"NumPy {version}: {other} instead of {one}")
    sys.exit(len({tuple(found) for found in lines.values()}) > 1)


if __name__ == "__main__":
    main()
