"""Settings of a run as one frozen dataclass: a field is the flag, its help and range, and the key in the checkpoint."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypedDict, Unpack

from data_generators.errors import UserError

LARGEST = 2**31 - 1  # that TensorFlow's integers hold
LARGEST_SEED = 2**32 - 1  # that NumPy and TensorFlow take


class Range(TypedDict, total=False):
    """What values a setting or a flag may have.

    least, most: smallest and largest value of a count; without `most`, it is LARGEST.
    positive: whether it must be a positive, finite number.
    between: (smallest, largest) value of a number.
    inside: bounds of a number that it may come near, but not have.
    choices: all values that it may have.
    """

    least: int | None
    most: float
    positive: bool
    between: tuple[float, float]
    inside: tuple[float, float]
    choices: Sequence


def setting(help: str, *, before: Any = None, **range: Unpack[Range]) -> Any:
    """A field of Settings.

    Args:
        help: of its flag.
        before: its value in runs that are older than the field, whose checkpoints lack it; or a function that gives it,
            of the settings by name that a checkpoint has.
        range: see Range.
    """
    return dataclasses.field(metadata={"help": help, "before": before, "range": range})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the numbers of a run. Subclasses have fields made by `setting`, and say what is usual.

    anew: what to do for a new run, if the folder holds a run with other settings.
    """

    anew: ClassVar[str] = "for a new run, another --logdir or --resume=False"

    @classmethod
    def usual(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """A value for every field: the paper's, for what is given."""
        raise NotImplementedError

    @classmethod
    def of(cls, **given: Any) -> Self:
        """The settings with the given values; what is None or not given takes its usual value.

        Raises:
            UserError: a setting is out of range, or does not fit the others.
        """
        given = {name: value for name, value in given.items() if value is not None}
        settings = cls(**(cls.usual(given) | given))
        settings.check()
        return settings

    def check(self) -> None:
        """Checks the range of every setting; subclasses add what must fit together.

        Raises:
            UserError: a setting is out of range.
        """
        for field in dataclasses.fields(self):
            check(field.name, getattr(self, field.name), **field.metadata["range"])

    @property
    def duration(self) -> str:
        """The setting that may differ when a run resumes: how long to train."""
        return "iterations"

    def unusual(self) -> dict[str, Any]:
        """The settings that are not what they would be if they alone were not given."""
        made = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

        def usual(name):
            return self.usual({other: value for other, value in made.items() if other != name})[name]

        return {name: value for name, value in dataclasses.asdict(self).items() if value != usual(name)}

    def flags(self) -> list[str]:
        """The unusual settings as --name=value."""
        return [f"--{name}={value}" for name, value in self.unusual().items()]

    def differences(self, made: Mapping[str, Any], resuming: bool = False) -> list[str]:
        """What a checkpoint was made with that these settings do not have, beside the duration; for a message.

        Args:
            made: settings by name, as the checkpoint holds them.
            resuming: whether a training is to resume from it.
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
        name: of the flag.
        value: of the flag.
        least, most, positive, between, inside, choices: see Range.

    Raises:
        UserError: it is out of range.
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


def _one_of(names):
    return f"the only one is {names[0]!r}" if len(names) == 1 else f"choose one of {', '.join(names)}"
