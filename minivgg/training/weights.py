"""Weights alone: ``save(model, path)`` and ``load(model, path)``, in formats that hold no code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from minivgg.backend import FLOATING, HALF, to_numpy
from minivgg.errors import FileError
from minivgg.nn.module import Module
from minivgg.training.files import read_arrays, write_arrays
from minivgg.training.tree import METADATA_KEY, join

SHOWN = 5
"""Problems that an error message lists one by one."""


def save(model: Module, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the parameters and buffers under their names in ``state_dict``; the ending of ``path`` chooses the format.

    ``.safetensors`` files carry ``metadata`` (text by name), and other frameworks read them; ``.npz`` is NumPy's own.

    >>> import tempfile, minivgg
    >>> layer, other = minivgg.nn.Linear(3, 2), minivgg.nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(layer, f"{folder}/layer.safetensors")
    ...     load(other, f"{folder}/layer.safetensors")
    >>> minivgg.equal(layer.weight, other.weight)
    True
    """
    write_arrays(Path(path), {name: to_numpy(tensor.array) for name, tensor in model.state_dict().items()}, metadata or {})


def load(model: Module, path: str | Path) -> None:
    """Read weights that ``save``, a checkpoint of ``fit`` or another framework wrote, into ``model``.

    ``.safetensors`` and ``.npz``; where torch is installed, also ``.pt`` and ``.pth``, by ``torch.load(weights_only=True)``.
    Names, shapes and dtypes must be those of the model, except that float16 is widened, which is exact: FileError lists what is
    not, and nothing is changed then.
    """
    path = Path(path)
    arrays, metadata = read_arrays(path)
    if METADATA_KEY in metadata:
        state = join(arrays, metadata, path).get("model")
        if state is None:
            raise FileError("load", f"{path} holds no model")
        arrays = {name: tensor.array for name, tensor in state.items()}
    load_arrays(model, arrays, path)


def load_arrays(model: Module, arrays: Mapping[str, Any], path: Path) -> None:
    """Copy the arrays into the model; ``path`` is where they came from, for the error."""
    own = {name: tensor.array for name, tensor in model.state_dict().items()}
    problems = [f"{name} is missing" for name in own if name not in arrays] + [f"{name} is not in the model" for name in arrays if name not in own]
    for name in own:
        if name in arrays:
            problems += _differences(name, arrays[name], own[name])
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise FileError("load", "\n  ".join([f"{path} does not fit {type(model).__name__}:", *problems[:SHOWN], *more]))
    model.load_state_dict(arrays)


def _differences(name: str, saved: numpy.ndarray, own: Any) -> list[str]:
    if saved.shape != own.shape:
        return [f"{name} has shape {saved.shape}, the model's {own.shape}"]
    if saved.dtype != own.dtype and (saved.dtype != HALF or own.dtype not in FLOATING):
        return [f"{name} is {saved.dtype}, the model's {own.dtype} (model.to({str(saved.dtype)!r}) changes that)"]
    return []
