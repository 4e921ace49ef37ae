"""VGG A to E: the six configurations of Simonyan & Zisserman (arXiv:1409.1556, Table 1) as data, and their builders.

    name   builder      weight layers   parameters    multiply-adds of one 224x224 image
    A      vgg11        11              132,863,336    7,609,090,048
    A-LRN  vgg11_lrn    11              132,863,336    7,609,090,048
    B      vgg13        13              133,047,848   11,308,466,176
    C      vgg16_1x1    16              133,638,952   11,770,888,192
    D      vgg16        16              138,357,544   15,470,264,320
    E      vgg19        19              143,667,240   19,632,062,464

Structure, initialisation and the names in ``state_dict`` are torchvision's, so its weight files fit.
"""

from __future__ import annotations

from collections.abc import Callable

from minivgg import nn
from minivgg.autograd import Tensor
from minivgg.errors import ArgumentError

CONFIGURATIONS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "A-LRN": "64 LRN M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 256/1 M 512 512 512/1 M 512 512 512/1 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
"""A number: a 3x3 convolution to so many channels, and ReLU; ``/1``: a 1x1 one; ``M``: 2x2 max pooling; ``LRN``: see below."""


def make_layers(configuration: str, batch_norm: bool = False, in_channels: int = 3) -> nn.Sequential:
    """The convolutional part of a configuration, given by its letter or written out.

    >>> make_layers("8 M", in_channels=1)
    Sequential(
      (0): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
      (1): ReLU(inplace=True)
      (2): MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)
    )
    """
    layers: list[nn.Module] = []
    for word in CONFIGURATIONS.get(configuration, configuration).split():
        channels, _, size = word.partition("/")
        if word == "M":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        elif word == "LRN":
            # The paper's α = 1e-4 multiplies the sum over the 5 channels (Krizhevsky et al. 2012); this layer divides by 5.
            layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2))
        elif channels.isdecimal() and size in ("", "1", "3"):
            kernel_size = int(size or 3)
            layers.append(nn.Conv2d(in_channels, int(channels), kernel_size, padding=kernel_size // 2))
            if batch_norm:
                layers.append(nn.BatchNorm2d(int(channels)))
            layers.append(nn.ReLU(inplace=True))
            in_channels = int(channels)
        else:
            raise ArgumentError("make_layers", f"{word!r} is none of 64, 64/1, M, LRN, in {configuration!r}")
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """``features`` (512 channels out), average pooling to 7x7, three linear layers: (N, C, H, W) to (N, num_classes).

    Images from 32x32 on are taken; 224x224 is what the network was made for.
    """

    def __init__(self, features: nn.Module, num_classes: int = 1000, init_weights: bool = True, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(p=dropout),
            nn.Linear(4096, num_classes),
        )
        if init_weights:
            self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = x.flatten(1)
        return self.classifier(x)


def initialise(module: nn.Module) -> None:
    """What torchvision does to each layer, for ``Module.apply``.

    Convolutions: normal, variance 2/fan-out, bias 0; batch norm: 1 and 0; linear: normal, standard deviation 0.01, bias 0.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
        nn.init.zeros_(module.bias)


def _builder(name: str, configuration: str, batch_norm: bool = False) -> Callable[..., VGG]:
    def build(num_classes: int = 1000, *, init_weights: bool = True, dropout: float = 0.5, in_channels: int = 3) -> VGG:
        return VGG(make_layers(configuration, batch_norm, in_channels), num_classes, init_weights, dropout)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"""Configuration {configuration}{" with batch normalisation" if batch_norm else ""}: (N, in_channels, H, W) to (N, num_classes)."""
    return build


vgg11 = _builder("vgg11", "A")
vgg11_lrn = _builder("vgg11_lrn", "A-LRN")
vgg13 = _builder("vgg13", "B")
vgg16_1x1 = _builder("vgg16_1x1", "C")
vgg16 = _builder("vgg16", "D")
vgg19 = _builder("vgg19", "E")
vgg11_bn = _builder("vgg11_bn", "A", batch_norm=True)
vgg13_bn = _builder("vgg13_bn", "B", batch_norm=True)
vgg16_1x1_bn = _builder("vgg16_1x1_bn", "C", batch_norm=True)
vgg16_bn = _builder("vgg16_bn", "D", batch_norm=True)
vgg19_bn = _builder("vgg19_bn", "E", batch_norm=True)
