"""Faults by real means, and the count of those survived: ``make faults``; the tests run a few of each (test_faults.py).

kills     a training run is killed with SIGKILL at random moments and resumed: the same bits as an unbroken run
damage    bytes of good files are flipped, cut out, doubled, overwritten: the original contents, or FileError with the name
full      a disk (tmpfs) that is full at a random moment: the old file stays, and the error names it
growth    steps of training after which no memory is held that was not before
bits      the same bits for every number of threads and every hash seed
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image

import minivgg
from minivgg import nn
from minivgg.data import DataLoader, Subset, digits, load_image
from minivgg.data.transforms import RandomAffine
from minivgg.errors import FileError
from minivgg.nn import functional as F
from minivgg.optim import SGD
from minivgg.optim.lr_scheduler import CosineAnnealingLR
from minivgg.training import fit, read_metrics
from minivgg.training.files import read_arrays, write_arrays

EPOCHS = 12
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where files are written: a killed process is the same there, and waiting for a disk is not what is tested."""

CLOCK = ("seconds", "train_seconds", "images_per_second", "remaining")


def parts():
    """A run with all randomness there is: order, augmentation, dropout; a thread that prepares batches; 60 steps."""
    minivgg.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(27, 10))
    optimizer = SGD(model.parameters(), lr=0.02, momentum=0.9)
    few = Subset(digits(transform=RandomAffine(10, (0.1, 0.1))), range(0, 1437, 20))
    loader = DataLoader(few, 16, shuffle=True, prefetch=2)
    return {"model": model, "train_loader": loader, "optimizer": optimizer, "scheduler": CosineAnnealingLR(optimizer, T_max=EPOCHS), "epochs": EPOCHS}


def train(place, **options):
    """The metrics without the clock, and all bits of the model."""
    ingredients = parts()
    fit(**ingredients, metrics_path=place.with_suffix(".jsonl"), checkpoint_path=place.with_suffix(".safetensors"), checkpoint_every=2, resume=True, **options)
    rows = [{name: value for name, value in row.items() if name not in CLOCK} for row in read_metrics(place.with_suffix(".jsonl"))]
    return rows, {name: tensor.numpy().tobytes() for name, tensor in ingredients["model"].state_dict().items()}


def child(*arguments, **environment):
    source = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import faults; faults.{arguments[0]}(*sys.argv[1:])"
    environment = {**os.environ, "MINIVGG_NUM_THREADS": "1", **environment}
    return subprocess.Popen([sys.executable, "-c", source, *map(str, arguments[1:])], stdout=subprocess.PIPE, text=True, env=environment)


def train_and_tell(place):
    train(Path(place), on_step=lambda step: print(step.step, flush=True))


def kills(count, rng):
    """Training processes killed and resumed; AssertionError if the result is not that of an unbroken run."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        whole, run = Path(folder) / "whole", Path(folder) / "run"
        expected = train(whole)
        done = 0
        while done < count:
            with child("train_and_tell", run) as process:
                if not process.stdout.readline():  # killed after its last step was saved: begin the run anew
                    assert process.wait() == 0
                    assert train(run) == expected
                    for file in run.parent.glob("run*"):
                        file.unlink()
                    continue
                time.sleep(rng.uniform(0, 0.1))
                process.kill()
                done += 1
        assert train(run) == expected
        assert sorted(file.name for file in Path(folder).iterdir()) == ["run.jsonl", "run.safetensors", "whole.jsonl", "whole.safetensors"]
    return done


def damaged(contents, rng):
    """The bytes of a file after one accident."""
    contents = bytearray(contents)
    begin = int(rng.integers(len(contents)))
    end = min(len(contents), begin + int(rng.integers(1, 40)))
    match rng.integers(5):
        case 0:
            contents[begin] ^= 1 << int(rng.integers(8))
        case 1:
            del contents[begin:]
        case 2:
            del contents[begin:end]
        case 3:
            contents[begin:begin] = contents[begin:end]
        case 4:
            contents[begin:end] = rng.bytes(end - begin)
    return bytes(contents)


def good_file(path):
    rng = numpy.random.default_rng(0)
    if path.suffix in (".safetensors", ".npz"):
        arrays = {"a": rng.random((5, 7)), "b.c": rng.integers(0, 9, 30), "flag": numpy.array([True, False]), "none": numpy.zeros((0, 3), "float32")}
        write_arrays(path, arrays, {"key": "text"} if path.suffix == ".safetensors" else {})
    else:
        Image.fromarray(rng.integers(0, 256, (24, 20, 3), "uint8")).save(path)


def contents_of(path):
    if path.suffix in (".safetensors", ".npz"):
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in read_arrays(path)[0].items()}
    return numpy.asarray(load_image(path)).tobytes()


def damage(suffix, count, rng):
    """(files damaged, those refused). JPEG has no sum over its contents: there, another picture is no fault."""
    refused = 0
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        path = Path(folder) / f"a{suffix}"
        good_file(path)
        good, expected = path.read_bytes(), contents_of(path)
        for _ in range(count):
            bad = damaged(good, rng)
            path.write_bytes(bad)
            try:
                found = contents_of(path)
            except FileError as error:
                assert str(path) in str(error), error  # noqa: PT017 (both outcomes are right, if named)
                refused += 1
            else:
                assert suffix == ".jpg" or found == expected, f"{suffix}: another contents, from {bad!r}"
    return count, refused


def full(count, rng):
    """Writes to a disk with too little room; None where no tmpfs can be mounted."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
            return None
        try:
            path, filler = Path(folder) / "a.safetensors", Path(folder) / "filler"
            write_arrays(path, {"a": numpy.zeros(10_000)}, {})
            for _ in range(count):
                filler.write_bytes(bytes(int(rng.integers(900_000, 950_000))))
                try:
                    write_arrays(path, {"a": numpy.ones(10_000)}, {})
                    raise AssertionError("there was room")
                except OSError as error:
                    assert str(path) in str(error), error  # noqa: PT017 (both outcomes are right, if named)
                assert not read_arrays(path)[0]["a"].any()
                assert sorted(file.name for file in Path(folder).iterdir()) == ["a.safetensors", "filler"]
        finally:
            subprocess.run(["umount", folder], check=True)
    return count


def growth(steps):
    """Bytes by which the process grew between the first tenth of the steps and the last."""
    ingredients = parts()
    model, optimizer = ingredients["model"], ingredients["optimizer"]
    images, labels = next(iter(ingredients["train_loader"]))
    page, before = os.sysconf("SC_PAGE_SIZE"), 0
    for step in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        if step == steps // 10:
            before = int(Path("/proc/self/statm").read_text().split()[1])
    return (int(Path("/proc/self/statm").read_text().split()[1]) - before) * page


def print_bits():
    import hashlib

    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        print(hashlib.sha256(repr(train(Path(folder) / "run")).encode()).hexdigest())


def bits(settings):
    """Different results of the same training in processes with these (number of threads, hash seed)."""
    results = set()
    for threads, seed in settings:
        with child("print_bits", MINIVGG_NUM_THREADS=str(threads), PYTHONHASHSEED=str(seed)) as process:
            results.add(process.stdout.read())
    assert all(len(result) == 65 for result in results), results
    return results


def main():
    parser = argparse.ArgumentParser(description="Faults by real means, and how many were survived.")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--damage", type=int, default=5000, help="files of each format")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = int(numpy.random.SeedSequence(arguments.seed).entropy)
    print(f"seed {seed}", flush=True)
    rng = numpy.random.default_rng(seed)
    for suffix in (".safetensors", ".npz", ".png", ".jpg"):
        count, refused = damage(suffix, arguments.damage, rng)
        print(f"{count} damaged {suffix} files: {refused} refused by name, {count - refused} read, nothing else happened", flush=True)
    survived = full(200, rng)
    print("a full disk: not tried, tmpfs cannot be mounted here" if survived is None else f"{survived} writes to a full disk: the old file stayed", flush=True)
    print(f"{arguments.steps} training steps: grew by {growth(arguments.steps) / 1024:.0f} KiB after the first tenth", flush=True)
    settings = [(threads, seed) for threads in (1, 2, 3) for seed in (0, 1, 2)]
    print(f"{len(settings)} numbers of threads and hash seeds: {len(bits(settings))} different result(s)", flush=True)
    print(f"{kills(arguments.kills, rng)} kills at random moments: the bits of an unbroken run", flush=True)


if __name__ == "__main__":
    main()
