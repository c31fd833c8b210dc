"""Tests stored weights against the record, for `scripts.reproduce --verify`; trains nothing.

A line of the record is tested with the settings that its command names.
"""

import functools
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import main
from data_generators.errors import UserError
from maml_tf.runs import process
from maml_tf.runs.flags import Flags
from maml_tf.supervised.conditions import TRAINED
from rl.experiment import RLExperiment
from scripts import evaluate_rl, train_rl
from scripts.record import NONE, Line, Number, read

RUNS = "runs"
AUTHORS = "FOLDER"  # in the record, stands for the --logdir of the authors' weights
# Returns are the same to the last digit on machines that compute alike. On others, rounding errors grow along the
# trajectories until they differ as much as with other noise in the actions. With other noise, returns after updates
# changed by up to 1.7 times the half width of the record's 95 % interval (half-cheetah, two or three evaluations each).
HALF_WIDTHS = 2
_OF_OTHER_TESTS = "test_queries", "test_ways", "test_head", "test_tasks", "ensemble"
_HEADER = ("row", "run", "updates", "record", "now", "")


class Skipped(Exception):
    """A line cannot be tested; the message says why."""


class Checked(NamedTuple):
    """The result of testing a line.

    line: line of the record.
    update: number of updates after which the numbers are compared: that of the largest difference, or the last.
    now: our number, as computed now; None if it was not computed.
    verdict: "ok", the difference, or why the line was skipped.
    differs: whether the difference is too large.
    """

    line: Line
    update: str
    now: Number | None
    verdict: str
    differs: bool = False


def run(rows: Sequence[str], logdir: str | None = None, data_dir: str | None = None) -> int:
    """Tests rows and prints a table of them.

    Args:
        rows: names of rows; if empty, all are tested.
        logdir: folder that holds the runs, in its subfolders <datasource> and <env>; default, runs/.
        data_dir: folder of the data; default, the dataset's own.

    Returns:
        The exit code: 1 if a number differs from the record, if no line of a named row could be tested, or if no line
        at all could be tested; otherwise 0.

    Raises:
        UserError: there is no such row, or a checkpoint is damaged.
    """
    lines = [line for line in read() if line.row]
    names = dict.fromkeys(line.row for line in lines)
    for row in rows:
        if row not in names:
            raise UserError(f"the record has no row {row!r}: choose one of {', '.join(names)}")
    with process.quiet_import():
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")  # it would warn that one policy after another is compiled
    process.configure(process.TASKS_SIDE_BY_SIDE)
    lines = [line for line in lines if not rows or line.row in rows]
    known = [_cells(Checked(line, _last(line), None, "")) for line in lines]
    widths = [max(map(len, column)) for column in zip(_HEADER, *known, strict=True)]
    widths[4] = widths[3]  # the column of what is computed now
    print(_padded(_HEADER, widths))
    differs, tested = False, set()
    for line in lines:  # each is printed at once, since testing it takes seconds to minutes
        checked = check(line, logdir or RUNS, data_dir)
        print(_padded(_cells(checked), widths))
        differs |= checked.differs
        tested |= set() if checked.now is None else {line.row}
    skipped = [row for row in dict.fromkeys(rows) if row not in tested]
    if not tested:
        print("Nothing was tested")
    elif skipped:
        print(f"Not tested: {', '.join(skipped)}")
    return int(differs or not tested or bool(skipped))


def check(line: Line, logdir: str, data_dir: str | None = None) -> Checked:
    """Computes the numbers of a line again and compares them; arguments as for `run`."""
    record = line.ours_by_update
    try:
        if not record:
            raise Skipped(f"not in {logdir}/")
        now = _evaluation(line)(line, logdir, data_dir)
    except Skipped as why:
        return Checked(line, _last(line), None, f"skipped: {why}")
    return compare(line, now, HALF_WIDTHS if line.split == "40 goals" else 0)


def compare(line: Line, now: Mapping[str, tuple[float, float]], half_widths: float = 0) -> Checked:
    """Compares numbers with those of a line.

    Args:
        line: line of the record.
        now: mean and ci95 by number of updates, for the updates to compare.
        half_widths: largest difference of a mean, as a multiple of the record's ci95; the rounding of the record is
            always allowed. If 0, the ci95 is compared too, unless the record has none, and may differ by its rounding.
    """
    worst = None
    for update, (mean, ci95) in now.items():
        recorded = line.ours_by_update[update]
        compared = [("", recorded.mean, mean)]
        compared += [] if half_widths or recorded.ci95 == NONE else [("the interval ", recorded.ci95, ci95)]
        for what, text, value in reversed(compared):  # if both differ by as much, the mean is named
            difference, allowed = _difference(text, value), _rounding(text)
            rounded = difference <= allowed
            if half_widths:
                allowed = max(allowed, half_widths * float(recorded.ci95))
            key = (difference > allowed, not rounded, difference if not rounded else 0)
            if worst is None or key >= worst[0]:
                worst = key, update, _like(recorded, mean, ci95), f"{what}differs by {difference:.2g}"
    (differs, changed, _), update, number, text = worst
    return Checked(line, update, number, text if differs else f"ok, {text}" if changed else "ok", differs)


def _difference(text, value):
    """Returns the difference of a recorded number and ours: 0 if both are NaN, infinite if only one is."""
    difference = abs(value - float(text))
    if math.isnan(difference):
        return 0.0 if text == "nan" and math.isnan(value) else math.inf
    return difference


def _rounding(text):
    """Returns half a unit in the last digit, plus a margin for the error of its binary form."""
    exponent = Decimal(text).as_tuple().exponent
    return 0.500001 * 10.0**exponent if isinstance(exponent, int) else 0.0


def _like(recorded, mean, ci95):
    """Formats a number with as many digits after the point as the recorded one."""
    digits = len(recorded.mean.partition(".")[2]) if "e" not in recorded.mean else 1
    form = f".{digits}{'e' if 'e' in recorded.mean else 'f'}"
    return Number(f"{mean:{form}}", f"{ci95:{form}}" if math.isfinite(ci95) else "-")


def _last(line):
    return line.updates.split()[-1] if line.updates else ""


def _padded(cells, widths):
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(checked):
    line, update = checked.line, checked.update
    recorded = line.ours_by_update.get(update, "-")
    return line.row, line.run, update, str(recorded), str(checked.now or "-"), checked.verdict


def _evaluation(line) -> Callable:
    _, *arguments = shlex.split(line.command)
    if arguments[0] == "main.py":
        return functools.partial(_supervised, arguments)
    scripts = {"scripts.train_rl": train_rl, "scripts.evaluate_rl": evaluate_rl}
    if arguments[1] in scripts:
        return functools.partial(_policy, scripts[arguments[1]], arguments[2:])
    raise Skipped("its command trains and tests at once")


def _supervised(arguments, line, logdir, data_dir):
    """Computes mean and ci95 by update as `main.py --train=False` does, without updates after which losses diverged."""
    from maml_tf.runs.checkpoints import available
    from maml_tf.supervised import build, evaluation

    flags = main.parse(arguments)
    if flags.logdir == AUTHORS:
        raise Skipped("the authors' weights are not here")
    if unusual := [f"--{name}" for name in _OF_OTHER_TESTS if getattr(flags, name) not in (None, TRAINED)]:
        raise Skipped(f"its test has {', '.join(unusual)}")
    trained, tested = main.experiments(flags)
    dataset, shots = trained.dataset, tested.update_batch_size
    folder = _checkpoints(line, build.run_folder(trained, Path(logdir, dataset.name)))
    if int(line.iterations) not in available(folder):
        raise Skipped(f"not in {logdir}/")
    try:
        data = build.load(trained, data_dir, shots)
    except UserError as error:
        print(f"{line.row}: {error}")
        raise Skipped("no data") from error
    if line.split not in data.splits:
        raise Skipped("no data")
    maml = build.build(trained, data.source, shots=shots)
    build.restore(maml, trained, folder, int(line.iterations))
    result = evaluation.evaluate(
        maml,
        functools.partial(data.evaluation_tasks, line.split),
        num_updates=max(1, *map(int, line.updates.split())),
        tasks_per_call=dataset.tasks_per_call,
        step_size=None if tested.update_lr == trained.update_lr else tested.update_lr,
        transductive=flags.transductive,
        label=f"Testing {line.row}",
    )
    percent = 100 if result.kind == "accuracy" else 1
    updates = [int(update) for update in line.updates.split()]
    # The loss of a diverged task dominates the mean, and differs by machine. Accuracies are not affected.
    updates = [update for update in updates if percent == 100 or not result.diverged[update]]
    if not updates:
        raise Skipped("tasks diverged after every update")
    return {str(n): (percent * float(result.mean[n]), percent * float(result.ci95[n])) for n in updates}


def _checkpoints(line, folder):
    return folder / "best" if line.checkpoint == "best" else folder


def _policy(script, arguments, line, logdir, data_dir):
    """Computes mean and ci95 of the returns by update, as `scripts.evaluate_rl` does."""
    from maml_tf.runs.checkpoints import available
    from rl import build, evaluation

    flags = Flags()
    script.define(flags)
    flags.parse(arguments)
    experiment = RLExperiment.of(**flags.given(RLExperiment))
    evaluates = script is evaluate_rl
    name = flags.policy[0] if evaluates else experiment.baseline
    if name == "random":
        policies = evaluation.restore_policies(experiment, [name])
    else:
        best, iteration = line.checkpoint == "best", int(line.iterations)
        if iteration not in available(_checkpoints(line, build.run_folder(experiment, logdir))):
            raise Skipped(f"not in {logdir}/")
        policies = {name: build.load_policy(experiment, logdir, None if best else iteration, best)[0]}
    update = flags.update if evaluates else evaluation.VPG
    found = evaluation.evaluate(experiment, policies, update=update, required=True)[name]
    numbers = zip(found.mean, found.ci95, strict=True)
    return {str(n): (float(mean), float(ci95)) for n, (mean, ci95) in enumerate(numbers)}
