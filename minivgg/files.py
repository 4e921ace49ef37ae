"""Files that are written whole or not at all, and what tells whether source text has changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from minivgg.errors import FileError

KINDS = {stat.S_IFDIR: "a folder", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


def not_regular(path: Path) -> str | None:
    """What ``path`` is if it exists, links followed, and is no regular file: reading or replacing that would hang or harm."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no regular file")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a place to write to, and put it in the place of ``path`` when the block ends without an exception.

    The new contents are on the disk before the name changes hands, so whatever happens, a full disk, a ``kill -9`` or a
    power cut included, the name stands for the old file or for the new one. A link stays one: what it points to is
    replaced. The new file has the permissions of the old one. What killed writers of this file left beside it is cleared
    away; several processes and threads may write at once, and the last one wins.

    Raises FileError for what is no regular file, and OSError, with the name of the file, for what the system refuses.
    """
    place = Path(os.path.realpath(path))
    kind = not_regular(place)
    if kind is not None:
        raise FileError("write", f"{path} is {kind}, not a file that can be replaced")
    place.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(place)
    descriptor, beside = _temporary(place)
    try:
        try:
            if place.exists():
                beside.chmod(stat.S_IMODE(place.stat().st_mode))
            yield beside
            _sync(beside)
            beside.replace(place)
            if os.name == "posix":
                _sync(place.parent)  # the change of name, too
        except OSError as error:
            if error.errno is not None and error.filename is None:  # as where the disk is full
                error.filename = str(path)
            raise
        finally:
            beside.unlink(missing_ok=True)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _temporary(place: Path) -> tuple[int | None, Path]:
    """A new file beside ``place``, locked as long as its descriptor is open: a lock ends with its process, however that ends."""
    while True:
        beside = place.with_name(f"{place.name}.{secrets.token_hex(4)}.tmp")
        try:
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        if not _lock(descriptor, wait=True):
            os.close(descriptor)
            return None, beside
        if os.fstat(descriptor).st_nlink:
            return descriptor, beside
        os.close(descriptor)  # another writer took it for a leftover before it was locked


def _clear_leftovers(place: Path) -> None:
    leftover = re.compile(re.escape(place.name) + r"\.[0-9a-f]{8}\.tmp")
    for beside in place.parent.iterdir():
        if leftover.fullmatch(beside.name) and not beside.is_symlink():
            with contextlib.suppress(OSError):  # another writer may be clearing, too
                descriptor = os.open(beside, os.O_RDWR)
                try:
                    if _lock(descriptor, wait=False):
                        beside.unlink()
                finally:
                    os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> bool:
    """Lock an open file; False where that is impossible, or where, without waiting, another process holds the lock."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


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
