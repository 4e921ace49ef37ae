"""Image files: every kind of pixel as it was meant, and what is wrong with a file is named."""

import struct
import tracemalloc
import zlib

import numpy
import pytest
from PIL import Image

from minivgg.data import load_image
from minivgg.errors import FileError


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
