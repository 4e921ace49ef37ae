"""The training loop: fit and evaluate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy

from minivgg.autograd import Tensor, no_grad
from minivgg.backend import to_numpy
from minivgg.data import DataLoader
from minivgg.data.transfer import map_tensors
from minivgg.errors import ArgumentError
from minivgg.nn import functional as F
from minivgg.nn.module import Module
from minivgg.optim import Optimizer
from minivgg.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from minivgg.random import default_generator
from minivgg.training.checkpoint import Position, Run
from minivgg.training.divergence import DivergedError, origin, wrong_gradient
from minivgg.training.interrupt import ctrl_c_as_a_wish
from minivgg.training.metrics import MetricsFile
from minivgg.training.records import Epoch, Evaluation, History, Step

Loss = Callable[[Tensor, Tensor], Tensor]


def fit(
    model: Module, train_loader: DataLoader, *, optimizer: Optimizer, epochs: int, loss: Loss = F.cross_entropy,
    scheduler: LRScheduler | None = None, test_loader: DataLoader | None = None, metrics_path: str | Path | None = None,
    checkpoint_path: str | Path | None = None, checkpoint_every: int | None = None, resume: bool = False,
    on_step: Callable[[Step], Any] | None = None, on_epoch: Callable[[Epoch], Any] | None = None,
) -> History:  # fmt: skip
    """Train a classifier for ``epochs`` passes over ``train_loader``, which yields (images, labels), where its parameters lie.

    After each epoch, the model is evaluated on ``test_loader`` and ``scheduler.step()`` is called (ReduceLROnPlateau
    gets the loss, or the accuracy if its mode is "max": of the held-out data, if there is any). ``loss(scores, labels)`` is
    the mean over a batch.

    ``metrics_path``      a JSON Lines file: a row a Step, a row an Epoch
    ``checkpoint_path``   a safetensors file, written after each epoch, and after every ``checkpoint_every`` steps
    ``resume``            go on from ``checkpoint_path`` if it exists. The run gives the same bits as one that was never
                          interrupted, and the metrics file neither lacks nor repeats a row
    ``on_step``, ``on_epoch``  called with each record

    Ctrl-C ends the run after the current step: a checkpoint is written, and ``interrupted`` is set in what is returned.
    Raises DivergedError when the loss or a gradient is not finite, with the operation and the layer where that began; weights
    and checkpoint are then those from before the step. FileError for a checkpoint that is damaged or of another run.

    >>> import minivgg
    >>> from minivgg import nn
    >>> from minivgg.data import TensorDataset
    >>> points = TensorDataset(minivgg.tensor([[0.0], [1.0], [2.0], [3.0]]), minivgg.tensor([0, 0, 1, 1]))
    >>> model = nn.Linear(1, 2)
    >>> history = fit(model, DataLoader(points, 4), optimizer=minivgg.optim.SGD(model.parameters(), lr=1.0), epochs=200)
    >>> history.steps, history.epochs[-1].train_accuracy
    (200, 1.0)
    """
    if not len(train_loader):
        raise ArgumentError("fit", "there is no batch to train on", images=len(train_loader.dataset), batch_size=train_loader.batch_size)
    run = Run(model, optimizer, scheduler, train_loader)
    now = Position()
    if resume and checkpoint_path is not None and Path(checkpoint_path).exists():
        now = run.restore(checkpoint_path)
    steps, began_with, began_at = epochs * len(train_loader), now.step, time.perf_counter()

    def save() -> None:
        if checkpoint_path is not None:
            now.metrics_bytes = metrics.position()
            run.save(checkpoint_path, now)

    def history(interrupted: bool) -> History:
        return History([Epoch(**row) for row in now.epochs], now.step, now.seconds, interrupted)

    with MetricsFile(metrics_path, keep=now.metrics_bytes) as metrics, ctrl_c_as_a_wish() as asked_to_stop:
        while now.epoch < epochs:
            if now.seed is None:
                now.seed = train_loader.draw_seed()
            model.train()
            clock = time.perf_counter()
            for images, labels in _on_device_of(model, train_loader.batches(now.seed, start=now.batch)):
                random_state = default_generator.get_state()
                optimizer.zero_grad()  # before the graph grows: the last gradients are not needed any more
                scores = model(images)
                value = loss(scores, labels)
                batch_loss = value.item()
                fault = None if math.isfinite(batch_loss) else f"the loss is {batch_loss}"
                if fault is None:
                    value.backward()
                    fault = wrong_gradient(optimizer, model)
                if fault is not None:
                    began = origin(model, images, labels, loss, random_state)
                    lr = optimizer.param_groups[0]["lr"]
                    raise DivergedError("fit", f"{fault}; {began}", epoch=now.epoch + 1, step=now.step + 1, lr=lr)
                optimizer.step()

                correct, count = count_correct(scores, labels), len(labels)
                seconds, clock = time.perf_counter() - clock, time.perf_counter()
                now.count(batch_loss, correct, count, seconds)
                pace = (clock - began_at) / (now.step - began_with)
                step = Step(
                    epoch=now.epoch + 1, step=now.step, steps=steps, loss=batch_loss, accuracy=correct / count,
                    mean_loss=now.loss_sum / now.images, mean_accuracy=now.correct / now.images, lr=optimizer.param_groups[0]["lr"],
                    images_per_second=now.images / now.epoch_seconds, seconds=now.seconds, remaining=pace * (steps - now.step),
                )  # fmt: skip
                metrics.write(step.row())
                if on_step is not None:
                    on_step(step)
                if asked_to_stop():
                    save()
                    return history(interrupted=True)
                if checkpoint_every and now.step % checkpoint_every == 0:
                    save()

            test = evaluate(model, test_loader, loss) if test_loader is not None else None
            now.seconds += test.seconds if test else 0.0
            epoch = Epoch(
                epoch=now.epoch + 1, step=now.step, train_loss=now.loss_sum / now.images, train_accuracy=now.correct / now.images,
                lr=optimizer.param_groups[0]["lr"], images_per_second=now.images / now.epoch_seconds, train_seconds=now.epoch_seconds,
                seconds=now.seconds, test_loss=test.loss if test else None, test_accuracy=test.accuracy if test else None,
            )  # fmt: skip
            metrics.write(epoch.row())
            now.epochs.append(asdict(epoch))
            now.next_epoch()
            if scheduler is not None:
                advance(scheduler, epoch)
            save()
            if on_epoch is not None:
                on_epoch(epoch)
            if asked_to_stop():
                return history(interrupted=now.epoch < epochs)
    return history(interrupted=False)


def evaluate(model: Module, loader: DataLoader, loss: Loss = F.cross_entropy) -> Evaluation:
    """Loss and accuracy of ``model`` in evaluation mode, without recording; the model's mode is put back afterwards.

    No random state is touched: what is random in the loader is the same in every evaluation.
    """
    if not len(loader):
        raise ArgumentError("evaluate", "there is no batch to evaluate on", images=len(loader.dataset), batch_size=loader.batch_size)
    modes = [(module, module.training) for module in model.modules()]
    began = time.perf_counter()
    total, scores, labels = 0.0, [], []
    model.eval()
    try:
        with no_grad():
            for images, targets in _on_device_of(model, loader.batches(seed=0)):
                output = model(images)
                total += loss(output, targets).item() * len(targets)
                scores.append(to_numpy(output.array))
                labels.append(to_numpy(targets.array))
    finally:
        for module, mode in modes:
            module.training = mode
    all_scores, all_labels = numpy.concatenate(scores), numpy.concatenate(labels)
    accuracy = float((all_scores.argmax(1) == _classes(all_labels)).mean())
    return Evaluation(total / len(all_labels), accuracy, time.perf_counter() - began, all_scores, all_labels)


def _on_device_of(model: Module, batches: Iterator[Any]) -> Iterator[Any]:
    """Batches where the model's parameters lie; those of ``DataLoader(..., device=)`` do so already."""
    place = next((parameter.device for parameter in model.parameters()), None)
    return (map_tensors(batch, lambda tensor: tensor.to(device=place)) for batch in batches)


def count_correct(scores: Tensor, labels: Tensor) -> int:
    """How many rows of ``scores`` are highest at their label; labels may be class indices or probabilities."""
    return int((scores.array.argmax(1) == _classes(labels.array)).sum())


def _classes(labels: Any) -> Any:
    return labels if labels.ndim == 1 else labels.argmax(1)


def advance(scheduler: LRScheduler, epoch: Epoch) -> None:
    """Step the schedule at the end of an epoch."""
    if isinstance(scheduler, ReduceLROnPlateau):
        loss = epoch.train_loss if epoch.test_loss is None else epoch.test_loss
        accuracy = epoch.train_accuracy if epoch.test_accuracy is None else epoch.test_accuracy
        scheduler.step(accuracy if scheduler.mode == "max" else loss)
    else:
        scheduler.step()
