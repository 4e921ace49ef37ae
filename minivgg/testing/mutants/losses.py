"""Mistakes in losses, and in what a homework builds of the parts: recurrent steps, attention, activations."""

from __future__ import annotations

import numpy

from minivgg.nn import functional as F
from minivgg.testing.mutants import homework
from minivgg.testing.mutants.mechanism import Call, Mutant, call, mutant, normal

CROSS_ENTROPY = "minivgg.ops.cross_entropy:"
HOMEWORK = "minivgg.testing.mutants.homework:"

_CLASSES = numpy.array([0, 2, 1, 2])


def _cross_entropy(**options: object) -> Call:
    return call(F.cross_entropy, normal(4, 3), _CLASSES, **options)


def _pair(name: str, *values: object, **options: object) -> Call:
    return call(homework.PAIRS[name], *values, **options)


MUTANTS: list[Mutant] = [
    mutant(
        "the 1 of the right class is not subtracted", "cross_entropy", CROSS_ENTROPY + "_cross_entropy_grad",
        "dx -= _shares(spec, target, dx)", "pass",
        lambda: _cross_entropy(), "missing term",
    ),
    mutant(
        "the mean's 1 / N is forgotten", "cross_entropy", CROSS_ENTROPY + "CrossEntropy.backward",
        "else grad.array / self.divisor", "else grad.array",
        lambda: _cross_entropy(), "missing scale",
    ),
    mutant(
        "ignored targets send a gradient", "cross_entropy", CROSS_ENTROPY + "_cross_entropy_grad",
        "xp.copyto(dx, 0, where=(target < 0)[:, None])", "pass",
        lambda: call(F.cross_entropy, normal(4, 3), numpy.array([0, -100, 1, 2])), "unfounded gradient",
    ),
    mutant(
        "the smoothing of the labels is forgotten", "cross_entropy", CROSS_ENTROPY + "_shares",
        "spec.label_smoothing / classes", "0.0",
        lambda: _cross_entropy(label_smoothing=0.3), "missing term",
    ),
    mutant(
        "the loss is scaled by the upstream gradient nowhere", "cross_entropy", CROSS_ENTROPY + "CrossEntropy.backward",
        "else grad.array / self.divisor", "else 1 / self.divisor",
        lambda: _cross_entropy(), "upstream gradient ignored",
    ),
    mutant(
        "the error is detached on one side of the square", "mse_loss", "minivgg.ops.mse_loss:mse_loss",
        "error * error", "error * error.detach()",
        lambda: call(F.mse_loss, normal(3, 4), normal(3, 4, seed=1)), "missing scale",
    ),
    mutant(
        "the 2 of the square is forgotten", "mse_loss", HOMEWORK + "mse_backward",
        "2 * (x - target)", "(x - target)",
        lambda: _pair("mse", normal(3, 4), normal(3, 4, seed=1)), "missing scale",
    ),
    mutant(
        "the mean runs over the rows, forward's over all elements", "mse_loss", HOMEWORK + "mse_backward",
        "x.size", "len(x)",
        lambda: _pair("mse", normal(3, 4), normal(3, 4, seed=1)), "missing scale",
    ),
    mutant(
        "the target gets the sign of the input", "mse_loss", HOMEWORK + "mse_backward",
        "-upstream * d", "upstream * d",
        lambda: _pair("mse", normal(3, 4), normal(3, 4, seed=1)), "wrong sign",
    ),
    mutant(
        "nothing is multiplied with the upstream gradient", "nll_loss", HOMEWORK + "nll_backward",
        "upstream * d", "d",
        lambda: _pair("nll", normal(4, 3), _CLASSES), "upstream gradient ignored",
    ),
    mutant(
        "the minus sign is forgotten", "nll_loss", "minivgg.ops.nll_loss:ClassTargets.pick",
        "-Gather.apply(log_probabilities", "-Gather.apply(2 * log_probabilities.detach() - log_probabilities",
        lambda: call(F.nll_loss, normal(4, 3), _CLASSES), "wrong sign",
    ),
    mutant(
        "the mean's 1 / N is forgotten", "softmax loss", HOMEWORK + "softmax_loss_backward",
        " / len(rows)", "",
        lambda: _pair("softmax loss", normal(4, 3), _CLASSES), "missing scale",
    ),
    mutant(
        "only violated classes get a gradient, the right one none", "hinge loss", HOMEWORK + "hinge_loss_backward",
        "d[rows, target] = -d.sum(axis=1)", "d[rows, target] = 0",
        lambda: _pair("hinge loss", normal(4, 3), _CLASSES), "elements left out",
    ),
    mutant(
        "the right class counts once, however many are violated", "hinge loss", HOMEWORK + "hinge_loss_backward",
        "-d.sum(axis=1)", "-1",
        lambda: _pair("hinge loss", 0.1 * normal(4, 5), _CLASSES), "missing term",
    ),
    mutant(
        "y in place of 1 - y²", "tanh", HOMEWORK + "tanh_backward",
        "numpy.tanh(x) ** 2", "numpy.tanh(x)",
        lambda: _pair("tanh", normal(2, 4)), "missing factor",
    ),
    mutant(
        "1 - y is forgotten", "sigmoid", HOMEWORK + "sigmoid_backward",
        " * (1 - y)", "",
        lambda: _pair("sigmoid", normal(2, 4)), "missing factor",
    ),
    mutant(
        "the slope below 0 is that of ReLU", "leaky relu", HOMEWORK + "leaky_relu_backward",
        "(x > 0, 1, slope)", "(x > 0, 1, 0)",
        lambda: _pair("leaky relu", normal(2, 6)), "elements left out",
    ),
    mutant(
        "the sign of the exponent", "softplus", HOMEWORK + "softplus_backward",
        "numpy.exp(-x)", "numpy.exp(x)",
        lambda: _pair("softplus", normal(2, 4)), "missing factor",
    ),
    mutant(
        "the second term of the product rule is forgotten", "swish", HOMEWORK + "Swish.backward",
        "(s + x * s * (1 - s))", "s",
        lambda: call(homework.Swish, normal(2, 4)), "missing factor",
    ),
    mutant(
        "the sum over the images is forgotten", "scale layer", HOMEWORK + "Scale.backward",
        "(grad * x).sum((0, 2, 3))", "(grad * x)[0].sum((1, 2))",
        lambda: call(homework.Layer(3), normal(2, 3, 2, 2)), "missing sum over broadcast",
    ),
    mutant(
        "the weight is not multiplied in", "scale layer", HOMEWORK + "Scale.backward",
        "grad * w.reshape(1, -1, 1, 1), ", "grad, ",
        lambda: call(homework.Layer(3), normal(2, 3, 2, 2)), "missing factor",
    ),
    mutant(
        "the weight is not transposed", "affine", HOMEWORK + "affine_backward",
        "w.T", "w",
        lambda: _pair("affine", normal(3, 4), normal(4, 4), normal(4)), "transposed",
    ),
    mutant(
        "the bias is summed over the wrong axis", "affine", HOMEWORK + "affine_backward",
        "axis=0", "axis=1",
        lambda: _pair("affine", normal(4, 3), normal(3, 4), normal(4)), "transposed",
    ),
    mutant(
        "weights that are drawn twice: rows read twice get one gradient", "embedding", HOMEWORK + "embedding_backward",
        "numpy.add.at(d, words, upstream)", "d[words] = upstream",
        lambda: _pair("embedding", normal(4, 3), numpy.array([0, 2, 2, 1, 0])), "overwritten instead of added",
    ),
    mutant(
        "the derivative of tanh is forgotten", "rnn step", HOMEWORK + "rnn_step_backward",
        "upstream * (1 - new**2)", "upstream",
        lambda: _pair("rnn step", normal(2, 3), normal(2, 4), 0.3 * normal(3, 4), 0.3 * normal(4, 4), normal(4)), "missing factor",
    ),
    mutant(
        "the gradient of the recurrent weights takes the new state for the old one", "rnn step", HOMEWORK + "rnn_step_backward",
        "h.T @ d", "new.T @ d",
        lambda: _pair("rnn step", normal(2, 3), normal(2, 4), 0.3 * normal(3, 4), 0.3 * normal(4, 4), normal(4)), "wrong saved array",
        known="tanh lies between: at the point where the old state is the new one, the gradient is another one altogether",
    ),
    mutant(
        "1 / √d is forgotten for the keys", "attention", HOMEWORK + "attention_backward",
        "dscores.T @ q * scale", "dscores.T @ q",
        lambda: _pair("attention", normal(3, 4), normal(5, 4), normal(5, 2)), "missing scale",
    ),
    mutant(
        "queries and keys are handed back in the other order", "attention", HOMEWORK + "attention_backward",
        "return dq, dk, dv", "return dk, dq, dv",
        lambda: _pair("attention", normal(4, 3), normal(4, 3, seed=1), normal(4, 2)), "gradients swapped",
    ),
]  # fmt: skip
