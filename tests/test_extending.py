"""The recipes of docs/extending.md work: each is followed here, but the files that it changes stay as they are."""

import re
import sys
import types
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from maml_tf import inner_optimizers
from maml_tf.supervised import datasets
from rl import envs
from rl.envs import registry
from tests.maml_tf import test_inner_loop_variants as of_inner_loops
from tests.test_used_in_programs import block

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture
def module(monkeypatch):
    """A function that runs code as a module; with a name, Python can import the module."""

    def make(code, name=None, **names):
        made = types.ModuleType(name or "fragment")
        vars(made).update(names)
        if name:
            monkeypatch.setitem(sys.modules, name, made)
        exec(code, vars(made))
        return made

    return make


def whole(title):
    """The Python files of a section, in the order of the page."""
    return re.findall(r"```python\n(.*?)```", PAGE.split(f"## {title}\n")[1].split("\n## ")[0], re.DOTALL)


def fragment(start):
    """The indented block that begins with `start`."""
    return block("extending.md", start)


def test_a_data_set(module, monkeypatch, tmp_path):
    code, test = whole("A data set")
    found = module(code, "maml_tf.supervised.rings").RINGS
    monkeypatch.setitem(datasets.DATASETS, found.name, found)
    module(test).test_tasks_are_of_one_split(tmp_path)


def test_an_environment(module, monkeypatch):
    code, test = whole("An environment")
    module(code, "rl.envs.corridor")
    found = module(fragment("CORRIDOR"), **vars(registry)).CORRIDOR
    monkeypatch.setitem(registry.ENVIRONMENTS, found.name, found)
    monkeypatch.setitem(gymnasium.registry, found.gym_id, None)  # restored after the test, present or not
    del gymnasium.registry[found.gym_id]
    found.register()
    module(test).test_reward_is_minus_the_distance()
    assert envs.sample_goals("corridor", 0, 0, 3).shape == (3, 1)


def test_a_variant(module, monkeypatch):
    found = module(fragment("def _to_length_1"), **vars(inner_optimizers)).UNIT
    monkeypatch.setitem(inner_optimizers.BY_NAME, "unit", found)
    lines = (fragment(start).splitlines()[0] for start in ('"unit": (', '"unit": {'))
    rule, variant = (eval(f"{{{line}}}", vars(of_inner_loops)) for line in lines)
    monkeypatch.setitem(of_inner_loops.RULES, "unit", rule["unit"])
    monkeypatch.setitem(of_inner_loops.VARIANTS, "unit", variant["unit"])
    of_inner_loops.test_inner_optimizers_are_those_of_numpy("unit", 4)
    of_inner_loops.test_meta_gradients_are_those_of_finite_differences("unit", of_inner_loops.MAP, monkeypatch)
    directions, _ = found.update([np.float32([3.0]), None, np.float32([4.0])], ())
    np.testing.assert_allclose([directions[0][0], directions[2][0]], [0.6, 0.8], rtol=1e-6)
    assert directions[1] is None
