"""miniImagenet (Vinyals et al. 2016) in the splits of Ravi and Larochelle (2017): 64 / 16 / 20 classes of 600 images.

The folders are those of the original (its data/miniImagenet/proc_images.py makes them): the classes of a split are in
<split>/<class>/*.jpg, 84x84 pixels. There may be fewer images, or classes, than the whole data set has.
"""

from pathlib import Path

from data_generators.class_folders import list_splits
from data_generators.decoding import Decoder
from data_generators.episodes import ClassImages
from data_generators.errors import UserError
from data_generators.image_folders import load_splits
from data_generators.packed_images import load_packed

SIDE = 84  # pixels
SUFFIXES = (".jpg", ".jpeg")
CSV_URL = "https://github.com/twitter-research/meta-learning-lstm/tree/master/data/miniImagenet"


def load_miniimagenet(data_dir: str | Path) -> dict[str, ClassImages]:
    """Loads the splits that are in data_dir, as <split>/<class>/*.jpg or as caches that were made from them.

    The images are decoded once, each split into one array on disk, which is memory-mapped
    (`image_folders.load_split`).

    Args:
        data_dir: the folder.

    Returns:
        The classes of those of "train", "val" and "test" that are there; images [total, 84, 84, 3].

    Raises:
        UserError: there is no split, or an image is damaged or not of 84x84 pixels. Nothing on disk is changed then.
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
