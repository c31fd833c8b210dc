"""Loads a user's own images, grouped by class in folders; the classes are in splits, or are split here."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from data_generators.class_folders import ClassFolders, list_classes, list_splits
from data_generators.decoding import MODES, Decoder, is_decoded
from data_generators.episodes import ClassImages
from data_generators.errors import UserError, listed
from data_generators.image_folders import load_split, load_splits
from data_generators.minibatches import subset
from data_generators.packed_images import load_packed
from data_generators.splits import Lists, by_shares, checked, key, read_splits

_SHARES = (0.64, 0.16, 0.2)  # of classes in a folder without splits: miniImagenet's shares
_MAX_SIDE = 4096  # pixels: more than meta-trained networks use, and few enough for Pillow not to overflow


def load_image_folder(
    data_dir: str | Path,
    side: int = 84,
    channels: int = 3,
    splits: str | Path | Mapping[str, list[str]] | None = None,
) -> dict[str, ClassImages]:
    """Loads images of any size, in any format that Pillow reads, resized to side x side.

    data_dir holds {train,val,test}/<class>/<image>, any of the three. Or it holds <class>/<image>: then the sorted
    names of the classes are shuffled by random.Random(1), and 64 % are for training, 16 % for validation and the others
    for the test. With `splits`, data_dir holds <class>/<image>, and the lists say which split each class is in.
    Without folders, data_dir holds files that `packed_images` describes. Other files are ignored. The images are
    decoded once, into caches beside them (`image_folders.load_split`); the caches can be used without the images.

    Args:
        data_dir: the folder.
        side: height and width in pixels.
        channels: 3 (RGB) or 1 (grey).
        splits: file or folder with lists of classes, see `data_generators.splits`; or the lists themselves, by split.
            Classes in no list are left out.

    Returns:
        The classes of each of "train", "val" and "test" that exists; images [total, side, side, channels].

    Raises:
        UserError: there is no image, one of them is damaged, side is too large, channels is neither 1 nor 3, or the
            lists are malformed or name classes that do not exist. Nothing on disk is changed then.

    Example:
        >>> splits = load_image_folder("pictures", side=28)
        >>> {split: images.num_classes for split, images in splits.items()}
        {'train': 20, 'val': 5, 'test': 6}
    """
    if channels not in MODES:
        raise UserError(f"Images have 1 channel (grey) or 3 (RGB), not {channels}.")
    if not 1 <= side <= _MAX_SIDE:
        raise UserError(f"--image_size must be between 1 and {_MAX_SIDE}, not {side}.")
    data_dir = Path(data_dir)
    suffixes = _suffixes()
    decoder = Decoder(side, channels, resize=True, upright=True)
    if splits is not None:
        where = "splits" if isinstance(splits, Mapping) else str(splits)
        lists = checked(splits, where) if isinstance(splits, Mapping) else read_splits(splits)
        return _load_listed(data_dir, lists, where, suffixes, decoder)
    folders = list_splits(data_dir, suffixes)
    classes = None if any(folders.values()) else list_classes(data_dir, suffixes)
    if any(folders.values()):
        loaded = load_splits(data_dir, folders, decoder)
    else:
        loaded = {} if classes else load_packed(data_dir, data_dir, suffixes, decoder)
    loaded = loaded or _split_classes(data_dir, classes, decoder)
    if not loaded:
        what = "holds no images" if data_dir.is_dir() else "does not exist"
        raise UserError(
            f"{data_dir} {what}: put them there as {data_dir}/{{train,val,test}}/<class>/<image> or "
            f"{data_dir}/<class>/<image>, in a format that Pillow reads, or as files that docs/data.md lists."
        )
    return loaded


def _suffixes() -> frozenset[str]:
    """The suffixes of the files that Pillow decodes."""
    Image.init()
    kinds = {kind for kind in Image.OPEN if is_decoded(kind)}
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds)


def _split_classes(data_dir: Path, classes: ClassFolders | None, decoder: Decoder) -> dict[str, ClassImages]:
    """Splits the classes, which share one array; returns an empty dict if there is neither a class nor a cache."""
    data = load_split(data_dir, "all", classes, decoder)
    if data is None:
        return {}
    parts = by_shares(data.num_classes, _SHARES)
    return {split: subset(data, chosen) for split, chosen in parts.items() if chosen}


def _load_listed(
    data_dir: Path, lists: Lists, where: str, suffixes: frozenset[str], decoder: Decoder
) -> dict[str, ClassImages]:
    """Loads the classes of lists; other lists of the same classes use the same cache."""
    keys = {split: [key(name) for name in names] for split, names in lists.items()}
    wanted = {name for names in keys.values() for name in names}
    folders = list_classes(data_dir, suffixes, lambda name: key(name) in wanted)
    digits = hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest()[:8]
    data = None
    if folders is None or wanted == set(map(key, folders.images)):
        data = load_split(data_dir, f"classes{digits}", folders, decoder)
    if data is None:
        absent = sorted(wanted - set(map(key, folders.images if folders else ())))
        raise UserError(
            f"{len(absent):,} of the {len(wanted):,} classes of {where} have no folder of images in {data_dir}: "
            f"{listed(absent)}; give --splits the lists of these data, or --data_dir the folder that holds the classes"
        )
    position = {key(name): i for i, name in enumerate(data.names)}
    return {split: subset(data, [position[name] for name in names]) for split, names in keys.items()}
