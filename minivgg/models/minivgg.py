"""MiniVGG: the VGG recipe for images of 8 to 64 pixels."""

from __future__ import annotations

from minivgg import nn
from minivgg.autograd import Tensor
from minivgg.errors import ArgumentError
from minivgg.models.vgg import initialise, make_layers


class MiniVGG(nn.Module):
    """Blocks of two 3x3 convolutions and a 2x2 max pooling, then two linear layers: (N, C, H, W) to (N, num_classes).

    A block halves the image and doubles the channels, from ``width`` up to 8·``width``; there are as many blocks as bring
    ``image_size`` down to 2 or 3 pixels: two for 8, four for 32, five for 64. In front of the first linear layer the
    features of every pixel still stand side by side, so the images must have the size that the network was built for.

    >>> import minivgg
    >>> model = MiniVGG()
    >>> model(minivgg.zeros(2, 1, 8, 8)).shape
    (2, 10)
    >>> sum(parameter.numel() for parameter in model.parameters())
    82474
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: int = 8, width: int = 32, batch_norm: bool = True, dropout: float = 0.3
    ) -> None:  # fmt: skip
        super().__init__()
        if not 8 <= image_size <= 64:
            raise ArgumentError("MiniVGG", f"image_size must lie in [8, 64], got {image_size}")
        blocks = image_size.bit_length() - 2
        widths = [width * min(2**block, 8) for block in range(blocks)]
        self.features = make_layers(" ".join(f"{channels} {channels} M" for channels in widths), batch_norm, in_channels)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * (image_size >> blocks) ** 2, 2 * width),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(2 * width, num_classes),
        )
        self.apply(initialise)
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):  # 0.01 was made for 4096 inputs; with so few, the signal would fade
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.flatten(self.features(x)))
