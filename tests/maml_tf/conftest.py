"""Fixtures: small trainings, and checkpoints."""

import pytest

from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build
from tests.maml_tf.exports import classifier, exported
from tests.maml_tf.runs.stores import EXPERIMENT, fill, make_maml
from tests.maml_tf.small_runs import IMAGES, SINUSOID, use_small_omniglot
from tests.maml_tf.supervised.trainings import END, Runs


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Trainings on the small Omniglot."""
    with pytest.MonkeyPatch.context() as patch:
        use_small_omniglot(patch, tmp_path_factory.mktemp("omniglot"))
        return Runs(IMAGES)


@pytest.fixture(scope="session")
def sinusoids():
    """Trainings on sinusoids, with learned step sizes."""
    return Runs(SINUSOID | {"learn_update_lr": True})


@pytest.fixture(scope="session", params=["sinusoids", "images"])
def runs(request):
    """Each test runs twice: with `sinusoids` and with `images`."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def straight(runs, tmp_path_factory):
    """The last checkpoint of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    runs.training(folder).run()
    assert available(folder) == [END]
    return folder / f"model{END}"


@pytest.fixture(scope="session")
def images_export(tmp_path_factory):
    """The export of a small convolutional MAML."""
    return exported(classifier(), tmp_path_factory.mktemp("export") / "images" / "1")


@pytest.fixture(scope="session")
def tiny_maml():
    """A MAML that is quick to make and save."""
    return make_maml()


@pytest.fixture
def saved(tiny_maml, tmp_path):
    """A store with the checkpoints 5 and 10, its folder, and the numbers in checkpoint 10."""
    store = build.store(tmp_path / "run", tiny_maml, EXPERIMENT)
    fill(tiny_maml, 1)
    store.save(5)
    numbers = fill(tiny_maml, 2)
    store.save(10)
    return store, tmp_path / "run", numbers
