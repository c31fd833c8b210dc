"""Compares the meta-update and its parts with the original's numbers."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.task_axis import MAP, VECTORIZE
from rl import trpo, vpg
from rl.advantages import Samples
from rl.maml_trpo import MAMLTRPO
from rl.vpg import AdamPretraining
from tests.maml_tf.golden_checks import OriginalAdam
from tests.maml_tf.goldens import assert_close
from tests.rl.compiled import inputs, learner_of, parts_of
from tests.rl.goldens import Golden, flat

CONFIGS = ["small1", "small1_off", "small1_off_bigdelta", "small1_alpha10", "small2_fixed", "big1"]
GRADIENTS = {"float64": 1e-12, "float32": 1e-4}
PRODUCTS = {"float64": 1e-11, "float32": 1e-4}
RESULTS = {"float64": 1e-10, "float32": 1e-4}
DTYPES = ["float64", "float32"]


def assert_close_or_nan(found, expected, tolerance, what):
    if np.isnan(expected).any():
        assert np.isnan(found).all(), what
    else:
        assert_close(found, expected, tolerance, what)


# The fast tests use float32 only where it loses most accuracy: in the whole step.
slow = pytest.mark.slow
EXACTLY = [*((name, "float64") for name in CONFIGS), pytest.param("small1", "float32", marks=slow)]


@pytest.mark.parametrize(("config", "dtype"), EXACTLY)
def test_inner_updates(config, dtype):
    golden = Golden(config, dtype)
    learner = learner_of(golden)
    _, _, before, _ = inputs(golden)
    params = learner.policy.stacked(golden.settings["meta_batch"])
    for number, samples in enumerate(before, start=1):
        params = learner.adapt(params, samples)
        for task, theta in enumerate(flat(params)):
            assert_close(theta, golden[f"theta_adapt/s{number}_t{task}"], GRADIENTS[dtype], f"update {number}")


def check_derivatives(golden, task_axis):
    parts = parts_of(learner_of(golden, task_axis))
    loss, kl, gradient = parts.differentiate(*inputs(golden))
    # Loss and KL are means of numbers of the order of 1, which may cancel, so the tolerance is absolute.
    for found, key in ((loss, "meta_loss"), (kl, "mean_kl_before")):
        assert float(found) == pytest.approx(float(golden[key]), abs=GRADIENTS[golden.dtype]), key
    assert_close(gradient, golden["meta_grad"], GRADIENTS[golden.dtype], "meta_grad")
    # On-policy, the KL's gradient is 0 up to rounding, as it was in the original.
    distance = np.linalg.norm(parts.kl_gradient(*inputs(golden)) - golden["kl_grad"])
    assert distance < GRADIENTS[golden.dtype] * max(np.linalg.norm(golden["kl_grad"]), np.linalg.norm(gradient))


@pytest.mark.parametrize(("config", "dtype"), EXACTLY)
def test_objective_and_its_derivatives(config, dtype):
    check_derivatives(Golden(config, dtype), MAP)


@pytest.mark.parametrize("config", ["small1_off", pytest.param("small2_fixed", marks=slow)])
def test_objective_vectorised_over_tasks(config):
    check_derivatives(Golden(config), VECTORIZE)


@pytest.mark.parametrize(("config", "dtype"), EXACTLY)
def test_hessian_products_and_conjugate_gradient(config, dtype):
    golden = Golden(config, dtype)
    product = remembered(parts_of(learner_of(golden)).product(*inputs(golden)))
    check_products(golden, product, "fd")
    gradient = golden.tensor("meta_grad")
    for iterations, expected in enumerate(golden.arrays.get("cg/iterates", [])):
        direction = trpo.conjugate_gradient(product, gradient, iterations)
        assert_close_or_nan(direction, expected, RESULTS[dtype], f"iterate {iterations}")
    direction = trpo.conjugate_gradient(product, gradient, 10)
    assert_close_or_nan(direction, golden["cg/direction"], RESULTS[dtype], "direction")


def remembered(product):
    """Returns the function with a cache: k iterations of conjugate gradient begin with the vectors of k - 1."""
    known = {}

    def remember(vector):
        key = vector.numpy().tobytes()
        if key not in known:
            known[key] = product(vector)
        return known[key]

    return remember


def check_products(golden, product, way):
    for name in ("unit", "norm5", "g", "d"):
        if f"hvp/vec_{name}" in golden.arrays:
            found, expected = product(golden.tensor(f"hvp/vec_{name}")), golden[f"hvp/{way}_{name}"]
            assert_close_or_nan(found, expected, PRODUCTS[golden.dtype], f"product with {name}")


@pytest.mark.parametrize("config", ["small1", "small1_off", "small1_alpha10", "small2_fixed"])
def test_exact_hessian_products(config):
    golden = Golden(config)
    check_products(golden, parts_of(learner_of(golden)).exact_product(*inputs(golden)), "exact")


def check_step(golden, metrics, theta):
    assert metrics["backtracks"] == golden["ls/n_backtracks"]
    assert metrics["rejected"] == golden["ls/rejected"]
    for key in ("loss_after", "kl_after"):
        expected = pytest.approx(float(golden[key]), abs=RESULTS[golden.dtype])
        assert float(metrics[key.removesuffix("_after")]) == expected, key
    assert_close(theta, golden["theta_final"], RESULTS[golden.dtype], "theta_final")


COMPILED = [name for name in CONFIGS if name.startswith("small1")]  # compiled once for all
WHOLE = [*((name, "float64") for name in COMPILED), ("small1", "float32")]
SLOW_WHOLE = [(name, dtype) for name in CONFIGS for dtype in DTYPES if (name, dtype) not in WHOLE]


@pytest.mark.parametrize(("config", "dtype"), [*WHOLE, *(pytest.param(*case, marks=slow) for case in SLOW_WHOLE)])
def test_whole_step(config, dtype):
    golden = Golden(config, dtype)
    learner = learner_of(golden)
    _, _, before, after = inputs(golden)
    check_step(golden, learner.step(before, after), learner.policy.flat())


@pytest.mark.parametrize("config", [name for name in CONFIGS if name not in COMPILED])
def test_step_of_compiled_parts(config):
    """For these configurations, compiling the whole step takes longer than compiling all its parts."""
    golden = Golden(config)
    learner = learner_of(golden)
    theta, *tasks = inputs(golden)
    step = trpo.step(theta, parts_of(learner).trpo_objective(*tasks), learner.region)
    check_step(golden, step._asdict(), step.theta)


# TensorFlow 1 rounds Adam's rates to float32, Keras keeps them in float64: the weights' change differs by 7e-6 of it.
@pytest.mark.parametrize(
    ("dtype", "original", "tolerance", "of_the_way"),
    [("float64", True, 1e-10, 1e-10), ("float64", False, 1e-6, 1e-5), ("float32", False, 1e-4, 1e-3)],
)
def test_pretraining(dtype, original, tolerance, of_the_way):
    golden = Golden("small1_usemaml0", dtype)
    learner = AdamPretraining(golden.policy())
    if original:
        learner.optimizer = OriginalAdam()
        learner.optimizer.build(learner.policy.variables)
    for update in (1, 2):
        metrics = learner.step((), golden.samples(0))
        assert_close(learner.policy.flat(), golden[f"theta_final_adam{update}"], tolerance, f"update {update}")
        moved = learner.policy.flat() - golden.tensor("theta0")
        way = golden[f"theta_final_adam{update}"] - golden["theta0"]
        assert_close(moved, way, of_the_way, f"way of update {update}")
        if update == 1:
            expected = np.mean([golden[f"surr/s0_t{task}"] for task in range(3)])
            assert metrics["loss_before"] == pytest.approx(expected, abs=RESULTS[dtype])


def test_pretraining_has_no_inner_updates():
    learner = AdamPretraining(Golden("small1_usemaml0", "float64").policy())
    with pytest.raises(ValueError, match="no inner update"):
        learner.adapt([], None)
    with pytest.raises(ValueError, match="no samples of inner updates"):
        learner.step((None,), None)


@pytest.mark.parametrize("dtype", DTYPES)
def test_adaptation_in_the_evaluation(dtype):
    golden = Golden("vpg_maml", dtype)
    policy = golden.policy()
    update, params = vpg.TaskUpdate(policy), policy.stacked(1)
    rates = [golden.settings["init_learning_rate"], golden.settings["learning_rate"], golden.settings["learning_rate"]]
    for k, rate in enumerate(rates):
        old = flat(params)[0]
        samples = golden.update_samples(k)
        loss = vpg.policy_gradient_loss(policy, [p[0] for p in params], Samples(*(value[0] for value in samples)))
        assert float(loss) == pytest.approx(float(golden[f"loss_before/u{k}"]), abs=RESULTS[dtype])
        params = update(params, samples, rate)
        assert_close(flat(params)[0], golden[f"theta/u{k + 1}"], GRADIENTS[dtype], f"theta after {k + 1}")
        assert_close(old - flat(params)[0], golden[f"delta/u{k + 1}"], 10 * GRADIENTS[dtype], f"delta {k + 1}")


def with_padding(samples, count):
    """Returns the samples with `count` more at the end, whose mask is 0."""
    tasks = samples.mask.shape[0]

    def pad(value):
        return tf.concat([value, tf.fill([tasks, count, *value.shape[2:]], tf.constant(0, value.dtype))], axis=1)

    return Samples(*(pad(value) for value in samples[:5]), samples.log_stds)


def test_padding_changes_nothing():
    golden = Golden("small1")
    theta, alpha, before, after = inputs(golden)
    parts = parts_of(learner_of(golden))
    longer = tuple(with_padding(samples, 9) for samples in before), with_padding(after, 5)
    objective = parts.objective(alpha, *longer)
    for method in ("differentiate", "kl_gradient"):
        expected = getattr(parts, method)(theta, alpha, before, after)
        found = getattr(objective, method)(theta)
        for of_longer, of_shorter in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(of_longer, of_shorter, rtol=1e-12, atol=1e-14)


def test_padding_takes_no_time(monkeypatch):
    """For each task, the policy sees only the steps that were taken, wherever the padding is."""
    golden = Golden("small1")
    theta, alpha, before, after = inputs(golden)
    mask = np.zeros(after.mask.shape)
    mask[0, 3:5], mask[1, ::4], mask[2] = 1, 1, 1
    seen = []
    objective = parts_of(learner_of(golden)).objective(alpha, before, after._replace(mask=tf.constant(mask)))

    def of_task(theta, task):
        seen.append(task[1])
        return theta[0], theta[0]

    monkeypatch.setattr(objective, "_of_task", of_task)
    objective.evaluate(theta)
    assert [len(task.observations) for task in seen] == [2, 10, 40]
    for i, task in enumerate(seen):
        expected = [values[i][mask[i] > 0] for values in after[:5]] + [after.log_stds[i]]
        for found, right in zip(task, expected, strict=True):
            np.testing.assert_array_equal(found, right)


def test_padding_is_left_out_once():
    """The two dozen gradients of a step do not repeat it; their loops are functions of the graph's library."""
    golden = Golden("small1", "float32")
    theta, alpha, before, after = inputs(golden)
    learner = learner_of(golden)
    step = learner._compiled.get_concrete_function(theta, alpha, tf.constant(0.01), before, after).graph.as_graph_def()
    assert len(step.library.function) > 4
    assert [node.op for node in step.node].count("Where") == 10  # 5 arrays of each of 2 batches of samples
    assert not [f.signature.name for f in step.library.function for node in f.node_def if node.op == "Where"]


def test_means_with_trajectories_of_unequal_length():
    """The loss is a mean over tasks of means over samples, the KL a mean over all samples."""
    golden = Golden("small1_off")
    lens = [40, 10, 25]
    theta, alpha, before, after = inputs(golden)
    mask = tf.cast(tf.range(40)[None] < tf.constant(lens)[:, None], "float64")
    loss, kl, _ = parts_of(learner_of(golden)).differentiate(theta, alpha, before, after._replace(mask=mask))
    losses, kls = [], []
    for task, length in enumerate(lens):
        ratio, advantages = golden[f"post/lr_t{task}"][:length], golden[f"data/s1_t{task}/adv"][:length]
        losses.append(-np.mean(ratio * advantages))
        kls += list(golden[f"post/kl_t{task}"][:length])
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-10)
    assert float(kl) == pytest.approx(np.mean(kls), rel=1e-10)


def test_without_inner_updates_it_is_trpo():
    golden = Golden("small1", "float32")
    learner = MAMLTRPO(golden.policy())
    for _ in range(2):
        learner.policy.assign(golden.tensor("theta0"))
        metrics = learner.step((), golden.samples(0))
        assert metrics["loss"] < metrics["loss_before"]
        assert 0 < metrics["kl"] < 0.01
    assert learner._compiled.experimental_get_tracing_count() == 1  # the second step compiles nothing
