"""The environments by name: for the meta-learner (`make_vector`), and registered with Gymnasium.

    gymnasium.make("maml/AntVelocity-v0", goal=1.5)                 # after `import rl.envs`
    gymnasium.make_vec("maml/PointNavigation-v0", num_envs=400)

Importing this registers them and loads neither MuJoCo nor an environment. None of it imports TensorFlow.
"""

from rl.envs.registry import NAMES, make_single, make_vector, sample_goals, test_goals

__all__ = ["NAMES", "make_single", "make_vector", "sample_goals", "test_goals"]
