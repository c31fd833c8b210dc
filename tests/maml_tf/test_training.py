import contextlib
import functools
import os
import signal

import numpy as np
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.tasks import Tasks
from maml_tf import checkpoints, problems, training
from maml_tf.checkpoints import available
from maml_tf.steps import steps_for
from maml_tf.training import Interrupted, Schedule, Training
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.runs import IMAGES, NEVER, SINUSOID, assert_same_numbers, small, use_small_omniglot

PRETRAIN, METATRAIN = 3, 5
END = PRETRAIN + METATRAIN
EVERY = Schedule(summary=0, save=1, validate=0)


class Killed(BaseException):
    """Stands in for a kill: nothing in the code may catch it."""


class Runs:
    """Trainings of the same settings, each as if in a process of its own, except that they compile only once."""

    def __init__(self, settings):
        self.settings = settings
        self._compiled = {}
        self.problem = problems.load(self.experiment(), None)
        self.maml = problems.build(self.experiment(), self.problem.source, jit=False)
        self.initial = [variable.numpy() for variable in self.variables]

    @property
    def variables(self):
        maml = self.maml
        optimizers = maml.optimizer.variables + maml.pretrain_optimizer.variables
        return [*maml.model.variables, *maml.step_sizes, *optimizers]

    def experiment(self, metatrain=METATRAIN, **others):
        return small(self.settings, metatrain, **({"pretrain_iterations": PRETRAIN} | others))

    def training(self, folder, schedule=NEVER, log=False, source=None, **settings):
        for variable, value in zip(self.variables, self.initial, strict=True):
            variable.assign(value)
        validation = functools.partial(self.problem.evaluation_tasks, "val")
        source = source or self.problem.source
        return Training(self.experiment(**settings), self.maml, source, validation, folder, schedule, log)

    def steps_for(self, maml, experiment, source):
        """In place of `steps.steps_for`."""
        if not hasattr(source, "samples_in_graph"):
            return steps_for(maml, experiment, source)
        key = experiment.seed, source  # what else the compiled loop depends on is the same in all of them
        if key not in self._compiled:
            self._compiled[key] = steps_for(maml, experiment, source)
        return self._compiled[key]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        use_small_omniglot(patch, tmp_path_factory.mktemp("omniglot"))
        yield Runs(IMAGES)


@pytest.fixture(scope="module")
def sinusoids():
    runs = Runs(SINUSOID | {"learn_update_lr": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "steps_for", runs.steps_for)
        yield runs


@pytest.fixture(scope="module", params=["sinusoids", "images"])
def runs(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def straight(runs, tmp_path_factory):
    """The last checkpoint of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    runs.training(folder).run()
    assert available(folder) == [END]
    return folder / f"model{END}"


def at_save(run, iteration, act):
    """Acts just before the checkpoint of an iteration is written."""
    save = run.checkpoints.save

    def acting(now):
        if now == iteration:
            act()
        return save(now)

    run.checkpoints.save = acting
    return run


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def kill():
    raise Killed


def test_training_trains(runs, straight):
    runs.training(straight.parent)
    runs_checkpoints = checkpoints.Checkpoints(straight.parent, runs.maml, runs.experiment())
    runs_checkpoints.restore()
    changed = [not np.array_equal(v.numpy(), old) for v, old in zip(runs.variables, runs.initial, strict=True)]
    assert sum(changed) > 0.7 * len(changed)
    for optimizer, iterations in ((runs.maml.pretrain_optimizer, PRETRAIN), (runs.maml.optimizer, METATRAIN)):
        assert int(optimizer.iterations.numpy()) == iterations


def test_resumed_runs_give_the_numbers_of_the_uninterrupted_one(runs, straight, tmp_path):
    """Interrupted while pretraining, between the two phases, and while meta-training; by Ctrl-C and by kills."""
    for iteration, act, raised, saved in (
        (2, ctrl_c, Interrupted, 2),
        (PRETRAIN, kill, Killed, 2),
        (PRETRAIN, ctrl_c, Interrupted, PRETRAIN),
        (6, kill, Killed, 5),
        (7, ctrl_c, Interrupted, 7),
    ):
        run = at_save(runs.training(tmp_path, EVERY), iteration, act)
        with pytest.raises(raised):
            run.run()
        assert available(tmp_path)[-1] == saved
    run = runs.training(tmp_path)
    run.run()
    assert run.iteration == END
    assert_same_numbers(tmp_path / f"model{END}", straight)


def test_checkpoint_before_the_end_is_that_of_a_shorter_run(runs, straight, tmp_path):
    run = at_save(runs.training(tmp_path, EVERY), END - 1, ctrl_c)
    with pytest.raises(Interrupted):
        run.run()
    short = tmp_path / "short"
    runs.training(short, metatrain=METATRAIN - 1).run()
    assert_same_numbers(tmp_path / f"model{END - 1}", short / f"model{END - 1}")
    runs.training(short).run()
    assert available(short) == [END - 1, END]
    assert_same_numbers(short / f"model{END}", straight)


def test_numbers_do_not_depend_on_schedule_and_log(runs, straight, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "EVALUATION_TASKS", 30)
    runs.training(tmp_path, Schedule(summary=2, save=3, validate=4), log=True).run()
    assert available(tmp_path) == [3, 6, END]
    assert_same_numbers(tmp_path / f"model{END}", straight)
    lines = [line for line in capsys.readouterr().out.splitlines() if "validation" in line]
    assert [line.split(":")[0] for line in lines] == ["iteration 4", "iteration 8"]


def test_finished_run_has_nothing_to_do(runs, straight, capsys):
    before = snapshot(straight.parent)
    for metatrain in (METATRAIN, METATRAIN - 2):  # also when it is asked for less than there is
        run = runs.training(straight.parent, EVERY, log=True, metatrain=metatrain)
        run.run()
        assert run.iteration == END
    assert snapshot(straight.parent) == before
    assert "Going on from the checkpoint of iteration 8" in capsys.readouterr().out


def test_run_that_is_not_resumed_leaves_the_earlier_one_in_peace(runs, straight, tmp_path, capsys):
    folder = tmp_path / "run"
    runs.training(folder, EVERY, seed=1, metatrain=METATRAIN + 2).run()
    before = snapshot(folder)
    runs.training(folder).run(resume=False)
    assert available(folder) == [END]
    assert_same_numbers(folder / f"model{END}", straight)
    assert snapshot(tmp_path / "run.old1") == before
    assert f"The earlier run is now in {tmp_path / 'run.old1'}" in capsys.readouterr().out


def test_other_settings_do_not_go_on_from_a_checkpoint(sinusoids, tmp_path):
    sinusoids.training(tmp_path, EVERY, metatrain=1).run()
    before = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"--meta_lr=0.001 \(now 0.5\)"):
        sinusoids.training(tmp_path, meta_lr=0.5).run()
    assert snapshot(tmp_path) == before


class Spoilt:
    """A task source whose targets are NaN from an iteration on."""

    def __init__(self, source, iteration):
        self._source, self._iteration = source, iteration
        if hasattr(source, "samples_in_graph"):
            self.samples_in_graph = True

    def sample(self, seed, split, iteration, num_tasks):
        tasks = self._source.sample(seed, split, iteration, num_tasks)
        spoil = tf.where(tf.constant(self._iteration) <= iteration, np.float32("nan"), np.float32(0))
        return Tasks(tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y + spoil)


def test_loss_that_is_not_finite_stops_at_its_iteration(runs, straight, tmp_path):
    schedule = Schedule(summary=0, save=2, validate=0)
    with pytest.raises(UserError, match="no longer finite at iteration 5: training stops"):
        runs.training(tmp_path, schedule, source=Spoilt(runs.problem.source, 5)).run()
    assert available(tmp_path) == [2, 4]
    runs.training(tmp_path).run()  # the checkpoint that was kept is good
    assert_same_numbers(tmp_path / f"model{END}", straight)


@pytest.mark.parametrize("spoilt", ["optimizer", "pretrain_optimizer"])
def test_state_that_is_not_finite_is_not_saved(sinusoids, tmp_path, spoilt):
    run = sinusoids.training(tmp_path, EVERY)
    save, moment = run._save, getattr(sinusoids.maml, spoilt).variables[-1]

    def spoiling():
        if run.iteration == 4:
            moment.assign(tf.fill(moment.shape, np.float32("inf")))
        return save()

    run._save = spoiling
    with pytest.raises(UserError, match="no longer finite at iteration 4: training stops"):
        run.run()
    assert available(tmp_path) == [1, 2, 3]


def test_summaries_are_the_original_s(images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "EVALUATION_TASKS", 30)
    images.training(tmp_path, Schedule(summary=4, save=0, validate=6), log=True).run()
    found = scalars(tmp_path)
    names = ["Pre-update loss", "Pre-update accuracy"]
    names += [f"Post-update {kind}, step {i}" for kind in ("loss", "accuracy") for i in range(1, 6)]
    validation = [f"Validation accuracy, step {i}" for i in range(4)]
    assert {name for name, _ in found} == {*names, *validation}
    assert {step for name, step in found if name in names} == {0, 4}
    assert {step for name, step in found if name in validation} == {6}
    images.training(tmp_path / "again", Schedule(summary=4, save=0, validate=0), log=True).run()
    assert scalars(tmp_path / "again") == {key: value for key, value in found.items() if key[0] in names}
    images.training(tmp_path)  # back to the initial weights
    tasks = images.problem.source.sample(0, "train", 0, IMAGES["meta_batch_size"])
    curves = images.maml.evaluate(tasks, 5)
    assert found["Pre-update loss", 0] == pytest.approx(curves["support_loss"].mean(), rel=1e-5)
    assert found["Post-update loss, step 1", 0] == pytest.approx(curves["losses"][:, 1].mean(), rel=1e-5)
    assert found["Post-update accuracy, step 5", 0] == pytest.approx(curves["accuracies"][:, 5].mean(), rel=1e-5)


def scalars(folder):
    """{(name, step): value} of all summaries in a folder."""
    found = {}
    for file in folder.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def test_no_summaries_without_log(images, tmp_path):
    images.training(tmp_path, Schedule(summary=1, save=0, validate=0), log=False, metatrain=1).run()
    assert list(tmp_path.glob("events.*")) == []


def test_second_ctrl_c_breaks_off_at_once(sinusoids, tmp_path, capfd):
    def twice():
        ctrl_c()
        ctrl_c()

    run = at_save(sinusoids.training(tmp_path, EVERY), 2, twice)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    assert available(tmp_path) == [1]
    assert capfd.readouterr().err.count("a second Ctrl-C breaks off at once") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_mean_what_they_did_after_training(sinusoids, tmp_path, number):
    def mine(*_):
        pass

    before = signal.signal(number, mine)
    try:
        with contextlib.suppress(Interrupted):
            at_save(sinusoids.training(tmp_path, EVERY), 1, lambda: os.kill(os.getpid(), number)).run()
        assert available(tmp_path) == [1]
        assert signal.getsignal(number) is mine
    finally:
        signal.signal(number, before)


def test_ctrl_c_at_the_last_iteration_does_not_go_on_to_the_test(sinusoids, tmp_path):
    with pytest.raises(Interrupted):
        at_save(sinusoids.training(tmp_path, EVERY), END, ctrl_c).run()
    assert available(tmp_path)[-1] == END


def test_folder_that_cannot_be_written(sinusoids, tmp_path):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=r"cannot write to .*file.*: choose another --logdir"):
            sinusoids.training(folder).run()
    assert (tmp_path / "file").read_text() == "mine"


def test_next_event_is_the_nearest_that_is_due():
    schedule = Schedule(summary=4, save=6, validate=0)
    assert [schedule.next_event(i) for i in (0, 3, 4, 6, 11, 12)] == [4, 4, 6, 8, 12, 16]
    assert NEVER.next_event(5) > 10**9


def test_progress_shows_figures_before_and_after_adaptation():
    figures = {name: np.array([0.25, 0.75]) for name in ("pre_loss", "pre_accuracy", "post_loss", "post_accuracy")}
    assert training._show(figures) == "accuracy 0.500 -> 0.500"
    assert training._show({"pre_loss": np.array([1.0]), "post_loss": np.array([0.5])}) == "loss 1.000 -> 0.500"
    assert training._show({"pre_loss": np.array([1.0])}) == "loss 1.000"
