"""What `main.py` does with its flags: train, then test; or only test."""

import dataclasses
import sys
from pathlib import Path

from maml_tf import evaluation, problems, runtime
from maml_tf.checkpoints import Checkpoints
from maml_tf.experiment import EVALUATION_TASKS, Experiment
from maml_tf.training import Interrupted, Schedule, Training
from data_generators.errors import UserError


def run(flags):
    """Trains and tests, as the flags say.

    Args:
        flags: absl flags as `main.py` defines them.

    Returns:
        The exit code: 0, or 130 after an interruption.

    Raises:
        UserError: see its message.
    """
    experiment = _experiment(flags)
    folder = Path(flags.logdir or Path("logs", experiment.datasource)) / experiment.name
    print(_settings(experiment, folder))
    runtime.configure(runtime.TASKS_SIDE_BY_SIDE)
    if flags.train:
        if not _train(flags, experiment, folder):
            return 130
    return _test(flags, experiment, folder)


def _experiment(flags):
    given = {field.name: flags[field.name].value for field in dataclasses.fields(Experiment)}
    if flags.train_update_batch_size != -1:
        given["update_batch_size"] = flags.train_update_batch_size
    if flags.train_update_lr != -1:
        given["update_lr"] = flags.train_update_lr
    return Experiment.of(**given)


def _settings(experiment, folder):
    rows = [f"  {name:21} {value}" for name, value in dataclasses.asdict(experiment).items()]
    return "\n".join(["Settings (where not given, the paper's):", *rows, f"  {'folder':21} {folder}"])


def _train(flags, experiment, folder):
    """Returns whether training came to its end."""
    problem = problems.load(experiment, _data_dir(flags, experiment))
    maml = problems.build(experiment, problem.source, flags.task_axis, _jit(flags))
    long = experiment.is_regression
    schedule = Schedule(
        save=_or(flags.save_interval, 5000 if long else 1000),
        validate=_or(flags.validation_interval, 10000 if long else 2500),
    )
    draw = lambda first, count: problem.evaluation_tasks("val", first, count)
    training = Training(experiment, maml, problem.source, draw, folder, schedule, flags.log)
    try:
        training.run(flags.resume)
    except Interrupted:
        print(f"Stopped after {training.iteration} iterations and saved. The same command goes on from there.")
        return False
    return True


def _test(flags, experiment, folder):
    shots, step_size = flags.update_batch_size, flags.update_lr
    problem = problems.load(experiment, _data_dir(flags, experiment), shots)
    maml = problems.build(experiment, problem.source, flags.task_axis, _jit(flags), shots)
    iteration = Checkpoints(folder, maml, experiment).restore(None if flags.test_iter == -1 else flags.test_iter)
    if iteration is None:
        raise UserError(f"no checkpoint in {folder}: train first, with the same flags and --train=True")
    split = "val" if flags.test_set is False or "test" not in problem.splits else "test"
    step_size = None if step_size == experiment.update_lr else step_size
    result = evaluation.evaluate(
        maml,
        lambda first, count: problem.evaluation_tasks(split, first, count),
        num_tasks=EVALUATION_TASKS,
        num_updates=experiment.test_updates,
        step_size=step_size,
        label=f"Testing on {split}",
    )
    print(evaluation.report(result, experiment, split))
    path = evaluation.write(
        result, folder, shots or experiment.update_batch_size, step_size or experiment.update_lr
    )
    print(f"Written to {path}")
    return 0


def _data_dir(flags, experiment):
    return flags.data_dir or Path("data", experiment.datasource)


def _jit(flags):
    return {"auto": "auto", "true": True, "false": False}[flags.jit]


def _or(value, default):
    return default if value is None else value
