"""Tensor files: arrays by name, in a format that holds no code; written whole or not at all, refused with the fault named.

.safetensors    a header in JSON and the elements: safetensors_format.py
.npz            NumPy's zip archive of arrays, without pickles: npz_format.py
.pt, .pth       PyTorch's, to read only, and only where torch is installed: pytorch_format.py
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy

from minivgg.errors import ArgumentError, DtypeError, FileError
from minivgg.files import not_regular, written_whole
from minivgg.training import npz_format, pytorch_format, safetensors_format
from minivgg.training.safetensors_format import DTYPES, Arrays

PYTORCH = (".pt", ".pth")


def write_arrays(path: Path, arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> None:
    """Write ``path`` in the format that its ending names: ``.safetensors``, or ``.npz`` (which has no place for metadata).

    Whatever the memory order of an array, its elements go out in rows, little end first.
    """
    formats = {".safetensors": safetensors_format, ".npz": npz_format}
    if path.suffix not in formats:
        raise ArgumentError("save", f"the name must end in .safetensors or .npz, got {path}")
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise DtypeError("save", f"{name} is {array.dtype}, which a tensor file does not hold; it holds {', '.join(DTYPES)}")
        if name == safetensors_format.METADATA or "\0" in name:
            raise ArgumentError("save", f"{name!r} cannot be the name of a tensor in a file")
    in_rows = {name: numpy.asarray(array, array.dtype.newbyteorder("<"), order="C") for name, array in arrays.items()}
    with written_whole(path) as beside, beside.open("wb") as file:
        formats[path.suffix].write(file, in_rows, metadata)


def read_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the metadata of a file. Raises FileNotFoundError, or FileError with what is wrong with it.

    Names are only ever keys of the dictionary: no file is opened or written by them.
    """
    kind = not_regular(path)
    if kind is not None:
        raise FileError("load", f"{path} is {kind}, not a file")
    if path.suffix in PYTORCH:
        return pytorch_format.read(path), {}
    with path.open("rb") as file:
        try:
            return (npz_format.read(file), {}) if path.suffix == ".npz" else safetensors_format.read(file)
        except FileError as fault:
            raise FileError("load", f"{path} {fault.problem}") from None
        except (OSError, MemoryError) as error:
            raise FileError("load", f"{path} cannot be read: {error}") from None
