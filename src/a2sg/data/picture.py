"""Decoding of untrusted images: a few file formats only, and no more pixels than a camera takes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from a2sg.data.untrusted import require_file
from a2sg.errors import InputError, told

PIXELS = 100_000_000
"""Maximum number of pixels of an image; its header says how many there are before any is read."""
FILE = 512 << 20
"""Maximum size of an image file, in bytes."""
KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Formats that are read, whatever a file is called. Among Pillow's others, one starts Ghostscript."""


class UnreadableImage(InputError):
    """An image that cannot be decoded.

    A data loader passes on a worker's error with the worker's traceback in its message; only the last line,
    the original message, is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.strip().rpartition(f"{type(self).__name__}: ")[2])


def decoded_image(item: bytes | str | Path, name: str) -> Image.Image:
    """The image in a file; of an animation, its first frame.

    Args:
        item: the content of the file, or its path.
        name: of the image, for errors.

    Raises:
        UnreadableImage: if it is damaged, missing, not one of `KINDS`, or has too many pixels.
    """
    wrong = f"image {name} is damaged or missing"
    large = f"image {name} has more than {PIXELS:,} pixels: scale it down"
    with told(wrong, UnreadableImage), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # faults raise; whatever decodes is used as it is
        with io.BytesIO(item) if isinstance(item, bytes) else _opened(Path(item)) as source:
            try:
                picture = Image.open(source, formats=KINDS)
            except UnidentifiedImageError as error:
                raise UnreadableImage(f"{wrong} (it is none of {', '.join(KINDS)})") from error
            except Image.DecompressionBombError as error:
                raise UnreadableImage(large) from error
            with picture:
                if picture.width * picture.height > PIXELS:
                    raise UnreadableImage(large)
                picture.load()
                if picture.im.mode != picture.mode:  # old versions of Pillow do this with some damaged GIFs
                    raise UnreadableImage(wrong)
                return picture


def eight_bits(picture: Image.Image, name: str) -> Image.Image:
    """The image with 8 bits per channel; 16 bits are scaled, where Pillow's `convert` cuts off at 255.

    Args:
        picture: as decoded. Masks do not belong here: their numbers are classes.
        name: of the image, for errors.

    Raises:
        UnreadableImage: for 32 bits per pixel, since nothing says which number is white.
    """
    sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    if sixteen:
        return Image.fromarray(((np.asarray(picture).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise UnreadableImage(
            f"image {name} has 32 bits per pixel (Pillow's mode {picture.mode}), and nothing says which "
            "number is white: save it with 8 or 16 bits"
        )
    return picture


class _File(io.BufferedReader):
    """A file that allocates no more for a read than it has: Pillow asks for what a chunk says it holds."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size

    def read(self, count: int | None = -1) -> bytes:
        if count is not None and count > io.DEFAULT_BUFFER_SIZE:
            count = min(count, max(0, self.size - self.tell()))
        return super().read(count)


def _opened(path: Path) -> _File:
    try:
        return _File(require_file(path, FILE))
    except InputError as error:
        raise UnreadableImage(str(error)) from error
