"""The examples in the docstrings of the library's public names: that there are some, and that they are true."""

import doctest
import inspect
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import maml_tf
from data_generators import tasks
from data_generators.tasks import Tasks
from maml_tf import (
    adaptation,
    distribution,
    export,
    keras_data,
    keras_model,
    layers,
    losses,
    maml,
    networks,
    optimizers,
    saving,
    step_sizes,
    task_axis,
)
from maml_tf.maml import MAML

USUAL = {"keras": keras, "np": np, "tf": tf, "tempfile": tempfile, "MAML": MAML, "Tasks": Tasks}
MODULES = [adaptation, distribution, export, layers, losses, maml, networks, optimizers, step_sizes, task_axis, tasks]
MODULES += [keras_data, keras_model, saving]


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in MODULES for test in finder.find(module, extraglobs=USUAL)]
    return [pytest.param(test, id=test.name) for test in found if test.examples]


@pytest.mark.parametrize("example", examples())
def test_example(example):
    keras.utils.set_random_seed(0)
    said = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append)
    assert not said, "".join(said)


def test_every_public_name_of_the_library_has_an_example():
    public = [getattr(maml_tf, name) for name in maml_tf.__all__ if name not in ("UserError", "evaluate")]
    modules = [thing for thing in public if inspect.ismodule(thing)]
    names = [thing for thing in public if not inspect.ismodule(thing)] + [export.export]
    for module in modules:
        own = [thing for name, thing in vars(module).items() if not name.startswith("_") and callable(thing)]
        names += [thing for thing in own if thing.__module__ == module.__name__]
    assert len(names) > 15
    assert [thing.__qualname__ for thing in names if ">>> " not in (thing.__doc__ or "")] == []
