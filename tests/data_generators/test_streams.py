"""Meta-batches as a tf.data.Dataset and a keras.utils.PyDataset: equal to those of `sample` from any iteration on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators import streams
from data_generators.episodes import ClassImages, Episodes
from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks, part_of


def episodes():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 6, 6, 1), np.uint8)
    data = ClassImages(pixels, 8 * np.arange(5), np.full(5, 8), tuple("abcde"))
    return Episodes({"train": data, "val": data}, ways=3, shots=1, queries={"train": 2, "val": 4})


class TwoInputs:
    """A user's own source, whose model has two inputs."""

    in_graph = False
    dataset, sequence = streams.dataset, streams.sequence

    def sample(self, seed, split, iteration, num_tasks, part=None):
        x = np.arange(num_tasks * 4.0).reshape(num_tasks, 4, 1) + iteration
        first, size = part or (0, num_tasks)
        tasks = Tasks({"a": x, "b": -x}, x.astype(int), {"a": x, "b": -x}, x.astype(int))
        return tf.nest.map_structure(lambda value: value[first : first + size], tasks)


SOURCES = [episodes(), Sinusoid(3, 5), TwoInputs()]


def equal(found, tasks):
    found = Tasks(*(value for pair in found for value in pair))
    tf.nest.map_structure(lambda a, b: np.testing.assert_array_equal(a, b), found, tasks)
    return True


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_stream_is_what_sample_draws_from_any_iteration_on(source, split):
    drawn = [source.sample(7, split, i, 4) for i in range(5)]
    for first in (0, 2):
        batches = source.dataset(split, 4, seed=7, first=first)
        assert all(equal(batch, tasks) for batch, tasks in zip(batches, drawn[first:], strict=False))
        batches = source.sequence(split, 4, seed=7, first=first)
        assert all(equal(batches[i], tasks) for i, tasks in enumerate(drawn[first:]))
    flat = tf.nest.flatten(source.dataset(split, 4, seed=7).element_spec)
    specs = [(value.shape, value.dtype) for value in map(tf.convert_to_tensor, tf.nest.flatten(drawn[0]))]
    assert [(spec.shape, spec.dtype) for spec in flat] == specs


@pytest.mark.parametrize("source", SOURCES[:2], ids=lambda source: type(source).__name__)
def test_training_never_ends_and_evaluation_does_after_600_tasks(source):
    assert source.dataset("train", 4).cardinality() == tf.data.INFINITE_CARDINALITY
    assert source.sequence("train", 4).num_batches is None
    with pytest.raises(TypeError, match="steps_per_epoch"):
        len(source.sequence("train", 4))
    for split, num_tasks, first, stop, count in [
        ("val", 25, 0, None, 24),
        ("val", 32, 18, None, 1),
        ("val", 25, 30, None, 0),
        ("train", 4, 3, 5, 2),
    ]:
        assert source.dataset(split, num_tasks, 0, first, stop).cardinality() == count
        assert len(source.sequence(split, num_tasks, 0, first, stop)) == count
    assert len(list(source.sequence("train", 4, stop=3))) == 3


def test_fit_takes_both():
    class Sums(keras.Model):
        """Adds up the support targets of all meta-batches."""

        def train_step(self, data):
            (_, support_y), _ = data
            self.noted.assign_add(tf.reduce_sum(support_y))
            return {"tasks": tf.shape(support_y)[0]}

    source = Sinusoid(3)
    expected = sum(float(tf.reduce_sum(source.sample(1, "train", i, 4).support_y)) for i in range(2, 8))
    for batches in (source.dataset("train", 4, seed=1, first=2), source.sequence("train", 4, seed=1, first=2)):
        model = Sums()
        model.noted = tf.Variable(0.0)
        model.built = True
        model.compile()
        model.fit(batches, epochs=2, steps_per_epoch=3, verbose=0)
        np.testing.assert_allclose(model.noted, expected, rtol=1e-5)


@pytest.mark.parametrize("stream", [streams.dataset, streams.sequence])
def test_mistakes_are_one_sentence(stream):
    with pytest.raises(UserError, match="num_tasks must be at least 1, but is 0"):
        stream(SOURCES[0], "train", 0)
    with pytest.raises(UserError, match="there is no split 'valid': the splits are train, val and test"):
        next(iter(stream(Sinusoid(3), "valid", 4)))
    with pytest.raises(UserError, match="there is no split 'valid': the splits are train and val"):
        next(iter(stream(SOURCES[0], "valid", 4)))


@pytest.mark.parametrize("make", ["dataset", "sequence"])
@pytest.mark.parametrize("source", SOURCES[:2], ids=lambda source: type(source).__name__)
def test_a_missing_split_is_told_when_the_stream_is_made(source, make):
    with pytest.raises(UserError, match="there is no split 'testing'"):
        getattr(source, make)("testing", 4)


def test_a_sequence_has_no_batches_beyond_its_length():
    batches = episodes().sequence("val", 4, stop=2)
    assert len(list(batches)) == 2
    for index in (2, -1):
        with pytest.raises(IndexError, match=f"there is no meta-batch {index}"):
            batches[index]


def test_a_source_that_draws_whole_meta_batches_will_do():
    class Whole(TwoInputs):
        def sample(self, seed, split, iteration, num_tasks):
            return super().sample(seed, split, iteration, num_tasks)

    source = Whole()
    expected = source.sample(0, "train", 2, 3)
    assert equal(next(iter(source.dataset("train", 3, first=2).as_numpy_iterator())), expected)
    assert equal(source.sequence("train", 3, first=2)[0], expected)
    part = part_of(source, 0, "train", 2, 3, (1, 2))
    tf.nest.map_structure(lambda a, b: np.testing.assert_array_equal(a, b[1:]), part, expected)
