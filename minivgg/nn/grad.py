"""The gradients of convolution as functions of their own, under PyTorch's names."""

from minivgg.ops.conv2d import conv2d_input, conv2d_weight

__all__ = ["conv2d_input", "conv2d_weight"]
