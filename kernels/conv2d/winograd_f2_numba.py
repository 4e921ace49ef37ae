"""Winograd F(2x2, 3x3): 16 multiplications for 4 outputs instead of 36, almost as exact as the definition.

How it works stands in ``_winograd.py``, why it is a convolution in ``_toom_cook.py``.
"""

from minivgg.kernels.common.layout import channels_last
from minivgg.kernels.conv2d._winograd import output, output_workspace
from minivgg.kernels.conv2d._winograd_input import input_gradient, input_workspace
from minivgg.kernels.conv2d._winograd_problem import PAPER, supports
from minivgg.kernels.conv2d._winograd_weight import weight_gradient, weight_workspace
from minivgg.registry import algorithm

TILE = 2
RECORD = {"backend": "numba", "exact": False, "max_error": 1e-06, "supports": supports, "paper": PAPER, "channels_last": True}


@algorithm("conv2d", workspace=output_workspace(TILE), fuses=("relu", "pool"), **RECORD)
def winograd(spec, x, w, b, out, relu=False, pool=False, cells=None):
    """y = conv(x, w) + b, then ReLU and 2x2 max pooling if asked."""
    output(spec, x, w, b, out, TILE, relu, pool, cells)


@algorithm("conv2d_grad_input", workspace=input_workspace(TILE), **RECORD)
def winograd_grad_input(spec, dy, w, out):
    """dx, from dy and w."""
    input_gradient(spec, dy, w, out, TILE)


@algorithm("conv2d_grad_weight", workspace=weight_workspace(TILE), **RECORD)
def winograd_grad_weight(spec, dy, x, out):
    """dw, from dy and x."""
    weight_gradient(channels_last(x), channels_last(dy), spec.padding[0], spec.padding[2], out, TILE)
