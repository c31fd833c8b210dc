"""Tests of the facts about the project's datasets, and of users' own datasets."""

import dataclasses
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from data_generators import cifar, miniimagenet, omniglot
from data_generators.errors import UserError
from maml_tf.supervised import build, datasets
from maml_tf.supervised.datasets import CIFAR_FS, DATASETS, FC100, MINIIMAGENET, OMNIGLOT, find
from maml_tf.supervised.experiment import COMMON, Experiment
from tests.data_generators.synthetic_classes import splits

ROOT = Path(__file__).parents[3]
TESTS_ON = {"num_classes": 2, "num_filters": 2, "update_batch_size": 2}


def test_datasets_by_name():
    assert list(DATASETS) == ["sinusoid", "omniglot", "miniimagenet", "cifar_fs", "fc100", "folder"]
    assert all(find(name).name == name for name in DATASETS)


def test_shapes_are_those_of_the_loaders():
    assert OMNIGLOT.shape == (omniglot.SIDE, omniglot.SIDE, 1)
    assert MINIIMAGENET.shape == (miniimagenet.SIDE, miniimagenet.SIDE, 3)
    assert CIFAR_FS.shape == FC100.shape == (cifar.SIDE, cifar.SIDE, 3)


@pytest.mark.parametrize(("name", "splits"), [("cifar_fs", cifar.CIFAR_FS), ("fc100", cifar.FC100)])
def test_cifar_is_as_miniimagenet_but_for_its_images(monkeypatch, name, splits):
    found = find(name)
    own = {field: getattr(found, field) for field in ("name", "load", "shape", "data_dir", "title", "accuracies")}
    assert dataclasses.replace(MINIIMAGENET, **own) == found
    monkeypatch.setattr(cifar, "load_cifar", lambda *given: given)
    assert found.images(Experiment.of(datasource=name)) == (Path("data/cifar100"), splits)


@pytest.mark.parametrize("ways", [5, 20])
@pytest.mark.parametrize("name", DATASETS)
def test_settings_of_the_paper_are_all_there(name, ways):
    given = COMMON | find(name).paper(ways) | {"datasource": name, "num_classes": ways}
    experiment = Experiment.of(datasource=name, num_classes=ways)
    assert all(getattr(experiment, setting) == value for setting, value in given.items() if value is not None)


def test_no_module_but_datasets_asks_which_dataset_it_is():
    asking = re.compile(r"(?<!for )datasource (==|!=|in|not in) |is_regression|is_like_miniimagenet")
    sources = [ROOT / "main.py", *(ROOT / "maml_tf").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")]
    found = [path.name for path in sources if asking.search(path.read_text(encoding="utf-8"))]
    assert found == ["datasets.py"]  # only `find` there


@pytest.mark.parametrize("module", ["datasets", "experiment"])
def test_facts_and_settings_need_no_tensorflow(module):
    program = f"import sys, maml_tf.supervised.{module} as m; m.find('omniglot'); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


@pytest.fixture
def module(tmp_path, monkeypatch):
    """module(text) writes a user's module `mine_<test>` and returns its name."""

    def write(text):
        name = f"mine_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    monkeypatch.syspath_prepend(tmp_path)
    return write


def test_images_of_a_user_s_own_loader(module):
    name = module(
        """
        from maml_tf.supervised.datasets import ImageDataset
        from tests.data_generators.synthetic_classes import splits
        load = lambda folder, experiment: splits()
        MINE = ImageDataset(name="mine", load=load, shape=(16, 16, 3), data_dir="nowhere")
        """
    )
    experiment = Experiment.of(datasource=f"{name}:MINE", **TESTS_ON)
    assert (experiment.update_lr, experiment.num_updates, experiment.meta_batch_size) == (0.01, 5, 4)
    assert (experiment.reported_update, experiment.image_side) == (10, 16)
    assert build.run_folder(experiment) == Path("logs", "mine", experiment.name)
    data = build.load(experiment)
    maml = build.build(experiment, experiment.dataset.shapes(experiment), jit=False)
    assert maml.model.input_shape == (None, *data.source.input_shape)
    losses = maml.evaluate(data.evaluation_tasks("test", 0, 2), 1)
    assert losses["accuracies"].shape == (2, 2)
    with pytest.raises(UserError, match=f"--image_size goes with --datasource=folder: {name}:MINE has its own"):
        Experiment.of(datasource=f"{name}:MINE", image_size=20)


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        ("(20, 20, 3)", {}, "[20, 20, 3]"),
        ("(16, 16, 1)", {}, "[16, 16, 1]"),
        ("None", {"image_size": 32}, "[32, 32, 3]"),
    ],
)
def test_images_that_are_not_of_the_shape_are_refused(module, shape, given, expected):
    name = module(
        f"""
        from maml_tf.supervised.datasets import ImageDataset
        from tests.data_generators.synthetic_classes import splits
        load = lambda folder, experiment: splits()
        MINE = ImageDataset(name="mine", load=load, shape={shape}, data_dir="nowhere")
        """
    )
    with pytest.raises(UserError) as raised:
        build.load(Experiment.of(datasource=f"{name}:MINE", **TESTS_ON, **given))
    message = f"the images of the train split are [16, 16, 3], and the shape of --datasource={name}:MINE is {expected}"
    assert str(raised.value) == f"{message}: correct it, or have load give images of that shape"


def test_tasks_that_are_no_images(module):
    name = module(
        """
        from maml_tf.supervised.datasets import Dataset
        from maml_tf.supervised.task_data import of_sinusoids

        class Waves(Dataset):
            def tasks(self, experiment, data_dir=None, shots=None):
                return of_sinusoids(shots or experiment.update_batch_size)

            def network(self, experiment, input_shape, outputs):
                from maml_tf import networks
                return networks.mlp(input_shape, outputs, (4,), experiment.norm)

            def loss(self, shots):
                from maml_tf import losses
                return losses.mse, None

        WAVES = Waves(name="waves", paper=lambda ways: {"meta_batch_size": 3, "norm": "None"}, tasks_per_call=7)
        """
    )
    usual = Experiment.of(datasource=f"{name}:WAVES")
    assert (usual.meta_batch_size, usual.norm, usual.update_lr, usual.num_updates) == (3, "None", 0.01, 5)
    experiment = Experiment.of(datasource=f"{name}:WAVES", update_lr=0.1, num_updates=1)
    shapes = experiment.dataset.shapes(experiment)
    assert shapes == ((1,), 1)
    assert [layer.units for layer in build.build(experiment, shapes).model.layers if hasattr(layer, "units")] == [4, 1]
    assert experiment.dataset.describe_network(experiment) == "network of waves"


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ("paper=lambda ways: {'lr': 1.0}", {}, "dataset 'birds' has unknown settings: lr"),
        ("shape=(8, 8, 3)", {}, "images of 8 pixels are too small for --max_pool: give 16"),
        ("shape=(32, 8, 3)", {}, "images of 32x8 pixels are too small for --max_pool: give 16"),
        ("shape=(8, 8, 3)", {"max_pool": False, "update_lr": 0.0}, "--update_lr must be a positive number, not 0.0"),
    ],
)
def test_settings_that_do_not_fit_are_told(module, settings, given, message):
    shape = "" if "shape" in settings else ", shape=(32, 32, 3)"
    name = module(
        f"""
        from maml_tf.supervised.datasets import ImageDataset
        BIRDS = ImageDataset(name="birds", load=None, {settings}{shape})
        """
    )
    with pytest.raises(UserError) as raised:
        Experiment.of(datasource=f"{name}:BIRDS", **given)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("text", "datasource", "message"),
    [
        (
            "",
            "imagenet",
            f"unknown datasource 'imagenet': choose one of {', '.join(DATASETS)}, or ",
        ),
        ("", ":MINE", "unknown datasource ':MINE'"),
        ("", "no_such_module:MINE", "there is no datasource .*, since no_such_module cannot be imported: ModuleNotF"),
        ("", "{}:MINE", "'MINE' of mine_.* is not a Dataset of maml_tf.supervised.datasets"),
        ("MINE = 3", "{}:MINE", "'MINE' of mine_.* is not a Dataset of maml_tf.supervised.datasets"),
        ("\n1 / 0", "{}:MINE", r"cannot be imported: ZeroDivisionError: division by zero \(.*mine_.*py, line 2\)"),
        ("", "\0:MINE", "there is no datasource"),
    ],
)
def test_dataset_that_is_not_there(module, text, datasource, message):
    with pytest.raises(UserError, match=message) as error:
        find(datasource.format(module(text)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{}, TESTS_ON | {"datasource": "omniglot"}])
def test_parts_of_a_meta_batch_are_the_whole(settings, monkeypatch):
    monkeypatch.setattr(omniglot, "load_omniglot", lambda folder: splits(side=28, channels=1))
    source = build.load(Experiment.of(**settings)).source
    whole = source.sample(3, "train", 5, 4)
    parts = [source.sample(3, "train", 5, 4, part) for part in ((0, 1), (1, 3))]
    for expected, *found in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_folder_is_as_miniimagenet_but_for_its_images():
    names = "summary_updates tasks_per_call queries clip flatten digits rotate save_every validate_every"
    for name in names.split():
        assert getattr(datasets.FOLDER, name) == getattr(MINIIMAGENET, name)
