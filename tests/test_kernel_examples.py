"""The examples in the kernels' docstrings, run under the names that the package imports the kernels by.

pytest would import kernels/ under names of its own, and every algorithm would register a second time.
"""

import doctest
import importlib
import pkgutil

import pytest

import minivgg.kernels

NAMES = [module.name for module in pkgutil.walk_packages(minivgg.kernels.__path__, "minivgg.kernels.")]


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_there_are_kernels():
    assert {"minivgg.kernels.conv2d.im2col", "minivgg.kernels.conv2d.reference"} <= set(NAMES)
