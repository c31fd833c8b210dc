"""The results that scripts.reproduce lists and runs, one entry each: of the paper, of variants, of other data sets."""

import dataclasses

from maml_tf.runs import published
from maml_tf.supervised.datasets import DATASETS
from maml_tf.supervised.experiment import Experiment
from maml_tf.supervised.variants import preset
from rl import envs
from scripts.rows import Baseline, Policy, Supervised, policy_settings
from scripts.updates import published_update


def _images(name, title, **settings):
    """Makes the result of MAML in a column of table 1."""
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


@dataclasses.dataclass(frozen=True)
class Variant(Supervised):
    """A variant of MAML, which may be trained with other shots than it is tested with.

    shots: shots of the test.
    """

    shots: int

    def command(self, options):
        trained = self.settings.update_batch_size
        other = [f"--train_update_batch_size={trained}"] if trained != self.shots else []
        flags = [flag for flag in self.shortened(options).flags() if not flag.startswith("--update_batch_size=")]
        shots = [f"--update_batch_size={self.shots}"] if self.shots != 1 else []
        return ["python", "main.py", *flags, *shots, *other, *options.flags(*self.settings.dataset.folders)]

    def _test(self, options, best=False):
        name = f"test_ubs{self.shots}_stepsize{self.settings.update_lr}{'_best' if best else ''}.csv"
        return self.folder(options) / name


_NAMES = {"anil": "ANIL", "meta_sgd": "Meta-SGD", "maml_plus_plus": "MAML++", "reptile": "Reptile", "fomaml": "FOMAML"}


def _variant(name, column, percent):
    """Makes the result of a preset on Omniglot; column: such as "5way_1shot"."""
    ways, shots = (int(size.rstrip("wayshot")) for size in column.split("_"))
    settings = preset(name, {"datasource": "omniglot", "num_classes": ways})
    trained = settings.pop("train_update_batch_size", shots)
    experiment = Experiment.of(**settings, update_batch_size=trained)
    title = f"Omniglot, {ways}-way {shots}-shot, {_NAMES[name]}"
    return Variant(f"variants_omniglot_{column}_{name}", title, str(percent), experiment, shots)


def _elsewhere(dataset, column, percent, ci95):
    """Makes the result of MAML on a data set that the paper does not have; column: such as "5way_1shot"."""
    ways, shots = (int(size.rstrip("wayshot")) for size in column.split("_"))
    experiment = Experiment.of(datasource=dataset.name, num_classes=ways, update_batch_size=shots)
    title = f"{dataset.title or dataset.name}, {ways}-way {shots}-shot, MAML"
    return Supervised(f"{dataset.name}_{column}", title, f"{percent}" + (f" +- {ci95}" if ci95 else ""), experiment)


def _sinusoid(learner, **settings):
    """Makes the result of a learner of sinusoids; the error of the authors' code is its published number."""
    experiment, curve = Experiment.of(**settings), published.original_sinusoid()[learner]
    name = f"sinusoid_10shot_{learner}"
    update = min(published_update(experiment, name), len(curve.mean) - 1)
    title = f"sinusoid, K = 10, {'MAML' if learner == 'maml' else learner}"
    number = f"{curve.mean[update]} +- {curve.ci95[update]}"
    return Supervised(name, title, number, experiment)


def _policy(env, policy):
    name, settings = f"{env.name}_{policy}", policy_settings(env, policy)
    curve, update = published.published_returns(env.published)[policy], published_update(settings, name)
    title = f"{env.title}, {'MAML' if policy == 'maml' else policy}"
    return Policy(name, title, f"{curve.mean[update]:.1f} +- {curve.ci95[update]:.1f}", settings)


_PUBLISHED = [env for env in envs.ENVIRONMENTS.values() if env.published]
_ALL = (
    # Table 1. It has no number for first-order MAML on Omniglot.
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
    # Variants, except first-order MAML 5-way 1-shot, which is above.
    *(
        _variant(name, column, percent)
        for name, columns in published.published_variants().items()
        for column, percent in columns.items()
        if (name, column) != ("fomaml", "5way_1shot")
    ),
    # Data sets that the paper does not have.
    *(
        _elsewhere(dataset, column, *number)
        for dataset in DATASETS.values()
        for column, number in dataset.accuracies.items()
    ),
    # Section 5.1.
    _sinusoid("maml"),
    _sinusoid("pretrained", pretrain_iterations=70_000, metatrain_iterations=0),
    _sinusoid("oracle", baseline="oracle"),
    # 2D navigation, and figure 5.
    *(_policy(env, policy) for env in _PUBLISHED for policy in ("maml", "pretrained", "oracle")),
)

RESULTS = {result.name: result for result in _ALL}
