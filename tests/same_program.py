"""One program for two libraries: a function that takes minivgg or torch, and must return, or refuse, the same in both."""

import warnings

import numpy
import pytest
import torch

import minivgg


class Programs:
    """A list of programs, each registered by a decorator, and the tests over them."""

    def __init__(self):
        self.results, self.refusals = [], []

    def returns(self, program):
        """The program returns numbers, flags, tensors, None, or lists of them: the same from both libraries."""
        self.results.append(pytest.param(program, id=program.__name__))
        return program

    def refused(self, error, message):
        """The program is refused by both libraries, by minivgg with this class and text."""

        def register(program):
            self.refusals.append(pytest.param(program, error, message, id=program.__name__))
            return program

        return register


def check_result(program):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True|The .grad attribute of a Tensor that is not a leaf")
        expected = program(torch)
    assert_same(_plain(program(minivgg)), _plain(expected))


def check_refusal(program, error, message):
    with pytest.raises(RuntimeError):
        program(torch)
    with pytest.raises(error) as caught:
        program(minivgg)
    assert str(caught.value) == message


def leaf(library, *values):
    """A differentiable float64 vector, or a single number without dimensions."""
    return library.tensor(values if len(values) > 1 else values[0], dtype=library.float64, requires_grad=True)


def _plain(value):
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.detach().numpy() if hasattr(value, "detach") else value


def assert_same(got, expected, where="result"):
    if isinstance(expected, list):
        assert len(got) == len(expected), where
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert_same(a, b, f"{where}[{i}]")
    elif isinstance(expected, numpy.ndarray):
        assert got.dtype == expected.dtype, where
        numpy.testing.assert_allclose(got, expected, rtol=1e-13, atol=0, err_msg=where)
    else:
        assert got == expected, where
