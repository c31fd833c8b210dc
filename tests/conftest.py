"""Fixtures: the command, run in the tests' own process, and one real run that several tests share.

The process that distributes the tests to workers reads this file too, so only fixtures load TensorFlow.
"""

import gc
import os
import signal
from pathlib import Path

import pytest

import main
from maml_tf.runs import process as runtime
from tests import command

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_LEVEL_AT_START = os.environ.get(_LOG_LEVEL)
_TESTS = Path(__file__).parent
# Files that share slow compilations or trainings. Each group runs in one process, as the tests of one file do.
TOGETHER = (
    [f"tests/scripts/test_{name}.py" for name in ("plot_sinusoid", "sinusoid_table", "verify")],
    [f"tests/maml_tf/supervised/test_{name}.py" for name in ("best", "cosine_log", "ensemble", "training")]
    + [f"tests/maml_tf/runs/test_{name}.py" for name in ("log", "loop")],
    [f"tests/maml_tf/test_export{name}.py" for name in ("", "_elsewhere", "_mistakes")],
    [f"tests/maml_tf/baselines/test_{name}.py" for name in ("comparison", "learners", "store", "training")],
    ["tests/data_generators/test_omniglot_real.py", "tests/test_documented_commands.py", "tests/test_from_scratch.py"],
)
_MISSING = pytest.StashKey()


def _listed(name):
    lines = (_TESTS / name).read_text(encoding="utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.hookimpl(tryfirst=True)  # before pytest drops the tests that -m deselects
def pytest_collection_modifyitems(config, items):
    """Marks the tests that quick.txt and slow.txt name."""
    quick, slow, found = _listed("quick.txt"), _listed("slow.txt"), set()
    for item in items:
        if item.nodeid in slow:
            item.add_marker("slow")
        names = {item.name, item.originalname, item.nodeid}
        found |= names & (quick | slow)
        if names & quick and not item.get_closest_marker("slow"):
            item.add_marker("quick")
    all_were_collected = [Path(arg).absolute() for arg in config.args] == [_TESTS]
    config.stash[_MISSING] = (quick | slow) - found if all_were_collected else set()


def pytest_collection_finish():
    """Makes garbage collection cheaper: it skips what is loaded already, and runs less often, as traces live long."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Schedules as --dist=loadfile does, but keeps the files of each group in TOGETHER in one process."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return next((files[0] for files in TOGETHER if file in files), file)

    return Scheduling(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture
def missing_quick_tests(request):
    """The names in quick.txt and slow.txt that no test has; empty unless all tests were collected."""
    return request.config.stash[_MISSING]


@pytest.fixture(autouse=True)
def log_level(monkeypatch):
    """Undoes what commands do to TensorFlow's log level in this process, since child processes would inherit it."""
    if _LEVEL_AT_START is None:
        monkeypatch.delenv(_LOG_LEVEL, raising=False)
        yield
        os.environ.pop(_LOG_LEVEL, None)
    else:
        yield


@pytest.fixture
def run_main(monkeypatch, capsys, tmp_path):
    """run_main(*arguments) does what `python main.py` does in an empty folder, but in this process, to save time."""
    monkeypatch.setattr(runtime, "configure", lambda kind, **arithmetic: None)  # can only be done once in a process
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        return command.Result(main.main(["main.py", *map(str, arguments)]), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def built_once():
    """A `build.build` with which all commands of a file's tests that have the same settings share one MAML."""
    from tests.maml_tf.built_once import BuiltOnce

    return BuiltOnce()


@pytest.fixture
def small_omniglot(monkeypatch, tmp_path):
    """Has the command load the small Omniglot."""
    from tests.maml_tf.small_runs import use_small_omniglot

    use_small_omniglot(monkeypatch, tmp_path / "omniglot")


@pytest.fixture(scope="session")
def real_run(tmp_path_factory):
    """A run of the real command, stopped by Ctrl-C soon after its first checkpoint and then resumed to its end."""
    from maml_tf.runs.checkpoints import available

    cwd = tmp_path_factory.mktemp("real")
    folder = cwd / "runs" / command.NAME
    process = command.start(cwd, *command.ARGUMENTS)
    command.wait_for(process, lambda: available(folder))
    process.send_signal(signal.SIGINT)
    stopped = command.ended(process)
    return command.RealRun(folder, stopped, available(folder), command.run(cwd, *command.ARGUMENTS))


@pytest.fixture(scope="session")
def real_omniglot(tmp_path_factory):
    """A folder with the real Omniglot; its first use makes the cache there."""
    if not os.environ.get("MAML_TEST_DATA"):
        pytest.skip("MAML_TEST_DATA names no folder with the real data")
    folder = tmp_path_factory.mktemp("omniglot")
    data = Path(os.environ["MAML_TEST_DATA"]).absolute()
    for part in ("images_background.zip", "images_evaluation.zip"):
        (folder / part).symlink_to(data / "omniglot" / part)
    return folder
