"""What all scripts share: their parser, and what becomes of errors; no TensorFlow, so that --help need not wait."""

import argparse

from maml_tf.runs.command import guarded
from maml_tf.runs.settings import check

__all__ = ["check_counts", "guarded", "parser"]


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        super().error(" ".join(message.split()))  # one line, whatever stands in an argument


def parser(name, description, **settings) -> argparse.ArgumentParser:
    """A parser without flags.

    Args:
        name: of the script.
        description: its docstring.
        settings: further ones of argparse.ArgumentParser.
    """
    raw = argparse.RawDescriptionHelpFormatter
    return _Parser(prog=f"python -m scripts.{name}", description=description, formatter_class=raw, **settings)


def check_counts(flags, most: dict[str, int]) -> None:
    """Refuses counts below 1 or above a bound; None, for a flag that was not given, is none.

    Args:
        flags: what the parser gave.
        most: flag -> its largest value.

    Raises:
        UserError: see its message.
    """
    for name, largest in most.items():
        check(name, getattr(flags, name), least=1, most=largest)
