"""Source text of user environments that break the contract; each must be refused in one sentence."""

_WHOLE = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Env(gymnasium.Env):
    action_space = spaces.Box(-1, 1, (2,), np.float32)
    observation_space = spaces.Box(-9, 9, (2,), np.float32)

    def sample_task(self, generator):
        return generator.uniform(size=2)

    def set_task(self, goal):
        self.goal = goal

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = np.zeros(2, np.float32)
        return self.at, {}

    def step(self, action):
        self.at = self.at + np.float32(action)
        return self.at, float(-np.abs(self.at - self.goal).sum()), False, False, {}


gymnasium.register("Mine-v0", Env)
"""

_STEP = "return self.at, float(-np.abs(self.at - self.goal).sum()), False, False, {}"
_RESET = "return self.at, {}"
_GOAL = "return generator.uniform(size=2)"
_ACTIONS, _OBSERVATIONS = "spaces.Box(-1, 1, (2,), np.float32)", "spaces.Box(-9, 9, (2,), np.float32)"

# name: (part of _WHOLE to replace, its replacement)
BROKEN = {
    "no set_task": ("def set_task(", "def no_task("),
    "no sample_task": ("def sample_task(", "def no_sample("),
    "set_task is no method": ("def set_task(self, goal):\n        self.goal = goal", "set_task = 3"),
    "discrete actions": (_ACTIONS, "spaces.Discrete(3)"),
    "unbounded actions": (_ACTIONS, "spaces.Box(-np.inf, np.inf, (2,))"),
    "no actions": (_ACTIONS, "spaces.Box(-1, 1, (0,))"),
    "discrete observations": (_OBSERVATIONS, "spaces.Discrete(3)"),
    "observations of several kinds": (_OBSERVATIONS, "spaces.Dict({'at': spaces.Box(-9, 9, (2,))})"),
    "goal is a dict with a text": (_GOAL, "return {'goal': 'left'}"),
    "goal is None": (_GOAL, "return None"),
    "goal is a text": (_GOAL, "return 'left'"),
    "goal of varying size": (_GOAL, "return generator.uniform(size=generator.integers(1, 9))"),
    "goal is NaN": (_GOAL, "return np.full(2, np.nan)"),
    "reset of the old Gym": (_RESET, "return self.at"),
    "reset gives None": (_RESET, "return None"),
    "reset gives three": (_RESET, "return self.at, {}, 1"),
    "first observation too long": (_RESET, "return np.zeros(3), {}"),
    "first observation is NaN": (_RESET, "return self.at * np.nan, {}"),
    "step of the old Gym": (_STEP, "return self.at, 1.0, False, {}"),
    "step gives None": (_STEP, "return None"),
    "observation too short": (_STEP, "return self.at[:1], 1.0, False, False, {}"),
    "observation is NaN": (_STEP, "return self.at * np.nan, 1.0, False, False, {}"),
    "observation is a text": (_STEP, "return 'ab', 1.0, False, False, {}"),
    "reward is None": (_STEP, "return self.at, None, False, False, {}"),
    "reward is a text": (_STEP, "return self.at, 'good', False, False, {}"),
    "reward is an array": (_STEP, "return self.at, self.at, False, False, {}"),
    "reward is infinite": (_STEP, "return self.at, np.inf, False, False, {}"),
    "another id": ("Mine-v0", "Yours-v0"),
    "syntax error": ("class Env", "clas Env"),
    "missing module": ("import numpy as np", "import numpy as np\nimport no_such_module"),
    "missing name": ("from gymnasium import spaces", "from gymnasium import spaces, no_such_name"),
}

IDS = ["", ":", ":Mine-v0", "mine:", "mine:a:b", "../mine:Mine-v0", ".:Mine-v0", "mine:Mine-v9", "\0:x"]


def source(name):
    """The source of a broken environment, or of the correct one if the name is None."""
    if name is None:
        return _WHOLE
    was, now = BROKEN[name]
    assert was in _WHOLE, name
    return _WHOLE.replace(was, now)
