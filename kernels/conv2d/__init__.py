"""Convolution, three directions, one algorithm a file; this file says which one "auto" takes."""

from minivgg.registry import policy


@policy("conv2d")
@policy("conv2d_grad_input")
@policy("conv2d_grad_weight")
def choose(spec, dtype):
    """The algorithms in order of preference, each with the reason."""
    return [("im2col", "one large matrix product a tile, in scratch memory that fits the cache")]
