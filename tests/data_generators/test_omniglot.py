"""Omniglot from every possible source: the characters, pixels and split are the same."""

import random
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_generators.errors import UserError
from data_generators.omniglot import to_pixels
from tests.data_generators import synthetic_omniglot as synthetic
from tests.data_generators.synthetic_omniglot import assert_whole, by_name, load, snapshot, spoil

BACKGROUND = "images_background"
EVALUATION = "images_evaluation"
FIRST = "Greek/character01/0001_01.png"


def zips(folder):
    return synthetic.write_zips(folder)


def folders(folder):
    for part in synthetic.CHARACTERS:
        synthetic.write_folder(folder / part, synthetic.files(part))
    return folder


def zip_and_folder(folder):
    synthetic.write_zip(folder / f"{BACKGROUND}.zip", synthetic.files(BACKGROUND))
    synthetic.write_folder(folder / EVALUATION, synthetic.files(EVALUATION))
    return folder


def zips_without_folder(folder):
    for part in synthetic.CHARACTERS:
        synthetic.write_zip(folder / f"{part}.zip", synthetic.files(part), folder="")
    return folder


def flat(folder):
    for part in synthetic.CHARACTERS:
        synthetic.write_folder(folder, synthetic.files(part))
    return folder


def flat_in_its_folder(folder):
    flat(folder / "omniglot_resized")
    return folder


SOURCES = [zips, folders, zip_and_folder, zips_without_folder, flat, flat_in_its_folder]


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_characters_and_split(source, tmp_path, monkeypatch):
    source(tmp_path)
    before = snapshot(tmp_path)
    first = load(tmp_path)
    assert_whole(first)
    monkeypatch.setattr("data_generators.omniglot._decode", None)  # from here on, only the cache can be used
    for splits in (first, load(tmp_path)):
        assert {split: data.names for split, data in splits.items()} == expected_split()
        assert_whole(splits)
    assert len(snapshot(tmp_path)) == len(before) + 1
    assert before.items() <= snapshot(tmp_path).items()


def expected_split():
    names = sorted(name for names in synthetic.CHARACTERS.values() for name in names)
    random.Random(1).shuffle(names)
    return {"train": tuple(names[:5]), "val": tuple(names[5:7]), "test": tuple(names[7:])}


def test_flat_tree_may_be_resized_already(tmp_path):
    for part in synthetic.CHARACTERS:
        synthetic.write_folder(tmp_path, synthetic.files(part, side=28))
    images = by_name(load(tmp_path))["Greek/character01"]
    assert np.array_equal(images[0, :, :, 0] == 0, np.asarray(synthetic.drawing(FIRST, side=28)))


def test_nearest_pixel_is_what_pillow_gives_for_any_filter():
    image = synthetic.drawing("any")
    nearest = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)
    ink = ~np.asarray(image)[np.ix_(nearest, nearest)]
    assert np.array_equal(to_pixels(image), np.where(ink, 255, 0))
    for resample in (Image.Resampling.LANCZOS, Image.Resampling.NEAREST):
        assert np.array_equal(~np.asarray(image.resize((28, 28), resample)), ink)
    assert np.array_equal(to_pixels(image.convert("L")), to_pixels(image))


def test_missing_zips_are_downloaded_and_present_ones_kept(serve, tmp_path):
    www = synthetic.write_zips(tmp_path / "www")
    address, edition = serve(www), synthetic.edition(www)
    assert_whole(load(tmp_path / "both", download=True, base_url=address, edition=edition))
    mine = synthetic.write_zip(tmp_path / "one" / f"{BACKGROUND}.zip", synthetic.files(BACKGROUND), folder="")
    before = mine.read_bytes()
    assert_whole(load(tmp_path / "one", download=True, base_url=address, edition=edition))
    assert mine.read_bytes() == before
    assert (tmp_path / "one" / f"{EVALUATION}.zip").read_bytes() == (www / f"{EVALUATION}.zip").read_bytes()


def test_download_of_other_content_is_refused(serve, tmp_path):
    www = synthetic.write_zips(tmp_path / "www")
    edition = synthetic.edition(www)
    synthetic.write_zip(www / f"{EVALUATION}.zip", {"spoilt": b""})
    address = serve(www)
    with pytest.raises(UserError, match=r"broke after|not the expected images_evaluation\.zip"):
        load(tmp_path / "data", download=True, base_url=address, edition=edition)
    assert [file.name for file in (tmp_path / "data").iterdir()] == [f"{BACKGROUND}.zip"]


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_stray_files_are_ignored(as_zip, tmp_path):
    stray = ("README", ".DS_Store", "Greek/Thumbs.db", "Greek/character01/Thumbs.db", "Greek/character01/.hidden.png")
    stray += ("__MACOSX/Greek/._0001_01.png", "Greek/figure.png", "Greek/character01/more/0001_01.png", ".git/a/b.png")
    spoil(tmp_path, BACKGROUND, lambda c: c.update(dict.fromkeys(stray, b"stray")), as_zip)
    (tmp_path / "README").write_bytes(b"stray")
    if as_zip:
        with zipfile.ZipFile(tmp_path / f"{BACKGROUND}.zip", "a") as archive:
            archive.writestr(f"__MACOSX/{BACKGROUND}/Greek/character01/._0001_01.png", b"stray")
            archive.mkdir(f"{BACKGROUND}/Greek/character01/folder.png")
    assert_whole(load(tmp_path))
