"""Small runs in 2D navigation."""

import dataclasses
import functools

from rl.build import build_learner, build_policy
from rl.experiment import RLExperiment
from rl.training import Training

SMALL = {"meta_batch_size": 2, "fast_batch_size": 3, "horizon": 8, "hidden_size": 4, "iterations": 4}


def training(folder, save_interval=2, **given):
    """A Training of a small experiment, without TensorBoard; what the learner compiles is shared by runs alike."""
    experiment = RLExperiment.of(**(SMALL | given))
    run = Training(experiment, folder, save_interval, tensorboard=False)
    if experiment.optimizer == "trpo":  # which has no state
        shared = _learner(dataclasses.replace(experiment, iterations=1), run.envs.obs_dim, run.envs.act_dim)
        shared.policy = run.policy
        run.learner = shared
    return run


@functools.cache
def _learner(experiment, obs_dim, act_dim):
    return build_learner(experiment, build_policy(experiment, obs_dim, act_dim))


def weights(training):
    """All weights of its policy as one list."""
    return training.policy.flat().numpy().tolist()
