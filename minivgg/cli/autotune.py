"""``minivgg autotune``: measure which algorithm is the fastest here, and keep it for every later process."""

from __future__ import annotations

from typing import Annotated

import typer


def autotune(
    what: Annotated[str, typer.Argument(help="A network (those of summary), a layer such as vgg-e:conv3_2, or a problem string.", show_default=False)] = "",
    input: Annotated[str, typer.Option(metavar="C,H,W", help="Size of one image, of a network.", show_default="3,224,224; 1,8,8 for minivgg")] = "",
    batch: Annotated[int | None, typer.Option(min=1, help="Images at once.", show_default="1, or what the problem string says")] = None,
    backward: Annotated[bool, typer.Option(help="The gradients, too.")] = True,
    threads: Annotated[int | None, typer.Option(min=1, help="Measure with so many threads, and for so many.", show_default="MINIVGG_NUM_THREADS")] = None,
    replicates: Annotated[int, typer.Option(min=1, help="Turns that each algorithm has.")] = 5,
    clear: Annotated[bool, typer.Option("--clear", help="Forget everything that was measured.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure every algorithm on the convolutions of a network, and let later processes take the fastest.

    What is kept counts for this machine, batch and number of threads; explain shows it. Another algorithm than the
    policy's can change the last bits of a result. MINIVGG_AUTOTUNE=off ignores what is kept.

        minivgg autotune vgg16 --batch 8
        minivgg autotune minivgg --batch 64 --threads 1
        minivgg autotune "n1 c64 h56 w56 k64 r3 p1" --no-backward
        minivgg autotune --clear
    """
    from minivgg import tuning
    from minivgg.bench.autotune import autotune as tune
    from minivgg.cli.console import print_json
    from minivgg.cli.networks import build, builders, read_size
    from minivgg.cli.progress import Status
    from minivgg.creation import randn
    from minivgg.errors import ArgumentError
    from minivgg.threads import set_num_threads

    if clear == bool(what):
        raise ArgumentError("autotune", "takes either a network, a layer or a problem string, or --clear")
    if clear:
        tuning.forget()
        print(f"{tuning.path()} is gone")
        return
    if threads:
        set_num_threads(threads)
    with Status() as status:
        if " " in what or ":" in what:
            from minivgg.bench.problems import find

            if input:
                raise ArgumentError("autotune", f"--input is for networks, got {what!r}")
            report = tune(str(find(what, batch)), backward=backward, replicates=replicates, progress=status)
        else:
            if what.lower() not in builders():
                raise ArgumentError("autotune", f"there is no network {what!r}; there are {', '.join(builders())}")
            status(f"building {what}")
            example = randn(batch or 1, *read_size(input, what))
            report = tune(build(what), example, backward=backward, replicates=replicates, progress=status)
    if json:
        print_json(report.as_dict())
    else:
        print(report)
