"""Settings of a run as one frozen dataclass: each field defines a flag, its help and range, and a checkpoint's key."""

import dataclasses
import numbers
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypedDict, Unpack

from data_generators.errors import UserError

LARGEST = 2**31 - 1  # the largest value of TensorFlow's int32
LARGEST_SEED = 2**32 - 1  # the largest that NumPy and TensorFlow accept


class Range(TypedDict, total=False):
    """The values that a setting or a flag may have.

    least, most: smallest and largest value of a count; without `most`, it is LARGEST.
    positive: whether it must be a positive, finite number.
    between: (smallest, largest) value of a number.
    inside: (lower, upper) bounds of a number, which the number itself may not reach.
    choices: all values that it may have.
    """

    least: int | None
    most: float
    positive: bool
    between: tuple[float, float]
    inside: tuple[float, float]
    choices: Sequence


def setting(help: str, *, before: Any = None, **range: Unpack[Range]) -> Any:
    """Makes a field of Settings.

    Args:
        help: help of the field's flag.
        before: value of the field in runs that are older than the field, whose checkpoints lack it; or a function that
            computes this value from the settings in such a checkpoint, given by name.
        range: see Range.
    """
    return dataclasses.field(metadata={"help": help, "before": before, "range": range})


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that determine a run's results. Subclasses define the fields by `setting`, and their usual values.

    anew: advice for a new run, if the folder holds a run with other settings.
    """

    anew: ClassVar[str] = "for a new run, another --logdir or --resume=False"

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the usual value of every field: the paper's, for the settings that are given."""
        raise NotImplementedError

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Makes settings from the given values; a setting that is None or not given takes its usual value.

        Raises:
            UserError: a setting is of another type or out of range, or does not fit the others.
        """
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        given = {name: _typed(name, value, types.get(name)) for name, value in given.items() if value is not None}
        settings = cls(**(cls.usual(given) | given))
        settings.check()
        return settings

    def check(self) -> None:
        """Checks the range of every setting; subclasses also check that the settings fit together.

        Raises:
            UserError: a setting is out of range.
        """
        for field in dataclasses.fields(self):
            check(field.name, getattr(self, field.name), **field.metadata["range"])

    @property
    def duration(self) -> str:
        """The name of the setting that may differ when a run resumes: how long to train."""
        return "iterations"

    def unusual(self) -> dict[str, Any]:
        """The settings that differ from their usual value, which each would have if it alone were not given."""
        made = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

        def usual(name):
            return self.usual({other: value for other, value in made.items() if other != name})[name]

        return {name: value for name, value in dataclasses.asdict(self).items() if value != usual(name)}

    def flags(self) -> list[str]:
        """The unusual settings as --name=value."""
        return [f"--{name}={value}" for name, value in self.unusual().items()]

    def differences(self, made: Mapping[str, Any], resuming: bool = False) -> list[str]:
        """Lists, for a message, a checkpoint's settings that differ from these; the duration may differ.

        Args:
            made: the checkpoint's settings, by name.
            resuming: whether a training is to resume from the checkpoint.
        """
        now, before = dataclasses.asdict(self), {}
        for field in dataclasses.fields(self):
            older = field.metadata["before"]
            before[field.name] = made.get(field.name, older(made) if callable(older) else older)
        return [
            f"--{name}={before[name]} (now {now[name]})"
            for name in now
            if name != self.duration and before[name] != now[name]
        ]


def check(
    name: str,
    value: Any,
    *,
    least: int | None = None,
    most: float = LARGEST,
    positive: bool = False,
    between: tuple[float, float] | None = None,
    inside: tuple[float, float] | None = None,
    choices: Sequence | None = None,
) -> None:
    """Checks one number or choice; None, for a flag that was not given, is always in range.

    Args:
        name: name of the flag.
        value: value of the flag.
        least, most, positive, between, inside, choices: see Range.

    Raises:
        UserError: the value is out of range.
    """
    if choices is not None and value not in choices:
        names = [str(choice) for choice in choices if choice is not None]
        raise UserError(f"unknown {name} {value!r}: " + _one_of(names))
    if value is None or isinstance(value, str | bool):
        return
    if positive and not 0 < value < float("inf"):
        raise UserError(f"--{name} must be a positive number, not {value}")
    if between and not between[0] <= value <= between[1]:
        raise UserError(f"--{name} must be between {between[0]} and {between[1]}, not {value}")
    if inside and not inside[0] < value < inside[1]:
        raise UserError(f"--{name} must lie between {inside[0]} and {inside[1]}, not at {value}")
    if least is not None and value < least:
        raise UserError(f"--{name} must be at least {least}, not {value}")
    if not positive and value > most:
        raise UserError(f"--{name} must be at most {most}, not {value}")


def _typed(name, value, kind):
    """Returns a value as a flag would give it, so that 1 and 1.0 or NumPy's numbers make the same run."""
    kinds = typing.get_args(kind) or (kind,)
    is_bool = type(value).__name__ in ("bool", "bool_")  # Python's and NumPy's
    if bool in kinds:
        if not is_bool:
            raise UserError(f"--{name} must be True or False, not {value!r}")
        return bool(value)
    if int in kinds:
        if is_bool or not isinstance(value, numbers.Real) or value % 1:
            raise UserError(f"--{name} must be a whole number, not {value!r}")
        return int(value)
    if float in kinds:
        if is_bool or not isinstance(value, numbers.Real):
            raise UserError(f"--{name} must be a number, not {value!r}")
        return float(value)
    return value


def _one_of(names):
    return f"the only one is {names[0]!r}" if len(names) == 1 else f"choose one of {', '.join(names)}"
