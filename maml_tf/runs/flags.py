"""Flags of a command, built on absl: `--name=value`, `--name value`, `--name` and `--noname`, `--flagfile=FILE`."""

import dataclasses
import functools
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from absl import flags

from data_generators.errors import UserError
from maml_tf.runs.boundary import as_called_here, guarded
from maml_tf.runs.settings import LARGEST, Range, Settings, check

_WIDTH, _INDENT = 110, 28


class Entry(NamedTuple):
    """A flag or argument as the help shows it: its name, the values that it takes, its default and its meaning."""

    name: str
    takes: str
    default: str
    help: str


class Flags:
    """The flags of a command; once parsed, each is an attribute.

    >>> flags = Flags()
    >>> flags.integer("num_tasks", 600, "tasks to evaluate on", least=1)
    >>> flags.parse(["--num_tasks=20"]).num_tasks
    20
    """

    def __init__(self) -> None:
        self._values = flags.FlagValues()
        self._values.set_gnu_getopt(True)  # flags may follow positional arguments
        self._arguments: list[tuple[str, str, bool]] = []
        self._several: str | None = None
        self._ranges: dict[str, Range] = {}
        self._of_settings: dict[str, Range] = {}
        self._required: list[str] = []
        self._exclusive: list[tuple[str, str, str]] = []

    def string(self, name: str, default: str | None, help: str, *, required: bool = False) -> None:
        """Defines a text flag; as in `path`, `~` at the start of its value is the home folder."""
        _define_text(name, default, help, flag_values=self._values)
        self._required += [name] * required

    def path(self, name: str, default: str | None, help: str) -> None:
        """Defines a flag for the path of a file or folder."""
        flags.DEFINE(_Text(Path), name, default, help, self._values, flags.ArgumentSerializer())

    def integer(
        self,
        name: str,
        default: int | None,
        help: str,
        *,
        least: int | None = None,
        most: float = LARGEST,
        words: Mapping[str, int | str] | None = None,
    ) -> None:
        """Defines an integer flag and its range; `words` maps words that may be given instead to their values."""
        flags.DEFINE(_Integer(words or {}), name, default, help, self._values, flags.ArgumentSerializer())
        self._ranges[name] = {"least": least, "most": most}

    def number(self, name: str, default: float | None, help: str, **range: Unpack[Range]) -> None:
        """Defines a number flag and its range."""
        flags.DEFINE_float(name, default, help, flag_values=self._values)
        self._ranges[name] = range

    def boolean(self, name: str, default: bool | None, help: str) -> None:
        """Defines a boolean flag."""
        flags.DEFINE_bool(name, default, help, flag_values=self._values)

    def choice(self, name: str, default: str | None, choices: Sequence[str], help: str) -> None:
        """Defines a flag that takes one of the given names."""
        flags.DEFINE_enum(name, default, list(choices), help, flag_values=self._values)

    def several(self, name: str, kind: type[int] | type[Path] | Iterable[str], help: str) -> None:
        """Defines a flag that may be repeated: its value is a list of integers, paths or names; None if not given."""
        if isinstance(kind, type):
            parser: flags.ArgumentParser = flags.IntegerParser() if kind is int else _Text(Path)
        else:
            parser, help = flags.EnumParser(list(kind)), f"<{'|'.join(kind)}>: {help}"
        flags.DEFINE_multi(parser, flags.ArgumentSerializer(), name, None, help, flag_values=self._values)
        self._values[name].help = f"{help}; may be repeated"  # replaces absl's longer wording

    def numbers(self, name: str, default: Sequence[float] | None, help: str) -> None:
        """Defines a flag for a tuple of numbers, separated by commas."""
        flags.DEFINE(_Numbers(), name, default, help, self._values, flags.CsvListSerializer(","))

    def exclusive(self, first: str, second: str, why: str) -> None:
        """Forbids giving two flags together; `why` completes the message that begins with their names."""
        self._exclusive.append((first, second, why))

    def settings(self, kind: type[Settings], defaults: Mapping[str, Any] | None = None) -> None:
        """Defines a flag for every setting; a flag that is not given is None, and its setting takes its usual value.

        Args:
            kind: the class of the settings.
            defaults: defaults by name; if given, only these settings get a flag, with their default and range.
        """
        for field in dataclasses.fields(kind):
            if defaults is not None and field.name not in defaults:
                continue
            define, default = _DEFINE.get(field.type, _define_text), (defaults or {}).get(field.name)
            define(field.name, default, field.metadata["help"], flag_values=self._values)
            self._of_settings[field.name] = field.metadata["range"]
            if defaults is not None:
                self._ranges[field.name] = field.metadata["range"]

    def arithmetic(self) -> None:
        """Defines the flags that `process.configure` takes: --tf32 and --deterministic."""
        self.boolean("tf32", False, "on GPUs, multiply in TensorFloat-32: faster, but with 3 digits instead of 7")
        self.boolean("deterministic", False, "the same bits each time on GPUs too; some operations become slower")

    def argument(self, name: str, help: str, *, required: bool = True, several: bool = False) -> None:
        """Defines a positional argument, which is a text, or None if it is not given.

        With `several`, which only the last argument may have, it is the list of all remaining texts.
        """
        self._arguments.append((name, help, required))
        self._several = name if several else None

    def parse(self, arguments: Sequence[str]) -> "Flags":
        """Parses the arguments of the command line, given without the name of the program.

        Raises:
            UserError: a flag is unknown, missing or excluded by another, or a value is of the wrong type or range.
        """
        try:
            _, *rest = self._values(["", *arguments])
        except flags.Error as error:
            raise UserError(" ".join(str(error).removeprefix("ERROR:: ").split())) from error
        except (OSError, UnicodeError) as error:  # absl itself reads the file of --flagfile
            raise UserError(f"the file of --flagfile cannot be read ({error}): give another") from error
        for name, range in self._ranges.items():
            check(name, self._values[name].value, **range)
        for name in self._required:
            if self._values[name].value is None:
                raise UserError(f"--{name} is missing: --help says what it is")
        for first, second, why in self._exclusive:
            if all(self._values[name].present and self._values[name].value is not False for name in (first, second)):
                raise UserError(f"--{first} and --{second} {why}: give one of them")
        self._take(rest)
        return self

    def given(self, kind: type[Settings]) -> dict[str, Any]:
        """The values of the flags of `settings`, by name; None for a flag that is not given."""
        return {field.name: self._values[field.name].value for field in dataclasses.fields(kind)}

    def values(self) -> dict[str, Any]:
        """The values of all flags, by name."""
        return self._values.flag_values_dict()

    def help(self) -> str:
        """The arguments and flags with their help, for a terminal."""
        return "\n".join(_entry(e.name, e.help + f" (default: {e.default})" * bool(e.default)) for e in self.entries())

    def entries(self) -> list[Entry]:
        """The arguments and flags, as `help` and a page of the documentation show them."""
        found = [Entry(name, "text" + "; must be given" * must, "", help) for name, help, must in self._arguments]
        for flag in self._values.get_flags_for_module(__name__):
            default = "" if flag.default is None else flag.default_as_str[1:-1]
            takes = _takes(flag, self._of_settings.get(flag.name) or self._ranges.get(flag.name, {}))
            takes += "; must be given" * (flag.name in self._required)
            found.append(Entry(f"--{flag.name}", takes, default, flag.help))
        return found

    def _take(self, rest):
        for name, _, required in self._arguments:
            if required and not rest:
                raise UserError(f"{name} is missing: --help says what it is")
            if name == self._several:
                setattr(self, name, rest)
                return
            setattr(self, name, rest[0] if rest else None)
            rest = rest[1:]
        if rest:
            raise UserError(f"{rest[0]!r} is not a flag: write --name=value")

    def __getattr__(self, name):
        values = self.__dict__.get("_values")
        if values is None or name not in values:
            raise AttributeError(name)
        return values[name].value


def command(
    doc: str,
    define: Callable[[Flags], None],
    body: Callable[[Flags], int | None],
    arguments: Sequence[str] | None = None,
    *,
    interrupted: str = "interrupted",
) -> int:
    """Runs a command: parses its flags, or prints its help, and turns user errors into messages.

    Args:
        doc: the docstring of the command's module, which --help prints above the flags.
        define: function that defines the command's flags.
        body: function of the parsed flags, which returns an exit code, or None for 0.
        arguments: arguments of the command line; default, those of the process.
        interrupted: message to print after Ctrl-C.

    Returns:
        The exit code: the body's, 2 for a user error, 130 after Ctrl-C.
    """
    arguments = sys.argv[1:] if arguments is None else [str(argument) for argument in arguments]

    def whole():
        given = Flags()
        define(given)
        flags.DEFINE_bool("help", False, "show this", flag_values=given._values, short_name="h")
        try:
            given.parse(arguments)
        except UserError:
            if not {"--help", "-h"} & set(arguments):
                raise
            given._values["help"].value = True
        if given._values["help"].value:
            print(as_called_here(f"{doc.strip()}\n\n{given.help()}"))
            return 0
        return body(given)

    return guarded(whole, interrupted=interrupted)


_DEFINE: dict[object, Callable] = {
    int: flags.DEFINE_integer,
    int | None: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    float | None: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
}


class _Text(flags.ArgumentParser):
    def __init__(self, kind):
        self.kind = kind

    def parse(self, argument):
        if not argument:  # a variable of the shell was not set
            raise ValueError("give a value, or leave the flag out")
        return self.kind(os.path.expanduser(argument))  # shells do not expand `~` after `--name=`


_define_text = functools.partial(flags.DEFINE, _Text(str), serializer=flags.ArgumentSerializer())


class _Integer(flags.IntegerParser):
    def __init__(self, words):
        super().__init__()
        self.words = words

    def parse(self, argument):
        if argument in self.words:
            return self.words[argument]
        try:
            return super().parse(argument)
        except ValueError as error:
            raise ValueError(f"give an integer, or {' or '.join(self.words)}" if self.words else error) from error


class _Numbers(flags.ArgumentParser):
    def parse(self, argument):
        return tuple(float(number) for number in (argument.split(",") if isinstance(argument, str) else argument))


def _takes(flag, range):
    """Describes the values that a flag takes."""
    return ", or ".join([_values(flag, range), *getattr(flag.parser, "words", ())])


def _values(flag, range):
    if choices := range.get("choices") or getattr(flag.parser, "enum_values", None):
        return ", ".join(str(choice) for choice in choices if choice is not None)
    kinds = {"bool": "true, false", "int": "integer", "float": "number"}
    kind = kinds.get(flag.flag_type().removeprefix("multi "), "text")
    if range.get("positive"):
        return f"positive {kind}"
    if "inside" in range:
        return "{} between {} and {}".format(kind, *range["inside"])
    least, most = range.get("between") or (range.get("least"), range.get("most", LARGEST))
    if None not in (least, most) and most != LARGEST:
        return f"{kind} from {least} to {most}"
    return kind + (f", at least {least}" if least is not None else f", at most {most}" if most != LARGEST else "")


def _entry(name, help):
    lines = textwrap.wrap(" ".join(help.split()), _WIDTH - _INDENT)
    if len(name) + 4 > _INDENT:
        lines.insert(0, "")
    return "\n".join(f"  {name if i == 0 else '':{_INDENT - 2}}{line}".rstrip() for i, line in enumerate(lines))
