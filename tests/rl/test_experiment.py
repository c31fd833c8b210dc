"""Tests of settings: the paper's values, refusals, and names."""

import dataclasses

import pytest

from data_generators.errors import UserError
from maml_tf.runs import published
from rl.envs import ENVIRONMENTS, find
from rl.experiment import DEFAULT_ENV, RLExperiment

PAPER = {
    "point_navigation": (0.5, 20, 20, 100, 100),
    "half_cheetah_velocity": (0.1, 20, 40, 200, 800),
    "half_cheetah_direction": (0.1, 20, 40, 200, 800),
    "ant_velocity": (0.1, 20, 40, 200, 800),
    "ant_direction": (0.1, 40, 40, 200, 800),
}
PUBLISHED = [name for name, environment in ENVIRONMENTS.items() if environment.published]


@pytest.mark.parametrize("env", PUBLISHED)
def test_paper_settings(env):
    e = RLExperiment.of(env=env)
    found = e.fast_lr, e.fast_batch_size, e.meta_batch_size, e.horizon, e.iterations
    assert found == PAPER[env]
    assert (e.meta_step_size, e.discount, e.gae_lambda, e.num_grad_updates, e.hidden_size) == (0.01, 0.99, 1, 1, 100)
    assert e.unusual() == ({} if env == DEFAULT_ENV else {"env": env})


def test_settings_of_the_baselines():
    point = RLExperiment.of(baseline="pretrained")
    assert (point.optimizer, point.meta_batch_size, point.fast_batch_size) == ("adam", 20, 20)
    published_iterations = (
        ("half_cheetah_velocity", 475, 975),
        ("half_cheetah_direction", 1000, 1000),
        ("ant_velocity", 575, 550),
        ("ant_direction", 2000, 1975),
    )
    for env, pretrained, oracle in published_iterations:
        for baseline, iterations in (("pretrained", pretrained), ("oracle", oracle)):
            e = RLExperiment.of(env=env, baseline=baseline)
            assert (e.iterations, e.optimizer, e.num_grad_updates) == (iterations, "trpo", 0)
            assert e.meta_batch_size * e.fast_batch_size == 100


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"meta_batch_size": 0}, "--meta_batch_size must be at least 1, not 0"),
        ({"fast_batch_size": -3}, "--fast_batch_size must be at least 1, not -3"),
        ({"horizon": 0}, "--horizon must be at least 1"),
        ({"hidden_size": 0}, "--hidden_size must be at least 1"),
        ({"iterations": 0}, "--iterations must be at least 1"),
        ({"num_grad_updates": 0}, "--num_grad_updates must be at least 1"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"seed": 2**32}, "--seed must be at most 4294967295, not 4294967296"),
        ({"iterations": 2**31}, "--iterations must be at most 1000000000, not 2147483648"),
        ({"meta_batch_size": 10**30}, f"--meta_batch_size must be at most 1000000, not {10**30}"),
        ({"fast_batch_size": 2**31}, "--fast_batch_size must be at most 1000000"),
        ({"horizon": 10**30}, "--horizon must be at most 1000000"),
        ({"hidden_size": 300_000}, "--hidden_size must be at most 10000"),
        ({"num_grad_updates": 2**31}, "--num_grad_updates must be at most 100"),
        ({"fast_lr": 0.0}, "--fast_lr must be a positive number"),
        ({"meta_step_size": float("nan")}, "--meta_step_size must be a positive number"),
        ({"discount": 1.5}, "--discount must be between 0 and 1"),
        ({"baseline": "best"}, "unknown baseline 'best': choose one of maml, pretrained, oracle"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        ({"optimizer": "adam"}, "--optimizer=adam is for the baselines"),
        ({"hessian_product": "none"}, "unknown hessian_product 'none'"),
        ({"nonlinearity": "selu"}, "unknown nonlinearity 'selu'"),
        ({"baseline": "oracle", "num_grad_updates": 2}, "--baseline=oracle has no inner updates"),
        ({"adapt": "body"}, "unknown adapt 'body': choose one of all, head"),
        ({"baseline": "pretrained", "adapt": "head"}, "--baseline=pretrained has no inner updates: leave --adapt out"),
        ({"baseline": "oracle", "fast_lr": 0.2}, "--baseline=oracle has no inner updates: leave --fast_lr out"),
        ({"baseline": "pretrained", "meta_step_size": 0.02}, "--optimizer=adam takes no TRPO step: leave --meta_step"),
        ({"baseline": "pretrained", "hessian_product": "exact"}, "takes no TRPO step: leave --hessian_product out"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        RLExperiment.of(**given)


def test_runs_with_other_settings_have_other_folders():
    changes = [{}, {"meta_batch_size": 3}, {"fast_batch_size": 3}, {"horizon": 9}, {"fast_lr": 0.3}, {"seed": 2}]
    changes += [{"num_grad_updates": 2}, {"meta_step_size": 0.02}, {"hessian_product": "exact"}, {"discount": 0.9}]
    changes += [{"gae_lambda": 0.9}, {"hidden_size": 8}, {"nonlinearity": "tanh"}, {"baseline": "oracle"}]
    changes += [{"baseline": "pretrained"}, {"baseline": "pretrained", "optimizer": "trpo"}, {"adapt": "head"}]
    names = [RLExperiment.of(**change).name for change in changes]
    assert len(set(names)) == len(names)
    named = {name for change in changes for name in change} | {"env", "iterations"}
    assert named == {field.name for field in dataclasses.fields(RLExperiment)}
    assert names[0] == "maml.mbs_20.fbs_20.numgrad1.fastlr0.5.delta0.01"
    assert RLExperiment.of(iterations=7).name == names[0]  # a longer run continues in the same folder
    assert RLExperiment.of(adapt="head").name == f"{names[0]}.adapthead"


def test_older_runs_adapt_all_parameters():
    older = dataclasses.asdict(RLExperiment.of())
    del older["adapt"]
    assert RLExperiment.of().differences(older) == []
    assert RLExperiment.of(adapt="head").differences(older) == ["--adapt=all (now head)"]


def test_older_baselines_may_have_settings_without_effect():
    now = RLExperiment.of(baseline="pretrained")
    older = dataclasses.asdict(now) | {"fast_lr": 0.2, "meta_step_size": 0.02}
    assert now.differences(older) == []
    assert now.differences(older | {"discount": 0.9}) == ["--discount=0.9 (now 0.99)"]
    by_trpo = RLExperiment.of(baseline="pretrained", optimizer="trpo")
    assert by_trpo.differences(dataclasses.asdict(by_trpo) | {"meta_step_size": 0.02}) == [
        "--meta_step_size=0.02 (now 0.01)"
    ]


# From the original's test scripts: trajectories, and the step sizes of all updates for MAML, pretrained and random.
PROTOCOLS = {
    "point_navigation": (40, [0.5, 0.25, 0.25, 0.25], [0.5, 0.25, 0.25, 0.25], [0.5, 0.25, 0.25, 0.25]),
    "half_cheetah_velocity": (20, [0.1, 0.05, 0.05], [0.02, 0.01, 0.01], [0.1, 0.05, 0.05]),
    "half_cheetah_direction": (20, [0.1, 0.05, 0.05], [0.2, 0.1, 0.1], [1.0, 0.5, 0.5]),
    "ant_velocity": (20, [0.1, 0.05, 0.05], [0.2, 0.1, 0.1], [1.0, 0.5, 0.5]),
    "ant_direction": (40, [0.1, 0.001, 0.001], [0.2, 0.002, 0.002], [1.0, 0.01, 0.01]),
}


@pytest.mark.parametrize("env", PUBLISHED)
def test_evaluation_protocol(env):
    environment = find(env)
    protocol = environment.protocol
    trajectories, *alphas = PROTOCOLS[env]
    assert protocol.trajectories == trajectories
    curves = published.published_returns(environment.published)
    for policy, expected in zip(("maml", "pretrained", "random"), alphas, strict=True):
        trained = RLExperiment.of(env=env).fast_lr
        assert protocol.alphas(policy, protocol.updates, trained) == pytest.approx(expected)
        assert len(curves[policy].mean) == protocol.updates + 1
    assert protocol.alphas("maml", 1, 0.3) == [0.3]
    assert find("my.module:Env").published is None
