"""N-way K-shot tasks from images grouped by class (the original's data_generator.py, make_data_tensor)."""

import dataclasses
import itertools
import math
import operator
import zlib
from collections.abc import Mapping

import numpy as np

from data_generators import streams
from data_generators.errors import UserError, listed
from data_generators.tasks import Tasks

# The seed of the 600 validation and the 600 test tasks. It is a constant, so that --seed never changes them.
EVALUATION_SEED = 1703


@dataclasses.dataclass(frozen=True, eq=False)
class ClassImages:
    """The images of some classes, which may have different numbers of images; several objects may share an array.

    images: [total_images, height, width, channels] uint8, in memory or memory-mapped.
    offsets: [classes] integers, the row of `images` at which each class begins.
    lengths: [classes] integers, how many consecutive rows belong to each class.
    names: the name of each class.
    """

    images: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.names)

    def pixel_moments(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel over all images, pixels in [0, 1]; only rounded once."""
        values, count = np.arange(256), 0
        total = squares = np.zeros(self.images.shape[-1], np.int64)
        for offset, length in zip(self.offsets, self.lengths, strict=True):
            pixels = self.images[offset : offset + length].reshape(-1, self.images.shape[-1])
            counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
            count, total, squares = count + len(pixels), total + counts @ values, squares + counts @ values**2
        moments = [(int(t), count * int(s) - int(t) ** 2) for t, s in zip(total, squares, strict=True)]
        return [t / (255 * count) for t, _ in moments], [math.sqrt(v) / (255 * count) for _, v in moments]


class Episodes:
    """Draws N-way K-shot tasks; every task is a pure function of (seed, split, its index).

    A task has `ways` different classes and shots + queries different images of each. The rows are shot-major: for
    every shot there is a new permutation of the classes; the first ways * shots rows are the support, the others the
    query. A label is the position of the class within the task.

    Args:
        splits: the classes of each split, by its name ("train", "val", "test").
        ways: classes per task, N.
        shots: support images per class, K.
        queries: query images per class; one number, or one for each split by its name.
        rotate: whether to rotate all images of a class within a task by the same random multiple of 90 degrees.
        flags: names of ways, shots and queries in the advice of errors; a command gives the names of its flags.
        augment: whether to mirror each image of a "train" task with probability 1/2, pad it with black (8 pixels around
            84x84, 4 around 32x32), and crop it at a random place. This does not change which images a task has.

    Raises:
        UserError: a size is not positive, a split has too few classes or a class too few images, images are not uint8,
            or images to be rotated are not square.

    Example:
        >>> from maml_tf import load_image_folder
        >>> episodes = Episodes(load_image_folder("pictures", side=28), ways=5, shots=1, queries=15)
        >>> tasks = episodes.sample(seed=0, split="train", iteration=0, num_tasks=4)
        >>> tasks.support_x.shape, tasks.query_y.shape
        ((4, 5, 28, 28, 3), (4, 75, 5))
    """

    in_graph = False
    dataset, sequence = streams.dataset, streams.sequence

    def __init__(
        self,
        splits: Mapping[str, ClassImages],
        ways: int,
        shots: int,
        queries: int | Mapping[str, int],
        rotate: bool = False,
        flags: tuple[str, str, str] = ("ways", "shots", "queries"),
        augment: bool = False,
    ):
        self.splits = {split: _with_arrays(split, data) for split, data in splits.items()}
        self.ways, self.shots = _count(ways, "ways"), _count(shots, "shots")
        if isinstance(queries, Mapping) and (missing := self.splits.keys() - queries.keys()):
            raise UserError(f"queries has no number for the split {min(missing)!r}: give one for each split")
        queries = queries if isinstance(queries, Mapping) else dict.fromkeys(self.splits, queries)
        self.queries = {split: _count(queries[split], "query images per class") for split in self.splits}
        self.rotate, self.augment = rotate, augment
        self._flags = flags
        for split in self.splits:
            self._check(split)
        for number in dict.fromkeys(self.queries.values()):
            self._check_lengths([split for split in self.splits if self.queries[split] == number], number)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: (height, width, channels)."""
        return next(iter(self.splits.values())).images.shape[1:]

    @property
    def output_size(self) -> int:
        """Number of classes that a model tells apart."""
        return self.ways

    def sample(
        self, seed: int, split: str, iteration: int, num_tasks: int, part: tuple[int, int] | None = None
    ) -> Tasks:
        """Draws meta-batch `iteration`, whose first task is iteration * num_tasks, or part of it; see `TaskSource`."""
        first, size = part or (0, num_tasks)
        return self.episodes(seed, split, iteration * num_tasks + first, size)

    def episodes(self, seed: int, split: str, first: int, num_tasks: int) -> Tasks:
        """Draws the tasks first ... first + num_tasks - 1; a task is the same in whatever range it is drawn.

        Args:
            seed: the seed of the run, or EVALUATION_SEED for the fixed lists of evaluation tasks.
            split: which of the splits to draw from.
            first: index of the first task, from 0.
            num_tasks: number of tasks.

        Returns:
            Tasks of float32 arrays: images [num_tasks, rows, height, width, channels] in [0, 1], one-hot labels
            [num_tasks, rows, ways]; rows is ways * shots in the support and ways * queries in the query.
        """
        if split not in self.splits:
            raise UserError(f"there is no split {split!r}: the splits are {' and '.join(self.splits)}")
        data = self.splits[split]
        samples = self.shots + self.queries[split]
        words = _random_words(seed, split, first, num_tasks, self.ways * (2 + 2 * samples))
        for_classes, for_turns, rest = np.split(words, [self.ways, 2 * self.ways], axis=1)
        for_images, for_order = rest.reshape(num_tasks, 2, samples, self.ways).swapaxes(0, 1)

        classes = _distinct(for_classes, data.num_classes)  # [tasks, ways]
        images = _distinct(for_images.swapaxes(1, 2), data.lengths[classes])  # [tasks, ways, samples]
        images += data.offsets[classes][..., None]
        order = np.argsort(for_order, axis=-1).reshape(num_tasks, samples * self.ways)  # each row's class in the task
        sample = np.repeat(np.arange(samples), self.ways)
        task = np.arange(num_tasks)[:, None]

        pixels = data.images[images[task, order, sample]]
        if self.rotate:
            _turn(pixels, (for_turns % 4)[task, order])
        if self.augment and split == "train":
            pixels = _flipped_and_cropped(pixels, _random_words(seed, "augment", first, *pixels.shape[:2]))
        labels = np.eye(self.ways, dtype=np.float32)[order]
        support = self.ways * self.shots
        return Tasks(
            _to_float(pixels[:, :support]), labels[:, :support], _to_float(pixels[:, support:]), labels[:, support:]
        )

    def _check(self, split: str):
        data = self.splits[split]
        if self.ways > data.num_classes:
            most = min(split.num_classes for split in self.splits.values())
            fewer = f"give a smaller {self._flags[0]} or " if data.num_classes > 1 else ""
            enough = f"; {self._flags[0]}={most} would do" if most > 1 else ""
            raise UserError(
                f"A {self.ways}-way task needs {self.ways} classes, but the {split} split has {data.num_classes}: "
                f"{fewer}add classes{enough}."
            )
        if data.images.dtype != np.uint8:
            raise UserError(
                f"Images must be uint8, from 0 to 255, and those of the {split} split are {data.images.dtype}: convert "
                "them, such as by (255 * images).round().astype('uint8') if they are from 0 to 1."
            )
        height, width = data.images.shape[1:3]
        if self.rotate and height != width:
            raise UserError(f"Only square images can be rotated, and those of the {split} split are {height}x{width}.")

    def _check_lengths(self, splits: list[str], queries: int):
        """Raises one UserError that names all classes with too few images."""
        needed = self.shots + queries
        classes = [
            (f"{name} of the {split} split ({length})", length)
            for split in splits
            for name, length in zip(self.splits[split].names, self.splits[split].lengths, strict=True)
            if length < needed
        ]
        if not classes:
            return
        names, lengths = zip(*classes, strict=True)
        advice = ["add images"]
        if all(np.sum(self.splits[split].lengths >= needed) >= self.ways for split in splits):
            advice.append("remove these classes")
        if min(lengths) >= 2:
            advice.append("use fewer shots or queries ({1}, {2})".format(*self._flags))
        left = min(lengths) - self.shots
        enough = f"; {self._flags[2]}={left} would do" if left > 0 else ""
        have = "1 class has" if len(names) == 1 else f"{len(names):,} classes have"
        raise UserError(
            f"{self.shots} support and {queries} query images per class need {needed} images, but {have} fewer: "
            f"{listed(names)}; {', or '.join(advice)}{enough}."
        )


def _count(value, what):
    """A positive number as Python's integer, since NumPy's small ones overflow in products."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise UserError(f"The number of {what} must be an integer, not {value!r}.") from error
    if number < 1:
        raise UserError(f"The number of {what} must be at least 1, not {number}.")
    return number


def _with_arrays(split: str, data: ClassImages) -> ClassImages:
    """Returns ClassImages with arrays for lists; UserError unless each class has rows of its own in the images."""

    def refuse(what):
        raise UserError(f"ClassImages of the {split} split: {what}")

    offsets, lengths = np.asarray(data.offsets), np.asarray(data.lengths)
    if np.ndim(data.images) != 4:
        refuse(f"images must be [images, height, width, channels], not {list(np.shape(data.images))}")
    if not offsets.shape == lengths.shape == (len(data.names),):
        sizes = f"{offsets.shape}, {lengths.shape} and {len(data.names)}"
        refuse(f"offsets, lengths and names must have one entry for each class, but have {sizes}")
    for name, values in (("offsets", offsets), ("lengths", lengths)):
        if values.dtype.kind not in "iu":
            refuse(f"{name} must be whole numbers, not {values.dtype}")
    offsets, lengths = offsets.astype(np.int64), lengths.astype(np.int64)
    names = [str(name) for name in data.names]
    for i, name in enumerate(names):
        if offsets[i] < 0 or lengths[i] < 0 or offsets[i] + lengths[i] > len(data.images):
            where = f"{offsets[i]} to {offsets[i] + lengths[i]}"
            refuse(f"rows {where} of the class {name} are not within its {len(data.images)} images")
    order = np.lexsort((lengths, offsets))
    for one, other in itertools.pairwise(order.tolist()):
        if offsets[one] + lengths[one] > offsets[other]:
            refuse(f"the classes {names[one]} and {names[other]} share images: give each class rows of its own")
    if len(set(names)) < len(names):
        refuse("two classes have the same name: give each its own")
    return dataclasses.replace(data, offsets=offsets, lengths=lengths)


def _random_words(seed: int, split: str, first: int, num_tasks: int, words: int) -> np.ndarray:
    """Random uint64 [num_tasks, words]; each task has its own blocks of Philox's counter, whatever else is drawn."""
    key = np.array([operator.index(seed) % 2**64, zlib.crc32(split.encode())], np.uint64)
    blocks = -(-words // 4)  # one step of the counter gives four words
    random = np.random.Philox(key=key, counter=first * blocks)
    return random.random_raw(num_tasks * blocks * 4).reshape(num_tasks, blocks * 4)[:, :words]


def _distinct(words: np.ndarray, population: int | np.ndarray) -> np.ndarray:
    """Turns random words [..., k] into k different numbers below population [...], in uniformly random order."""
    population = np.asarray(population, np.int64)
    drawn = np.empty(words.shape, np.int64)
    for i in range(words.shape[-1]):
        # The rank among the numbers that are left (the bias of the remainder is below population / 2**64) ...
        rank = (words[..., i] % (population - i).astype(np.uint64)).astype(np.int64)
        # ... and the number with that rank: one more for every earlier number that comes before it.
        earlier = np.sort(drawn[..., :i], axis=-1) - np.arange(i)
        drawn[..., i] = rank + np.count_nonzero(earlier <= rank[..., None], axis=-1)
    return drawn


def _turn(pixels: np.ndarray, turns: np.ndarray):
    """Rotates pixels [tasks, rows, side, side, channels] in place by turns [tasks, rows] quarters counter-clockwise."""
    for turn in (1, 2, 3):
        chosen = turns == turn
        pixels[chosen] = np.rot90(pixels[chosen], turn, axes=(1, 2))


def _flipped_and_cropped(pixels: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Mirrors and crops pixels [tasks, rows, height, width, channels], each image by its random word [tasks, rows].

    Cropping after padding is the usual augmentation of images of 32x32 (padded by 4) and 84x84 (by 8). The padding of
    other sizes follows the line through these two: (side + 20) / 13, rounded.
    """
    height, width = pixels.shape[2:4]
    padding = round((min(height, width) + 20) / 13)
    padded = np.pad(pixels, [(0, 0), (0, 0), (padding, padding), (padding, padding), (0, 0)])
    places = 2 * padding + 1
    changed = np.empty_like(pixels)
    for row in np.ndindex(words.shape):
        word = int(words[row])
        top, left = word % places, word // places % places
        image = padded[row][top : top + height, left : left + width]
        changed[row] = image[:, ::-1] if word >> 63 else image
    return changed


def _to_float(pixels: np.ndarray) -> np.ndarray:
    return np.divide(pixels, np.float32(255), dtype=np.float32)
