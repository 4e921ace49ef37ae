"""The operations under PyTorch's names."""

from minivgg.ops.relu import relu
