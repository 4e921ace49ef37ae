"""The digits that come with the package: 1,797 handwritten ones of 8x8 pixels, split for training and testing.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998,
doi 10.24432/C50P49, licence CC BY 4.0: its test part (optdigits.tes), values and order unchanged. Each pixel counts the
ink in a block of 4x4 pixels of a 32x32 bitmap, 0 to 16. ``tools/make_digits.py`` makes ``digits.npz`` from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy

from minivgg.autograd import Tensor
from minivgg.data.dataset import TensorDataset

FILE = Path(__file__).with_name("digits.npz")


def digits(train: bool = True, transform: Callable[[Tensor], Any] | None = None) -> TensorDataset:
    """Images (1, 8, 8), float32 from 0 to 1, with their int64 labels: 1,437 to train on, 360 (``train=False``) to test with.

    The split is fixed: with all images sorted by digit, in the order of the file, every fifth, from the first on, is
    held out; so a fifth of each digit. The 13 people who wrote the digits occur in both parts.

    >>> image, label = digits(train=False)[0]
    >>> image.shape, label, len(digits()), len(digits(train=False))
    ((1, 8, 8), tensor(0), 1437, 360)
    """
    with numpy.load(FILE) as file:
        images, labels = file["images"], file["labels"]
    held_out = numpy.zeros(len(labels), bool)
    held_out[labels.argsort(kind="stable")[::5]] = True
    chosen = ~held_out if train else held_out
    pixels = images[chosen, None].astype("float32") / numpy.float32(16)
    return TensorDataset(Tensor(pixels), Tensor(labels[chosen].astype("int64")), transform=transform)
