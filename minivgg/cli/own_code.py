"""What ``minivgg gradcheck my_file.py:name`` names: the file is run, the name looked up, and inputs made for it or taken from the file."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy

from minivgg.errors import ArgumentError
from minivgg.random import manual_seed

INPUTS = """there are no inputs for {name}: give the shape of each, as in --shape 2,3,8,8 --shape 4,3,3,3, or write in {file}

def inputs():
    return {example}
"""
"""What to do where none are given."""


def is_own(word: str) -> bool:
    """Whether a word names code in a file, and not an operation.

    >>> is_own("net.py:Net"), is_own("net.py"), is_own("conv2d")
    (True, True, False)
    """
    return ".py:" in word or word.endswith(".py")


def load(word: str, seed: int) -> tuple[Any, ModuleType]:
    """What ``file.py:name`` or ``file.py:forward,backward`` names, and the module of the file, run with seeded random streams."""
    place, _, names = word.rpartition(":") if not word.endswith(".py") else (word, "", "")
    path = Path(place)
    if not path.is_file():
        raise ArgumentError("gradcheck", f"there is no file {place}")
    if not names:
        raise ArgumentError("gradcheck", f"say what in {place} to check, as in {place}:MyFunction; it has {offered(run(path, seed))}")
    module = run(path, seed)
    found = []
    for name in names.split(","):
        if not hasattr(module, name):
            raise ArgumentError("gradcheck", f"there is no {name} in {place}; it has {offered(module)}")
        found.append(getattr(module, name))
    if len(found) > 2:
        raise ArgumentError("gradcheck", f"a pair is forward,backward, got {len(found)} names: {names}")
    return callable_of(tuple(found) if len(found) == 2 else found[0], names), module


def run(path: Path, seed: int) -> ModuleType:
    """Execute the file as a module; files beside it can be imported from it."""
    manual_seed(seed)
    numpy.random.seed(seed)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve() == path.resolve()]
        line = lines[-1] if lines else getattr(error, "lineno", "?")
        raise ArgumentError("gradcheck", f"{path} raised {type(error).__name__} in line {line}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def offered(module: ModuleType) -> str:
    """The names in a file that could be meant."""
    own = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "inputs" and callable(value) and getattr(value, "__module__", module.__name__) == module.__name__
    ]
    instances = [name for name, value in vars(module).items() if hasattr(value, "named_parameters") and not isinstance(value, type) and name not in own]
    return ", ".join([*own, *instances]) or "no functions and no classes"


def callable_of(found: Any, name: str) -> Any:
    """An instance of a module class, ``apply`` of a ``Function`` of PyTorch; anything else that can be checked is left as it is."""
    from minivgg.nn import Module

    torch = sys.modules.get("torch")
    if isinstance(found, type) and issubclass(found, Module | torch.nn.Module if torch else Module):
        try:
            return found()
        except TypeError as error:
            raise ArgumentError(
                "gradcheck", f"{name} cannot be made without arguments ({error}): write model = {name}(...) in the file and name model"
            ) from None
    if torch and isinstance(found, type) and issubclass(found, torch.autograd.Function):
        return found.apply  # type: ignore[attr-defined]
    if not callable(found) and not (isinstance(found, tuple | list) and len(found) == 2):
        problem = f"{name} must be a function, a Function, a Module or a pair (forward, backward), got {type(found).__name__}"
        raise ArgumentError("gradcheck", problem)
    return found


def inputs_of(function: Any, module: ModuleType, word: str, shapes: Sequence[str], seed: int) -> tuple[Any, ...]:
    """Random normal numbers of the given shapes, or else the ``inputs`` of the file; floating arrays become tensors for what takes tensors."""
    kind = kind_of(function, module)
    if shapes:
        rng = numpy.random.default_rng(seed)
        values: Sequence[Any] = [rng.standard_normal(parsed(shape)) for shape in shapes]
    elif hasattr(module, "inputs"):
        given = module.inputs() if callable(module.inputs) else module.inputs
        values = given if isinstance(given, tuple | list) else (given,)
    else:
        example = {
            "arrays": "numpy.random.standard_normal((2, 3))",
            "torch": "torch.randn(2, 3, dtype=torch.float64, requires_grad=True)",
            "minivgg": 'minivgg.randn(2, 3, dtype="float64", requires_grad=True)',
        }[kind]
        file, _, name = word.rpartition(":")
        raise ArgumentError("gradcheck", INPUTS.format(name=name, file=file, example=example).rstrip())
    return tuple(as_input(value, kind, function) for value in values)


def parsed(shape: str) -> tuple[int, ...]:
    """``2,3,8,8`` as a tuple; ``()`` is a number."""
    try:
        sizes = tuple(int(size) for size in shape.split(",")) if shape.strip() not in ("", "()") else ()
    except ValueError:
        sizes = (-1,)
    if any(size < 0 for size in sizes):
        raise ArgumentError("gradcheck", f"a shape is written like 2,3,8,8, got {shape!r}")
    return sizes


def kind_of(function: Any, module: ModuleType) -> str:
    """Whose arrays it takes: a pair NumPy's; PyTorch's what is of PyTorch, or stands in a file that imports it and not minivgg."""
    if isinstance(function, tuple | list):
        return "arrays"
    torch = sys.modules.get("torch")
    if torch is None:
        return "minivgg"
    if isinstance(function, torch.nn.Module) or isinstance(getattr(function, "__self__", None), type(torch.autograd.Function)):
        return "torch"
    origins = {
        (value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) or "").partition(".")[0] for value in vars(module).values()
    }
    return "torch" if "torch" in origins and "minivgg" not in origins else "minivgg"


def as_input(value: Any, kind: str, function: Any) -> Any:
    """A floating NumPy array as a tensor that requires a gradient, in the precision of the module's parameters."""
    if kind == "arrays" or not isinstance(value, numpy.ndarray):
        return value
    floating = value.dtype.kind == "f"
    first = next(iter(function.parameters()), None) if floating and hasattr(function, "parameters") else None
    if kind == "torch":
        torch = sys.modules["torch"]
        tensor = torch.from_numpy(value)
        return (tensor if first is None else tensor.to(first.dtype)).requires_grad_(floating)
    from minivgg.autograd import Tensor

    return Tensor(value if first is None else value.astype(first.dtype), requires_grad=floating)
