import csv
import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data_generators.sinusoid import Sinusoid
from maml_tf import losses
from maml_tf.runs import style
from scripts import plot_sinusoid
from scripts.figures import sinusoid
from scripts.figures.sinusoid import PICTURES
from tests.scripts.conftest import SEEDS

POINTS = 11  # number of step sizes along the gradient, instead of 41


@pytest.fixture(scope="module")
def numbers(learners, error_rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sinusoid, "POINTS", POINTS)
        sensitivity = PICTURES["sensitivity"].numbers(learners)
    return {"fits": PICTURES["fits"].numbers(learners), "errors": error_rows, "sensitivity": sensitivity}


@pytest.fixture(scope="module")
def tuned(learners):
    """The pretrained baseline's step size, tuned for five points."""
    return learners.pretrained.tune(5)[0]


@pytest.fixture
def plot(call, numbers, learners, monkeypatch):
    """plot(*arguments) calls the command with numbers that have been computed already."""
    monkeypatch.setattr("scripts.figures.sinusoid_learners.load_learners", lambda *arguments: learners)
    for name, picture in list(PICTURES.items()):
        monkeypatch.setitem(PICTURES, name, picture._replace(numbers=lambda learners, name=name: numbers[name]))
    return functools.partial(call, plot_sinusoid.main)


def chosen(rows, **keys):
    return [row for row in rows if all(row[name] == value for name, value in keys.items())]


def values(rows, name, **keys):
    return np.array([row[name] for row in chosen(rows, **keys)], float)


def assert_drawn(path, size):
    """Asserts that a picture has this size in inches, and ink in each of its quarters."""
    image = np.asarray(Image.open(path).convert("L"))
    assert image.shape == (round(200 * size[1]), round(200 * size[0]))
    height, width = image.shape
    for quarter in (image[: height // 2], image[height // 2 :]):
        for part in (quarter[:, : width // 2], quarter[:, width // 2 :]):
            assert 0.005 < (part < 128).mean() < 0.5


def test_pictures_and_the_numbers_behind_them_are_written(plot, numbers, tmp_path):
    result = plot()
    assert result.returncode == 0, result.stderr
    for name, picture in PICTURES.items():
        path = tmp_path / "logs" / "sinusoid" / f"sinusoid_{name}.png"
        assert_drawn(path, picture.size)
        with open(path.with_suffix(".csv"), newline="") as file:
            written = list(csv.DictReader(file))
        assert len(written) == len(numbers[name])
        for line, row in zip(written, numbers[name], strict=True):
            for key, value in row.items():
                if isinstance(value, float):
                    assert float(line[key]) == pytest.approx(value, rel=1e-6, nan_ok=True)
                else:
                    assert line[key] == ("" if value is None else str(value))
    assert len(list((tmp_path / "logs" / "sinusoid").iterdir())) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_pictures_go_to_the_folder_of_the_runs(plot, tmp_path):
    assert plot("--logdir=mine", "--figure=errors").returncode == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["sinusoid_errors.csv", "sinusoid_errors.png"]


def test_pdf_and_a_choice_of_pictures(plot, tmp_path):
    for folder in ("one", "two"):
        assert plot("--format=pdf", "--figure=errors", f"--out={folder}").returncode == 0
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == [
            "sinusoid_errors.csv",
            "sinusoid_errors.pdf",
        ]
    first, second = ((tmp_path / folder / "sinusoid_errors.pdf").read_bytes() for folder in ("one", "two"))
    assert first.startswith(b"%PDF")
    assert len(first) > 5000
    assert first == second


def test_one_picture_s_format_by_its_file_s_ending(plot, tmp_path):
    for name, begin in (("errors.PDF", b"%PDF"), ("errors.png", b"\x89PNG")):
        assert plot("--figure=errors", f"--out=pictures/{name}").returncode == 0
        assert (tmp_path / "pictures" / name).read_bytes().startswith(begin)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["errors.PDF", "errors.csv", "errors.png"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--out=a.png"], "--out=a.png is a single file, for 3 pictures"),
        (["--out=a.svg", "--figure=fits"], "written as PNG or PDF"),
        (["--out=a.png", "--figure=fits", "--format=pdf"], "--format=pdf contradicts the ending of --out=a.png"),
    ],
)
def test_files_that_cannot_hold_the_pictures(plot, tmp_path, flags, said):
    result = plot(*flags)
    assert result.returncode == 2
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_pictures_of_one_seed_and_of_learners_that_diverge(numbers, tmp_path):
    picture = PICTURES["errors"]
    rows = [row for row in numbers["errors"] if row["seed"] not in (SEEDS[1], "mean")]
    rows = [row | ({"mse": np.nan, "ci95": np.nan} if row["updates"] else {}) for row in rows]
    path = style.save(style.make(picture.draw, rows, *picture.size), tmp_path / "one.png")
    assert_drawn(path, picture.size)


def test_true_sine_and_support_points_are_those_of_the_test_tasks(numbers):
    test = Sinusoid(10).test_tasks(9)
    for number, task in enumerate(["task 1", "task 2"]):
        keys = {"task": task, "shots": 10, "what": "support"}
        np.testing.assert_allclose(values(numbers["fits"], "x", **keys), test.support_x[sinusoid.TASKS[number], :, 0])
        found = values(numbers["fits"], "y", **keys)
        np.testing.assert_allclose(found, test.support_y[sinusoid.TASKS[number], :, 0], atol=1e-5)
        few = values(numbers["fits"], "x", **keys | {"shots": 5})
        np.testing.assert_array_equal(few, test.support_x[sinusoid.TASKS[number], :5, 0])
    half = values(numbers["fits"], "x", task="task 3, points on one side", shots=10, what="support")
    assert (half >= 0).all()
    np.testing.assert_array_equal(half, np.abs(test.support_x[8, :, 0]))
    y = values(numbers["fits"], "y", task="task 1", shots=5, what="true sine")
    assert 3 < np.ptp(y) / 2 < 5


@pytest.mark.parametrize("updates", [0, 1, 10])
def test_fits_are_the_predictions_after_gradient_steps(numbers, learners, tuned, updates):
    keys = {"task": "task 2", "shots": 5}
    x, y = (values(numbers["fits"], name, **keys, what="support")[:, None] for name in "xy")
    found = chosen(numbers["fits"], **keys, what="fit", learner="pretrained", updates=updates)
    (step_size,) = {row["step_size"] for row in found}
    assert step_size == tuned
    model = tf.keras.models.clone_model(learners.pretrained.maml.model)
    model.set_weights(learners.pretrained.maml.model.get_weights())
    for _ in range(updates):
        with tf.GradientTape() as tape:
            loss = losses.mse(model(x), tf.constant(y, tf.float32))
        for variable, gradient in zip(
            model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
        ):
            variable.assign_sub(step_size * gradient)
    expected = model(np.array([row["x"] for row in found])[:, None])[:, 0]
    np.testing.assert_allclose([row["y"] for row in found], expected, rtol=1e-4, atol=1e-4)


def test_sensitivity_agrees_with_the_errors_at_its_ends(numbers):
    for learner, seed in (("MAML", SEEDS[0]), ("pretrained", 0)):
        errors = values(
            numbers["errors"], "mse", learner=learner, seed=seed, shots=10, split="test", points="query", step_size=0.01
        )
        along = chosen(numbers["sensitivity"], learner=learner, quantity="query loss")
        assert [along[i]["step_size"] for i in (0, 5, 10)] == pytest.approx([0, 0.01, 0.02])
        assert [along[i]["mean"] for i in (0, 5)] == pytest.approx(errors[:2], rel=1e-5)
        (decrease,) = values(numbers["sensitivity"], "mean", learner=learner, quantity="decrease of query loss")
        assert decrease == pytest.approx(errors[0] - errors[1], rel=1e-4)


def test_gradient_norms_are_those_of_each_task(learners, numbers):
    maml = learners.maml[SEEDS[0]].maml
    tasks = learners.maml[SEEDS[0]].tasks(10)
    norms = sinusoid.gradient_norms(maml, type(tasks)(*(tf.constant(v[:3]) for v in tasks)))
    for task, norm in enumerate(norms):
        with tf.GradientTape() as tape:
            loss = losses.mse(maml.model(tasks.support_x[task]), tasks.support_y[task])
        assert norm == pytest.approx(float(tf.linalg.global_norm(tape.gradient(loss, maml.weights))), rel=1e-5)
    (random,) = values(numbers["sensitivity"], "mean", learner="random", quantity="gradient norm")
    (trained,) = values(numbers["sensitivity"], "mean", learner="MAML", quantity="gradient norm")
    assert 0 < random < trained


def test_bad_flags_and_a_folder_that_cannot_be_written(plot, tmp_path):
    assert plot("--figure=all").returncode == 2
    assert plot("--format=gif").returncode == 2
    (tmp_path / "file").write_text("mine")
    result = plot("--out=file")
    assert result.returncode == 2
    assert result.stderr == "error: cannot write to file (File exists)\n"
    result = plot("--out=file/figures")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def test_missing_runs(call, tmp_path):
    result = call(plot_sinusoid.main, f"--logdir={tmp_path}/logs", f"--out={tmp_path}/figures")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: no trained run in ")
    assert result.stderr.endswith(f": make it by `python main.py --logdir={tmp_path}/logs`\n")
    assert not list(tmp_path.iterdir())
