"""Tests of --adapt=head (ANIL): inner updates change only the output layer and log_std, wherever a policy adapts."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.adaptation import adapt
from maml_tf.task_axis import MAP, VECTORIZE
from rl import envs, evaluation, export, vpg
from rl.build import build_policy
from rl.experiment import RLExperiment
from rl.maml_trpo import MAMLTRPO, MetaObjective
from rl.policy import GaussianPolicy
from rl.sampling import sample_tasks
from tests.rl.compiled import inputs
from tests.rl.goldens import Golden
from tests.rl.small_runs import SMALL, train, training, weights

BODY = 4  # W0, b0, W1, b1


@pytest.fixture
def golden():
    return Golden("small2_fixed")  # two inner updates


@pytest.fixture
def policy(golden):
    return GaussianPolicy(golden.policy().model, head_only=True)


def task(samples, number):
    return type(samples)(*(values[number] for values in samples))


def test_update_is_mamls_with_a_step_size_of_zero_for_the_body(golden, policy):
    samples = task(golden.samples(0), 0)

    def loss(params, state):
        return vpg.policy_gradient_loss(golden.policy(), params, samples), state

    params = policy.params()
    expected, _ = adapt(loss, params, [], step_size=[0.0] * BODY + [0.7] * 3, num_updates=1)
    found = vpg.update(policy, params, samples, 0.7)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    changed = [bool((one.numpy() != before.numpy()).any()) for one, before in zip(found, params, strict=True)]
    assert changed == [False] * BODY + [True] * 3


@pytest.mark.parametrize("task_axis", [MAP, VECTORIZE])
def test_batches_of_tasks_are_updated_alike(golden, policy, task_axis):
    samples, params = golden.samples(0), policy.stacked(golden.settings["meta_batch"])
    found = MAMLTRPO(policy, 0.7, task_axis=task_axis).adapt(params, samples)
    for number in range(golden.settings["meta_batch"]):
        expected = vpg.update(policy, policy.params(), task(samples, number), 0.7)
        for values, of_task in zip(found, expected, strict=True):
            np.testing.assert_allclose(values[number], of_task, rtol=1e-12, atol=1e-14)


def test_meta_gradient_by_finite_differences(golden, policy):
    """Compares the gradients by body and by head, through both inner updates."""
    theta, alpha, before, after = inputs(golden)
    objective = MetaObjective(policy, alpha, before, after)
    evaluate = tf.function(objective.evaluate, autograph=False)
    _, _, gradient = objective.differentiate(theta)
    of_all = MetaObjective(golden.policy(), alpha, before, after).differentiate(theta)[2]
    assert np.abs(gradient - of_all).max() > 1e-3
    body = np.arange(len(theta)) < sum(policy.sizes[:BODY])
    random = np.random.default_rng(0)
    for part in (body, ~body):
        direction = np.where(part, random.standard_normal(len(theta)), 0)
        direction /= np.linalg.norm(direction)
        step = 1e-6 * direction
        (high, _), (low, _) = evaluate(theta + step), evaluate(theta - step)
        assert float(high - low) / 2e-6 == pytest.approx(np.dot(gradient, direction), rel=1e-7)


def test_training_meta_learns_all_parameters(tmp_path):
    run = training(tmp_path, adapt="head", iterations=1)
    before = run.policy.params()
    train(run)
    assert weights(run) != np.concatenate([np.ravel(values) for values in before]).tolist()
    for variable, values in zip(run.policy.variables, before, strict=True):
        assert (variable.numpy() != values.numpy()).any(), variable.path


def test_evaluation_adapts_the_head_of_maml_and_all_of_a_random_policy(monkeypatch):
    experiment = RLExperiment.of(**SMALL, adapt="head")
    sampled, goals = [], np.zeros((2, 2))

    def noted(policy, params, *rest):
        sampled.append(params)
        return sample_tasks(policy, params, *rest)

    monkeypatch.setattr(evaluation, "sample_tasks", noted)
    vector = envs.make_vector("point_navigation", 2, 4, 6)
    for policy in (build_policy(experiment, 2, 2), *evaluation.restore_policies(experiment, ["random"]).values()):
        evaluation.adapt_to_goals(policy, vector, goals, [0.5])
    start, of_maml, _, of_random = ([values.numpy() for values in params] for params in sampled)
    for number, values in enumerate(of_maml):
        assert (values != start[number]).any() == (number >= BODY)
    assert not np.array_equal(of_random[0][0], of_random[0][1])  # each task has another first layer


def test_export_adapts_the_head(tmp_path):
    policy = build_policy(RLExperiment.of(**SMALL), 2, 2)
    headed = GaussianPolicy(policy.model, head_only=True)
    experiment = RLExperiment.of(**SMALL, adapt="head")
    loaded = tf.saved_model.load(str(export.export(headed, experiment, 1, tmp_path / "1")))
    random = np.random.default_rng(0)
    observations, actions = (random.standard_normal((9, 2)).astype("float32") for _ in range(2))
    samples = observations, actions, random.standard_normal(9).astype("float32")
    once = loaded.adapt(*samples)
    twice = loaded.adapt_again(*samples, 0.1, once)
    names = export.PolicySignatures(headed, experiment.fast_lr).weight_names
    for number, (name, start) in enumerate(zip(names, headed.params(), strict=True)):
        for earlier, later in ((start, once[name]), (once[name], twice[name])):
            assert (earlier.numpy() != later.numpy()).any() == (number >= BODY), name
