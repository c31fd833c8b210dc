"""The two baselines of table 1: nearest neighbour and fine-tuning, on a network that classifies all training classes.

python -m scripts.baselines --shots=1
python -m scripts.baselines --shots=5 --data_dir=data/miniImagenet --logdir=logs/miniimagenet

Trains the network once, in <logdir>/classifier; later calls use the finished network. Ctrl-C saves, and the same
command resumes. Chooses the settings of fine-tuning on one half of the validation classes. Reports the accuracy on the
other half, and on the test classes if the data have them.
"""

import sys
from pathlib import Path

from data_generators.errors import UserError
from maml_tf.baselines.experiment import ClassifierSettings
from maml_tf.runs import process
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from maml_tf.supervised.datasets import ImageDataset
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.task_data import describe


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.string("datasource", "miniimagenet", "datasource of the images")
    flags.string("data_dir", None, "folder of the data; default: data/<datasource>")
    flags.string("logdir", None, "folder of the runs; default: logs/<datasource>")
    flags.integer("num_classes", 5, "ways of the tasks", most=10_000)
    flags.integer("shots", 1, "support images per class in a task", least=1, most=10_000)
    queries = "query images per class in a task; default, as in main.py's test: as many as shots"
    flags.integer("queries", None, queries, least=1, most=10_000)
    flags.integer("num_tasks", 600, "tasks whose accuracy is reported", least=1)
    flags.integer("iterations", 30_000, "minibatches of the classifier's training", least=1)
    flags.settings(ClassifierSettings, ClassifierSettings.usual({}))
    flags.numbers("step_sizes", (0.5, 0.1, 0.01, 0.001), "step sizes of fine-tuning to choose from")
    flags.numbers("decays", (0, 0.1, 1), "decays of fine-tuning to choose from: step size / (1 + decay * step)")
    flags.integer("num_updates", 15, "largest number of steps of fine-tuning", least=1, most=10_000)
    flags.integer("tuning_tasks", 100, "tasks by which the settings of fine-tuning are chosen", least=1)
    flags.arithmetic()


def run(flags: Flags) -> int:
    """Trains and evaluates; returns the exit code."""
    data = Experiment.of(datasource=flags.datasource)
    process.choose_kernels(data.image_side)
    with quiet_import():
        from maml_tf.baselines import report
        from maml_tf.baselines.comparison import Comparison, Grid
        from maml_tf.baselines.training import iterations_done
        from maml_tf.runs import style, workers
        from maml_tf.supervised.task_data import fingerprint_of

    grid = Grid(flags.step_sizes, flags.decays, flags.num_updates, flags.tuning_tasks)
    grid.validate()
    queries = flags.shots if flags.queries is None else flags.queries
    process.configure(process.TASKS_SIDE_BY_SIDE, tf32=flags.tf32, deterministic=flags.deterministic)
    logdir = Path(flags.logdir or Path("logs", data.dataset.name))
    with workers.joined() as together, workers.own_folder(together, logdir / "classifier") as folder:
        workers.refuse_differences(together, flags)
        with together.chief_first():
            splits, rotate = _load(flags)
            comparison = Comparison(splits, flags.num_classes, flags.shots, queries, rotate)
        workers.refuse_other_data(together, lambda: fingerprint_of(splits))
        training = _train(flags, splits["train"], folder, together)
        if training is None:
            return 130
        fingerprint = training.use_best_weights()
        outcomes = comparison.run(training.maml, fingerprint, grid, training.folder, flags.num_tasks)
        column, iteration = (flags.datasource, flags.num_classes, flags.shots), iterations_done(training.folder)
        print(report.report(outcomes, *column, _describe(training, iteration)))
        path = (logdir if together.is_chief else folder) / f"baselines_{flags.num_classes}way_{flags.shots}shot.csv"
        print(f"Written to {style.write_csv(path, report.csv_rows(outcomes, *column, iteration))}")
    return 0


def _load(flags):
    """Returns the classes of every split, loaded as `main.py` loads them, and whether tasks rotate the images."""
    given = {"num_classes": flags.num_classes, "update_batch_size": flags.shots}
    experiment = Experiment.of(datasource=flags.datasource, **given)
    if not isinstance(experiment.dataset, ImageDataset):
        raise UserError("the baselines classify images: choose --datasource=miniimagenet or omniglot")
    from maml_tf.supervised.task_data import check_trainable

    splits = experiment.dataset.images(experiment, flags.data_dir)
    check_trainable(splits)
    return splits, experiment.dataset.rotate


def _train(flags, data, folder, together):
    """Trains the classifier; returns the finished ClassifierTraining, or None if it was interrupted."""
    from maml_tf.baselines.training import ClassifierTraining

    given = {name: getattr(flags, name) for name in ClassifierSettings.usual({})}
    settings = ClassifierSettings.of(datasource=flags.datasource, classes=describe(data), **given)
    training = ClassifierTraining(settings, data, folder, flags.iterations, workers=together)
    return training if training.run() else None


def _describe(training, iterations):
    settings = training.settings
    return (
        f"classifier of {settings.classes}, {settings.num_filters} filters, {iterations} iterations; taken at "
        f"{training.best_iteration}, where it classifies {100 * training.accuracy:.2f} % of the held-out images"
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments, interrupted="interrupted; run the same command again to resume")


if __name__ == "__main__":
    sys.exit(main())
