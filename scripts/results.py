"""The paper's results, one entry each: what scripts.reproduce lists and runs."""

from maml_tf.runs import published
from maml_tf.supervised.experiment import Experiment
from rl import envs
from scripts.rows import Baseline, Policy, Supervised, policy_settings, published_update


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
    update = min(published_update(experiment), len(curve.mean) - 1)
    title = f"sinusoid, K = 10, {'MAML' if learner == 'maml' else learner}"
    number = f"{curve.mean[update]} +- {curve.ci95[update]}"
    return Supervised(f"sinusoid_10shot_{learner}", title, number, experiment)


def _policy(env, policy):
    settings = policy_settings(env, policy)
    curve, update = published.published_returns(env.published)[policy], published_update(settings)
    title = f"{env.title}, {'MAML' if policy == 'maml' else policy}"
    return Policy(f"{env.name}_{policy}", title, f"{curve.mean[update]:.1f} +- {curve.ci95[update]:.1f}", settings)


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
