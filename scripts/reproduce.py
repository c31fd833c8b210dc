"""Runs one row of the paper's results with the paper's settings, lists them all, or tests the weights in runs/.

python -m scripts.reproduce
python -m scripts.reproduce omniglot_5way_1shot
python -m scripts.reproduce --verify
python -m scripts.reproduce --write_results

Prints the row's command, which calls main.py, scripts.baselines or scripts.train_rl, and does what that command does:
Ctrl-C saves, and the same call resumes. At the end it prints the row's line for docs/results.csv, the record of our
results, and the published number beside ours.

--verify tests the weights in runs/ without training, and compares the numbers with the record. Accuracies, errors and
their intervals must equal the record's to its last digit; returns may differ by twice the half width of their 95 %
interval, since simulations differ by machine. It prints a table of all rows, or of the named rows. It exits with 1 if a
number differs, if a named row cannot be tested, or if no row can be tested. --write_results writes the tables of
RESULTS.md and README.md from the record, and those of docs/performance.md from the csv files of scripts.benchmark.
"""

import contextlib
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from data_generators.errors import UserError
from data_generators.files import DAMAGE, replacing
from maml_tf.runs import process
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.style import aligned
from scripts import record, tables, verify
from scripts.results import RESULTS
from scripts.rows import Options, Result
from scripts.served import processor

SESSIONS = "sessions.json"
COLUMNS = ("run", "published", "ours", "on", "iterations", "command", "commit", "duration")
_ROOT = Path(__file__).parents[1]


def define(flags: Flags) -> None:
    """Defines the flags."""
    rows = "name of the row to run, or with --verify of rows; default: lists or tests all"
    flags.argument("rows", rows, required=False, several=True)
    flags.boolean("verify", False, "test the weights that are there against the record")
    pages = "write the tables of RESULTS.md, README.md and docs/performance.md from the record"
    flags.boolean("write_results", False, pages)
    flags.exclusive("verify", "write_results", "do different things")
    flags.integer("iterations", None, "iterations of training, for an incomplete run; default: the paper's", least=1)
    whole = "with --verify, the folder above these, by default runs/"
    flags.string("logdir", None, f"folder of the runs; default: logs/<datasource>; {whole}")
    flags.string("data_dir", None, "folder of the data; default: data/<datasource>")


def run(flags: Flags) -> int:
    """Lists the rows, runs one, tests them or writes the tables; returns the exit code."""
    options = Options(flags.logdir, flags.data_dir, flags.iterations)
    _check(flags, options)
    if flags.verify:
        return verify.run(flags.rows, flags.logdir, flags.data_dir)
    if flags.write_results:
        print(*(f"Written to {path}" for path in tables.write()), sep="\n")
        return 0
    for row in flags.rows:
        if row not in RESULTS:
            raise UserError(f"there is no row {row!r}: choose one of {', '.join(RESULTS)}")
    if len(flags.rows) > 1:
        raise UserError("only --verify takes several rows: run them one after the other")
    result = RESULTS[flags.rows[0]] if flags.rows else None
    if result and (unread := set(options.flags("data_dir")) - set(result.command(options))):
        raise UserError(f"{result.title} reads no data: leave out {unread.pop()}")
    if result:
        process.choose_kernels(result.image_side)
        print(f"{result.title}: {shlex.join(result.command(options))}")
    with process.quiet_import():
        import tensorflow  # noqa: F401 - needed to read the runs
    if result is None:
        print(listing(options))
        return 0
    code, effort = _session(result, options)
    if code == 0:
        print("", "For docs/results.csv:", record_line(result, options, effort), sep="\n")
        if best := result.best(options):
            print(record_line(result, options, effort, best))
        print("", *results_lines(result, options, effort), sep="\n")
    return code


def _check(flags, options):
    """Raises UserError if an argument is given that --verify or --write_results would ignore."""
    given = flags.rows + options.flags("logdir", "data_dir", "iterations")
    if flags.write_results and given:
        raise UserError(f"--write_results writes all tables from the record alone: leave out {' '.join(given)}")
    if flags.verify and flags.iterations is not None:
        raise UserError("--verify tests after the iterations that the record names: leave out --iterations")


def listing(options: Options) -> str:
    """Lists every row: its name, the published number, the iterations that its run has done, and the run's folder."""
    cells = [("row", "published", "iterations", "folder")]
    for name, result in RESULTS.items():
        done, total = result.done(options), options.iterations or result.total
        progress = (f"{done} of {total}", str(result.folder(options))) if done else ("-", "no run yet")
        cells.append((name, result.published or "-", *progress))
    return "\n".join(aligned(cells))


class Session(NamedTuple):
    """One call of a command, from its start to its end or to Ctrl-C.

    start, end: number of iterations done before and after it.
    seconds: seconds that it took.
    commit: commit of the code; "" if it is not known.
    """

    start: int
    end: int
    seconds: float
    commit: str


class Effort(NamedTuple):
    """The time and the commits of all sessions of a run.

    seconds: sum over the recorded sessions.
    commits: different commits of the sessions, in order.
    whole: whether the recorded sessions cover all iterations; a session that was killed is not recorded.
    """

    seconds: float
    commits: list[str]
    whole: bool


def _session(result, options):
    """Runs a result and records the session; returns (exit code, Effort of all sessions)."""
    start = result.done(options)
    begun, made = time.monotonic(), commit()
    code = result.run(options)
    folder, done = result.folder(options), result.done(options)
    if code in (0, 130):
        note(folder, Session(start, done, time.monotonic() - begun, made))
    return code, effort(folder, done)


def note(folder: str | Path, session: Session) -> None:
    """Records a session of a run; does nothing if the folder is missing or cannot be written."""
    path = Path(folder) / SESSIONS
    if not path.parent.is_dir():
        return
    sessions = [*_read(path), session]
    with contextlib.suppress(OSError), replacing(path) as part:
        part.write_text(json.dumps([s._asdict() for s in sessions], indent=1), encoding="utf-8")


def effort(folder: str | Path, done: int) -> Effort:
    """Returns the Effort of the run in a folder so far.

    Args:
        folder: folder of the run.
        done: number of iterations that it has done.
    """
    sessions = _read(Path(folder) / SESSIONS)
    # If the run was begun anew in the same folder, only the sessions since then count.
    begin = max((i for i, s in enumerate(sessions) if s.start == 0), default=0)
    sessions = sessions[begin:]
    ends = [0, *(s.end for s in sessions)]
    whole = bool(sessions) and [s.start for s in sessions] == ends[:-1] and ends[-1] == done
    return Effort(sum(s.seconds for s in sessions), list(dict.fromkeys(s.commit for s in sessions)), whole)


def commit() -> str:
    """Returns the commit of this clone and whether files differ from it; "" if this is no clone or there is no git."""
    try:
        return _git("rev-parse", "--short", "HEAD") + (
            " with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments):
    # Only in a clone of this project: an installation may lie within the clone of another project.
    if not (_ROOT / ".git").exists():
        raise OSError("no clone")
    line = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def _read(path):
    try:
        return [_checked(Session(**made)) for made in json.loads(path.read_text(encoding="utf-8"))]
    except DAMAGE:
        return []


def _checked(session):
    if not all(type(number) in (int, float) for number in session[:3]) or type(session.commit) is not str:
        raise ValueError("this is no session")
    return session


def results_lines(result: Result, options: Options, effort: Effort) -> list[str]:
    """Makes a markdown table with one line: the published number and ours, and how ours was made.

    Args:
        result: Result whose run has been evaluated.
        options: Options that it was run with.
        effort: Effort of its sessions.
    """
    done, ours = result.done(options), result.ours(options)
    iterations = f"{done:,}"
    if done < result.total:
        whole = options._replace(iterations=None)
        iterations += f" of {result.total:,}; `{shlex.join(result.command(whole))}` resumes it"
    duration = _duration(effort.seconds) + ("" if effort.whole else " (not all sessions are known)")
    line = f"`{shlex.join(result.command(options))}`"
    commits = ", ".join(c for c in effort.commits if c) or "unknown"
    cells = (result.title, result.published or "-", ours.text, ours.split, iterations, line, commits, duration)
    return tables.markdown([COLUMNS, cells]).splitlines()


def record_line(result: Result, options: Options, effort: Effort, best: int | None = None) -> str:
    """Makes the line of a result for docs/results.csv; arguments as for `results_lines`.

    The numbers are those of the checkpoint of iteration `best` or, if that is None, of the latest. Texts that are not
    measured, and the published numbers, are copied from the record.
    """
    split, _, means, ci95s = curve = result.curve(options, best=True) if best else result.curve(options)
    line = record.of_row(record.read(), result.name) or record.Line(row=result.name, run=result.title)
    line = line._replace(
        run=line.run + (", best on validation" if best else ""),
        ours=" ".join(means),
        ci95=" ".join(ci95s),
        updates=" ".join(curve.updates) or line.updates,
        split=split,
        checkpoint="best" if best else "last",
        iterations=str(best or result.done(options)),
        seed="0",
        command=shlex.join(result.command(options)),
        commit="; ".join(filter(None, effort.commits)),
        hours=f"{effort.seconds / 3600:.3g}" if effort.whole else "",
        machine=f"{process.available_cores()} cores, {processor()}",
    )
    return record.as_csv([line])


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
