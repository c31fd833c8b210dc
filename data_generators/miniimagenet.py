"""miniImagenet (Vinyals et al. 2016) in the splits of Ravi and Larochelle (2017): 64 / 16 / 20 classes of 600 images.

The folders are those that the original's data/miniImagenet/proc_images.py makes: <split>/<class>/*.jpg, 84x84 pixels.
There may be fewer images, or classes, than the whole data set has. Without folders, the images may be in files that
`packed_images` describes.
"""

from collections.abc import Sequence
from pathlib import Path

from data_generators.class_folders import list_splits
from data_generators.decoding import Decoder
from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.image_folders import load_splits
from data_generators.packed_images import load_packed, packed_splits

SIDE = 84  # pixels
SUFFIXES = (".jpg", ".jpeg")
CSV_URL = "https://github.com/twitter-research/meta-learning-lstm/tree/master/data/miniImagenet"


def load_miniimagenet(data_dir: str | Path) -> dict[str, ClassImages]:
    """Loads the splits in data_dir: <split>/<class>/*.jpg, files of `packed_images`, or caches made from either.

    The images are decoded once, each split into one array on disk, which is memory-mapped
    (`image_folders.load_split`).

    Args:
        data_dir: the folder.

    Returns:
        The classes of each of "train", "val" and "test" that exists; images [total, 84, 84, 3].

    Raises:
        UserError: there is no split, or an image is damaged or not 84x84 pixels. Nothing on disk is changed then.

    Example:
        >>> from maml_tf import Episodes
        >>> episodes = Episodes(load_miniimagenet("data/miniImagenet"), ways=5, shots=1, queries=15)
        >>> episodes.sample(0, "train", 0, num_tasks=4).query_x.shape
        (4, 75, 84, 84, 3)
    """
    data_dir = Path(data_dir)
    folders = list_splits(data_dir, SUFFIXES)
    if any(folders.values()):
        splits = load_splits(data_dir, folders, Decoder(SIDE, 3, resize=False, formats=["JPEG"]))
    else:
        splits = load_packed(data_dir, data_dir, SUFFIXES, Decoder(SIDE, 3, resize=False))
    if not splits:
        raise UserError(
            f"{data_dir} holds no miniImagenet, {data_dir}/{{train,val,test}}/<class>/*.jpg of {SIDE}x{SIDE} pixels: "
            f"get train.csv, val.csv and test.csv from {CSV_URL} and the images from ImageNet (https://image-net.org), "
            "whose licence forbids redistribution, so they cannot be downloaded for you; then run `python -m "
            "scripts.prepare_miniimagenet`."
        )
    return splits


def holds_packed(source: Path) -> bool:
    """Whether a folder holds pickles or .npz files of `packed_images`; its zips need the csv files, so do not count."""
    return any(packed_splits(source, suffixes=()).values())


def prepare_packed(
    data_dir: Path, sources: Sequence[Path], csv_dir: Path | None = None, resize: bool = False
) -> dict[str, ClassImages]:
    """Decodes the files of `packed_images` in a folder into the caches of data_dir, which then do not need the files.

    Args:
        data_dir: the folder of the caches.
        sources: sequence of one folder, which has the files.
        csv_dir: None, because the files hold the class of each image.
        resize: whether to shrink images of other sizes to 84x84 pixels; otherwise they are an error.

    Returns:
        As `load_miniimagenet`.

    Raises:
        UserError: a file is damaged or malformed, data_dir has images in folders, or another source or csv_dir is
            given.
    """
    if len(sources) > 1 or csv_dir:
        raise UserError(
            "pickles and .npz files hold the class of each image: give only their folder as --source, and no --csv_dir."
        )
    if any(list_splits(data_dir, SUFFIXES).values()):
        raise UserError(f"{data_dir} has images in folders, which are used first: give another --data_dir.")
    data_dir.mkdir(parents=True, exist_ok=True)
    return load_packed(data_dir, sources[0], (), Decoder(SIDE, 3, resize))
