"""Tests of evaluation: which updates use which samples, and what is computed from the returns."""

from pathlib import Path

import numpy as np
import pytest

from rl import build, envs, evaluation
from rl import training as training_module
from rl.build import build_policy
from rl.evaluation import Adaptation, adapt_to_goals, evaluate
from rl.experiment import RLExperiment
from rl.sampling import sample_tasks
from rl.vpg import TaskUpdate
from tests.rl.small_runs import SMALL, training

GOALS = np.array([[0.3, 0.1], [-0.2, 0.4], [0.0, -0.5]])


@pytest.fixture
def policy():
    return build_policy(RLExperiment.of(**SMALL), 2, 2)


@pytest.fixture
def vector():
    return envs.make_vector("point_navigation", 3, 4, 6)


def test_interval_and_mean_are_over_goals():
    returns = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0], [7.0, 20.0]])
    adaptation = Adaptation(returns)
    np.testing.assert_allclose(adaptation.mean, [4.0, 20.0])
    # Standard deviations over the four goals, without Bessel's correction: sqrt(5) and sqrt(150).
    np.testing.assert_allclose(adaptation.ci95, 1.96 * np.sqrt([5.0, 150.0]) / 2)


def test_every_update_is_of_its_own_size_on_new_samples_of_the_weights_before(policy, vector, monkeypatch):
    seen, sampled = [], []

    class Noted(TaskUpdate):
        def __call__(self, params, samples, step_size):
            after = super().__call__(params, samples, step_size)
            seen.append((step_size, params, samples, after))
            return after

    def noted(policy, params, envs, goals, seed):
        sampled.append((params, goals, seed))
        return sample_tasks(policy, params, envs, goals, seed)

    monkeypatch.setattr(evaluation, "TaskUpdate", Noted)
    monkeypatch.setattr(evaluation, "sample_tasks", noted)
    before, calls = policy.flat().numpy(), []
    adaptation = adapt_to_goals(
        policy, vector, GOALS, [0.5, 0.25, 0.25], on_batch=lambda: calls.append(1), keep_trajectories=True
    )
    assert [step_size for step_size, *_ in seen] == [0.5, 0.25, 0.25]
    assert len(calls) == len(sampled) == len(adaptation.trajectories) == 4
    assert len({seed for *_, seed in sampled}) == 4
    for (_, start, samples, after), (params, goals, _), (following, *_), trajectories in zip(
        seen, sampled[:-1], sampled[1:], adaptation.trajectories[:-1], strict=True
    ):
        np.testing.assert_array_equal(goals, GOALS)
        assert start is params
        assert following is after
        np.testing.assert_array_equal(samples.actions.numpy().ravel(), trajectories.actions.ravel())
    noise = [batch.actions - batch.means for batch in adaptation.trajectories]
    assert all(np.abs(noise[0] - other).max() > 0.1 for other in noise[1:])
    np.testing.assert_array_equal(
        adaptation.returns, np.stack([batch.returns.mean(1) for batch in adaptation.trajectories], 1)
    )
    assert adaptation.returns.shape == (3, 4)
    np.testing.assert_array_equal(policy.flat().numpy(), before)


@pytest.mark.parametrize("product", ["exact", "finite_difference"])
def test_whole_trpo_steps_are_those_of_the_experiment(policy, vector, monkeypatch, product):
    made, estimates, estimate = [], [], evaluation.estimate

    def noted(batch, *settings, **others):
        estimates.append(settings)
        return estimate(batch, *settings, **others)

    monkeypatch.setattr(evaluation, "estimate", noted)

    class Noted(evaluation.MAMLTRPO):
        def __init__(self, policy, **settings):
            super().__init__(policy, **settings)
            made.append((self.region.delta, self.hessian_product))

    monkeypatch.setattr(evaluation, "MAMLTRPO", Noted)
    others = {"hessian_product": product, "discount": 0.9, "gae_lambda": 0.8}
    experiment = RLExperiment.of(**SMALL, meta_step_size=0.04, **others)
    evaluation.adapt_by_protocol(experiment, "maml", policy, GOALS, 1, 4, update="trpo")
    assert made == [(0.04, product)]
    assert estimates == [(0.9, 0.8)]


def test_trajectories_are_kept_only_if_asked_for(policy, vector):
    kept, not_kept = (adapt_to_goals(policy, vector, GOALS, [0.5], keep_trajectories=keep) for keep in (True, False))
    assert not_kept.trajectories is None
    np.testing.assert_array_equal(kept.returns, not_kept.returns)


def test_noise_is_new_in_every_iteration_update_and_evaluation(tmp_path, monkeypatch):
    seeds = []
    run = training(tmp_path)

    def noted(*arguments):
        seeds.append(arguments[-1])
        return sample_tasks(*arguments)

    monkeypatch.setattr(training_module, "sample_tasks", noted)
    run.iterate(0)
    run.iterate(1)
    assert seeds == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)]
    assert all(seed[:2] != evaluation._SEED for seed in seeds)


def test_the_policy_in_runs_turns_half_cheetahs_around_in_one_step():
    settings = {"meta_step_size": 0.02, "nonlinearity": "tanh"}
    experiment = RLExperiment.of(env="half_cheetah_direction", **settings)
    policy, iteration = build.load_policy(experiment, Path(__file__).parents[2] / "runs")
    goals = np.repeat([[0.5], [1.5]], 5, axis=0)  # backward and forward
    adaptation = adapt_to_goals(policy, envs.make_vector(experiment.env, 10, 20, 200), goals, [experiment.fast_lr])
    assert iteration == 100
    assert -60 < adaptation.mean[0] < 20
    for direction in goals[:, 0] < 1, goals[:, 0] >= 1:
        assert adaptation.returns[direction, 1].mean() > 250  # 357 +- 18 over all 40 goals


def test_no_update_is_none():
    experiment = RLExperiment.of(env="point_navigation", horizon=3)
    found = evaluate(experiment, {"random": build_policy(experiment, 2, 2)}, num_updates=0, trajectories=1)
    assert found["random"].returns.shape == (40, 1)
