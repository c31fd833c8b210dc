"""Estimates the duration and memory of a training from a few timed steps, without writing a run."""

import itertools
import math
import time
from typing import NamedTuple

from data_generators.progress import duration
from maml_tf.runs import process
from maml_tf.runs.style import aligned
from maml_tf.supervised.steps import phase_ends, steps_for
from maml_tf.supervised.training import SupervisedTraining

_PIECE = 100  # iterations, as many as between two summaries
_CALLS = 3  # timed calls of a validation; each has as many tasks as are in memory at a time


class Part(NamedTuple):
    """A part of a training that is repeated, and takes the same time at each repetition.

    what: its name.
    number: number of repetitions.
    seconds: duration of each repetition.
    """

    what: str
    number: int
    seconds: float

    @property
    def total(self) -> float:
        """Duration of all repetitions in seconds."""
        return self.number * self.seconds


class Estimate(NamedTuple):
    """The expected duration and memory of a training.

    parts: the summaries, the cosines of gradients, the steps of each phase, and the validations.
    first: seconds that the first repetitions of all parts take in addition, for compilation.
    memory: peak memory of the process on the host in MB; None if the system does not report it.
    """

    parts: list[Part]
    first: float
    memory: float | None

    @property
    def seconds(self) -> float:
        """Seconds of the whole training, without its test."""
        return self.first + sum(part.total for part in self.parts)

    def text(self) -> str:
        """Returns a line for each part, one for the total, and the memory if it is known."""
        rows = [(part.what, f"{part.number:,}", _rate(part), duration(part.total)) for part in self.parts]
        rows.append(("in all, with compilation", "", "", duration(self.seconds)))
        lines = aligned([("training", "how many", "how fast", "how long"), *rows])
        return "\n".join([*lines, *([] if self.memory is None else [f"Peak memory: {self.memory:,.0f} MB"])])


def estimate(training: SupervisedTraining, seconds: float = 5.0) -> Estimate:
    """Times parts of a training: steps of every phase, a summary, a cosine of `--log_gradient_cosine`, a validation.

    The weights change as in a training, but no file of a run does. The time to write files such as checkpoints is not
    counted.

    Args:
        training: SupervisedTraining that has not begun.
        seconds: minimum time for which the steps of each phase are timed; a shorter phase is timed as a whole.
    """
    parts, first = [], 0.0
    schedule, begin, end = training.schedule, training.experiment.pretrain_iterations, training.end
    with steps_for(training.maml, training.experiment, training.data.source) as steps:
        if schedule.summary and training.log:
            compiling, took = _twice(lambda: training.summary(steps, 0))
            parts.append(Part("summaries", _multiples(schedule.summary, 0, end), took))
            first += compiling
        if schedule.summary and training.log_gradient_cosine:
            compiling, took = _twice(lambda: training.cosine(steps, begin))
            parts.append(Part("cosines of gradients", _multiples(schedule.summary, begin, end), took))
            first += compiling
        for start, stop in itertools.pairwise([0, *phase_ends(training.experiment)]):
            if start == stop:
                continue
            each = compiling = _seconds_a_step(steps, start, start + 1)
            if stop - start > 1:
                each = _seconds_a_step(steps, start + 1, stop, seconds)
            parts.append(Part(_name(training, start), stop - start, each))
            first += max(compiling - each, 0.0)
    if schedule.validate:
        compiling, took = _validation(training)
        count = -(-end // schedule.validate)  # including one at the end
        parts.append(Part(f"validations of {training.tasks_of_validation} tasks", count, took))
        first += compiling
    return Estimate(parts, first, process.peak_memory())


def _validation(training):
    """Returns (seconds to compile, seconds of a validation)."""
    tasks = training.tasks_of_validation
    size = min(tasks, training.experiment.dataset.tasks_per_call)
    calls = -(-tasks // size)
    timed = min(calls, _CALLS)
    compiling = _seconds(lambda: training.evaluate(num_tasks=size))
    took = _seconds(lambda: training.evaluate(num_tasks=min(tasks, timed * size))) / timed
    return max(compiling - took, 0.0), calls * took


def _twice(function):
    """Calls a function twice; returns (additional seconds of the first call, seconds of the second call)."""
    compiling, took = (_seconds(function) for _ in range(2))
    return max(compiling - took, 0.0), took


def _multiples(every, start, end):
    """The number of multiples of `every` among start, start + 1, ... end - 1."""
    return -(-end // every) - -(-start // every)


def _seconds_a_step(steps, start, stop, seconds=math.inf):
    """Returns the seconds per step, from start to stop or until `seconds` have passed; in pieces, as in a training."""
    began = time.perf_counter()
    for piece in range(start, stop, _PIECE):
        for done, _ in steps.run(piece, min(piece + _PIECE, stop)):
            took = time.perf_counter() - began
            if took > seconds:
                return took / (done - start)
    return took / (stop - start)


def _seconds(function):
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _name(training, start):
    if start < training.experiment.pretrain_iterations:
        return "steps of pretraining"
    return "meta-training steps" + (f" from {start:,} on" if start > training.experiment.pretrain_iterations else "")


def _rate(part):
    if part.seconds >= 1:
        return f"{part.seconds:.1f} s each"
    return f"{1 / part.seconds:,.0f} per second" if part.seconds < 0.1 else f"{1 / part.seconds:.1f} per second"
