"""The rows as text: a table of all, and the line of one for RESULTS.md."""

import shlex

from maml_tf.supervised.report import aligned
from scripts.reproduction.registry import ROWS, Options, Row
from scripts.reproduction.sessions import Effort

COLUMNS = ("run", "published", "ours", "on", "iterations", "command", "commit", "duration")


def listing(options: Options) -> str:
    """Every row: its name, the published figure, how far its run has come, and where it is."""
    cells = [("row", "published", "iterations", "folder")]
    for row in ROWS.values():
        done, total = row.status(options).done, options.iterations or row.total
        cells.append((row.name, row.published() or "-", f"{done} of {total}" if done else "-", _folder(row, options)))
    return "\n".join(aligned(cells))


def results_lines(row: Row, options: Options, effort: Effort) -> list[str]:
    """A markdown table with one line: the published figure and ours, and how ours was made.

    Args:
        row: Row whose run has been tested.
        options: that it was run with.
        effort: of its sessions.
    """
    status, figure = row.status(options), row.figure(options)
    iterations = f"{status.done:,}"
    if status.done < row.total:
        whole = Options(options.logdir, options.data_dir)
        iterations += f" of {row.total:,}; `{shlex.join(row.command(whole))}` resumes it"
    duration = _duration(effort.seconds) + ("" if effort.whole else " (not all sessions are known)")
    command = f"`{shlex.join(row.command(options))}`"
    commits = ", ".join(c for c in effort.commits if c) or "unknown"
    cells = (row.title, row.published() or "-", figure.text, figure.split, iterations, command, commits, duration)
    return [_markdown(COLUMNS), _markdown(["---"] * len(COLUMNS)), _markdown(cells)]


def _folder(row, options):
    status = row.status(options)
    return status.folder if status.done else "no run yet"


def _markdown(cells):
    return f"| {' | '.join(cells)} |"


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
