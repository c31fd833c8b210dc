"""Tests that the learner of one task checks its loss."""

import keras
import pytest
import tensorflow as tf

from data_generators.sinusoid import Sinusoid
from maml_tf.maml import MAML


@pytest.mark.parametrize("task_axis", ["map", "vectorize"])
def test_a_loss_per_example_is_refused_in_plain_words(task_axis):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    maml = MAML(model, lambda outputs, y: tf.square(outputs - y), task_axis=task_axis, jit=False)
    with pytest.raises(ValueError, match=r"must be a scalar, but its shape is \(5, 1\)"):
        maml.train_step(Sinusoid(5).sample(0, "train", 0, 3))
