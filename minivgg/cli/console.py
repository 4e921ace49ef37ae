"""Where the verbs write: Rich on a terminal, plain lines elsewhere, JSON for machines; and how they write numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended, as shells have it."""


def console(stderr: bool = False) -> Console:
    """Rich's console; where no terminal is, it is wide enough that no table is cut."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=160)


def table(title: str, *columns: str, left: int = 1) -> Table:
    """An empty table: the first ``left`` columns hold words, the others numbers."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="left" if i < left else "right", no_wrap=i > 0, min_width=10 if i == 0 else None, overflow="fold")
    return made


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2))


def size(count: float | None) -> str:
    """Bytes as people read them: ``12.3 MiB``.

    >>> size(0), size(5 * 2**20), size(1500)
    ('0', '5.0 MiB', '1.5 KiB')
    """
    if count is None:
        return "unknown"
    if not count:
        return "0"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as people read them.

    >>> duration(0.00012), duration(0.0213), duration(3.2), duration(75)
    ('120 µs', '21.3 ms', '3.20 s', '1:15 min')
    """
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.2f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"
