"""What changes in the course of meta-training: weights of the query losses, and the learning rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.optimizers import annealed_query_weights, decayed, optimizer_of


def test_annealed_weights_are_those_of_the_formula():
    weights = annealed_query_weights(5, 1000)
    for done in (0, 1, 500, 970, 999, 1000, 10**6):
        left = max(1 - done / 1000, 0.03) / 5
        np.testing.assert_allclose(weights(tf.constant(done)), [left] * 4 + [1 - 4 * left], rtol=1e-12)


def test_decays():
    assert decayed(0.3, "none", 10) == 0.3
    assert float(decayed(1.0, "linear", 10)(4)) == pytest.approx(0.6)
    assert float(decayed(0.1, "cosine", 10)(10)) == pytest.approx(0.001)
    assert float(decayed(0.1, "cosine", 10)(5)) == pytest.approx(0.1 * (0.99 * 0.5 + 0.01))


def test_adam_by_name_is_the_originals_and_other_names_are_keras():
    for given in (None, "adam", "Adam"):
        optimizer = optimizer_of(given)
        assert type(optimizer) is keras.optimizers.Adam
        assert (optimizer.epsilon, float(optimizer.learning_rate)) == (1e-8, pytest.approx(1e-3))
    assert optimizer_of(keras.optimizers.Adam()).epsilon == 1e-7
    assert type(optimizer_of("rmsprop")) is keras.optimizers.RMSprop
    with pytest.raises(UserError, match="no optimizer 'none'"):
        optimizer_of("none")
