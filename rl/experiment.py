"""Every setting of a reinforcement learning run in one frozen dataclass, with the values of the paper and its code."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from data_generators.errors import UserError
from maml_tf.runs.settings import LARGEST_SEED, Settings, check, setting
from rl import envs

DEFAULT_ENV = next(iter(envs.ENVIRONMENTS))
BASELINES = ("maml", "pretrained", "oracle")
POLICIES = ("maml", "pretrained", "random", "oracle")  # policies that are evaluated
OPTIMIZERS = ("trpo", "adam")
HESSIAN_PRODUCTS = FINITE_DIFFERENCE, EXACT = ("finite_difference", "exact")
NONLINEARITIES = ("relu", "tanh")
ADAPT = ("all", "head")

# Section 5.3 and appendix A.2 of the paper, and the original's scripts; see Environment.paper.
COMMON = {
    "iterations": 800,
    "meta_batch_size": 40,
    "fast_batch_size": 20,
    "fast_lr": 0.1,
    "num_grad_updates": 1,
    "adapt": "all",
    "optimizer": "trpo",
    "meta_step_size": 0.01,
    "hessian_product": FINITE_DIFFERENCE,
    "discount": 0.99,
    "gae_lambda": 1.0,
    "hidden_size": 100,
    "nonlinearity": "relu",
    "seed": 0,
}
# One task, whose trajectories have different goals: one linear baseline and one mean of advantages for all of them.
BASELINE = {"num_grad_updates": 0, "iterations": 1000, "meta_batch_size": 1, "fast_batch_size": 100}

# Settings that `RLExperiment.name` writes in its own form, or leaves out; other settings are in it only if unusual.
_NAMED: tuple[str, ...] = ("env", "baseline", "iterations", "meta_batch_size", "fast_batch_size", "num_grad_updates")
_NAMED += ("fast_lr", "optimizer", "meta_step_size")


@dataclasses.dataclass(frozen=True)
class RLExperiment(Settings):
    """The settings of one run, under the original's names where it has them; `of` fills in the paper's values.

    Whether the environment exists is checked only when it is made. The bounds of counts are far above what fits into
    memory, and below what NumPy and TensorFlow can count.
    """

    anew: ClassVar[str] = "for a new run, another --logdir or scripts.train_rl's --resume=False"
    env: str = setting(f"{', '.join(envs.ENVIRONMENTS)}, or module:Id of your own; default {DEFAULT_ENV}")
    baseline: str = setting(
        "maml; pretrained: one policy for all goals; oracle: its observations hold the goal", choices=BASELINES
    )
    iterations: int = setting("meta-updates, or updates of the baseline", least=1, most=10**9)
    meta_batch_size: int = setting("tasks per meta-update", least=1, most=10**6)
    fast_batch_size: int = setting("trajectories per task and update (K)", least=1, most=10**6)
    horizon: int = setting("largest number of steps of a trajectory", least=1, most=10**6)
    fast_lr: float = setting("step size of the inner update (alpha)", positive=True)
    num_grad_updates: int = setting("inner updates in meta-training; baselines have none", least=0, most=100)
    adapt: str = setting(
        "what an inner update changes: all parameters; head, only the output layer and log_std (ANIL)",
        before="all",
        choices=ADAPT,
    )
    optimizer: str = setting("trpo; for baselines also adam, on the policy gradient", choices=OPTIMIZERS)
    meta_step_size: float = setting("bound on the mean KL divergence of a TRPO step (delta)", positive=True)
    hessian_product: str = setting(
        f"Hessian product of the TRPO step: {' or '.join(HESSIAN_PRODUCTS)}", choices=HESSIAN_PRODUCTS
    )
    discount: float = setting("discount of rewards (gamma)", between=(0, 1))
    gae_lambda: float = setting("lambda of the generalised advantage estimates", between=(0, 1))
    hidden_size: int = setting("units in each of the two hidden layers", least=1, most=10**4)
    nonlinearity: str = setting(
        f"nonlinearity of the hidden layers: {' or '.join(NONLINEARITIES)}", choices=NONLINEARITIES
    )
    seed: int = setting(
        "seed of initial weights, goals, initial states and the noise in the actions", least=0, most=LARGEST_SEED
    )

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the paper and of the original's scripts, for the environment and the baseline given."""
        env, baseline = given.get("env", DEFAULT_ENV), given.get("baseline", BASELINES[0])
        environment = envs.find(env)
        of_env = {"env": env, "baseline": baseline, "horizon": environment.horizon, **environment.paper}
        of_baseline = {} if baseline == "maml" else {**BASELINE, **environment.baselines.get(baseline, {})}
        return COMMON | of_env | of_baseline

    def check(self) -> None:
        """Checks the range of every setting, and that the settings fit together.

        Raises:
            UserError: a setting is out of range, or settings do not fit together.
        """
        super().check()
        if self.is_maml:
            check("num_grad_updates", self.num_grad_updates, least=1)
        if self.is_maml and self.optimizer != "trpo":
            raise UserError("--optimizer=adam is for the baselines: MAML's meta-update is a TRPO step")
        unusual = self.unusual()
        for name, reason in self._without_effect().items():
            if name in unusual:
                raise UserError(f"{reason}: leave --{name} out")

    def _without_effect(self):
        """The settings that have no effect on this run, each with the reason."""
        of_inner_updates = () if self.is_maml else ("num_grad_updates", "adapt", "fast_lr")
        of_trpo = () if self.optimizer == "trpo" else ("meta_step_size", "hessian_product")
        return {name: f"--baseline={self.baseline} has no inner updates" for name in of_inner_updates} | {
            name: f"--optimizer={self.optimizer} takes no TRPO step" for name in of_trpo
        }

    def differences(self, made: Mapping[str, Any], resuming: bool = False) -> list[str]:
        """As for Settings, but without settings that have no effect: earlier versions allowed any values for them."""
        return super().differences({**made, **{name: getattr(self, name) for name in self._without_effect()}}, resuming)

    @property
    def is_maml(self) -> bool:
        """Whether the policy is meta-trained, and not a baseline that is trained without adaptation."""
        return self.baseline == "maml"

    @property
    def name(self) -> str:
        """The name of the run's folder, which is in the folder of its environment."""
        name = f"{self.baseline}.mbs_{self.meta_batch_size}.fbs_{self.fast_batch_size}"
        if self.is_maml:
            name += f".numgrad{self.num_grad_updates}.fastlr{self.fast_lr}"
        name += f".delta{self.meta_step_size}" if self.optimizer == "trpo" else f".{self.optimizer}"
        others = {setting: value for setting, value in self.unusual().items() if setting not in _NAMED}
        return name + "".join(f".{setting}{value}" for setting, value in others.items())
