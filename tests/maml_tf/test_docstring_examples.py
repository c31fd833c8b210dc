"""Tests that all public names of the library have examples in their docstrings, and that the examples are true."""

import doctest
import importlib
import inspect
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from data_generators import arrays, episodes, miniimagenet, omniglot, own_images, sinusoid, streams, tasks
from data_generators.tasks import Tasks
from maml_tf import export
from maml_tf.maml import MAML
from tests.data_generators.synthetic_images import tree, write

USUAL = {"keras": keras, "np": np, "tf": tf, "tempfile": tempfile, "MAML": MAML, "Tasks": Tasks}
LIBRARY = [
    "adaptation",
    "distribution",
    "encoding",
    "export",
    "layers",
    "losses",
    "maml",
    "networks",
    "norm_layers",
    "optimizers",
    "pixels",
    "saving",
    "serving",
    "step_sizes",
    "task_axis",
    "keras_data",
    "keras_model",
]
MODULES = [importlib.import_module(f"maml_tf.{name}") for name in LIBRARY]
MODULES += [arrays, episodes, miniimagenet, omniglot, own_images, sinusoid, streams, tasks]


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in MODULES for test in finder.find(module, extraglobs=USUAL)]
    return [pytest.param(test, id=test.name) for test in found if test.examples]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with the data that examples load: pictures, and stand-ins for miniImagenet and (blank) Omniglot."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "pictures", tree({f"class{i}": 16 for i in range(31)}, width=28, height=28))
    write(folder / "data" / "miniImagenet", tree({f"train/class{i}": 16 for i in range(5)}))
    (folder / "data" / "omniglot").mkdir()
    names = [f"Blank/character{i:04d}" for i in range(omniglot.OMNIGLOT.characters)]
    blank = np.zeros((20 * len(names), 28, 28, 1), np.uint8)
    omniglot.write_cache(folder / "data" / "omniglot" / omniglot.NAME, {}, blank, names)
    return folder


@pytest.mark.parametrize("example", examples())
def test_example(example, data, monkeypatch):
    monkeypatch.chdir(data)
    keras.utils.set_random_seed(0)
    said = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    assert not said, "".join(said)


def test_every_public_name_of_the_library_has_an_example():
    others = "ClassImages", "UserError", "evaluate", "export"
    public = [getattr(maml_tf, name) for name in maml_tf.__all__ if name not in others]
    modules = [thing for thing in public if inspect.ismodule(thing)]
    names = [thing for thing in public if not inspect.ismodule(thing)] + [export.export]
    for module in modules:
        own = [thing for name, thing in vars(module).items() if not name.startswith("_") and callable(thing)]
        names += [thing for thing in own if thing.__module__ == module.__name__]
    assert len(names) > 15
    assert [thing.__qualname__ for thing in names if ">>> " not in (thing.__doc__ or "")] == []
