"""Files: weights and checkpoints come back to the bit, are written whole or not at all, and damage is named."""

import copy
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import tracemalloc
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

import minivgg
from minivgg import nn
from minivgg.data import DataLoader, TensorDataset
from minivgg.errors import ArgumentError, DtypeError
from minivgg.files import written_whole
from minivgg.optim import SGD, Adam
from minivgg.optim.lr_scheduler import StepLR
from minivgg.training import FileError, Position, Run, load, save
from minivgg.training.files import read_arrays, write_arrays
from minivgg.training.tree import join, split


def small_model(seed=0, width=3):
    minivgg.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 36, 2))


def bits(model):
    return {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in model.state_dict().items()}


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_weights_come_back_to_the_bit(tmp_path, suffix, dtype):
    model, other = small_model(0).to(dtype), small_model(1).to(dtype)
    model(minivgg.randn(4, 1, 8, 8, dtype=dtype))  # moves the running statistics
    save(model, tmp_path / "new folder" / f"weights.{suffix}")
    load(other, tmp_path / "new folder" / f"weights.{suffix}")
    assert bits(other) == bits(model)
    assert bits(model)["1.num_batches_tracked"] == (numpy.int64, (), numpy.int64(1).tobytes())
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == [f"weights.{suffix}"]


def test_other_frameworks_read_the_file_and_write_such(tmp_path):
    model = small_model()
    save(model, tmp_path / "ours.safetensors", {"trained on": "digits"})
    theirs = safetensors.torch.load_file(tmp_path / "ours.safetensors")
    assert {name: (tuple(t.shape), t.numpy().tobytes()) for name, t in theirs.items()} == {name: entry[1:] for name, entry in bits(model).items()}
    assert read_arrays(tmp_path / "ours.safetensors")[1] == {"trained on": "digits"}

    twin = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(108, 2))
    safetensors.torch.save_file(twin.state_dict(), tmp_path / "theirs.safetensors")
    load(model, tmp_path / "theirs.safetensors")
    for ours, expected in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert (ours.numpy() == expected.numpy()).all()


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_memory_order_does_not_matter(tmp_path, suffix):
    """Channels-last, reversed, broadcast, empty and big-endian arrays: what lies in the file are the elements in rows."""
    base = numpy.arange(24.0).reshape(2, 3, 4)
    arrays = {
        "last": base.transpose(0, 2, 1),
        "reversed": base[:, ::-1],
        "same": numpy.broadcast_to(1.5, (2, 2)),
        "none": numpy.zeros((0, 3)),
        "number": numpy.array(3),
    }
    write_arrays(tmp_path / f"a.{suffix}", {**arrays, "swapped": base.astype(">f8")}, {})
    read, _ = read_arrays(tmp_path / f"a.{suffix}")
    assert (read.pop("swapped") == base).all()
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (read[name].shape, read[name].dtype) == (array.shape, array.dtype)
        assert (read[name] == array).all()


def test_weights_can_be_taken_from_a_checkpoint(tmp_path):
    model = small_model()
    run_of(model).save(tmp_path / "checkpoint.safetensors", Position())
    other = small_model(1)
    load(other, tmp_path / "checkpoint.safetensors")
    assert bits(other) == bits(model)


# Refusals -------------------------------------------------------------------------------------------------------------


def refusal(call, error=FileError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def test_what_does_not_fit_is_listed_and_nothing_is_changed(tmp_path):
    path = tmp_path / "weights.safetensors"
    model = small_model()
    before = bits(model)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    del arrays["0.bias"]
    arrays["5.weight"] = numpy.zeros(2, "float32")
    arrays["3.weight"] = arrays["3.weight"].T
    arrays["1.bias"] = arrays["1.bias"].astype("float64")
    arrays["0.weight"] = arrays["0.weight"] + 1
    write_arrays(path, arrays, {})
    assert refusal(lambda: load(model, path)) == (
        f"load: {path} does not fit Sequential:\n  0.bias is missing\n  5.weight is not in the model\n"
        "  1.bias is float64, the model's float32 (model.to('float64') changes that)\n"
        "  3.weight has shape (108, 2), the model's (2, 108)"
    )
    write_arrays(path, {}, {})
    assert refusal(lambda: load(model, path)).endswith("\n  1.running_mean is missing\n  and 4 more")
    assert bits(model) == before


def test_every_truncation_is_noticed(tmp_path):
    model, path = small_model(), tmp_path / "weights.safetensors"
    save(model, path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    before = bits(model)
    for size in (*range(12), header - 1, header, header + 1, len(whole) - 1):
        path.write_bytes(whole[:size])
        text = refusal(lambda: load(model, path))
        if size == 0:
            assert text == f"load: {path} is empty"
        elif size <= 8:
            assert text == f"load: {path} is not a safetensors file"
        elif size < header:
            assert text == f"load: {path} is truncated: its header has {header - 8} bytes, the file only {size}"
        else:
            assert text == f"load: {path} is truncated: its header promises {len(whole)} bytes, the file has {size}"
    path.write_bytes(whole + b"\0")
    assert refusal(lambda: load(model, path)) == f"load: {path} is damaged: its header describes {len(whole)} bytes, the file has {len(whole) + 1}"
    assert bits(model) == before


def with_header(text):
    return len(text).to_bytes(8, "little") + text


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


NO_JSON = "is damaged: its header is not the JSON that safetensors prescribes"

SAFETENSORS = [
    (b"{not json}", 0, NO_JSON),
    (b'{"\xff": 3}', 0, NO_JSON),
    (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, NO_JSON),
    ({"a": 3}, 0, NO_JSON),
    ({"a": {"dtype": "F32"}}, 0, NO_JSON),
    ({"a": entry([-1], 0, 4)}, 4, NO_JSON),
    ({"a": entry([1.0], 0, 4)}, 4, NO_JSON),
    ({"a": entry([True], 0, 4)}, 4, NO_JSON),
    ({"__metadata__": {"n": 3}}, 0, "is damaged: its metadata are not texts by name"),
    (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1, "is damaged: its header has 'a' twice"),
    ({"a": entry([3], 0, 4)}, 4, "is damaged: tensor 'a', F32 of shape (3,), needs 12 bytes, its data_offsets are [0, 4]"),
    ({"a": entry([1], 4, 0)}, 4, "is damaged: tensor 'a', F32 of shape (1,), needs 4 bytes, its data_offsets are [4, 0]"),
    ({"a": entry([0, 2**62, 2**62], 0, 0)}, 0,
     "is damaged: tensor 'a', F32 of shape (0, 4611686018427387904, 4611686018427387904), needs 0 bytes, its data_offsets are [0, 0]"),
    ({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, 4, "is damaged: tensor 'b' begins at byte 0 of the elements, where the one before it ends at 4"),
    ({"a": entry([1], 4, 8)}, 8, "is damaged: tensor 'a' begins at byte 4 of the elements, where the one before it ends at 0"),
    ({"a": entry([1], 0, 2, "BF16")}, 2, "holds an element type that NumPy does not have: tensor 'a' is BF16"),
    ({"a": entry([1], 0, 4, "BOOL")}, 4, "is damaged: tensor 'a', BOOL of shape (1,), needs 1 bytes, its data_offsets are [0, 4]"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "data", "fault"), SAFETENSORS, ids=range(len(SAFETENSORS)))
def test_a_header_that_lies_is_refused(tmp_path, header, data, fault):
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header(header if isinstance(header, bytes) else json.dumps(header).encode()) + bytes(data))
    assert refusal(lambda: read_arrays(path)) == f"load: {path} {fault}"
    if b"twice" not in fault.encode():
        with pytest.raises((safetensors.SafetensorError, TypeError, AttributeError, ValueError)):  # the reference agrees, or fails
            safetensors.numpy.load_file(path)


def test_a_truth_value_of_neither_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(with_header(json.dumps({"a": entry([2], 0, 2, "BOOL")}).encode()) + b"\1\2")
    assert refusal(lambda: read_arrays(path)) == f"load: {path} is damaged: tensor 'a' is BOOL, but has bytes that are neither 0 nor 1"


def npy(header, data=b""):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def floats(shape, data=b"", descr="'<f4'"):
    return npy(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n", data)


ARCHIVES = [
    ([("a.npy", floats("(10**12,)"))], "is damaged: the header of 'a.npy' cannot be read (ValueError)"),
    ([("a.npy", floats("(1000000000000,)"))], "is damaged: 'a.npy', float32 of shape (1000000000000,), needs 4000000000078 bytes, it has 78"),
    ([("a.npy", floats("(1,)", bytes(5)))], "is damaged: 'a.npy', float32 of shape (1,), needs 70 bytes, it has 71"),
    ([("a.npy", floats("(-1,)", bytes(4)))], "is damaged: 'a.npy' has shape (-1,)"),
    ([("a.npy", npy("{'descr': '<f4', 'fortran_order'\n"))], "is damaged: the header of 'a.npy' cannot be read (TokenError)"),
    ([("a.npy", b"\x93NUMPY\x09\x00")], "is damaged: the header of 'a.npy' cannot be read (KeyError)"),
    ([("a.npy", floats("(1,)", bytes(4), "'<V4'"))], "holds an element type that no weights have: 'a.npy' is |V4"),
    ([("a.npy", floats("(1,)", bytes(4), "[('x', '<f4')]"))], "holds an element type that no weights have: 'a.npy' is [('x', '<f4')]"),
    ([("a.npy", floats("(1,)", bytes(8), "'|O'"))], "is not a .npz archive of plain arrays (pickled objects are never loaded)"),
    ([("a", b"hello")], "is not a .npz archive: it holds 'a', which is no .npy file"),
    ([("a.npy", floats("()", bytes(4)))] * 2, "is damaged: it holds 'a.npy' twice"),
    ([("a.npy", bytes(300 << 20))], "is refused: its 305466 bytes unpack to 314572800, as no weights do"),
]


@pytest.mark.parametrize(("entries", "fault"), ARCHIVES, ids=range(len(ARCHIVES)))
def test_an_archive_that_lies_is_refused(tmp_path, entries, fault):
    path = tmp_path / "a.npz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the name that occurs twice
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, contents in entries:
                archive.writestr(name, contents)
    tracemalloc.start()
    try:
        text = refusal(lambda: read_arrays(path))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert re.sub(r"its \d+ bytes", "its 305466 bytes", text) == f"load: {path} {fault}"  # compression depends on the version of zlib


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    """The bomb of overlapping entries: each entry of the table of contents points to the same compressed bytes."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", floats("(1000,)", bytes(4000)))
        for name in "bc":
            twin = copy.copy(archive.filelist[0])
            twin.filename = f"{name}.npy"
            archive.filelist.append(twin)
    size = path.stat().st_size
    assert refusal(lambda: read_arrays(path)) == f"load: {path} is damaged: its entries overlap, they have more bytes than the file ({size})"


def test_entries_that_damage_hides_are_missed(tmp_path):
    """A long comment in the table of contents swallows the entries behind it, without an error of Python's reader."""
    path = tmp_path / "a.npz"
    write_arrays(path, {"a": numpy.zeros(2), "b": numpy.zeros(2), "c": numpy.zeros(2)}, {})
    contents = bytearray(path.read_bytes())
    contents[contents.index(b"PK\1\2") + 33] = 0x10
    path.write_bytes(contents)
    assert refusal(lambda: read_arrays(path)) == f"load: {path} is damaged: it promises 3 arrays, its table of contents names 1"


def test_compressed_archives_and_columns_are_read(tmp_path):
    arrays = {"a": numpy.arange(6.0).reshape(2, 3), "b": numpy.asfortranarray(numpy.arange(6).reshape(2, 3)), "big": numpy.arange(3, dtype=">f4")}
    numpy.savez_compressed(tmp_path / "a.npz", **arrays)
    read, _ = read_arrays(tmp_path / "a.npz")
    assert {name: array.tolist() for name, array in read.items()} == {name: array.tolist() for name, array in arrays.items()}


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_names_are_never_paths(tmp_path, suffix):
    """Names that are paths, keywords of a function, endings of files, or nothing at all come back, and touch nothing."""
    names = ["../../x", "/etc/passwd", "file", "allow_pickle", "x", "x.npy", "", "a\nb", "ä", 'quo"te', "minivgg.sha256"]
    path = tmp_path / "in" / "it" / f"a.{suffix}"
    write_arrays(path, {name: numpy.full(2, i) for i, name in enumerate(names)}, {})
    assert {name: array.tolist() for name, array in read_arrays(path)[0].items()} == {name: [i, i] for i, name in enumerate(names)}
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["in", "in/it", f"in/it/a.{suffix}"]
    for name in ("__metadata__", "a\0b"):
        assert (
            refusal(lambda name=name: write_arrays(path, {name: numpy.zeros(1)}, {}), ArgumentError)
            == f"save: {name!r} cannot be the name of a tensor in a file"
        )


def test_a_changed_element_is_noticed_and_other_programs_may_write_the_file_anew(tmp_path):
    path = tmp_path / "a.safetensors"
    write_arrays(path, {"a": numpy.arange(100.0)}, {"key": "text"})
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(whole)
    assert refusal(lambda: read_arrays(path)) == f"load: {path} is damaged: its contents are not those that were written (SHA-256)"
    whole[-5] ^= 1
    path.write_bytes(whole)
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    safetensors.numpy.save_file({"a": numpy.arange(3.0)}, path, metadata)  # the sum of the old contents among its metadata
    arrays, metadata = read_arrays(path)
    assert (arrays["a"].tolist(), metadata) == ([0.0, 1.0, 2.0], {"key": "text"})


def test_other_files_are_refused_by_name(tmp_path):
    model, path = small_model(), tmp_path / "weights.safetensors"
    torch.save({}, path)
    kind = "is not a safetensors file: it is a zip archive, such as PyTorch writes with torch.save; name it .pt, or .npz if it is NumPy's"
    assert refusal(lambda: load(model, path)) == f"load: {path} {kind}"
    path.write_text("epoch,loss\n1,2.5\n" * 100)
    assert refusal(lambda: load(model, path)) == f"load: {path} is not a safetensors file"

    archive = tmp_path / "weights.npz"
    save(model, archive)
    archive.write_bytes(archive.read_bytes()[:-30])
    assert refusal(lambda: load(model, archive)).startswith(f"load: {archive} is damaged or truncated: ")
    archive.write_bytes(b"")
    assert refusal(lambda: load(model, archive)).startswith(f"load: {archive} is damaged or truncated: ")
    numpy.savez(archive, a=numpy.array([print], dtype=object))
    assert refusal(lambda: load(model, archive)) == f"load: {archive} is not a .npz archive of plain arrays (pickled objects are never loaded)"
    archive.write_text("no archive")
    assert refusal(lambda: load(model, archive)) == f"load: {archive} is damaged or truncated: File is not a zip file"
    with archive.open("wb") as file:
        numpy.save(file, numpy.zeros(3))
    assert refusal(lambda: load(model, archive)) == f"load: {archive} is not a .npz archive, but a single array (.npy)"

    with pytest.raises(FileNotFoundError):
        load(model, tmp_path / "none.safetensors")
    pt = tmp_path / "weights.pt"
    assert refusal(lambda: save(model, pt), ArgumentError) == f"save: the name must end in .safetensors or .npz, got {pt}"
    assert not pt.exists()
    text = refusal(lambda: write_arrays(path, {"a": numpy.zeros(2, "complex64")}, {}), DtypeError)
    assert text.startswith("save: a is complex64, which a tensor file does not hold; it holds float16, ")


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX alone")
def test_a_file_is_on_the_disk_before_it_takes_the_others_place(tmp_path, monkeypatch):
    """A power cut cannot be made here; but in which order the system is asked, it can be seen."""
    path, asked, sync, replace = tmp_path / "w.safetensors", [], os.fsync, os.replace
    write_arrays(path, {"w": numpy.zeros(3)}, {})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (asked.append(("sync", os.fstat(descriptor).st_ino)), sync(descriptor)))
    monkeypatch.setattr(os, "replace", lambda old, new: (asked.append(("replace", os.stat(old).st_ino)), replace(old, new)))
    write_arrays(path, {"w": numpy.ones(3)}, {})
    new = path.stat().st_ino
    assert asked == [("sync", new), ("replace", new), ("sync", tmp_path.stat().st_ino)]


def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "null.npz").symlink_to("/dev/null")
    for name, kind in (("pipe", "a pipe"), ("folder", "a folder"), ("null", "a device")):
        path = tmp_path / f"{name}.npz"
        assert refusal(lambda path=path: read_arrays(path)) == f"load: {path} is {kind}, not a file"
        assert refusal(lambda path=path: write_arrays(path, {}, {})) == f"write: {path} is {kind}, not a file that can be replaced"
    assert len(list(tmp_path.iterdir())) == 3


# PyTorch's own --------------------------------------------------------------------------------------------------------


class Evil:
    def __reduce__(self):
        return os.mkdir, ("was executed",)


@pytest.mark.parametrize("old_format", [False, True])
def test_pytorch_files_are_read_without_their_code(tmp_path, monkeypatch, old_format):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    twin = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(108, 2)).to(
        memory_format=torch.channels_last
    )
    torch.save(twin.state_dict(), path, _use_new_zipfile_serialization=not old_format)
    model = small_model()
    load(model, path)
    for ours, expected in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert (ours.numpy() == expected.numpy()).all()
    before = bits(model)
    whole = path.read_bytes()
    for wrong in (Evil(), {"a": Evil()}):
        torch.save(wrong, path, _use_new_zipfile_serialization=not old_format)
        assert f"load: {path} cannot be read by torch.load(weights_only=True): " in refusal(lambda: load(model, path))
    for wrong in ([torch.zeros(1)], {"a": 3}, torch.zeros(2)):
        torch.save(wrong, path, _use_new_zipfile_serialization=not old_format)
        assert refusal(lambda: load(model, path)) == f"load: {path} holds no state dictionary (tensors by name); save model.state_dict()"
    torch.save({"a": torch.zeros(2, dtype=torch.bfloat16)}, path)
    assert refusal(lambda: load(model, path)).startswith(f"load: {path} holds an element type that NumPy does not have: ")
    for size in (0, 10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        assert f"load: {path} cannot be read by torch.load(weights_only=True): " in refusal(lambda: load(model, path))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refusal(lambda: load(model, path)).startswith(f"load: {path} is a PyTorch file, and PyTorch is not installed here; convert it where it is, with ")
    assert bits(model) == before
    assert not (tmp_path / "was executed").exists()


# Written whole --------------------------------------------------------------------------------------------------------


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with written_whole(path) as beside:
            beside.write_text("half of the n")
            raise OSError("disk full")

    assert refusal(fail, OSError) == "disk full"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_file_takes_the_old_ones_name_not_its_place(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        with written_whole(path) as beside:
            beside.write_text("new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_links_permissions_and_strangers_files_are_respected(tmp_path):
    real, link, stranger = tmp_path / "real" / "a.npz", tmp_path / "a.npz", tmp_path / "real" / "a.npz.tmp"
    real.parent.mkdir()
    link.symlink_to(real)
    stranger.symlink_to(tmp_path / "victim")
    old = os.umask(0o022)
    try:
        write_arrays(link, {}, {})  # a link to nothing yet
        assert stat.S_IMODE(real.stat().st_mode) == 0o644
        real.chmod(0o600)
        write_arrays(link, {"a": numpy.zeros(3)}, {})
        assert stat.S_IMODE(real.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    assert link.is_symlink()
    assert read_arrays(real)[0]["a"].tolist() == [0, 0, 0]
    assert stranger.is_symlink()
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.npz", "a.npz", "a.npz.tmp", "real"]
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(OSError, match=r"levels of symbolic links.*a\.npz"):
        write_arrays(link, {}, {})


def test_leftovers_are_cleared_away_and_those_at_work_are_not(tmp_path):
    path = tmp_path / "file"
    (tmp_path / "file.0123abcd.tmp").write_text("left by a process that was killed")
    (tmp_path / "file.bak").write_text("somebody else's")
    (tmp_path / "file.notes.tmp").write_text("somebody else's")
    with written_whole(path) as first, written_whole(path) as second:
        assert first != second
        assert {p.name for p in tmp_path.iterdir()} == {"file.bak", "file.notes.tmp", first.name, second.name}
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # the last one to end
    assert {p.name for p in tmp_path.iterdir()} == {"file", "file.bak", "file.notes.tmp"}


def test_many_writers_at_once(tmp_path):
    """Threads and processes that write one file: every reader sees a whole one, nobody fails, nothing is left."""
    path = tmp_path / "a.npz"
    writer = "import sys, numpy\nfrom pathlib import Path\nfrom minivgg.training.files import write_arrays\n"
    writer += "for _ in range(100): write_arrays(Path(sys.argv[1]), {'a': numpy.full(1000, int(sys.argv[2]))}, {})"
    processes = [subprocess.Popen([sys.executable, "-c", writer, str(path), str(i)]) for i in range(2)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(write_arrays, path, {"a": numpy.full(1000, i % 7)}, {}) for i in range(200)]
        while any(process.poll() is None for process in processes):
            if path.exists():
                assert len(set(read_arrays(path)[0]["a"].tolist())) == 1
        for job in jobs:
            job.result()
    assert [process.returncode for process in processes] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


FULL = """
import resource, sys, numpy
from pathlib import Path
from minivgg.training.files import read_arrays, write_arrays
path = Path(sys.argv[1])
write_arrays(path, {"a": numpy.zeros(1000)}, {})
for limit in [*range(0, 9000, 97), 8190, 8191]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_arrays(path, {"a": numpy.ones(1000)}, {})
    except OSError as error:
        assert error.filename == str(path) and str(path) in str(error), error
        assert not read_arrays(path)[0]["a"].any()
    else:
        assert limit > 8000 and read_arrays(path)[0]["a"].all()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        write_arrays(path, {"a": numpy.zeros(1000)}, {})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
print("survived")
"""


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_where_no_more_can_be_written_the_old_file_stays(tmp_path, suffix):
    run = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / f"a.{suffix}")], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("survived\n", "")


WRITER = """
import sys, numpy
from pathlib import Path
from minivgg.training.files import write_arrays
for i in range(10**9):
    write_arrays(Path(sys.argv[1]), {"a": numpy.full(500_000, i)}, {"i": str(i)})
    if i == 0: print("ready", flush=True)
"""


def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.safetensors"
    rng = numpy.random.default_rng(0)
    for _ in range(3):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.2))
            writer.send_signal(signal.SIGKILL)
        arrays, metadata = read_arrays(path)
        assert (arrays["a"] == int(metadata["i"])).all()
    write_arrays(path, {}, {})
    assert list(tmp_path.iterdir()) == [path]  # the next writer clears away what the killed ones left


# Nested state ---------------------------------------------------------------------------------------------------------

numbers = st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats(allow_nan=False) | st.text(max_size=5)
names = st.text("abc_", min_size=1, max_size=3)


def containers(inner):
    lists = st.lists(inner, max_size=3) | st.tuples(inner, inner)
    return lists | st.dictionaries(names, inner, max_size=3) | st.dictionaries(st.integers(), inner, max_size=3)


def test_names_that_would_meet_or_mean_something_else_come_back():
    state = {"a.b": minivgg.zeros(1), "a": {"b": minivgg.ones(1)}, "c": {"$tuple": [1]}, "d": {"$tensor": "a.b", "e": {}}, "f": {"$named": (2,)}}
    read = join(*split(state), Path("x"))
    assert (read["a.b"].item(), read["a"]["b"].item()) == (0.0, 1.0)
    assert {name: read[name] for name in "cdf"} == {name: state[name] for name in "cdf"}


@given(st.recursive(numbers, containers, max_leaves=8))
def test_plain_state_comes_back_exactly(tree):
    arrays, metadata = split({"state": tree})
    assert repr(join(arrays, metadata, Path("x"))["state"]) == repr(tree)  # repr tells 1 from True and 1.0


def test_tensors_and_generators_in_the_state(tmp_path):
    generator = minivgg.Generator().manual_seed(3)
    state = {"a": [minivgg.ones(2), {"b": (minivgg.tensor(7), None)}], "n": numpy.float32(0.1), "random": generator.get_state()}
    arrays, metadata = split(state)
    write_arrays(tmp_path / "state.safetensors", arrays, metadata)
    read = join(*read_arrays(tmp_path / "state.safetensors"), Path("x"))
    assert read["a"][0].tolist() == [1.0, 1.0]
    assert read["a"][1]["b"][0].item() == 7
    assert read["n"] == float(numpy.float32(0.1))
    assert minivgg.Generator().set_state(read["random"]).seed_for_mask() == generator.seed_for_mask()
    assert refusal(lambda: split({"a": {"b": [print]}}), DtypeError) == (
        "checkpoint: a.b.0 is a builtin_function_or_method; a checkpoint holds tensors, numbers, text, None, and lists, tuples and dicts of them"
    )


def test_nothing_is_ever_unpickled():
    source = "".join(path.read_text(encoding="utf-8") for path in (Path(minivgg.__file__).parent / "training").glob("*.py"))
    assert "import pickle" not in source
    assert "allow_pickle=True" not in source


# Checkpoints ----------------------------------------------------------------------------------------------------------


def loader(length=10, **options):
    return DataLoader(TensorDataset(minivgg.zeros(length, 1, 8, 8), minivgg.zeros(length, dtype="int64")), 4, **options)


def run_of(model, optimizer=SGD, schedule=True, data=None):
    optimizer = optimizer(model.parameters(), lr=0.1)
    return Run(model, optimizer, StepLR(optimizer, 1) if schedule else None, data or loader())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    run_of(small_model()).save(path, Position())
    others = [
        (run_of(small_model(), Adam), "optimizer SGD, this one has Adam"),
        (run_of(small_model(), schedule=False), "scheduler StepLR, this one has NoneType"),
        (run_of(small_model(), data=loader(11)), "training images 10, this one has 11"),
        (run_of(small_model(), data=loader(shuffle=True)), "shuffle False, this one has True"),
        (run_of(small_model(), data=loader(generator=minivgg.Generator())), "random generators 1, this one has 2"),
    ]
    for run, text in others:
        assert refusal(lambda run=run: run.restore(path)) == f"load: {path} belongs to a run with {text}"
    assert "0.weight has shape (3, 1, 3, 3), the model's (4, 1, 3, 3)" in refusal(lambda: run_of(small_model(width=4)).restore(path))
    save(small_model(), path)
    assert refusal(lambda: run_of(small_model()).restore(path)) == f"load: {path} is no checkpoint: it holds 9 tensors, but not the state of a training run"


def test_a_checkpoint_that_lacks_a_tensor_is_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    run_of(small_model()).save(path, Position())
    arrays, metadata = read_arrays(path)
    del arrays["model.3.bias"]
    write_arrays(path, arrays, metadata)
    assert refusal(lambda: run_of(small_model()).restore(path)) == f"load: {path} is damaged: tensor 'model.3.bias' is missing"


@pytest.mark.parametrize("part", ["optimizer", "scheduler", "random", "position"])
def test_a_checkpoint_that_fits_in_part_changes_nothing(tmp_path, part):
    path = tmp_path / "c.safetensors"
    run_of(small_model()).save(path, Position())
    arrays, metadata = read_arrays(path)
    state = json.loads(metadata["minivgg.state"])
    state[part] = {"optimizer": {"param_groups": []}, "scheduler": 3, "random": {"default": {}}, "position": {"where": 3}}[part]
    write_arrays(path, arrays, {"minivgg.state": json.dumps(state)})
    run = run_of(small_model(1))
    before = bits(run.model), repr(run.optimizer.state_dict()), repr(run.scheduler.state_dict()), minivgg.default_generator.get_state()
    assert refusal(lambda: run.restore(path)).startswith(f"load: {path} does not fit this run: ")
    assert (bits(run.model), repr(run.optimizer.state_dict()), repr(run.scheduler.state_dict()), minivgg.default_generator.get_state()) == before


def test_the_header_is_json_that_a_person_can_read(tmp_path):
    path = tmp_path / "c.safetensors"
    run_of(small_model()).save(path, Position(epoch=2, step=30))
    header = json.loads(path.read_bytes()[8:][: int.from_bytes(path.read_bytes()[:8], "little")])
    state = json.loads(header["__metadata__"]["minivgg.state"])
    assert state["position"]["epoch"] == 2
    assert state["optimizer"]["param_groups"][0]["lr"] == 0.1
    assert state["random"]["default"]["bit_generator"] == "PCG64"
    assert header["model.0.weight"]["dtype"] == "F32"
    assert os.stat(path).st_size < 10_000
