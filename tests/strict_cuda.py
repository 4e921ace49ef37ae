"""``cupy.cuda`` of the stand-in for CuPy: devices, streams, pinned memory, pools and graphs, as far as minivgg uses them.

One thread computes at once, so streams and events only note what was asked of them, and the tests look at the notes. While a
stream captures, nothing runs: each call is noted, launching the graph makes the calls, and what would wait for the device, or
copy from memory that the graph does not own, is refused as CUDA refuses it.
"""

import time
import types
import weakref

import numpy

MEMORY = 1 << 30


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class Cuda(types.SimpleNamespace):
    """State of the one device; a new one for each test."""

    def __init__(self):
        state = self
        self.capture = None  # what the capturing stream has been told
        self.shared = []  # arrays made meanwhile out of a pool of the graph's own, which gives memory to one after the other: no launch finds them as they were
        self.count = 1
        self.log = []  # (what, stream)
        self.used = 0  # bytes of living arrays

        class Device:
            compute_capability = "90"

            def __init__(self, number=0):
                self.id = number

            def __enter__(self):
                return self

            def __exit__(self, *exception):
                pass

            @property
            def mem_info(self):
                return MEMORY - state.used, MEMORY

            def synchronize(self):
                state.waits("synchronize")

        class Event:
            def __init__(self, stream):
                self.stream, self.done, self.time = stream, False, time.perf_counter()

            def synchronize(self):
                state.waits("event")
                self.done = True

        class Stream:
            def __init__(self, null=False, non_blocking=False):
                self.name = "default" if null else f"stream {sum(what == 'create' for what, _ in state.log)}"
                state.log.append(("create", self.name))

            def __enter__(self):
                state.streams.append(self)
                return self

            def __exit__(self, *exception):
                state.streams.pop()

            def record(self):
                state.log.append(("record", self.name))
                return Event(self)

            def wait_event(self, event):
                state.log.append((f"wait for {event.stream.name}", self.name))

            def synchronize(self):
                state.waits("synchronize")

            def is_capturing(self):
                return state.capture is not None

            def begin_capture(self, mode=None):
                assert state.capture is None
                state.capture, state.shared = [], []

            def end_capture(self):
                calls, state.capture = state.capture, None
                return Graph(calls, state.shared)

        class Graph:
            def __init__(self, calls, memory):
                self.calls, self.memory = calls, memory

            def launch(self, stream=None):
                state.log.append(("launch", (stream or state.streams[-1]).name))
                for array in self.memory:
                    spoil(array)
                for call in self.calls:
                    call()

        class PinnedMemoryPointer(bytearray):
            """A buffer, as CuPy's."""

        class MemoryPool:
            def __init__(self):
                self.own, self.limit = 0, MEMORY

            def malloc(self, size):
                self.own += size
                return size

            def used_bytes(self):
                return state.used

            def total_bytes(self):
                return self.own

            def free_bytes(self):
                return 0

            def set_limit(self, size=None, fraction=None):
                self.limit = size or int((fraction or 1) * MEMORY)

            def free_all_blocks(self):
                state.log.append(("free_all_blocks", None))

        class UsingAllocator:
            def __init__(self, allocator):
                self.allocator = allocator

            def __enter__(self):
                state.allocators.append(self.allocator)

            def __exit__(self, *exception):
                state.allocators.pop()

        self.Device, self.Stream, self.Graph, self.MemoryPool, self.PinnedMemoryPointer = Device, Stream, Graph, MemoryPool, PinnedMemoryPointer
        self.pool, self.pinned_pool = MemoryPool(), MemoryPool()
        self.streams, self.allocators = [Stream(null=True)], [self.pool.malloc]
        self.using_allocator = UsingAllocator
        self.memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
        self.runtime = types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError, getDeviceCount=lambda: self.count, driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 13000,
            getDeviceProperties=lambda number: {"name": b"Stand-in", "l2CacheSize": 4096, "multiProcessorCount": 2},
        )  # fmt: skip

    def get_current_stream(self):
        return self.streams[-1]

    def get_elapsed_time(self, start, end):
        assert end.done, "the device has not come to the event yet"
        return 1e3 * (end.time - start.time)

    def alloc_pinned_memory(self, size):
        return self.PinnedMemoryPointer(size)

    def set_allocator(self, allocator):
        self.allocators[0] = allocator

    def waits(self, what):
        """Something that waits for the device, or copies from the host's memory by way of a buffer that is used again."""
        if self.capture is not None:
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing ({what})")

    # Computing, at once or when a graph is launched --------------------------------------------------------------------

    def new(self, function, inputs, written=True):
        """A result in memory of its own. While capturing it has its shape; its contents, if it is ``written``, come with the launch."""
        result = function()
        made = [array for array in _arrays(result) if not any(numpy.may_share_memory(array, other) for other in inputs)]
        for array in made:
            self.allocate(array)
        if self.capture is not None and made:
            for array in made:
                spoil(array)
            if self.allocators[-1] != self.pool.malloc:
                self.shared += made

            def again():
                for old, new in zip(_arrays(result), _arrays(function()), strict=True):
                    if any(old is array for array in made):
                        old[...] = new

            if written:
                self.capture.append(again)
        return result

    def change(self, function, *targets):
        """A change of arrays that are there."""
        if self.capture is None:
            function()
        else:
            self.capture.append(function)

    def allocate(self, array):
        if array.nbytes > self.pool.limit - self.used:
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes:,} bytes (allocated so far: {self.used:,} bytes).")
        self.used += array.nbytes
        weakref.finalize(array, self.free, array.nbytes).atexit = False
        self.allocators[-1](array.nbytes)

    def free(self, size):
        self.used -= size


def spoil(array):
    array[...] = 107 if array.dtype.kind == "f" else 0  # wrong, but good for an index


def _arrays(value):
    if isinstance(value, numpy.ndarray):
        return [value]
    return [array for part in value for array in _arrays(part)] if isinstance(value, tuple | list) else []
