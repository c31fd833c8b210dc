"""The training loop that all learners share: resuming, stopping on request, progress, finite check, saving, events."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from data_generators.errors import UserError
from data_generators.progress import progress
from maml_tf.distribution import ALONE, Alone
from maml_tf.runs.boundary import Requests
from maml_tf.runs.checkpoints import Checkpoints


class Event(NamedTuple):
    """Something that happens at regular intervals.

    every: interval in iterations; 0 means never.
    act: function of the number of iterations done.
    before: whether it happens before the next iteration, also at iteration 0. Otherwise it happens after an iteration,
        once the iteration's checkpoint is saved, unless a stop is requested.
    at_end: whether it also happens after the last iteration if that is no multiple of `every`.
    missed: function of the number of iterations done, called when a run resumes where the event is due. It returns
        whether the process ended after saving the checkpoint but before the event; the resumed run then begins with the
        event.
    """

    every: int
    act: Callable[[int], None]
    before: bool = False
    at_end: bool = False
    missed: Callable[[int], bool] = lambda iteration: False

    def is_due(self, iteration: int, end: int) -> bool:
        """Whether the event happens at an iteration of a training that ends at `end`."""
        return bool(self.every) and (iteration % self.every == 0 or (self.at_end and iteration == end))


class Training(Protocol):
    """What `run` needs of a learner."""

    @property
    def end(self) -> int:
        """The total number of iterations."""

    @property
    def save_every(self) -> int:
        """Iterations between checkpoints; 0 saves at the end and on request only."""

    @property
    def events(self) -> Sequence[Event]:
        """The events; those due at the same iteration happen in this order."""

    @property
    def remedy(self) -> str:
        """What the user may try if numbers are no longer finite."""

    def opened(self, iteration: int) -> AbstractContextManager:
        """While entered, keeps the threads, tables and writers open that training from this iteration needs."""

    def advance(self, start: int, stop: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Runs the iterations start ... stop - 1; yields (iterations done, metrics since the last yield)."""

    def variables(self) -> list:
        """The variables that must be finite whenever a checkpoint is saved."""

    def status(self, metrics: dict[str, Any]) -> str:
        """The text that the progress bar shows for the metrics."""


def run(
    training: Training,
    store: Checkpoints,
    *,
    resume: bool = True,
    label: str = "Training",
    unit: str = "step",
    workers: Alone = ALONE,
) -> bool:
    """Trains to the end, or until Ctrl-C or SIGTERM; on such a signal, saves and prints how to resume.

    Args:
        training: the learner's Training.
        store: the learner's checkpoints.
        resume: whether to continue from the latest checkpoint, if there is one. With False, the folder of an earlier
            run is renamed.
        label, unit: texts of the progress bar.
        workers: the processes that train together, each with a store of the same checkpoints.

    Returns:
        Whether training reached its end without a request to stop. If not, the command ends with exit code 130.

    Raises:
        UserError: the folder cannot be written, another process trains in it, its checkpoint has other settings, or
            numbers are not finite.
    """
    try:
        with workers.chief_first():
            iteration = store.start(resume)
        if workers.any(str(iteration).encode() != workers.from_chief(str(iteration).encode())):
            raise UserError(f"another process has trained in {store.folder} just now: start all workers again")
        workers.copy_from_chief(training.variables())
        if iteration >= training.end and not _missed(training, iteration):
            return True
        iteration, stopped = _run(training, store, workers, iteration, label, unit)
    finally:
        store.end()
    if not stopped:
        return True
    again = "" if resume else ", without --resume=False,"
    print(
        f"Stopped after {iteration} of {training.end} iterations, which are saved. Run the same command again{again} "
        "to resume."
    )
    return False


def _run(training, store, workers, iteration, label, unit):
    """Returns the number of iterations done, and whether a stop was requested."""
    saved, end = iteration, training.end
    # A request in one worker stops all: `any` asks all of them together, so that they stop at the same iteration.
    with StopRequest() as stop, training.opened(iteration), progress(end, label, unit, iteration) as bar:
        for event in _missed(training, iteration):
            event.act(iteration)
        while iteration < end and not workers.any(stop.requested):
            _act(training, iteration, before=True)
            for done, metrics in training.advance(iteration, _pause(iteration, training)):
                bar.set_postfix_str(training.status(metrics), refresh=False)
                bar.update(done - iteration)
                iteration = done
                if stopped := workers.any(stop.requested):
                    break
            if stopped:
                break
            if iteration == end or (training.save_every and iteration % training.save_every == 0):
                saved = _save(training, store, workers, iteration)
            if not workers.any(stop.requested):
                _act(training, iteration, before=False)
        if iteration > saved:
            _save(training, store, workers, iteration)
    return iteration, workers.any(stop.requested)


def _pause(iteration, training):
    """The next iteration at which something is due, or the end."""
    every = [training.save_every, *(event.every for event in training.events)]
    return min([training.end, *((iteration // n + 1) * n for n in every if n)])


def _missed(training, iteration):
    """The events that were due at the iteration where a run resumes, but have not happened."""
    return [e for e in training.events if iteration and e.is_due(iteration, training.end) and e.missed(iteration)]


def _act(training, iteration, before):
    for event in training.events:
        if event.before == before and event.is_due(iteration, training.end):
            event.act(iteration)


def _save(training, store, workers, iteration):
    workers.copy_from_chief(training.variables())  # different kinds of machines may differ in the last bit
    if not all(np.isfinite(np.asarray(variable)).all() for variable in training.variables()):
        raise NotFinite(iteration, store.folder, training.remedy)
    store.save(iteration)
    return iteration


class NotFinite(UserError):
    """A loss or weights are no longer finite.

    Args:
        iteration: the number of iterations done.
        folder: the run's folder.
        remedy: what the user may try.
    """

    def __init__(self, iteration: int, folder: Path, remedy: str):
        super().__init__(
            f"the loss or the weights are no longer finite at iteration {iteration}: training stops and the "
            f"checkpoints in {folder} stay as they are; {remedy}"
        )


class StopRequest:
    """While entered, Ctrl-C or SIGTERM is only noted, so that the current step completes; a second one stops at once.

    Signals in quick succession count as one: see `Requests`.
    """

    def __init__(self):
        self._requests = Requests()
        self._previous = {}

    @property
    def requested(self) -> bool:
        """Whether a request has come."""
        return self._requests.count > 0

    def __enter__(self):
        in_main_thread = threading.current_thread() is threading.main_thread()  # only it may set signal handlers
        for number in (signal.SIGINT, signal.SIGTERM) if in_main_thread else ():
            self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame):
        if not self._requests.note():
            return
        if self._requests.count > 1:
            self.__exit__()
            signal.raise_signal(number)
            return
        with contextlib.suppress(OSError):  # the terminal may be gone
            # Not `print`: the signal may have interrupted a `print`.
            os.write(2, b"\nStopping after this step and saving; a second Ctrl-C stops at once.\n")

    def __exit__(self, *error):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
