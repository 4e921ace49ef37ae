"""The .npz format: a zip archive with one .npy file for each array. Its CRC-32 sums are checked, and nothing is unpickled.

``numpy.load`` would believe what the archive says of itself: a shape of a terabyte, an entry twice, pickles if asked for.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy

from minivgg.errors import FileError
from minivgg.training.safetensors_format import DTYPES, Arrays, possible

HARMLESS = 1 << 28
"""Bytes that an archive may unpack to, however small it is."""

DENSEST = 100
"""How many times its size a larger one may unpack to. Deflate reaches 1032 with nothing but zeros, weights reach 2."""

_HEADERS = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}


def write(file: IO[bytes], arrays: Arrays, metadata: Mapping[str, str]) -> None:
    """Write arrays in C order, not compressed. ``numpy.savez`` takes names for keywords: one called "file" is an error there."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                numpy.lib.format.write_array(entry, array, allow_pickle=False)


def read(file: IO[bytes]) -> Arrays:
    """The arrays. Raises FileError with the fault; takes no more memory than HARMLESS, or DENSEST times the file's size."""
    size = file.seek(0, 2)
    file.seek(0)
    if file.read(6) == numpy.lib.format.MAGIC_PREFIX:
        raise FileError("load", "is not a .npz archive, but a single array (.npy)")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check(entries, size, _promised(file, size))
            return {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in entries}
    except FileError:
        raise
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError) as error:
        raise FileError("load", f"is damaged or truncated: {error}") from None


def _promised(file: IO[bytes], size: int) -> int:
    """How many entries the record at the end of the archive speaks of. Python's reader does not miss those that damage hides."""
    file.seek(max(0, size - 22 - 0xFFFF))
    _, found, record = file.read().rpartition(b"PK\x05\x06")
    return int.from_bytes(record[6:8], "little") if found else 0


def _check(entries: list[zipfile.ZipInfo], size: int, promised: int) -> None:
    """What the table of contents says by itself."""
    if promised not in (len(entries), 0xFFFF):  # the number for so many that another record has it
        raise FileError("load", f"is damaged: it promises {promised} arrays, its table of contents names {len(entries)}")
    names = [entry.filename for entry in entries]
    for entry in entries:
        if not entry.filename.endswith(".npy"):
            raise FileError("load", f"is not a .npz archive: it holds {entry.filename!r}, which is no .npy file")
        if names.count(entry.filename) > 1:
            raise FileError("load", f"is damaged: it holds {entry.filename!r} twice")
    if sum(entry.compress_size for entry in entries) > size:
        raise FileError("load", f"is damaged: its entries overlap, they have more bytes than the file ({size})")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(HARMLESS, DENSEST * size):
        raise FileError("load", f"is refused: its {size} bytes unpack to {unpacked}, as no weights do")


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> numpy.ndarray:
    with archive.open(entry) as file:
        shape, in_columns, dtype = _header(file, entry)
        expected = file.tell() + math.prod(shape) * dtype.itemsize
        if expected != entry.file_size:
            raise FileError("load", f"is damaged: {entry.filename!r}, {dtype} of shape {shape}, needs {expected} bytes, it has {entry.file_size}")
        array = numpy.empty(math.prod(shape), dtype)
        memory, done = array.view("uint8").data, 0
        while done < len(memory):
            count = file.readinto(memory[done : done + (1 << 20)])  # type: ignore[attr-defined]
            if not count:
                raise EOFError(f"{entry.filename!r} ends after {done} of {len(memory)} bytes")
            done += count
        file.read(1)  # at its end, the sum is checked
    return array.reshape(shape[::-1]).T if in_columns else array.reshape(shape)


def _header(file: Any, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], bool, numpy.dtype]:
    """Shape, order and element type of a .npy file."""
    try:
        shape, in_columns, dtype = _HEADERS[numpy.lib.format.read_magic(file)](file)
    except zipfile.BadZipFile:
        raise
    except Exception as error:  # NumPy parses a Python literal here, which can fail in any way
        raise FileError("load", f"is damaged: the header of {entry.filename!r} cannot be read ({type(error).__name__})") from None
    if dtype.hasobject:
        raise FileError("load", "is not a .npz archive of plain arrays (pickled objects are never loaded)")
    if dtype.name not in DTYPES:
        raise FileError("load", f"holds an element type that no weights have: {entry.filename!r} is {dtype}")
    if not possible(shape):
        raise FileError("load", f"is damaged: {entry.filename!r} has shape {shape}")
    return shape, in_columns, dtype
