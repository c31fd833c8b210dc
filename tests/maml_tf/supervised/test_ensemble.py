"""Tests of ensembles: every member adapts by itself, and the mean of their outputs is evaluated."""

import functools

import numpy as np
import pytest

from maml_tf.supervised import evaluation
from maml_tf.supervised.ensemble import Ensemble, variables

TASKS, UPDATES = 6, 2


@pytest.fixture(scope="module")
def members(runs):
    """The values of all variables of two different models, with weights large enough for adaptation to show."""
    random = np.random.default_rng(0)
    initial = [variable.numpy() for variable in variables(runs.maml)]
    trainable = {id(variable) for variable in runs.maml.model.trainable_variables}

    def changed():
        return [
            value + random.normal(0, 0.2, value.shape).astype(value.dtype) if id(variable) in trainable else value
            for variable, value in zip(variables(runs.maml), initial, strict=True)
        ]

    return [changed(), changed()]


def put(runs, member):
    for variable, value in zip(variables(runs.maml), member, strict=True):
        variable.assign(value)


@pytest.fixture
def evaluate(runs):
    """Evaluates a Learner on the first test tasks."""
    draw = functools.partial(runs.data.evaluation_tasks, "test")
    sizes = {"num_tasks": TASKS, "num_updates": UPDATES, "tasks_per_call": 4}
    return functools.partial(evaluation.evaluate, draw=draw, label=None, **sizes)


@pytest.mark.parametrize("transductive", [True, False])
def test_ensemble_of_one_is_that_model_to_the_last_bit(runs, members, evaluate, transductive):
    put(runs, members[0])
    alone = evaluate(runs.maml, transductive=transductive)
    put(runs, members[1])
    found = evaluate(Ensemble(runs.maml, members[:1]), transductive=transductive)
    np.testing.assert_array_equal(found.query, alone.query)
    np.testing.assert_array_equal(found.support, alone.support)
    assert (found.kind, found.transductive) == (alone.kind, alone.transductive)
    if alone.losses is not None:
        np.testing.assert_array_equal(found.losses, alone.losses)


@pytest.mark.parametrize("transductive", [True, False])
def test_ensemble_of_two_is_the_mean_of_their_outputs(runs, members, evaluate, transductive):
    tasks, maml, outputs = runs.data.evaluation_tasks("test", 0, TASKS), runs.maml, []
    for member in members:
        put(runs, member)
        outputs.append(
            [
                [
                    maml.predict(x, maml.adapt(support_x, support_y, num_updates=update), transductive).numpy()
                    for update in range(UPDATES + 1)
                ]
                for support_x, support_y, x in zip(tasks.support_x, tasks.support_y, tasks.query_x, strict=True)
            ]
        )
    assert not np.allclose(outputs[0], outputs[1], rtol=0.1)
    mean, y = np.mean(outputs, axis=0), np.asarray(tasks.query_y)[:, None]
    if maml.accuracy:
        expected = (mean.argmax(-1) == y.argmax(-1)).mean(-1)
        with np.errstate(over="raise"):
            log_softmax = mean - np.log(np.exp(mean).sum(-1, keepdims=True))
        losses = -(log_softmax * y).sum((-1, -2)) / runs.experiment().update_batch_size
    else:
        expected = losses = ((mean - y) ** 2).mean((-1, -2))
    found = evaluate(Ensemble(maml, members), transductive=transductive)
    np.testing.assert_allclose(found.query, expected, rtol=1e-4)
    np.testing.assert_allclose(found.query if found.losses is None else found.losses, losses, rtol=1e-4)


def test_step_size_of_the_test_and_the_support_are_the_members(runs, members, evaluate):
    """With a step size of zero nothing changes, and two equal members give the same as one."""
    put(runs, members[0])
    alone = evaluate(runs.maml, step_size=0.0)
    found = evaluate(Ensemble(runs.maml, [members[0], members[0]]), step_size=0.0)
    np.testing.assert_array_equal(found.query, np.repeat(alone.query[:, :1], UPDATES + 1, axis=1))
    np.testing.assert_array_equal(found.support, alone.support)
    assert found.step_size == 0.0
