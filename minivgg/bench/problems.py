"""The convolution layers of VGG A to E as problem strings, and files of such strings.

A line is a problem string, a name, and how often the network has this layer::

    n1 c256 h56 w56 k256 r3 p1 "vgg-e:conv3_2*3"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from minivgg.errors import ArgumentError
from minivgg.models.vgg import CONFIGURATIONS
from minivgg.spec import Conv2dSpec

NETS = {"vgg11": "A", "vgg13": "B", "vgg16_1x1": "C", "vgg16": "D", "vgg19": "E"}
"""The models, and the letters of the paper's Table 1 (A-LRN has A's convolutions)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One layer to be measured: ``name`` says where it comes from, ``count`` how often the network computes it.

    >>> problem = Problem.parse('n1 c256 h56 w56 k256 r3 p1 "vgg-e:conv3_2*3"')
    >>> problem.name, problem.count, problem.spec.macs
    ('vgg-e:conv3_2', 3, 1849688064)
    >>> str(problem)
    'n1 c256 h56 w56 k256 r3 p1 "vgg-e:conv3_2*3"'
    """

    spec: Conv2dSpec
    name: str = ""
    count: int = 1

    def __str__(self) -> str:
        times = f"*{self.count}" if self.count != 1 else ""
        return f'{self.spec} "{self.name}{times}"' if self.name else str(self.spec)

    @property
    def label(self) -> str:
        """What a row of a table is called: the layer's name, or the problem itself."""
        return self.name.rpartition(":")[2] or str(self.spec)

    @classmethod
    def parse(cls, text: str) -> Problem:
        """Read one line; name and count may be left out."""
        match = re.fullmatch(r'([^"]+?)\s*(?:"([^"*]+)(?:\*([1-9][0-9]*))?")?', text.strip())
        if match is None:
            raise ArgumentError("bench", f'a problem is written like n1 c64 h56 w56 k64 r3 p1 "net:layer*2", got {text!r}')
        return cls(Conv2dSpec.parse(match[1]), match[2] or "", int(match[3] or 1))

    def answers_to(self, layer: str) -> bool:
        """True for its own name, and for those of the equal layers that ``count`` stands for: conv3_2*2 is conv3_3 too."""
        own, asked = (re.fullmatch(r"(.*_)([0-9]+)", name) for name in (self.label, layer))
        if own is None or asked is None:
            return layer == self.label
        return own[1] == asked[1] and 0 <= int(asked[2]) - int(own[2]) < self.count


def vgg(net: str, batch: int = 1, side: int = 224) -> list[Problem]:
    """The different convolutions of one network on square images of that side: ``vgg("vgg16")``, or by its letter ``vgg("D")``.

    >>> for problem in vgg("vgg16_1x1")[-2:]: print(problem)
    n1 c512 h14 w14 k512 r3 p1 "vgg-c:conv5_1*2"
    n1 c512 h14 w14 k512 r1 "vgg-c:conv5_3"
    """
    letter = NETS.get(net.lower(), net.upper())
    if letter not in NETS.values():
        raise ArgumentError("bench", f"there is no network {net!r}; there are {', '.join(NETS)}")
    names: dict[Conv2dSpec, list[str]] = {}
    c, block, place = 3, 1, 1
    for word in CONFIGURATIONS[letter].split():
        if word == "M":
            side, block, place = side // 2, block + 1, 1
            continue
        k, _, size = word.partition("/")
        r = int(size or 3)
        pad = r // 2
        spec = Conv2dSpec(batch, c, side, side, int(k), r, r, padding=(pad, pad, pad, pad))
        names.setdefault(spec, []).append(f"vgg-{letter.lower()}:conv{block}_{place}")
        c, place = spec.k, place + 1
    return [Problem(spec, layers[0], len(layers)) for spec, layers in names.items()]


def find(text: str, batch: int | None = None) -> Problem:
    """A problem string, or a layer of a network by its name; ``batch`` replaces ``n``.

    >>> str(find("vgg-e:conv3_2", batch=8))
    'n8 c256 h56 w56 k256 r3 p1 "vgg-e:conv3_2*3"'
    """
    match = re.fullmatch(r"vgg-([A-Ea-e]):(\w+)", text.strip())
    if match is None:
        problem = Problem.parse(text)
    else:
        layers = vgg(match[1])
        found = [layer for layer in layers if layer.answers_to(match[2])]
        if not found:
            raise ArgumentError("bench", f"vgg-{match[1].lower()} has no layer {match[2]!r}; it has {', '.join(layer.label for layer in layers)}")
        problem = found[0]
    return problem if batch is None else Problem(problem.spec.with_batch(batch), problem.name, problem.count)


def read(path: Path, batch: int | None = None) -> list[Problem]:
    """The problems of a file, one a line; ``#`` begins a comment. ``batch`` replaces each line's ``n``."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    problems = [Problem.parse(line) for line in lines if line]
    return problems if batch is None else [Problem(p.spec.with_batch(batch), p.name, p.count) for p in problems]
