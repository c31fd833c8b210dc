"""Damage to an image is found wherever it can be, and is not mistaken for a lack of memory."""

import io

import numpy as np
import pytest
from PIL import Image

from data_generators import decoding
from data_generators.decoding import Decoder
from data_generators.errors import UserError
from tests.data_generators.synthetic_images import encoded, jpeg, picture
from tests.data_generators.synthetic_omniglot import drawing


def seen_by_pillow(damaged, image):
    """Whether Pillow itself refuses the damaged file, or reads the right picture from it."""
    try:
        return np.array_equal(Image.open(io.BytesIO(damaged)), image)
    except Exception:
        return True


def test_no_flipped_bit_of_a_png_gives_another_picture():
    image = drawing("any")
    contents, decoder = encoded(image, "PNG"), Decoder(105, 1, resize=True)
    random, unseen, refused = np.random.default_rng(0), 0, 0
    for place in random.integers(len(contents), size=1000):
        damaged = bytearray(contents)
        damaged[place] ^= 1 << random.integers(8)
        unseen += not seen_by_pillow(damaged, image)
        try:
            pixels = decoder.image(bytes(damaged), "x.png")
        except UserError:
            refused += 1
        else:
            assert np.array_equal(pixels, image.convert("L"))
    assert unseen > 3
    assert refused > 950


def test_png_that_lacks_its_end_is_refused():
    contents = encoded(picture("x", 12, 12), "PNG")
    for end in (-5, -12, -13, -20, 40, 8):
        with pytest.raises(UserError, match=r"x\.png is (damaged|no image)"):
            Decoder(12, 3, resize=True).image(contents[:end], "x.png")


def no_memory(*_, **__):
    raise MemoryError


def test_lack_of_memory_is_no_damage(monkeypatch):
    content = jpeg("x")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "resize", no_memory)
        message = r"not enough memory for images of 4,000x4,000 pixels: use a smaller --image_size"
        with pytest.raises(UserError, match=message):
            Decoder(4000, 3, resize=True).image(content, "x.jpg")
    monkeypatch.setattr(Image.Image, "convert", no_memory)
    with pytest.raises(UserError, match=r"not enough memory to decode x\.jpg: free some, or put a smaller image in"):
        Decoder(84, 1, resize=True).image(content, "x.jpg")


def test_image_with_too_many_pixels_is_not_called_damaged(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(
        UserError, match=r"x\.jpg has too many pixels .*: put a smaller image in its place, or remove it"
    ):
        decoding.open_image(jpeg("x"), "x.jpg")
