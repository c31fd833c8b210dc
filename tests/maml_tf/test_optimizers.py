"""Tests of optimizers, and of what changes during meta-training: query-loss weights and the learning rate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.optimizers import annealed_query_weights, decayed, optimizer_of
from tests.maml_tf.small_models import maml, model, network, stream, tasks


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


def test_an_optimizer_that_unscales_gradients_is_refused():
    sgd = keras.optimizers.SGD
    for scales in (keras.optimizers.LossScaleOptimizer(sgd()), sgd(loss_scale_factor=1024.0)):
        for optimizer in ("optimizer", "pretrain_optimizer"):
            with pytest.raises(UserError, match="MAML scales no loss: give the optimizer without LossScaleOptimizer"):
                maml(**{optimizer: scales})


@pytest.mark.parametrize("learn_step_size", [True, "per_weight"])
def test_averages_of_an_optimizer_go_to_their_own_variables(learn_step_size):
    sgd, form = keras.optimizers.SGD, {"learn_step_size": learn_step_size}
    made = model(optimizer=sgd(0.1, use_ema=True, ema_momentum=0.5), **form)
    alone, averages = maml(optimizer=sgd(0.1), **form), []
    made.fit(stream(), steps_per_epoch=3, verbose=0)
    for i in range(3):
        alone.train_step(tasks(i))
        values = [v.numpy() for v in alone.meta_variables]
        averages = [(a + v) / 2 for a, v in zip(averages, values, strict=True)] if i else values
    for found, average in zip(made.maml.meta_variables, averages, strict=True):
        np.testing.assert_allclose(found, average, rtol=1e-4, atol=1e-6)


def test_accumulated_meta_batches_have_dropout_masks_of_their_own():
    made = maml(network(dropout=0.5), optimizer=keras.optimizers.SGD(0.0, gradient_accumulation_steps=3))
    found = {float(made.train_step(tasks())["pre_loss"]) for _ in range(3)}
    assert len(found) == 3


def test_steps_of_pretraining_have_dropout_masks_of_their_own():
    made = maml(network(dropout=0.5), pretrain_optimizer=keras.optimizers.SGD(0.0))
    found = {float(made.pretrain_step(tasks())["pre_loss"]) for _ in range(3)}
    assert len(found) == 3
