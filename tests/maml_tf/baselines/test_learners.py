"""Compares nearest neighbour and fine-tuning with step-by-step computations of the same results."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.episodes import EVALUATION_SEED, Episodes
from maml_tf.baselines import learners
from maml_tf.baselines.learners import Choice, NearestNeighbor, StepSizes, choose, with_fresh_head
from maml_tf.supervised.evaluation import Evaluation
from tests.data_generators.synthetic_classes import classes

WAYS, SHOTS, TASKS = 3, 2, 4
UPDATES = 4  # the same everywhere, so that one graph serves all tests


@pytest.fixture(scope="module")
def tasks():
    data = classes([f"new{i}" for i in range(8)], per_class=20, noise=0.8)
    return Episodes({"test": data}, WAYS, SHOTS, 6).episodes(EVALUATION_SEED, "test", 0, TASKS)


@pytest.fixture(scope="module")
def fine_tuning(trained):
    return learners.fine_tuning(trained.maml, WAYS, SHOTS)


def test_nearest_neighbor_is_the_single_example_with_the_largest_cosine(trained, tasks):
    model = trained.maml.model
    body = keras.Model(model.input, model.layers[-1].input)
    accuracies = []
    for support_x, support_y, query_x, query_y in zip(*tasks, strict=True):
        support, query = (np.asarray(body(x, training=True), np.float64) for x in (support_x, query_x))
        lengths = np.linalg.norm(query, axis=1)[:, None] * np.linalg.norm(support, axis=1)[None]
        labels = support_y.argmax(1)[(query @ support.T / lengths).argmax(1)]
        accuracies.append((labels == query_y.argmax(1)).mean())
    trained.use_best_weights()  # resets the statistics that the calls above changed
    found = NearestNeighbor(trained.maml).evaluate(tasks)
    np.testing.assert_allclose(found["accuracies"], np.array(accuracies)[:, None], rtol=1e-6)
    assert (found["support_accuracy"] == 1).all()
    assert 1 / WAYS < np.mean(accuracies) < 1
    with pytest.raises(ValueError, match="no updates"):
        NearestNeighbor(trained.maml).evaluate(tasks, 1)


def test_one_example_decides_rather_than_the_mean_of_a_class():
    support = tf.constant([[0.0, 1.0], [1.0, 0.0], [0.8, 0.6], [0.8, -0.6]])
    labels = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    # The nearest example is the second, of class 0, although the mean of class 1 has exactly the query's direction.
    assert learners._labelled(tf.constant([[1.0, 0.0]]), support, labels).numpy().tolist() == [[1.0, 0.0]]


def test_fresh_head_is_drawn_as_torch_does_and_shares_the_rest(trained):
    model = trained.maml.model
    first, second = (with_fresh_head(model, WAYS) for _ in range(2))
    head = first.layers[-1]
    assert head.kernel.shape == (8, WAYS)
    for variable, same in zip(head.weights, second.layers[-1].weights, strict=True):
        assert np.abs(variable.numpy()).max() <= 8**-0.5
        assert np.abs(variable.numpy()).max() > 0
        np.testing.assert_array_equal(variable, same)
    assert all(mine is theirs for mine, theirs in zip(first.variables[:-2], model.variables[:-2], strict=True))


def accuracies_after_each_step(model, task, step_sizes, num_updates):
    """Trains all weights on the support's mean cross-entropy; returns the query accuracy before and after each step."""
    support_x, support_y, query_x, query_y = task
    cross_entropy = keras.losses.CategoricalCrossentropy(from_logits=True)
    accuracies = []
    for step in range(num_updates + 1):
        accuracies.append(np.mean(np.argmax(model(query_x, training=True), 1) == query_y.argmax(1)))
        with tf.GradientTape() as tape:
            loss = cross_entropy(support_y, model(support_x, training=True))
        variables = model.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, [v.value for v in variables]), strict=True):
            if gradient is not None:  # it is None for a bias that batch normalisation cancels
                variable.assign_sub(step_sizes.initial / (1 + step_sizes.decay * step) * gradient)
    return accuracies


@pytest.mark.parametrize("step_sizes", [StepSizes(0.5, 1.0), StepSizes(0.2)])
def test_fine_tuning_is_gradient_descent_of_all_weights(trained, fine_tuning, tasks, step_sizes):
    found = fine_tuning.evaluate(tasks, UPDATES, step_sizes.first(UPDATES))
    head = with_fresh_head(trained.maml.model, WAYS)
    expected = []
    for task in zip(*tasks, strict=True):
        model = keras.models.clone_model(head)
        model.set_weights(head.get_weights())
        expected.append(accuracies_after_each_step(model, task, step_sizes, UPDATES))
    np.testing.assert_allclose(found["accuracies"], expected, atol=1e-6)
    assert len(np.unique(found["accuracies"])) > 3  # otherwise the comparison would prove little
    assert found["support_accuracy"].shape == (TASKS,)


def test_fine_tuning_leaves_the_classifier_as_it_is(trained, fine_tuning, tasks):
    before = [v.numpy() for v in trained.maml.model.variables]
    first = fine_tuning.evaluate(tasks, UPDATES, StepSizes(0.5).first(UPDATES))
    second = fine_tuning.evaluate(tasks, UPDATES, StepSizes(0.5).first(UPDATES))
    np.testing.assert_array_equal(first["accuracies"], second["accuracies"])
    for variable, value in zip(trained.maml.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_constant_step_size_is_the_evaluation_of_maml(fine_tuning, tasks):
    found = fine_tuning.evaluate(tasks, UPDATES, StepSizes(0.3).first(UPDATES))
    expected = fine_tuning.evaluate(tasks, UPDATES, 0.3)
    np.testing.assert_allclose(found["accuracies"], expected["accuracies"], atol=1e-6)
    np.testing.assert_allclose(found["support_accuracy"], expected["support_accuracy"], atol=1e-6)


def test_choice_is_the_best_step_sizes_and_number_of_steps():
    def found(*means):
        return Evaluation("accuracy", np.zeros(2), np.array([means, means]))

    evaluations = {
        StepSizes(0.5): found(0.9, 0.2, np.nan),  # 0.9 is without any step, so it does not count
        StepSizes(0.1): found(0.2, 0.4, 0.3),
        StepSizes(0.1, 1.0): found(0.2, 0.3, 0.5),
        StepSizes(0.01): found(0.2, 0.1, 0.5),
    }
    assert choose(evaluations) == Choice(StepSizes(0.1, 1.0), 2, 0.5)
    np.testing.assert_allclose(StepSizes(0.1, 1.0).first(4), [0.1, 0.05, 0.1 / 3, 0.025])
