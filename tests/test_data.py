"""Data: the digits are the published ones, transforms agree with PyTorch, and the loader gives the same bits however it runs."""

import hashlib
import importlib.util
import math
import struct
import threading
import time
import traceback
import tracemalloc
import zlib
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

import minivgg
from minivgg.data import DataLoader, Dataset, Subset, TensorDataset, default_collate, digits, load_image
from minivgg.data.optical_digits import FILE
from minivgg.data.transforms import (
    CenterCrop,
    Compose,
    Normalize,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    Resize,
    ToTensor,
    affine,
    drawing_from,
)  # fmt: skip
from minivgg.errors import ArgumentError, DtypeError, FileError, ShapeError

# Digits ---------------------------------------------------------------------------------------------------------------

PER_CLASS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as published with the set
FIRST_LINE = "0,0,5,13,9,1,0,0,0,0,13,15,10,15,5,0,0,3,15,2,0,11,8,0,0,4,12,0,0,8,8,0,0,5,8,0,0,9,8,0,0,4,11,0,1,12,7,0,0,2,14,5,10,12,0,0,0,0,6,13,10,0,0,0,0"


@pytest.fixture(scope="module")
def stored():
    with numpy.load(FILE, allow_pickle=False) as file:
        return file["images"], file["labels"]


def test_the_stored_digits_are_the_published_ones(stored):
    images, labels = stored
    assert images.shape == (1797, 8, 8)
    assert images.min() == 0
    assert images.max() == 16
    assert numpy.bincount(labels).tolist() == PER_CLASS
    assert ",".join(map(str, [*images[0].ravel(), labels[0]])) == FIRST_LINE
    contents = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert contents == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    assert FILE.stat().st_size < 58_000


def test_the_script_reads_the_file_as_distributed(stored, tmp_path):
    location = Path(__file__).parents[1] / "tools" / "make_digits.py"
    spec = importlib.util.spec_from_file_location("make_digits", location)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    lines = [",".join(map(str, [*image.ravel(), label])) + "\n" for image, label in zip(*stored, strict=True)]
    source = tmp_path / "optdigits.tes"
    source.write_text("".join(lines))
    for read, kept in zip(script.read(source), stored, strict=True):
        assert read.dtype == numpy.uint8
        assert (read == kept).all()
    source.write_text("".join(lines[1:]))
    with pytest.raises(SystemExit, match="is not the test part of the optical digits"):
        script.read(source)


def test_the_split_is_a_fifth_of_each_digit(stored):
    train, test = digits(), digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    images, labels = (numpy.concatenate([part.tensors[i].numpy() for part in (train, test)]) for i in (0, 1))
    assert (images.dtype, labels.dtype, images.shape) == (numpy.float32, numpy.int64, (1797, 1, 8, 8))
    rows = sorted((*image.ravel(), label) for image, label in zip(images, labels, strict=True))
    assert rows == sorted((*(image.ravel() / 16), label) for image, label in zip(*stored, strict=True))
    held_out = numpy.bincount(test.tensors[1].numpy())
    assert all(abs(held - count / 5) < 1 for held, count in zip(held_out, PER_CLASS, strict=True))


# Transforms -----------------------------------------------------------------------------------------------------------


def image(*shape, dtype="float32"):
    return minivgg.from_numpy(numpy.random.default_rng(0).random(shape).astype(dtype))


@pytest.mark.parametrize(
    ("angle", "right", "down", "zoom"), [(0.3, 0, 0, 1), (0, 0.7, -0.4, 1), (0, 0, 0, 1.3), (-0.2, 0.5, 1.5, 0.8), (0, 9, 0, 1), (math.pi / 2, 0, 0, 1)]
)
def test_affine_agrees_with_pytorch(angle, right, down, zoom):
    x = image(3, 8, 8, dtype="float64")
    # grid_sample wants the way from output to input, in units of half the image, y downwards
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    theta = [[cos, -sin, (-cos * right + sin * down) / 4], [sin, cos, (-sin * right - cos * down) / 4]]
    grid = torch.nn.functional.affine_grid(torch.tensor([theta], dtype=torch.float64), (1, 3, 8, 8), align_corners=False)
    expected = torch.nn.functional.grid_sample(torch.from_numpy(x.numpy())[None], grid, align_corners=False)[0]
    assert numpy.allclose(affine(x, angle, right, down, zoom).numpy(), expected.numpy(), rtol=0, atol=1e-12)


def test_affine_turns_counterclockwise_and_fills():
    x = minivgg.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    assert numpy.allclose(affine(x, math.pi / 2).numpy(), numpy.rot90(x.numpy(), axes=(1, 2)), atol=1e-6)
    assert affine(x, 0.0, right=1, fill=7.0).tolist() == [[[7.0, 1.0], [7.0, 3.0]]]
    assert affine(x, 0.3).dtype == numpy.float32


def test_random_affine_stays_within_its_bounds():
    spot = numpy.zeros((1, 41, 41), "float32")
    spot[0, 20, 30] = 1
    move = RandomAffine(30, translate=(0.1, 0.05), scale=(0.9, 1.2))
    angles, radii = [], []
    still = RandomAffine(0, translate=(0.1, 0.05))
    for seed in range(200):
        with drawing_from(numpy.random.default_rng(seed)):
            turned = RandomAffine(30, scale=(0.9, 1.2))(minivgg.from_numpy(spot)).numpy()[0]
        mass = turned / turned.sum()
        y, x = 20 - (mass.sum(1) * numpy.arange(41)).sum(), (mass.sum(0) * numpy.arange(41)).sum() - 20
        angles.append(math.degrees(math.atan2(y, x)))
        radii.append(math.hypot(x, y))
        with drawing_from(numpy.random.default_rng(seed)):
            shifted = still(minivgg.from_numpy(spot)).numpy()[0]
        assert abs((shifted.sum(0) * numpy.arange(41)).sum() - 30) <= 4.1 + 1e-4
        assert abs((shifted.sum(1) * numpy.arange(41)).sum() - 20) <= 2.05 + 1e-4
    assert -31 < min(angles) < -25 < 25 < max(angles) < 31
    assert 8.9 < min(radii) < 9.4 < 11.6 < max(radii) < 12.1
    with drawing_from(numpy.random.default_rng(0)):
        first = move(image(2, 9, 7)).numpy()
    with drawing_from(numpy.random.default_rng(0)):
        assert (move(image(2, 9, 7)).numpy() == first).all()


def test_random_crop_takes_every_place():
    x = image(2, 8, 8)
    padded = numpy.pad(x.numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=0.5)
    places = {padded[:, i : i + 8, j : j + 8].tobytes(): (i, j) for i in range(3) for j in range(3)}
    crop = RandomCrop(8, padding=1, fill=0.5)
    with drawing_from(numpy.random.default_rng(0)):
        seen = {places[crop(x).numpy().tobytes()] for _ in range(100)}
    assert len(seen) == 9
    assert RandomCrop((2, 8))(x).shape == (2, 2, 8)


def test_flip_and_center_crop():
    x = image(2, 5, 4)
    with drawing_from(numpy.random.default_rng(0)):
        flipped = [(RandomHorizontalFlip()(x).numpy() == x.numpy()[:, :, ::-1]).all() for _ in range(200)]
    assert 70 < sum(flipped) < 130
    assert (RandomHorizontalFlip(0.0)(x).numpy() == x.numpy()).all()
    assert (CenterCrop((3, 2))(x).numpy() == x.numpy()[:, 1:4, 1:3]).all()


def test_from_a_file_to_the_networks_input(tmp_path):
    """The preprocessing of torchvision's ImageNet weights, step by step against plain NumPy."""
    pixels = numpy.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "image.png")
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    x = Compose([ToTensor(), CenterCrop(24), Normalize(mean, std)])(load_image(tmp_path / "image.png"))
    expected = (pixels[3:27, 8:32].transpose(2, 0, 1) / 255 - numpy.reshape(mean, (3, 1, 1))) / numpy.reshape(std, (3, 1, 1))
    assert x.dtype == numpy.float32
    assert numpy.allclose(x.numpy(), expected, atol=1e-6)
    assert ToTensor()(load_image(tmp_path / "image.png", "L")).shape == (1, 30, 40)
    assert Resize(15)(load_image(tmp_path / "image.png")).size == (20, 15)
    halved = numpy.asarray(Resize((1, 1))(Image.fromarray(pixels)))
    assert abs(halved.astype(float) - pixels.mean((0, 1))).max() < 20  # every pixel counts, not only the nearest four


KINDS = "BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"


def test_transforms_say_what_is_wrong(tmp_path):
    (tmp_path / "note.txt").write_text("no image")
    wrong = [
        (lambda: load_image(tmp_path / "note.txt"), FileError, f"load_image: {tmp_path / 'note.txt'} is not an image that can be read ({KINDS})"),
        (lambda: load_image(tmp_path / "note.txt", "CMYK"), ArgumentError, 'load_image: mode must be "RGB" or "L", got \'CMYK\''),
        (lambda: load_image(tmp_path), FileError, f"load_image: {tmp_path} is a folder, not a file"),
        (lambda: Normalize([0.5], [0.5])(image(3, 2, 2)), ShapeError, "Normalize: has statistics of 1 channels, the image has 3 (image (3, 2, 2))"),
        (lambda: Normalize([0.5], [0.0]), ArgumentError, "Normalize: needs a mean and a positive std for each channel, got mean [0.5], std [0.0]"),
        (lambda: RandomCrop(9)(image(1, 8, 8)), ShapeError, "RandomCrop: the image is smaller than the crop 9x9 (image (1, 8, 8))"),
        (lambda: RandomAffine(5)(image(8, 8)), ShapeError, "RandomAffine: takes an image (C, H, W), got 2 dimensions (image (8, 8))"),
        (lambda: ToTensor()(numpy.zeros((2, 2))), DtypeError, "ToTensor: takes images of 8 bits a channel, (H, W) or (H, W, C), got float64 of shape (2, 2)"),
        (lambda: RandomHorizontalFlip(2), ArgumentError, "RandomHorizontalFlip: p must lie in [0, 1], got 2"),
    ]
    for call, error, text in wrong:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == text


# Image files ----------------------------------------------------------------------------------------------------------


def shades(shape, dtype="uint8", seed=0):
    return numpy.random.default_rng(seed).integers(0, numpy.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize(("suffix", "dtype"), [("png", "uint16"), ("tif", "uint16"), ("tif", ">u2"), ("ppm", "uint16")])
def test_16_bits_are_scaled_not_cut_off(tmp_path, suffix, dtype):
    pixels = shades((9, 7), "uint16")
    pixels[0, :5] = 0, 128, 129, 65534, 65535
    if suffix == "ppm":
        (tmp_path / "a.ppm").write_bytes(b"P5 7 9 65535\n" + pixels.astype(">u2").tobytes())
    else:
        Image.fromarray(pixels.astype(dtype)).save(tmp_path / f"a.{suffix}")
    for mode in ("L", "RGB"):
        read = numpy.asarray(load_image(tmp_path / f"a.{suffix}", mode)).reshape(9, 7, -1)
        assert (read == numpy.round(pixels / 257)[..., None]).all()


def test_cmyk_agrees_with_the_formula(tmp_path):
    inks = shades((8, 8, 4))
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.tif")
    cyan_magenta_yellow, black = inks[..., :3] / 255.0, inks[..., 3:] / 255.0
    expected = 255 * (1 - cyan_magenta_yellow) * (1 - black)
    assert abs(numpy.asarray(load_image(tmp_path / "a.tif")) - expected).max() <= 1
    Image.fromarray(numpy.full((8, 8, 4), (255, 0, 0, 0), "uint8"), "CMYK").save(tmp_path / "a.jpg")  # Adobe's, inverted in the file
    assert abs(numpy.asarray(load_image(tmp_path / "a.jpg")).astype(int) - (0, 255, 255)).max() <= 3


def test_palettes_and_transparency(tmp_path):
    indices = shades((6, 6)) % 3
    colours = numpy.array([[250, 0, 10], [0, 200, 0], [0, 0, 0]], "uint8")
    image = Image.fromarray(indices, "P")
    image.putpalette(colours.tobytes())
    image.save(tmp_path / "a.png")
    assert (numpy.asarray(load_image(tmp_path / "a.png")) == colours[indices]).all()
    on_white = numpy.where(indices[..., None] == 2, 255, colours[indices])
    for kind, clear in (("gif", 2), ("png", 2), ("png", b"\xff\xff\x00")):  # one colour, or an opacity for each
        image.save(tmp_path / f"a.{kind}", transparency=clear)
        assert (numpy.asarray(load_image(tmp_path / f"a.{kind}")) == on_white).all()
    ink = numpy.zeros((4, 4, 2), "uint8")  # black on transparent black, as drawing programs save it
    ink[1:3, 1:3, 1] = 255
    Image.fromarray(ink, "LA").save(tmp_path / "ink.png")
    assert (numpy.asarray(load_image(tmp_path / "ink.png", "L")) == 255 - ink[..., 1]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path, orientation):
    pixels = shades((3, 5))
    stored = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.T, 6: numpy.rot90(pixels), 7: pixels[::-1, ::-1].T, 8: numpy.rot90(pixels, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(numpy.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert (numpy.asarray(load_image(tmp_path / "a.png", "L")) == pixels).all()


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tif"])
def test_the_first_frame_of_an_animation(tmp_path, kind):
    first, second = (Image.fromarray(numpy.full((8, 8, 3), value, "uint8")) for value in (40, 200))
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=[second])
    assert abs(numpy.asarray(load_image(tmp_path / f"a.{kind}")).astype(int) - 40).max() <= 2


def png_of(width, height):
    """A picture that promises its size, and holds nothing."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)


@pytest.mark.parametrize(("width", "height"), [(1 << 13, (1 << 13) + 1), (10_000, 10_000), (100_000, 100_000)])
@pytest.mark.filterwarnings("ignore:Image size:PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png_of(width, height))
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=r"a.png has (\d+x\d+ pixels, )?more than the 67,108,864 (pixels )?that are read$"):
            load_image(tmp_path / "a.png")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_formats_that_execute_or_say_no_range_are_refused(tmp_path):
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(FileError, match="is not an image that can be read"):
        load_image(tmp_path / "a.eps")
    for dtype in ("float32", "int32"):
        Image.fromarray(numpy.ones((4, 4), dtype)).save(tmp_path / "a.tif")
        with pytest.raises(FileError, match=r"a.tif has pixels of 32 bits, whose range is not known; scale them to 8 bits first"):
            load_image(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tif", "webp", "ppm"])
def test_every_truncation_of_an_image_is_named(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(shades((20, 30, 3))).save(path)
    whole = path.read_bytes()
    for size in (0, 1, 10, len(whole) // 3, len(whole) // 2, len(whole) * 3 // 4):
        path.write_bytes(whole[:size])
        with pytest.raises(FileError, match=f"load_image: {path} is (damaged or truncated: |not an image that can be read)"):
            load_image(path)


# Loader ---------------------------------------------------------------------------------------------------------------


class Noisy(Dataset):
    """Items that draw random numbers, as augmentation does, and count how often they are asked for."""

    def __init__(self, length):
        self.length, self.asked = length, 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.asked += 1
        return RandomCrop(4, padding=2)(image(1, 4, 4)) * 0 + index, RandomAffine(30)(image(1, 4, 4))


def as_bytes(batches):
    return [tuple(part.numpy().tobytes() for part in batch) for batch in batches]


@pytest.mark.parametrize("length", [0, 1, 7, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_are_pytorchs(length, drop_last):
    ours = DataLoader(TensorDataset(minivgg.arange(length), minivgg.arange(length) * 2), 4, drop_last=drop_last)
    data = torch.utils.data.TensorDataset(torch.arange(length), torch.arange(length) * 2)
    theirs = torch.utils.data.DataLoader(data, 4, drop_last=drop_last)
    assert len(ours) == len(theirs)
    assert [[part.tolist() for part in batch] for batch in ours] == [[part.tolist() for part in batch] for batch in theirs]


def test_shuffle_reorders_everything_in_every_pass():
    loader = DataLoader(TensorDataset(minivgg.arange(100)), 7, shuffle=True, generator=minivgg.Generator().manual_seed(0))
    passes = [[i for (batch,) in loader for i in batch.tolist()] for _ in range(3)]
    assert all(sorted(order) == list(range(100)) for order in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]
    again = DataLoader(TensorDataset(minivgg.arange(100)), 7, shuffle=True, generator=minivgg.Generator().manual_seed(0))
    assert [[i for (batch,) in again for i in batch.tolist()] for _ in range(3)] == passes


def test_the_default_generator_is_drawn_from_once_a_pass():
    minivgg.manual_seed(5)
    first = as_bytes(DataLoader(Noisy(9), 2, shuffle=True))
    following = minivgg.rand(3).tolist()
    minivgg.manual_seed(5)
    assert as_bytes(DataLoader(Noisy(9), 2, shuffle=True, prefetch=3)) == first
    assert minivgg.rand(3).tolist() == following
    minivgg.manual_seed(5)
    iter(DataLoader(Noisy(9), 2))
    assert minivgg.rand(3).tolist() == following


def test_no_two_items_draw_the_same_numbers():
    batches = [batch for seed in (1, 2) for batch in DataLoader(Noisy(20), 2).batches(seed)]
    assert len({row.tobytes() for _, turned in batches for row in turned.numpy()}) == 40


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_a_pass_can_be_taken_up_anywhere(prefetch):
    whole = as_bytes(DataLoader(Noisy(11), 3, shuffle=True).batches(seed=4))
    for start in range(5):
        data = Noisy(11)
        loader = DataLoader(data, 3, shuffle=True, prefetch=prefetch)
        assert as_bytes(loader.batches(seed=4, start=start)) == whole[start:]
        assert data.asked == max(0, 11 - 3 * start)


class OneByOne(TensorDataset):
    """The same items, but the loader must ask for each."""

    def __getitem__(self, index):
        return super().__getitem__(index)


@pytest.mark.parametrize("transform", [None, RandomAffine(30, (0.2, 0.1), (0.8, 1.3), fill=0.5), RandomCrop(4, padding=1)])
def test_a_batch_at_once_is_its_items_to_the_bit(transform):
    data = image(13, 2, 5, 4), minivgg.arange(13)
    at_once, singly = TensorDataset(*data, transform=transform), OneByOne(*data, transform=transform)
    assert (at_once.batch([1, 2]) is None) == isinstance(transform, RandomCrop)
    assert singly.batch([1, 2]) is None
    assert as_bytes(DataLoader(at_once, 5, shuffle=True).batches(seed=3)) == as_bytes(DataLoader(singly, 5, shuffle=True).batches(seed=3))


def test_the_thread_prepares_so_many_batches_and_no_more():
    data = Noisy(100)
    batches = iter(DataLoader(data, 1, prefetch=3))
    next(batches)
    deadline = time.monotonic() + 5
    while data.asked < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert data.asked == 4  # one handed out, three waiting
    batches.close()


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minivgg-loader")]


def test_breaking_off_ends_the_thread():
    for _ in DataLoader(Noisy(1000), 1, prefetch=2):
        assert loader_threads()
        break
    assert not loader_threads()
    batches = iter(DataLoader(Noisy(1000), 1, prefetch=2))
    next(batches)
    del batches
    assert not loader_threads()


class Broken(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return self.read(index)

    def read(self, index):
        if index == 5:
            raise ZeroDivisionError("a bad file")
        return index


@pytest.mark.parametrize("prefetch", [0, 4])
def test_an_exception_arrives_in_its_turn_with_its_traceback(prefetch):
    batches = iter(DataLoader(Broken(), 2, prefetch=prefetch))
    assert [next(batches).tolist(), next(batches).tolist()] == [[0, 1], [2, 3]]
    with pytest.raises(ZeroDivisionError, match="a bad file") as caught:
        next(batches)
    assert "read" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert caught.value.__notes__ == ["raised by item 5 of Broken, in batch 2"]
    assert not loader_threads()


def test_collate_agrees_with_pytorch():
    rng = numpy.random.default_rng(0)
    rows = [rng.random((2, 3)).astype("float32") for _ in range(3)]
    batch = [(row, {"i": i, "f": i / 2, "b": i > 0, "s": str(i)}, [i, numpy.float32(i)]) for i, row in enumerate(rows)]
    ours, theirs = default_collate(batch), torch.utils.data.default_collate(batch)

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        if hasattr(value, "tolist"):
            return str(value.dtype).removeprefix("torch."), value.tolist()
        return [plain(part) for part in value] if isinstance(value, tuple | list) else value

    assert plain(ours) == plain(theirs)
    assert plain(default_collate([minivgg.tensor(1.5), minivgg.tensor(2.5)])) == ("float32", [1.5, 2.5])


def test_loader_says_what_is_wrong():
    wrong = [
        (lambda: DataLoader([], 0), ArgumentError, "DataLoader: batch_size must be at least 1, got 0"),
        (lambda: DataLoader([], prefetch=-1), ArgumentError, "DataLoader: prefetch must be at least 0, got -1"),
        (lambda: TensorDataset(), ArgumentError, "TensorDataset: needs at least one tensor"),
        (lambda: TensorDataset(minivgg.zeros(2), minivgg.zeros(3)), ShapeError, "TensorDataset: the tensors must have one length, got 2, 3"),
        (lambda: default_collate([minivgg.zeros(2), minivgg.zeros(3)]), ShapeError,
         "default_collate: the items of a batch must have one shape, got (2,) and (3,); crop or resize them, or pass collate_fn"),
        (lambda: default_collate([(1, 2), (1,)]), ShapeError, "default_collate: the items of a batch must have one number of parts, got [1, 2]"),
        (lambda: default_collate([None]), DtypeError,
         "default_collate: takes tensors, arrays, numbers, text and tuples, lists or dicts of them, got NoneType; pass collate_fn"),
    ]  # fmt: skip
    for call, error, text in wrong:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == text


def test_subset_and_any_sequence_can_be_loaded():
    data = TensorDataset(minivgg.arange(10), transform=lambda x: x * 10)
    assert [batch.tolist() for (batch,) in DataLoader(Subset(data, [7, 1, 1]), 2)] == [[70, 10], [10]]
    assert [batch.tolist() for batch in DataLoader([3, 1, 2], 2)] == [[3, 1], [2]]
    assert data[-1][0].item() == 90
    with pytest.raises(IndexError):
        data[10]
