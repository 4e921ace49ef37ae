"""Arrays as pictures: PNG files written into the page itself (data URIs), so that it needs no other file."""

from __future__ import annotations

import base64
import io

import numpy


def png(levels: numpy.ndarray) -> str:
    """A data URI of a picture of bytes: (H, W) grey, (H, W, 3) colour, (H, W, 4) with transparency."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def grey(image: numpy.ndarray) -> numpy.ndarray:
    """Ink on paper: the largest value becomes black, the smallest white."""
    low, high = float(image.min()), float(image.max())
    return (255 - (image - low) / ((high - low) or 1.0) * 255).astype(numpy.uint8)


# Ends and middle of two colour scales: dark violet over magenta to light yellow for what is never negative, blue over grey to orange for signed numbers.
_HEAT = numpy.array([[22, 18, 48], [92, 32, 120], [190, 55, 110], [246, 130, 70], [252, 235, 165]])
_SIGNED = numpy.array([[27, 78, 176], [128, 170, 226], [238, 238, 236], [240, 170, 104], [196, 82, 14]])


def coloured(values: numpy.ndarray, scale: numpy.ndarray) -> numpy.ndarray:
    """Numbers from 0 to 1 on a colour scale of evenly spaced stops: bytes (..., 3)."""
    stops = numpy.linspace(0, 1, len(scale))
    return numpy.stack([numpy.interp(values, stops, scale[:, channel]) for channel in range(3)], axis=-1).astype(numpy.uint8)


def heat(image: numpy.ndarray, high: float | None = None) -> numpy.ndarray:
    """Activations: 0 is dark, ``high`` (the largest value if None) is light."""
    return coloured(numpy.clip(image / ((float(image.max()) if high is None else high) or 1.0), 0, 1), _HEAT)


def signed(image: numpy.ndarray) -> numpy.ndarray:
    """Weights: blue is negative, grey is 0, orange is positive."""
    return coloured(0.5 + image / (2 * (float(numpy.abs(image).max()) or 1.0)), _SIGNED)


def sheet(pictures: list[numpy.ndarray], columns: int, scale: int = 1, gap: int = 1) -> numpy.ndarray:
    """Pictures of one size (H, W, 3) side by side, ``columns`` in a row, with nothing between them (H, W, 4: the gaps are transparent).

    ``scale`` repeats each pixel, ``gap`` is the distance in pixels of the result.
    """
    h, w = (side * scale for side in pictures[0].shape[:2])
    rows = -(-len(pictures) // columns)
    out = numpy.zeros((rows * (h + gap) - gap, columns * (w + gap) - gap, 4), numpy.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        out[y : y + h, x : x + w, :3] = picture.repeat(scale, 0).repeat(scale, 1)
        out[y : y + h, x : x + w, 3] = 255
    return out
