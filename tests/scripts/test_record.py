"""The record of results: it is whole, and agrees with the published numbers and the list of results."""

import dataclasses
import shlex

import pytest

import main
from maml_tf.runs import published
from maml_tf.runs.flags import Flags
from rl import envs
from rl.experiment import RLExperiment
from scripts import evaluate_rl, record, train_rl
from scripts.record import Line, Number
from scripts.results import RESULTS
from scripts.rows import Baseline
from scripts.updates import AFTER_ONE

LINES = record.read()


def test_every_line_says_what_it_is():
    for line in LINES:
        assert line.run
        assert not line.command or line.command.startswith("python ")
        assert not line.hours or float(line.hours) > 0
        assert all(text.isdecimal() for text in (line.iterations, line.seed, *line.updates.split()) if text)
        assert line.checkpoint in ("", "last", "best")
        if line.ours_by_update:  # it raises if there are more means than intervals or updates
            assert line.split
            assert line.command


def test_every_result_has_a_line_and_a_line_of_a_row_stands_for_one_run():
    assert set(RESULTS) <= {line.row for line in LINES}
    named = [(line.row, line.seed, line.checkpoint) for line in LINES if line.row]
    assert len(set(named)) == len(named)


def agree(numbers, mean, ci95):
    """Asserts that a number of the record is the published one, rounded to the record's digits."""
    assert round(mean, len(numbers.mean.partition(".")[2])) == float(numbers.mean)
    assert (numbers.ci95 == "-") == (ci95 is None)
    assert ci95 is None or round(ci95, len(numbers.ci95.partition(".")[2])) == float(numbers.ci95)


@pytest.mark.parametrize("name", RESULTS)
def test_published_numbers_are_the_published(name):
    for line in LINES:
        if line.row == name:
            *_, last = [*line.theirs_by_update.values()] or [None]
            last = line.theirs_by_update["1"] if name in AFTER_ONE else last
            theirs = [float(text) for text in RESULTS[name].published.split(" +- ")] if last else []
            assert theirs == ([] if last is None else [float(text) for text in last if text != record.NONE])
            assert bool(last) == bool(RESULTS[name].published)


@pytest.mark.parametrize("env", [env.name for env in envs.ENVIRONMENTS.values() if env.published])
def test_published_returns_are_the_published(env):
    for policy, curve in published.published_returns(envs.find(env).published).items():
        line = record.of_row(LINES, f"{env}_{policy}")
        assert [*map(int, line.theirs_by_update)] == [*range(len(curve.mean))]
        for update, number in line.theirs_by_update.items():
            agree(number, curve.mean[int(update)], curve.ci95[int(update)])


@pytest.mark.parametrize("learner", ["maml", "pretrained", "oracle"])
def test_published_errors_are_those_of_the_authors_code(learner):
    curve = published.original_sinusoid()[learner]
    for update, number in record.of_row(LINES, f"sinusoid_10shot_{learner}").theirs_by_update.items():
        agree(number, curve.mean[int(update)], curve.ci95[int(update)])


@pytest.mark.parametrize("line", [line for line in LINES if line.row in RESULTS and line.command])
def test_commands_are_those_of_the_rows(line):
    result, (_, *arguments) = RESULTS[line.row], shlex.split(line.command)
    if isinstance(result, Baseline):
        assert arguments[:2] == ["-m", "scripts.baselines"]
        return
    if arguments[0] == "main.py":
        trained, _ = main.experiments(main.parse(arguments))
    else:
        assert arguments[1] == "scripts.train_rl"
        flags = Flags()
        train_rl.define(flags)
        trained = RLExperiment.of(**flags.parse(arguments[2:]).given(RLExperiment))
    assert trained.name == dataclasses.replace(result.settings, seed=int(line.seed)).name
    assert trained.iterations in (result.total, int(line.iterations))


def test_random_policies_name_themselves():
    for line in LINES:
        if "_random" in line.row:
            flags = Flags()
            evaluate_rl.define(flags)
            assert flags.parse(shlex.split(line.command)[3:]).policy == ["random"]


def test_a_line_with_several_updates():
    line = Line(row="x", updates="0 1", ours="3.0 9.2e9", ci95="0.5 -", published="2", published_ci95="1")
    assert line.ours_by_update == {"0": Number("3.0", "0.5"), "1": Number("9.2e9", "-")}
    assert [str(number) for number in line.ours_by_update.values()] == ["3.0 +- 0.5", "9.2e9"]
    with pytest.raises(ValueError, match="zip"):
        _ = line.theirs_by_update
    assert Line().ours_by_update == {}
    assert Line(ours="5", ci95="1").ours_by_update == {"": Number("5", "1")}


def test_incomplete_runs():
    line = Line(row="omniglot_5way_1shot", iterations="4000")
    assert line.incomplete == "4,000 of 60,000 iterations"
    assert (line._replace(iterations="60000").incomplete, Line(iterations="5").incomplete) == ("", "")


def test_lines_are_written_as_they_are_read(tmp_path):
    (tmp_path / "results.csv").write_text(record.as_csv([Line._fields, *LINES[:20]]))
    assert record.read(tmp_path / "results.csv") == LINES[:20]
    assert record.PATH.read_text(encoding="utf-8") == record.as_csv([Line._fields, *LINES]) + "\n"
