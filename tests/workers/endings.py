"""A worker that ends in a given way, perhaps slowly: `python -m tests.workers.endings WAY FOLDER SLOW SECONDS`.

The worker SLOW waits SECONDS before and after every sum. Messages can be slow once FOLDER/joined exists: see lines.py.
"""

import json
import os
import sys
import time
from pathlib import Path

from data_generators.errors import UserError
from maml_tf.runs import boundary, process, workers
from maml_tf.workers import Workers

TOLD = "another worker has ended with an error"
INDEX = int(json.loads(os.environ["TF_CONFIG"])["task"]["index"]) if "TF_CONFIG" in os.environ else 0


def fail():
    """Raises a UserError that names this worker."""
    raise UserError(f"mine: {INDEX}")


def fail_in_turn(together, failing):
    with together.chief_first():
        if failing == INDEX:
            fail()


def fail_alone(together, failing, error):
    """Raises an error in one worker while the other waits in a sum."""
    if failing == INDEX:
        raise error
    together.any(False)


def agree(together):
    if together.any(INDEX == 1):
        fail()


# Way to end -> (what the workers do, the exit code of both, how the error sentence of each begins).
WAYS = {
    "the chief refuses": (lambda together: fail_in_turn(together, 0), 2, ("mine: 0", TOLD)),
    "the other fails in its turn": (lambda together: fail_in_turn(together, 1), 2, (TOLD, "mine: 1")),
    "all agree to": (agree, 2, ("mine: 0", "mine: 1")),
    "each by itself": (lambda together: fail(), 2, ("mine: 0", "mine: 1")),
    "the chief alone": (lambda together: fail_alone(together, 0, UserError("mine: 0")), 2, ("mine: 0", TOLD)),
    "the other alone": (lambda together: fail_alone(together, 1, UserError("mine: 1")), 2, (TOLD, "mine: 1")),
    "the other is interrupted": (
        lambda together: fail_alone(together, 1, KeyboardInterrupt()),
        130,
        ("another worker was interrupted", None),
    ),
    "an error of ours": (lambda together: fail_alone(together, 0, ZeroDivisionError()), 1, (None, TOLD)),
    "well": (lambda together: together.any(False), 0, (None, None)),
}


def run(way, folder, slow, seconds):
    """Joins the other worker and ends in the given way."""
    process.configure(process.TASKS_SIDE_BY_SIDE)
    own_sum = Workers._sum

    def slow_sum(self, array):
        time.sleep(seconds)
        found = own_sum(self, array)
        time.sleep(seconds)
        return found

    with workers.joined() as together:
        together.any(False)  # connects the workers
        (folder / "joined").touch()
        if slow == INDEX:
            Workers._sum = slow_sum
        if way == "each by itself" and slow == INDEX:
            time.sleep(seconds)
        try:
            WAYS[way][0](together)
        finally:
            (folder / f"done{INDEX}").write_text(str(time.time()))
    return 0


def main(way, folder, slow, seconds):
    """Runs the worker as a command runs."""
    code = boundary.guarded(run, way, Path(folder), int(slow), float(seconds))
    Path(folder, f"ended{INDEX}").write_text(str(time.time()))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
