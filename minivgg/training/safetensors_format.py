"""The safetensors format: 8 bytes of header length, a header in JSON, the elements one tensor after the other.

    {"__metadata__": {"key": "text"}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

Source: https://github.com/huggingface/safetensors. The format has no checksum; the files written here carry one in their
metadata, the SHA-256 of header (with zeros in the place of the sum itself) and elements, and it is checked when they are
read. Other programs see one more text in the metadata; a file that they wrote is read without a sum.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import IO, Any

import numpy

from minivgg.errors import FileError

Arrays = dict[str, numpy.ndarray]

DTYPES = {f"{kind}{bits}": f"{kind[0].upper()}{bits}" for kind in ("float", "int", "uint") for bits in (16, 32, 64)}
DTYPES |= {"int8": "I8", "uint8": "U8", "bool": "BOOL"}
"""NumPy's names of the element types, and those of safetensors."""

METADATA = "__metadata__"
CHECKSUM = "minivgg.sha256"
LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the reference implementation."""

_BEFORE_SUM = f'"{CHECKSUM}": "'.encode()  # no text inside the JSON contains it: there, quotation marks have a backslash before them
_NO_SUM = b"0" * 64


def write(file: IO[bytes], arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays in C order. The library's own writer would leave a file of its own when it is killed."""
    header: dict[str, Any] = {METADATA: {CHECKSUM: _NO_SUM.decode(), **{key: text for key, text in metadata.items() if key != CHECKSUM}}}
    end = 0
    aligned = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # the widest elements first
    for name in aligned:
        array = arrays[name]
        header[name] = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": (end, end + array.nbytes)}
        end += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    checksum = hashlib.sha256(text)
    for name in aligned:
        checksum.update(_bytes(arrays[name]))
    text = text.replace(_BEFORE_SUM + _NO_SUM, _BEFORE_SUM + checksum.hexdigest().encode())
    file.write(len(text).to_bytes(8, "little") + text)
    for name in aligned:
        file.write(_bytes(arrays[name]))


def read(file: IO[bytes]) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the metadata. Raises FileError with the fault; never takes more memory than the file is long."""
    text, size = _header_text(file)
    metadata, entries = _parsed(text)
    start = 8 + len(text)
    end = start + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if size < end:
        raise FileError("load", f"is truncated: its header promises {end} bytes, the file has {size}")
    if size > end:
        raise FileError("load", f"is damaged: its header describes {end} bytes, the file has {size}")
    head, mark, tail = text.partition(_BEFORE_SUM)
    expected = tail[:64].decode() if mark else None
    checksum = hashlib.sha256(head + mark + _NO_SUM + tail[64:])
    arrays: Arrays = {}
    reached = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        if begin != reached:
            raise FileError("load", f"is damaged: tensor {name!r} begins at byte {begin} of the elements, where the one before it ends at {reached}")
        arrays[name] = array = numpy.empty(entry["shape"], NUMPY_DTYPES[entry["dtype"]])
        memory = _bytes(array)
        if file.readinto(memory) != len(memory):  # type: ignore[attr-defined]
            raise FileError("load", f"is truncated: it became shorter while tensor {name!r} was read")
        checksum.update(memory)
        if array.dtype == bool and array.view("uint8").max(initial=0) > 1:
            raise FileError("load", f"is damaged: tensor {name!r} is BOOL, but has bytes that are neither 0 nor 1")
        reached = stop
    if expected is not None and checksum.hexdigest() != expected:
        raise FileError("load", "is damaged: its contents are not those that were written (SHA-256)")
    metadata.pop(CHECKSUM, None)
    return {name: arrays[name] for name in entries}, metadata


NUMPY_DTYPES = {theirs: numpy.dtype(ours).newbyteorder("<") for ours, theirs in DTYPES.items()}


def _bytes(array: numpy.ndarray) -> Any:
    """An array's memory, to be read or written as bytes."""
    return array.reshape(-1).view("uint8").data


def _header_text(file: IO[bytes]) -> tuple[bytes, int]:
    """The header as it stands there, and the size of the file."""
    size = file.seek(0, 2)
    file.seek(0)
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if size == 0:
        raise FileError("load", "is empty")
    if first[:2] == b"PK":
        raise FileError("load", "is not a safetensors file: it is a zip archive, such as PyTorch writes with torch.save; name it .pt, or .npz if it is NumPy's")
    text = file.read(min(length, size, LARGEST_HEADER))
    if not text.startswith(b"{") or length > LARGEST_HEADER:
        raise FileError("load", "is not a safetensors file")
    if len(text) < length:
        raise FileError("load", f"is truncated: its header has {length} bytes, the file only {size}")
    return text, size


def _parsed(text: bytes) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The metadata, and for each tensor its dtype, shape and data_offsets, which are what they must be and fit each other."""
    try:
        header = json.loads(text.decode(), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError("load", "is damaged: its header is not the JSON that safetensors prescribes") from None
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FileError("load", "is damaged: its metadata are not texts by name")
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"} or not all(map(_natural, (entry["shape"], entry["data_offsets"]))):
            raise FileError("load", "is damaged: its header is not the JSON that safetensors prescribes")
        if entry["dtype"] not in DTYPES.values():
            raise FileError("load", f"holds an element type that NumPy does not have: tensor {name!r} is {entry['dtype']}")
        offsets, shape = entry["data_offsets"], tuple(entry["shape"])
        needed = math.prod(shape) * NUMPY_DTYPES[entry["dtype"]].itemsize
        if len(offsets) != 2 or offsets[1] - offsets[0] != needed or not possible(shape):
            raise FileError("load", f"is damaged: tensor {name!r}, {entry['dtype']} of shape {shape}, needs {needed} bytes, its data_offsets are {offsets}")
    return metadata, header


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise FileError("load", f"is damaged: its header has {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def possible(shape: tuple[int, ...]) -> bool:
    """Whether NumPy can make an array of this shape. It counts elements as if no dimension were 0."""
    return len(shape) <= 32 and min(shape, default=0) >= 0 and math.prod(max(size, 1) for size in shape) < 2**60


def _natural(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)
