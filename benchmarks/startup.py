"""What compiling costs a user: VGG-16's first answer with an empty cache, and from the second process on.

    python benchmarks/startup.py [processes]

Each process imports minivgg, makes weights (not counted) and computes one 224x224 image. The first one finds an empty
folder of compiled kernels, the others (5, if not told) what it left there. Numba imports SciPy where that is installed, which
takes as long as importing Numba; so there is a line without it. Memory that no process has touched before is slow in virtual machines: look at the best.
"""

import os
import statistics
import subprocess
import sys
import tempfile

ONE = """
import sys, time
if {hidden}: sys.modules["scipy"] = None
start = time.perf_counter()
import minivgg
imported = time.perf_counter()
from minivgg.models import vgg16
minivgg.manual_seed(0)
model, image = vgg16().eval(), minivgg.randn(1, 3, 224, 224)
ready = time.perf_counter()
with minivgg.no_grad():
    model(image)
first = time.perf_counter()
with minivgg.no_grad():
    model(image)
print(imported - start, first - ready, time.perf_counter() - first)
"""


def run(folder, hidden=False):
    """Seconds to import, for the first image and for the second."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
    found = subprocess.run([sys.executable, "-c", ONE.format(hidden=hidden)], check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return [float(text) for text in found.stdout.split()]


def main():
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        imported, first, again = run(folder)
        print(f"empty cache: import {imported:.2f} s, first image {first:.2f} s, second {again:.2f} s")
        for hidden in (False, True):
            runs = [run(folder, hidden) for _ in range(processes)]
            best, median = (min(map(sum, (r[:2] for r in runs))), statistics.median(map(sum, (r[:2] for r in runs))))
            print(f"from the second process on{', without SciPy' if hidden else ''}: import to result {median:.2f} s (best {best:.2f} s)")


if __name__ == "__main__":
    main()
