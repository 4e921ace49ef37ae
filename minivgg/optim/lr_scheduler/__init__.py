"""Schedules: how the learning rate changes from epoch to epoch."""

from minivgg.optim.lr_scheduler.base import LRScheduler
from minivgg.optim.lr_scheduler.cosine import CosineAnnealingLR
from minivgg.optim.lr_scheduler.linear import LinearLR
from minivgg.optim.lr_scheduler.plateau import ReduceLROnPlateau
from minivgg.optim.lr_scheduler.sequential import SequentialLR
from minivgg.optim.lr_scheduler.steps import MultiStepLR, StepLR

__all__ = ["CosineAnnealingLR", "LRScheduler", "LinearLR", "MultiStepLR", "ReduceLROnPlateau", "SequentialLR", "StepLR"]
