"""Lists of classes in published formats, and folders of images that are split by them."""

import json

import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.own_images import load_image_folder
from data_generators.splits import by_shares, identified, identity, read_splits
from tests.data_generators import synthetic_images as synthetic
from tests.data_generators.synthetic_images import of_class, write

LISTS = {"train": ["002.Laysan", "001.Black footed", "005.Crested"], "val": ["003.Sooty"], "test": ["004.Groove"]}
SORTED = {split: sorted(names) for split, names in LISTS.items()}
NAMES = sorted(name for names in LISTS.values() for name in names)


def easy(names):
    """A list of classes in the format of easy-few-shot-learning."""
    return json.dumps({"class_names": names, "class_roots": [f"./data/CUB/images/{name}" for name in names]}, indent=4)


def closer_look(names):
    """A list of classes in CloserLookFewShot's format: the names of all classes, and the images of the split."""
    labels = [NAMES.index(name) for name in names for _ in range(2)]
    images = [f"/home/x/CUB/{NAMES[label]}/{i}.jpg" for i, label in enumerate(labels)]
    return json.dumps({"label_names": NAMES, "image_names": images, "image_labels": labels})


def csv(header, line):
    return lambda names: "\n".join([header, *(line.format(name=name, i=i) for name in names for i in range(2)), ""])


META_DATASET = json.dumps({"train": LISTS["train"], "test": LISTS["test"], "valid": LISTS["val"]})
FORMS = {
    "train val test .json": easy,
    "base val novel .json": closer_look,
    "train valid test .json": json.dumps,
    "train val test .csv": csv("filename,label", "{name}0000000{i}.jpg,{name}"),
    "train validation test .csv": csv("class_name,image_name", "{name},{name}_{i}.JPEG"),
    "train val test .txt": "\n".join,
}


def folder(path, form, encode=str.encode):
    """Writes the lists as three files."""
    *stems, suffix = form.split()
    write(path, {f"{s}{suffix}": encode(FORMS[form](n)) for s, n in zip(stems, LISTS.values(), strict=True)})
    return path


def file(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", ["as it is", "of Windows"])
def test_every_form_is_read(tmp_path, form, ending):
    windows = ending == "of Windows"  # a byte order mark, and two characters at the end of a line
    encode = (lambda text: text.replace("\n", "\r\n").encode("utf-8-sig")) if windows else str.encode
    assert read_splits(folder(tmp_path, form, encode)) == SORTED


def test_one_file_for_all_splits_is_read(tmp_path):
    path = file(tmp_path / "cu_birds_splits.json", META_DATASET)
    assert read_splits(path) == SORTED
    assert list(read_splits(path)) == ["train", "val", "test"]
    assert read_splits(file(path, '{"train": [90, 38], "test": [5]}')) == {"train": ["38", "90"], "test": ["5"]}


def test_other_files_of_the_folder_are_passed_over(tmp_path):
    folder(tmp_path, "train val test .txt")
    write(tmp_path, {"trainval.txt": b"x", "README.md": b"x", "train.jpg": b"x"})
    assert read_splits(tmp_path) == SORTED


def test_lists_are_identified_by_what_they_say(tmp_path):
    path = file(tmp_path / "birds.json", META_DATASET)
    first = identified(path)
    assert first == f"{path}#{identity(first)}"
    assert len(identity(first)) == 8
    assert {identity(identified(folder(tmp_path / str(i), form))) for i, form in enumerate(FORMS)} == {identity(first)}
    assert read_splits(first) == SORTED
    assert identified(first) == first
    file(path, META_DATASET.replace("003.Sooty", "006.Least"))
    assert identity(identified(path)) != identity(first)
    with pytest.raises(UserError, match=rf"the lists of .*birds\.json are not those of #{identity(first)} any more"):
        read_splits(first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "lists no split"),
        ("[1, 2]", "must have a list of classes for each split"),
        ('{"train": {"a": 1}}', "must have lists of class names"),
        ('{"train": "abc"}', "must have lists of class names"),
        ('{"train": ["a", null]}', "must have lists of class names"),
        ('{"train": ["a"], "trainval": ["b"]}', "lists the split 'trainval': splits are train, val"),
        ('{"train": ["a"], "val": ["b"], "valid": ["c"]}', "lists the split val twice"),
        ('{"train": ["a"], "test": []}', "lists no class for the split test: add some, or leave the split out"),
        ('{"train": ["a", "b", "a"]}', "lists classes twice in a split: a; list each once"),
        (
            '{"train": ["a", "b", "c"], "val": ["d", "b"], "test": ["c"]}',
            "lists class b in train and val, and 1 more likewise: a class must be in one split only",
        ),
        ('{"train": ["a"], "train": ["b"], "val": ["c"]}', "(it has 'train' twice): give lists"),
        ('{"train": ["a"', "is damaged or cannot be read (Expecting ',' delimiter"),
        ("[" * 100_000, "is damaged or cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, text, message):
    path = file(tmp_path / "splits.json", text)
    with pytest.raises(UserError) as error:
        read_splits(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train.csv": b"a.jpg,x\nb.jpg,y\n"}, "has no column label: its first line must be filename,label"),
        ({"train.csv": b"filename,label\na.jpg\n"}, "has a line without a label"),
        ({"train.txt": "caf\xe9".encode("latin1")}, "give lists of classes as UTF-8 text"),
        ({"train.txt": b"\n \n"}, "lists no class for the split train"),
        ({"train.txt": b"x", "train.csv": b"filename,label\na,x"}, "has several lists of the split train"),
        ({"train.json": b'{"class_names": "abc"}'}, "must have lists of class names"),
        ({"train.json": b'{"label_names": ["a"], "image_labels": [1]}'}, "damaged or cannot be read"),
        ({"train.json": b'{"label_names": ["a"], "image_labels": [-1]}'}, "it has no name for the label -1"),
        ({"splits.txt": b"x"}, "has no lists of classes: put train, val and test there as .json, .csv or .txt"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(tmp_path, files, message):
    with pytest.raises(UserError) as error:
        read_splits(write(tmp_path, files))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_path_to_the_wrong_place_is_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no .*birds: --splits takes a file or folder"):
        read_splits(tmp_path / "birds")
    with pytest.raises(UserError, match=r"train\.txt lists one split: give --splits its folder, "):
        read_splits(folder(tmp_path, "train val test .txt") / "train.txt")


@pytest.mark.parametrize("suffix", [".csv", ".txt", ".TXT"])
def test_one_file_that_is_not_json_is_told_what_is_taken(tmp_path, suffix):
    with pytest.raises(
        UserError, match=rf"all\{suffix} must be a file of JSON, or a folder with train\{suffix.lower()},"
    ):
        read_splits(file(tmp_path / f"all{suffix}", "filename,label\na,x"))


def test_the_case_of_names_and_spaces_after_commas_do_not_count(tmp_path):
    files = {"Train.CSV": b"filename, label\na.jpg, x\n", "VAL.csv": b"label,filename,more\ny,a.jpg,1\n"}
    assert read_splits(write(tmp_path, files)) == {"train": ["x"], "val": ["y"]}


@pytest.mark.parametrize("split", ["abc", 3])
def test_lists_that_are_none_are_refused(tmp_path, split):
    with pytest.raises(UserError, match=f"splits must have a list of class names for the split val, not {split!r}"):
        load_image_folder(tmp_path, side=8, splits={"train": ["a"], "val": split})


def test_names_may_be_numbers(tmp_path):
    write(tmp_path, synthetic.tree({"1": 1, "10": 1, "2": 1}, width=8, height=8))
    splits = load_image_folder(tmp_path, side=8, splits={"train": [10, 1], "val": [2]})
    assert {split: data.names for split, data in splits.items()} == {"train": ("1", "10"), "val": ("2",)}


def test_shares_cut_one_shuffled_list():
    assert by_shares(5, (0.6, 0.2, 0.2)) == {"train": [2, 3, 4], "val": [0], "test": [1]}
    assert by_shares(5, (0.6, 0.4)) == {"train": [2, 3, 4], "val": [0, 1]}


@pytest.fixture
def images(tmp_path):
    """A folder of seven classes of two images each: those of LISTS, and two others."""
    classes = dict.fromkeys([*NAMES, "006.Least", "F-16A_B"], 2)
    return write(tmp_path / "images", synthetic.tree(classes, width=8, height=8))


def test_images_are_split_by_the_lists(images, tmp_path):
    splits = load_image_folder(images, side=8, splits=file(tmp_path / "birds.json", META_DATASET))
    assert {split: list(data.names) for split, data in splits.items()} == SORTED
    for data in splits.values():
        for name in data.names:
            contents = [(images / name / f"{name}{i:08d}.jpg").read_bytes() for i in (1, 2)]
            assert np.array_equal(of_class(data, name), [synthetic.pixels(content) for content in contents])
    assert len(splits["train"].images) == 10  # the others are not decoded


def test_other_lists_of_the_same_classes_share_the_array(images, tmp_path):
    others = {"train": NAMES[:2], "val": NAMES[2:4], "test": NAMES[4:]}
    first = load_image_folder(images, side=8, splits=LISTS)
    second = load_image_folder(images, side=8, splits=others)
    assert second["train"].images.filename == first["train"].images.filename
    assert len(list(images.glob("*.npy"))) == 1
    load_image_folder(images, side=8)
    assert len(list(images.glob("*.npy"))) == 2  # one with the classes in no list, too
    for image in images.glob("*/*.jpg"):
        image.unlink()
    assert load_image_folder(images, side=8, splits=LISTS)["val"].names == ("003.Sooty",)


def test_names_fit_folders_but_for_spaces_at_the_ends_and_slashes(images):
    splits = load_image_folder(images, side=8, splits={"train": [" 006.Least ", "F-16A/B"], "valid": ["003.Sooty"]})
    assert splits["train"].names == ("006.Least", "F-16A_B")
    assert list(splits) == ["train", "val"]


def test_lists_of_other_data_are_refused(images, tmp_path):
    path = file(tmp_path / "fungi.json", json.dumps({"train": [f"{i:04d}.x" for i in range(13)], "test": NAMES[:1]}))
    with pytest.raises(UserError) as error:
        load_image_folder(images, side=8, splits=path)
    assert f"13 of the 14 classes of {path} have no folder of images in {images}: 0000.x, 0001.x" in str(error.value)
    assert "0009.x and 3 more; give --splits the lists of these data" in str(error.value)
    with pytest.raises(UserError, match=r"5 of the 5 classes of splits have no folder of images in "):
        load_image_folder(tmp_path / "empty", side=8, splits=LISTS)
    assert not list(images.glob("decoded*"))
