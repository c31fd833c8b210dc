import keras
import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid
from maml_tf import losses, networks
from maml_tf.supervised import build
from maml_tf.supervised import experiment as experiments
from maml_tf.supervised.experiment import Experiment
from tests.data_generators.synthetic_images import tree, write
from tests.maml_tf.small_runs import IMAGES, small, use_small_omniglot


@pytest.fixture
def small_omniglot(monkeypatch, tmp_path):
    use_small_omniglot(monkeypatch, tmp_path)


class Images:
    """Stands in for a source of images; it has only the shapes."""

    def __init__(self, side, channels, ways):
        self.input_shape, self.output_size = (side, side, channels), ways


def built(side=28, channels=1, **settings):
    experiment = Experiment.of(**settings)
    return build.build(experiment, Images(side, channels, experiment.num_classes))


def weights(maml):
    return [variable.numpy() for variable in maml.weights]


def shapes(model, kind=keras.layers.Layer):
    return [tuple(layer.kernel.shape) for layer in model.layers if isinstance(layer, kind) and hasattr(layer, "kernel")]


def test_norms_are_those_of_the_networks():
    assert tuple(experiments._NORM_NAMES) == networks.NORMS


def test_networks_are_the_paper_s():
    sinusoid = build.build(Experiment.of(), Sinusoid(10)).model
    assert shapes(sinusoid) == [(1, 40), (40, 40), (40, 1)]
    omniglot = built(datasource="omniglot").model
    assert shapes(omniglot) == [(3, 3, 1, 64), *[(3, 3, 64, 64)] * 3, (64, 5)]
    dense = built(datasource="omniglot", conv=False, num_classes=20).model
    assert shapes(dense) == [(784, 256), (256, 128), (128, 64), (64, 64), (64, 20)]
    own = built(20, 1, datasource="folder", image_size=20, image_channels=1, num_classes=7).model
    assert shapes(own) == [(3, 3, 1, 32), *[(3, 3, 32, 32)] * 3, (32, 7)]
    mini = built(84, 3, datasource="miniimagenet").model
    assert shapes(mini) == [(3, 3, 3, 32), *[(3, 3, 32, 32)] * 3, (800, 5)]


def test_oracle_is_told_the_task():
    experiment = Experiment.of(baseline="oracle")
    data = build.load(experiment)
    assert data.source.input_shape == (3,)
    assert build.build(experiment, data.source).model.input_shape == (None, 3)
    assert data.evaluation_tasks("test", 0, 2).query_x.shape == (2, 10, 3)


def test_settings_reach_the_meta_learner():
    maml = built(datasource="omniglot", num_updates=4, update_lr=0.25, meta_lr=0.5, stop_grad=True, num_filters=2)
    assert (maml.step_size, maml.num_updates, maml.first_order, maml.step_sizes) == (0.25, 4, True, [])
    assert maml.accuracy is losses.accuracy
    for optimizer in (maml.optimizer, maml.pretrain_optimizer):
        assert (float(optimizer.learning_rate), optimizer.epsilon, optimizer.clipvalue) == (0.5, 1e-8, None)
    learned = built(datasource="omniglot", learn_update_lr=True, update_lr=0.25, num_filters=2)
    assert [float(size.numpy()) for size in learned.step_sizes] == [0.25] * len(learned.pure.adapted)


def test_pretraining_before_reptile_takes_the_steps_of_pretraining_before_maml():
    for given in ({}, {"meta_lr": 0.5}):
        maml = build.build(Experiment.of(algorithm="reptile", pretrain_iterations=5, **given), Sinusoid(10))
        assert float(maml.optimizer.learning_rate) == given.get("meta_lr", 1.0)
        assert float(maml.pretrain_optimizer.learning_rate) == np.float32(Experiment.of().meta_lr)


@pytest.mark.parametrize("datasource", ["miniimagenet", "folder"])
def test_only_miniimagenet_meta_training_clips(datasource):
    maml = built(84, 3, datasource=datasource, num_filters=2)
    assert maml.optimizer.clipvalue == 10.0
    assert maml.pretrain_optimizer.clipvalue is None
    assert built(datasource="omniglot", num_filters=2).optimizer.clipvalue is None


def test_clipping_bounds_every_component():
    maml = built(16, 1, datasource="folder", num_filters=2, num_classes=2)
    before = weights(maml)
    gradients = [np.full(v.shape, 1e3, "float32") for v in before]
    gradients[0][..., 0] = -3.0
    maml.optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], maml.weights)
    moments = [v.numpy() for v in maml.optimizer.variables if v.path.endswith("momentum")]
    np.testing.assert_allclose(moments[0][..., 0], -0.3, rtol=1e-5)  # (1 - beta_1) times the gradient
    np.testing.assert_allclose(moments[1], 1.0, rtol=1e-5)


def test_loss_of_images_is_divided_by_the_shots():
    logits, labels = np.float32([[1, 0], [0, 1]]), np.float32([[1, 0], [1, 0]])
    one = built(datasource="omniglot", num_classes=2, num_filters=2)
    per_example = np.log1p(np.exp([-1.0, 1.0]))
    np.testing.assert_allclose(one.loss(logits, labels), per_example.sum(), rtol=1e-6)
    experiment = Experiment.of(datasource="omniglot", num_classes=2, num_filters=2)
    two = build.build(experiment, Images(28, 1, 2), shots=2)
    np.testing.assert_allclose(two.loss(logits, labels), per_example.sum() / 2, rtol=1e-6)


@pytest.mark.parametrize("datasource", ["omniglot", "miniimagenet", "folder"])
def test_initial_output_weights_are_normal_for_omniglot_and_xavier_for_miniimagenet(datasource):
    kernel = built(84, 3, datasource=datasource, num_filters=32).model.get_layer("output").kernel.numpy()
    if datasource == "omniglot":
        assert kernel.shape == (32, 5)
        assert 0.8 < kernel.std() < 1.2
    else:
        assert kernel.shape == (800, 5)
        limit = np.sqrt(6 / 805)
        assert 0.99 * limit < np.abs(kernel).max() <= limit
        np.testing.assert_allclose(kernel.std(), limit / np.sqrt(3), rtol=0.05)


def test_initial_weights_follow_the_seed_alone():
    source = Sinusoid(10)
    first, again, other = (
        weights(build.build(Experiment.of(**given), source))
        for given in ({}, {"metatrain_iterations": 5, "meta_batch_size": 2}, {"seed": 1})
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


def test_test_tasks_of_the_sinusoid_are_the_original_s():
    data = build.load(Experiment.of(), None)
    assert data.splits == ("train", "val", "test")
    for found, expected in zip(data.evaluation_tasks("test", 3, 2), Sinusoid(10).test_tasks(600), strict=True):
        np.testing.assert_array_equal(found, expected[3:5])


def test_a_long_list_of_sinusoids_is_drawn_a_few_times(monkeypatch):
    drawn, draw = [], Sinusoid.test_tasks
    monkeypatch.setattr(Sinusoid, "test_tasks", lambda self, number: drawn.append(number) or draw(self, number))
    tasks = build.load(Experiment.of(), None).evaluation_tasks
    parts = [tasks("test", first, 25) for first in range(0, 2000, 25)]
    assert drawn == [600, 1200, 2400]
    for *found, expected in zip(*parts, draw(Sinusoid(10), 2000), strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("settings", [{}, IMAGES])
def test_evaluation_tasks_are_fixed_whatever_the_seed_and_the_cut(split, settings, small_omniglot):
    whole = build.load(small(settings, 1), None).evaluation_tasks(split, 0, 6)
    parts = [build.load(small(settings, 1, seed=9), None).evaluation_tasks(split, i, 3) for i in (0, 3)]
    for expected, *found in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)


def test_validation_and_test_tasks_differ(small_omniglot):
    for settings in ({}, IMAGES):
        data = build.load(small(settings, 1), None)
        val, test = (data.evaluation_tasks(split, 0, 2) for split in ("val", "test"))
        assert not np.array_equal(val.support_x, test.support_x)


def test_shots_of_the_test_may_differ(small_omniglot):
    assert build.load(Experiment.of(), None, shots=3).evaluation_tasks("test", 0, 2).support_x.shape == (2, 3, 1)
    with pytest.raises(UserError, match="2 support and 2 query images per class need 4 images"):
        build.load(small(IMAGES, 1), None, shots=2)


def test_more_classes_or_images_than_there_are(small_omniglot):
    with pytest.raises(UserError, match="A 3-way task needs 3 classes, but the val split has 2"):
        build.load(small(IMAGES | {"num_classes": 3}, 1), None)
    with pytest.raises(UserError, match=r"need 4 images, but .* classes have fewer: .* of the val split \(3\), "):
        build.load(small(IMAGES | {"update_batch_size": 2}, 1), None)


FOLDER = {"datasource": "folder", "num_classes": 2, "image_size": 16}
SPLITS = {"train/a": 17, "train/b": 17, "val/c": 17, "val/d": 17, "test/e": 4, "test/f": 4}


@pytest.fixture
def folder(tmp_path):
    """A folder of images in splits. The classes of the test split have just enough images for K = 2."""
    return write(tmp_path, tree(SPLITS, width=16, height=16))


@pytest.mark.parametrize("datasource", ["folder", "miniimagenet"])
def test_training_and_its_validation_have_15_queries_and_tests_have_k(tmp_path, datasource):
    side = 16 if datasource == "folder" else 84
    write(tmp_path, tree(SPLITS, width=side, height=side))
    experiment = Experiment.of(datasource=datasource, num_classes=2, image_size=16 if datasource == "folder" else None)
    data = build.load(experiment, tmp_path)
    assert (data.source.input_shape, data.source.output_size) == ((side, side, 3), 2)
    assert data.splits == ("train", "val", "test")
    for tasks in (data.source.sample(0, "train", 0, 3), data.validation_tasks(0, 3)):
        assert (tasks.support_x.shape, tasks.query_x.shape) == ((3, 2, side, side, 3), (3, 30, side, side, 3))
    for split in ("val", "test"):
        assert data.evaluation_tasks(split, 0, 3).query_x.shape == (3, 2, side, side, 3)
    tested = build.load(experiment, tmp_path, shots=2)
    assert tested.evaluation_tasks("test", 0, 3).query_x.shape == (3, 4, side, side, 3)
    data.check_trainable()


def test_validation_tasks_are_a_fixed_list_of_the_validation_split(folder, small_omniglot):
    for settings in ({}, IMAGES, FOLDER):
        whole = build.load(small(settings, 1), folder).validation_tasks(0, 6)
        parts = [build.load(small(settings, 1, seed=9), folder).validation_tasks(i, 3) for i in (0, 3)]
        for expected, *found in zip(whole, *parts, strict=True):
            np.testing.assert_array_equal(np.concatenate(found), expected)


def test_omniglot_and_sinusoids_validate_on_the_tasks_of_a_test_on_that_split(small_omniglot):
    for settings in ({}, IMAGES):
        data = build.load(small(settings, 1), None)
        for found, expected in zip(data.validation_tasks(0, 4), data.evaluation_tasks("val", 0, 4), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_splits_that_are_missing(tmp_path):
    write(tmp_path, tree({"val/c": 4, "val/d": 4}, width=16, height=16))
    data = build.load(Experiment.of(**FOLDER), tmp_path)  # enough for a test, though not for training
    assert data.splits == ("val",)
    assert data.evaluation_tasks("val", 0, 2).query_x.shape == (2, 2, 16, 16, 3)
    with pytest.raises(UserError, match="training needs the splits train and val, but the data have only val"):
        data.check_trainable()
    with pytest.raises(UserError, match="there are no classes of a test split: add them"):
        data.evaluation_tasks("test", 0, 2)
    assert [data.split_to_test(wanted) for wanted in (None, False)] == ["val", "val"]
    with pytest.raises(UserError, match="there are no classes of a test split: add them"):
        data.split_to_test(True)
    write(tmp_path, tree({"train/a": 17, "train/b": 17, "test/e": 4, "test/f": 4}, width=16, height=16))
    with pytest.raises(
        UserError, match=r"1 support and 15 query images per class need 16 images, but 2 classes have fewer: c"
    ):
        build.load(Experiment.of(**FOLDER), tmp_path)


def test_split_of_the_test_is_the_test_split_where_there_is_one():
    data = build.load(Experiment.of(), None)
    assert [data.split_to_test(wanted) for wanted in (None, False, True)] == ["test", "val", "test"]


def test_missing_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^data/miniImagenet holds no miniImagenet"):
        build.load(Experiment.of(datasource="miniimagenet"), None)
    with pytest.raises(UserError, match="--datasource=folder needs --data_dir, the folder with your images"):
        build.load(Experiment.of(datasource="folder"), None)
