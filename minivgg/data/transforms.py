"""Transforms: what happens to one image between the file and the network.

``Resize`` and ``ToTensor`` read Pillow images; the others take and return tensors (C, H, W). The random ones draw from
the stream that the ``DataLoader`` has laid out for the batch, and elsewhere from the default generator.

A transform may also have ``many``, which takes the images of a batch (N, C, H, W) at once and must give what one after the
other would: for small images most of the time goes into the calls.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.backend import FLOATING, Array, namespace
from minivgg.errors import ArgumentError, DtypeError, ShapeError
from minivgg.random import default_generator

_stream: ContextVar[numpy.random.Generator | None] = ContextVar("stream", default=None)


@contextlib.contextmanager
def drawing_from(stream: numpy.random.Generator) -> Iterator[None]:
    """Inside the block, and in this thread, random transforms draw from ``stream``."""
    token = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(token)


def random_stream() -> numpy.random.Generator:
    """Where a random transform draws its numbers from."""
    return _stream.get() or default_generator.numpy


class Compose:
    """One transform after the other.

    >>> import minivgg
    >>> Compose([lambda x: x + 1, lambda x: x * 2])(minivgg.tensor([1.0]))
    tensor([4.])
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """A Pillow image in another size: (height, width); or an int, which the shorter side becomes, the shape kept.

    Bilinear, with the filter widened when it shrinks, so that no pixel of the source is skipped.

    >>> from PIL import Image
    >>> Resize(256)(Image.new("RGB", (640, 480))).size, Resize((8, 8))(Image.new("L", (20, 30))).size
    ((341, 256), (8, 8))
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = size

    def __call__(self, image: Any) -> Any:
        from PIL import Image

        if isinstance(self.size, int):
            width, height = image.size
            short = min(width, height)
            width, height = self.size * width // short, self.size * height // short
        else:
            height, width = self.size
        return image.resize((width, height), Image.Resampling.BILINEAR)


class ToTensor:
    """A Pillow image, or a uint8 array (H, W) or (H, W, C), as a float32 tensor (C, H, W) with values from 0 to 1.

    >>> ToTensor()(numpy.array([[0, 51], [102, 255]], dtype="uint8"))
    tensor([[[0.0000, 0.2000],
             [0.4000, 1.0000]]])
    """

    def __call__(self, image: Any) -> Tensor:
        pixels = numpy.asarray(image)
        if pixels.dtype != numpy.uint8 or pixels.ndim not in (2, 3):
            raise DtypeError("ToTensor", f"takes images of 8 bits a channel, (H, W) or (H, W, C), got {pixels.dtype} of shape {pixels.shape}")
        planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        return Tensor(numpy.ascontiguousarray(planes, numpy.float32) / numpy.float32(255))


class Normalize:
    """(image - mean) / std, where ``mean`` and ``std`` hold a number for each channel.

    >>> import minivgg
    >>> Normalize([0.5, 0.0], [0.5, 1.0])(minivgg.ones(2, 1, 1)).tolist()
    [[[1.0]], [[1.0]]]
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise ArgumentError("Normalize", f"needs a mean and a positive std for each channel, got mean {mean}, std {std}")
        self.mean, self.std = numpy.reshape(mean, (-1, 1, 1)), numpy.reshape(std, (-1, 1, 1))

    def __call__(self, image: Tensor) -> Tensor:
        _check_image("Normalize", image)
        if len(self.mean) != image.shape[0]:
            raise ShapeError("Normalize", f"has statistics of {len(self.mean)} channels, the image has {image.shape[0]}", image=image.shape)
        xp = namespace(image.array)
        return Tensor((image.array - xp.asarray(self.mean, image.dtype)) / xp.asarray(self.std, image.dtype))


class CenterCrop:
    """The middle ``size`` of an image, an int or (height, width).

    >>> import minivgg
    >>> CenterCrop(2)(minivgg.arange(16).reshape(1, 4, 4).float())
    tensor([[[ 5.,  6.],
             [ 9., 10.]]])
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = (size, size) if isinstance(size, int) else size

    def __call__(self, image: Tensor) -> Tensor:
        rows, columns = _room("CenterCrop", image, self.size)
        return _crop(image, round(rows / 2), round(columns / 2), self.size)


class RandomCrop:
    """A random ``size`` out of an image that was padded by ``padding`` pixels of ``fill`` on each side.

    ``RandomCrop(8, padding=1)`` shifts an 8x8 image by up to one pixel in each direction.

    >>> import minivgg
    >>> RandomCrop(8, padding=1)(minivgg.zeros(1, 8, 8)).shape
    (1, 8, 8)
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0, fill: float = 0.0) -> None:
        self.size = (size, size) if isinstance(size, int) else size
        self.padding, self.fill = padding, fill

    def __call__(self, image: Tensor) -> Tensor:
        if self.padding:
            border = (self.padding, self.padding)
            image = Tensor(namespace(image.array).pad(image.array, ((0, 0), border, border), constant_values=self.fill))
        rows, columns = _room("RandomCrop", image, self.size)
        stream = random_stream()
        return _crop(image, int(stream.integers(rows + 1)), int(stream.integers(columns + 1)), self.size)


class RandomHorizontalFlip:
    """The mirror image, with probability ``p``.

    >>> import minivgg
    >>> RandomHorizontalFlip(p=1.0)(minivgg.tensor([[[1.0, 2.0]]]))
    tensor([[[2., 1.]]])
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ArgumentError("RandomHorizontalFlip", f"p must lie in [0, 1], got {p}")
        self.p = p

    def __call__(self, image: Tensor) -> Tensor:
        return Tensor(image.array[:, :, ::-1].copy()) if random_stream().random() < self.p else image


class RandomAffine:
    """Turn by up to ``degrees``, shift by up to the fractions ``translate`` of the width and height, zoom within ``scale``.

    About the centre of the image, each amount drawn uniformly; bilinear, with ``fill`` where the source ends.

    >>> import minivgg
    >>> RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1))(minivgg.zeros(1, 8, 8)).shape
    (1, 8, 8)
    """

    def __init__(self, degrees: float, translate: tuple[float, float] = (0.0, 0.0), scale: tuple[float, float] = (1.0, 1.0), fill: float = 0.0) -> None:
        if degrees < 0 or not all(0 <= part <= 1 for part in translate) or not 0 < scale[0] <= scale[1]:
            raise ArgumentError(
                "RandomAffine",
                f"degrees must be at least 0, translate lie in [0, 1], scale be a rising pair above 0; got {degrees}, {translate}, {scale}",
            )
        self.degrees, self.translate, self.scale, self.fill = degrees, translate, scale, fill

    def __call__(self, image: Tensor) -> Tensor:
        _check_image("RandomAffine", image)
        return Tensor(self.many(Tensor(image.array[None])).array[0])

    def many(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), each moved in its own way; the random numbers are those of N calls."""
        count, _, height, width = images.shape
        angle, right, down, zoom = random_stream().uniform(-1, 1, (count, 4)).T
        low, high = self.scale
        zoom = low + (high - low) * (zoom + 1) / 2
        moves = [angle * math.radians(self.degrees), right * (self.translate[0] * width), down * (self.translate[1] * height), zoom]
        return Tensor(_moved(images.array, numpy.array(moves), self.fill))


def affine(image: Tensor, angle: float, right: float = 0.0, down: float = 0.0, zoom: float = 1.0, fill: float = 0.0) -> Tensor:
    """Turn by ``angle`` radians (counterclockwise), then shift by pixels, and zoom, about the centre.

    Each output pixel looks up where it came from, and reads the four pixels around that place in proportion.

    >>> import minivgg
    >>> affine(minivgg.tensor([[[1.0, 2.0, 3.0]]]), 0.0, right=0.5)
    tensor([[[0.5000, 1.5000, 2.5000]]])
    """
    return Tensor(_moved(image.array[None], numpy.array([[angle], [right], [down], [zoom]]), fill)[0])


def _moved(images: Array, moves: numpy.ndarray, fill: float) -> Array:
    """``affine`` of images (N, C, H, W) by the columns (angle, right, down, zoom) of ``moves`` (4, N)."""
    xp, (count, channels, height, width) = namespace(images), images.shape
    angle, right, down, zoom = moves.reshape(4, count, 1, 1)
    cos, sin, right, down = xp.asarray([numpy.cos(angle) / zoom, numpy.sin(angle) / zoom, right, down], images.dtype)
    y = xp.arange(height, dtype=images.dtype)[:, None] - ((height - 1) / 2 + down)
    x = xp.arange(width, dtype=images.dtype) - ((width - 1) / 2 + right)
    # one pixel of border holds the fill; places farther out are moved onto it
    rows = (sin * x + cos * y + ((height - 1) / 2 + 1)).clip(0, height + 1)
    columns = (cos * x - sin * y + ((width - 1) / 2 + 1)).clip(0, width + 1)
    padded = xp.full((count, channels, height + 3, width + 3), fill, images.dtype)
    padded[:, :, 1:-2, 1:-2] = images
    r, c = rows.astype(int), columns.astype(int)
    below, beside = (rows - r).astype(images.dtype)[:, None], (columns - c).astype(images.dtype)[:, None]
    planes = xp.arange(count * channels).reshape(count, channels, 1, 1) * ((height + 3) * (width + 3))
    corner, pixels = planes + (r * (width + 3) + c)[:, None], padded.reshape(-1)
    upper = pixels[corner] * (1 - beside) + pixels[corner + 1] * beside
    lower = pixels[corner + width + 3] * (1 - beside) + pixels[corner + width + 4] * beside
    return upper * (1 - below) + lower * below


def _check_image(operation: str, image: Tensor) -> None:
    if image.ndim != 3:
        raise ShapeError(operation, f"takes an image (C, H, W), got {image.ndim} dimensions", image=image.shape)
    if image.dtype not in FLOATING:
        raise DtypeError(operation, f"takes float32 or float64, got {image.dtype}")


def _room(operation: str, image: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns by which the image is larger than ``size``."""
    rows, columns = image.shape[1] - size[0], image.shape[2] - size[1]
    if min(rows, columns) < 0:
        raise ShapeError(operation, f"the image is smaller than the crop {size[0]}x{size[1]}", image=image.shape)
    return rows, columns


def _crop(image: Tensor, top: int, left: int, size: tuple[int, int]) -> Tensor:
    return Tensor(image.array[:, top : top + size[0], left : left + size[1]].copy())
