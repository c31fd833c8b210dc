"""The commands that are killed or meet a full disk, as data: what they need and what they write."""

from collections.abc import Callable
from typing import NamedTuple

from tests.stress import data
from tests.stress.processes import run

SINUSOID = ("--meta_batch_size=4", "--validation_interval=0", "--jit=false")
OMNIGLOT = (
    *("--datasource=omniglot", "--data_dir=omniglot", "--num_classes=2", "--num_filters=4", "--meta_batch_size=2"),
    *("--validation_interval=0", "--jit=false", "--task_axis=map"),
)
POLICY = ("--meta_batch_size=2", "--fast_batch_size=3", "--horizon=8", "--hidden_size=4")
RETURNS = ("--logdir=runs", "--policy=maml", "--trajectories=2", "--num_updates=1", "--out=out")
CLASSIFIER = (
    *("--datasource=omniglot", "--data_dir=omniglot", "--num_classes=2", "--num_filters=4", "--batch_size=8"),
    *("--num_tasks=4", "--tuning_tasks=2", "--num_updates=2", "--step_sizes=0.1", "--decays=0"),
)


class Scenario(NamedTuple):
    """A command that writes something.

    name: name of the scenario.
    program, arguments: the command.
    results: folders or patterns of files that it writes.
    data: function that makes its data in a folder.
    before: command to run first, (program, arguments), or None.
    brief: further arguments, for a shorter run.
    kills: how often the campaign kills it.
    keep: maximum number of checkpoints in a folder; None if it has none.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    results: tuple[str, ...]
    data: Callable = lambda folder: None
    before: tuple | None = None
    brief: tuple[str, ...] = ()
    kills: int = 0
    keep: int | None = None

    def prepare(self, folder):
        """Makes the folder with everything that the command needs."""
        folder.mkdir(parents=True)
        self.data(folder)
        if self.before:
            result = run(folder, *self.before)
            assert result.returncode == 0, result.stderr


def _large_omniglot(folder):
    data.omniglot(folder, per_alphabet=30, images=20)


def _large_miniimagenet(folder):
    data.miniimagenet(folder, images=60)


_SINUSOID_RUN = ("main", (*SINUSOID, "--metatrain_iterations=30", "--log=False", "--logdir=runs"))
_POLICY_RUN = ("scripts.train_rl", (*POLICY, "--iterations=3", "--log=False", "--logdir=runs"))

SCENARIOS = [
    Scenario(
        "sinusoid",
        "main",
        (
            *(*SINUSOID, "--pretrain_iterations=400", "--metatrain_iterations=800", "--save_interval=7"),
            *("--log_gradient_cosine", "--logdir=runs"),
        ),
        ("runs",),
        brief=("--pretrain_iterations=20", "--metatrain_iterations=50"),
        kills=22,
        keep=10,
    ),
    Scenario(
        "omniglot",
        "main",
        (*OMNIGLOT, "--metatrain_iterations=150", "--save_interval=3", "--logdir=runs"),
        ("runs", "omniglot/*.npz"),
        data.omniglot,
        brief=("--metatrain_iterations=9",),
        kills=16,
        keep=10,
    ),
    Scenario(
        "policy",
        "scripts.train_rl",
        (*POLICY, "--iterations=40", "--logdir=runs"),
        ("runs",),
        brief=("--iterations=4",),
        kills=20,
        keep=6,  # the last five, and that of iteration 25
    ),
    Scenario(
        "classifier",
        "scripts.baselines",
        (*CLASSIFIER, "--iterations=300", "--logdir=runs"),
        ("runs",),
        data.omniglot,
        brief=("--iterations=40",),
        kills=14,
    ),
    Scenario(
        "prepare Omniglot",
        "scripts.prepare_omniglot",
        ("--data_dir=omniglot",),
        ("omniglot",),
        _large_omniglot,
        kills=8,
    ),
    Scenario(
        "prepare miniImagenet",
        "scripts.prepare_miniimagenet",
        ("--source=images.tar", "--csv_dir=.", "--data_dir=mini"),
        ("mini",),
        _large_miniimagenet,
        kills=10,
    ),
    Scenario(
        "export",
        "main",
        (*_SINUSOID_RUN[1], "--export_dir=exported"),
        ("runs", "exported"),
        before=_SINUSOID_RUN,
        kills=4,
        keep=10,
    ),
    Scenario(
        "export of a policy",
        "scripts.export_rl",
        (*POLICY, "--logdir=runs", "--export_dir=exported"),
        ("runs", "exported"),
        before=_POLICY_RUN,
        kills=2,
        keep=7,
    ),
    Scenario(
        "test",
        "main",
        (*_SINUSOID_RUN[1], "--train=False", "--update_lr=0.02", "--train_update_lr=0.01"),
        ("runs",),
        before=_SINUSOID_RUN,
        kills=4,
        keep=10,
    ),
    Scenario(
        "decoded images",
        "tests.stress.load_folder",
        (),
        ("mine",),
        data.image_folder,
    ),
    Scenario(
        "returns",
        "scripts.evaluate_rl",
        (*POLICY, "--iterations=3", *RETURNS),
        ("runs", "out"),
        before=_POLICY_RUN,
    ),
    Scenario(
        "learning curve",
        "scripts.plot_rl",
        (*POLICY, "--iterations=3", "--logdir=runs", "--out=out"),
        ("runs", "out"),
        before=_POLICY_RUN,
    ),
]
