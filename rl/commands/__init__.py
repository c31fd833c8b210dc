"""The command `maml-rl` of an installation; each other file of this folder is one of its choices.

`maml-rl train` does the same as `python -m scripts.train_rl` in a clone; the other choices have such scripts, too.
"""

import importlib
import importlib.util
import sys

from data_generators.errors import UserError
from maml_tf.runs.boundary import from_anywhere, guarded

CHOICES = {
    "train": "meta-train a policy by MAML and TRPO, or a baseline",
    "evaluate": "adapt trained policies to the published goals, and draw their returns",
    "export": "write a trained policy as a TensorFlow SavedModel",
}
_PACKAGES = ("gymnasium", "mujoco", "tensorflow_probability", "tf_keras", "matplotlib")  # from the extra rl


def main(arguments: list[str] | None = None) -> int:
    """Runs the choice that the command line names first; returns its exit code."""
    from_anywhere()
    choice, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if choice in CHOICES and not _missing():
        return importlib.import_module(f"rl.commands.{choice}").main(rest)
    return guarded(_answer, choice)


def _missing():
    return [name for name in _PACKAGES if importlib.util.find_spec(name) is None]


def _answer(choice):
    """Prints the help; UserError if a package is missing, or there is no such choice."""
    if choice in CHOICES:
        raise UserError(f"maml-rl needs {', '.join(_missing())}: install maml-tf[rl]")
    if choice not in ("--help", "-h"):
        raise UserError(f"name one of {', '.join(CHOICES)} before the flags: --help says what they do")
    print("Reinforcement learning with MAML: maml-rl CHOICE [flags]; maml-rl CHOICE --help lists the flags.\n")
    print(*(f"  {name:10} {help}" for name, help in CHOICES.items()), sep="\n")
