"""Optimisers: how parameters follow their gradients. One file each, with its formula."""

from minivgg.optim import lr_scheduler
from minivgg.optim.adam import Adam
from minivgg.optim.adamw import AdamW
from minivgg.optim.optimizer import Optimizer
from minivgg.optim.rmsprop import RMSprop
from minivgg.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
