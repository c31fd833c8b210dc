"""The paper's results, one entry each: what scripts.reproduce lists and runs."""

import abc
import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from maml_tf.runs import log, published
from maml_tf.runs.settings import Settings
from maml_tf.supervised.datasets import MINIIMAGENET, ImageDataset
from maml_tf.supervised.experiment import Experiment
from rl import envs
from rl.experiment import RLExperiment


class Options(NamedTuple):
    """Where a run is, and how long it trains.

    logdir, data_dir: as for main.py; None are its defaults.
    iterations: of training; None is the paper's number.
    """

    logdir: str | None = None
    data_dir: str | None = None
    iterations: int | None = None

    def flags(self, *names: str) -> list[str]:
        """The flags of these names that are given."""
        return [f"--{name}={getattr(self, name)}" for name in names if getattr(self, name) is not None]


class Ours(NamedTuple):
    """Our number.

    split: of the tasks, with what else must be known to read the number.
    text: the number and its confidence interval.
    """

    split: str
    text: str


@dataclasses.dataclass(frozen=True)
class Result(abc.ABC):
    """One number of the paper, and the run that gives ours.

    name: by which scripts.reproduce runs it.
    title: in a table.
    published: the published number; "" where there is none.
    image_side: of the images that a network sees, by which kernels are chosen; 0 where there are none.
    """

    name: str
    title: str
    published: str
    image_side = 0

    @property
    @abc.abstractmethod
    def total(self) -> int:
        """The paper's iterations."""

    @abc.abstractmethod
    def command(self, options: Options) -> list[str]:
        """The command that trains and evaluates, and resumes what it finds."""

    @abc.abstractmethod
    def folder(self, options: Options) -> Path:
        """The folder of the run's checkpoints."""

    @abc.abstractmethod
    def ours(self, options: Options) -> Ours:
        """Our number, from the files that `run` has written.

        Raises:
            UserError: they are missing or damaged.
        """

    def done(self, options: Options) -> int:
        """Iterations that the run has done; 0 where there is none."""
        from maml_tf.runs.checkpoints import available

        return max(available(self.folder(options)), default=0)

    def run(self, options: Options) -> int:
        """Does in this process what the command does; returns its exit code."""
        _, *command = self.command(options)
        module, arguments = (command[1], command[2:]) if command[0] == "-m" else ("main", command)
        return importlib.import_module(module).main(arguments)


@dataclasses.dataclass(frozen=True)
class _Trained(Result):
    """A result whose run has settings; they have the paper's number of iterations."""

    settings: Settings

    @property
    def total(self):
        return self.settings.iterations

    def shortened(self, options: Options) -> Settings:
        """The settings with the number of iterations that was asked for."""
        if options.iterations is None:
            return self.settings
        return dataclasses.replace(self.settings, **{self.settings.duration: options.iterations})


@dataclasses.dataclass(frozen=True)
class Supervised(_Trained):
    """MAML in all its variants, and the sinusoid's learners, which main.py trains and tests."""

    settings: Experiment

    @property
    def image_side(self):
        return self.settings.image_side

    def command(self, options):
        return ["python", "main.py", *self.shortened(options).flags(), *options.flags("logdir", "data_dir")]

    def folder(self, options):
        from maml_tf.supervised.build import run_folder

        return run_folder(self.shortened(options), options.logdir)

    def ours(self, options):
        """After as many updates as the published number."""
        settings, update = self.settings, _update(self.settings)
        name = f"test_ubs{settings.update_batch_size}_stepsize{settings.update_lr}.csv"
        with log.rows(self.folder(options) / name) as (means, _, ci95s):
            mean, ci95 = (float(row[f"update{update}"]) for row in (means, ci95s))
            diverged = int(means.get(f"diverged_update{update}", 0))  # older files do not have it
            median = float(means[f"median_update{update}"]) if diverged else None
        if not isinstance(settings.dataset, ImageDataset):
            points = "support" if update == 0 else "query"
            others = f" (median {median:.3g}; {diverged} tasks diverged)" if diverged else ""
            return Ours(f"test, {_updates(update)}, {points} points", f"{mean:.3g} +- {ci95:.2g}{others}")
        return Ours(f"{self._split(options)}, {_updates(update)}", f"{100 * mean:.2f} +- {100 * ci95:.2f}")

    def _split(self, options):
        """The split that main.py has tested: validation, where the data have no test classes."""
        from maml_tf.supervised import build

        return "test" if "test" in build.load(self.settings, options.data_dir).splits else "val"


@dataclasses.dataclass(frozen=True)
class Baseline(Result):
    """A baseline on miniImagenet, 5-way; scripts.baselines trains and evaluates both together.

    system: its name in table 1.
    shots: support images per class.
    """

    system: str
    shots: int
    total = 30_000  # minibatches of the classifier
    image_side = MINIIMAGENET.shape[0]

    def command(self, options):
        flags = options.flags("iterations", "logdir", "data_dir")
        return ["python", "-m", "scripts.baselines", f"--shots={self.shots}", *flags]

    def folder(self, options):
        return self._logdir(options) / "classifier"

    def done(self, options):
        from maml_tf.baselines.training import iterations_done

        return iterations_done(self.folder(options))

    def ours(self, options):
        """On the test classes or, without them, on the second half of the validation classes."""
        with log.rows(self._logdir(options) / f"baselines_5way_{self.shots}shot.csv") as rows:
            by_split = {row["split"]: row for row in rows if row["baseline"] == self.system}
            row = by_split.get("test") or by_split["val"]
            split = "test" if "test" in by_split else f"second half of val ({row['classes']} classes)"
            return Ours(split, f"{float(row['accuracy']):.2f} +- {float(row['ci95']):.2f}")

    def _logdir(self, options):
        return Path(options.logdir or Path("logs", "miniimagenet"))


@dataclasses.dataclass(frozen=True)
class Policy(_Trained):
    """Mean return of a policy on the published goals, after as many updates as were published."""

    settings: RLExperiment

    def command(self, options):
        """That of the training; `evaluation_command` follows."""
        return ["python", "-m", "scripts.train_rl", *self.shortened(options).flags(), *options.flags("logdir")]

    def evaluation_command(self, options: Options) -> list[str]:
        """That of the evaluation of all policies that are trained; its flags say which MAML run to take."""
        maml = _policy_settings(envs.find(self.settings.env), "maml").flags()
        flags = [flag for flag in maml if not flag.startswith("--iterations=")]
        return [sys.executable, "-m", "scripts.evaluate_rl", *flags, *options.flags("logdir")]

    def run(self, options):
        # Threads belong to a process and cannot be changed, and an evaluation wants others than training one task.
        return super().run(options) or subprocess.run(self.evaluation_command(options)).returncode

    def folder(self, options):
        from rl.build import run_folder

        return run_folder(self.shortened(options), options.logdir)

    def ours(self, options):
        """After the last update."""
        policy, update = self.settings.baseline, _update(self.settings)
        with log.rows(self.folder(options).parent / f"{self.settings.env}_returns.csv") as rows:
            row = {(r["policy"], int(r["updates"])): r for r in rows}[policy, update]
            text = f"{float(row['mean']):.1f} +- {float(row['ci95']):.1f}"
            return Ours(f"40 goals, {_updates(update)}", text)


def _updates(number):
    return f"{number} update{'' if number == 1 else 's'}"


def _update(settings):
    """The number of updates after which a number was published."""
    if settings.baseline == "oracle":  # which has nothing to adapt to; the original's csv has its error on the support
        return 0
    return settings.reported_update if isinstance(settings, Experiment) else envs.find(settings.env).protocol.updates


def _images(name, title, **settings):
    """MAML in a column of table 1."""
    experiment = Experiment.of(**settings)
    row = experiment.published_row
    return Supervised(name, title, "" if row is None else f"{row.percent} +- {row.ci95}", experiment)


def _omniglot(ways, shots, variant="", title="MAML", **settings):
    name, title = f"omniglot_{ways}way_{shots}shot{variant}", f"Omniglot, {ways}-way {shots}-shot, {title}"
    return _images(name, title, datasource="omniglot", num_classes=ways, update_batch_size=shots, **settings)


def _miniimagenet(shots, variant="", title="MAML", **settings):
    name, title = f"miniimagenet_5way_{shots}shot{variant}", f"miniImagenet, 5-way {shots}-shot, {title}"
    return _images(name, title, datasource="miniimagenet", update_batch_size=shots, **settings)


def _baseline(shots, name):
    row = next(row for row in published.published_rows("miniimagenet", 5, shots) if row.key == f"{name}_baseline")
    title = f"miniImagenet, 5-way {shots}-shot, {row.system.lower()}"
    return Baseline(f"miniimagenet_5way_{shots}shot_{name}", title, f"{row.percent} +- {row.ci95}", row.system, shots)


def _sinusoid(learner, **settings):
    """The error of the authors' code is the published number."""
    experiment, curve = Experiment.of(**settings), published.original_sinusoid()[learner]
    update = min(_update(experiment), len(curve.mean) - 1)
    title = f"sinusoid, K = 10, {'MAML' if learner == 'maml' else learner}"
    number = f"{curve.mean[update]} +- {curve.ci95[update]}"
    return Supervised(f"sinusoid_10shot_{learner}", title, number, experiment)


def _policy(env, policy):
    settings = _policy_settings(env, policy)
    curve, update = published.published_returns(env.published)[policy], _update(settings)
    title = f"{env.title}, {'MAML' if policy == 'maml' else policy}"
    return Policy(f"{env.name}_{policy}", title, f"{curve.mean[update]:.1f} +- {curve.ci95[update]:.1f}", settings)


def _policy_settings(env, policy):
    """As the authors trained their own checkpoint of MAML, and as their scripts train the baselines."""
    return RLExperiment.of(env=env.name, baseline=policy, **env.authors if policy == "maml" else {})


_ALL = (
    # Table 1, but for first-order MAML on Omniglot, of which it has no number.
    _omniglot(5, 1),
    _omniglot(5, 5),
    _omniglot(20, 1),
    _omniglot(20, 5),
    _omniglot(5, 1, "_no_conv", "MAML without convolutions", conv=False),
    _omniglot(5, 5, "_no_conv", "MAML without convolutions", conv=False),
    _omniglot(5, 1, "_first_order", "first-order MAML", stop_grad=True),
    _miniimagenet(1),
    _miniimagenet(5),
    _miniimagenet(1, "_first_order", "first-order MAML", stop_grad=True),
    _miniimagenet(5, "_first_order", "first-order MAML", stop_grad=True),
    *(_baseline(shots, system) for system in ("fine_tuning", "nearest_neighbor") for shots in (1, 5)),
    # Section 5.1.
    _sinusoid("maml"),
    _sinusoid("pretrained", pretrain_iterations=70_000, metatrain_iterations=0),
    _sinusoid("oracle", baseline="oracle"),
    # 2D navigation, and figure 5.
    *(_policy(env, policy) for env in envs.ENVIRONMENTS.values() for policy in ("maml", "pretrained", "oracle")),
)

RESULTS = {result.name: result for result in _ALL}
