"""CIFAR-FS and FC100: the lists of their classes, and CIFAR-100 from its archive, unpacked or downloaded."""

import dataclasses
import pickle

import numpy as np
import pytest

from data_generators import cifar, pickles
from data_generators.cifar import CIFAR_FS, FC100, FC100_SUPERCLASSES, SUPERCLASSES, Edition, load_cifar
from data_generators.errors import UserError
from tests.data_generators import synthetic_cifar as synthetic
from tests.data_generators.synthetic_images import of_class, write
from tests.data_generators.synthetic_omniglot import snapshot

ARCHIVE = "cifar-100-python.tar.gz"


def load(folder, edition=None, url="http://127.0.0.1:1"):
    return load_cifar(folder, synthetic.SPLITS, url, edition or Edition(synthetic.SUPERCLASSES, 6))


def check(splits):
    expected = synthetic.images()
    assert {split: data.names for split, data in splits.items()} == synthetic.SPLITS
    for data in splits.values():
        assert data.images.dtype == np.uint8
        for name in data.names:
            np.testing.assert_array_equal(of_class(data, name), expected[name])


def test_there_are_100_classes_in_20_superclasses():
    assert len(SUPERCLASSES) == 20
    assert all(len(names) == 5 for names in SUPERCLASSES.values())
    assert len({name for names in SUPERCLASSES.values() for name in names}) == 100


@pytest.mark.parametrize(("splits", "sizes"), [(CIFAR_FS, (64, 16, 20)), (FC100, (60, 20, 20))])
def test_splits_are_disjoint_and_complete(splits, sizes):
    assert tuple(splits) == ("train", "val", "test")
    assert tuple(map(len, splits.values())) == sizes
    together = [name for names in splits.values() for name in names]
    assert sorted(together) == sorted(name for names in SUPERCLASSES.values() for name in names)


def test_fc100_splits_superclasses():
    together = [name for names in FC100_SUPERCLASSES.values() for name in names]
    assert sorted(together) == sorted(SUPERCLASSES)
    assert tuple(map(len, FC100_SUPERCLASSES.values())) == (12, 4, 4)
    for split, names in FC100_SUPERCLASSES.items():
        assert set(FC100[split]) == {name for superclass in names for name in SUPERCLASSES[superclass]}


def test_download_is_the_one_of_keras():
    edition = Edition()
    assert (edition.size, edition.images_per_class, cifar.SIDE) == (169_001_437, 600, 32)
    source = pytest.importorskip("keras.src.datasets.cifar100")
    with open(source.__file__) as file:
        text = file.read()
    assert cifar.URL in text
    assert edition.sha256 in text


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("packed", [True, False])
def test_archive_and_folder(tmp_path, packed, protocol):
    contents = synthetic.files(protocol)
    if packed:
        synthetic.archive(tmp_path / ARCHIVE, contents)
    else:
        write(tmp_path / "cifar-100-python", contents)
    check(load(tmp_path))


def test_it_is_downloaded_where_it_is_missing(serve, tmp_path):
    edition = synthetic.archive(tmp_path / "www" / ARCHIVE)
    check(load(tmp_path / "data", edition, f"{serve(tmp_path / 'www')}/{ARCHIVE}"))
    assert (tmp_path / "data" / ARCHIVE).stat().st_size == edition.size


def test_another_download_is_refused(serve, tmp_path):
    edition = synthetic.archive(tmp_path / "www" / ARCHIVE)
    url = f"{serve(tmp_path / 'www')}/{ARCHIVE}"
    with pytest.raises(UserError, match=f"is not the expected {ARCHIVE}"):
        load(tmp_path, dataclasses.replace(edition, sha256="0" * 64), url)
    assert [file.name for file in tmp_path.iterdir()] == ["www"]


def test_no_network_names_address_and_place(no_network, tmp_path):
    with pytest.raises(
        UserError, match=rf"{ARCHIVE} is missing and could not be downloaded .*get it from {no_network}"
    ):
        load(tmp_path, url=f"{no_network}/{ARCHIVE}")


def test_images_are_read_once_for_both_data_sets_and_also_without_the_archive(tmp_path, monkeypatch):
    synthetic.archive(tmp_path / ARCHIVE)
    load(tmp_path)
    monkeypatch.setattr(pickles, "loads", None)
    other = load_cifar(tmp_path, {"train": ["rose"]}, edition=Edition(synthetic.SUPERCLASSES, 6))
    np.testing.assert_array_equal(of_class(other["train"], "rose"), synthetic.images()["rose"])
    assert isinstance(other["train"].images, np.memmap)
    (tmp_path / ARCHIVE).unlink()
    check(load(tmp_path))


def _changed(file, **changes):
    contents = synthetic.files()
    return contents | {file: pickle.dumps(pickle.loads(contents[file]) | changes, 2)}


def _without(name):
    return {file: content for file, content in synthetic.files().items() if file != name}


BAD = {
    "no meta": (_without("meta"), "lacks cifar-100-python/meta|meta is damaged or cannot be read"),
    "fewer labels": (_changed("train", fine_labels=[0]), r"it has 1 labels for data of shape \(20, 3072\)"),
    "floats": (_changed("test", data=np.zeros((10, 3072))), r"labels for data of shape \(10, 3072\)"),
    "other sizes": (_changed("test", data=np.zeros((10, 300), np.uint8)), r"labels for data of shape \(10, 300\)"),
    "another class": (_changed("meta", fine_label_names=["a", "b", "c", "d", "e"]), "are not those of CIFAR-100"),
    "superclasses": (_changed("meta", coarse_label_names=["flowers", "fish"]), "are not those of CIFAR-100"),
    "a label too high": (_changed("train", fine_labels=[9] * 20), "out of range"),
    "a class with fewer": (
        _changed("test", data=np.zeros((5, 3072), np.uint8), fine_labels=[0] * 5, coarse_labels=[1] * 5),
        "it holds 9 images of orchid where CIFAR-100 has 6",
    ),
    "CIFAR-10": (synthetic.files() | {"train": pickle.dumps({"labels": [0], "data": 0}, 2)}, "damaged or cannot be"),
}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", BAD)
def test_what_is_not_cifar_100_is_one_sentence(tmp_path, name, packed):
    contents, message = BAD[name]
    if packed:
        synthetic.archive(tmp_path / ARCHIVE, contents)
    else:
        write(tmp_path / "cifar-100-python", contents)
    refused(tmp_path, message)


def refused(folder, message):
    before = snapshot(folder)
    with pytest.raises(UserError, match=message) as error:
        load(folder)
    assert "\n" not in str(error.value)
    assert snapshot(folder) == before


def test_no_damage_to_the_archive_goes_unnoticed(tmp_path):
    synthetic.archive(tmp_path / ARCHIVE)
    whole, random = (tmp_path / ARCHIVE).read_bytes(), np.random.default_rng(0)
    for end in (0, 10, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        (tmp_path / ARCHIVE).write_bytes(whole[:end])
        refused(tmp_path, f"{ARCHIVE} is damaged or cannot be read|lacks cifar-100-python|not a folder or a tar")
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[20 + random.integers(len(whole) - 20)] ^= 1 << random.integers(8)  # after the gzip's name and time
        (tmp_path / ARCHIVE).write_bytes(damaged)
        refused(tmp_path, f"{ARCHIVE} is damaged or cannot be read")


def test_the_cache_of_another_data_set(tmp_path):
    synthetic.archive(tmp_path / ARCHIVE)
    load(tmp_path)
    with pytest.raises(UserError, match="is not of CIFAR-100: remove its files decoded_cifar100_"):
        load_cifar(tmp_path, CIFAR_FS)
