"""What would have no effect on a learner, or not the one that was meant, is refused in a sentence."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import MAML, MAMLModel
from rl.advantages import Samples
from rl.maml_trpo import MAMLTRPO
from rl.policy import GaussianPolicy, gaussian_mlp
from rl.trpo import TrustRegion
from rl.vpg import AdamPretraining, TaskUpdate


def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="body"), keras.layers.Dense(1, name="head")])


def some_tasks():
    rng = np.random.default_rng(0)
    return Tasks(*(rng.normal(size=(2, 5, n)).astype(np.float32) for n in (3, 1, 3, 1)))


def rounded(outputs, targets):
    return tf.reduce_mean(tf.square(tf.round(outputs) - targets))


def counted(outputs, targets):
    return tf.reduce_mean(tf.cast(tf.sign(outputs) != tf.sign(targets), tf.float32))


CALLS = {
    "train_step": lambda maml, tasks: maml.train_step(tasks),
    "pretrain_step": lambda maml, tasks: maml.pretrain_step(tasks),
    "meta_gradients": lambda maml, tasks: maml.meta_gradients(tasks),
    "evaluate": lambda maml, tasks: maml.evaluate(tasks, 1),
    "adapt": lambda maml, tasks: maml.adapt(tasks.support_x[0], tasks.support_y[0]),
}


@pytest.mark.parametrize("loss", [rounded, counted])
def test_a_loss_without_a_gradient_is_refused(loss):
    maml = MAML(network(), loss, jit=False)
    for call in CALLS.values():
        with pytest.raises(UserError, match="the loss has no gradient in the weights that it is given"):
            call(maml, some_tasks())


@pytest.mark.parametrize(
    "settings", [{"task_axis": "map"}, {"algorithm": "reptile"}, {"first_order": True}, {"jit": True}]
)
def test_a_loss_without_a_gradient_is_refused_by_every_variant(settings):
    with pytest.raises(UserError, match="the loss has no gradient in the weights that it is given"):
        MAML(network(), rounded, **settings).train_step(some_tasks())


def test_weights_that_are_frozen_too_late_are_refused():
    maml, tasks = MAML(network(), "mse", jit=False), some_tasks()
    for _ in range(2):  # before and after the first call
        maml.model.layers[0].trainable = False
        for call in CALLS.values():
            with pytest.raises(UserError, match="body/kernel was frozen too late: make the MAML or policy anew"):
                call(maml, tasks)
        maml.predict(tasks.query_x[0])
        maml.model.layers[0].trainable = True
        for call in CALLS.values():
            call(maml, tasks)


def test_weights_that_are_unfrozen_too_late_are_refused(tmp_path):
    model = network()
    model.layers[1].trainable = False
    maml = MAML(model, "mse", jit=False)
    model.layers[1].trainable = True
    for call in (maml.train_step, lambda tasks: maml.save(tmp_path / "m"), lambda tasks: maml.export(tmp_path / "e")):
        with pytest.raises(UserError, match="head/kernel was unfrozen too late"):
            call(some_tasks())


def test_a_maml_model_freezes_what_is_frozen_when_it_is_compiled():
    model, tasks = MAMLModel(network(), inner_step_size=0.1, test_updates=2), some_tasks()
    model.compile("adam", "mse")
    model.fit(tasks, verbose=0)
    model.evaluate(tasks, test_updates=1, verbose=0)
    body, head = model.network.layers
    body.trainable = False
    for call in (model.fit, model.evaluate, lambda tasks, verbose: model.evaluate(tasks, test_updates=1, verbose=0)):
        with pytest.raises(UserError, match=r"body/kernel was frozen too late.*MAMLModel: compile again"):
            call(tasks, verbose=0)
    with pytest.raises(UserError, match="was built for other variables: give a new one"):
        model.compile(model.optimizer, "mse")
    model.compile("adam", "mse")
    before = [layer.kernel.numpy() for layer in (body, head)]
    model.fit(tasks, verbose=0)
    np.testing.assert_array_equal(body.kernel.numpy(), before[0])
    assert np.abs(head.kernel.numpy() - before[1]).max() > 0


def test_weights_that_the_loss_does_not_need_are_left_alone():
    inputs = keras.Input((3,))
    used, unused = keras.layers.Dense(1, name="used"), keras.layers.Dense(1, name="unused")
    model = keras.Model(inputs, {"used": used(inputs), "unused": unused(inputs)})
    maml = MAML(model, lambda outputs, y: tf.reduce_mean(tf.square(outputs["used"] - y)), task_axis="map", jit=False)
    before = [layer.kernel.numpy() for layer in (used, unused)]
    maml.train_step(some_tasks())
    assert np.abs(used.kernel.numpy() - before[0]).max() > 0
    np.testing.assert_array_equal(unused.kernel.numpy(), before[1])


def test_attributes_and_arguments_of_a_maml_cannot_be_replaced_but_own_ones_can():
    maml = MAML(network(), "mse")
    for name in ("model", "workers", "learner", "reptile", "step_sizes", "minibatch", "adapts", "jit"):
        with pytest.raises(UserError, match=f"{name} cannot be changed, since it is compiled"):
            setattr(maml, name, None)
    for note in ("first", "second"):
        maml.note = note
    assert maml.note == "second"


@pytest.mark.parametrize("name", ["network", "optimizer"])
def test_what_a_compiled_maml_model_trains_by_cannot_be_replaced(name):
    model = MAMLModel(network())
    model.compile("adam", "mse")
    other = network() if name == "network" else keras.optimizers.SGD(0.0)
    with pytest.raises(UserError, match=f"{name} cannot be set on a compiled model: give it to compile"):
        setattr(model, name, other)
    model.compile(model.optimizer, "mse")
    model.fit(some_tasks(), verbose=0)


def test_an_optimizer_that_was_built_for_other_variables_is_refused():
    model, optimizer = network(), keras.optimizers.Adam(name="mine")
    MAML(model, "mse", optimizer=optimizer)
    MAML(model, "mse", optimizer=optimizer)  # for the same variables
    model.layers[0].trainable = False
    with pytest.raises(UserError, match="the optimizer 'mine' was built for other variables: give a new one"):
        MAML(model, "mse", optimizer=optimizer)


def test_settings_of_a_single_call_are_still_free():
    maml = MAML(network(), "mse", first_order=True, jit=False)
    first, second = (maml.meta_gradients(some_tasks(), first_order=order) for order in (True, False))
    assert max(np.abs(one - other).max() for one, other in zip(first, second, strict=True)) > 0


def test_step_sizes_of_training_are_no_array():
    with pytest.raises(UserError, match=r"step_size must be a number, or a list .* not an array of \(2,\)"):
        MAML(network(), "mse", step_size=np.array([0.5, 0.0]), num_updates=2)
    assert MAML(network(), "mse", step_size=np.array(0.5)).step_size == 0.5


def test_jit_is_no_other_text():
    with pytest.raises(UserError, match=r"jit \(or jit_compile\) must be 'auto', True or False, not 'off'"):
        MAML(network(), "mse", jit="off")


def policy():
    return GaussianPolicy(gaussian_mlp(2, 1, (3,), seed=0))


@pytest.mark.parametrize("made", [MAMLTRPO, TaskUpdate, AdamPretraining])
def test_other_names_of_a_task_axis_are_refused(made):
    with pytest.raises(UserError, match="task_axis must be 'map' or 'vectorize', not 'vectorise'"):
        made(policy(), task_axis="vectorise")


def samples(learner, size=20):
    rng = np.random.default_rng(0)
    numbers = [rng.normal(size=(1, size, n)).astype(np.float32) for n in (2, 1)]
    advantages = rng.normal(size=(1, size)).astype(np.float32)
    log_std = learner.policy.log_std(learner.policy.params())[None]
    means = learner.policy(learner.policy.params(), numbers[0][0])[0][None]
    return Samples(*numbers, advantages, np.ones_like(advantages), means, log_std)


SETTINGS = {
    "hessian_product": "exact",
    "step_size": 0.7,
    "damping": TrustRegion(damping=np.float64(10.0)),
    "delta": TrustRegion(delta=1e-4),
    "cg_iterations": TrustRegion(cg_iterations=1),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), SETTINGS.items(), ids=SETTINGS)
def test_settings_of_a_policys_learner_take_effect_whenever_they_are_set(name, value):
    name = "region" if isinstance(value, TrustRegion) else name
    learner, other = MAMLTRPO(policy()), MAMLTRPO(policy(), **{name: value})
    given = learner.policy.flat(), (samples(learner),), samples(learner)
    first, expected = learner.solve(*given).theta, other.solve(*given).theta
    assert np.abs(first - expected).max() > 0
    setattr(learner, name, value)
    np.testing.assert_array_equal(learner.solve(*given).theta, expected)


def test_a_misspelt_hessian_product_is_refused_whenever_it_is_set():
    with pytest.raises(UserError, match="hessian_product must be one of finite_difference, exact, not 'Exact'"):
        MAMLTRPO(policy(), hessian_product="Exact")
    learner = MAMLTRPO(policy())
    learner.hessian_product = "Exact"
    with pytest.raises(UserError, match="hessian_product must be one of finite_difference, exact, not 'Exact'"):
        learner.step((), samples(learner))


@pytest.mark.parametrize("made", [MAMLTRPO, TaskUpdate, AdamPretraining])
def test_policies_that_are_frozen_later_are_refused(made):
    learner = made(policy())
    given, params = samples(learner), [p[None] for p in learner.policy.params()]
    learner.policy.model.layers[1].trainable = False
    with pytest.raises(UserError, match=r"kernel was frozen too late: make the MAML or policy anew"):
        learner(params, given, 0.1) if made is TaskUpdate else learner.step((), given)


def test_a_list_of_step_sizes_is_one_for_each_variable_also_where_they_are_learned(tmp_path):
    """Two of them were the bounds between which every step size began at random."""
    sizes = [0.01, 0.5, 0.02, 0.03]
    maml = MAML(network(), "mse", step_size=sizes, learn_step_size=True, jit=False)
    np.testing.assert_allclose([float(size) for size in maml.step_sizes], sizes, rtol=1e-6)
    head = MAML(network(), "mse", adapts="head", step_size=[0.01, 0.5], learn_step_size="per_update", num_updates=2)
    np.testing.assert_allclose(head.step_sizes, [[0.01] * 2, [0.5] * 2], rtol=1e-6)
    model = MAMLModel(network(), inner_step_size=[0.5, 0.01], adapts="head", learn_step_size=True)
    again = MAMLModel.from_config(model.get_config())
    np.testing.assert_allclose([float(size) for size in again.step_sizes], [0.5, 0.01], rtol=1e-6)
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras")
    pair = MAMLModel(network(), inner_step_size=(0.1, 0.2), learn_step_size=True)
    assert MAMLModel.from_config(pair.get_config()).inner_step_size == (0.1, 0.2)


@pytest.mark.parametrize("part", ["head", "body"])
def test_the_head_of_several_outputs_is_not_known(part):
    x = keras.Input((3,))
    model = keras.Model(x, {name: keras.layers.Dense(1, name=name)(x) for name in "ab"})
    with pytest.raises(UserError, match=f"adapts='{part}' needs a model of one output, but this has 2"):
        MAML(model, "mse", adapts=part)


@pytest.mark.parametrize("known", [True, False])
def test_operations_of_a_functional_model_are_no_layers(known):
    """All its layers are known to be right, but `keras.ops.moments` between them is not."""
    x = keras.Input((3,))
    h = keras.layers.Dense(4)(x)
    if known:
        mean = keras.ops.mean(h, 0, keepdims=True)
        variance = keras.ops.mean(keras.ops.square(h - mean), 0, keepdims=True)
    else:
        mean, variance = keras.ops.moments(h, axes=[0])
    h = keras.ops.tanh((h - mean) * keras.ops.rsqrt(variance + 1e-3))
    model = keras.Model(x, keras.layers.Dense(1)(h))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MAML(model, "mse")
    found = [
        str(w.message) for w in caught if "wrong second derivatives in TensorFlow (StopGradient)" in str(w.message)
    ]
    assert len(found) == (0 if known else 1)
