"""The rows that main.py trains and tests: MAML in all its variants, and the sinusoid's learners."""

import dataclasses
import shlex

import main
from maml_tf.runs import tables
from maml_tf.runs.checkpoints import available
from maml_tf.runs.published import matching_row, original_sinusoid
from maml_tf.supervised import build
from maml_tf.supervised.build import run_folder, train_command
from maml_tf.supervised.experiment import Experiment
from scripts.reproduction.registry import Figure, Row, Status


class MainRow(Row):
    """A row whose run is one of main.py's.

    Args:
        name, title: see Row.
        settings: of the Experiment, what differs from the paper's values for its datasource and number of classes.
        learner: of the sinusoid, as `published.original_sinusoid` names it.
    """

    def __init__(self, name: str, title: str, settings: dict, learner: str | None = None):
        self.name, self.title = name, title
        self._experiment = Experiment.of(**settings)
        self._learner = learner
        self.total = self._experiment.iterations

    def experiment(self, iterations: int | None = None) -> Experiment:
        """The settings, with the paper's number of iterations or another."""
        pretrained = self._experiment.metatrain_iterations == 0
        name = "pretrain_iterations" if pretrained else "metatrain_iterations"
        return dataclasses.replace(self._experiment, **{name: iterations or self.total})

    def published(self):
        """Of MAML, its row in table 1; of the sinusoid, what the authors' code gives."""
        if self._learner:
            curve = original_sinusoid()[self._learner]
            update = min(self._update, len(curve.mean) - 1)
            return f"{curve.mean[update]} +- {curve.ci95[update]}"
        row = matching_row(self._experiment)
        return "" if row is None else f"{row.percent} +- {row.ci95}"

    def command(self, options):
        """As `train_command`."""
        command = shlex.split(train_command(self.experiment(options.iterations)))
        return [*command, *options.flags()]

    def run(self, options):
        """Calls main.py."""
        _, *arguments = self.command(options)
        return main.main(arguments)

    def status(self, options):
        """By the latest checkpoint."""
        folder = self._folder(options)
        return Status(str(folder), max(available(folder), default=0))

    def figure(self, options):
        """After as many updates as the published figure."""
        experiment = self._experiment
        name = f"test_ubs{experiment.update_batch_size}_stepsize{experiment.update_lr}.csv"
        with tables.rows(self._folder(options) / name) as (means, _, ci95s):
            mean, ci95 = (float(row[f"update{self._update}"]) for row in (means, ci95s))
            diverged = int(means.get(f"diverged_update{self._update}", 0))  # older files do not have it
            median = float(means[f"median_update{self._update}"]) if diverged else None
        updates = f"{self._update} update{'' if self._update == 1 else 's'}"
        if self._learner:
            points = "support" if self._update == 0 else "query"
            swamped = f" (median {median:.3g}; {diverged} tasks diverged)" if diverged else ""
            return Figure(f"test, {updates}, {points} points", f"{mean:.3g} +- {ci95:.2g}{swamped}")
        return Figure(f"{self._split(options)}, {updates}", f"{100 * mean:.2f} +- {100 * ci95:.2f}")

    @property
    def _update(self):
        # An oracle has nothing to adapt to. Before any update, the csv of the original has the figure on the support.
        return 0 if self._experiment.baseline == "oracle" else self._experiment.reported_update

    def _folder(self, options):
        return run_folder(self.experiment(options.iterations), options.logdir)

    def _split(self, options):
        """The split that main.py's test has taken: of data without test classes, validation."""
        return "test" if "test" in build.load(self._experiment, options.data_dir).splits else "val"


def omniglot_rows() -> list[MainRow]:
    """Omniglot in table 1, and first-order MAML there, of which the table has no figure."""
    rows = []
    for ways in (5, 20):
        for shots in (1, 5):
            settings = {"datasource": "omniglot", "num_classes": ways, "update_batch_size": shots}
            rows.append(
                MainRow(f"omniglot_{ways}way_{shots}shot", f"Omniglot, {ways}-way {shots}-shot, MAML", settings)
            )
    for shots in (1, 5):
        settings = {"datasource": "omniglot", "update_batch_size": shots, "conv": False}
        title = f"Omniglot, 5-way {shots}-shot, MAML without convolutions"
        rows.append(MainRow(f"omniglot_5way_{shots}shot_no_conv", title, settings))
    settings = {"datasource": "omniglot", "stop_grad": True}
    rows.append(MainRow("omniglot_5way_1shot_first_order", "Omniglot, 5-way 1-shot, first-order MAML", settings))
    return rows


def miniimagenet_rows() -> list[MainRow]:
    """MAML on miniImagenet in table 1."""
    rows = []
    for stop_grad, suffix, maml in ((False, "", "MAML"), (True, "_first_order", "first-order MAML")):
        for shots in (1, 5):
            settings = {"datasource": "miniimagenet", "update_batch_size": shots, "stop_grad": stop_grad}
            title = f"miniImagenet, 5-way {shots}-shot, {maml}"
            rows.append(MainRow(f"miniimagenet_5way_{shots}shot{suffix}", title, settings))
    return rows


def sinusoid_rows() -> list[MainRow]:
    """The learners of section 5.1 with K = 10."""
    pretrained = {"pretrain_iterations": 70000, "metatrain_iterations": 0}
    learners = {
        "maml": ("MAML", {}),
        "pretrained": ("pretrained", pretrained),
        "oracle": ("oracle", {"baseline": "oracle"}),
    }
    return [
        MainRow(f"sinusoid_10shot_{learner}", f"sinusoid, K = 10, {title}", settings, learner)
        for learner, (title, settings) in learners.items()
    ]
