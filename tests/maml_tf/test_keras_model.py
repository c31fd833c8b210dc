"""Tests that MAML in Keras's training loop computes what MAML computes."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf import MAML, Tasks, losses
from maml_tf.keras_data import as_pairs, for_keras
from maml_tf.keras_model import MAMLModel
from tests.maml_tf.small_models import SMALLEST, assert_same, maml, model, network, stream, tasks, variables

STEPS = 4


class Sequence(keras.utils.PyDataset):
    """Batches of tasks by index."""

    num_batches = STEPS

    def __init__(self, **settings):
        super().__init__(**settings)
        self.calls = []

    def __getitem__(self, index):
        return tasks(index)

    def on_epoch_begin(self):
        self.calls.append("begin")

    def on_epoch_end(self):
        self.calls.append("end")


def dataset(batches):
    """Returns a tf.data.Dataset of batches, whose numbers of tasks may differ."""
    spec = tf.nest.map_structure(lambda a: tf.TensorSpec([None, *a.shape[1:]], a.dtype), as_pairs(batches[0]))
    return tf.data.Dataset.from_generator(lambda: map(as_pairs, batches), output_signature=spec)


@functools.cache
def trained_as_usual():
    """Returns the result of `trained` without settings, shared by tests that do not change it."""
    return trained()


def trained(**settings):
    """Returns a MAML after STEPS meta-steps, and the means of its metrics."""
    learner = maml(**settings)
    found = [learner.train_step(tasks(i)) for i in range(STEPS)]
    return learner, {name: np.mean([metrics[name] for metrics in found]) for name in found[0]}


FORMS = {
    "iterator": stream,
    "pairs": lambda: map(as_pairs, stream()),
    "PyDataset": Sequence,
    "tf.data": lambda: dataset([tasks(i) for i in range(STEPS)]),
}


@pytest.fixture(scope="module")
def usual():
    """A model with the usual settings that evaluates after three updates; asserts that tests do not change it."""
    made = model(test_updates=3)
    start = [v.numpy() for v in variables(made)]
    yield made
    for variable, value in zip(variables(made), start, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.fixture
def untrained(usual):
    """The same model for a test that trains it: its variables are reset afterwards, its traced functions are kept."""
    start = [v.numpy() for v in variables(usual)]
    yield usual
    for variable, value in zip(variables(usual), start, strict=True):
        variable.assign(value)


@pytest.mark.parametrize("form", FORMS)
def test_fit_is_train_step_bit_for_bit(form, untrained):
    made, (learner, means) = untrained, trained_as_usual()
    history = made.fit(FORMS[form](), steps_per_epoch=STEPS, shuffle=False, verbose=0).history
    assert_same(made, learner)
    names = {"loss": "post_loss", "mae": "post_mae", "support_loss": "pre_loss", "support_mae": "pre_mae"}
    assert history.keys() == names.keys()
    for name, of_maml in names.items():
        np.testing.assert_allclose(history[name], [means[of_maml]], rtol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"task_axis": "map"},
        {"task_axis": "vectorize", "jit": True},
        {"task_axis": "map", "jit": True},
        {"algorithm": "reptile", "learn_step_size": False, "inner_optimizer": "adam", "minibatch": 3},
        {"first_order": True, "learn_step_size": "per_update", "adapts": "head"},
        {"net": True, "task_axis": "map"},
    ],
)
def test_several_steps_of_an_execution_are_train_steps_bit_for_bit(settings):
    def net():
        return network(dropout=0.3) if "net" in settings else network()

    others = {name: value for name, value in settings.items() if name not in ("jit", "net")}
    jit = settings.get("jit", False)
    made = model(net(), steps_per_execution=3, jit_compile=jit, **others)
    made.fit(dataset([tasks(i) for i in range(STEPS)]), verbose=0)
    learner, _ = trained(net=net(), jit=jit, **others)
    assert_same(made, learner)


@pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_batches_may_differ_in_their_number_of_tasks(jit):
    settings = {**SMALLEST, "task_axis": "vectorize"}
    made, learner = model(jit_compile=jit, **settings), maml(jit=jit, **settings)
    batches = [tasks(0, 4), tasks(1, 2)]
    loss = made.fit(dataset(batches), verbose=0).history["loss"][0]
    found = [float(learner.train_step(batch)["post_loss"]) for batch in batches]
    assert_same(made, learner)
    np.testing.assert_allclose(loss, np.average(found, weights=[4, 2]), rtol=1e-6)
    curves = learner.evaluate(tasks(2, 6), 1)["losses"]
    measured = made.evaluate(dataset([tasks(2, 6), tasks(2, 6)]), return_dict=True, verbose=0)
    np.testing.assert_allclose(measured["loss"], curves[:, 1].mean(), rtol=1e-5)


def test_tasks_of_arrays_are_batched():
    made = model(**SMALLEST)
    made.fit(tasks(0, 6), batch_size=4, epochs=2, validation_data=tasks(1), validation_batch_size=2, verbose=0)
    assert int(made.optimizer.iterations) == 4
    np.testing.assert_allclose(
        made.evaluate(tasks(1, 5), batch_size=2, return_dict=True, verbose=0)["loss"],
        made.maml.evaluate(tasks(1, 5), 1)["losses"][:, 1].mean(),
        rtol=1e-5,
    )


def test_evaluate_measures_after_each_update(usual):
    made = usual
    curves = made.maml.evaluate(tasks(0), 5)
    for updates, given in ((3, {}), (5, {"test_updates": 5}), (3, {})):
        found = made.evaluate(tasks(0), return_dict=True, verbose=0, **given)
        expected = {"loss": curves["losses"][:, updates], "mae": curves["mae"][:, updates]}
        expected |= {"support_loss": curves["support_loss"], "support_mae": curves["support_mae"]}
        for i in range(updates + 1):
            expected |= {f"loss_after_{i}": curves["losses"][:, i], f"mae_after_{i}": curves["mae"][:, i]}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value.mean(), rtol=1e-5)
    assert made.evaluate(tasks(0), verbose=0)[:2] == pytest.approx([found["loss"], found["mae"]])


def test_predict_is_adapt_and_predict_of_each_task(usual):
    made, many = usual, tasks(0, 5)
    (x, y), (query_x, _) = as_pairs(many)
    each = [made.maml.predict(query_x[i], made.maml.adapt(x[i], y[i], 3)) for i in range(5)]
    for data in (((x, y), query_x), many, as_pairs(many), dataset([many])):
        np.testing.assert_allclose(made.predict(data, batch_size=2, verbose=0), each, rtol=1e-6)


def test_metrics_have_their_own_names_and_may_be_functions():
    def bias(y_true, y_pred):
        return y_pred - y_true

    def own(y_true, y_pred):
        return keras.ops.square(y_true - 2 * y_pred)

    metrics = ["mae", bias, keras.metrics.MeanSquaredError(name="square"), losses.mse]
    made = model(loss=own, metrics=metrics, **SMALLEST)
    found = made.evaluate(tasks(0), return_dict=True, verbose=0)
    y = tasks(0).query_y
    predicted = made.maml.predict
    each = [predicted(tasks(0).query_x[i], made.maml.adapt(*(part[i] for part in tasks(0)[:2]))) for i in range(3)]
    expected = {"loss": np.square(y - 2 * np.array(each)), "mae": np.abs(each - y), "bias": each - y}
    expected["square"] = expected["mse"] = np.square(each - y)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value.mean(), rtol=1e-4, atol=1e-6)


def test_class_ids():
    made = model(
        network(2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ["accuracy"],
        inner_step_size=0.5,
        **SMALLEST,
    )
    history = made.fit((tasks(i, 8, ids=True) for i in range(1000)), steps_per_epoch=40, verbose=0).history
    assert history["accuracy"][0] > history["support_accuracy"][0]
    found = made.evaluate(tasks(0, 8, ids=True), return_dict=True, verbose=0)
    curves = made.maml.evaluate(tasks(0, 8, ids=True), 1)
    assert found["accuracy"] == pytest.approx(curves["accuracies"][:, 1].mean())


def test_num_updates_changes_by_compiling_again():
    made = model(**SMALLEST)
    made.fit(tasks(0), verbose=0)
    made.num_updates = 2
    made.compile(made.optimizer, "mse", jit_compile=False)
    learner = maml(**SMALLEST)
    learner.train_step(tasks(0))
    settings = {"step_size": 0.05, "num_updates": 2, "task_axis": "map", "jit": False}
    again = MAML(learner.model, "mse", optimizer=learner.optimizer, **settings)
    made.fit(tasks(0), verbose=0)
    again.train_step(tasks(0))
    assert_same(made, again)
    assert "loss_after_2" in made.evaluate(tasks(0), return_dict=True, verbose=0)


def test_optimizer_by_name_is_that_of_the_original():
    assert model().optimizer.epsilon == 1e-8
    given = keras.optimizers.Adam(0.5)
    assert model(optimizer=given).optimizer is given
    assert isinstance(model(optimizer=None, algorithm="reptile", learn_step_size=False).optimizer, keras.optimizers.SGD)


@pytest.mark.parametrize("jit", ["auto", True, False])
def test_jit_is_that_of_maml(jit):
    made = model(jit_compile=jit)
    assert made.maml.jit == (jit is not False)  # a small dense network is compiled
    assert made.jit_compile is False


def test_summary(capsys):
    model().summary()
    printed = capsys.readouterr().out
    assert "small (Sequential)" in printed
    assert "Trainable params: 17" in printed  # 13 weights, 4 step sizes


def test_mistakes_are_told_in_one_sentence():
    uncompiled, made = MAMLModel(network()), model()
    pair = tasks(0)[:2]
    for call, sentence in (
        (lambda: uncompiled.fit(tasks(0)), "call compile"),
        (lambda: uncompiled.evaluate(tasks(0)), "call compile"),
        (lambda: uncompiled.predict((pair, pair[0])), "call compile"),
        (lambda: uncompiled.compile("adam"), "needs a loss"),
        (lambda: made.compile("adam", "mse", ["mae", "mae"]), "two metrics are called 'mae'"),
        (lambda: made.fit(iter([pair])), r"must be \(\(support_x, support_y\), \(query_x, query_y\)\) or Tasks"),
        (lambda: made.fit(*pair, verbose=0), "must be .* or Tasks, not"),
        (lambda: made.predict(pair[0], verbose=0), "predict needs"),
        (lambda: MAMLModel(keras.Sequential([keras.layers.Dense(1)])), "is not built"),
        (lambda: MAMLModel(lambda x: x), r"must be a keras\.Model"),
        (lambda: MAMLModel(network(), loss="mse"), r"give compile\(loss=\.\.\.\)"),
        (lambda: MAMLModel(network(), step_size=0.1), "give inner_step_size"),
        (lambda: made.evaluate(tasks(0), test_updates=-1), "at least 0"),
        (lambda: uncompiled.predict_on_batch((pair, pair[0])), "call compile"),
        (lambda: made.fit(tasks(0), sample_weight=np.ones(3)), "leave sample_weight out"),
        (lambda: made.fit(tasks(0), class_weight={0: 2.0}), "leave class_weight out"),
        (lambda: made.evaluate(tasks(0), sample_weight=np.ones(3)), "leave sample_weight out"),
        (lambda: made.fit(epochs=2), "x is missing"),
        (lambda: made.fit(tasks(0)._replace(support_x=pair[0][:2])), "the number of tasks differs: support_x 2"),
        (lambda: made.fit(tasks(0)._replace(support_x=pair[0][:, :2])), "examples in a task differs: support_x 2"),
    ):
        with pytest.raises(UserError, match=sentence):
            call()
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        MAMLModel(network(), colour="red")


def test_tasks_of_nested_numbers(usual):
    arrays, made = tasks(0), usual
    found = made.evaluate(Tasks(*(value.tolist() for value in arrays)), verbose=0)
    assert found == made.evaluate(arrays, verbose=0)


def test_one_of_a_batch_of_several_inputs():
    inputs = [keras.Input((1,)), keras.Input((1,))]
    net = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(inputs)))
    made, of = model(net, **SMALLEST), tasks(0)
    many = Tasks((of.support_x, of.support_x), of.support_y, (of.query_x, of.query_x), of.query_y)
    made.fit(many, verbose=0)
    for data in (many, as_pairs(many), (*as_pairs(many)[:1], many.query_x)):
        assert made.predict(data, verbose=0).shape == (3, 6, 1)


def test_a_pydataset_is_told_of_epochs_and_keeps_its_settings():
    batches = Sequence(workers=2, max_queue_size=3)
    model().fit(batches, epochs=2, verbose=0)
    assert batches.calls[-4:] == 2 * ["begin", "end"]  # Keras may look at a batch before the first epoch
    passed = for_keras(batches, as_pairs)
    assert (passed.workers, passed.use_multiprocessing, passed.max_queue_size) == (2, False, 3)
