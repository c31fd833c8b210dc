"""What all commands share: their parser, and what becomes of errors; no TensorFlow, so that --help need not wait."""

import argparse
import sys

from data_generators.errors import UserError


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


def guarded(command, flags, interrupted="broken off") -> int:
    """Calls a command and turns its errors into what a user expects.

    Args:
        command: function of the flags; returns an exit code, or None for 0.
        flags: what its parser gave.
        interrupted: what to say after Ctrl-C.

    Returns:
        The exit code: the command's, 2 for a mistake that the user can mend, 130 after Ctrl-C.
    """
    try:
        return command(flags) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return 130
