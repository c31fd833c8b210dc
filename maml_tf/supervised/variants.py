"""The settings of MAML's variants: their usual values, which settings do not fit together, and the presets.

ANIL: Raghu et al. 2020, arXiv 1909.09157. BOIL: Oh et al. 2021, arXiv 2008.08882. Meta-SGD: Li et al. 2017, arXiv
1707.09835. MAML++: Antoniou et al. 2019, arXiv 1810.09502. Reptile: Nichol et al. 2018, arXiv 1803.02999.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from data_generators.errors import UserError
from maml_tf.runs.settings import check as check_range
from maml_tf.supervised.datasets import SINUSOID, find

if TYPE_CHECKING:
    from maml_tf.supervised.experiment import Experiment

MANY_WAYS = 20

# The settings of plain MAML; the name of a run's folder shows those that differ.
_PLAIN: dict[str, Any] = {
    "adapt": "all",
    "step_sizes": "fixed",
    "update_lr_max": None,
    "query_loss": "last",
    "first_order_iterations": 0,
    "meta_lr_decay": "none",
    "algorithm": "maml",
    "inner_optimizer": "sgd",
    "inner_batch_size": None,
}

# Settings that only make sense with a meta-gradient, which Reptile lacks, and the values that Reptile needs.
_OF_MAML: dict[str, Any] = {
    "stop_grad": False,
    "adapt": "all",
    "step_sizes": "fixed",
    "query_loss": "last",
    "first_order_iterations": 0,
}


def usual(ways: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the published values of the settings that are particular to a variant.

    Args:
        ways: classes per task.
        given: settings by name, including those that choose the variant.
    """
    settings: dict[str, Any] = {}
    if given.get("learn_update_lr"):
        settings["step_sizes"] = "per_variable"
    if given.get("step_sizes") == "per_weight":  # Meta-SGD, section 4.1
        settings |= {"update_lr": 0.005, "update_lr_max": 0.1}
    if given.get("query_loss") == "all_updates":  # the configurations of MAML++'s code: 10 epochs of 500 meta-updates
        settings["query_loss_iterations"] = 5000
    if given.get("algorithm") == "reptile":
        settings |= _reptile(given.get("datasource"), ways)
    return settings


def _reptile(datasource, ways):
    """The settings in the commands of Reptile's code."""
    many, few = ways >= MANY_WAYS, {"omniglot": 5}.get(datasource, 8)
    return {
        "meta_batch_size": 5,
        "meta_lr": 1.0,
        "meta_lr_decay": "linear",
        "metatrain_iterations": 200_000 if many else 100_000,
        "inner_optimizer": "adam",
        "inner_batch_size": 20 if many else 10,
        "num_updates": 10 if many else few,
        "update_lr": 0.0005 if many else 0.001,
    }


def check(experiment: "Experiment") -> None:
    """Raises UserError if a variant's setting does not fit another setting."""
    made = experiment
    if made.learn_update_lr and made.step_sizes != "per_variable":
        raise UserError(
            f"--learn_update_lr means --step_sizes=per_variable: leave out it, or --step_sizes={made.step_sizes}"
        )
    if made.update_lr_max is not None and made.step_sizes != "per_weight":
        raise UserError("--update_lr_max goes with --step_sizes=per_weight")
    if made.update_lr_max is not None and made.update_lr_max < made.update_lr:
        raise UserError(f"--update_lr_max must be at least --update_lr, {made.update_lr}, not {made.update_lr_max}")
    if made.query_loss_iterations and made.query_loss == "last":
        raise UserError("--query_loss_iterations goes with --query_loss=all_updates")
    if made.query_loss == "all_updates" and not made.query_loss_iterations:
        raise UserError("--query_loss_iterations must be at least 1 with --query_loss=all_updates")
    if made.first_order_iterations and made.stop_grad:
        raise UserError("--stop_grad makes all meta-updates first order: leave out --first_order_iterations")
    if made.algorithm == "reptile":
        for name, value in _OF_MAML.items():
            if getattr(made, name) != value:
                raise UserError(f"Reptile has no meta-gradient and adapts everything: leave out --{name}")
        if made.norm == "per_update_batch_norm":
            raise UserError("Reptile has no meta-gradient to learn offsets for each update: use --norm=batch_norm")
    if made.metatrain_iterations == 0:
        if made.norm == "per_update_batch_norm":
            raise UserError("--norm=per_update_batch_norm goes with meta-training: take batch_norm")
        remedy = "leave it out" if made.baseline else "give --metatrain_iterations a positive number"
        plain = _PLAIN | {"stop_grad": False}
        for name in ("query_loss", "first_order_iterations", "algorithm", "meta_lr_decay", "step_sizes", "stop_grad"):
            if getattr(made, name) != plain[name]:
                flag = "learn_update_lr" if name == "step_sizes" and made.learn_update_lr else name
                raise UserError(f"--{flag} goes with meta-training: {remedy}")


def suffix(experiment: "Experiment") -> str:
    """The part of a run's folder name that shows the variant; "" for plain MAML."""
    texts = {
        "adapt": ".{}",
        "step_sizes": ".{}",
        "update_lr_max": ".to{}",
        "query_loss": f".{{}}{experiment.query_loss_iterations}",
        "first_order_iterations": ".firstorder{}",
        "meta_lr_decay": ".{}",
        "algorithm": ".{}",
        "inner_optimizer": ".{}",
        "inner_batch_size": ".batch{}",
    }
    values = {name: getattr(experiment, name) for name in texts}
    said = "".join(text.format(values[name]) for name, text in texts.items() if values[name] != _PLAIN[name])
    return said.replace(".per_variable", ".learnlr", 1)


def described(experiment: "Experiment") -> str:
    """Lists for reports how a run differs from plain MAML: "adapt head, step_sizes per_update"; "" if it does not."""
    values = {name: getattr(experiment, name) for name in _PLAIN}
    return ", ".join(f"{name} {value}" for name, value in values.items() if value != _PLAIN[name])


def preset(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the published settings of a variant, without those that `usual` derives from them.

    Args:
        name: one of PRESETS.
        given: settings that override the published ones, by name.

    Returns:
        dict of the variant's and the given settings; `train_update_batch_size` in it is a flag of main.py.

    Raises:
        UserError: there is no such datasource, or it needs more ways: some presets divide by their number.
    """
    datasource, ways = given.get("datasource", SINUSOID.name), given.get("num_classes", 5)
    check_range("num_classes", ways, least=find(datasource).least_ways)
    settings = PRESETS[name](datasource, ways) | given
    if settings.get("query_loss") == "last" and "query_loss_iterations" not in given:
        settings.pop("query_loss_iterations", None)
    return settings


def _maml_plus_plus(datasource, ways):
    """The settings of MAML++'s code: 100 epochs of 500 meta-updates; unlike ours, its norms also have a scale."""
    images = {"norm": "per_update_batch_norm", "max_pool": True}
    omniglot = images | {"meta_batch_size": 8, "update_lr": 0.1 / ways, "meta_lr_decay": "cosine"}
    others = images | {"meta_batch_size": 2, "update_lr": 0.01 / ways, "num_filters": 48, "query_loss_iterations": 7500}
    settings = {"num_updates": 5, "step_sizes": "per_update", "query_loss": "all_updates"}
    settings |= {"metatrain_iterations": 50_000}
    return settings | {"sinusoid": {}, "omniglot": omniglot}.get(datasource, others)


def _boil(datasource, ways):
    """The default settings of BOIL's code, for images."""
    images = {"num_updates": 1, "update_lr": 0.5 / ways}
    return {"adapt": "body"} | {"sinusoid": {}}.get(datasource, images)


# If the loss of a variant's code is the mean over examples, its step sizes are divided by the ways: our loss, like the
# original's, is the sum over examples divided by the shots.
PRESETS = {
    # Section 4: as MAML, except for what adapts.
    "anil": lambda datasource, ways: {"adapt": "head"},
    "boil": _boil,
    # Section 4.2: one update.
    "meta_sgd": lambda datasource, ways: {"step_sizes": "per_weight", "num_updates": 1},
    "maml_plus_plus": _maml_plus_plus,
    # The commands of Reptile's code: 10 or 15 images of each class in training, and as many as shots in the test.
    "reptile": lambda datasource, ways: {
        "algorithm": "reptile",
        "train_update_batch_size": {"omniglot": 10}.get(datasource, 15),
    },
    # MAML's own settings.
    "fomaml": lambda datasource, ways: {"stop_grad": True},
}
