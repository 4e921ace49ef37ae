"""Measure every problem file in every direction; JSON and charts go to ``results/``. The method stands in README.md."""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

HERE = Path(__file__).parent
VGG = [HERE / "problems" / f"vgg-{letter}.txt" for letter in "abcde"]

parser = ArgumentParser(description=__doc__, epilog="Other options, such as --rivals, --algorithms, --replicates and --threads, go to `minivgg bench`.")
parser.add_argument("--problems", nargs="+", type=Path, default=VGG, help="files of problem strings; those of VGG A to E if none is given")
parser.add_argument("--direction", nargs="+", choices=["output", "input", "weight"], default=["output", "input", "weight"])
parser.add_argument("--results", type=Path, default=HERE / "results", help="where to write")
arguments, options = parser.parse_known_args()

arguments.results.mkdir(parents=True, exist_ok=True)
failed = 0
for file in arguments.problems:
    for direction in arguments.direction:
        target = arguments.results / f"{file.stem}-{direction}"
        command = [sys.executable, "-m", "minivgg.cli", "bench", "--problems", file, "--direction", direction, *options]
        print(f"\n{file.stem}, {direction}", flush=True)
        failed += subprocess.run([*command, "--json", f"{target}.json", "--out", f"{target}.png"]).returncode != 0
sys.exit(failed > 0)
