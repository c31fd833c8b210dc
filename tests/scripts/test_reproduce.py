"""The rows of the paper's results: what they run, what they list, and the line that they end with."""

import numpy as np
import pytest

import main
from data_generators.errors import UserError
from maml_tf.baselines import report
from maml_tf.baselines.comparison import FINE_TUNING, TEST, VAL
from maml_tf.runs import process
from maml_tf.supervised import build
from maml_tf.supervised.build import run_folder
from maml_tf.supervised.evaluation import Evaluation, write
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.task_data import TaskData
from scripts import baselines, reproduce
from scripts.figures import style
from scripts.reproduction import all_rows, registry, sessions  # noqa: F401 - the rows register themselves
from scripts.reproduction.registry import ROWS, Figure, Options, Row, Status
from tests.maml_tf.baselines.test_comparison import CHOSEN, outcome

PUBLISHED = {
    "omniglot_5way_1shot": "98.7 +- 0.4",
    "omniglot_5way_5shot": "99.9 +- 0.1",
    "omniglot_20way_1shot": "95.8 +- 0.3",
    "omniglot_20way_5shot": "98.9 +- 0.2",
    "omniglot_5way_1shot_no_conv": "89.7 +- 1.1",
    "omniglot_5way_5shot_no_conv": "97.5 +- 0.6",
    "omniglot_5way_1shot_first_order": "",
    "miniimagenet_5way_1shot": "48.7 +- 1.84",
    "miniimagenet_5way_5shot": "63.11 +- 0.92",
    "miniimagenet_5way_1shot_first_order": "48.07 +- 1.75",
    "miniimagenet_5way_5shot_first_order": "63.15 +- 0.91",
    "miniimagenet_5way_1shot_fine_tuning": "28.86 +- 0.54",
    "miniimagenet_5way_5shot_fine_tuning": "49.79 +- 0.79",
    "miniimagenet_5way_1shot_nearest_neighbor": "41.08 +- 0.7",
    "miniimagenet_5way_5shot_nearest_neighbor": "51.04 +- 0.65",
    "sinusoid_10shot_maml": "0.113 +- 0.015",
    "sinusoid_10shot_pretrained": "1.647 +- 0.148",
    "sinusoid_10shot_oracle": "0.0024 +- 0.0001",
}
EXPERIMENTS = {
    "omniglot_20way_5shot": {"datasource": "omniglot", "num_classes": 20, "update_batch_size": 5},
    "omniglot_5way_5shot_no_conv": {"datasource": "omniglot", "conv": False, "update_batch_size": 5},
    "omniglot_5way_1shot_first_order": {"datasource": "omniglot", "stop_grad": True},
    "miniimagenet_5way_5shot": {"datasource": "miniimagenet", "update_batch_size": 5},
    "sinusoid_10shot_maml": {},
    "sinusoid_10shot_pretrained": {"pretrain_iterations": 70000, "metatrain_iterations": 0},
    "sinusoid_10shot_oracle": {"baseline": "oracle"},
}


class StubRow(Row):
    """A row whose run takes no time: each call does two iterations, and ends as it is told."""

    name, title, total = "stub", "A stub", 4

    def __init__(self, folder, codes):
        self.folder, self.codes, self.done = folder, iter(codes), 0

    def published(self):
        return "1.0"

    def command(self, options):
        iterations = [f"--iterations={options.iterations}"] if options.iterations else []
        return ["python", "stub.py", *iterations, *options.flags()]

    def run(self, options):
        self.done = min(self.done + 2, options.iterations or self.total)
        return next(self.codes)

    def status(self, options):
        return Status(str(self.folder), self.done)

    def figure(self, options):
        return Figure("test", "2.0 +- 0.5")


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """stub(*exit codes) adds a row whose calls end so."""
    monkeypatch.setattr(sessions, "commit", lambda: "abc1234")
    monkeypatch.setattr(registry, "ROWS", dict(ROWS))
    return lambda *codes: registry.register(StubRow(tmp_path, codes))


def test_rows_are_those_of_table_1_and_of_the_sinusoid():
    assert [(name, row.published()) for name, row in ROWS.items()][: len(PUBLISHED)] == [*PUBLISHED.items()]


@pytest.mark.parametrize("name", PUBLISHED)
def test_commands_have_the_paper_s_settings(name):
    row = ROWS[name]
    command = row.command(Options(logdir="my logs", data_dir="data"))
    assert command[-2:] == ["--logdir=my logs", "--data_dir=data"]
    if command[1] == "-m":
        assert command[:4] == ["python", "-m", "scripts.baselines", f"--shots={name[18]}"]
        assert baselines._parser().parse_args(command[3:]).iterations == row.total
        return
    experiment, tested = main.experiments(main.parse(command[1:]))
    assert experiment == tested == row.experiment()
    assert experiment.iterations == row.total
    if name in EXPERIMENTS:
        assert experiment == Experiment.of(**EXPERIMENTS[name])
    shorter, _ = main.experiments(main.parse(row.command(Options(iterations=7))[1:]))
    assert shorter.iterations == 7
    assert shorter.name == experiment.name


def test_listing(call, monkeypatch, tmp_path):
    result = call(reproduce.main)
    assert result.returncode == 0, result.stderr
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert set(lines) == {"row", *ROWS} > {*PUBLISHED}
    assert lines["omniglot_20way_1shot"].endswith("  no run yet")
    folder = tmp_path / run_folder(Experiment.of(datasource="omniglot"))
    folder.mkdir(parents=True)
    for iteration in (3, 20):
        (folder / f"model{iteration}.index").touch()
    line = next(line for line in call(reproduce.main).stdout.splitlines() if line.startswith("omniglot_5way_1shot "))
    assert "98.7 +- 0.4" in line
    assert "20 of 60000" in line
    assert str(run_folder(Experiment.of(datasource="omniglot"))) in line


def test_incomplete_run_is_interrupted_resumed_and_described(call, stub):
    stub(130, 0, 0)
    result = call(reproduce.main, "stub", "--iterations=3")
    assert (result.returncode, result.stdout) == (130, "A stub: python stub.py --iterations=3\n")
    result = call(reproduce.main, "stub", "--iterations=3")
    assert result.returncode == 0
    *_, header, rule, line = result.stdout.splitlines()
    assert header == "| run | published | ours | on | iterations | command | commit | duration |"
    assert rule.count("---") == 8
    cells = line.strip("| ").split(" | ")
    assert cells[:-1] == [
        *("A stub", "1.0", "2.0 +- 0.5", "test", "3 of 4; `python stub.py` resumes it"),
        *("`python stub.py --iterations=3`", "abc1234"),
    ]
    assert cells[-1].endswith(" s")
    last = call(reproduce.main, "stub", "--logdir=logs").stdout.splitlines()[-1]
    assert "| 4 | `python stub.py --logdir=logs` | abc1234 |" in last


def test_failed_run_is_not_described(call, stub, tmp_path):
    stub(2)
    result = call(reproduce.main, "stub")
    assert (result.returncode, result.stdout) == (2, "A stub: python stub.py\n")
    assert list(tmp_path.iterdir()) == []


def test_effort_of_all_sessions(tmp_path):
    def note(*session):
        sessions.note(tmp_path, sessions.Session(*session))

    assert sessions.effort(tmp_path, 0) == (0, [], False)
    note(0, 5, 10.0, "a")
    note(5, 8, 2.5, "b")
    assert sessions.effort(tmp_path, 8) == (12.5, ["a", "b"], True)
    note(10, 12, 1.0, "b")  # the session from 8 to 10 was killed
    assert sessions.effort(tmp_path, 12) == (13.5, ["a", "b"], False)
    note(0, 2, 1.5, "c")  # begun anew
    assert sessions.effort(tmp_path, 2) == (1.5, ["c"], True)
    (tmp_path / sessions.FILE).write_text("{")
    assert sessions.effort(tmp_path, 2) == (0, [], False)
    sessions.note(tmp_path / "nowhere", sessions.Session(0, 1, 1.0, "a"))
    assert not (tmp_path / "nowhere").exists()


def test_figures_are_read_from_what_the_runs_write(monkeypatch, tmp_path):
    options = Options(logdir=str(tmp_path))
    query = np.linspace(0.1, 0.9, 2)[:, None] + np.arange(11) / 100
    written = Evaluation("accuracy", np.zeros(2), query)
    row = ROWS["omniglot_20way_1shot"]
    write(written, run_folder(row.experiment(), tmp_path), 1, 0.1)
    monkeypatch.setattr(build, "load", lambda *arguments: TaskData(None, None, None, ("train", "val")))
    assert row.figure(options) == Figure("val, 5 updates", "55.00 +- 55.44")

    row = ROWS["sinusoid_10shot_oracle"]
    write(Evaluation("loss", np.full(2, 0.0026), query), run_folder(row.experiment(), tmp_path), 10, 0.01)
    assert row.figure(options) == Figure("test, 0 updates, support points", "0.0026 +- 0")

    row = ROWS["miniimagenet_5way_5shot_fine_tuning"]
    path = tmp_path / "baselines_5way_5shot.csv"
    outcomes = [outcome(FINE_TUNING, VAL, [0.4, 0.6], CHOSEN), outcome(FINE_TUNING, TEST, [0.2, 0.2], CHOSEN)]
    style.write_csv(path, report.csv_rows(outcomes, "miniimagenet", 5, 5, 30))
    assert row.figure(options) == Figure("test", "20.00 +- 0.00")
    style.write_csv(path, report.csv_rows(outcomes[:1], "miniimagenet", 5, 5, 30))
    assert row.figure(options) == Figure("second half of val (8 classes)", "50.00 +- 13.86")


def test_a_real_row_is_trained_tested_and_listed(call, monkeypatch, tmp_path):
    monkeypatch.setattr(process, "configure", lambda kind: None)  # can only be done once in a process
    result = call(reproduce.main, "sinusoid_10shot_maml", "--iterations=3", "--logdir=runs")
    assert result.returncode == 0, result.stderr
    command = "python main.py --metatrain_iterations=3 --logdir=runs"
    assert result.stdout.startswith(f"sinusoid, K = 10, MAML: {command}\n")
    assert "original MAML" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith("| sinusoid, K = 10, MAML | 0.113 +- 0.015 | ")
    assert f"| 3 of 70,000; `python main.py --logdir=runs` resumes it | `{command}` |" in last
    assert "not all sessions" not in last
    line = next(line for line in call(reproduce.main, "--logdir=runs").stdout.splitlines() if "10shot_maml" in line)
    assert "3 of 70000" in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("omniglot_6way",), "there is no row 'omniglot_6way': choose one of omniglot_5way_1shot, omniglot_5way_5shot"),
        (("omniglot_5way_1shot", "--iterations=0"), "--iterations must be at least 1, not 0"),
        (("omniglot_5way_1shot", f"--iterations={2**31}"), "--iterations must be at most 2147483647, not 2147483648"),
        ((f"--logdir={'a' * 300}",), "File name too long"),
        (("miniimagenet_5way_1shot", "--data_dir=nowhere"), "miniImagenet"),
        (("miniimagenet_5way_1shot_fine_tuning", "--data_dir=nowhere"), "miniImagenet"),
    ],
)
def test_mistakes(call, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setattr(process, "configure", lambda kind: None)
    result = call(reproduce.main, *arguments)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("contents", ["", "a,b\n1,2\n", "update0\nx\ny\nz\n", "\0", "update0\n1\n1\n1\n1\n"])
def test_figures_that_cannot_be_read(tmp_path, contents):
    row = ROWS["sinusoid_10shot_oracle"]
    folder = run_folder(row.experiment(), tmp_path)
    folder.mkdir()
    (folder / "test_ubs10_stepsize0.01.csv").write_text(contents)
    with pytest.raises(UserError, match=r"csv is damaged or cannot be read \(.*\): run the row again\.$"):
        row.figure(Options(logdir=str(tmp_path)))


def test_figure_says_how_many_tasks_diverged(tmp_path):
    row, query = ROWS["sinusoid_10shot_maml"], np.full((600, 11), 0.5)
    query[:3, 10] = np.nan
    write(Evaluation("loss", np.ones(600), query), run_folder(row.experiment(), tmp_path), 10, 0.01)
    text = row.figure(Options(logdir=str(tmp_path))).text
    assert text == "nan +- nan (median 0.5; 3 tasks diverged)"


@pytest.mark.parametrize("contents", ["[1]", '[{"start": "0", "end": 1, "seconds": 1, "commit": ""}]', "{}", "[null]"])
def test_sessions_that_are_damaged_are_none(tmp_path, contents):
    (tmp_path / sessions.FILE).write_text(contents)
    assert sessions.effort(tmp_path, 1) == (0, [], False)


def test_two_rows_cannot_have_one_name():
    with pytest.raises(ValueError, match="there is a row omniglot_5way_1shot already"):
        registry.register(ROWS["omniglot_5way_1shot"])
