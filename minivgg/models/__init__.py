"""Networks: VGG A to E (vgg.py), the note's own class (note.py), and the small one for small images (minivgg.py)."""

from minivgg.models.minivgg import MiniVGG
from minivgg.models.note import Vgg16
from minivgg.models.vgg import (
    CONFIGURATIONS,
    VGG,
    make_layers,
    vgg11,
    vgg11_bn,
    vgg11_lrn,
    vgg13,
    vgg13_bn,
    vgg16,
    vgg16_1x1,
    vgg16_1x1_bn,
    vgg16_bn,
    vgg19,
    vgg19_bn,
)  # fmt: skip

__all__ = [
    "CONFIGURATIONS", "VGG", "MiniVGG", "Vgg16", "make_layers", "vgg11", "vgg11_bn", "vgg11_lrn", "vgg13", "vgg13_bn",
    "vgg16", "vgg16_1x1", "vgg16_1x1_bn", "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip
