"""The metrics file: JSON Lines, one line a step and one an epoch, cut back to the checkpoint when a run is resumed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from minivgg.errors import FileError


class MetricsFile:
    """Append rows to ``path``, of which the first ``keep`` bytes stay: what was written after a checkpoint is written again.

    Every row is handed to the system at once, so that a program that is killed loses none. Without a path, nothing happens.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with MetricsFile(Path(folder) / "metrics.jsonl") as metrics:
    ...         metrics.write({"kind": "step", "loss": 2.5})
    ...     print(read_metrics(Path(folder) / "metrics.jsonl"))
    [{'kind': 'step', 'loss': 2.5}]
    """

    def __init__(self, path: str | Path | None, keep: int = 0) -> None:
        self._file: IO[bytes] | None = None
        if path is None:
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if keep and (not path.exists() or path.stat().st_size < keep):
            raise FileError("fit", f"the metrics file {path} is missing or shorter than the {keep} bytes it had at the checkpoint; put it back or start anew")
        self._file = path.open("r+b" if keep else "wb")
        self._file.truncate(keep)
        self._file.seek(keep)

    def write(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(row).encode() + b"\n")
            self._file.flush()

    def position(self) -> int:
        """Bytes so far, which are on the disk when this returns."""
        if self._file is None:
            return 0
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """All rows of a metrics file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
