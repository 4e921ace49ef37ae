"""``python -m minivgg.testing.mutants``: the table of planted mistakes; ``--correct 10000``: correct cases; ``--needles 20``: one wrong element."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from minivgg.testing.mutants import correct, needle
from minivgg.testing.mutants.judge import HEAD, MUTANTS, Verdict, judge, row, summary

PAGE = Path("docs/gradcheck.md")
BEGIN, END = "<!-- {name}: begin, written by python -m minivgg.testing.mutants {options}--write -->", "<!-- {name}: end -->"


def main(arguments: list[str] | None = None) -> int:
    """Print what was asked for; 1 if a mistake was missed or a correct case raised an alarm."""
    parser = argparse.ArgumentParser(prog="python -m minivgg.testing.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="only mutants of operations whose name contains this")
    parser.add_argument("--report", action="store_true", help="print the whole report of each mutant")
    parser.add_argument("--correct", type=int, metavar="COUNT", help="check so many correct random cases instead")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the correct cases")
    parser.add_argument("--needles", type=int, metavar="COUNT", help="plant one wrong element in a large gradient, so many times, instead")
    parser.add_argument("--write", action="store_true", help=f"write the result into {PAGE}, between its markers")
    options = parser.parse_args(arguments)
    if options.correct:
        return _correct(options.correct, options.seed, options.write)
    if options.needles:
        return _needles(options.needles, options.write)
    verdicts = []
    for number, mutant in enumerate((one for one in MUTANTS if options.only in one.operation), 1):
        verdicts.append(judge(mutant))
        _print(number, verdicts[-1], options.report)
    print(f"\n{summary(verdicts)}")
    if options.write and not options.only:
        _write("mutants", "", f"{summary(verdicts)}\n\n{table(verdicts)}")
    return 0 if all(verdict.caught for verdict in verdicts) else 1


def table(verdicts: list[Verdict]) -> str:
    """The table in Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), *(row(number, verdict) for number, verdict in enumerate(verdicts, 1))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _print(number: int, verdict: Verdict, report: bool) -> None:
    _, operation, name, _, _, found, slow, fast = row(number, verdict)
    print(f"{number:3}  {operation:26}  {name[:62]:62}  {found:34}  {slow:16}  {fast}", flush=True)
    if report:
        print(verdict.report)


def _correct(count: int, seed: int, write: bool) -> int:
    start = time.process_time()

    def progress(done: int) -> None:
        if done % 500 == 0:
            print(f"{done:,} cases, {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)

    found = correct.count(correct.cases(count, seed), progress)
    for alarm in found.alarms:
        print(f"ALARM {alarm}\n")
    print(found)
    if write:
        _write("correct", f"--correct {count} ", str(found))
    return 1 if found.alarms else 0


def _needles(count: int, write: bool) -> int:
    planted, ours, theirs = needle.misses(count)
    beside = "" if theirs is None else f"; PyTorch's fast mode misses {theirs} of {planted}"
    text = f'One wrong element of {needle.elements():,}, planted {planted} times: mode "projected" misses {ours} of {planted}{beside}.'
    print(text)
    if write:
        _write("needles", f"--needles {count} ", text)
    return 1 if ours else 0


def _write(name: str, options: str, text: str) -> None:
    begin, end = BEGIN.format(name=name, options=options), END.format(name=name)
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(f"<!-- {name}: begin")
    tail = rest.partition(end)[2]
    PAGE.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
