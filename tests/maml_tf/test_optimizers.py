"""What changes in the course of meta-training: weights of the query losses, and the learning rate."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.optimizers import annealed_query_weights, decayed


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
