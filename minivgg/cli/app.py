"""The command itself: the verbs, and what becomes of an error or of Ctrl-C."""

import os
import sys
import traceback
from typing import Annotated, Any

import typer

from minivgg.cli import autotune, bench, demo, doctor, evaluate, explain, gradcheck, predict, summary, train, warmup
from minivgg.cli.console import INTERRUPTED
from minivgg.errors import OperationError
from minivgg.version import __version__


class Verbs(typer.core.TyperGroup):
    """The verbs; an error that a user can mend becomes one line on standard error and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:  # the reader of our output has seen enough, as head has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at the end
            raise typer.Exit(0) from None
        except (OperationError, OSError, ImportError) as error:
            if ctx.params["traceback"]:
                traceback.print_exc()
            else:
                print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="minivgg",
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(asked: bool) -> None:
    if asked:
        print(f"minivgg {__version__}")
        raise typer.Exit


@app.callback()
def minivgg(
    traceback: Annotated[bool, typer.Option("--traceback", envvar="MINIVGG_TRACEBACK", help="Show where an error came from, not only what it says.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Convolutional networks from scratch: read them, check their gradients, compare their algorithms.

    Begin with

    - `minivgg demo`  everything in three minutes, and a report to look at

    - `minivgg summary vgg16`  what a network consists of and what it costs

    - `minivgg explain "n1 c64 h224 w224 k64 r3 p1"`  which algorithm computes a layer, and why
    """


for verb in (demo, summary, train, evaluate, predict, gradcheck, bench, explain, autotune, doctor, warmup):
    name = verb.__name__.rpartition(".")[2]
    app.command("eval" if name == "evaluate" else name)(getattr(verb, name))
