import json
from importlib import resources

import pytest

from maml_tf.runs import published
from maml_tf.supervised.experiment import Experiment

FIGURES = json.loads(resources.files("maml_tf.runs").joinpath("published.json").read_text())
CELLS = [
    (datasource, key, setting, percent, ci95)
    for datasource, systems in FIGURES["table_1"].items()
    for key, columns in systems.items()
    for setting, (percent, ci95) in columns.items()
]


@pytest.mark.parametrize(("datasource", "key", "setting", "percent", "ci95"), CELLS)
def test_every_cell_of_table_1_is_reachable_once(datasource, key, setting, percent, ci95):
    ways, shots = (int(part[: -len("way")]) if part.endswith("way") else int(part[0]) for part in setting.split("_"))
    rows = [row for row in published.published_rows(datasource, ways, shots) if row.key == key]
    assert [(row.percent, row.ci95) for row in rows] == [(percent, ci95)]


def test_columns_of_table_1_have_as_many_rows_as_the_paper():
    columns = {("omniglot", 5): 7, ("omniglot", 20): 5, ("miniimagenet", 5): 6}
    for (datasource, ways), rows in columns.items():
        for shots in (1, 5):
            assert len(published.published_rows(datasource, ways, shots)) == rows
    assert len(CELLS) == 2 * sum(columns.values())


def test_names_are_those_of_the_table_and_differ_within_a_column():
    names = [row.system for row in published.published_rows("miniimagenet", 5, 1)]
    assert names == [
        "Fine-tuning baseline",
        "Nearest neighbor baseline",
        "Matching nets",
        "Meta-learner LSTM",
        "MAML, first order approx.",
        "MAML",
    ]
    omniglot = [row.system for row in published.published_rows("omniglot", 5, 1)]
    assert len(set(omniglot)) == len(omniglot)
    assert {"MANN, no conv", "MAML, no conv"} <= set(omniglot)


@pytest.mark.parametrize(
    ("datasource", "ways", "shots"),
    [("omniglot", 7, 1), ("omniglot", 5, 2), ("miniimagenet", 20, 1), ("sinusoid", 5, 5), ("own", 5, 1)],
)
def test_there_are_no_rows_where_the_table_has_no_column(datasource, ways, shots):
    assert published.published_rows(datasource, ways, shots) == []


@pytest.mark.parametrize(
    ("settings", "key", "percent", "ci95"),
    [
        ({"datasource": "omniglot"}, "maml", 98.7, 0.4),
        ({"datasource": "omniglot", "update_batch_size": 5}, "maml", 99.9, 0.1),
        ({"datasource": "omniglot", "conv": False}, "maml_no_conv", 89.7, 1.1),
        ({"datasource": "omniglot", "num_classes": 20}, "maml", 95.8, 0.3),
        ({"datasource": "miniimagenet"}, "maml", 48.7, 1.84),
        ({"datasource": "miniimagenet", "stop_grad": True}, "maml_first_order", 48.07, 1.75),
    ],
)
def test_row_of_an_experiment(settings, key, percent, ci95):
    row = Experiment.of(**settings).published_row
    assert (row.key, row.percent, row.ci95) == (key, percent, ci95)


@pytest.mark.parametrize(
    "settings",
    [
        {"datasource": "sinusoid"},
        {"datasource": "omniglot", "stop_grad": True},
        {"datasource": "omniglot", "stop_grad": True, "conv": False},
        {"datasource": "omniglot", "num_classes": 20, "conv": False},
        {"datasource": "omniglot", "num_classes": 6},
        {"datasource": "miniimagenet", "metatrain_iterations": 0, "pretrain_iterations": 10},
    ],
)
def test_experiments_that_the_paper_does_not_have_match_no_row(settings):
    assert Experiment.of(**settings).published_row is None


def test_returns_of_every_environment():
    for environment in FIGURES["average_return"]:
        curves = published.published_returns(environment)
        assert set(curves) == {"maml", "pretrained", "random", "oracle"}
        steps = 5 if environment == "2d_navigation" else 4
        for agent, curve in curves.items():
            assert len(curve.mean) == len(curve.ci95) == (1 if agent == "oracle" else steps)
    assert len(FIGURES["average_return"]) == 5
    assert published.published_returns("ant_goal_direction")["maml"].mean[1] == 499.1468
    with pytest.raises(KeyError):
        published.published_returns("humanoid")


def test_original_sinusoid():
    curves = published.original_sinusoid()
    assert [curves[learner].mean[0] for learner in ("maml", "pretrained", "oracle")] == [3.091, 3.070, 0.0024]
    assert (curves["maml"].mean[1], curves["maml"].ci95[1]) == (0.384, 0.035)
    assert (curves["pretrained"].mean[10], curves["pretrained"].ci95[9:]) == (1.647, (None, 0.148))
    assert all(len(curve.mean) == len(curve.ci95) for curve in curves.values())
    assert "TensorFlow 1.2.1" in FIGURES["sources"]["sinusoid"]
