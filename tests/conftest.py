"""One setting for all tests: property tests repeat themselves to the letter, PyTorch takes two threads, examples are counted."""

import functools
import gc
import signal

import devices
import emulator
import hypothesis
import torch

from minivgg.bench.rivals import rivals

hypothesis.settings.register_profile(
    "ci", derandomize=True, max_examples=40, deadline=None, database=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("ci")
torch.set_num_threads(2)
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored; some tests press Ctrl-C

examples = 0


def pytest_collection_modifyitems(items):
    """Count every example that a Hypothesis test runs."""
    handles = [item.obj.hypothesis for item in items if hasattr(getattr(item, "obj", None), "hypothesis")]
    for handle in {id(handle): handle for handle in handles}.values():
        handle.inner_test = _counted(handle.inner_test)


def pytest_collection_finish():
    """What was imported and collected stays to the end: a collector that goes through all of it each time takes half a second."""
    gc.freeze()


def _counted(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        global examples
        examples += 1
        return test(*args, **kwargs)

    return run


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"property examples: {examples}")
    for line in filter(None, (emulator.missing(), devices.missing())):
        terminalreporter.write_line(line)
    absent = [rival.name for rival in rivals().values() if rival.missing()]
    if absent:
        terminalreporter.write_line(f"rivals that are not installed here, so that only their absence was tested: {', '.join(absent)}")
