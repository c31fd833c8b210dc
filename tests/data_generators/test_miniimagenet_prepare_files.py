"""The preparation of miniImagenet from zips, and from pickles."""

import zipfile

import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.miniimagenet import load_miniimagenet
from data_generators.miniimagenet_prepare import prepare_miniimagenet
from scripts import prepare_miniimagenet as script
from tests.data_generators import synthetic_images as synthetic
from tests.data_generators import synthetic_packed as packed
from tests.data_generators.synthetic_images import jpeg, of_class, write
from tests.data_generators.synthetic_packed import write_zip

CONTENTS = synthetic.tree({"train/n01": 3})
CSV = "filename,label\n" + "".join(f"{name.split('/')[2]},n01\n" for name in CONTENTS)


def refused(folder, source, match):
    splits = {"train.csv": CSV.encode(), "val.csv": b"filename,label\n", "test.csv": b"filename,label\n"}
    write(folder / "splits", splits)
    with pytest.raises(UserError, match=match) as error:
        prepare_miniimagenet(folder / "data", [source], folder / "splits")
    assert "\n" not in str(error.value)


def test_damaged_zip(tmp_path):
    source = write_zip(tmp_path / "a.zip", CONTENTS, zipfile.ZIP_STORED)
    whole = source.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:3000] + bytes([whole[3000] ^ 4]) + whole[3001:], b""):
        source.write_bytes(damaged)
        refused(tmp_path, source, r"a\.zip(: .*jpg)? is damaged or cannot be read")


@pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "C:/evil.jpg"])
def test_zip_that_is_not_safe(tmp_path, name):
    source = write_zip(tmp_path / "a.zip", {name: b"evil"} | CONTENTS)
    refused(tmp_path, source, r"a\.zip is not safe: its entry '.*evil\.jpg' leads outside its folder")


def test_pickles_are_decoded_into_the_caches_and_need_no_csv_files(tmp_path, capsys):
    (tmp_path / "source").mkdir()
    packed.cache(tmp_path / "source")
    given = [f"--source={tmp_path / 'source'}", f"--data_dir={tmp_path / 'data'}"]
    assert script.main(given) == 0
    assert (
        capsys.readouterr().out == "train: 3 classes, 12 images\nval: 1 classes, 4 images\ntest: 1 classes, 4 images\n"
    )
    data = load_miniimagenet(tmp_path / "data")["train"]
    np.testing.assert_array_equal(of_class(data, "n02"), packed.expected("n02"))
    for more in (f"--csv_dir={tmp_path}", f"--source={tmp_path}"):
        assert script.main([*given, more]) == 2
        assert "give only their folder as --source, and no --csv_dir" in capsys.readouterr().err
    write(tmp_path / "data", {"train/n01/1.jpg": jpeg("a")})
    assert script.main(given) == 2
    assert "data has images in folders, which are used first: give another --data_dir" in capsys.readouterr().err
