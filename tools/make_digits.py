"""Make minivgg/data/digits.npz from the UCI file optdigits.tes, or from the copy of it that scikit-learn ships.

    python tools/make_digits.py                    # needs scikit-learn
    python tools/make_digits.py optdigits.tes      # the file as UCI distributes it, or .gz of it

The file has a line an image: 64 numbers from 0 to 16, row by row, then the digit. Written are ``images`` (1797, 8, 8)
and ``labels`` (1797,), both uint8, in the order of the source, compressed: 45 kB.
"""

import argparse
import gzip
from pathlib import Path

import numpy

TARGET = Path(__file__).parents[1] / "minivgg" / "data" / "digits.npz"
PER_CLASS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def scikit_learn_copy() -> Path:
    import sklearn.datasets

    return Path(sklearn.datasets.__file__).parent / "data" / "digits.csv.gz"


def read(source: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Images and labels, refused unless they are the set that was published."""
    with gzip.open(source, "rt") if source.suffix == ".gz" else source.open() as lines:
        table = numpy.loadtxt(lines, delimiter=",")
    images, labels = table[:, :64].reshape(-1, 8, 8), table[:, 64]
    if numpy.bincount(labels.astype(int)).tolist() != PER_CLASS or images.min() != 0 or images.max() != 16:
        raise SystemExit(f"{source} is not the test part of the optical digits: its digits or its values do not match the published ones")
    return images.astype("uint8"), labels.astype("uint8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?", help="optdigits.tes (default: scikit-learn's copy)")
    source = parser.parse_args().source or scikit_learn_copy()
    images, labels = read(source)
    numpy.savez_compressed(TARGET, images=images, labels=labels)
    print(f"{TARGET.name}: {len(labels)} images, {TARGET.stat().st_size} bytes, from {source.name}")
