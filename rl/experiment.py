"""Every setting of a reinforcement learning run in one frozen dataclass, with the values of the paper and its code."""

import dataclasses

from data_generators.errors import UserError
from rl import envs

DEFAULT_ENV = next(iter(envs.ENVIRONMENTS))
BASELINES = ("maml", "pretrained", "oracle")
POLICIES = ("maml", "pretrained", "random", "oracle")  # that are evaluated
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

    env: str = _setting(f"{', '.join(envs.ENVIRONMENTS)}, or module:Id of your own; default {DEFAULT_ENV}")
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
        env, baseline = given.get("env", DEFAULT_ENV), given.get("baseline", BASELINES[0])
        if baseline not in BASELINES:
            raise UserError(f"unknown baseline {baseline!r}: choose one of {', '.join(BASELINES)}")
        experiment = cls(**(_usual(env, baseline) | given))
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
        usual = _usual(self.env, self.baseline)
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
        usual = _usual(self.env, self.baseline) | {"env": DEFAULT_ENV, "baseline": BASELINES[0]}
        return {name: value for name, value in dataclasses.asdict(self).items() if value != usual[name]}


# Section 5.3 and appendix A.2 of the paper, and the original's scripts.
COMMON = {
    "iterations": 800,
    "meta_batch_size": 40,
    "fast_batch_size": 20,
    "fast_lr": 0.1,
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
# One task with a goal per trajectory: a single linear baseline and a single mean over all of them.
BASELINE = {"num_grad_updates": 0, "iterations": 1000, "meta_batch_size": 1, "fast_batch_size": 100}


def _usual(env, baseline):
    """The settings of the paper and of the original's scripts."""
    environment = envs.find(env)
    of_baseline = {} if baseline == "maml" else BASELINE | environment.baselines.get(baseline, {})
    of_env = {"env": env, "baseline": baseline, "horizon": environment.horizon} | environment.paper
    return COMMON | of_env | of_baseline
