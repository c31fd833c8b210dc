"""The whole update against the original's numbers."""

import numpy as np
import pytest
import tensorflow as tf

from maml_tf.task_axis import MAP, VECTORIZE
from rl import vpg
from rl.maml_trpo import EXACT, MAMLTRPO
from rl.pretraining import AdamPretraining
from rl.samples import Samples
from tests.maml_tf.goldens import assert_close
from tests.rl.compiled import derivatives_of, inputs, learner_of, solver_of
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


# float32 is asked for where it costs most: in the whole step.
EXACTLY = [*((name, "float64") for name in CONFIGS), ("small1", "float32")]


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


def check_derivatives(golden, how):
    theta, alpha, before, after = inputs(golden)
    derivatives = derivatives_of(learner_of(golden, how=how))
    loss, kl, gradient, kl_gradient = derivatives(theta, alpha, before, after)
    # Loss and KL are means of numbers of the order of 1 that may cancel.
    for found, key in ((loss, "meta_loss"), (kl, "mean_kl_before")):
        assert float(found) == pytest.approx(float(golden[key]), abs=GRADIENTS[golden.dtype]), key
    assert_close(gradient, golden["meta_grad"], GRADIENTS[golden.dtype], "meta_grad")
    # On-policy, the KL's gradient is 0 but for rounding, and so was the original's.
    distance = np.linalg.norm(kl_gradient - golden["kl_grad"])
    assert distance < GRADIENTS[golden.dtype] * max(np.linalg.norm(golden["kl_grad"]), np.linalg.norm(gradient))


@pytest.mark.parametrize(("config", "dtype"), EXACTLY)
def test_objective_and_its_derivatives(config, dtype):
    check_derivatives(Golden(config, dtype), MAP)


@pytest.mark.parametrize("config", ["small1_off", "small2_fixed"])
def test_objective_vectorised_over_tasks(config):
    check_derivatives(Golden(config), VECTORIZE)


@pytest.mark.parametrize(("config", "dtype"), EXACTLY)
def test_hessian_products_and_conjugate_gradient(config, dtype):
    golden = Golden(config, dtype)
    solve = solver_of(learner_of(golden))
    for name in ("unit", "norm5", "g", "d"):
        if f"hvp/vec_{name}" in golden.arrays:
            product, _ = solve(*inputs(golden), golden.tensor(f"hvp/vec_{name}"), tf.constant(0))
            assert_close_or_nan(product, golden[f"hvp/fd_{name}"], PRODUCTS[dtype], f"product with {name}")
    gradient = golden.tensor("meta_grad")
    for iterations, expected in enumerate(golden.arrays.get("cg/iterates", [])):
        _, direction = solve(*inputs(golden), gradient, tf.constant(iterations))
        assert_close_or_nan(direction, expected, RESULTS[dtype], f"iterate {iterations}")
    _, direction = solve(*inputs(golden), gradient, tf.constant(10))
    assert_close_or_nan(direction, golden["cg/direction"], RESULTS[dtype], "direction")


@pytest.mark.parametrize("config", ["small1", "small1_off", "small1_alpha10", "small2_fixed"])
def test_exact_hessian_products(config):
    golden = Golden(config)
    solve = solver_of(learner_of(golden, EXACT))
    for name in ("unit", "norm5", "g", "d"):
        if f"hvp/vec_{name}" in golden.arrays:
            product, _ = solve(*inputs(golden), golden.tensor(f"hvp/vec_{name}"), tf.constant(0))
            assert_close_or_nan(product, golden[f"hvp/exact_{name}"], PRODUCTS["float64"], f"product with {name}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("config", CONFIGS)
def test_whole_step(config, dtype):
    golden = Golden(config, dtype)
    learner = learner_of(golden)
    _, _, before, after = inputs(golden)
    figures = learner.step(before, after)
    assert figures["backtracks"] == golden["ls/n_backtracks"]
    assert figures["rejected"] == golden["ls/rejected"]
    for key in ("loss_after", "kl_after"):
        assert figures[key.removesuffix("_after")] == pytest.approx(float(golden[key]), abs=RESULTS[dtype]), key
    assert_close(learner.policy.flat(), golden["theta_final"], RESULTS[dtype], "theta_final")


@pytest.mark.parametrize("dtype", DTYPES)
def test_pretraining(dtype):
    golden = Golden("small1_usemaml0", dtype)
    learner = AdamPretraining(golden.policy())
    for update in (1, 2):
        figures = learner.step((), golden.samples(0))
        # TensorFlow 1 has Adam's rates in float32.
        assert_close(learner.policy.flat(), golden[f"theta_final_adam{update}"], 1e-4, f"update {update}")
        moved = learner.policy.flat() - golden.tensor("theta0")
        assert_close(moved, golden[f"theta_final_adam{update}"] - golden["theta0"], 1e-3, f"way of update {update}")
        if update == 1:
            expected = np.mean([golden[f"surr/s0_t{task}"] for task in range(3)])
            assert figures["loss_before"] == pytest.approx(expected, abs=RESULTS[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_adaptation_at_test_time(dtype):
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
    """More samples at the end, whose mask is 0."""
    tasks = samples.mask.shape[0]

    def pad(value):
        return tf.concat([value, tf.fill([tasks, count, *value.shape[2:]], tf.constant(0, value.dtype))], axis=1)

    return Samples(*(pad(value) for value in samples[:5]), samples.log_stds)


def test_padding_changes_nothing():
    golden = Golden("small1")
    theta, alpha, before, after = inputs(golden)
    derivatives = derivatives_of(learner_of(golden))
    longer = tuple(with_padding(samples, 9) for samples in before), with_padding(after, 5)
    expected = derivatives(theta, alpha, before, after)
    for found, of_shorter in zip(derivatives(theta, alpha, *longer), expected, strict=True):
        np.testing.assert_allclose(found, of_shorter, rtol=1e-12, atol=1e-14)


def test_means_with_paths_of_unequal_length():
    """The loss is a mean over tasks of means over samples, the KL a mean over all samples."""
    golden = Golden("small1_off")
    lens = [40, 10, 25]
    theta, alpha, before, after = inputs(golden)
    mask = tf.cast(tf.range(40)[None] < tf.constant(lens)[:, None], "float64")
    loss, kl, _, _ = derivatives_of(learner_of(golden))(theta, alpha, before, after._replace(mask=mask))
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
        figures = learner.step((), golden.samples(0))
        assert figures["loss"] < figures["loss_before"]
        assert 0 < figures["kl"] < 0.01
    assert learner._compiled.experimental_get_tracing_count() == 1  # nothing is compiled anew
