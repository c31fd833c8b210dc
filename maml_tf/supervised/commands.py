"""Carries out what the flags of `main.py` ask for: training and test, only a test, or the export of a SavedModel."""

import dataclasses
import functools
import json
from pathlib import Path

import tensorflow as tf

from data_generators.errors import UserError
from data_generators.progress import say
from maml_tf.distribution import Alone
from maml_tf.export import export, refuse_unless_free
from maml_tf.runs import best, checkpoints, loop, process, workers
from maml_tf.runs.flags import Flags
from maml_tf.supervised import build, evaluation
from maml_tf.supervised.build import Run, load_run, run_folder, trained_folder
from maml_tf.supervised.conditions import TRAINED, USUAL, Conditions
from maml_tf.supervised.datasets import EVALUATION_TASKS
from maml_tf.supervised.ensemble import Ensemble, variables
from maml_tf.supervised.estimate import estimate
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.report import report
from maml_tf.supervised.task_data import TaskData
from maml_tf.supervised.training import Schedule, SupervisedTraining


def run(trained: Experiment, tested: Experiment, flags: Flags) -> int:
    """Trains and tests, or exports, as the flags say.

    Args:
        trained: the Experiment of training.
        tested: the Experiment of the test, which may differ in shots and inner step size.
        flags: flags as `main.py` defines them.

    Returns:
        The exit code: 0, or 130 after an interruption.

    Raises:
        UserError: see its message.
    """
    conditions = _conditions(flags, trained, tested)
    logdir = flags.logdir or trained.dataset.logdir(flags.data_dir)
    trains = flags.train and flags.export_dir is None
    folder = (run_folder if trains else trained_folder)(trained, logdir)
    print(_settings(trained, folder, flags))
    process.configure(process.TASKS_SIDE_BY_SIDE, tf32=flags.tf32, deterministic=flags.deterministic)
    if flags.export_dir is not None:
        workers.refuse_several("an export")
        return export_run(trained, folder, _iteration_to_test(flags), flags)
    if flags.estimate:
        workers.refuse_several("an estimate")
    with workers.joined() as together, workers.own_folder(together, folder, _iteration_to_test(flags)) as own:
        logdir = logdir if own == folder else own
        return _train_and_test(trained, tested, flags, conditions, logdir, own, together)


def _train_and_test(trained, tested, flags, conditions, logdir, folder, together):
    """Does what `run` does except an export, on one or several workers."""
    workers.refuse_differences(together, flags)
    _check_flags(flags, trained, folder)
    how = {"data_dir": flags.data_dir, "task_axis": flags.task_axis, "jit": _jit(flags), "workers": together}
    shots = tested.update_batch_size
    other_test = shots != trained.update_batch_size or conditions.sizes or conditions.head != TRAINED
    if flags.train:
        with together.chief_first():
            data = trained.dataset.tasks_to_train(trained, flags.data_dir, shots, **conditions.sizes)
        workers.refuse_other_data(together, data.fingerprint)
        if flags.estimate:
            print(estimate(_training(flags, trained, data, folder, together)).text())
            return 0
        prepared = None
        if other_test:  # so that a test that cannot be made fails before hours of training
            prepared = build.prepare(trained, folder, shots=shots, conditions=conditions, **how)
        run = _train(flags, trained, data, folder, together)
        if run is None:
            return 130
        run = prepared.at(None) if prepared else run  # the evaluation of `run` is already compiled
    else:
        iteration = _iteration_to_test(flags)
        run = load_run(trained, logdir, shots=shots, iteration=iteration, conditions=conditions, **how)
        workers.refuse_other_data(together, run.data.fingerprint)
    conditions = _of_split(conditions, flags, run.data)  # before any file is named by it
    if flags.ensemble:
        _test_ensemble(flags, tested, conditions, run)
    else:
        latest = max(checkpoints.available(folder), default=None)
        _test(flags, tested, conditions.at(_iteration_to_test(flags), latest), run)
    if flags.train:
        _test_best(flags, tested, conditions, run)
    return 0


def export_run(experiment: Experiment, folder: Path, iteration: int | str | None, flags: Flags) -> int:
    """Exports a checkpoint, and prints the export's folder.

    Args:
        experiment: the Experiment of training.
        folder: the run's folder.
        iteration: the checkpoint's iteration, as for `load_run`.
        flags: flags as `main.py` defines them.

    Returns:
        The exit code: 0.

    Raises:
        UserError: the export's folder is not empty or cannot be written; or the checkpoint is missing, damaged or of
            other settings.
    """
    refuse_unless_free(flags.export_dir)
    best.locate(folder, iteration)
    maml = build.build(experiment, experiment.dataset.shapes(experiment, flags.data_dir), "map", False)
    iteration, _ = build.restore(maml, experiment, folder, iteration)
    print(f"Exporting the checkpoint of iteration {iteration}")
    settings = dataclasses.asdict(experiment)
    about = {"datasource": experiment.datasource, "iteration": iteration, "settings": settings}
    print(f"Written to {export(maml, flags.export_dir, transductive=flags.export_transductive, about=about)}")
    return 0


def _settings(experiment, folder, flags):
    arithmetic = "TensorFloat-32 products" if flags.tf32 else "float32"
    rows = dataclasses.asdict(experiment) | {"device": _device(), "arithmetic": arithmetic}
    rows |= {"deterministic": flags.deterministic, "folder": folder}
    return "\n".join(["Settings (where not given, the paper's):", *(f"  {n:21} {value}" for n, value in rows.items())])


def _device():
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
    return ", ".join(names) or f"CPU, cores: {process.available_cores()}"


def _check_flags(flags, trained, folder):
    """Checks, before the data are loaded, that the flags fit together and that there is a checkpoint to test."""
    if flags.log_gradient_cosine and not (flags.train and trained.metatrain_iterations):
        raise UserError("--log_gradient_cosine goes with meta-training: there is no meta-gradient otherwise")
    if flags.log_gradient_cosine and trained.algorithm != "maml":
        raise UserError("--log_gradient_cosine goes with MAML: Reptile has no meta-gradient")
    second_order = trained.metatrain_iterations and trained.algorithm == "maml" and not trained.stop_grad
    if flags.remat and not (flags.train and second_order):
        raise UserError("--remat goes with a training to second order: nothing else keeps the activations of updates")
    if flags.export_transductive:
        raise UserError("--export_transductive goes with --export_dir: tests have --transductive")
    if flags.estimate and not flags.train:
        raise UserError("--estimate is of a training: leave out --train=False")
    if not flags.train:
        best.locate(folder, _iteration_to_test(flags))
        if flags.ensemble:
            best.best(folder, flags.ensemble)
    elif flags.test_iter != -1:
        raise UserError("--test_iter goes with --train=False: a training run tests its last checkpoint, and the best")
    elif flags.ensemble:
        raise UserError("--ensemble goes with --train=False: train first, and then test the ensemble")


def _conditions(flags, trained, tested):
    """Returns the Conditions of the test that the flags ask for; refuses an export with flags of a test."""
    conditions = Conditions.of(tested, flags.test_queries, flags.test_ways, flags.test_head, flags.test_tasks)
    if flags.export_dir is None:
        return conditions
    if conditions != USUAL or flags.test_set is not None:
        options = "--test_queries, --test_tasks, --test_ways, --test_head and --test_set"
        raise UserError(f"an export is no test: leave out {options}")
    if tested.update_lr != trained.update_lr:
        raise UserError(
            f"an export adapts with the step size of training unless a request names another: give --update_lr="
            f"{trained.update_lr}, and leave out --train_update_lr"
        )
    return conditions


def _of_split(conditions, flags, data):
    """Returns the Conditions with the split that is tested, if it is not the usual one."""
    split = data.split_to_test(flags.test_set)
    return conditions if split == data.split_to_test() else dataclasses.replace(conditions, split=split)


def _iteration_to_test(flags):
    if flags.ensemble:
        return best.BEST
    return None if flags.test_iter == -1 else flags.test_iter


def _train(flags: Flags, experiment: Experiment, data: TaskData, folder: Path, together: Alone) -> Run | None:
    """Returns the finished Run, or None if it was interrupted."""
    training = _training(flags, experiment, data, folder, together)
    store = build.store(folder, training.maml, experiment)
    if flags.resume:
        training.refuse_other_images()
    if not loop.run(training, store, resume=flags.resume, workers=together):
        return None
    return Run(experiment, training.maml, data, max(checkpoints.available(folder)), folder)


def _training(flags, experiment, data, folder, together):
    data.check_trainable()
    data.split_to_test(flags.test_set)  # a missing split is refused before hours of training
    how = {"task_axis": flags.task_axis, "jit": _jit(flags), "remat": flags.remat, "workers": together}
    maml = build.build(experiment, data.source, **how)
    dataset, validate = experiment.dataset, flags.validation_interval
    schedule = Schedule(
        save=flags.save_interval or dataset.save_every,
        validate=dataset.validate_every if validate is None else validate,
        tasks=flags.validation_tasks or dataset.validation_tasks,
    )
    return SupervisedTraining(experiment, maml, data, folder, schedule, flags.log, flags.log_gradient_cosine)


def _test_best(flags, tested, conditions, run):
    """Tests the checkpoint that is best on validation, unless it is the last, which has just been tested."""
    conditions, iteration = conditions.at(best.BEST), run.iteration
    name = evaluation.file_name(tested.update_batch_size, tested.update_lr, conditions, flags.transductive)
    try:
        iteration = best.best(run.folder)[0] if best.ranks(run.folder) else run.iteration
        tests = iteration != run.iteration or (run.folder / name).exists()  # replaces an earlier best's results
    except UserError as error:  # one is damaged; the last checkpoint is trained and tested
        say(f"warning: the best checkpoint is not tested: {error}")
        tests = False
    # The chief decides for all: a full disk, or another process, may have made the workers' folders differ.
    iteration, tests = json.loads(run.maml.workers.from_chief(json.dumps([iteration, tests]).encode()))
    if tests:
        _test(flags, tested, conditions, run if iteration == run.iteration else run.at(best.BEST))


def _test_ensemble(flags, tested, conditions, run):
    """Tests the checkpoints that are best on validation as an ensemble; `run` holds the best of them."""
    iterations, members = best.best(run.folder, flags.ensemble), []
    for iteration in iterations:
        run._replace(folder=run.folder / best.BEST).at(iteration)
        run.maml.workers.copy_from_chief(variables(run.maml))
        members.append([variable.numpy() for variable in variables(run.maml)])
    print(f"Testing the ensemble of the checkpoints of iterations {str(iterations)[1:-1]}")
    _test(flags, tested, conditions.at(f"ensemble{len(members)}"), run, Ensemble(run.maml, members))


def _test(flags, tested, conditions, run, learner=None):
    """Tests a run's MAML, or the given learner instead."""
    trained, shots = run.experiment, tested.update_batch_size
    origin = " of the original code, which holds weights only: settings are those above" if run.by_original else ""
    if learner is None:
        run.maml.workers.copy_from_chief(variables(run.maml))  # another process may be training in the folder
        which = f", the {conditions.which}" if conditions.which else ""
        print(f"Testing the checkpoint of iteration {run.iteration}{origin}{which}")
    split = run.data.split_to_test(flags.test_set)
    if split == "val" and flags.test_set is None:
        print("There is no test split, so the test uses the validation split")
    result = evaluation.evaluate(
        learner or run.maml,
        functools.partial(run.data.evaluation_tasks, split),
        num_tasks=conditions.tasks or EVALUATION_TASKS,
        num_updates=trained.test_updates,
        tasks_per_call=trained.dataset.tasks_per_call,
        step_size=None if tested.update_lr == trained.update_lr else tested.update_lr,
        transductive=flags.transductive,
        label=f"Testing on {split}",
        workers=run.maml.workers,
    )
    print(report(result, trained, split, shots, conditions))
    iteration = run.iteration if learner is None else None
    path = evaluation.write(result, run.folder, shots, tested.update_lr, conditions, iteration)
    print(f"Written to {path}")


def _jit(flags):
    return {"auto": "auto", "true": True, "false": False}[flags.jit]
