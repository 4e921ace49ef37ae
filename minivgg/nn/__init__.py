"""Layers: modules with parameters, made of the functions in ``nn.functional``."""

from minivgg.nn import functional, grad, init, utils
from minivgg.nn.activation import Dropout, LogSoftmax, ReLU, Softmax
from minivgg.nn.containers import ModuleList, Sequential
from minivgg.nn.convolution import Conv2d
from minivgg.nn.linear import Identity, Linear
from minivgg.nn.loss import CrossEntropyLoss, MSELoss, NLLLoss
from minivgg.nn.module import Module
from minivgg.nn.normalization import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from minivgg.nn.parameter import Parameter
from minivgg.nn.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d
from minivgg.nn.shape import Flatten, ZeroPad2d

__all__ = [
    "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "AvgPool2d", "BatchNorm1d", "BatchNorm2d", "Conv2d", "CrossEntropyLoss",
    "Dropout", "Flatten", "Identity", "Linear", "LocalResponseNorm", "LogSoftmax", "MSELoss", "MaxPool2d", "Module",
    "ModuleList", "NLLLoss", "Parameter", "ReLU", "Sequential", "Softmax", "ZeroPad2d", "functional", "grad", "init", "utils",
]  # fmt: skip
