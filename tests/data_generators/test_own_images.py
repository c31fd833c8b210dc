"""A user's own images: any size and format, in splits or split here."""

import os
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_generators.decoding import Decoder
from data_generators.errors import UserError
from data_generators.own_images import load_image_folder
from tests.data_generators import synthetic_images as synthetic
from tests.data_generators.synthetic_images import encoded, of_class, picture, write

SPLITS = {"train/a": 2, "train/b": 2, "val/c": 1}


def close(actual, expected, error):
    """Whether images agree up to the changes that compression and resampling make."""
    return np.abs(actual.astype(int) - np.asarray(expected).astype(int)).mean() < error


def one(folder, content, suffix, **settings):
    """Writes one image into a folder and loads it."""
    write(folder, {f"train/a/x{suffix}": content})
    return load_image_folder(folder, **settings)["train"].images[0]


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP"), (".bmp", "BMP"), (".tif", "TIFF")]
)
def test_any_format_and_size_becomes_the_wanted_one(tmp_path, suffix, kind):
    image = one(tmp_path, encoded(picture("x", 120, 60), kind), suffix, side=30)
    assert image.shape == (30, 30, 3)
    assert close(image, picture("x", 120, 60).resize((30, 30), Image.Resampling.LANCZOS), 6)


def test_an_image_of_the_wanted_size_is_left_as_it_is(tmp_path):
    assert np.array_equal(one(tmp_path, encoded(picture("x", 30, 30), "PNG"), ".png", side=30), picture("x", 30, 30))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_kind_of_pixel_is_converted(tmp_path, mode, channels):
    source = picture("x", 30, 30, mode)
    image = one(tmp_path, encoded(source, "TIFF"), ".tif", side=30, channels=channels)
    assert image.shape == (30, 30, channels)
    expected = np.asarray(source.convert({1: "L", 3: "RGB"}[channels])).reshape(30, 30, channels)
    assert close(image, expected, 1)


def test_conversion_is_said_once(tmp_path, caplog):
    write(tmp_path, synthetic.tree({"train/a": 2}, mode="L", width=30))
    for _ in range(2):
        load_image_folder(tmp_path, side=30)
    assert caplog.text.count("2 images were not RGB and converted, such as") == 1
    caplog.clear()
    load_image_folder(tmp_path, side=30, channels=1)
    assert caplog.text == ""


def test_transparent_pixels_are_white_and_16_bits_become_8(tmp_path):
    clear = picture("x", 30, 30, "RGBA")
    clear.putalpha(0)
    assert one(tmp_path / "1", encoded(clear, "PNG"), ".png", side=30).min() == 255
    ramp = (np.arange(900).reshape(30, 30) * 72).astype(np.uint16)
    deep = one(tmp_path / "2", encoded(Image.fromarray(ramp), "PNG"), ".png", side=30, channels=1)
    assert np.array_equal(deep[..., 0], ramp >> 8)
    with pytest.raises(UserError, match=r"x\.tif has 32 bits a pixel: save it with 8 or 16"):
        one(tmp_path / "3", encoded(Image.fromarray(ramp.astype(np.float32)), "TIFF"), ".tif")


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # must be turned clockwise to be shown
    image = one(tmp_path, encoded(picture("x", 30, 30), "PNG", exif=exif), ".png", side=30)
    assert np.array_equal(image, np.rot90(np.asarray(picture("x", 30, 30)), -1))


@pytest.mark.parametrize("content", [b"", b"no image", synthetic.jpeg("x")[:700]])
def test_bad_image_is_named(tmp_path, content):
    with pytest.raises(UserError, match=rf"{tmp_path}/train/a/x\.png is (empty|no image that Pillow|damaged)"):
        one(tmp_path, content, ".png")


def test_stray_files_are_passed_over(tmp_path):
    write(tmp_path, synthetic.tree(SPLITS) | dict.fromkeys(["train/a/notes.txt", "train/a/.x.jpg", "labels.csv"], b""))
    splits = load_image_folder(tmp_path)
    assert {split: data.lengths.tolist() for split, data in splits.items()} == {"train": [2, 2], "val": [1]}


@pytest.mark.parametrize("name", ["features.h5", "film.mpg", "x.wmf", "x.grib", "x.bufr"])
def test_files_that_pillow_only_knows_by_name_are_passed_over(tmp_path, name):
    stray = {"features.h5": b"\x89HDF\r\n\x1a\n", "film.mpg": b"\x00\x00\x01\xb3" + bytes(8)}
    write(tmp_path, synthetic.tree(SPLITS) | {f"train/a/{name}": stray.get(name, b"") + bytes(100)})
    assert load_image_folder(tmp_path)["train"].lengths.tolist() == [2, 2]
    with pytest.raises(UserError, match=r"x\.png is no image that Pillow can read"):
        one(tmp_path / "1", stray["features.h5"] + bytes(100), ".png")


def test_photographs_of_several_pictures_are_read(tmp_path):
    content = encoded(picture("x", 30, 30), "MPO", save_all=True, append_images=[picture("y", 30, 30)])
    assert np.array_equal(one(tmp_path, content, ".jpg", side=30), synthetic.pixels(content))


@pytest.mark.parametrize("side", [0, 4097, 2**31, 10**18])
def test_absurd_sizes_are_refused(tmp_path, side):
    write(tmp_path, synthetic.tree({"train/a": 1}))
    with pytest.raises(UserError, match=rf"--image_size must be between 1 and 4096, not {side}"):
        load_image_folder(tmp_path, side=side)


@pytest.mark.parametrize("name", ["train/a/loop.png", "train/loop", "train"])
def test_links_that_lead_in_a_circle_are_one_sentence(tmp_path, name):
    write(tmp_path, synthetic.tree(SPLITS if name != "train" else {"val/c": 1}))
    (tmp_path / name).symlink_to(tmp_path / name)
    if name == "train":
        assert list(load_image_folder(tmp_path, side=8)) == ["val"]
    else:
        with pytest.raises(UserError, match=rf"cannot be read \(.*symbolic links: '{tmp_path}/{name}'\)"):
            load_image_folder(tmp_path, side=8)


def test_a_link_to_an_image_that_is_not_there_is_no_stray_file(tmp_path):
    write(tmp_path, synthetic.tree(SPLITS))
    (tmp_path / "train/a/gone.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(UserError, match=r"No such file.*train/a/gone\.png"):
        load_image_folder(tmp_path, side=8)


def test_image_that_disappears_while_the_others_are_decoded(tmp_path, monkeypatch):
    write(tmp_path, synthetic.tree(SPLITS))
    call = Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda self, path: path.unlink() or call(self, path))
    with pytest.raises(UserError, match=r"train/a/a00000001\.jpg is damaged or cannot be read \(.*No such file"):
        load_image_folder(tmp_path, side=8)
    assert not list(tmp_path.glob("*decoded*"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_need_not_be_utf_8(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write(folder, {f"train/{os.fsdecode(b'n' + bytes([i]))}/a.png": encoded(picture("a"), "PNG") for i in (0xE9, 0xFF)})
    for _ in range(2):  # first decoded, then read from the cache
        data = load_image_folder(folder, side=84)["train"]
        assert data.names == ("n\udce9", "n\udcff")
        assert np.array_equal(data.images, [picture("a")] * 2)


def test_one_level_of_classes_is_split_by_a_fixed_seed(tmp_path):
    names = [f"class{i:02d}" for i in range(25)]
    write(tmp_path, synthetic.tree({name: 2 for name in names}, width=8, height=8))
    splits = load_image_folder(tmp_path, side=8)
    assert {split: data.num_classes for split, data in splits.items()} == {"train": 16, "val": 4, "test": 5}
    assert sorted(name for data in splits.values() for name in data.names) == names
    assert splits["val"].names == ("class12", "class19", "class14", "class15")
    for data in splits.values():
        for name in data.names:
            contents = [(tmp_path / name / f"{name}{i:08d}.jpg").read_bytes() for i in (1, 2)]
            assert np.array_equal(of_class(data, name), [synthetic.pixels(content) for content in contents])
    assert len(list(tmp_path.glob("*.npy"))) == 1
    for image in tmp_path.glob("*/*.jpg"):
        image.unlink()
    assert load_image_folder(tmp_path, side=8)["val"].names == splits["val"].names


def test_every_size_has_its_own_cache(tmp_path):
    write(tmp_path, synthetic.tree(SPLITS))
    shapes = [load_image_folder(tmp_path, *size)["train"].images.shape[1:] for size in ((20, 3), (20, 1), (30, 3))]
    assert shapes == [(20, 20, 3), (20, 20, 1), (30, 30, 3)]
    assert len(list(tmp_path.glob("decoded_train_*.json"))) == 3


def test_class_in_two_splits_is_warned_of(tmp_path, caplog):
    load_image_folder(write(tmp_path, synthetic.tree({"train/a": 1, "test/a": 1})), side=8)
    assert "class a is in both train and test" in caplog.text


def test_no_images(tmp_path):
    with pytest.raises(UserError, match=rf"{tmp_path} holds no images: put them there as .*/<class>/<image> or "):
        load_image_folder(tmp_path)
    with pytest.raises(UserError, match=r"1 channel \(grey\) or 3 \(RGB\), not 2"):
        load_image_folder(tmp_path, channels=2)


@pytest.mark.parametrize(
    "names", [("train", "validation", "test"), ("Train", "VAL", "Test"), ("base", "valid", "novel")]
)
def test_splits_may_have_their_other_names(tmp_path, names):
    write(tmp_path, synthetic.tree({f"{name}/{letter}": 1 for name, letter in zip(names, "abc", strict=True)}))
    found = load_image_folder(tmp_path, side=8)
    assert {split: data.names for split, data in found.items()} == {"train": ("a",), "val": ("b",), "test": ("c",)}


def test_two_folders_of_a_split_are_refused(tmp_path):
    write(tmp_path, synthetic.tree({"train/a": 1, "val/b": 1, "validation/c": 1}))
    with pytest.raises(UserError, match="has two folders of the split val, val and validation: keep one"):
        load_image_folder(tmp_path, side=8)


def test_the_documented_program_sees_new_images_as_the_training_saw_its_own(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text(encoding="utf-8")
    text = text[text.index("    import numpy as np\n    import tensorflow as tf\n    from PIL") :]
    code = textwrap.dedent(text[: text.index("    model = ")])
    exif, clear = Image.Exif(), picture("x", 30, 20).convert("RGBA")
    exif[0x0112] = 6
    clear.putalpha(Image.linear_gradient("L").resize((30, 20)))
    images = {
        "a.jpg": encoded(picture("x", 120, 60), "JPEG"),
        "b.jpg": encoded(picture("y", 30, 20), "JPEG", exif=exif),
        "c.png": encoded(clear, "PNG"),
        "d.png": encoded(picture("z", 30, 20).convert("L"), "PNG"),
        "e.gif": encoded(picture("z", 30, 20).convert("P"), "GIF"),
    }
    write(tmp_path, {f"train/a/{name}": content for name, content in images.items()})
    found: dict = {}
    exec(code, found)
    pixels = found["pixels"](sorted((tmp_path / "train" / "a").iterdir()), side=16)
    np.testing.assert_allclose(255 * pixels, load_image_folder(tmp_path, side=16)["train"].images, atol=1e-3)
