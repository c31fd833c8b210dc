"""The pictures of table 1 and figure 5: what they show, and that the documentation's are up to date."""

import csv

import pytest

from maml_tf.runs import style
from scripts import docs_figures, plot_results, record
from scripts.figures import paper
from scripts.record import Line
from tests.scripts.test_docs_figures import FIGURES

NUMBERS = [
    Line("omniglot_5way_1shot", "5-way 1-shot", "98.7", "0.4", "99.17", "0.37", "3", "test", "last", "60000"),
    Line("omniglot_5way_1shot_inductive", "a variation", "", "", "95.73", "0.72", "3", "test"),
    Line("omniglot_20way_1shot", "20-way 1-shot", "95.8", "0.3", updates="5"),
    Line("miniimagenet_5way_1shot", "5-way 1-shot", "48.70", "1.84", "39.40", "1.78", "10", "val", "last", "60000"),
    Line("miniimagenet_5way_5shot", "5-way 5-shot", "63.11", "0.92", "50.00", "1.00", "10", "test", "last", "4000"),
    Line("sinusoid_10shot_maml", "MAML", "0.1", "0.1", "0.1", "0.1", "10"),
]
RETURNS = [
    Line("point_navigation_maml", "MAML", "1.0", "0.1", "1.0", "0.1", "0"),
    Line("ant_velocity_maml", "MAML", "30.6 96.7", "30.0 20.7", "-22.7 -20.8", "22.6 24.3", "0 1", iterations="40"),
    Line("ant_velocity_maml", "MAML, seed 1", "30.6 96.7", "30.0 20.7", "-1.0 -2.0", "1.0 1.0", "0 1", seed="1"),
    Line("ant_velocity_oracle", "oracle", "107.9", "20.0", updates="0"),
]


def test_rows_of_table_1():
    rows = [tuple(row.values()) for row in paper.table_1(NUMBERS)]
    one, twenty = ("omniglot_5way_1shot", "Omniglot", "5-way 1-shot"), ("omniglot_20way_1shot", "Omniglot")
    mini = ("miniimagenet_5way_1shot", "miniImagenet", "5-way 1-shot")
    five = ("miniimagenet_5way_5shot", "miniImagenet", "5-way 5-shot")
    assert rows == [
        (*one, "published", 98.7, 0.4),
        (*one, "ours", 99.17, 0.37),
        (*twenty, "20-way 1-shot", "published", 95.8, 0.3),
        (*mini, "published", 48.7, 1.84),
        (*mini, paper._OTHER, 39.4, 1.78),
        (*five, "published", 63.11, 0.92),
        (*five, paper._OTHER, 50.0, 1.0),
    ]


def test_the_best_checkpoint_of_a_row_is_not_drawn_beside_its_last():
    best = [NUMBERS[0]._replace(run="5-way 1-shot, best on validation", ours="99.50", checkpoint="best")]
    assert paper.table_1([*NUMBERS, *best]) == paper.table_1(NUMBERS)
    alone = Line("miniimagenet_5way_1shot_fine_tuning", "fine-tuning", "", "", "39", "2", "15", "test", "best", "30000")
    assert [row["run"] for row in paper.table_1([alone])] == ["fine-tuning"]
    best = RETURNS[1]._replace(run="MAML, best on validation", ours="5.0 6.0", checkpoint="best")
    assert paper.figure_5([*RETURNS, best]) == paper.figure_5(RETURNS)


def test_table_1_is_drawn_row_by_row():
    figure = style.make(paper.draw_table_1, paper.table_1(NUMBERS), *paper.TABLE_1_SIZE)
    omniglot, mini = figure.axes
    assert [label.get_text() for label in omniglot.get_yticklabels()] == ["5-way 1-shot", "20-way 1-shot"]
    drawn = [(*line.get_xydata()[0], line.get_markerfacecolor()) for line in omniglot.lines if len(line.get_xydata())]
    assert drawn == [(98.7, -0.14, "white"), (99.17, 0.14, style.BLUE), (95.8, 0.86, "white")]
    (interval,) = omniglot.collections[1].get_segments()
    assert interval[:, 0] == pytest.approx([98.8, 99.54])
    assert omniglot.get_ylim() == (1.5, -0.5)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["published", "ours", paper._OTHER]
    assert mini.get_title(loc="left") == "miniImagenet"


def test_rows_of_figure_5():
    rows = [tuple(row.values()) for row in paper.figure_5(RETURNS)]
    assert rows == [
        ("ant_velocity", "maml", "published", 0, 30.6, 30.0, ""),
        ("ant_velocity", "maml", "published", 1, 96.7, 20.7, ""),
        ("ant_velocity", "maml", "ours", 0, -22.7, 22.6, "40 of 375 iterations"),
        ("ant_velocity", "maml", "ours", 1, -20.8, 24.3, "40 of 375 iterations"),
        ("ant_velocity", "oracle", "published", 0, 107.9, 20.0, ""),
    ]


def test_figure_5_has_the_published_above_ours():
    figure = style.make(paper.draw_figure_5, paper.figure_5(RETURNS), *paper.FIGURE_5_SIZE)
    above, below = figure.axes
    assert above.lines[0].get_ydata().tolist() == [30.6, 96.7]
    assert below.lines[0].get_ydata().tolist() == [-22.7, -20.8]
    assert [text.get_text() for text in below.texts] == ["MAML after\n40 of 375 iterations"]
    assert not above.texts
    assert above.get_ylim() == below.get_ylim()


@pytest.mark.parametrize(("name", "numbers"), [("table_1", paper.table_1), ("figure_5", paper.figure_5)])
def test_pictures_of_the_documentation_are_of_the_record(name, numbers, tmp_path):
    path = FIGURES / f"results_{name}.csv"
    expected = style.write_csv(tmp_path / "expected.csv", numbers(record.read()))
    drawn_by = "python -m scripts.docs_figures --picture=results"
    assert list(csv.reader(path.open())) == list(csv.reader(expected.open())), f"draw them by `{drawn_by}`"


def test_the_command_draws_both(call, tmp_path):
    ((script, *flags),) = docs_figures.commands()["results"]
    assert (script, flags) == ("plot_results", ["--out=docs/figures"])
    result = call(plot_results.main, *flags)
    assert result.returncode == 0, result.stderr
    names = [f"results_{name}.{ending}" for name in ("figure_5", "table_1") for ending in ("csv", "png")]
    assert sorted(path.name for path in (tmp_path / "docs" / "figures").iterdir()) == names
