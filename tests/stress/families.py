"""The files to damage, as data: which command reads them, how they are damaged, and what the command may then do."""

import functools
import shutil
from collections.abc import Callable
from typing import NamedTuple

from tests.stress import damage, data, scenarios
from tests.stress.processes import run


class Family(NamedTuple):
    """Inputs of one kind.

    name: name of the family.
    count: number of damaged inputs to try.
    inputs: patterns of files, one of which is damaged each time.
    damages: the functions of `damage` to choose from.
    program, arguments: the command that reads them.
    data: function that makes its data in a folder.
    before: commands to run first, each (program, arguments).
    results: patterns of the files that it writes, which are compared; if there are none, its stdout is compared.
    replaced: whether the command may rewrite the damaged file, as it does with caches.
    said: pattern of what it prints when it rightly does something else.
    unnoticeable: function (file name, its bytes, damaged bytes) -> whether nobody could notice the damage.
    """

    name: str
    count: int
    inputs: tuple[str, ...]
    damages: tuple[Callable, ...]
    program: str
    arguments: tuple[str, ...]
    data: Callable = lambda folder: None
    before: tuple = ()
    results: tuple[str, ...] = ()
    replaced: bool = False
    said: str | None = None
    unnoticeable: Callable = lambda name, whole, spoilt: False

    def prepare(self, folder):
        """Makes the folder with the undamaged input."""
        folder.mkdir(parents=True)
        self.data(folder)
        for program, arguments in self.before:
            result = run(folder, program, arguments)
            assert result.returncode == 0, result.stderr


_PREPARE = ("scripts.prepare_omniglot", ("--data_dir=omniglot",))
_LOAD = ("tests.stress.load_folder", ())
_MINI = ("--csv_dir=.", "--data_dir=mini")
_SAID = r"missing|in no csv file|left out"  # for images that are not where the csv files say
_TEST = ("main", (*scenarios.SINUSOID, "--metatrain_iterations=30", "--log=False", "--logdir=runs"))
_POLICY = ("scripts.train_rl", (*scenarios.POLICY, "--iterations=3", "--log=False", "--logdir=runs"))
_BASELINES = ("scripts.baselines", (*scenarios.CLASSIFIER, "--iterations=2", "--logdir=runs"))


def _tar(suffix, count):
    return Family(
        f"images{suffix}",
        count,
        (f"images{suffix}",),
        (*damage.BINARY, damage.unsafe_tar) if suffix == ".tar" else damage.BINARY,
        "scripts.prepare_miniimagenet",
        (f"--source=images{suffix}", *_MINI),
        functools.partial(data.miniimagenet, suffix=suffix),
        results=("mini/*/*/*.jpg",),
        unnoticeable=damage.pixels_only,
    )


def _without_images(folder):
    data.image_folder(folder)
    assert run(folder, "tests.stress.load_folder", ()).returncode == 0
    for split in ("train", "val", "test"):
        shutil.rmtree(folder / "mine" / split)


FAMILIES = [
    Family(
        "zips",
        50,
        ("omniglot/*.zip",),
        (*damage.BINARY, damage.unsafe_zip, damage.unsafe_zip),
        *_PREPARE,
        data.omniglot,
        results=("omniglot/*.npz",),
    ),
    _tar(".tar", 30),
    _tar(".tar.gz", 16),
    _tar(".tar.bz2", 6),
    _tar(".tar.xz", 6),
    Family(
        "PNG files",
        24,
        ("omniglot/**/*.png",),
        damage.BINARY,
        *_PREPARE,
        data.extracted_omniglot,
        results=("omniglot/*.npz",),
    ),
    Family("images of one's own", 24, ("mine/*/*/*.png",), damage.BINARY, *_LOAD, data.image_folder),
    Family(
        "other kinds of images",
        20,
        ("mine/*/*/*.*",),
        damage.BINARY,
        *_LOAD,
        functools.partial(data.image_folder, kinds=("JPEG", "GIF", "BMP", "TIFF", "WEBP")),
        unnoticeable=damage.pixels_only,
    ),
    Family(
        "decoded images",
        24,
        ("mine/decoded_*",),
        (*damage.BINARY, damage.wrong_text),
        *_LOAD,
        data.image_folder,
        before=(_LOAD,),
        replaced=True,
    ),
    Family(
        "decoded images alone",
        12,
        ("mine/decoded_*",),
        (*damage.BINARY, damage.wrong_text),
        *_LOAD,
        _without_images,
    ),
    Family(
        "decoded Omniglot",
        24,
        ("omniglot/*.npz",),
        damage.BINARY,
        *_PREPARE,
        data.omniglot,
        before=(_PREPARE,),
        results=("omniglot/*.npz",),
        replaced=True,
    ),
    Family(
        "csv files",
        30,
        ("*.csv",),
        damage.TEXT,
        "scripts.prepare_miniimagenet",
        ("--source=images.tar", *_MINI),
        data.miniimagenet,
        results=("mini/*/*/*.jpg",),
        said=_SAID,
        unnoticeable=damage.plausible_table,
    ),
    Family(
        "checkpoints tested",
        30,
        ("runs/*/model*",),
        damage.BINARY,
        "main",
        (*_TEST[1], "--train=False"),
        before=(_TEST,),
        results=("runs/*/test*",),
    ),
    Family(
        "checkpoints resumed",
        12,
        ("runs/*/model*",),
        damage.BINARY,
        "main",
        (*_TEST[1], "--metatrain_iterations=40"),
        before=((_TEST[0], (*_TEST[1], "--save_interval=15")),),
        results=("runs/*/test*", "runs/*/model40.index"),
    ),
    Family(
        "policies",
        20,
        ("runs/*/*/model3.*",),
        damage.BINARY,
        "scripts.evaluate_rl",
        (*scenarios.POLICY, "--iterations=3", *scenarios.RETURNS),
        before=(_POLICY,),
        results=("out/*.csv",),
    ),
    Family(
        "progress.csv drawn",
        16,
        ("runs/*/*/progress.csv",),
        damage.TEXT,
        "scripts.plot_rl",
        (*scenarios.POLICY, "--iterations=3", "--logdir=runs", "--out=out"),
        before=(_POLICY,),
        results=("out/*.csv",),
        said="only the rows that can be read are drawn",
        unnoticeable=damage.plausible_table,
    ),
    Family(
        "progress.csv resumed",
        16,
        ("runs/*/*/progress.csv",),
        damage.TEXT,
        _POLICY[0],
        (*_POLICY[1], "--iterations=4"),
        before=(_POLICY,),
        results=("runs/*/*/progress.csv", "runs/*/*/model4.index"),
        replaced=True,
        said=r"progress\.csv",
        unnoticeable=damage.plausible_table,
    ),
    Family(
        "gradient_cosine.csv",
        10,
        ("runs/*/gradient_cosine.csv",),
        damage.TEXT,
        _TEST[0],
        (*_TEST[1], "--metatrain_iterations=310", "--log_gradient_cosine"),
        before=((_TEST[0], (*_TEST[1], "--metatrain_iterations=290", "--log_gradient_cosine")),),
        results=("runs/*/gradient_cosine.csv", "runs/*/model310.index", "runs/*/test*"),
        replaced=True,
        said=r"gradient_cosine\.csv",
        unnoticeable=damage.plausible_beginning,
    ),
    Family(
        "classifier",
        14,
        ("runs/classifier/model*.index", "runs/classifier/model*.data-*"),
        damage.BINARY,
        *_BASELINES,
        data.omniglot,
        before=(_BASELINES,),
        results=("runs/*.csv",),
    ),
    Family(
        "figures.json",
        14,
        ("runs/classifier/figures.json",),
        damage.TEXT,
        *_BASELINES,
        data.omniglot,
        before=(_BASELINES,),
        results=("runs/*.csv",),
        replaced=True,
    ),
]
