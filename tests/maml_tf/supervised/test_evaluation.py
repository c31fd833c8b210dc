import csv
import dataclasses
import pickle
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from data_generators import progress
from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks
from maml_tf import losses, networks
from maml_tf.maml import MAML
from maml_tf.supervised import evaluation
from maml_tf.supervised.evaluation import Evaluation, evaluate, write

TASKS = Sinusoid(5).test_tasks(13)


def draw(first, count):
    return Tasks(*(value[first : first + count] for value in TASKS))


@pytest.fixture(scope="module")
def maml():
    keras.utils.set_random_seed(0)
    model = networks.mlp((1,), 1)
    for variable in model.trainable_variables:  # larger than the original's initial weights, so that adaptation shows
        variable.assign(10 * variable)
    return MAML(model, losses.mse, step_size=0.01)


@pytest.fixture(scope="module")
def whole(maml):
    return evaluate(maml, draw, num_tasks=13, num_updates=3, tasks_per_call=13)


class Recorder:
    """Stands in for MAML: its query metrics are the first support input of each task plus the number of updates."""

    def __init__(self, accuracy):
        self.kinds = ["loss", "accuracy"] if accuracy else ["loss"]
        self.sizes, self.step_sizes, self.transductive = [], [], []

    def evaluate(self, tasks, num_updates, step_size=None, transductive=True):
        self.sizes.append(len(tasks.query_x))
        self.step_sizes.append(step_size)
        self.transductive.append(transductive)
        first = np.asarray(tasks.support_x)[:, 0, 0]
        curve = first[:, None] + np.arange(1 + num_updates)
        names = {"loss": "losses", "accuracy": "accuracies"}
        return {f"support_{kind}": -first for kind in self.kinds} | {names[kind]: curve for kind in self.kinds}


def images(seed=0):
    random = np.random.default_rng(seed)
    return Evaluation("accuracy", random.random(600), random.random([600, 11]))


@pytest.mark.parametrize("tasks_per_call", [1, 5])
def test_figures_do_not_depend_on_how_the_list_is_cut(maml, whole, tasks_per_call):
    cut = evaluate(maml, draw, num_tasks=13, num_updates=3, tasks_per_call=tasks_per_call)
    np.testing.assert_allclose(cut.query, whole.query, rtol=1e-5)
    np.testing.assert_allclose(cut.support, whole.support, rtol=1e-5)


def test_figures_are_those_of_each_task_alone(maml, whole):
    assert whole.kind == "loss"
    assert whole.query.shape == (13, 4)
    task = draw(7, 1)
    prediction = maml.predict(task.query_x[0], transductive=True)
    np.testing.assert_allclose(whole.query[7, 0], np.mean((prediction - task.query_y[0]) ** 2), rtol=1e-5)
    adapted = maml.predict(task.query_x[0], maml.adapt(task.support_x[0], task.support_y[0]), transductive=True)
    np.testing.assert_allclose(whole.query[7, 1], np.mean((adapted - task.query_y[0]) ** 2), rtol=1e-5)
    prediction = maml.predict(task.support_x[0], transductive=True)
    np.testing.assert_allclose(whole.support[7], np.mean((prediction - task.support_y[0]) ** 2), rtol=1e-5)
    assert not np.allclose(whole.query[:, 1], whole.query[:, 0], rtol=1e-3)


def test_step_size_of_the_test_may_differ(maml, whole):
    still = evaluate(maml, draw, num_tasks=13, num_updates=2, step_size=1e-12)
    np.testing.assert_allclose(still.query, np.repeat(whole.query[:, :1], 3, axis=1), rtol=1e-5)
    assert still.step_size == 1e-12


@pytest.mark.parametrize(("num_tasks", "tasks_per_call", "calls"), [(13, 5, [5] * 3), (3, 25, [3]), (10, 5, [5] * 2)])
def test_every_call_takes_as_many_tasks_and_none_is_counted_twice(num_tasks, tasks_per_call, calls):
    fake = Recorder(accuracy=True)
    found = evaluate(fake, draw, num_tasks=num_tasks, num_updates=2, tasks_per_call=tasks_per_call, step_size=0.3)
    assert fake.sizes == calls
    assert set(fake.step_sizes) == {0.3}
    assert set(fake.transductive) == {True}
    first = TASKS.support_x[:num_tasks, 0, 0]
    assert found.kind == "accuracy"
    np.testing.assert_array_equal(found.support, -first)
    np.testing.assert_array_equal(found.query, first[:, None] + np.arange(3))


def test_inductive_evaluation_is_asked_for_and_noted():
    fake = Recorder(accuracy=True)
    found = evaluate(fake, draw, num_tasks=13, num_updates=1, tasks_per_call=5, transductive=False)
    assert fake.transductive == [False] * 3
    assert not found.transductive
    assert evaluate(fake, draw, num_tasks=13, num_updates=1).transductive


def test_one_graph_serves_all_calls():
    traces = []

    def loss(outputs, targets):
        traces.append(outputs.shape)
        return losses.mse(outputs, targets)

    maml = MAML(networks.mlp((1,), 1), loss, task_axis="map")
    evaluate(maml, draw, num_tasks=4, num_updates=1, tasks_per_call=4)
    once = len(traces)
    evaluate(maml, draw, num_tasks=10, num_updates=1, tasks_per_call=4)
    assert len(traces) == once


def test_tasks_may_be_tensors_and_are_drawn_in_order_on_another_thread():
    asked, threads = [], set()

    def tensors(first, count):
        asked.append((first, count))
        threads.add(threading.get_ident())
        return Tasks(*(tf.constant(value) for value in draw(first, count)))

    evaluate(Recorder(accuracy=False), tensors, num_tasks=13, num_updates=1, tasks_per_call=6)
    assert asked == [(0, 6), (6, 6), (12, 1)]
    assert threading.get_ident() not in threads


def test_a_list_that_ends_too_soon_is_an_error_and_so_are_senseless_sizes():
    with pytest.raises(ValueError, match="where 4 were asked for"):
        evaluate(Recorder(accuracy=False), draw, num_tasks=20, num_updates=1, tasks_per_call=4)
    for sizes in ({"num_tasks": 0}, {"tasks_per_call": 0}):
        with pytest.raises(UserError, match="at least 1"):
            evaluate(Recorder(accuracy=False), draw, **sizes)


def test_what_drawing_raises_is_passed_on():
    def broken(first, count):
        raise UserError("The images are gone.")

    with pytest.raises(UserError, match="gone"):
        evaluate(Recorder(accuracy=False), broken, num_tasks=5)


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    class Slow(Recorder):
        def evaluate(self, *arguments, **options):
            time.sleep(0.1)
            return super().evaluate(*arguments, **options)

    evaluate(Slow(accuracy=False), draw, num_tasks=13, num_updates=1, label="Testing")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.02)
    evaluate(Slow(accuracy=False), draw, num_tasks=13, num_updates=1, label="Testing", tasks_per_call=5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Testing: 0 of 13 tasks"
    assert lines[-1].startswith("Testing: 10 of 13 tasks, ")
    evaluate(Slow(accuracy=False), draw, num_tasks=13, num_updates=1, label=None)
    assert capsys.readouterr().err == ""


def test_statistics_by_hand():
    four = Evaluation("loss", np.array([0.0, 0.0, 2.0, 2.0]), np.array([[1.0, 5], [3, 5], [5, 5], [7, 5]]))
    np.testing.assert_allclose(four.mean, [4, 5])
    np.testing.assert_allclose(four.std, [np.sqrt(5), 0])  # ddof 0: (9 + 1 + 1 + 9) / 4
    np.testing.assert_allclose(four.ci95, [1.96 * np.sqrt(5) / 2, 0])
    np.testing.assert_allclose([four.support_mean, four.support_ci95], [1, 0.98])
    assert (four.num_tasks, four.num_updates) == (4, 1)


def test_float32_figures_are_averaged_in_float64():
    many = np.full([100_000, 1], 0.1, np.float32)
    assert Evaluation("loss", many[:, 0], many).mean[0] == pytest.approx(np.float32(0.1), rel=1e-12)


def test_csv_is_the_originals_with_the_query_figure_added(tmp_path):
    found = images()
    path = write(found, tmp_path / "logs" / "run", 1, 0.4)
    assert path == tmp_path / "logs" / "run" / "test_ubs1_stepsize0.4.csv"
    with open(path, newline="") as file:
        header, *rows = csv.reader(file)
    names = [f"update{i}" for i in range(11)] + ["query_update0"]
    assert header == [*names, *(f"median_{name}" for name in names), *(f"diverged_{name}" for name in names)]
    means, stds, ci95s = np.array(rows, float)[:, :12]
    table = np.column_stack([found.support, found.query[:, 1:], found.query[:, 0]])
    np.testing.assert_allclose(means, table.mean(0))
    np.testing.assert_allclose(stds, table.std(0))
    np.testing.assert_allclose(ci95s, 1.96 * table.std(0) / np.sqrt(600))
    for row in rows:
        np.testing.assert_allclose(np.array(row[12:24], float), np.median(table, 0))
        assert row[24:] == ["0"] * 12


def test_pkl_is_read_as_the_originals(tmp_path):
    found = images()
    path = write(found, tmp_path, 5, 0.01, iteration=7).with_suffix(".pkl")
    assert path.name == "test_ubs5_stepsize0.01.pkl"
    results = pickle.loads(path.read_bytes())
    assert list(results) == ["mses", "iteration"]  # the original's has no iteration
    assert results["iteration"] == 7
    assert results["mses"].shape == (600, 11)
    np.testing.assert_array_equal(results["mses"][:, 0], found.support)
    np.testing.assert_array_equal(results["mses"][:, 1:], found.query[:, 1:])


def test_inductive_results_have_a_name_of_their_own(tmp_path):
    transductive = write(images(seed=0), tmp_path, 1, 0.4)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    inductive = write(dataclasses.replace(images(seed=1), transductive=False), tmp_path, 1, 0.4)
    assert inductive.name == "test_ubs1_stepsize0.4_inductive.csv"
    assert inductive.with_suffix(".pkl").exists()
    assert inductive.read_text() != transductive.read_text()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path):
    write(images(seed=0), tmp_path, 1, 0.4)
    path = write(images(seed=1), tmp_path, 1, 0.4)
    assert float(path.read_text().splitlines()[1].split(",")[0]) == images(seed=1).support_mean
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test_ubs1_stepsize0.4.csv", "test_ubs1_stepsize0.4.pkl"]


@pytest.mark.parametrize("blocked", [".csv", ".pkl"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, blocked):
    (tmp_path / f"test_ubs1_stepsize0.4{blocked}").mkdir()
    with pytest.raises(UserError, match=r"cannot be written to .*test_ubs1_stepsize0\.4\.csv"):
        write(images(), tmp_path, 1, 0.4)
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        write(images(), tmp_path / "file" / "run", 1, 0.4)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_write_that_breaks_off_leaves_the_older_files(tmp_path, monkeypatch):
    path = write(images(seed=0), tmp_path, 1, 0.4)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full_disk(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(evaluation.pickle, "dump", full_disk)
    with pytest.raises(UserError, match="no space left"):
        write(images(seed=1), tmp_path, 1, 0.4)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before
    monkeypatch.undo()
    monkeypatch.setattr(evaluation.csv, "writer", full_disk)  # the pkl file is written before
    with pytest.raises(UserError, match="no space left"):
        write(images(seed=1), tmp_path, 1, 0.4)
    assert {p.name: p.read_bytes() for p in path.parent.iterdir()} == before


def test_nan_and_infinity_are_written_as_such(tmp_path):
    query = np.full([600, 11], np.nan)
    query[:, 1] = np.inf
    query[:, 0] = 0.0024
    oracle = Evaluation("loss", np.full(600, 0.0025), query)
    rows = write(oracle, tmp_path, 10, 0.01).read_text().splitlines()
    mean = rows[1].split(",")
    assert mean[:12] == ["0.0025", "inf", *["nan"] * 9, "0.0024"]
    assert mean[12:24] == ["0.0025", *["inf"] * 10, "0.0024"]
    assert mean[24:] == ["0", *["600"] * 10, "0"]


@pytest.mark.parametrize("kind", [list, tuple, lambda parts: dict(zip("ab", parts, strict=True))])
def test_models_with_several_inputs(kind):
    inputs = kind([keras.Input((1,), name="a"), keras.Input((2,), name="b")])
    joined = keras.layers.Concatenate()(list(inputs.values()) if isinstance(inputs, dict) else list(inputs))
    learner = MAML(keras.Model(inputs, keras.layers.Dense(1)(joined)), losses.mse, task_axis="map", jit=False)

    def parts(x):
        return kind([x, np.concatenate([x, x], axis=-1)])

    def draw_parts(first, count):
        of = draw(first, count)
        return Tasks(parts(of.support_x), of.support_y, parts(of.query_x), of.query_y)

    found = evaluate(learner, draw_parts, num_tasks=5, num_updates=1, tasks_per_call=3)
    expected = learner.evaluate(draw_parts(0, 5), 1)["losses"]
    np.testing.assert_allclose(found.query, expected, rtol=1e-5)
