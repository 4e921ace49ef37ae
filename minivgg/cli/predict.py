"""``minivgg predict``: what trained weights read in image files, or in held-out digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minivgg.cli.train import RUN

if TYPE_CHECKING:
    import numpy


def predict(
    files: Annotated[list[Path] | None, typer.Argument(help="Pictures of one digit each.", show_default=False)] = None,
    weights: Annotated[Path, typer.Option(help="A run's folder, a checkpoint, or a file of weights.")] = RUN,
    samples: Annotated[str, typer.Option(metavar="NUMBERS", help="Held-out digits by number, as in 0,17,359.", show_default="eight of them")] = "",
    top: Annotated[int, typer.Option(min=1, max=10, help="Classes to show.")] = 3,
    device: Annotated[str, typer.Option(help="Where to compute: cpu or cuda.")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read digits and show the probabilities of the likeliest classes.

    A picture may be of any size: the ink is found, cut out and brought to 8x8 pixels as the training digits were.

        minivgg predict
        minivgg predict photo.jpg scan.png
        minivgg predict --samples 3,141 --top 10
    """
    import numpy

    from minivgg.cli.answers import probabilities
    from minivgg.cli.console import console, print_json
    from minivgg.cli.run_folder import trained_model

    named: list[tuple[str, numpy.ndarray, int | None]] = [(str(file), read_digit(file), None) for file in files or []]
    if not files:
        named = [(f"held-out digit {i}", image, label) for i, image, label in held_out(samples)]
    odds = probabilities(trained_model(weights, device), numpy.stack([image for _, image, _ in named]))
    if json:
        print_json(
            [
                {"image": name, "label": label, "predicted": int(p.argmax()), "probabilities": p.tolist()}
                for (name, _, label), p in zip(named, odds, strict=True)
            ]
        )
        return
    out = console()
    for (name, image, label), p in zip(named, odds, strict=True):
        out.print(card(name, image[0], p, label, top))


def held_out(numbers: str) -> list[tuple[int, numpy.ndarray, int]]:
    """(number, image, label) of the digits named, or of eight spread over all. Raises ArgumentError for a number that none has."""
    from minivgg.data import digits
    from minivgg.errors import ArgumentError

    data = digits(train=False)
    try:
        wanted = [int(number) for number in numbers.split(",")] if numbers else list(range(7, len(data), len(data) // 8))
    except ValueError:
        wanted = [-1]
    if not all(0 <= i < len(data) for i in wanted):
        raise ArgumentError("predict", f"--samples takes numbers from 0 to {len(data) - 1}, as in 0,17, got {numbers!r}")
    return [(i, image.numpy(), int(label)) for i in wanted for image, label in [data[i]]]


def read_digit(file: Path) -> numpy.ndarray:
    """A picture as (1, 8, 8) with ink from 0 to 1: cut out, its longer side fitted to 32 pixels, centred, 4x4 blocks averaged.

    Ink is what differs from the border, so dark on light and light on dark both work. A picture of 8x8 pixels is taken as it is.
    """
    import numpy

    from minivgg.data import load_image
    from minivgg.errors import ArgumentError

    picture = load_image(file, "L")
    pixels = numpy.asarray(picture, numpy.float32) / 255
    border = numpy.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ink = numpy.abs(pixels - numpy.median(border))
    if ink.max() < 0.1:
        raise ArgumentError("predict", f"{file} shows no ink: all pixels are alike")
    if pixels.shape == (8, 8):
        return ink[None]
    rows, columns = (numpy.flatnonzero((ink > 0.4 * ink.max()).any(axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / ink.max()
    return _fit(cut)


def _fit(cut: Any) -> numpy.ndarray:
    import numpy
    from PIL import Image

    height, width = cut.shape
    scale = 32 / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = numpy.asarray(Image.fromarray(cut).resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR))
    square = numpy.zeros((32, 32), numpy.float32)
    top, left = (32 - size[1]) // 2, (32 - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = scaled
    return square.reshape(8, 4, 8, 4).mean((1, 3))[None]


def card(name: str, image: numpy.ndarray, odds: numpy.ndarray, label: int | None, top: int) -> Any:
    """The picture in characters, and beside it the likeliest classes with bars."""
    from rich.table import Table
    from rich.text import Text

    picture = Text("\n".join("".join(" ░▒▓█"[min(4, round(float(value) * 4))] * 2 for value in row) for row in image))
    order = odds.argsort()[::-1][:top].tolist()
    guess = order[0]
    verdict = "" if label is None else " [green]right[/]" if label == guess else f" [bold red]wrong, it is a {label}[/]"
    lines = [f"{name}: [bold]{guess}[/]{verdict}", ""]
    lines += [f"{digit}  {'█' * round(30 * float(odds[digit])) or '▏':<30}  {float(odds[digit]):.1%}" for digit in order]
    side_by_side = Table.grid(padding=(0, 3))
    side_by_side.add_row(picture, "\n".join(lines))
    side_by_side.add_row("", "")
    return side_by_side
