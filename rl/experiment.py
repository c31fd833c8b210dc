"""Every setting of a reinforcement learning run in one frozen dataclass, with the values of the paper and its code."""

import dataclasses
from typing import NamedTuple

from data_generators.errors import UserError
from rl import envs

ENVIRONMENTS = envs.NAMES
BASELINES = ("maml", "pretrained", "oracle")
OPTIMIZERS = ("trpo", "adam")
HESSIAN_PRODUCTS = ("finite_difference", "exact")
NONLINEARITIES = ("relu", "tanh")


# Far above what memory suffices for, and below what NumPy and TensorFlow can count.
MOST = {
    "iterations": 10**9,
    "meta_batch_size": 10**6,
    "fast_batch_size": 10**6,
    "horizon": 10**6,
    "hidden_size": 10**4,
    "num_grad_updates": 100,
    "seed": 2**32 - 1,
}


def _setting(help):
    return dataclasses.field(metadata={"help": help})


@dataclasses.dataclass(frozen=True)
class RLExperiment:
    """The settings of one run, by the original's names where it has some; `of` fills in the paper's values."""

    env: str = _setting(f"{', '.join(ENVIRONMENTS)}, or module:Id of your own; default {ENVIRONMENTS[0]}")
    baseline: str = _setting("maml; pretrained: one policy for all goals; oracle: its observations hold the goal")
    iterations: int = _setting("meta-updates, or updates of the baseline")
    meta_batch_size: int = _setting("tasks per meta-update")
    fast_batch_size: int = _setting("trajectories per task and update (K)")
    horizon: int = _setting("steps of a trajectory at most")
    fast_lr: float = _setting("step size of the inner update (alpha)")
    num_grad_updates: int = _setting("inner updates in meta-training; baselines have none")
    optimizer: str = _setting("trpo; or for baselines adam, on the policy gradient")
    meta_step_size: float = _setting("bound on the mean KL divergence of a TRPO step (delta)")
    hessian_product: str = _setting(f"of the TRPO step: {' or '.join(HESSIAN_PRODUCTS)}")
    discount: float = _setting("gamma")
    gae_lambda: float = _setting("lambda of the generalised advantage estimates")
    hidden_size: int = _setting("units in each of the two hidden layers")
    nonlinearity: str = _setting(f"of the hidden layers: {' or '.join(NONLINEARITIES)}")
    seed: int = _setting("of initial weights, goals, initial states and the noise in the actions")

    @classmethod
    def of(cls, **given):
        """The experiment with the given settings; what is None or not given takes the paper's value.

        Whether there is such an environment is found out where it is made.

        Raises:
            UserError: a setting is out of range, or does not fit the others.
        """
        given = {name: value for name, value in given.items() if value is not None}
        env, baseline = given.get("env", ENVIRONMENTS[0]), given.get("baseline", BASELINES[0])
        if baseline not in BASELINES:
            raise UserError(f"unknown baseline {baseline!r}: choose one of {', '.join(BASELINES)}")
        experiment = cls(**(_paper_settings(env, baseline) | given))
        experiment._validate()
        return experiment

    def _validate(self):
        counts = ("iterations", "meta_batch_size", "fast_batch_size", "horizon", "hidden_size")
        at_least = dict.fromkeys(counts, 1) | {"seed": 0, "num_grad_updates": 1 if self.is_maml else 0}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, not {getattr(self, name)}")
        for name, most in MOST.items():
            if getattr(self, name) > most:
                raise UserError(f"--{name} must be at most {most}, not {getattr(self, name)}")
        for name in ("fast_lr", "meta_step_size"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UserError(f"--{name} must be a positive number, not {getattr(self, name)}")
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"--{name} must be between 0 and 1, not {getattr(self, name)}")
        choices = {"optimizer": OPTIMIZERS, "hessian_product": HESSIAN_PRODUCTS, "nonlinearity": NONLINEARITIES}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise UserError(f"unknown {name} {getattr(self, name)!r}: choose one of {', '.join(allowed)}")
        if not self.is_maml and self.num_grad_updates:
            raise UserError(f"--baseline={self.baseline} has no inner updates: leave --num_grad_updates out")
        if self.is_maml and self.optimizer != "trpo":
            raise UserError("--optimizer=adam is for the baselines: MAML's meta-update is a TRPO step")

    @property
    def is_maml(self):
        """Whether it is meta-trained, rather than a baseline that is trained without adaptation."""
        return self.baseline == "maml"

    @property
    def name(self):
        """The run's folder below that of its environment."""
        name = f"{self.baseline}.mbs_{self.meta_batch_size}.fbs_{self.fast_batch_size}"
        if self.is_maml:
            name += f".numgrad{self.num_grad_updates}.fastlr{self.fast_lr}"
        name += f".delta{self.meta_step_size}" if self.optimizer == "trpo" else f".{self.optimizer}"
        usual = _paper_settings(self.env, self.baseline)
        for setting, value in dataclasses.asdict(self).items():
            named = (
                "env",
                "baseline",
                "iterations",
                "meta_batch_size",
                "fast_batch_size",
                "num_grad_updates",
                "fast_lr",
            )
            if setting not in (*named, "optimizer", "meta_step_size") and value != usual[setting]:
                name += f".{setting}{value}"
        return name

    @property
    def given(self):
        """The settings that are not the paper's, as a dict."""
        usual = _paper_settings(self.env, self.baseline) | {"env": ENVIRONMENTS[0], "baseline": BASELINES[0]}
        return {name: value for name, value in dataclasses.asdict(self).items() if value != usual[name]}


class TestAdaptation(NamedTuple):
    """How the original adapts at test time to the 40 published goals.

    published: name of the environment in `published.published_returns`; None without such.
    trajectories: per goal and update.
    updates: their number.
    step_sizes: alpha of the first update, by policy.
    later: factor of alpha in the updates after the first.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    published: str | None
    trajectories: int
    updates: int
    step_sizes: dict[str, float]
    later: float = 0.5

    def alphas(self, experiment, policy, updates):
        """The step sizes of so many updates of "maml", "pretrained" or "random".

        MAML's first is the one that it was trained with; by the paper's settings, that is the one in `step_sizes`.
        """
        alpha = experiment.fast_lr if policy == "maml" else self.step_sizes[policy]
        return [alpha * (self.later if update else 1.0) for update in range(updates)]


def test_adaptation(env) -> TestAdaptation:
    """The original's settings for an environment; for one of your own, those of the ant's goal velocity."""
    return _TESTS.get(env, _TESTS["ant_velocity"]._replace(published=None))


test_adaptation.__test__ = False

_TESTS = {
    "point_navigation": TestAdaptation("2d_navigation", 40, 4, {"maml": 0.5, "pretrained": 0.5, "random": 0.5}),
    "half_cheetah_velocity": TestAdaptation(
        "half_cheetah_goal_velocity", 20, 3, {"maml": 0.1, "pretrained": 0.02, "random": 0.1}
    ),
    # Its script holds both 1.0 and 0.5 for the random policy.
    "half_cheetah_direction": TestAdaptation(
        "half_cheetah_goal_direction", 20, 3, {"maml": 0.1, "pretrained": 0.2, "random": 1.0}
    ),
    "ant_velocity": TestAdaptation("ant_goal_velocity", 20, 3, {"maml": 0.1, "pretrained": 0.2, "random": 1.0}),
    "ant_direction": TestAdaptation(
        "ant_goal_direction", 40, 3, {"maml": 0.1, "pretrained": 0.2, "random": 1.0}, later=0.01
    ),
}

# Iterations of the published checkpoints; those of 2D navigation and of half-cheetah direction are not known: ours.
_BASELINE_ITERATIONS = {
    "point_navigation": {"pretrained": 1000, "oracle": 500},
    "half_cheetah_velocity": {"pretrained": 475, "oracle": 975},
    "half_cheetah_direction": {"pretrained": 1000, "oracle": 1000},
    "ant_velocity": {"pretrained": 575, "oracle": 550},
    "ant_direction": {"pretrained": 2000, "oracle": 1975},
}

# Of the MAML checkpoints that the authors published, where the settings of their scripts are others.
_PUBLISHED_MAML = {
    "half_cheetah_velocity": {"fast_batch_size": 10, "iterations": 475},
    "half_cheetah_direction": {"meta_step_size": 0.02, "iterations": 100},
    "ant_velocity": {"iterations": 375},
    "ant_direction": {"iterations": 575},
}


def published_settings(env, baseline="maml"):
    """The settings of the checkpoint whose returns are published that are not those of `RLExperiment.of`, as a dict."""
    return dict(_PUBLISHED_MAML.get(env, {})) if baseline == "maml" else {}


def _paper_settings(env, baseline):
    """The settings of the paper (section 5.3 and appendix A.2) and of the original's scripts."""
    point = env == "point_navigation"
    settings = {
        "env": env,
        "baseline": baseline,
        "iterations": 100 if point else 800,
        "meta_batch_size": 20 if point else 40,
        "fast_batch_size": 40 if env == "ant_direction" else 20,
        "horizon": 100 if point else 200,
        "fast_lr": 0.5 if point else 0.1,
        "num_grad_updates": 1,
        "optimizer": "trpo",
        "meta_step_size": 0.01,
        "hessian_product": "finite_difference",
        "discount": 0.99,
        "gae_lambda": 1.0,
        "hidden_size": 100,
        "nonlinearity": "relu",
        "seed": 0,
    }
    if baseline == "maml":
        return settings
    settings |= {"num_grad_updates": 0}
    settings |= {"iterations": _BASELINE_ITERATIONS.get(env, {}).get(baseline, 1000)}
    if point and baseline == "pretrained":
        return settings | {"optimizer": "adam"}
    # One task with a goal per trajectory: a single baseline and a single mean over all of them.
    return settings | {"meta_batch_size": 1, "fast_batch_size": 100}
