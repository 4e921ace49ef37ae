"""What array-namespace code calls CuPy by: every call of every operation, algorithm and optimiser, as cupy_calls.txt lists them.

    python tests/cupy_calls.py    # writes cupy_calls.txt anew

The stand-in has all of NumPy's functions; CuPy has fewer, with fewer arguments. So each line of the list is held to CuPy's own
signatures where CuPy is installed (it need not find a GPU for that), and the list to what is really called everywhere.
"""

import inspect
import re
import sys
from pathlib import Path

import numpy
import strict_arrays
import test_backend

import minivgg
from minivgg import nn
from minivgg.registry import OPERATIONS, algorithms, use_algorithm
from minivgg.training.divergence import is_finite

FILE = Path(__file__).with_name("cupy_calls.txt")


def called():
    """Run everything on the stand-in, which is ``cupy`` meanwhile; the calls in order."""
    before, sys.modules["cupy"] = sys.modules.get("cupy"), strict_arrays.module()
    strict_arrays.CALLS.clear()
    try:
        for case in test_backend.cases():
            test_backend.run(*case.values, sys.modules["cupy"].asarray)
        for operation, name in array_algorithms():
            for sample in OPERATIONS[operation].samples(numpy.random.default_rng(0)):
                with use_algorithm(**{operation: name}):
                    test_backend.run(OPERATIONS[operation], test_backend.own_choice(sample), sys.modules["cupy"].asarray)
        _train()
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
    return sorted(strict_arrays.CALLS)


def array_algorithms():
    """(operation, algorithm) of every algorithm in array-namespace code, where there is a choice."""
    return [
        (operation, name)
        for operation in ("conv2d", "max_pool2d", "avg_pool2d")
        for name, record in algorithms(operation, "cuda").items()
        if record.backend == "numpy" and record.automatic
    ]


def _train():
    """What stands between the operations: making tensors, initialisation, gradients' norms, optimisers, looking for nan."""
    for make in (minivgg.zeros, minivgg.ones, minivgg.empty, minivgg.eye):
        make(2, 3, device="cuda")
    minivgg.arange(0, 9, 2, device="cuda"), minivgg.linspace(0, 1, 3, device="cuda"), minivgg.full((2,), 1.0, device="cuda")
    for make in (minivgg.optim.SGD, minivgg.optim.Adam, minivgg.optim.AdamW, minivgg.optim.RMSprop):
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3)).cuda()
        optimizer = make(model.parameters(), lr=0.1, weight_decay=0.1)
        nn.functional.cross_entropy(model(minivgg.ones(2, 1, 4, 4, device="cuda")), minivgg.tensor([0, 1], device="cuda")).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        assert all(is_finite(parameter.grad.array) for parameter in model.parameters())
        optimizer.step()


def problem(line, cupy):
    """Why CuPy cannot be called so, or None."""
    path, count, names = re.fullmatch(r"([\w.]+)\((\d+)((?:, \w+)*)\)", line).groups()
    owner, *parts = path.split(".")
    function = cupy if owner == "cupy" else cupy.ndarray
    for part in parts:
        if not hasattr(function, part):
            return f"{line}: CuPy has no {path}"
        function = getattr(function, part)
    signature = _signature(function)
    placeholders = [None] * (int(count) + (owner == "ndarray"))
    try:
        signature.bind(*placeholders, **dict.fromkeys(names.split(", ")[1:]))
    except TypeError as error:
        return f"{line}: {error}, CuPy's is {path}{signature}"
    return None


def _signature(function):
    """A compiled function has it in the first line of its docstring, without types that Python could read."""
    try:
        return inspect.signature(function)
    except ValueError:
        first = re.sub(r"\b(tuple|Py_ssize_t) ", "", function.__doc__.strip().splitlines()[0].replace("\\*", "*"))
        arguments = re.match(r"[\w.]+\((.*?)\)(?: ->.*)?$", first)[1]
        namespace = {}
        exec(f"def function({arguments}): ...", namespace)
        return inspect.signature(namespace["function"])


if __name__ == "__main__":
    text = "\n".join(called()) + "\n"
    if "--show" in sys.argv:
        print(text, end="")
    else:
        FILE.write_text(text, encoding="utf-8")
