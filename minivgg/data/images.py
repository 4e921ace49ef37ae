"""Images from files, of which nothing is believed: bombs, truncated files and formats that execute something are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from minivgg.errors import ArgumentError, FileError
from minivgg.files import not_regular

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Pillow would hand EPS to Ghostscript, a program that runs what the file says."""

MOST_PIXELS = 1 << 26
"""A file of a kilobyte can promise any number of pixels; 67 million are 8192x8192."""


def load_image(path: str | Path, mode: str = "RGB") -> Any:
    """Read an image file as a Pillow image of 8 bits a channel, upright, in ``mode``: "RGB", or "L" for grey.

    Upright means: turned as its EXIF orientation says. 16 bits a channel are scaled to 8. What is transparent lies on white.
    Of an animated image, the first frame is taken. Raises FileError, which names the file and what is wrong with it: for a
    file that is no image, truncated, damaged, larger than MOST_PIXELS, or that holds numbers without a known range (32 bits).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    if mode not in ("RGB", "L"):
        raise ArgumentError("load_image", f'mode must be "RGB" or "L", got {mode!r}')
    kind = not_regular(path)
    if kind is not None:
        raise FileError("load_image", f"{path} is {kind}, not a file")
    with path.open("rb") as file:
        try:
            image = Image.open(file, formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise FileError("load_image", f"{path} has {image.width}x{image.height} pixels, more than the {MOST_PIXELS:,} that are read")
            if image.format == "PNG":
                image.verify()  # the sums that decoding does not look at
                file.seek(0)
                image = Image.open(file, formats=FORMATS)
            return _in_mode(ImageOps.exif_transpose(image), image.format, mode, path)
        except FileError:
            raise
        except UnidentifiedImageError:
            raise FileError("load_image", f"{path} is not an image that can be read ({', '.join(FORMATS)})") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise FileError("load_image", f"{path} has more than the {MOST_PIXELS:,} pixels that are read") from None
        except Exception as error:  # a decoder can stumble over damage in any way
            raise FileError("load_image", f"{path} is damaged or truncated: {error}") from None


def _in_mode(image: Any, kind: str | None, mode: str, path: Path) -> Any:
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        image = Image.fromarray(((numpy.asarray(image).astype("uint32") + 128) // 257).astype("uint8"))  # 65535 is 257 * 255
    elif image.mode in ("I", "F"):
        raise FileError("load_image", f"{path} has pixels of 32 bits, whose range is not known; scale them to 8 bits first")
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
