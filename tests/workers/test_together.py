"""What workers decide together when their folders, files or errors differ. The workers are threads of this process."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from data_generators.errors import UserError
from data_generators.sinusoid import Sinusoid
from data_generators.tasks import Tasks
from maml_tf.baselines.comparison import KeptEvaluations
from maml_tf.distribution import ALONE
from maml_tf.runs import best, loop, workers
from maml_tf.runs.checkpoints import available, put_aside
from maml_tf.supervised import commands, evaluation, steps, task_data
from maml_tf.supervised.conditions import Conditions
from maml_tf.supervised.evaluation import Evaluation
from tests.data_generators.synthetic_classes import splits
from tests.workers.threads import Threads

FOUND = Evaluation("loss", np.ones(2), np.ones((2, 2)))


def test_arrays_and_bytes_of_all():
    def body(together):
        own = np.arange(7)[slice(together.share(7)[0], sum(together.share(7)))]
        return together.gathered({"a": own, "b": -0.0 * np.stack([own, own], 1)}, 7), together.from_chief(
            b"chief" if together.is_chief else b""
        )

    for gathered, said in Threads(3).call(body):
        np.testing.assert_array_equal(gathered["a"], np.arange(7))
        assert gathered["b"].shape == (7, 2)
        assert np.signbit(gathered["b"]).all()
        assert said == b"chief"


@pytest.mark.parametrize("failing", [(), (0,), (1,), (0, 1), (2,), (1, 2), (0, 1, 2)])
def test_an_error_in_the_part_that_the_chief_does_first_ends_all(failing):
    order = []

    def body(together):
        with together.chief_first():
            order.append(together.index)
            if together.index in failing:
                raise UserError(f"mine: {together.index}")
        return "done"

    outcomes = Threads(3).call(body)
    assert order[0] == 0
    if not failing:
        assert outcomes == ["done"] * 3
        return
    for index, outcome in enumerate(outcomes):
        own = f"mine: {index}" if index in failing and index in order else "another worker has ended with an error"
        assert isinstance(outcome, UserError)
        assert str(outcome).startswith(own)


def test_no_sum_where_the_others_are_not_there():
    def body(together):
        with together.chief_first():
            together.any(True)

    outcomes = Threads(2).call(body)
    assert "a sum within chief_first" in str(outcomes[0])


def test_other_data_are_refused():
    def body(together):
        workers.refuse_other_data(together, lambda: b"data" if together.index < 2 else b"others")

    first, second, third = map(str, Threads(3).call(body))
    assert first == second
    assert first.startswith("another worker differs from worker 0: start all workers by the same command")
    assert third.startswith("worker 2 has other data than worker 0: start all workers by the same command")


def test_a_run_that_another_process_has_continued_meanwhile_is_refused():
    def body(together):
        store = SimpleNamespace(start=lambda resume: 7 - together.index, end=lambda: None, folder="logs/run")
        training = SimpleNamespace(variables=list, end=7, events=())
        return loop.run(training, store, workers=together)

    for outcome in Threads(2).call(body):
        assert str(outcome) == "another process has trained in logs/run just now: start all workers again"


def test_a_request_that_comes_while_a_training_closes_counts(capsys):
    """It counts like a request during the last iteration; otherwise it would have no effect."""

    class Training:
        end, save_every, events, remedy = 1, 0, (), ""

        def variables(self):
            return []

        def status(self, metrics):
            return ""

        def advance(self, start, stop):
            yield stop, {}

        def opened(self, iteration):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error):
            os.kill(os.getpid(), signal.SIGINT)

    store = SimpleNamespace(start=lambda resume: 0, save=lambda iteration: None, end=lambda: None, folder="run")
    assert not loop.run(Training(), store)
    assert "Stopped after 1 of 1 iterations" in capsys.readouterr().out


def test_what_the_chief_has_kept_of_evaluations_decides(tmp_path):
    """Another command may have added evaluations to the chief's file by now."""
    computed = []

    def body(together):
        known = KeptEvaluations(tmp_path / f"figures{together.index}.json", "weights", together)
        if together.is_chief:
            KeptEvaluations(known.path, "weights").remember("b", lambda: FOUND)

        def compute():
            computed.append(together.any(False))
            return FOUND

        return [known.remember(key, compute).query.tolist() for key in ("a", "b", "a")]

    assert Threads(2).call(body) == [[FOUND.query.tolist()] * 3] * 2
    assert len(computed) == 4  # both workers compute a and b


class Places:
    """A learner whose numbers depend on a task's place in a call, as with random layers."""

    def evaluate(self, tasks, num_updates, step_size=None, transductive=True):
        values = np.asarray(tasks.support_x) + np.arange(len(tasks.support_x)) / 100
        return {"support_loss": values, "losses": np.stack([values] * (1 + num_updates), axis=1)}


@pytest.mark.parametrize(("number", "in_call"), [(13, 3), (13, 5), (13, 100), (13, 1), (2, 3), (1, 1), (24, 4)])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_evaluations_are_those_of_one_process(number, in_call, count):
    asked = []

    def draw(first, size):
        asked.append((first, size))
        assert size > 0
        assert first + size <= number
        return Tasks(*[np.arange(first, first + size, dtype=float)] * 4)

    def body(together):
        options = {"num_tasks": number, "num_updates": 1, "tasks_per_call": in_call, "label": None}
        return evaluation.evaluate(Places(), draw, **options, workers=together)

    expected = body(ALONE)
    calls_of_one = set(asked)
    for found in Threads(count).call(body):
        np.testing.assert_array_equal(found.query, expected.query)
        np.testing.assert_array_equal(found.support, expected.support)
    assert set(asked) == calls_of_one


def test_a_source_of_whole_meta_batches_is_shared_too():
    source = Sinusoid(3)

    class Whole:
        def sample(self, seed, split, iteration, tasks):
            return source.sample(seed, split, iteration, tasks)

    experiment = SimpleNamespace(seed=1, meta_batch_size=5)
    whole = source.sample(1, "train", 4, 5)
    for index, own in enumerate((slice(0, 3), slice(3, 5))):
        together = SimpleNamespace(count=2, share=lambda number, own=own: (own.start, own.stop - own.start))
        maml = SimpleNamespace(workers=together)
        for each in (source, Whole()):
            tasks = steps._share_of(maml, experiment, each)(4)
            for found, expected in zip(tasks, whole, strict=True):
                np.testing.assert_array_equal(found, expected[own], err_msg=str(index))


def test_data_without_a_split_to_validate_on_can_be_compared():
    test = {"test": splits()["test"]}
    one, other, more = (task_data.of_images(test, 2, 1, shots) for shots in (1, 1, 2))
    assert one.fingerprint() == other.fingerprint()
    assert one.fingerprint() != more.fingerprint()


def checkpoint(folder, iteration):
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("index", "data-00000-of-00001"):
        (folder / f"model{iteration}.{ending}").write_text(f"{iteration} {ending}")


def test_the_folder_of_a_run_is_copied_and_gone_afterwards(tmp_path, monkeypatch):
    """The copy has links, files of earlier versions and needed checkpoints. It is removed even if it is put aside."""
    run, temporary = tmp_path / "run", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    checkpoint(tmp_path / "elsewhere", 3)
    for folder, iteration in ((run, 1), (run, 2), (run / "best", 1), (run / "best", 2)):
        checkpoint(folder, iteration)
    for file in (tmp_path / "elsewhere").iterdir():
        (run / file.name).symlink_to(file)
    for name in ("validation.csv", "figures.json", "classifier.npz", "events.out"):
        (run / name).write_text(name)

    def body(together):
        with workers.own_folder(together, run, 1) as own:
            found = {str(p.relative_to(own)): p.read_text() for p in own.rglob("*") if p.is_file()}
            if not together.is_chief:
                assert available(own) == [1, 3]
                put_aside(own)
            return found

    chief, other = Threads(2).call(body)
    for name in ("events.out", "model2.index", "model2.data-00000-of-00001"):
        assert chief.pop(name)
    assert other == chief
    assert other["model3.index"] == "3 index"
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("folders", "earlier", "expected"),
    [
        ((3, 5), (False, False), "best"),
        ((5, 3), (False, False), None),
        ((5, 3), (True, False), "last"),  # it replaces the test of an earlier best
        ((5, 5), (False, True), None),
        ((None, 3), (False, False), None),
        ((3, None), (False, False), "best"),
    ],
)
def test_the_chief_says_whether_the_best_checkpoint_is_tested(monkeypatch, tmp_path, folders, earlier, expected):
    """Folders may differ, as after a full disk: `folders` has the best iteration of each, or None if it is damaged."""

    def best_in(folder):
        if (iteration := folders[int(folder.name)]) is None:
            raise UserError("damaged")
        return [iteration]

    monkeypatch.setattr(best, "best", best_in)
    monkeypatch.setattr(best, "ranks", lambda folder: {1: (0.0, 0.0)})
    monkeypatch.setattr(evaluation, "file_name", lambda *conditions: "test.csv")
    monkeypatch.setattr(commands, "_test", lambda flags, tested, conditions, run: tested.append(run.which))

    def body(together):
        folder, tests = tmp_path / str(together.index), []
        folder.mkdir()
        if earlier[together.index]:
            (folder / "test.csv").touch()
        run = SimpleNamespace(folder=folder, iteration=5, maml=SimpleNamespace(workers=together), which="last")
        run.at = lambda which: SimpleNamespace(which=which)
        tested = _Tested(tests)
        commands._test_best(SimpleNamespace(transductive=True), tested, Conditions(), run)
        return tests

    assert Threads(2).call(body) == [[expected] if expected else []] * 2


class _Tested:
    """Settings of a test that record what is tested with them."""

    update_batch_size, update_lr = 1, 0.1

    def __init__(self, tests):
        self.append = tests.append
