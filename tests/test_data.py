"""Data: the digits are the published ones, and transforms agree with PyTorch."""

import hashlib
import importlib.util
import math
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

import minivgg
from minivgg.data import digits, load_image
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
