"""Machine code without a GPU: every CUDA program, in each of its variants, compiled by NVRTC for four architectures.

`python tests/cubin.py` prints what test_cubin.py holds the kernels to; after a change that is meant,
`make cubin` keeps it in tests/cubin.txt. No driver is needed, only the packages cuda-core and nvidia-cuda-nvrtc.
"""

import functools
import hashlib
import importlib.metadata
import io
import json
import os
import re
import tempfile
from pathlib import Path

from minivgg.kernels.common.cuda import OPTIONS, PROGRAMS, written
from minivgg.registry import operations_with_algorithms

ARCHITECTURES = (75, 80, 90, 100)
TABLE = Path(__file__).with_name("cubin.txt")

FUNCTION = re.compile(r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers", re.DOTALL)


def programs():
    """Every program, in the order of their names."""
    operations_with_algorithms("cuda")
    return sorted(PROGRAMS, key=lambda program: program.name)


def compiled(program, constants, architecture):
    """{kernel: (registers a thread, spilled bytes)}. Raises NVRTC's error, with its log, where the program is refused."""
    return {name: tuple(numbers) for name, numbers in json.loads(_log(program.text(constants), architecture))}


@functools.cache
def _log(text, architecture):
    """Kept for other processes in a file of the temporary folder, named by what it comes from."""
    folder = Path(tempfile.gettempdir()) / f"minivgg-cubin-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = [text, str(architecture), *OPTIONS, importlib.metadata.version("nvidia-cuda-nvrtc"), str(FUNCTION)]
    path = folder / hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]
    if not path.exists():
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(_compile(text, architecture)))
        beside.replace(path)
    return path.read_text()


def _compile(text, architecture):
    from cuda.core import Program, ProgramOptions

    log = io.StringIO()
    options = ProgramOptions(arch=f"sm_{architecture}", std="c++17", ptxas_options=["-v"])
    code = Program(text, "c++", options).compile("cubin", logs=log)
    assert len(code.code) > 0
    functions = [(name, (int(registers), int(stores) + int(loads))) for name, stores, loads, registers in FUNCTION.findall(log.getvalue())]
    assert functions, f"the compiler names no kernel:\n{log.getvalue()}"
    return functions


def rows():
    """One line for each kernel in each variant: its registers on each architecture, and the bytes it spills if there are any."""
    for program in programs():
        for constants in program.variants:
            found = {architecture: compiled(program, constants, architecture) for architecture in ARCHITECTURES if architecture >= program.architecture}
            for kernel in found[max(found)]:
                numbers = [f"sm_{a} {by_name[kernel][0]}" + f" spills {by_name[kernel][1]}" * (by_name[kernel][1] > 0) for a, by_name in found.items()]
                yield f"{program.name} {kernel}, {written(constants)}: {', '.join(numbers)}"


if __name__ == "__main__":
    print("registers a thread\n")
    for row in rows():
        print(row)
