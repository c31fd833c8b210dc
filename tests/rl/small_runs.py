"""Small runs in 2D navigation."""

import dataclasses
import functools

from maml_tf.runs import loop
from rl.build import build_learner, build_policy
from rl.experiment import RLExperiment
from rl.training import PolicyTraining

SMALL = {"meta_batch_size": 2, "fast_batch_size": 3, "horizon": 8, "hidden_size": 4, "iterations": 4}


def training(folder, save_every=2, log=False, **given):
    """A PolicyTraining of a small experiment; what the learner compiles is shared by runs alike."""
    experiment = RLExperiment.of(**(SMALL | given))
    run = PolicyTraining(experiment, folder, save_every, log)
    if experiment.optimizer == "trpo":  # which has no state
        shared = _learner(dataclasses.replace(experiment, iterations=1), run.envs.obs_dim, run.envs.act_dim)
        shared.policy = run.policy
        run.learner = shared
    return run


@functools.cache
def _learner(experiment, obs_dim, act_dim):
    return build_learner(experiment, build_policy(experiment, obs_dim, act_dim))


def train(training, resume=True):
    """Trains to the end, or until asked to stop; returns whether it came to the end."""
    return loop.run(training, training.store, resume=resume, unit="iteration")


def weights(training):
    """All weights of its policy as one list."""
    return training.policy.flat().numpy().tolist()
