import keras
import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid
from maml_tf import experiment as experiments
from maml_tf import losses, networks, problems
from maml_tf.experiment import Experiment
from tests.maml_tf.runs import IMAGES, small, use_small_omniglot


@pytest.fixture
def small_omniglot(monkeypatch, tmp_path):
    use_small_omniglot(monkeypatch, tmp_path)


class Images:
    """The shapes of a source of images."""

    def __init__(self, side, channels, ways):
        self.input_shape, self.output_size = (side, side, channels), ways


def build(side=28, channels=1, **settings):
    experiment = Experiment.of(**settings)
    return problems.build(experiment, Images(side, channels, experiment.num_classes))


def weights(maml):
    return [variable.numpy() for variable in maml.weights]


def shapes(model, kind=keras.layers.Layer):
    return [tuple(layer.kernel.shape) for layer in model.layers if isinstance(layer, kind) and hasattr(layer, "kernel")]


def test_norms_are_those_of_the_networks():
    assert tuple(experiments._NORM_NAMES) == networks.NORMS


def test_networks_are_the_paper_s():
    sinusoid = problems.build(Experiment.of(), Sinusoid(10)).model
    assert shapes(sinusoid) == [(1, 40), (40, 40), (40, 1)]
    omniglot = build(datasource="omniglot").model
    assert shapes(omniglot) == [(3, 3, 1, 64), *[(3, 3, 64, 64)] * 3, (64, 5)]
    dense = build(datasource="omniglot", conv=False, num_classes=20).model
    assert shapes(dense) == [(784, 256), (256, 128), (128, 64), (64, 64), (64, 20)]
    mini = build(84, 3, datasource="miniimagenet").model
    assert shapes(mini) == [(3, 3, 3, 32), *[(3, 3, 32, 32)] * 3, (800, 5)]


def test_oracle_is_told_the_task():
    experiment = Experiment.of(baseline="oracle")
    problem = problems.load(experiment, None)
    assert problem.source.input_shape == (3,)
    assert problems.build(experiment, problem.source).model.input_shape == (None, 3)
    assert problem.evaluation_tasks("test", 0, 2).query_x.shape == (2, 10, 3)


def test_settings_reach_the_meta_learner():
    maml = build(datasource="omniglot", num_updates=4, update_lr=0.25, meta_lr=0.5, stop_grad=True, num_filters=2)
    assert (maml.step_size, maml.num_updates, maml.first_order, maml.step_sizes) == (0.25, 4, True, [])
    assert maml.accuracy is losses.accuracy
    for optimizer in (maml.optimizer, maml.pretrain_optimizer):
        assert (float(optimizer.learning_rate), optimizer.epsilon, optimizer.clipvalue) == (0.5, 1e-8, None)
    learned = build(datasource="omniglot", learn_update_lr=True, update_lr=0.25, num_filters=2)
    assert [float(size.numpy()) for size in learned.step_sizes] == [0.25] * len(learned.pure.adapted)


def test_only_miniimagenet_meta_training_clips():
    maml = build(84, 3, datasource="miniimagenet", num_filters=2)
    assert maml.optimizer.clipvalue == 10.0
    assert maml.pretrain_optimizer.clipvalue is None


def test_loss_of_images_is_divided_by_the_shots():
    logits, labels = np.float32([[1, 0], [0, 1]]), np.float32([[1, 0], [1, 0]])
    one = build(datasource="omniglot", num_classes=2, num_filters=2)
    per_example = np.log1p(np.exp([-1.0, 1.0]))
    np.testing.assert_allclose(one.loss(logits, labels), per_example.sum(), rtol=1e-6)
    experiment = Experiment.of(datasource="omniglot", num_classes=2, num_filters=2)
    two = problems.build(experiment, Images(28, 1, 2), shots=2)
    np.testing.assert_allclose(two.loss(logits, labels), per_example.sum() / 2, rtol=1e-6)


def test_initial_weights_follow_the_seed_alone():
    source = Sinusoid(10)
    first, again, other = (
        weights(problems.build(Experiment.of(**given), source))
        for given in ({}, {"metatrain_iterations": 5, "meta_batch_size": 2}, {"seed": 1})
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


def test_test_tasks_of_the_sinusoid_are_the_original_s():
    problem = problems.load(Experiment.of(), None)
    assert problem.splits == ("train", "val", "test")
    for found, expected in zip(problem.evaluation_tasks("test", 3, 2), Sinusoid(10).test_tasks(600), strict=True):
        np.testing.assert_array_equal(found, expected[3:5])


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("settings", [{}, IMAGES])
def test_evaluation_tasks_are_fixed_whatever_the_seed_and_the_cut(split, settings, small_omniglot):
    whole = problems.load(small(settings, 1), None).evaluation_tasks(split, 0, 6)
    parts = [problems.load(small(settings, 1, seed=9), None).evaluation_tasks(split, i, 3) for i in (0, 3)]
    for expected, *found in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_validation_and_test_tasks_differ(small_omniglot):
    for settings in ({}, IMAGES):
        problem = problems.load(small(settings, 1), None)
        val, test = (problem.evaluation_tasks(split, 0, 2) for split in ("val", "test"))
        assert not np.array_equal(val.support_x, test.support_x)


def test_shots_of_the_test_may_differ(small_omniglot):
    assert problems.load(Experiment.of(), None, shots=3).evaluation_tasks("test", 0, 2).support_x.shape == (2, 3, 1)
    with pytest.raises(UserError, match="2 support and 2 query images per class need 4 images"):
        problems.load(small(IMAGES, 1), None, shots=2)


def test_more_classes_or_images_than_there_are(small_omniglot):
    with pytest.raises(UserError, match="A 3-way task needs 3 classes, but the val split has 2"):
        problems.load(small(IMAGES | {"num_classes": 3}, 1), None)
    with pytest.raises(UserError, match=r"need 4 images, but class .* has 3"):
        problems.load(small(IMAGES | {"update_batch_size": 2}, 1), None)


def test_miniimagenet_is_not_there_yet():
    with pytest.raises(UserError, match="miniImagenet cannot be read yet"):
        problems.load(Experiment.of(datasource="miniimagenet"), None)
