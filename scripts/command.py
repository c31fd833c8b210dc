"""What all scripts share: their parser, and what becomes of errors; no TensorFlow, so that --help need not wait."""

import argparse

from maml_tf.command import guarded

__all__ = ["guarded", "parser"]


def parser(name, description, **settings) -> argparse.ArgumentParser:
    """A parser without flags.

    Args:
        name: of the script.
        description: its docstring.
        settings: further ones of argparse.ArgumentParser.
    """
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        prog=f"python -m scripts.{name}", description=description, formatter_class=raw, **settings
    )
