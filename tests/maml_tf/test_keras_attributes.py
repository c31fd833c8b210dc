"""Tests which attributes of a MAMLModel can be set, and the forms of its arguments, also in files."""

import keras
import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf import MAMLModel, load
from maml_tf.keras_data import as_pairs
from tests.maml_tf.small_models import SMALLEST, model, network, tasks


def squared_error(made):
    """Returns the mean squared errors of the predictions by `predict` and by `predict_on_batch`."""
    support, (query_x, query_y) = tasks(0)[:2], tasks(0)[2:]
    both = made.predict((support, query_x), verbose=0), made.predict_on_batch((support, query_x))
    return [np.square(predicted - query_y).mean() for predicted in both]


def test_test_updates_count_at_once_in_evaluate_and_predict():
    made = model(**SMALLEST)
    found = []
    for updates in (None, 4, 0, None):
        made.test_updates = updates
        loss = made.evaluate(tasks(0), return_dict=True, verbose=0)["loss"]
        np.testing.assert_allclose(squared_error(made), loss, rtol=1e-5)
        assert made.test_on_batch(*as_pairs(tasks(0)), return_dict=True)["loss"] == pytest.approx(loss)
        found.append(loss)
    assert found[0] == found[3]
    assert len(set(found)) == 3
    made.evaluate(tasks(0), test_updates=7, verbose=0)
    np.testing.assert_allclose(squared_error(made), found[0], rtol=1e-5)


def test_a_step_size_that_is_not_learned_changes_by_compiling_again():
    made = model(**SMALLEST)
    made.inner_step_size = 0.3
    assert made.maml.step_size == 0.05
    made.compile("adam", "mse", jit_compile=False)
    assert made.maml.step_size == 0.3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("inner_step_size", 0.3, "inner_step_size cannot be set on a model: it is learned"),
        ("first_order", True, r"first_order cannot be set on a model: give first_order=\.\.\. to MAMLModel"),
        ("learn_step_size", False, "learn_step_size cannot be set on a model"),
        ("adapts", "head", "adapts cannot be set on a model"),
    ],
)
def test_what_cannot_be_set_is_refused(name, value, message):
    made = MAMLModel(network(), learn_step_size=True)
    with pytest.raises(UserError, match=message):
        setattr(made, name, value)
    made.of_the_users_own = value


def test_metrics_may_be_a_dict_of_names():
    def constant(y_true, y_pred):
        return 0 * y_pred + 42

    made = model(metrics={"mae": constant, "absolute": "mae"}, **SMALLEST)
    found = made.evaluate(tasks(0), return_dict=True, verbose=0)
    assert found["mae"] == found["mae_after_0"] == 42
    assert 0 < found["absolute"] < 42
    with pytest.raises(UserError, match="two metrics are called 'loss'"):
        made.compile("adam", "mse", {"loss": constant})


@pytest.mark.parametrize(("sizes", "learned"), [([0.1, 0.2, 0.3, 0.4], False), ((0.1, 0.4), "per_weight")])
def test_lists_and_pairs_of_step_sizes_are_saved(tmp_path, sizes, learned):
    made = model(**SMALLEST | {"inner_step_size": sizes, "learn_step_size": learned})
    made.save(tmp_path / "model.keras")
    made.maml.save(tmp_path / "model.maml")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    for other in restored.maml, load(tmp_path / "model.maml"):
        np.testing.assert_array_equal(_alphas(other), _alphas(made.maml))
    np.testing.assert_array_equal(squared_error(restored), squared_error(made))


def _alphas(maml):
    learned = [size.numpy().ravel() for size in maml.step_sizes]
    return np.concatenate(learned) if learned else np.array(maml.step_size)
