"""The rows of reinforcement learning, which scripts.train_rl trains and scripts.test_rl tests."""

import shlex
import subprocess
import sys

from maml_tf.runs import tables
from maml_tf.runs.checkpoints import available
from maml_tf.runs.published import published_returns
from rl.build import run_folder, train_command
from rl.envs import ENVIRONMENTS, find
from rl.experiment import RLExperiment
from scripts import train_rl
from scripts.reproduction.registry import Figure, Row, Status

_POLICIES = {"maml": "MAML", "pretrained": "pretrained", "oracle": "oracle"}


class ReturnRow(Row):
    """Mean return of a policy on the published goals, after as many updates as were published.

    Args:
        env: name of the environment.
        policy: "maml", "pretrained" or "oracle".
    """

    def __init__(self, env: str, policy: str):
        self.name = f"{env}_{policy}"
        self.title = f"{find(env).title}, {_POLICIES[policy]}"
        self._env, self._policy = env, policy
        self.total = self._experiment().iterations
        # An oracle has nothing to adapt to.
        self._update = 0 if policy == "oracle" else find(env).protocol.updates

    def published(self):
        """The mean over goals that the authors published."""
        curve = published_returns(find(self._env).published).get(self._policy)
        return "" if curve is None else f"{curve.mean[self._update]:.1f} +- {curve.ci95[self._update]:.1f}"

    def command(self, options):
        """That of the training; the test follows by the same flags."""
        return [*shlex.split(train_command(self._experiment(options.iterations))), *_folder_flag(options)]

    def run(self, options):
        """Calls scripts.train_rl, then in a process of its own scripts.test_rl, for all policies that are trained."""
        _, _, _, *arguments = self.command(options)
        # Threads belong to a process and cannot be changed, and a test wants others than the training of one task.
        return train_rl.main(arguments) or subprocess.run(self.test_command(options)).returncode

    def test_command(self, options):
        """That of the test, whose flags say which MAML run to take."""
        maml = RLExperiment.of(env=self._env, **find(self._env).authors)
        flags = [flag for flag in maml.flags() if not flag.startswith("--iterations=")]
        return [sys.executable, "-m", "scripts.test_rl", *flags, *_folder_flag(options)]

    def status(self, options):
        """By the latest checkpoint."""
        folder = run_folder(self._experiment(options.iterations), options.logdir)
        return Status(str(folder), max(available(folder), default=0))

    def figure(self, options):
        """After the last update."""
        folder = run_folder(self._experiment(options.iterations), options.logdir).parent
        updates = f"{self._update} update{'' if self._update == 1 else 's'}"
        with tables.rows(folder / f"{self._env}_returns.csv") as rows:
            row = {(r["policy"], int(r["updates"])): r for r in rows}[self._policy, self._update]
            return Figure(f"40 goals, {updates}", f"{float(row['mean']):.1f} +- {float(row['ci95']):.1f}")

    def _experiment(self, iterations=None):
        given = {} if iterations is None else {"iterations": iterations}
        authors = find(self._env).authors if self._policy == "maml" else {}
        return RLExperiment.of(env=self._env, baseline=self._policy, **authors | given)


def _folder_flag(options):
    return [] if options.logdir is None else [f"--logdir={options.logdir}"]


def rl_rows() -> list[ReturnRow]:
    """Figure 5 of the paper, and 2D navigation."""
    return [ReturnRow(env, policy) for env in ENVIRONMENTS for policy in _POLICIES]
