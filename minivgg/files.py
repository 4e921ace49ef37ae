"""Files that are written whole or not at all, and what tells whether source text has changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place to write to, and put it in the place of ``path`` when the block ends without an exception.

    The new contents are on the disk before the name changes hands, so whatever happens, a power cut included, the name
    stands for the old file or for the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp")
    try:
        yield beside
        _sync(beside)
        beside.replace(path)
        if os.name == "posix":
            _sync(path.parent)  # the change of name, too
    finally:
        beside.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(folders: Iterable[Path]) -> str:
    """SHA-256 of all Python source below the folders: the same wherever they lie and whenever they were written."""
    found = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            text = file.read_bytes()
            found.update(f"{file.relative_to(folder).as_posix()} {len(text)} ".encode() + text)
    return found.hexdigest()
