"""Layers: modules with parameters, made of the functions in ``nn.functional``."""

from minivgg.nn import functional
