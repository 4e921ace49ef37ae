"""Progress on standard error: a live line on a terminal; elsewhere a plain line now and then, for a log."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from minivgg.cli.console import console, duration

if TYPE_CHECKING:
    from minivgg.training import Epoch, Step


class Status:
    """What is going on right now: a spinner with a sentence on a terminal, silence elsewhere.

    ``with Status() as status: status("reading")``
    """

    def __init__(self) -> None:
        made = console(stderr=True)
        self._live: Any = made.status("") if made.is_terminal else None

    def __call__(self, text: str) -> None:
        if self._live is not None:
            self._live.update(text)

    def __enter__(self) -> Status:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()


class TrainingProgress:
    """A bar with loss, accuracy, images a second and the time left; elsewhere a line an epoch. ``step`` and ``epoch`` go to ``fit``."""

    def __init__(self, epochs: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._epochs, self._held_out = epochs, ""
        self._console = console(stderr=True)
        self._bar: Any = None
        if self._console.is_terminal:
            words = (
                "epoch {task.fields[epoch]}",
                "loss {task.fields[loss]}",
                "right {task.fields[right]}",
                "{task.fields[speed]} images/s",
                "{task.fields[left]} left",
            )
            first, *others = (TextColumn(text) for text in words)
            self._bar = Progress(first, BarColumn(bar_width=None), *others, console=self._console, expand=True)

    def step(self, step: Step) -> None:
        if self._bar is not None:
            right = f"{step.mean_accuracy:.1%}{self._held_out}"
            shown = {"epoch": f"{step.epoch}/{self._epochs}", "loss": f"{step.mean_loss:.3f}", "right": right}
            speed = {"speed": f"{step.images_per_second:,.0f}", "left": duration(step.remaining) if step.remaining >= 60 else f"{step.remaining:.0f} s"}
            if not self._bar.tasks:
                self._bar.add_task("", total=step.steps, **shown, **speed)
            self._bar.update(self._bar.tasks[0].id, completed=step.step, **shown, **speed)

    def epoch(self, epoch: Epoch) -> None:
        held_out = f"{epoch.test_accuracy:.1%}" if epoch.test_accuracy is not None else "-"
        self._held_out = f", held out {held_out}"
        if self._bar is None:
            self._console.print(
                f"epoch {epoch.epoch:>2}/{self._epochs}  loss {epoch.train_loss:.4f}  right {epoch.train_accuracy:.1%}  "
                f"held out {held_out}  {epoch.images_per_second:,.0f} images/s  {duration(epoch.seconds)}"
            )

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
