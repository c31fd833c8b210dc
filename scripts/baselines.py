"""The two baselines of table 1: nearest neighbour and fine-tuning, on a network that classifies all training classes.

python -m scripts.baselines --shots=1
python -m scripts.baselines --shots=5 --data_dir=data/miniImagenet --logdir=logs/miniimagenet

The network is trained once, into <logdir>/classifier, if no finished one is there; Ctrl-C saves, and the same command
resumes. The settings of fine-tuning are chosen on one half of the validation classes; reported are the other half and,
where there are any, the test classes.
"""

import sys
from pathlib import Path

from data_generators.errors import UserError
from maml_tf.runs import process
from maml_tf.runs.process import quiet_import
from maml_tf.runs.settings import check
from maml_tf.supervised.datasets import ImageDataset
from maml_tf.supervised.experiment import Experiment
from scripts import command


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code, 2 for a mistake that the user can mend, 130 after an interruption."""
    return command.guarded(
        lambda: _run(_parser().parse_args(arguments)), interrupted="interrupted; run the same command again to resume"
    )


def _parser():
    parser = command.parser("baselines", __doc__)
    parser.add_argument("--datasource", default="miniimagenet", help="of images; default %(default)s")
    parser.add_argument("--data_dir", help="folder of the data; default data/<datasource>")
    parser.add_argument("--logdir", help="folder of the runs; default logs/<datasource>")
    task = parser.add_argument_group("tasks")
    task.add_argument("--num_classes", type=int, default=5, help="ways; default %(default)s")
    task.add_argument("--shots", type=int, default=1, help="support images per class; default %(default)s")
    task.add_argument("--queries", type=int, help="query images per class; default, as in main.py's test, the shots")
    task.add_argument(
        "--num_tasks", type=int, default=600, help="tasks whose figures are reported; default %(default)s"
    )
    training = parser.add_argument_group("training of the classifier")
    training.add_argument("--iterations", type=int, default=30_000, help="minibatches; default %(default)s")
    training.add_argument("--num_filters", type=int, default=32, help="of each convolution; default %(default)s")
    training.add_argument("--batch_size", type=int, default=32, help="images of a minibatch; default %(default)s")
    training.add_argument("--learning_rate", type=float, default=1e-3, help="of Adam; default %(default)s")
    training.add_argument("--held_out", type=float, default=0.1, help="part of each class to judge by; %(default)s")
    training.add_argument("--seed", type=int, default=0, help="of the classifier's weights and order; %(default)s")
    search = parser.add_argument_group("search for the settings of fine-tuning")
    search.add_argument("--step_sizes", type=numbers, default="0.5,0.1,0.01,0.001", help="default %(default)s")
    search.add_argument("--decays", type=numbers, default="0,0.1,1", help="step size / (1 + decay * step); %(default)s")
    search.add_argument("--num_updates", type=int, default=15, help="largest number of steps; default %(default)s")
    search.add_argument("--tuning_tasks", type=int, default=100, help="tasks to choose by; default %(default)s")
    return parser


def numbers(text):
    """The numbers in a text such as 0.1,0.01."""
    return tuple(float(number) for number in text.split(","))


def _run(flags):
    process.choose(Experiment.of(datasource=flags.datasource).image_side)
    with quiet_import():  # only now, so that --help need not wait for TensorFlow
        from maml_tf.baselines import report
        from maml_tf.baselines.comparison import Comparison, Search
        from maml_tf.baselines.training import iterations_done
        from scripts.figures import style

    search = Search(flags.step_sizes, flags.decays, flags.num_updates, flags.tuning_tasks)
    search.validate()
    for name in ("iterations", "num_tasks"):
        check(name, getattr(flags, name), least=1)
    splits, rotate = _load(flags)
    queries = flags.shots if flags.queries is None else flags.queries
    comparison = Comparison(splits, flags.num_classes, flags.shots, queries, rotate)
    process.configure(process.TASKS_SIDE_BY_SIDE)
    logdir = Path(flags.logdir or Path("logs", flags.datasource))
    training = _train(flags, splits["train"], logdir / "classifier")
    if training is None:
        return 130
    fingerprint = training.use_best_weights()
    outcomes = comparison.run(training.maml, fingerprint, search, training.folder, flags.num_tasks)
    column, iteration = (flags.datasource, flags.num_classes, flags.shots), iterations_done(training.folder)
    print(report.report(outcomes, *column, _describe(training, iteration)))
    path = logdir / f"baselines_{flags.num_classes}way_{flags.shots}shot.csv"
    print(f"Written to {style.write_csv(path, report.csv_rows(outcomes, *column, iteration))}")
    return 0


def _load(flags):
    """The classes of every split, as `main.py` would load them, and whether tasks rotate them."""
    check("shots", flags.shots, least=1, most=10_000)
    given = {"num_classes": flags.num_classes, "update_batch_size": flags.shots}
    experiment = Experiment.of(datasource=flags.datasource, **given)
    if not isinstance(experiment.dataset, ImageDataset):
        raise UserError("the baselines classify images: choose --datasource=miniimagenet or omniglot")
    from maml_tf.supervised.task_data import check_trainable

    splits = experiment.dataset.images(experiment, flags.data_dir)
    check_trainable(splits)
    return splits, experiment.dataset.rotate


def _train(flags, data, folder):
    """The finished ClassifierTraining, or None if it was interrupted."""
    from maml_tf.baselines.classifier import ClassifierSettings, describe
    from maml_tf.baselines.training import ClassifierTraining

    names = ("datasource", "num_filters", "batch_size", "learning_rate", "held_out", "seed")
    settings = ClassifierSettings.of(classes=describe(data), **{name: getattr(flags, name) for name in names})
    training = ClassifierTraining(settings, data, folder, flags.iterations)
    return training if training.run() else None


def _describe(training, iterations):
    settings = training.settings
    return (
        f"classifier of {settings.classes}, {settings.num_filters} filters, {iterations} iterations; taken at "
        f"{training.best_iteration}, where it classifies {100 * training.accuracy:.2f} % of the held-out images"
    )


if __name__ == "__main__":
    sys.exit(main())
