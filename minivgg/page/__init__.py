"""One HTML page that needs no other file, light or dark as the reader's screen: page.html is the frame, parts.py writes, charts.py draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template

from minivgg.files import written_whole

FRAME = Path(__file__).with_name("page.html")


@dataclass
class Page:
    """What the page says so far: a headline, tiles with figures, and sections in the order in which they were added."""

    headline: str
    lead: str
    footer: str = ""
    tiles: list[str] = field(default_factory=list)
    sections: dict[str, tuple[str, str]] = field(default_factory=dict)

    def tile(self, figure: str, words: str, style: str = "") -> None:
        """A figure to be seen at once; ``style`` "good" or "bad" colours it."""
        self.tiles.append(f'<div class="tile {style}"><b>{escape(figure)}</b><span>{escape(words)}</span></div>')

    def add(self, anchor: str, name: str, html: str) -> None:
        """A section, and its entry in the navigation."""
        self.sections[anchor] = (name, html)

    def html(self) -> str:
        """The whole page."""
        links = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, (name, _) in self.sections.items())
        return Template(FRAME.read_text(encoding="utf-8")).substitute(
            title=f"minivgg: {escape(self.headline)}",
            headline=escape(self.headline),
            lead=escape(self.lead),
            tiles="".join(self.tiles),
            navigation=links,
            sections="\n".join(html for _, html in self.sections.values()),
            footer=escape(self.footer),
        )

    def write(self, path: Path) -> None:
        """Write the page in one step: a reader sees the old one or the new one, never half of one."""
        with written_whole(path) as draft:
            draft.write_text(self.html(), encoding="utf-8")
