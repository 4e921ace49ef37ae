"""Vgg16 as a study note wrote it out, layer by layer, with its five mistakes repaired (``docs/the_note.md``)."""

from __future__ import annotations

from minivgg import nn
from minivgg.autograd import Tensor


class Vgg16(nn.Module):
    """Configuration D without a table: every layer stands where it acts. (N, in_channel, H, W) to (N, out_channel).

    ``num_hidden`` is what is left after pooling to 7x7: 512·7·7 = 25088. The names in ``state_dict`` are those of
    ``models.vgg16``, so the two exchange weights.
    """

    def __init__(self, in_channel: int = 3, out_channel: int = 1000, num_hidden: int = 25088) -> None:
        super().__init__()
        self.features = nn.Sequential(
            # block 1: 224x224
            nn.Conv2d(in_channel, 64, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            # block 2: 112x112
            nn.Conv2d(64, 128, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 128, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            # block 3: 56x56
            nn.Conv2d(128, 256, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            # block 4: 28x28
            nn.Conv2d(256, 512, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            # block 5: 14x14
            nn.Conv2d(512, 512, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, 1, 1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(output_size=(7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(num_hidden, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, out_channel),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = x.flatten(1)  # (N, 512, 7, 7) to (N, 25088)
        return self.classifier(x)
