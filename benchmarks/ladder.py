"""The ladder from naive to fast: one layer of VGG-16 by one algorithm after another, as the rows of docs/convolution.md.

    python benchmarks/ladder.py                  # conv3_2, one image, all cores
    python benchmarks/ladder.py --layer conv1_2 --threads 1

Every rung is first held to the result in float64, then all take turns. GFLOP/s counts the definition's operations.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter

from minivgg.bench.machine import commit, processor
from minivgg.bench.measure import measure, prepare
from minivgg.bench.problems import vgg

RUNGS = {
    "reference": "the definition in Python: a small product of vectors for every output place and tap",
    "loops": "the same loops compiled; the innermost runs along memory, so the compiler finds vectors, but every sum is fetched and stored each time",
    "im2col": "copied into columns, the layer is one matrix product, and decades of work have gone into matrix products",
    "implicit_gemm": "the product packs its blocks straight out of the image: the columns never reach memory",
    "direct": "no columns: the sums stay in registers while the input is read where it lies",
    "winograd_f2": "2.25 times fewer multiplications, for transforms that are additions",
    "winograd_f4": "4 times fewer, for larger transforms and two bits of accuracy",
}
"""Each rung with what it does better than the one before it."""


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--layer", default="conv3_2", help="a 3x3 layer of VGG-16")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    threads = prepare(arguments.threads)
    (problem,) = [problem for problem in vgg("vgg16") if problem.answers_to(arguments.layer)]
    results = {result.algorithm: result for result in measure(problem, names=list(RUNGS), replicates=7, budget=6.0)}
    print("| rung | why it is faster than the one above | ms | GFLOP/s | error |\n|---|---|---|---|---|")
    for name, why in RUNGS.items():
        result = results[name]
        print(f"| {name} | {why} | {1e3 * result.median:,.4g} | {result.gflops:,.3g} | {result.error:.1e} |")
    print(f"\n{arguments.layer} of VGG-16, `{problem.spec}`, float32, {threads} thread{'s' * (threads > 1)}, {processor()}, commit {commit() or 'unknown'}")


if __name__ == "__main__":
    main()
