"""JAX on the CPU, compiled by XLA, in the (N, H, W, C) order that XLA's convolutions are written for."""

from __future__ import annotations

from typing import Any

import numpy

from minivgg.bench.network import Network, averaging
from minivgg.bench.rivals import LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Rival, Run, Training


def _weights(network: Network) -> list[Any]:
    """The arrays in JAX's order of dimensions: filters R S C K, linear weights C K."""
    import jax.numpy as jnp

    return [jnp.array(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T) for array in network.arrays]


def _scores(network: Network, weights: list[Any], x: Any) -> Any:
    """The network on images (N, H, W, C)."""
    import jax
    import jax.numpy as jnp

    rest = iter(weights)
    for layer in network.layers:
        if layer.kind in ("conv2d", "linear"):
            weight = next(rest)
            if layer.kind == "conv2d":
                pads = [(pad, pad) for pad in layer.padding]
                x = jax.lax.conv_general_dilated(x, weight, layer.stride, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
            else:
                x = x @ weight
            x = x if layer.bias is None else x + next(rest)
        elif layer.kind == "relu":
            x = jax.nn.relu(x)
        elif layer.kind == "max_pool2d":
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *layer.size, 1), (1, *layer.stride, 1), "VALID")
        elif layer.kind == "flatten":
            x = jnp.moveaxis(x, -1, 1).reshape(len(x), -1) if x.ndim == 4 else x.reshape(len(x), -1)
        elif layer.input != layer.output:
            (_, h, w), (_, p, q) = layer.input, layer.output
            x = jnp.einsum("ph,nhwc,qw->npqc", averaging(h, p), x, averaging(w, q))
    return jnp.moveaxis(x, -1, 1) if x.ndim == 4 else x


def _images(images: numpy.ndarray) -> Any:
    import jax.numpy as jnp

    return jnp.array(images.transpose(0, 2, 3, 1))


def forward(network: Network, images: numpy.ndarray, threads: int) -> Run:
    import jax

    weights, x = _weights(network), _images(images)
    run = jax.jit(lambda weights, x: _scores(network, weights, x))
    return lambda: numpy.asarray(run(weights, x))


def step(network: Network, images: numpy.ndarray, labels: numpy.ndarray, threads: int) -> Training:
    import jax
    import jax.numpy as jnp

    weights, x, y = _weights(network), _images(images), jnp.array(labels)
    state = [weights, [jnp.zeros_like(weight) for weight in weights]]

    def loss(weights: list[Any], x: Any) -> Any:
        scores = jax.nn.log_softmax(_scores(network, weights, x))
        return -jnp.take_along_axis(scores, y[:, None], 1).mean()

    def update(weights: list[Any], velocities: list[Any], x: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(weights, x)
        velocities = [MOMENTUM * v + g + WEIGHT_DECAY * w for v, g, w in zip(velocities, gradients, weights, strict=True)]
        return [w - LEARNING_RATE * v for w, v in zip(weights, velocities, strict=True)], velocities, value

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def run() -> float:
        state[0], state[1], value = compiled(state[0], state[1], x)
        jax.block_until_ready(state)
        return float(value)

    def arrays() -> list[numpy.ndarray]:
        return [numpy.asarray(weight).transpose(3, 2, 0, 1) if weight.ndim == 4 else numpy.asarray(weight).T for weight in state[0]]

    return run, arrays


def environment(threads: int) -> dict[str, str]:
    return {"JAX_PLATFORMS": "cpu", "PJRT_NPROC": str(threads), "NPROC": str(threads)}


SETTINGS = "jit on XLA's CPU backend, NHWC, float32, step with donated buffers, PJRT_NPROC for the threads"
RIVALS = [Rival("JAX", {"jax": "jax"}, SETTINGS, forward, step, environment=environment)]
