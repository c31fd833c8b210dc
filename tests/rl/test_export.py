"""Tests that an exported policy answers as the policy does, and of its description and refusals."""

import json
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.export import DESCRIPTION
from rl import export as exports
from rl import vpg
from rl.advantages import Samples
from rl.envs import ENVIRONMENTS
from rl.experiment import RLExperiment
from rl.policy import GaussianPolicy, gaussian_mlp
from tests.maml_tf.exports import TIMES, assert_close, call, fill

EXPERIMENT = RLExperiment.of(fast_lr=0.25, hidden_size=4)
WEIGHTS = [f"{layer}_{kind}" for layer in ("dense0", "dense1", "means") for kind in ("kernel", "bias")]
WEIGHTS += ["log_std_log_std"]


class Exported(NamedTuple):
    """A GaussianPolicy with observations [3] and actions [2], the folder of its export, and the loaded export."""

    policy: GaussianPolicy
    folder: str
    loaded: object


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    policy = GaussianPolicy(fill(gaussian_mlp(3, 2, (4, 4))))
    folder = exports.export(policy, EXPERIMENT, 7, tmp_path_factory.mktemp("export") / "policy" / "1")
    return Exported(policy, folder, tf.saved_model.load(str(folder)))


def batch(count=20, seed=0):
    """Returns random samples by the names of the signatures' arguments."""
    shapes = {"observations": (count, 3), "actions": (count, 2), "advantages": (count,)}
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def updated(policy, params, samples, step_size):
    """Returns the weights after an update by `vpg`, by their names in the export."""
    mask = np.ones_like(samples["advantages"])
    params = vpg.update(policy, params, Samples(**samples, mask=mask, means=None, log_stds=None), step_size)
    return dict(zip(WEIGHTS, params, strict=True))


def assert_all_close(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_close(found[name], values)


def distribution(policy, params, observations):
    return dict(zip(("means", "log_std"), policy(params, observations), strict=True))


def test_predicts_what_the_policy_does(exported):
    policy, _, loaded = exported
    for count in (1, 5):
        observations = batch(count)["observations"]
        expected = distribution(policy, policy.params(), observations)
        assert_all_close(call(loaded, "predict", observations=observations), expected)
        assert_all_close(call(loaded, "serving_default", observations=observations), expected)


def test_adapts_by_the_policy_gradient(exported):
    policy, _, loaded = exported
    samples = batch()
    adapted = call(loaded, "adapt", **samples)
    expected = updated(policy, policy.params(), samples, EXPERIMENT.fast_lr)
    assert_all_close(adapted, expected)
    for name, before in zip(WEIGHTS, policy.params(), strict=True):
        assert np.abs(adapted[name] - before).max() > 1e-3, name
    with_other = call(loaded, "adapt_with", **samples, step_size=np.float32(0.03))
    assert_all_close(with_other, updated(policy, policy.params(), samples, 0.03))
    observations = batch(4, seed=2)["observations"]
    found = call(loaded, "predict_with", observations=observations, **adapted)
    assert_all_close(found, distribution(policy, list(expected.values()), observations))


def test_every_further_update_has_samples_of_its_own(exported):
    policy, _, loaded = exported
    step_sizes = (0.25, 0.125, 0.1)
    found, expected = {}, dict(zip(WEIGHTS, policy.params(), strict=True))
    for number, step_size in enumerate(step_sizes):
        samples = batch(10 + number, seed=number)
        expected = updated(policy, list(expected.values()), samples, step_size)
        if number:
            found = call(loaded, "adapt_again", **samples, step_size=np.float32(step_size), **found)
        else:
            found = call(loaded, "adapt", **samples)
        assert_all_close(found, expected)


def test_functions_of_the_loaded_object_fit_into_each_other(exported):
    loaded, samples = exported.loaded, batch()
    once = loaded.adapt(*samples.values())
    twice = loaded.adapt_again(*samples.values(), 0.1, once)
    means = loaded.predict_with(samples["observations"], twice)["means"]
    assert_close(means, call(loaded, "predict_with", observations=samples["observations"], **twice)["means"])


def test_nothing_is_assigned(exported):
    for signature in exported.loaded.signatures.values():
        functions = signature.graph.as_graph_def().library.function
        kinds = {node.op for function in functions for node in function.node_def}
        assert "MatMul" in kinds  # so the search reaches the functions
        assert not [kind for kind in kinds if "Assign" in kind]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observations": np.zeros((20, 4), "f")}, r"observations\S* \[20,4\] is not .* expected shape \[\?,3\]"),
        ({"actions": np.zeros((20, 3), "f")}, r"actions\S* \[20,3\] is not .* expected shape \[\?,2\]"),
        ({"actions": np.zeros(20, "f")}, r"actions\S* \[20\] is not .* expected shape \[\?,2\]"),
        ({"advantages": np.zeros((20, 1), "f")}, r"advantages\S* \[20,1\] is not .* expected shape \[\?\]"),
        (
            batch(0),
            r"there are no samples: expected observations \[samples, 3\], actions \[samples, 2\], advantages "
            r"\[samples\], with at least one sample",
        ),
        ({"actions": batch(19)["actions"]}, r"actions \[samples, 2\], .* with the same number of samples"),
        ({"advantages": batch(21)["advantages"]}, r"advantages \[samples\], with the same number of samples"),
    ],
)
def test_wrong_argument(exported, arguments, message):
    for _ in range(TIMES):  # the order of operations may differ each time
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(exported.loaded, "adapt", **batch() | arguments)


def test_wrong_argument_of_the_other_signatures(exported):
    loaded = exported.loaded
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"observations\S* \[5,2\] is not .* \[\?,3\]"):
        call(loaded, "predict", observations=np.zeros((5, 2), "f"))
    adapted = call(loaded, "adapt", **batch())
    adapted["means_bias"] = adapted["means_bias"][:1]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"means_bias\S* \[1\] is not .* expected shape \[2\]"):
        call(loaded, "predict_with", observations=batch()["observations"], **adapted)
    with pytest.raises(tf.errors.InvalidArgumentError, match="there are no samples"):
        call(loaded, "adapt_with", **batch(0), step_size=np.float32(0.1))


def test_description(exported):
    description = json.loads((exported.folder / DESCRIPTION).read_text())
    assert (description["env"], description["iteration"]) == ("point_navigation", 7)
    assert RLExperiment.of(**description["settings"]) == EXPERIMENT
    assert (description["step_size"], description["step_size_of_later_updates"]) == (0.25, 0.125)
    assert description["weights"] == WEIGHTS
    assert "scales [-1, 1] to its bounds and clips" in description["actions"]
    assert description["arguments"].keys() | {"serving_default"} == set(exported.loaded.signatures)
    assert description["arguments"]["adapt"] == {
        "observations": "float32 [samples, 3]",
        "actions": "float32 [samples, 2]",
        "advantages": "float32 [samples]",
    }
    assert description["arguments"]["predict_with"].keys() == {"observations", *WEIGHTS}


GOALS = {
    "point_navigation": "the position to reach; uniform in [-0.5, 0.5)",
    "half_cheetah_velocity": "the forward velocity to move at; uniform in [0, 2)",
    "half_cheetah_direction": "backward below 1, forward from there on; uniform in [0, 2)",
    "ant_velocity": "the forward velocity to move at; uniform in [0, 3)",
    "ant_direction": "backward below 1.5, forward from there on; uniform in [0, 3)",
    "mine:Env-v0": "what sample_task of the environment draws",
}


@pytest.mark.parametrize("env", GOALS)
def test_goals_and_step_sizes_of_every_environment(exported, monkeypatch, env):
    assert set(GOALS) > set(ENVIRONMENTS)
    written = []
    monkeypatch.setattr(
        exports, "write", lambda model, endpoints, description, *path, axis: written.append(description)
    )
    for baseline in ("maml", "pretrained"):
        exports.export(exported.policy, RLExperiment.of(env=env, baseline=baseline), 1, "out")
    of_maml, of_pretrained = written
    assert of_maml["goal"].endswith(GOALS[env])
    step_sizes = {"point_navigation": (0.5, 0.5), "half_cheetah_velocity": (0.1, 0.02)}
    assert (of_maml["step_size"], of_pretrained["step_size"]) == step_sizes.get(env, (0.1, 0.2))


def test_what_cannot_be_exported_is_refused(exported, tmp_path):
    with pytest.raises(UserError, match="--baseline=oracle does not adapt"):
        exports.export(exported.policy, RLExperiment.of(baseline="oracle"), 1, tmp_path / "out")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="is not empty: name another, or remove it"):
        exports.export(exported.policy, EXPERIMENT, 1, tmp_path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]


# Runs with TensorFlow alone: the option -I keeps this project's folder and those in PYTHONPATH out of Python's path.
CLEAN = """
import sys
import numpy as np
import tensorflow as tf

samples = np.load("samples.npz")
model = tf.saved_model.load(sys.argv[1])
adapted = model.adapt(samples["observations"], samples["actions"], samples["advantages"])
np.savez("answer.npz", **model.predict_with(samples["observations"], adapted), **adapted)
assert not {"maml_tf", "rl", "tensorflow_probability"} & set(sys.modules)
"""


@pytest.mark.slow
def test_in_a_process_with_tensorflow_only(exported, tmp_path):
    policy, samples = exported.policy, batch()
    np.savez(tmp_path / "samples.npz", **samples)
    command = [sys.executable, "-I", "-c", CLEAN, str(exported.folder)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    adapted = updated(policy, policy.params(), samples, EXPERIMENT.fast_lr)
    expected = adapted | distribution(policy, list(adapted.values()), samples["observations"])
    assert_all_close(np.load(tmp_path / "answer.npz"), expected)
