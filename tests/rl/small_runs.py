"""Small runs in 2D navigation."""

import dataclasses
import functools

from maml_tf.runs import loop
from rl.build import build_learner, build_policy
from rl.experiment import RLExperiment
from rl.training import PolicyTraining

SMALL = {"meta_batch_size": 2, "fast_batch_size": 3, "horizon": 8, "hidden_size": 4, "iterations": 4}


def training(folder, save_every=2, log=False, **given):
    """Returns a PolicyTraining of a small experiment. TRPO runs with the same settings share a compiled learner."""
    experiment = RLExperiment.of(**(SMALL | given))
    run = PolicyTraining(experiment, folder, save_every, log)
    if experiment.optimizer == "trpo":  # its learner has no state
        shared = _learner(dataclasses.replace(experiment, iterations=1), run.envs.obs_dim, run.envs.act_dim)
        shared.policy = run.policy
        run.learner = shared
    return run


@functools.cache
def _learner(experiment, obs_dim, act_dim):
    return build_learner(experiment, build_policy(experiment, obs_dim, act_dim))


def train(training, resume=True):
    """Trains to the end, or until asked to stop; returns whether it reached the end."""
    return loop.run(training, training.store, resume=resume, unit="iteration")


def weights(training):
    """Returns all weights of the training's policy as one list."""
    return training.policy.flat().numpy().tolist()
