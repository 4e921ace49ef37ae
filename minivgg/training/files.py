"""Tensor files: arrays by name in safetensors, or .npz without pickle; written whole or not at all, refused with the fault named."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy

from minivgg.errors import ArgumentError, DtypeError, OperationError
from minivgg.files import written_whole

Arrays = dict[str, numpy.ndarray]

DTYPES = {f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("float", "int", "uint") for bits in (8, 16, 32, 64)} | {"bool": "BOOL"}
"""NumPy's names of the element types, and those of safetensors."""


class FileError(OperationError, ValueError):
    """A file that is damaged, of another kind, or holds something else than what was asked for."""


def write_arrays(path: Path, arrays: Mapping[str, numpy.ndarray], metadata: Mapping[str, str]) -> None:
    """Write ``path`` in the format that its ending names: ``.safetensors``, or ``.npz`` (which has no place for metadata)."""
    in_rows = {name: numpy.asarray(array, array.dtype.newbyteorder("<"), order="C") for name, array in arrays.items()}
    if path.suffix == ".safetensors":
        with written_whole(path) as beside, beside.open("wb") as file:
            _write_safetensors(file, in_rows, metadata)
    elif path.suffix == ".npz":
        with written_whole(path) as beside, beside.open("wb") as file:
            numpy.savez(file, allow_pickle=False, **in_rows)
    else:
        raise ArgumentError("save", f"the name must end in .safetensors or .npz, got {path}")


def _write_safetensors(file: IO[bytes], arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """8 bytes of header length, a JSON header, the elements. The library's own writer leaves a file of its own when it is killed."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    aligned = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # the widest elements first
    for name in aligned:
        array = arrays[name]
        if array.dtype.name not in DTYPES:
            raise DtypeError("save", f"{name} is {array.dtype}, which safetensors does not have")
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": (end, end + array.nbytes)}
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in aligned:
        file.write(arrays[name].data)


def read_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the metadata of a file. Raises FileNotFoundError, or FileError with what is wrong with it."""
    if path.suffix == ".npz":
        return _read_npz(path), {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 (it is no dict)
    except SafetensorError as error:
        raise FileError("load", f"{path} {_fault(path) or f'cannot be read: {error}'}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise FileError("load", f"{path} holds an element type that NumPy does not have: {error}") from None


def _fault(path: Path) -> str | None:
    """What is wrong with a file that is not valid safetensors: 8 bytes of header length, a JSON header, the data."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if size == 0:
            return "is empty"
        if start[:2] == b"PK":
            return "is not a safetensors file: it is a zip archive, such as PyTorch writes with torch.save; convert it with safetensors.torch.save_file"
        text = file.read(min(length, size))
    if not text.startswith(b"{"):
        return "is not a safetensors file"
    if len(text) < length:
        return f"is truncated: its header has {length} bytes, the file only {size}"
    try:
        header = json.loads(text)
        end = 8 + length + max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "is damaged: its header is not the JSON that safetensors prescribes"
    if size < end:
        return f"is truncated: its header promises {end} bytes, the file has {size}"
    return None


def _read_npz(path: Path) -> Arrays:
    try:
        with path.open("rb") as stream:  # given the name, NumPy would leave a damaged file open
            file = numpy.load(stream, allow_pickle=False)
            if isinstance(file, numpy.ndarray):
                raise FileError("load", f"{path} is not a .npz archive, but a single array (.npy)")
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError) as error:
        raise FileError("load", f"{path} is damaged or truncated: {error}") from None
    except ValueError as error:  # NumPy's class for a pickle, and for whatever it takes for one
        if isinstance(error, FileError):
            raise
        raise FileError("load", f"{path} is not a .npz archive of plain arrays (pickled objects are never loaded)") from None
