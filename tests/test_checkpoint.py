"""Files: weights and checkpoints come back to the bit, are written whole or not at all, and damage is named."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest
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
    assert bits(model) == before


def with_header(text):
    return len(text).to_bytes(8, "little") + text


def test_other_files_are_refused_by_name(tmp_path):
    model, path = small_model(), tmp_path / "weights.safetensors"
    torch.save({}, path)
    assert refusal(lambda: load(model, path)) == (
        f"load: {path} is not a safetensors file: it is a zip archive, such as PyTorch writes with torch.save; convert it with safetensors.torch.save_file"
    )
    path.write_text("epoch,loss\n1,2.5\n" * 100)
    assert refusal(lambda: load(model, path)) == f"load: {path} is not a safetensors file"
    for text in (b"{not json}", b'{"a": 3}', b'{"a": {"dtype": "F32"}}'):
        path.write_bytes(with_header(text))
        assert refusal(lambda: load(model, path)) == f"load: {path} is damaged: its header is not the JSON that safetensors prescribes"
    path.write_bytes(with_header(b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}') + bytes(4))
    assert refusal(lambda: load(model, path)).startswith(f"load: {path} cannot be read: ")
    safetensors.torch.save_file({"a": torch.zeros(2, dtype=torch.bfloat16)}, path)
    assert refusal(lambda: load(model, path)).startswith(f"load: {path} holds an element type that NumPy does not have: ")

    archive = tmp_path / "weights.npz"
    save(model, archive)
    archive.write_bytes(archive.read_bytes()[:-30])
    assert refusal(lambda: load(model, archive)).startswith(f"load: {archive} is damaged or truncated: ")
    archive.write_bytes(b"")
    assert refusal(lambda: load(model, archive)).startswith(f"load: {archive} is damaged or truncated: ")
    numpy.savez(archive, a=numpy.array([print], dtype=object))
    assert refusal(lambda: load(model, archive)) == f"load: {archive} is not a .npz archive of plain arrays (pickled objects are never loaded)"
    archive.write_text("no archive")
    assert refusal(lambda: load(model, archive)) == f"load: {archive} is not a .npz archive of plain arrays (pickled objects are never loaded)"
    with archive.open("wb") as file:
        numpy.save(file, numpy.zeros(3))
    assert refusal(lambda: load(model, archive)) == f"load: {archive} is not a .npz archive, but a single array (.npy)"

    with pytest.raises(FileNotFoundError):
        load(model, tmp_path / "none.safetensors")
    pt = tmp_path / "weights.pt"
    assert refusal(lambda: save(model, pt), ArgumentError) == f"save: the name must end in .safetensors or .npz, got {pt}"
    assert not pt.exists()
    text = refusal(lambda: write_arrays(path, {"a": numpy.zeros(2, "complex64")}, {}), DtypeError)
    assert text == "save: a is complex64, which safetensors does not have"


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
        assert {p.name for p in tmp_path.iterdir()} <= {"a.safetensors", "a.safetensors.tmp"}


# Nested state ---------------------------------------------------------------------------------------------------------

numbers = st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats(allow_nan=False) | st.text(max_size=5)
names = st.text("abc_", min_size=1, max_size=3)


def containers(inner):
    lists = st.lists(inner, max_size=3) | st.tuples(inner, inner)
    return lists | st.dictionaries(names, inner, max_size=3) | st.dictionaries(st.integers(), inner, max_size=3)


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
