"""The parts of a page: sections, cards, tables, legends. What they are given as content is HTML already."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def section(anchor: str, title: str, lead: str, *cards: str) -> str:
    return f'<section id="{anchor}"><h2>{escape(title)}</h2><p>{lead}</p>{"".join(cards)}</section>'


def card(*content: str, title: str = "", note: str = "") -> str:
    head = (f"<h3>{escape(title)}</h3>" if title else "") + (f'<p class="note">{note}</p>' if note else "")
    return f'<div class="card">{head}{"".join(content)}</div>'


def two(*cards: str) -> str:
    return f'<div class="two">{"".join(cards)}</div>'


def more(title: str, content: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def rows(head: Sequence[str], body: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table of cells that are HTML already; the first ``words`` columns are words, the others numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{'' if i < words else ' class=n'}>{cell}</{tag}>" for i, cell in enumerate(cells))

    lines = "".join(f"<tr>{line(cells, 'td')}</tr>" for cells in body)
    return f"<table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{lines}</tbody></table>"


def key(names: Sequence[tuple[str, str]]) -> str:
    """The legend: (class, name)."""
    return f'<div class="key">{"".join(f"<span><i class={style}></i>{escape(name)}</span>" for style, name in names)}</div>'
