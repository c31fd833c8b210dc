"""Small runs in 2D navigation."""

from rl.experiments import RLExperiment
from rl.training import Training

SMALL = {"meta_batch_size": 2, "fast_batch_size": 3, "horizon": 8, "hidden_size": 4, "iterations": 4}


def training(folder, save_interval=2, **given):
    """A Training of a small experiment, without TensorBoard."""
    return Training(RLExperiment.of(**(SMALL | given)), folder, save_interval, tensorboard=False)


def weights(training):
    """All weights of its policy as one list."""
    return training.policy.flat().numpy().tolist()
