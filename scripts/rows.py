"""The kinds of rows of results: the published number, the run that gives our number, and where to read ours."""

import abc
import dataclasses
import importlib
import math
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from maml_tf.runs import log
from maml_tf.runs.settings import Settings
from maml_tf.supervised.datasets import MINIIMAGENET, ImageDataset
from maml_tf.supervised.experiment import Experiment
from rl import envs
from rl.experiment import RLExperiment
from scripts.updates import published_update, updates_text


class Options(NamedTuple):
    """Where a run is, and how long it trains.

    logdir, data_dir: folders, as for main.py; None for its defaults.
    iterations: number of iterations of training; None for the paper's.
    """

    logdir: str | None = None
    data_dir: str | None = None
    iterations: int | None = None

    def flags(self, *names: str) -> list[str]:
        """Returns the flags with these names that are given."""
        return [f"--{name}={getattr(self, name)}" for name in names if getattr(self, name) is not None]


class Ours(NamedTuple):
    """Our number.

    split: split of the tasks, with what else a reader of the number must know.
    text: the number and its confidence interval.
    """

    split: str
    text: str


class Curve(NamedTuple):
    """Our numbers after some updates, as docs/results.csv has them.

    split: split of the tasks, or "40 goals".
    updates, means, ci95s: texts; updates is empty if no number of updates is named, and "-" means no interval.
    """

    split: str
    updates: list[str]
    means: list[str]
    ci95s: list[str]


@dataclasses.dataclass(frozen=True)
class Result(abc.ABC):
    """One published number, and the run that gives our number.

    name: name by which scripts.reproduce runs it.
    title: title in a table.
    published: the published number; "" if there is none.
    image_side: pixels a side of the images that a network sees, by which kernels are chosen; 0 without images.
    """

    name: str
    title: str
    published: str
    image_side = 0

    @property
    @abc.abstractmethod
    def total(self) -> int:
        """The paper's number of iterations."""

    @abc.abstractmethod
    def command(self, options: Options) -> list[str]:
        """Returns the command that trains and evaluates, and resumes a run that it finds."""

    @abc.abstractmethod
    def folder(self, options: Options) -> Path:
        """Returns the folder of the run's checkpoints."""

    @abc.abstractmethod
    def ours(self, options: Options) -> Ours:
        """Reads our number from the files that `run` has written.

        Raises:
            UserError: the files are missing or damaged.
        """

    @abc.abstractmethod
    def curve(self, options: Options, *, best: bool = False) -> Curve:
        """Reads our numbers for docs/results.csv, of the latest or best checkpoint; files and errors as in `ours`."""

    def best(self, options: Options) -> int | None:
        """Returns the iteration of the best checkpoint on validation; None if it was not tested or is the latest."""
        return None

    def done(self, options: Options) -> int:
        """Returns the number of iterations that the run has done; 0 if there is no run."""
        from maml_tf.runs.checkpoints import available

        return max(available(self.folder(options)), default=0)

    def run(self, options: Options) -> int:
        """Does in this process what the command does; returns its exit code."""
        _, *command = self.command(options)
        module, arguments = (command[1], command[2:]) if command[0] == "-m" else ("main", command)
        return importlib.import_module(module).main(arguments)


@dataclasses.dataclass(frozen=True)
class _Trained(Result):
    """A result whose run has settings, with the paper's number of iterations."""

    settings: Settings

    @property
    def total(self):
        return self.settings.iterations

    def shortened(self, options: Options) -> Settings:
        """Returns the settings with the number of iterations that was asked for."""
        if options.iterations is None:
            return self.settings
        return dataclasses.replace(self.settings, **{self.settings.duration: options.iterations})


@dataclasses.dataclass(frozen=True)
class Supervised(_Trained):
    """A result that main.py trains and tests: MAML in all its variants, and the learners of sinusoids."""

    settings: Experiment

    @property
    def image_side(self):
        return self.settings.image_side

    def command(self, options):
        return ["python", "main.py", *self.shortened(options).flags(), *options.flags(*self.settings.dataset.folders)]

    def folder(self, options):
        from maml_tf.supervised.build import run_folder

        return run_folder(self.shortened(options), options.logdir)

    def ours(self, options):
        """Reads our number after as many updates as the published number."""
        update = published_update(self.settings, self.name)
        with log.rows(self._test(options)) as (means, _, ci95s):
            mean, ci95 = (float(row[f"update{update}"]) for row in (means, ci95s))
            diverged = int(means.get(f"diverged_update{update}", 0))  # older files lack it
            median = float(means[f"median_update{update}"]) if diverged else None
        if not self._images:
            points = "support" if update == 0 else "query"
            others = f" (median {median:.3g}; {diverged} tasks diverged)" if diverged else ""
            return Ours(f"test, {updates_text(update)}, {points} points", f"{mean:.3g} +- {ci95:.2g}{others}")
        return Ours(f"{self._split(options)}, {updates_text(update)}", f"{100 * mean:.2f} +- {100 * ci95:.2f}")

    def best(self, options):
        from maml_tf.runs.best import best, ranks

        folder = self.folder(options)
        iteration = best(folder)[0] if ranks(folder) and self._test(options, best=True).is_file() else None
        return None if iteration == self.done(options) else iteration

    def curve(self, options, *, best=False):
        """Reads accuracies after the published number of updates, or errors on query points after 0, 1, 5 and 10."""
        last = published_update(self.settings)
        columns = {str(n): f"update{n}" if n else "query_update0" for n in (0, 1, 5, 10) if n <= last}
        columns = {str(last): f"update{last}"} if self._images else columns
        with log.rows(self._test(options, best)) as (means, _, ci95s):
            found = {n: (float(means[c]), float(ci95s[c])) for n, c in columns.items() if c in means}
        texts = [_texts(*number, self._images) for number in found.values()]
        return Curve(self._split(options), [*found], *map(list, zip(*texts, strict=True)))

    @property
    def _images(self):
        return isinstance(self.settings.dataset, ImageDataset)

    def _test(self, options, best=False):
        shots, step_size = self.settings.update_batch_size, self.settings.update_lr
        return self.folder(options) / f"test_ubs{shots}_stepsize{step_size}{'_best' if best else ''}.csv"

    def _split(self, options):
        """Returns the split that main.py has tested: validation, if the data have no test classes."""
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
        """Reads our number on the test classes or, without them, on the second half of the validation classes."""
        split, _, (mean,), (ci95,) = self.curve(options)
        return Ours(split, f"{mean} +- {ci95}")

    def curve(self, options, *, best=False):
        """Reads one accuracy, since the number of updates is chosen on validation classes."""
        with log.rows(self._logdir(options) / f"baselines_5way_{self.shots}shot.csv") as rows:
            by_split = {row["split"]: row for row in rows if row["baseline"] == self.system}
            row = by_split.get("test") or by_split["val"]
            split = "test" if "test" in by_split else f"second half of val ({row['classes']} classes)"
            return Curve(split, [], *([f"{float(row[name]):.2f}"] for name in ("accuracy", "ci95")))

    def _logdir(self, options):
        return Path(options.logdir or "logs/miniimagenet")


@dataclasses.dataclass(frozen=True)
class Policy(_Trained):
    """Mean return of a policy on the published goals, after as many updates as were published."""

    settings: RLExperiment

    def command(self, options):
        """Returns the command of the training, after which `evaluation_command` evaluates."""
        return ["python", "-m", "scripts.train_rl", *self.shortened(options).flags(), *options.flags("logdir")]

    def evaluation_command(self, options: Options) -> list[str]:
        """Returns the command that evaluates all trained policies; its flags say which MAML run to take."""
        maml = policy_settings(envs.find(self.settings.env), "maml").flags()
        flags = [flag for flag in maml if not flag.startswith("--iterations=")]
        return [sys.executable, "-m", "scripts.evaluate_rl", *flags, *options.flags("logdir")]

    def run(self, options):
        # Threads are fixed for a process, and an evaluation needs other threads than a training on one task.
        return super().run(options) or subprocess.run(self.evaluation_command(options)).returncode

    def folder(self, options):
        from rl.build import run_folder

        return run_folder(self.shortened(options), options.logdir)

    def ours(self, options):
        """Reads our return after as many updates as the published one."""
        split, updates, means, ci95s = self.curve(options)
        at = updates.index(str(published_update(self.settings, self.name)))
        return Ours(f"{split}, {updates_text(int(updates[at]))}", f"{means[at]} +- {ci95s[at]}")

    def curve(self, options, *, best=False):
        """Reads the returns after 0, 1, ... updates, up to the published number of updates."""
        with log.rows(self.folder(options).parent / f"{self.settings.env}_returns.csv") as rows:
            of_policy = {r["updates"]: r for r in rows if r["policy"] == self.settings.baseline}
            updates = [str(n) for n in range(published_update(self.settings) + 1)]
            means, ci95s = ([f"{float(of_policy[n][key]):.1f}" for n in updates] for key in ("mean", "ci95"))
            return Curve("40 goals", updates, means, ci95s)


def _texts(mean, ci95, percent):
    if percent:
        return f"{100 * mean:.2f}", f"{100 * ci95:.2f}"
    form = ".4f" if mean < 0.01 else ".3f" if mean < 1000 else ".1e"
    return f"{mean:{form}}", f"{ci95:{form}}" if math.isfinite(ci95) else "-"


def policy_settings(env: envs.Environment, policy: str) -> RLExperiment:
    """Returns the settings of the authors' checkpoint for MAML, and those of the authors' scripts for baselines."""
    return RLExperiment.of(env=env.name, baseline=policy, **env.authors if policy == "maml" else {})
