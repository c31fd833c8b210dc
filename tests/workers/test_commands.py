"""main.py and scripts.train_rl with two workers: which one writes, what is refused, what happens when one is lost."""

import csv
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from maml_tf.runs import lock
from maml_tf.runs.checkpoints import available
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.small_runs import assert_same_numbers, contents
from tests.net.commands import fork
from tests.workers.pictures import SMALL_PICTURES
from tests.workers.started import ROOT, Started, compared, launched, run_folder, worked

SMALL = ("--meta_batch_size=5", "--update_batch_size=3", "--test_tasks=20", "--validation_interval=0")
SINUSOID = ("main", *SMALL)
INTERPRETED = (*SINUSOID, "--jit=false", "--log=false")  # XLA and summaries take seconds; the first test covers them
ENDLESS = (*INTERPRETED, "--metatrain_iterations=10000000", "--save_interval=20")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(outcome of the launcher, logdir of its two workers, logdir of one process), all of the same short run."""
    two, one = (tmp_path_factory.mktemp(name) for name in ("two", "one"))
    arguments = "--metatrain_iterations=150", "--save_interval=50", "--validation_interval=75", "--validation_tasks=20"
    with ThreadPoolExecutor() as pool:  # the launcher first: its workers and the fork server load TensorFlow together
        outcome = pool.submit(launched, "main.py", *SMALL, *arguments, f"--logdir={two}")
        with Started(one, [*SINUSOID, *arguments, "--logdir={folder}/runs"], count=1) as process:
            assert process.codes() == [0], process.texts()
    return outcome.result(), two, one / "runs"


def test_two_workers_train_validate_and_test(trained):
    outcome, *logdirs = trained
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("Testing the checkpoint of iteration 150") == 1  # only the chief prints it
    folder, of_one = map(run_folder, logdirs)
    assert available(folder) == [50, 100, 150]
    assert sorted(available(folder / "best")) == [75, 150]
    one, two = (contents(f / "model150") for f in (of_one, folder))
    for name, expected in one.items():
        np.testing.assert_allclose(two[name], expected, rtol=1e-3, atol=1e-5, err_msg=name)
    # Compares as test_equality.py does, but after 150 steps in loops that XLA has compiled.
    weights = [name for name in one if "_trainable_variables" in name]
    one, two = (np.concatenate([arrays[name].ravel() for name in weights]) for arrays in (one, two))
    assert np.linalg.norm(two - one) <= 1e-6 * np.linalg.norm(one)
    one, two = (list(csv.reader(next(f.glob("test*_tasks20.csv")).open())) for f in (of_one, folder))
    assert one[0] == two[0]
    np.testing.assert_allclose(np.float64(two[1]), np.float64(one[1]), rtol=1e-4)


def test_one_process_continues_what_two_have_begun_and_two_what_one_has(trained, tmp_path):
    _, logdir, _ = trained
    one = fork(ROOT, *INTERPRETED, "--metatrain_iterations=160", f"--logdir={logdir}")
    assert "Resuming from the checkpoint of iteration 150" in one.stdout, one.stderr
    command = *INTERPRETED, "--metatrain_iterations=170", f"--logdir={logdir}"
    which = "--train=False", "--test_iter=150"  # not the latest, the only one that the other worker gets unasked
    with Started(tmp_path / "both", command) as both, Started(tmp_path / "tested", [*command, *which]) as tested:
        assert both.codes() + tested.codes() == [0] * 4, both.texts() + tested.texts()
    assert "Resuming from the checkpoint of iteration 160" in both.texts()[0]
    assert available(run_folder(logdir))[-1] == 170
    assert "Testing the checkpoint of iteration 150" in tested.texts()[0]


@pytest.mark.slow
def test_the_baselines_by_two_workers(tmp_path):
    settings = "--num_classes=2", "--num_filters=4", "--batch_size=8", "--iterations=4", "--num_tasks=4"
    settings += "--tuning_tasks=4", "--num_updates=1", "--step_sizes=0.1", "--decays=0", "--logdir={folder}/logs"
    folders = compared(tmp_path, "scripts.baselines", f"--datasource={SMALL_PICTURES}", *settings)
    two, one = (snapshot(folder / "logs") for folder in folders)
    assert two.keys() == one.keys()
    table = Path("baselines_2way_1shot.csv")
    assert two[table] == one[table]
    accuracies = [float(row["accuracy"]) for row in csv.DictReader(two[table].decode().splitlines())]
    assert len(set(accuracies)) > 1  # they are not all at chance level


def test_workers_that_differ_are_refused_before_the_first_step(tmp_path):
    commands = [[*ENDLESS, f"--logdir={tmp_path / 'runs'}", f"--update_lr={lr}"] for lr in ("0.01", "0.02")]
    with Started(tmp_path, None, each=commands) as workers:
        assert workers.codes() == [2, 2], workers.texts()
        chief, other = workers.texts()
    assert "error: another worker differs from worker 0" in chief
    assert "error: worker 1 has other flags than worker 0: start all workers by the same command" in other
    assert not list((tmp_path / "runs").rglob("model*"))


def test_an_error_of_one_ends_all(tmp_path):
    """In this case, the chief cannot write to its folder."""
    (tmp_path / "file").touch()
    with Started(tmp_path, [*ENDLESS, f"--logdir={tmp_path / 'file'}"]) as workers:
        assert workers.codes() == [2, 2], workers.texts()
        chief, other = workers.texts()
    assert "error: cannot write to" in chief
    assert "error: another worker has ended with an error" in other


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_worker_is_noticed_and_a_stopped_one_stops_all(tmp_path, victim):
    """Kills a worker, then resumes the run and asks the same worker to stop."""
    command = [*ENDLESS, f"--logdir={tmp_path / 'runs'}"]
    with Started(tmp_path, command) as workers:
        workers.wait_until(lambda: any(file.read_text() for file in tmp_path.glob(f"runs/*/{lock.NAME}")))
        with Started(tmp_path / "second", command) as second:
            assert second.codes() == [2, 2], second.texts()
            (chief,), (other,) = second.errors()
        assert chief.startswith(f"another process trains in {run_folder(tmp_path / 'runs')} (process ")
        assert other.startswith("another worker has ended with an error")
        workers.wait_until(lambda: available(run_folder(tmp_path / "runs")))
        workers.processes[victim].kill()
        codes = workers.codes()
        texts = workers.texts()
    assert (codes[victim], codes[1 - victim]) == (-signal.SIGKILL, 75), texts
    assert "error: another worker is gone" in texts[1 - victim]
    assert "Traceback" not in texts[1 - victim]
    folder = run_folder(tmp_path / "runs")
    last = available(folder)[-1]
    with Started(tmp_path, command) as workers:
        workers.wait_until(lambda: available(folder)[-1] > last)
        workers.processes[victim].terminate()
        assert workers.codes() == [130, 130], workers.texts()
        assert "Stopped after" in workers.texts()[0]


@pytest.mark.slow
def test_policies_by_two_workers(tmp_path):
    settings = "--env=point_navigation", "--meta_batch_size=5", "--fast_batch_size=3", "--iterations=3", "--horizon=10"
    logdirs = tmp_path / "two", tmp_path / "one"
    two = launched("-m", "scripts.train_rl", *settings, f"--logdir={logdirs[0]}")
    assert two.returncode == 0, two.stderr
    one = fork(ROOT, "scripts.train_rl", *settings, f"--logdir={logdirs[1]}")
    assert one.returncode == 0, one.stderr
    tables = [list(csv.DictReader(next(logdir.rglob("progress.csv")).open())) for logdir in logdirs]
    for row, expected in zip(*tables, strict=True):
        for name in ("return_before", "return_after", "kl", "explained_variance_after", "env_steps"):
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=0.02, abs=1e-3), name


@pytest.mark.slow
def test_killed_five_times_at_random_they_end_as_if_undisturbed(tmp_path):
    """The 1,000 steps of a mapped network take long enough for the kills."""
    command = *SINUSOID, "--metatrain_iterations=1000", "--save_interval=50", "--task_axis=map", "--jit=false"
    worked(tmp_path, *command, f"--logdir={tmp_path / 'undisturbed'}")
    chance, logdir, kills = np.random.default_rng(0), tmp_path / "killed", 0
    logdir.mkdir()
    while True:
        with Started(tmp_path, [*command, f"--logdir={logdir}"]) as workers:
            if kills < 5:
                folders = [path for path in logdir.iterdir() if path.is_dir()]
                done = available(folders[0]) if folders else []
                wanted = (done[-1] if done else 0) + int(chance.integers(1, 3)) * 50
                workers.wait_until(lambda wanted=wanted: any(wanted in available(path) for path in logdir.iterdir()))
                victim = int(chance.integers(2))
                workers.processes[victim].kill()
                assert workers.codes()[1 - victim] == 75, workers.texts()
                kills += 1
            else:
                assert workers.codes() == [0, 0], workers.texts()
                break
    folders = [run_folder(path) for path in (logdir, tmp_path / "undisturbed")]
    assert_same_numbers(*(folder / "model1000" for folder in folders))
    assert len({next(folder.glob("test*.csv")).read_text() for folder in folders}) == 1


@pytest.mark.slow
def test_the_launcher_starts_all_again(tmp_path):
    """The second worker kills itself once, as soon as the first checkpoint exists."""
    program = tmp_path / "program.py"
    program.write_text(
        "import json, os, pathlib, signal, sys, threading, time\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "mark = pathlib.Path(sys.argv[1]) / 'killed'\n"
        "def watch():\n"
        "    while not list(pathlib.Path(sys.argv[1]).rglob('model*.index')): time.sleep(0.05)\n"
        "    mark.touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "if json.loads(os.environ['TF_CONFIG'])['task']['index'] == 1 and not mark.exists():\n"
        "    threading.Thread(target=watch, daemon=True).start()\n"
        "from main import main\n"
        f"sys.exit(main(['main.py', *{SMALL!r}, '--metatrain_iterations=3000', '--save_interval=1000',"
        " '--logdir=' + sys.argv[1] + '/runs']))\n"
    )
    outcome = launched(program, tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    assert "A worker was lost; all are started again, at most 3 times" in outcome.stderr
    assert "Resuming from the checkpoint" in outcome.stdout
