"""Makes a user's environment by its id: imports its module, and has Gymnasium make it."""

import importlib
import inspect
import re
import sysconfig
import traceback
from collections.abc import Callable

import gymnasium
from gymnasium.envs.registration import load_env_creator

from data_generators.errors import UserError

_MODULE = re.compile(r"[^\s:/\\\0.]+(\.[^\s:/\\\0.]+)*")


def make_by_id(name: str) -> gymnasium.Env:
    """Makes an environment, which says in a sentence where its reset and step do not give what Gymnasium's do.

    Args:
        name: "Id", or "module:Id" to import the module first.

    Raises:
        UserError: there is none of that name, its module cannot be imported, or it is none of Gymnasium's.
    """
    module, colon, id = name.rpartition(":")
    if not id or (colon and not _MODULE.fullmatch(module)):
        raise UserError(f"Gymnasium cannot make the environment {name!r}: give the id of your own as module:Id.")
    if module:
        _importing(name, importlib.import_module, module)
    spec = gymnasium.registry.get(id)
    if spec is not None and isinstance(spec.entry_point, str):
        _importing(name, load_env_creator, spec.entry_point)
    try:
        env = gymnasium.make(id, disable_env_checker=True)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise UserError(f"Gymnasium cannot make the environment {name!r}: {error}") from error
    except TypeError as error:
        if error.__cause__ is not None:  # raised by the environment itself
            raise
        raise UserError(f"Gymnasium cannot make the environment {name!r}: {error}") from error
    return _with_contract(env, name)


class Contract(gymnasium.Wrapper):
    """Refuses results of another number of values than Gymnasium's, such as those of the old Gym.

    Args:
        env: what the user's entry point gave; Gymnasium's own wrappers, which take results apart, come around this.
        name: of the environment, for the sentence.
    """

    def __init__(self, env: gymnasium.Env, name: str):
        super().__init__(env)
        self._name = name

    def reset(self, *, seed=None, options=None):
        """As that of the environment."""
        result = self.env.reset(seed=seed, **({} if options is None else {"options": options}))
        return self._checked(result, 2, "reset", "observation, info")

    def step(self, action):
        """As that of the environment."""
        result = self.env.step(action)
        return self._checked(result, 5, "step", "observation, reward, terminated, truncated, info")

    def _checked(self, result, number, method, values):
        if isinstance(result, tuple) and len(result) == number:
            return result
        given = f"{len(result)} values" if isinstance(result, tuple) else f"a single {type(result).__name__}"
        raise UserError(f"{method} of {self._name} gives {given}, where Gymnasium's gives {number}: {values}.")


def _with_contract(env, name):
    """The environment with the Contract around what its entry point gave."""
    outer = None
    inner = env
    while isinstance(inner, gymnasium.Wrapper) and type(inner).__module__.startswith("gymnasium."):
        outer, inner = inner, inner.env
    try:
        inspect.signature(inner.reset).bind(seed=0)
    except TypeError as error:
        raise UserError(f"reset of {name} takes no seed, which Gymnasium's does: {error}.") from error
    if outer is None:
        return Contract(env, name)
    outer.env = Contract(inner, name)
    return env


def _importing(name: str, load: Callable, what: str) -> None:
    """Imports something of the user's, whose errors there are the user's."""
    try:
        load(what)
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())[:500]
        raise UserError(
            f"Gymnasium cannot make the environment {name!r}, since {what} cannot be imported: "
            f"{type(error).__name__}: {reason}{_place(error)}"
        ) from error


def _place(error):
    """Where in the user's files an error came up: the innermost line that is not of a library."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})" if "line " not in str(error) else f" ({error.filename})"
    libraries = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if not f.filename.startswith((*libraries, "<")) and f.filename != __file__]
    return f" ({users[-1].filename}, line {users[-1].lineno})" if users else ""
