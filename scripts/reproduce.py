"""Runs one row of the paper's results with the paper's settings, or lists them all.

python -m scripts.reproduce
python -m scripts.reproduce omniglot_5way_1shot

A row is the command that it prints, of main.py, scripts.baselines or scripts.train_rl: Ctrl-C saves, and the same
call resumes. At its end come the published figures beside ours, and the line for RESULTS.md.
"""

import shlex
import sys
import time

from maml_tf.runs import process
from maml_tf.runs.process import quiet_import
from maml_tf.supervised.experiment import Experiment
from scripts import command


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code, 2 for a mistake that the user can mend, 130 after an interruption."""
    return command.guarded(lambda: _run(_parser().parse_args(arguments)))


def _parser():
    parser = command.parser("reproduce", __doc__)
    parser.add_argument("row", nargs="?", help="name of the row to run; without it, all are listed")
    parser.add_argument("--iterations", type=int, help="of training, for an incomplete run; default the paper's")
    parser.add_argument("--logdir", help="folder of the runs; default logs/<datasource>")
    parser.add_argument("--data_dir", help="folder of the data; default data/<datasource>")
    return parser


def _run(flags):
    if flags.row and flags.row.startswith("miniimagenet"):  # rows are named by their data
        process.choose(Experiment.of(datasource="miniimagenet").image_side)
    with quiet_import():  # only now, so that --help need not wait for TensorFlow
        from scripts.reproduction import all_rows, registry, text  # noqa: F401 - the rows register themselves

    options = registry.Options(flags.logdir, flags.data_dir, flags.iterations)
    if flags.row is None:
        print(text.listing(options))
        return 0
    row = registry.find(flags.row)
    print(f"{row.title}: {shlex.join(row.command(options))}")
    code, effort = _session(row, options)
    if code == 0:
        print("", *text.results_lines(row, options, effort), sep="\n")
    return code


def _session(row, options):
    """Runs a row and notes what it took. Returns (its exit code, the Effort of all its sessions)."""
    from scripts.reproduction import sessions

    start, begun, commit = row.status(options).done, time.monotonic(), sessions.commit()
    code = row.run(options)
    status = row.status(options)
    if code in (0, 130):
        sessions.note(status.folder, sessions.Session(start, status.done, time.monotonic() - begun, commit))
    return code, sessions.effort(status.folder, status.done)


if __name__ == "__main__":
    sys.exit(main())
