"""Decodes image files to arrays of one shape; an error names the file that is not a whole image."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import EpsImagePlugin, Image, ImageFile, ImageOps, UnidentifiedImageError

from data_generators.errors import UserError
from data_generators.files import reading

MODES = {1: "L", 3: "RGB"}  # Pillow's modes, by the number of channels
_COLOURS = {"L": "grey", "RGB": "RGB"}


class Decoder:
    """Reads image files as uint8 [side, side, channels]; may be called from several threads.

    Images of another mode, such as grey or CMYK, are converted; `report` logs how many. Transparent pixels are put on a
    white background; of 16-bit grey, the upper 8 bits are kept.

    Args:
        side: height and width in pixels.
        channels: 1, grey, or 3, RGB.
        resize: whether to stretch images of other sizes with the Lanczos filter, as the original did for miniImagenet;
            otherwise another size is an error.
        upright: whether to rotate images as their EXIF data say.
        formats: Pillow's names of the formats to read; default: all that it knows.
    """

    def __init__(self, side: int, channels: int, resize: bool, upright: bool = False, formats: list[str] | None = None):
        self.shape = (side, side, channels)
        self._mode = MODES[channels]
        self.resize = resize
        self._upright = upright
        self._formats = formats
        self._converted: set[str] = set()

    def __call__(self, path: Path) -> np.ndarray:
        """Decodes the image at a path.

        Raises:
            UserError: it is empty, damaged, no image at all, or of another size than expected.
        """
        with reading(path):
            contents = path.read_bytes()
        return np.asarray(self.image(contents, str(path))).reshape(self.shape)

    def image(self, contents: bytes, name: str) -> Image.Image:
        """Decodes, converts and resizes the image in these bytes; errors are those of `__call__`, with this name."""
        return self._fitted(open_image(contents, name, self._formats), name)

    def pixels(self, pixels: np.ndarray, name: str) -> np.ndarray:
        """As `__call__`, for an image that is decoded: uint8 [height, width, 1 or 3], or [height, width] if grey."""
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (1,), (3,)):
            raise UserError(
                f"{name} is {pixels.dtype} of shape {pixels.shape}, and not an image: uint8 of height x width x 1 or 3."
            )
        if pixels.shape == self.shape:
            return pixels
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
        return np.asarray(self._fitted(image, name)).reshape(self.shape)

    def _fitted(self, image, name):
        size = self.shape[1::-1]
        if not self.resize and image.size != size:
            width, height = image.size
            raise UserError(f"{name} has {width}x{height} pixels, not {size[0]}x{size[1]}.")
        with whole(name):
            if image.mode != self._mode:
                self._converted.add(name)
            if self._upright:
                image = ImageOps.exif_transpose(image)
            image = _converted(image, self._mode, name)
            image.load()
        return image if image.size == size else self._resized(image)

    def _resized(self, image):
        width, height = self.shape[1::-1]
        try:
            return image.resize((width, height), Image.Resampling.LANCZOS)
        except MemoryError as error:
            raise UserError(
                f"there is not enough memory for images of {width:,}x{height:,} pixels: use a smaller --image_size."
            ) from error

    def report(self) -> None:
        """Logs how many images have been converted since the last report, if any."""
        if self._converted:
            converted, self._converted = sorted(self._converted), set()
            number = f"{len(converted)} images were" if len(converted) > 1 else "1 image was"
            message = "%s not %s and converted, such as %s"
            logging.getLogger(__name__).warning(message, number, _COLOURS[self._mode], converted[0])


def open_image(contents: bytes, name: str, formats: list[str] | None = None) -> Image.Image:
    """Reads the header of an image.

    Args:
        contents: bytes of the file.
        name: name of the file, for errors.
        formats: Pillow's names of the formats to read; default: all that it knows.

    Returns:
        The image, whose pixels are not decoded yet: decode them within `whole`.

    Raises:
        UserError: these bytes are not an image.
    """
    if not contents:
        raise UserError(f"{name} is empty: put a whole image in its place, or remove it.")
    with whole(name):
        try:
            image = checked(contents, formats)
        except UnidentifiedImageError:
            image = None
    if image is None or not is_decoded(image.format):
        kind = " or ".join(formats) + " image" if formats else "image that Pillow can read"
        raise UserError(f"{name} is no {kind}: put a whole one in its place, or remove it.")
    return image


def checked(contents: bytes, formats: list[str] | None = None) -> Image.Image:
    """Opens an image as `Image.open`, but verifies the checksums of PNGs, which Pillow ignores when it decodes them.

    Other formats have no checksums, so damage to them is found only if it makes decoding impossible.
    """
    image = Image.open(io.BytesIO(contents), formats=formats)
    if image.format != "PNG":
        return image
    image.verify()  # a verified image cannot be decoded
    return Image.open(io.BytesIO(contents), formats=["PNG"])


def is_decoded(kind: str) -> bool:
    """Whether Pillow can decode a format; of some, such as HDF5 and MPEG, it knows only the name."""
    opener, *_ = Image.OPEN.get(kind, (None,))  # JPEG's opener may give MPO, which is not listed
    if kind == "EPS":
        return bool(EpsImagePlugin.has_ghostscript())
    return kind != "MPEG" and not (isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile))


@contextmanager
def whole(name: str) -> Iterator[None]:
    """Turns any error that Pillow raises while it decodes an image into one sentence; `name` is the image's name."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Pillow documents no list of what a damaged image may raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, MemoryError):
            message = f"there is not enough memory to decode {name}: free some, or put a smaller image in its place."
        elif isinstance(error, Image.DecompressionBombError):
            message = f"{name} has too many pixels ({reason}): put a smaller image in its place, or remove it."
        else:
            message = f"{name} is damaged ({reason}): put a whole image in its place, or remove it."
        raise UserError(message) from error


def _converted(image: Image.Image, mode: str, name: str) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode in ("I", "F"):
        raise UserError(f"{name} has 32 bits a pixel: save it with 8 or 16 bits a pixel.")
    if image.mode.startswith("I;16"):  # Pillow itself would make everything above 255 white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)
