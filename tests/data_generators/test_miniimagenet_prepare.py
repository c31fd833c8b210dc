"""The preparation of miniImagenet: from folders and tars, interrupted and resumed, and from bad sources."""

import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_generators import files
from data_generators.errors import UserError
from data_generators.miniimagenet_prepare import prepare_miniimagenet, read_csv
from scripts import prepare_miniimagenet as script
from tests.data_generators import synthetic_images as synthetic
from tests.data_generators.synthetic_images import encoded, jpeg, picture, write, write_tar
from tests.data_generators.synthetic_omniglot import snapshot
from tests.data_generators.synthetic_packed import write_zip

CLASSES = {"train/n01": 3, "train/n02": 2, "val/n03": 2, "test/n04": 2}
FIRST = "n0100000001.jpg"


def csv_of(files, header="filename,label"):
    return "\n".join([header, *("{2},{1}".format(*name.split("/")) for name in files), ""]).encode()


@pytest.fixture
def contents():
    """{path: contents} of every image that the csv files name."""
    return synthetic.tree(CLASSES)


@pytest.fixture
def splits(tmp_path, contents):
    """The folder of the csv files."""
    by_split = {split: [name for name in contents if name.startswith(split)] for split in ("train", "val", "test")}
    return write(tmp_path / "splits", {f"{split}.csv": csv_of(names) for split, names in by_split.items()})


@pytest.fixture
def prepare(tmp_path, splits):
    """prepare(source, ...) prepares miniImagenet in tmp_path / "data"."""

    def call(*sources, resize=False):
        return prepare_miniimagenet(tmp_path / "data", sources, splits, resize)

    return call


def flat(contents):
    return {name.split("/")[2]: content for name, content in contents.items()}


def refused(prepare, source, match, **settings):
    with pytest.raises(UserError, match=match) as error:
        prepare(source, **settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["flat", "deep", "tar", "tar.gz", "zip", "folder of tars", "both"])
def test_images_are_copied_byte_for_byte(tmp_path, prepare, contents, kind):
    source = tmp_path / "source"
    val = {name: content for name, content in contents.items() if name.startswith("val")}
    others = {name: content for name, content in contents.items() if name not in val}
    if kind in ("flat", "deep"):
        sources = [write(source, flat(contents) if kind == "flat" else contents)]
    elif kind in ("tar", "tar.gz"):
        sources = [write_tar(source / f"all.{kind}", contents, mode="w:gz" if kind == "tar.gz" else "w")]
    elif kind == "zip":
        sources = [write_zip(source / "all.zip", contents)]
    elif kind == "folder of tars":
        write_zip(source / "a.zip", val)
        sources = [write_tar(source / "b.tar", others).parent]
    else:
        sources = [write_tar(source / "val.tar", val), write(tmp_path / "images", flat(others))]
    prepared = prepare(*sources)
    assert snapshot(tmp_path / "data") == {path: contents[str(path)] for path in snapshot(tmp_path / "data")}
    assert len(snapshot(tmp_path / "data")) == len(contents)
    assert prepared.wanted == {"train": 5, "val": 2, "test": 2}
    assert (prepared.missing, prepared.unused, prepared.strangers) == ({"train": [], "val": [], "test": []}, [], [])


def test_larger_images_are_shrunk_as_in_the_original(tmp_path, prepare, contents):
    images = {name: picture(name, 300, 200) for name in contents}
    for name, mode in (("train/n01/n0100000002.jpg", "L"), ("train/n01/n0100000003.jpg", "CMYK")):
        images[name] = picture(name, 300, 200, mode)
    source = write(tmp_path / "source", flat({name: encoded(image) for name, image in images.items()}))
    write(source, {FIRST: contents[f"train/n01/{FIRST}"]})
    prepare(source, resize=True)
    assert (tmp_path / "data/train/n01" / FIRST).read_bytes() == contents[f"train/n01/{FIRST}"]  # it was 84x84 already
    for name in list(contents)[1:]:
        image = Image.open(tmp_path / "data" / name)
        assert (image.size, image.mode, image.format) == ((84, 84), "RGB", "JPEG")
        whole = Image.open(source / name.split("/")[2]).convert("RGB")
        expected = Image.open(io.BytesIO(encoded(whole.resize((84, 84), Image.Resampling.LANCZOS))))
        assert np.array_equal(image, expected)


def test_images_named_as_in_imagenet_are_counted_in_the_order_of_their_numbers(tmp_path, prepare, contents):
    source = tmp_path / "source"
    for number, name in zip((7, 30, 100), ("1", "2", "3"), strict=True):
        write(source, {f"n01/n01_{number}.JPEG": contents[f"train/n01/n010000000{name}.jpg"]})
    prepared = prepare(source)
    assert len(snapshot(tmp_path / "data")) == 3
    for path in (f"train/n01/n010000000{name}.jpg" for name in ("1", "2", "3")):
        assert (tmp_path / "data" / path).read_bytes() == contents[path]
    assert prepared.missing["train"] == ["n0200000001.jpg", "n0200000002.jpg"]


@pytest.mark.parametrize("resize", [False, True])
def test_it_goes_on_where_it_was_stopped(tmp_path, prepare, contents, monkeypatch, resize):
    source = write(tmp_path / "source", flat(contents))
    replace, done = os.replace, []

    def stop_in_the_middle(*paths):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(replace(*paths))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", stop_in_the_middle)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, resize=resize)
    whole = [path for path in snapshot(tmp_path / "data") if path.suffix == ".jpg"]
    assert len(whole) == 4
    assert all((tmp_path / "data" / path).read_bytes() == contents[str(path)] for path in whole)
    times = {path: (tmp_path / "data" / path).stat().st_mtime_ns for path in whole}
    spoilt, zeros, *others = whole
    (tmp_path / "data" / spoilt).write_bytes(b"half")
    content = (tmp_path / "data" / zeros).read_bytes()  # its end was not on the disk when the power failed
    (tmp_path / "data" / zeros).write_bytes(content[:-300] + bytes(300))
    (tmp_path / "data" / spoilt.parent / f".{spoilt.name}.part").write_bytes(b"an earlier version's")
    prepare(source, resize=resize)
    assert snapshot(tmp_path / "data") == {path: contents[str(path)] for path in snapshot(tmp_path / "data")}
    assert len(snapshot(tmp_path / "data")) == len(contents)
    assert all((tmp_path / "data" / path).stat().st_mtime_ns == times[path] for path in others)


def test_missing_unused_and_strange_images_are_named(tmp_path, splits, contents, capsys):
    kept = {name: content for name, content in contents.items() if "test" not in name and FIRST not in name}
    source = write(tmp_path / "source", flat(kept) | {"n0900000001.jpg": b"not even looked at", "README": b""})
    write(tmp_path / "data", {"val/n03/mine.jpg": jpeg("mine")})
    arguments = [f"--source={source}", f"--csv_dir={splits}", f"--data_dir={tmp_path / 'data'}"]
    assert script.main(arguments) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train: 2 classes, 4 images",
        "val: 1 classes, 3 images",
        f"train: 1 of its 5 images are missing: {FIRST}",
        "test: none of its 2 images was found, so there is no test split",
        f"1 images are in no csv file and were left out: {source}/n0900000001.jpg",
        f"1 images are in no csv file but will be used, unless removed: {tmp_path}/data/val/n03/mine.jpg",
    ]
    assert (tmp_path / "data" / "decoded_train_84x84x3.json").exists()


def test_script_looks_where_the_original_does(tmp_path, splits, contents, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data/miniImagenet/images", flat(contents))
    write(tmp_path / "data/miniImagenet", {file.name: file.read_bytes() for file in splits.iterdir()})
    assert script.main([]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_script_says_what_is_wrong_and_ends_with_2(tmp_path, capsys):
    assert script.main([f"--source={tmp_path}", f"--data_dir={tmp_path / 'data'}"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "data/train.csv is missing: get train.csv, val.csv and test.csv from https://github.com/" in output.err
    assert len(output.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (jpeg("x")[:900], "is damaged"),
        (b"noise" * 50, "is no JPEG image"),
        (jpeg("x", width=100), "has 100x84 pixels, not 84x84"),
        (encoded(picture("x"), "PNG"), "is no JPEG image"),
    ],
)
@pytest.mark.parametrize("as_tar", [False, True])
def test_bad_image_is_named(tmp_path, prepare, contents, content, message, as_tar):
    files = flat(contents | {f"train/n01/{FIRST}": content})
    source = write_tar(tmp_path / "a.tar", files) if as_tar else write(tmp_path / "source", files)
    refused(prepare, source, rf"{source}(/|: ){FIRST} {message}")
    assert not (tmp_path / "data" / "train" / "n01" / FIRST).exists()


@pytest.mark.parametrize("name", ["../evil.jpg", "/evil.jpg", "a/../../evil.jpg", "C:\\evil.jpg", "..\\evil.jpg"])
def test_tar_that_leads_outside(tmp_path, prepare, contents, name):
    source = write_tar(tmp_path / "tars" / "a.tar", {name: b"evil"} | contents)
    refused(prepare, source, r"a\.tar is not safe: its entry '.*evil\.jpg' leads outside its folder")
    assert [file.name for file in tmp_path.rglob("*evil*")] == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_tar_with_a_link_or_a_device(tmp_path, prepare, contents, kind):
    entry = tarfile.TarInfo(FIRST)
    entry.type, entry.linkname = kind, "/etc/passwd"
    source = write_tar(tmp_path / "a.tar", {}, entry)
    refused(prepare, source, rf"a\.tar is not safe: its entry '{FIRST}' is a link or a device")


def test_tar_with_a_far_too_long_image(tmp_path, prepare):
    source = write_tar(tmp_path / "a.tar.gz", {FIRST: bytes(70_000_000)}, mode="w:gz")
    refused(prepare, source, rf"a\.tar\.gz: {FIRST} is longer than 67,108,864 bytes")


@pytest.mark.parametrize("keep", [0, 100, 0.35, 0.65])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_truncated_tar(tmp_path, prepare, contents, keep, mode):
    source = write_tar(tmp_path / "a.tar", contents, mode=mode)
    content = source.read_bytes()
    source.write_bytes(content[: int(keep * len(content)) if keep < 1 else keep])
    refused(prepare, source, r"a\.tar(: .*\.jpg)? is damaged .*: put a whole (one|image) in its place")
    assert all(path.suffix == ".jpg" for path in snapshot(tmp_path / "data"))


def test_compressed_tar_with_a_flipped_bit_changes_nothing_on_disk(tmp_path, prepare, contents):
    for mode in ("w:gz", "w:bz2", "w:xz"):
        source = write_tar(tmp_path / "a.tar", contents, mode=mode)
        damaged = bytearray(source.read_bytes())
        damaged[len(damaged) // 2] ^= 4
        source.write_bytes(damaged)
        refused(prepare, source, r"a\.tar is damaged or cannot be read")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["mini-imagenet-cache-train.pkl", "images", "notes.txt", "empty"])
def test_source_that_is_neither_folder_nor_archive(tmp_path, prepare, name):
    contents = {"mini-imagenet-cache-train.pkl": pickle.dumps({"image_data": 0}), "notes.txt": b"text" * 500}
    (source := tmp_path / name).write_bytes(contents.get(name, b""))
    if name == "images":
        with zipfile.ZipFile(source, "w") as archive:
            archive.writestr("a.jpg", b"x" * 2000)
    message = r"is not a folder, a zip or a tar of images \(.*\): if it is a pickle, give the folder that it is in"
    refused(prepare, source, f"{name} {message}")


def test_folder_that_must_not_be_read_is_not_passed_over(tmp_path, prepare, contents, monkeypatch):
    source = write(tmp_path / "source", contents)
    scandir = os.scandir

    def deny(path):
        if str(path).endswith("n02"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    refused(prepare, source, r"source/train/n02 is damaged or cannot be read \(.*Permission denied")


def test_pipe_is_no_image(tmp_path, prepare):
    os.mkfifo(write(tmp_path / "source", {"n01/x": b""}) / "n01" / FIRST)
    refused(prepare, tmp_path / "source", rf"{FIRST} is not a file: remove it")


def test_source_that_is_not_there_or_holds_nothing(tmp_path, prepare):
    refused(prepare, tmp_path / "nowhere", "nowhere does not exist: give --source")
    (tmp_path / "empty").mkdir()
    refused(prepare, tmp_path / "empty", "none of the 9 images of the csv files in .*splits is in .*empty")


BAD_CSV = {
    "no columns": (b"n01.jpg,n01\n", r"has no column 'filename': its first line must be filename,label"),
    "one column": (b"filename,class\nn01.jpg,n01\n", r"has no column 'label'"),
    "empty": (b"", r"has no column 'filename'"),
    "short line": (b"filename,label\nn01.jpg\n", r"line 2 of .*train\.csv has None where the name"),
    "leads outside": (b"filename,label\na.jpg,n01\n../a.jpg,n01\n", r"line 3 of .*train\.csv has '\.\./a\.jpg' where"),
    "outside class": (b"filename,label\na.jpg,..\n", r"line 2 of .*train\.csv has '\.\.' where"),
    "absolute": (b"filename,label\na.jpg,/etc\n", r"line 2 of .*train\.csv has '/etc' where"),
    "NUL in a name": (b"filename,label\na\0.jpg,n01\n", r"line 2 of .*train\.csv has 'a\\x00\.jpg' where"),
    "NUL in a class": (b'filename,label\na.jpg,"n\0"\n', r"line 2 of .*train\.csv has 'n\\x00' where"),
    "NUL in the header": (b"filename,la\0bel\na.jpg,n01\n", r"has no column 'label'"),
    "no text": (b"\xff\xfe\x00", r"train\.csv is damaged or cannot be read"),
    "long field": (b'filename,label\n"' + b"a" * 200_000, r"train\.csv is damaged or cannot be read .*field larger"),
}


@pytest.mark.parametrize("bad", BAD_CSV)
def test_bad_csv(tmp_path, prepare, splits, contents, bad):
    write(splits, {"train.csv": BAD_CSV[bad][0]})
    refused(prepare, write(tmp_path / "source", flat(contents)), BAD_CSV[bad][1])
    assert not (tmp_path / "data").exists()


def test_csv_with_further_columns_and_a_byte_order_mark(tmp_path):
    write(tmp_path, {"a.csv": b"\xef\xbb\xbflabel,filename,more\r\nn01,a.jpg,\0\r\n"})
    assert read_csv(tmp_path / "a.csv") == [("a.jpg", "n01")]


def test_place_that_cannot_be_written(tmp_path, prepare, contents):
    data = write(tmp_path / "data", {"train/n01": b"mine"})
    refused(prepare, write(tmp_path / "source", flat(contents)), rf"data/train/n01/{FIRST} cannot be written")
    assert (data / "train" / "n01").read_bytes() == b"mine"
