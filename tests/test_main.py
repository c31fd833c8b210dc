import csv
import dataclasses
import pickle
import shutil
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from absl import flags

import main
from data_generators.errors import UserError
from maml_tf import runtime
from maml_tf.checkpoints import available
from maml_tf.experiment import Experiment
from tests import command
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.runs import use_small_omniglot

# Without XLA and summaries there is less to compile; few tasks per meta-batch are faster still.
QUICK = ("--log=False", "--validation_interval=0", "--jit=false", "--meta_batch_size=2", "--metatrain_iterations=4")
SMALL_IMAGES = ("--datasource=omniglot", "--num_classes=2", "--num_filters=2")


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """run(*arguments) does what `python main.py` does, but in this process, to save time."""
    monkeypatch.setattr(runtime, "configure", lambda kind: None)  # can only be done once in a process
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        return Result(main.main(["main.py", *map(str, arguments)]), *capsys.readouterr())

    return call


@pytest.fixture
def small_omniglot(monkeypatch, tmp_path):
    use_small_omniglot(monkeypatch, tmp_path / "omniglot")


def experiments(line):
    return main.experiments(main.parse(["main.py", *line.split()]))


def assert_refused(result, message):
    """One sentence on stderr and exit code 2."""
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


ORIGINAL_FLAGS = {
    "datasource": "sinusoid",
    "num_classes": 5,
    "baseline": "oracle",
    "pretrain_iterations": 0,
    "metatrain_iterations": 15000,
    "meta_batch_size": 25,
    "meta_lr": 0.001,
    "update_batch_size": 5,
    "update_lr": 1e-3,
    "num_updates": 1,
    "norm": "batch_norm",
    "num_filters": 64,
    "conv": True,
    "max_pool": False,
    "stop_grad": False,
    "log": True,
    "logdir": "/tmp/data",
    "resume": True,
    "train": True,
    "test_iter": -1,
    "test_set": False,
    "train_update_batch_size": -1,
    "train_update_lr": -1.0,
}


def test_every_flag_of_the_original_is_there():
    values = main.parse(["main.py", *(f"--{name}={value}" for name, value in ORIGINAL_FLAGS.items())])
    assert {name: values[name].value for name in ORIGINAL_FLAGS} == ORIGINAL_FLAGS


def test_defaults_of_the_run_are_the_original_s():
    values = main.parse(["main.py"])
    for name in ("log", "resume", "train", "test_iter", "train_update_batch_size", "train_update_lr"):
        assert values[name].value == ORIGINAL_FLAGS[name]
    assert experiments("") == (Experiment.of(), Experiment.of())


SINUSOID = "--datasource=sinusoid --logdir=logs/sine/ --norm=None --update_batch_size=10"
FIVE_WAY = (
    "--datasource=omniglot --metatrain_iterations=60000 --meta_batch_size=32 --update_batch_size=1 --update_lr=0.4 "
    "--num_updates=1 --logdir=logs/omniglot5way/"
)
TWENTY_WAY = (
    "--datasource=omniglot --metatrain_iterations=60000 --meta_batch_size=16 --update_batch_size=1 --num_classes=20 "
    "--update_lr=0.1 --num_updates=5 --logdir=logs/omniglot20way/"
)
MINI = (
    "--datasource=miniimagenet --metatrain_iterations=60000 --meta_batch_size=4 --update_lr=0.01 --num_updates=5 "
    "--num_classes=5 --logdir=logs/miniimagenet1shot/ --num_filters=32 --max_pool=True"
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{SINUSOID} --metatrain_iterations=70000", Experiment.of()),
        (
            f"{SINUSOID} --pretrain_iterations=70000 --metatrain_iterations=0",
            Experiment.of(pretrain_iterations=70000, metatrain_iterations=0),
        ),
        (
            f"{SINUSOID} --pretrain_iterations=70000 --metatrain_iterations=0 --baseline=oracle",
            Experiment.of(baseline="oracle"),
        ),
        (FIVE_WAY, Experiment.of(datasource="omniglot", num_classes=5)),
        (TWENTY_WAY, Experiment.of(datasource="omniglot", num_classes=20)),
        (f"{MINI} --update_batch_size=1", Experiment.of(datasource="miniimagenet")),
        (f"{MINI} --update_batch_size=5", Experiment.of(datasource="miniimagenet", update_batch_size=5)),
        ("--datasource=omniglot --num_classes=5", Experiment.of(datasource="omniglot")),
    ],
)
def test_commands_of_the_original_mean_the_paper_s_experiments(line, expected):
    for more in ("", " --train=False --test_set=True"):
        assert experiments(line + more) == (expected, expected)


def test_settings_of_training_and_test_may_differ():
    trained, tested = experiments("--train_update_batch_size=10 --update_batch_size=5 --train_update_lr=.02 --update_lr=.01")
    assert (trained.update_batch_size, trained.update_lr) == (10, 0.02)
    assert (tested.update_batch_size, tested.update_lr) == (5, 0.01)
    trained, tested = experiments("--train_update_batch_size=20")
    assert (trained.update_batch_size, tested.update_batch_size) == (20, 10)
    with pytest.raises(UserError, match="--update_batch_size must be at least 1, not 0"):
        experiments("--train_update_batch_size=10 --update_batch_size=0")
    with pytest.raises(UserError, match="--update_lr must be a positive number"):
        experiments("--train_update_lr=0.01 --update_lr=-1")


def test_help_lists_every_flag_without_tensorflow(tmp_path):
    for flag in ("--help", "-h"):
        result = command.run(tmp_path, flag)
        assert (result.returncode, result.stderr) == (0, "")
        for name in main.parse(["main.py"]):
            assert f"--{name}:" in result.stdout or f"--[no]{name}:" in result.stdout
    check = "import main, sys; main.experiments(main.parse(['main.py'])); sys.exit('tensorflow' in sys.modules)"
    assert command.subprocess.run([sys.executable, "-c", check], cwd=command.ROOT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--datasource=imagenet", "unknown datasource 'imagenet': choose one of sinusoid, omniglot, miniimagenet"),
        ("--norm=group_norm", "unknown norm 'group_norm': choose one of batch_norm, layer_norm, None"),
        ("--baseline=random", "unknown baseline 'random': the only one is 'oracle'"),
        ("--baseline=oracle --datasource=omniglot", "--baseline=oracle needs --datasource=sinusoid"),
        ("--meta_batch_size=0", "--meta_batch_size must be at least 1, not 0"),
        ("--update_batch_size=-3", "--update_batch_size must be at least 1, not -3"),
        ("--num_updates=many", "flag --num_updates=many: invalid literal for int()"),
        ("--num_classes=2.5", "flag --num_classes=2.5: invalid literal for int()"),
        ("--update_lr=fast", "flag --update_lr=fast: could not convert string to float"),
        ("--save_interval=0", "flag --save_interval=0: 0 is not a positive integer"),
        ("--validation_interval=-1", "flag --validation_interval=-1: -1 is not a non-negative integer"),
        ("--task_axis=both", "flag --task_axis=both: value should be one of <auto|map|vectorize>"),
        ("--stop_grad=perhaps", "flag --stop_grad=perhaps: "),
        ("--num_clases=5", "Unknown command line flag 'num_clases'. Did you mean: num_classes"),
        ("--conv False", "'False' is not a flag: write --name=value"),
        ("omniglot", "'omniglot' is not a flag: write --name=value"),
    ],
)
def test_mistake_in_the_flags(tmp_path, line, message):
    result = command.run(tmp_path, *line.split())
    assert_refused(result, message)
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_miniimagenet_is_refused_for_now(run, tmp_path):
    assert_refused(run("--datasource=miniimagenet"), "miniImagenet cannot be read yet")
    assert list(tmp_path.iterdir()) == []


def test_more_classes_or_images_than_there_are(run, small_omniglot, tmp_path):
    before = snapshot(tmp_path)
    assert_refused(run("--datasource=omniglot", "--num_classes=4"), "A 4-way task needs 4 classes")
    assert_refused(run(*SMALL_IMAGES, "--update_batch_size=2"), "need 4 images")
    # The test's shots are too many, which is better said before the training than after it.
    assert_refused(run(*SMALL_IMAGES, *QUICK, "--train_update_batch_size=1", "--update_batch_size=2"), "need 4 images")
    assert snapshot(tmp_path) == before


def test_testing_without_a_checkpoint(run, tmp_path):
    result = run("--train=False", "--datasource=omniglot", "--logdir=runs")
    assert_refused(result, f"no checkpoint in {Path('runs', Experiment.of(datasource='omniglot').name)}: train first")
    assert list(tmp_path.iterdir()) == []  # nor was anything downloaded


def test_iteration_to_test_is_for_tests_only(run, tmp_path):
    assert_refused(run("--test_iter=100"), "--test_iter goes with --train=False")
    assert list(tmp_path.iterdir()) == []


def test_logdir_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_refused(run(*QUICK, "--logdir=file"), "cannot write to file/cls_5")
    assert (tmp_path / "file").read_text() == "mine"


def test_loss_that_is_not_finite(run, tmp_path):
    result = run(*QUICK, "--update_lr=1e6", "--save_interval=1", "--logdir=runs")
    assert_refused(result, "no longer finite at iteration 1: training stops")
    assert list(tmp_path.rglob("model*")) == []
    result = run(*QUICK, "--meta_lr=1e6", "--save_interval=1", "--logdir=runs")
    assert_refused(result, "no longer finite at iteration 1: training stops")
    (folder,) = {file.parent for file in tmp_path.rglob("model*")}
    assert available(folder) == [1]
    assert_refused(run(*QUICK, "--logdir=runs"), "was made with --meta_lr=1000000.0 (now 0.001): give the same flags")
    assert available(folder) == [1]


def test_breaking_off_before_training(run, monkeypatch):
    from maml_tf import commands

    def ctrl_c(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run", ctrl_c)
    result = run()
    assert result.returncode == 130
    assert "Traceback" not in result.stderr


# One real run serves several tests: stopped by Ctrl-C, gone on with to its end, and tested in other ways.
TRAIN = ("--metatrain_iterations=2000", "--save_interval=20", "--validation_interval=1000", "--logdir=runs")
NAME = "cls_5.mbs_25.ubs_10.numstep1.updatelr0.01nonorm"


class RealRun(NamedTuple):
    folder: Path
    stopped: object
    kept: list
    finished: object


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("real")
    folder = cwd / "runs" / NAME
    process = command.start(cwd, *TRAIN)
    command.wait_for(process, lambda: available(folder))
    process.send_signal(signal.SIGINT)
    stopped = command.ended(process)
    return RealRun(folder, stopped, available(folder), command.run(cwd, *TRAIN))


def test_ctrl_c_saves_and_says_how_to_go_on(real):
    assert real.stopped.returncode == 130
    done = real.kept[-1]
    assert 20 <= done < 2000
    last_line = real.stopped.stdout.splitlines()[-1]
    assert last_line == f"Stopped after {done} of 2000 iterations, which are saved. The same command goes on from there."
    assert "Stopping after this step and saving; a second Ctrl-C breaks off at once." in real.stopped.stderr
    assert "Traceback" not in real.stopped.stderr


def test_same_command_goes_on_to_the_end_and_tests(real):
    assert real.finished.returncode == 0
    lines = real.finished.stdout.splitlines()
    assert f"Going on from the checkpoint of iteration {real.kept[-1]}" in lines
    assert any(line.startswith("iteration 2000: validation loss after 10 updates ") for line in lines)
    assert "Testing the checkpoint of iteration 2000" in lines
    assert any(line.startswith("Loss on 600 test tasks") for line in lines)
    assert lines[-1] == f"Written to runs/{NAME}/test_ubs10_stepsize0.01.csv"
    assert available(real.folder) == list(range(1820, 2001, 20))


def test_run_says_what_it_does_and_nothing_else(real):
    for name, value in dataclasses.asdict(Experiment.of(metatrain_iterations=2000)).items():
        assert f"  {name:21} {value}\n" in real.finished.stdout
    assert f"runs/{NAME}\n" in real.finished.stdout
    progress = [line for line in real.finished.stderr.replace("\r", "\n").splitlines() if line.strip()]
    assert all(line.startswith("Training: ") for line in progress)
    assert "| 2000/2000 [" in progress[-1]
    assert "loss " in progress[-1]
    assert " -> " in progress[-1]
    assert "step/s" in progress[-1]


def table(path):
    header, *rows = csv.reader(path.read_text().splitlines())
    return header, np.array(rows, float)


def check_results(folder, name):
    """The csv and the pkl are there, whole, and say the same."""
    header, (means, stds, ci95) = table(folder / f"{name}.csv")
    assert header == [*(f"update{i}" for i in range(11)), "query_update0"]
    with open(folder / f"{name}.pkl", "rb") as file:
        figures = pickle.load(file)["mses"]
    assert figures.shape == (600, 11)
    np.testing.assert_allclose(means[:11], figures.mean(0), rtol=1e-5)
    np.testing.assert_allclose(ci95, 1.96 * stds / np.sqrt(600), rtol=1e-5)
    return means


def test_results_are_written_as_in_the_original(real):
    means = check_results(real.folder, "test_ubs10_stepsize0.01")
    assert 0.5 < means[1] < 5
    assert list(real.folder.glob("events.*"))


def test_trained_run_is_tested_with_other_shots_and_step_size(real, tmp_path):
    folder = shutil.copytree(real.folder, tmp_path / "runs" / NAME)
    before = snapshot(folder)
    result = command.run(
        tmp_path,
        *("--logdir=runs", "--train=False", "--test_set=False", "--test_iter=1900"),
        *("--train_update_batch_size=10", "--update_batch_size=5", "--train_update_lr=0.01", "--update_lr=0.02"),
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "Testing the checkpoint of iteration 1900\n" in result.stdout
    assert "Loss on 600 val tasks" in result.stdout
    assert "K = 5, step size 0.02; " in result.stdout
    assert "trained with K = 10, 1 update" in result.stdout
    check_results(folder, "test_ubs5_stepsize0.02")
    after = snapshot(folder)
    assert {name: after[name] for name in before} == before


def test_checkpoint_that_is_not_there(run, real):
    result = run("--train=False", "--test_iter=7", f"--logdir={real.folder.parent}")
    assert_refused(result, f"no checkpoint of iteration 7 in {real.folder}; there are: 1820, 1840, ")


def test_checkpoint_made_with_other_settings(run, real):
    before = snapshot(real.folder)
    for train in ("True", "False"):
        result = run(f"--train={train}", "--meta_lr=0.5", f"--logdir={real.folder.parent}")
        assert_refused(result, f"{real.folder}/model2000 was made with --meta_lr=0.001 (now 0.5): give the same flags")
    assert snapshot(real.folder) == before


def test_damaged_checkpoint(run, real, tmp_path):
    folder = shutil.copytree(real.folder, tmp_path / "runs" / NAME)
    file = folder / "model2000.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:1000])
    before = snapshot(folder)
    for train in ("True", "False"):
        assert_refused(run(f"--train={train}", "--logdir=runs"), "model2000 is damaged")
    assert snapshot(folder) == before


def test_finished_run_goes_straight_to_the_test_and_a_longer_one_goes_on(run, real, tmp_path):
    folder = shutil.copytree(real.folder, tmp_path / "runs" / NAME)
    arguments = ("--logdir=runs", "--jit=false", "--log=False", "--validation_interval=0")
    result = run(*arguments, "--metatrain_iterations=2000")
    assert result.returncode == 0
    assert "Training" not in result.stderr
    assert "Testing the checkpoint of iteration 2000\n" in result.stdout
    result = run(*arguments, "--metatrain_iterations=2003")
    assert "Going on from the checkpoint of iteration 2000\n" in result.stdout
    assert "Testing the checkpoint of iteration 2003\n" in result.stdout
    assert available(folder)[-2:] == [2000, 2003]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--baseline=oracle",), "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01oraclenonorm.pretrained"),
        (("--norm=batch_norm",), "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01batchnorm"),
        (("--norm=layer_norm", "--num_updates=2"), "cls_5.mbs_2.ubs_10.numstep2.updatelr0.01layernorm"),
        (("--learn_update_lr=True",), "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01nonorm.learnlr"),
        (
            ("--pretrain_iterations=3", "--metatrain_iterations=0"),
            "cls_5.mbs_2.ubs_10.numstep1.updatelr0.01nonorm.pretrained",
        ),
    ],
)
def test_sinusoid_in_every_way(run, tmp_path, arguments, name):
    result = run(*QUICK, *arguments, "--logdir=runs")
    assert result.returncode == 0, result.stderr
    check_results(tmp_path / "runs" / name, "test_ubs10_stepsize0.01")


def test_meta_learned_step_sizes_are_those_of_the_test(run, tmp_path):
    assert run(*QUICK, "--learn_update_lr=True", "--meta_lr=0.1", "--logdir=runs").returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    learned = check_results(folder, "test_ubs10_stepsize0.01")
    test = ("--learn_update_lr=True", "--meta_lr=0.1", "--logdir=runs", "--meta_batch_size=2", "--jit=false")
    run(*test, "--train=False", "--train_update_lr=0.01", "--update_lr=0.011")
    given = check_results(folder, "test_ubs10_stepsize0.011")
    assert learned[11] == given[11]
    assert abs(learned[1] - given[1]) > 1e-3


@pytest.mark.parametrize("more", [("--max_pool=True", "--stop_grad=True"), ("--conv=False", "--num_filters=64")])
def test_images(run, small_omniglot, tmp_path, more):
    arguments = (*SMALL_IMAGES, *QUICK, *more, "--logdir=runs")
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    assert "Accuracy in % on 600 test tasks" in result.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    means = check_results(folder, "test_ubs1_stepsize0.4")
    assert 0.3 <= means[3] <= 1
    result = run(*arguments, "--train=False", "--test_set=False")
    assert "Accuracy in % on 600 val tasks" in result.stdout


def test_flags_are_absl_flags():
    assert isinstance(main.parse(["main.py"]), flags.FlagValues)
