"""PyTorch as the judge: the same function in both libraries, its value, its gradients and the gradients of its gradients."""

import numpy
import torch

import minivgg


def derivatives(library, function, arrays, seed=0):
    """Yield value, first and second gradients of ``function`` at float64 ``arrays``, each projected on random directions.

    The second gradients are those of Σ (first gradient · direction), with respect to the inputs and to the gradient that
    came in, so they contain the whole of d²out.
    """
    rng = numpy.random.default_rng(seed)
    inputs = [library.tensor(array, requires_grad=True) for array in arrays]
    out = function(*inputs)
    yield out
    incoming = library.tensor(rng.standard_normal(tuple(out.shape)), requires_grad=True)
    first = library.autograd.grad(out, inputs, incoming, create_graph=True)
    yield from first
    projected = sum((gradient * library.tensor(rng.standard_normal(tuple(gradient.shape)))).sum() for gradient in first)
    yield from library.autograd.grad(projected, [*inputs, incoming], allow_unused=True, materialize_grads=True)


def agree(ours, theirs, arrays, rtol=1e-9, atol=1e-11):
    """Both functions have the same values at ``arrays``, and the same derivatives if the values are finite."""
    names = ["value", *(f"gradient {i}" for i in range(len(arrays))), *(f"second gradient {i}" for i in range(len(arrays) + 1))]
    got, expected = derivatives(minivgg, ours, arrays), derivatives(torch, theirs, arrays)
    for name, a, b in zip(names, got, expected, strict=False):
        a, b = a.detach().clone().numpy(), b.detach().clone().numpy()  # PyTorch has zeros without memory
        assert a.shape == b.shape, f"{name}: {a.shape} instead of {b.shape}"
        numpy.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)
        if name == "value" and not numpy.isfinite(b).all():
            return
