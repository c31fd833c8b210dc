"""CIFAR-100 (Krizhevsky 2009) as a few-shot data set: CIFAR-FS and FC100, of 100 classes with 600 images each.

CIFAR-FS (Bertinetto et al. 2019, arXiv 1805.08136) splits the classes 64 / 16 / 20 at random. Its lists are those of
github.com/tristandeleu/pytorch-meta (torchmeta/datasets/assets/cifar100/cifar-fs) and of github.com/ArnoutDevos/
maml-cifar-fs, which agree; the authors' own lists are in an archive that github.com/bertinetto/r2d2 links to.
FC100 (Oreshkin et al. 2018, arXiv 1805.10123) splits the superclasses 12 / 4 / 4, so that the classes of a split are
less like those of another. Its lists are those of github.com/ServiceNow/TADAM (datasets/create_dataset_cifar100.py)
and of torchmeta (cifar100/fc100), which agree.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_generators import archives, pickles
from data_generators.decoding import Decoder
from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.files import reading
from data_generators.image_folders import load_split
from data_generators.minibatches import subset
from data_generators.packed_contents import Contents
from data_generators.packed_images import PackedClasses
from data_generators.pickled_arrays import as_text

SIDE = 32  # pixels
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
FOLDER = "cifar-100-python"  # in the archive; the name of the archive begins with it

_SUPERCLASSES = """
aquatic_mammals: beaver dolphin otter seal whale
fish: aquarium_fish flatfish ray shark trout
flowers: orchid poppy rose sunflower tulip
food_containers: bottle bowl can cup plate
fruit_and_vegetables: apple mushroom orange pear sweet_pepper
household_electrical_devices: clock keyboard lamp telephone television
household_furniture: bed chair couch table wardrobe
insects: bee beetle butterfly caterpillar cockroach
large_carnivores: bear leopard lion tiger wolf
large_man-made_outdoor_things: bridge castle house road skyscraper
large_natural_outdoor_scenes: cloud forest mountain plain sea
large_omnivores_and_herbivores: camel cattle chimpanzee elephant kangaroo
medium_mammals: fox porcupine possum raccoon skunk
non-insect_invertebrates: crab lobster snail spider worm
people: baby boy girl man woman
reptiles: crocodile dinosaur lizard snake turtle
small_mammals: hamster mouse rabbit shrew squirrel
trees: maple_tree oak_tree palm_tree pine_tree willow_tree
vehicles_1: bicycle bus motorcycle pickup_truck train
vehicles_2: lawn_mower rocket streetcar tank tractor
"""
SUPERCLASSES = {
    name: tuple(classes.split()) for name, classes in (s.split(":") for s in _SUPERCLASSES.split("\n") if s)
}

_CIFAR_FS_VAL = """
beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter sea shark television
tractor
"""
_CIFAR_FS_TEST = """
baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper table telephone
wardrobe whale woman worm
"""
_CIFAR_FS_TRAIN = """
apple aquarium_fish bear bee bottle bowl boy bridge bus can castle caterpillar chair clock cloud cockroach couch cup
dinosaur dolphin elephant forest girl hamster house kangaroo keyboard lawn_mower lion lizard lobster mountain mouse
mushroom oak_tree orange orchid palm_tree pear pine_tree plate porcupine possum rabbit raccoon ray road seal shrew skunk
skyscraper snake spider squirrel streetcar sunflower tank tiger train trout tulip turtle willow_tree wolf
"""
CIFAR_FS = {
    "train": tuple(_CIFAR_FS_TRAIN.split()),
    "val": tuple(_CIFAR_FS_VAL.split()),
    "test": tuple(_CIFAR_FS_TEST.split()),
}

_FC100 = {
    "train": "fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture "
    "large_man-made_outdoor_things large_natural_outdoor_scenes reptiles trees vehicles_1 vehicles_2",
    "val": "large_carnivores large_omnivores_and_herbivores non-insect_invertebrates small_mammals",
    "test": "aquatic_mammals insects medium_mammals people",
}
FC100_SUPERCLASSES = {split: tuple(names.split()) for split, names in _FC100.items()}
FC100 = {split: tuple(c for name in names for c in SUPERCLASSES[name]) for split, names in FC100_SUPERCLASSES.items()}


@dataclasses.dataclass(frozen=True)
class Edition:
    """What a complete CIFAR-100 holds, and what its download must be. Tests pass a small one."""

    superclasses: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: SUPERCLASSES)
    images_per_class: int = 600
    sha256: str = "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    size: int = 169_001_437


def load_cifar(
    data_dir: str | Path,
    splits: Mapping[str, Iterable[str]],
    url: str = URL,
    edition: Edition | None = None,
) -> dict[str, ClassImages]:
    """Loads CIFAR-100 from data_dir, which may hold cifar-100-python.tar.gz, or its folder cifar-100-python.

    If neither is there, the archive is downloaded. The images are decoded once, into a cache that all splits share
    (`image_folders.load_split`); the cache can be used without the archive or folder.

    Args:
        data_dir: the folder.
        splits: the names of the classes of each split: CIFAR_FS or FC100.
        url: the address of the archive.
        edition: what a complete CIFAR-100 holds.

    Returns:
        The classes of each split; images [60000, 32, 32, 3].

    Raises:
        UserError: the data are missing, incomplete or damaged. Nothing on disk is changed then.
    """
    data_dir, edition = Path(data_dir), edition or Edition()
    load = functools.partial(load_split, data_dir, "cifar100", decoder=Decoder(SIDE, 3, resize=False))
    source = _find(data_dir, edition)
    data = load(source)
    if data is None:
        archives.fetch(url, data_dir / f"{FOLDER}.tar.gz", edition.sha256, edition.size)
        data = load(_find(data_dir, edition))
    places = {name: place for place, name in enumerate(data.names)}
    if places.keys() != {name for names in edition.superclasses.values() for name in names}:
        raise UserError(f"the cache in {data_dir} is not of CIFAR-100: remove its files decoded_cifar100_*.")
    return {split: subset(data, [places[name] for name in names]) for split, names in splits.items()}


def _find(data_dir: Path, edition: Edition) -> PackedClasses | None:
    archive, folder = data_dir / f"{FOLDER}.tar.gz", data_dir / FOLDER
    with reading(data_dir):
        if archive.is_file():
            return PackedClasses((archive,), functools.partial(_in_archive, edition))
        if folder.is_dir():
            return PackedClasses(tuple(folder / name for name in _FILES), functools.partial(_in_folder, edition))
    return None


_FILES = ("train", "test", "meta")


def _in_folder(edition: Edition, *files: Path) -> Contents:
    return _contents({file.name: pickles.load(file) for file in files}, edition)


def _in_archive(edition: Edition, path: Path) -> Contents:
    """Reads the archive; the gzip is first read to its end, where its checksum is."""
    found = {}
    for archive, entry in archives.members(path):
        folder, _, name = entry.name.removeprefix("./").partition("/")
        if folder == FOLDER and name in _FILES and entry.isfile():
            with reading(path), archive.extractfile(entry) as file:
                contents = file.read()
            found[name] = pickles.loads(contents, f"{path}: {entry.name}")
    if missing := [name for name in _FILES if name not in found]:
        raise UserError(f"{path} lacks {FOLDER}/{missing[0]}: put a whole one in its place, or remove it.")
    return _contents(found, edition)


def _contents(files: Mapping[str, Any], edition: Edition) -> Contents:
    """Checks the dicts in the files, and returns their images and classes.

    train and test have data, uint8 [n, 3072], with the rows of red, then green, then blue; and the lists fine_labels
    and coarse_labels. meta has the lists fine_label_names and coarse_label_names. Keys may be bytes.
    """
    entries = {name: {as_text(key): value for key, value in found.items()} for name, found in files.items()}
    classes, superclasses = (
        [as_text(n) for n in entries["meta"][f"{kind}_label_names"]] for kind in ("fine", "coarse")
    )
    batches = [entries[name] for name in ("train", "test")]
    for batch in batches:
        shape = len(batch["fine_labels"]), 3 * SIDE * SIDE
        if batch["data"].dtype != np.uint8 or batch["data"].shape != shape or len(batch["coarse_labels"]) != shape[0]:
            raise ValueError(f"it has {shape[0]:,} labels for data of shape {batch['data'].shape}")
    fine, coarse = (np.concatenate([batch[f"{kind}_labels"] for batch in batches]) for kind in ("fine", "coarse"))
    found: dict[str, set[str]] = {}
    for label, of_superclass in sorted(set(zip(fine.tolist(), coarse.tolist(), strict=True))):
        found.setdefault(superclasses[of_superclass], set()).add(classes[label])
    if found != {name: set(names) for name, names in edition.superclasses.items()} or fine.min() < 0:
        raise ValueError("its classes or superclasses are not those of CIFAR-100")
    rows = {name: np.flatnonzero(fine == label) for label, name in enumerate(classes)}
    for name, of_class in rows.items():
        if len(of_class) != edition.images_per_class:
            raise ValueError(
                f"it holds {len(of_class)} images of {name} where CIFAR-100 has {edition.images_per_class}"
            )
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return Contents(pixels, dict(sorted(rows.items())))
