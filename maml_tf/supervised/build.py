"""Makes the data and the MAML of an Experiment, with new weights or restored from a run."""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

from data_generators.episodes import Episodes
from data_generators.errors import UserError
from data_generators.tasks import TaskSource
from maml_tf import losses, users_losses
from maml_tf.backend import keras
from maml_tf.distribution import ALONE, Alone
from maml_tf.maml import MAML
from maml_tf.networks import is_head
from maml_tf.optimizers import adam, annealed_query_weights, decayed
from maml_tf.pixels import set_pixels
from maml_tf.runs.best import BestCheckpoints, locate
from maml_tf.runs.boundary import as_called_here
from maml_tf.runs.checkpoints import Checkpoints, any_available, available, is_tf1
from maml_tf.supervised import original_checkpoints, trained_images
from maml_tf.supervised.conditions import USUAL, ZERO, Conditions
from maml_tf.supervised.datasets import Shapes
from maml_tf.supervised.experiment import COMMON, Experiment
from maml_tf.supervised.task_data import TaskData

_LEARNED = {"fixed": False, "per_variable": True}  # values for MAML; the others have the same name there


def load(
    experiment: Experiment,
    data_dir: str | Path | None = None,
    shots: int | None = None,
    conditions: Conditions = USUAL,
) -> TaskData:
    """Loads or makes the data of an experiment; see `Dataset.tasks`."""
    return experiment.dataset.tasks(experiment, data_dir, shots, **conditions.sizes)


def build(
    experiment: Experiment,
    source: TaskSource | Shapes,
    task_axis: str = "auto",
    jit: bool | str = "auto",
    shots: int | None = None,
    ways: int | None = None,
    workers: Alone = ALONE,
    remat: bool = False,
) -> MAML:
    """Makes the MAML of an experiment, with a network newly initialised from the experiment's seed.

    Args:
        experiment: Experiment.
        source: source of the experiment's tasks, or only its Shapes.
        task_axis, jit: see `task_axis.resolve`.
        shots: K, if it is not that of training; the loss is divided by it.
        ways: number of the first outputs to use, if the tasks do not use all outputs.
        workers: the processes that share each meta-batch.
        remat: see `MAML`.
    """
    keras.utils.set_random_seed(experiment.seed)
    dataset = experiment.dataset
    loss, accuracy = dataset.loss(shots or experiment.update_batch_size)
    if experiment.inner_batch_size and isinstance(loss, losses.SoftmaxCrossEntropy):
        loss = losses.SoftmaxCrossEntropy()  # divided by the shots of each minibatch
    meta_lr = decayed(experiment.meta_lr, experiment.meta_lr_decay, experiment.metatrain_iterations)
    reptile, lr_max = experiment.algorithm == "reptile", experiment.update_lr_max
    updates, annealing = experiment.num_updates, experiment.query_loss_iterations
    if ways is not None:
        loss, accuracy = users_losses.of_first_outputs(ways, loss), users_losses.as_accuracy(accuracy)
        accuracy = accuracy and users_losses.of_first_outputs(ways, accuracy)
    network = dataset.network(experiment, source.input_shape, source.output_size)
    if experiment.normalize != "none" and isinstance(source, Episodes):  # otherwise the checkpoint has the moments
        set_pixels(network, *source.splits["train"].pixel_moments())
    return MAML(
        network,
        loss,
        step_size=(experiment.update_lr, lr_max) if lr_max else experiment.update_lr,
        num_updates=updates,
        first_order=experiment.stop_grad,
        learn_step_size=_LEARNED.get(experiment.step_sizes, experiment.step_sizes),
        query_weights=annealed_query_weights(updates, annealing) if experiment.query_loss == "all_updates" else None,
        accuracy=accuracy,
        optimizer=keras.optimizers.SGD(meta_lr) if reptile else adam(meta_lr, clip=dataset.clip),
        # Reptile's meta_lr is the fraction of the way to the adapted weights, often 1, and no learning rate for Adam.
        pretrain_optimizer=adam(COMMON["meta_lr"] if reptile else experiment.meta_lr),
        adapts=None if experiment.adapt == "all" else experiment.adapt,
        algorithm=experiment.algorithm,
        inner_optimizer=experiment.inner_optimizer,
        minibatch=experiment.inner_batch_size,
        remat=remat,
        task_axis=task_axis,
        jit=jit,
        workers=workers,
    )


class Run(NamedTuple):
    """A restored run.

    experiment: its settings.
    maml: its MAML, with the weights of the checkpoint.
    data: its data, for the requested number of shots.
    iteration: the checkpoint's iteration.
    folder: the run's folder.
    by_original: whether the checkpoint is one of the original code, which has no settings; `experiment` is then what
        the user gives as the settings of training.
    whole: MAML into which checkpoints are restored, if `maml` has another head; otherwise None.
    """

    experiment: Experiment
    maml: MAML
    data: TaskData
    iteration: int
    folder: Path
    by_original: bool = False
    whole: MAML | None = None

    def at(self, iteration: int | str | None) -> "Run":
        """Returns the run with another checkpoint's weights; `iteration` as for `load_run`, errors as for `restore`."""
        iteration, by_original = restore(self.whole or self.maml, self.experiment, self.folder, iteration)
        if self.whole is not None:
            _take_all_but_head(self.maml, self.whole)
        return self._replace(iteration=iteration, by_original=by_original)


def load_run(
    experiment: Experiment,
    logdir: str | Path | None = None,
    *,
    shots: int | None = None,
    iteration: int | str | None = None,
    data_dir: str | Path | None = None,
    task_axis: str = "auto",
    jit: bool | str = "auto",
    conditions: Conditions = USUAL,
    workers: Alone = ALONE,
) -> Run:
    """Restores a run that `main.py` or the original code trained.

    Args:
        experiment: Experiment, the settings of training.
        logdir: folder of the runs, or one that holds the checkpoints itself; default logs/<datasource>.
        shots: K of the tasks to use the run on, if it is not that of training.
        iteration: the checkpoint's iteration; "best" for the one with the best validation; default, the latest.
        data_dir: folder of the data; default, the dataset's own.
        task_axis, jit: see `task_axis.resolve`.
        conditions: conditions of the tasks and the head to use the run with.
        workers: the processes that share the tasks.

    Raises:
        UserError: there is no such run (the message gives the command that trains it); the checkpoint is missing,
            damaged, or of other settings or architecture; or the data are missing.
    """
    folder = trained_folder(experiment, logdir)
    if not (available(folder) if iteration is None else any_available(folder)):
        raise UserError(f"no trained run in {folder}: make it by `{train_command(experiment, logdir, data_dir)}`")
    how: dict[str, Any] = {"data_dir": data_dir, "task_axis": task_axis, "jit": jit, "workers": workers}
    return prepare(experiment, folder, shots=shots, conditions=conditions, **how).at(iteration)


def prepare(
    experiment: Experiment,
    folder: str | Path,
    *,
    shots: int | None = None,
    data_dir: str | Path | None = None,
    task_axis: str = "auto",
    jit: bool | str = "auto",
    conditions: Conditions = USUAL,
    workers: Alone = ALONE,
) -> Run:
    """Prepares a run for its conditions of use; `Run.at` then restores a checkpoint; arguments as for `load_run`.

    Raises:
        UserError: the run cannot be used under these conditions, or the data are missing.
    """
    with workers.chief_first():
        data, outputs = load(experiment, data_dir, shots, conditions), experiment.num_classes
    trained_images.warn_of_trained_classes(Path(folder), data)
    shapes = Shapes(data.source.input_shape, outputs if conditions.ways else data.source.output_size)
    first = None if conditions.head == ZERO else conditions.ways
    maml, whole = build(experiment, shapes, task_axis, jit, shots, first, workers), None
    if conditions.head == ZERO:
        shapes, whole = shapes._replace(output_size=conditions.ways or shapes.output_size), maml
        maml = build(experiment, shapes, task_axis, jit, shots, workers=workers)
        _take_all_but_head(maml, whole)  # also checks that it is possible
    return Run(experiment, maml, data, 0, Path(folder), whole=whole)


def store(folder: str | Path, maml: MAML, experiment: Experiment, keep: int = 10) -> Checkpoints:
    """The checkpoints of a run in its folder; the latest `keep` of them are kept."""
    return Checkpoints(folder, experiment, _objects(maml), keep=keep)


def best_store(folder: str | Path, maml: MAML, experiment: Experiment, tasks: int) -> BestCheckpoints:
    """The checkpoints of a run with the best validations, in best/ of its folder."""
    return BestCheckpoints(folder, experiment, _objects(maml), tasks)


def _objects(maml):
    objects = {
        "model": maml.model,
        "step_sizes": [size.value for size in maml.step_sizes],
        "optimizer": maml.optimizer,
        "pretrain_optimizer": maml.pretrain_optimizer,
    }
    return objects | ({"slots": [slot.value for slot in maml.slots]} if maml.slots else {})


def restore(maml: MAML, experiment: Experiment, folder: Path, iteration: int | str | None = None) -> tuple[int, bool]:
    """Gives a MAML the weights of a checkpoint, ours or one of the original code.

    Args:
        maml: MAML, built for the experiment.
        experiment: Experiment.
        folder: the run's folder.
        iteration: the checkpoint's iteration, as for `load_run`.

    Returns:
        (the checkpoint's iteration, whether it is of the original code).

    Raises:
        UserError: the checkpoint is missing, damaged, or of other settings or architecture.
    """
    folder, iteration = locate(folder, iteration)
    path = folder / f"model{iteration}"
    if not is_tf1(path):
        return store(folder, maml, experiment).restore(iteration), False
    if maml.step_sizes:
        raise UserError(
            f"checkpoint {path} is of the original code, which learns no step sizes: give --step_sizes=fixed"
        )
    if experiment.normalize != "none":
        raise UserError(f"checkpoint {path} is of the original code, which normalises no pixels: leave --normalize out")
    original_checkpoints.load(path, maml.model)
    return iteration, True


def _take_all_but_head(maml, trained):
    """Gives a MAML the weights, state and step sizes of another, but sets the weights of its output layer to zero.

    The state that Reptile's inner optimizer carries over is not copied, since it fits only the head of training.
    """
    if not any(map(is_head, maml.weights)):
        raise UserError("the network has no layer `output` for --test_head=zero to start at zero: name its head so")
    for size, other in zip(maml.step_sizes, trained.step_sizes, strict=True):
        if size.shape != other.shape:
            raise UserError("step sizes learned for each weight fit only the head of training: leave out --test_ways")
        size.assign(other)
    for variable, other in zip(maml.model.variables, trained.model.variables, strict=True):
        variable.assign(keras.ops.zeros_like(variable) if is_head(variable) else other)


def trained_folder(experiment: Experiment, logdir: str | Path | None = None) -> Path:
    """The folder that has an experiment's checkpoints: its own folder, or logdir itself if only logdir has any."""
    folder = run_folder(experiment, logdir)
    return Path(logdir) if logdir and any_available(logdir) and not any_available(folder) else folder


def run_folder(experiment: Experiment, logdir: str | Path | None = None) -> Path:
    """The folder where an experiment's checkpoints go, below logdir; default as in `load_run`."""
    return Path(logdir or Path("logs", experiment.dataset.name)) / experiment.name


def train_command(experiment: Experiment, logdir: str | Path | None = None, data_dir: str | Path | None = None) -> str:
    """Returns the shell command that trains an experiment, with the flags that differ from the paper's values.

    Args:
        experiment: Experiment.
        logdir, data_dir: folders as in `load_run`; None leaves the flag out.
    """
    folders = {"data_dir": data_dir, "logdir": logdir}
    flags = [*experiment.flags(), *(f"--{name}={folder}" for name, folder in folders.items() if folder)]
    return " ".join([as_called_here("python main.py"), *map(shlex.quote, flags)])
