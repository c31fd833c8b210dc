"""Tests of the settings for images: lists of classes, augmentation and normalisation of pixels."""

import json

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import networks
from maml_tf.export import export
from maml_tf.pixels import PixelNorm, set_pixels
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from maml_tf.task_axis import resolve
from tests.data_generators import synthetic_images as synthetic
from tests.data_generators.synthetic_classes import splits
from tests.maml_tf import small_runs
from tests.maml_tf.supervised.blobs import NAME

SMALL = {"datasource": NAME, "num_classes": 2, "num_filters": 2, "meta_batch_size": 2, "num_updates": 1, "queries": 2}
NORMALIZED = Experiment.of(**SMALL, metatrain_iterations=2, normalize="per_channel")


@pytest.mark.parametrize("datasource", ["omniglot", "sinusoid"])
@pytest.mark.parametrize("option", [{"augment": "flip_crop"}, {"normalize": "per_channel"}])
def test_what_has_no_photographs_refuses(datasource, option):
    (name,) = option
    with pytest.raises(UserError, match=f"--{name} goes with photographs, and {datasource} has none: leave it out"):
        Experiment.of(datasource=datasource, **option)


def test_name_of_the_folder_tells_the_options():
    plain, both = Experiment.of(**SMALL), Experiment.of(**SMALL, augment="flip_crop", normalize="per_channel")
    assert both.name == plain.name.replace(".queries2", ".flip_crop.per_channel.queries2")
    assert both.published_row is None
    mini = Experiment.of(datasource="miniimagenet", augment="flip_crop")
    assert mini.published_row is None
    assert Experiment.of(datasource="miniimagenet").published_row is not None


@pytest.fixture
def lists(tmp_path):
    """A file that lists the classes of each split."""
    path = tmp_path / "birds.json"
    path.write_text(json.dumps({"train": ["a", "b"], "valid": ["c", "d"], "test": ["e", "f"]}))
    return path


def test_lists_are_a_setting_by_what_they_say(lists, tmp_path):
    experiment = Experiment.of(datasource="folder", splits=str(lists))
    digits = experiment.splits.removeprefix(f"{lists}#")
    assert experiment.name.endswith(f".images84x3.splits{digits}")
    assert experiment.flags() == ["--datasource=folder", f"--splits={lists}#{digits}"]
    moved = lists.rename(tmp_path / "moved.json")
    made = {**vars(experiment)}
    assert Experiment.of(**made) == experiment  # without reading the file, which was moved
    assert Experiment.of(datasource="folder", splits=str(moved)).differences(made) == []
    moved.write_text(moved.read_text().replace('"b"', '"g"'))
    other = Experiment.of(datasource="folder", splits=str(moved))
    assert other.name != experiment.name
    assert other.differences(made) == [f"--splits={lists}#{digits} (now {other.splits})"]
    assert Experiment.of(datasource="folder").differences(made) == [f"--splits={lists}#{digits} (now None)"]
    with pytest.raises(UserError, match="--splits goes with --datasource=folder: omniglot has its own"):
        Experiment.of(datasource="omniglot", splits=str(moved))
    with pytest.raises(UserError, match=r"there is no .*birds\.json: --splits takes a file or folder"):
        Experiment.of(datasource="folder", splits=str(lists))


def test_a_folder_is_trained_on_as_the_lists_say(lists, tmp_path):
    folder = synthetic.write(tmp_path / "images", synthetic.tree(dict.fromkeys("abcdef", 4), width=16, height=16))
    given = {"datasource": "folder", "splits": str(lists), "image_size": 16, "num_classes": 2, "queries": 2}
    data = build.load(Experiment.of(**given), folder)
    assert data.source.splits["train"].names == ("a", "b")
    assert data.source.splits["val"].names == ("c", "d")
    assert data.splits == ("train", "val", "test")


def test_too_few_images_and_classes_are_told_with_the_flags(tmp_path):
    folder = synthetic.write(tmp_path, synthetic.tree({f"{i:03d}": 3 for i in range(200)}, width=16, height=16))
    given = {"datasource": "folder", "image_size": 16}
    with pytest.raises(
        UserError, match=r"A 50-way task needs 50 classes, but the val split has 32: .*; --num_classes=32 would"
    ):
        build.load(Experiment.of(**given, num_classes=50), folder)
    with pytest.raises(UserError) as error:
        build.load(Experiment.of(**given, num_classes=20), folder)
    assert "1 support and 15 query images per class need 16 images, but 160 classes have fewer: " in str(error.value)
    advice = "use fewer shots or queries (--update_batch_size, --queries); --queries=2 would do."
    assert str(error.value).endswith(f"and 150 more; add images, or {advice}")


@pytest.mark.parametrize("max_pool", [True, False])
@pytest.mark.parametrize("norm", ["batch_norm", "None"])
def test_a_network_that_normalises_is_the_plain_one_on_normalised_pixels(max_pool, norm):
    x = np.random.default_rng(0).random((6, 16, 16, 3))
    mean, deviation = [0.5, 0.4, 0.3], [0.2, 0.3, 0.0]
    given = {"filters": 3, "norm": norm, "max_pool": max_pool, "flatten": True, "dtype": "float64"}
    plain = networks.conv4((16, 16, 3), 4, **given)
    normalising = networks.conv4((16, 16, 3), 4, **given, normalize=True)
    for target, source in zip(normalising.trainable_variables, plain.trainable_variables, strict=True):
        target.assign(source)
    set_pixels(normalising, mean, deviation)
    expected = plain((x - mean) / [0.2, 0.3, 1.0], training=True)
    np.testing.assert_allclose(normalising(x, training=True), expected, rtol=1e-6, atol=1e-6)


def pixels(maml):
    (layer,) = [layer for layer in maml.model.layers if isinstance(layer, PixelNorm)]
    return layer.mean.numpy(), layer.deviation.numpy()


def test_pixels_are_normalised_by_the_training_classes_in_the_checkpoint_and_the_export(tmp_path):
    experiment = Experiment.of(**SMALL, metatrain_iterations=2, normalize="per_channel", conv=False)
    data = build.load(experiment)
    maml = build.build(experiment, data.source, jit=False)
    mean, deviation = splits()["train"].pixel_moments()
    np.testing.assert_allclose(pixels(maml), [mean, deviation], rtol=1e-6)
    before = pixels(maml)
    maml.train_step(data.source.sample(0, "train", 0, 2))
    assert np.array_equal(pixels(maml), before)  # to the last bit
    build.store(tmp_path / experiment.name, maml, experiment).save(1)

    restored = build.load_run(experiment, tmp_path, jit=False).maml
    assert np.array_equal(pixels(restored), before)
    task = data.evaluation_tasks("test", 0, 1)
    x, y, query_x, _ = (values[0] for values in task)
    expected = maml.predict(query_x, maml.adapt(x, y))

    without_images = build.build(experiment, experiment.dataset.shapes(experiment), "map", False)
    build.restore(without_images, experiment, tmp_path / experiment.name)
    signatures = tf.saved_model.load(str(export(without_images, tmp_path / "export"))).signatures
    answer = signatures["adapt_and_predict"](
        support_inputs=tf.constant(x), support_labels=tf.constant(y), query_inputs=tf.constant(query_x)
    )
    np.testing.assert_allclose(answer["query_outputs"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_resuming_augmented_training_is_exact(tmp_path):
    def trained(folder, *stops):
        for stop in stops:
            experiment = Experiment.of(**SMALL, augment="flip_crop", metatrain_iterations=stop)
            training = small_runs.training(experiment, folder, jit=False)
            assert training.run()
        return [variable.numpy() for variable in training.maml.model.variables]

    at_once, resumed = trained(tmp_path / "a", 4), trained(tmp_path / "b", 2, 4)
    assert all(np.array_equal(one, other) for one, other in zip(at_once, resumed, strict=True))
    plain = small_runs.training(Experiment.of(**SMALL, metatrain_iterations=4), tmp_path / "c", jit=False)
    assert plain.run()
    assert not np.array_equal(plain.maml.model.variables[0].numpy(), at_once[0])


def test_tasks_run_as_without():
    plain, normalising = (networks.mlp((4, 4, 1), 2, normalize=normalize) for normalize in (False, True))
    assert resolve("auto", "auto", normalising) == resolve("auto", "auto", plain)


@pytest.mark.slow
def test_gradients_do_not_depend_on_how_tasks_run():
    data = build.load(NORMALIZED)
    tasks = data.source.sample(0, "train", 0, 2)
    mapped, vectorised = (
        # First order compiles faster, and suffices since second derivatives do not reach the pixels.
        build.build(NORMALIZED, data.source, way, False).meta_gradients(tasks, first_order=True)
        for way in ("map", "vectorize")
    )
    for one, other in zip(mapped, vectorised, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("datasource", ["miniimagenet", "cifar_fs", "fc100", "folder"])
def test_photographs_take_the_options(datasource):
    experiment = Experiment.of(datasource=datasource, augment="flip_crop", normalize="per_channel")
    assert experiment.name.endswith(".flip_crop.per_channel")
    shape = experiment.dataset.shapes(experiment).input_shape
    network = experiment.dataset.network(experiment, shape, 5)
    assert [variable.path for variable in network.non_trainable_variables[:2]] == ["pixels/mean", "pixels/deviation"]
    assert not any(
        isinstance(layer, PixelNorm)
        for layer in experiment.dataset.network(Experiment.of(datasource=datasource), shape, 5).layers
    )


def test_a_checkpoint_of_the_original_normalises_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "locate", lambda folder, iteration: (folder, 7))
    monkeypatch.setattr(build, "is_tf1", lambda path: True)
    maml = build.build(NORMALIZED, NORMALIZED.dataset.shapes(NORMALIZED), "map", False)
    with pytest.raises(UserError, match="of the original code, which normalises no pixels: leave --normalize out"):
        build.restore(maml, NORMALIZED, tmp_path)
