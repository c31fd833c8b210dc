"""Measures an export: its metric on test tasks beside that of our own test, how fast it answers, and its size.

python -m scripts.benchmark_export --export_dir=exported/omniglot/1

The settings in the export's description find the run that was exported, for its checkpoint and data. Its test
normalises queries by their own statistics, so that only exports with `--export_transductive` should equal it.
"""

import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_generators.errors import UserError
from data_generators.progress import progress
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from maml_tf.supervised.evaluation import evaluate
from maml_tf.supervised.experiment import Experiment


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.string("export_dir", None, "folder of the export", required=True)
    flags.string("logdir", None, "folder of the runs; default: logs/<datasource>")
    flags.string("data_dir", None, "folder of the data; default: data/<datasource>")
    flags.integer("tasks", 100, "test tasks to adapt to", least=1, most=10**6)
    flags.integer("calls", 1000, "calls to time of each kind", least=1, most=10**7)


def run(flags: Flags) -> None:
    """Prints the measurements."""
    with quiet_import():
        from maml_tf.supervised import build

    description = read_description(flags.export_dir)
    experiment = Experiment(**description["settings"])
    made = build.load_run(experiment, flags.logdir, iteration=description["iteration"], data_dir=flags.data_dir)
    tasks = made.data.evaluation_tasks("test", 0, flags.tasks)
    export = load(flags.export_dir, description, _task(tasks, 0))
    print(*_metrics(export, made, tasks), *_speed(export, _task(tasks, 0), flags), sep="\n")


class Exported(NamedTuple):
    """An export that has answered once.

    model: what loading it gives.
    description: dict of what it says of itself.
    first_answer: seconds from loading to the first answer of `adapt_and_predict`.
    """

    model: object
    description: dict
    first_answer: float

    def adapt_and_predict(self, task, num_updates):
        """Query outputs for one task, its arrays without the task axis, by the step size of training."""
        step_size = self.description["step_size"]
        step_size = list(step_size.values()) if isinstance(step_size, dict) else step_size
        answer = self.model.signatures["adapt_and_predict_with"](
            support_inputs=_tensor(task.support_x),
            support_labels=_tensor(task.support_y),
            query_inputs=_tensor(task.query_x),
            step_size=_tensor(step_size),
            num_updates=_tensor(num_updates, "int32"),
        )
        return answer["query_outputs"].numpy()

    def predict(self, task):
        """Outputs of the initialisation for a task's queries."""
        return self.model.signatures["predict"](inputs=_tensor(task.query_x))["outputs"].numpy()


def read_description(export_dir: str) -> dict:
    """What an export of a run says of itself.

    Raises:
        UserError: there is none, or the export is not of a run.
    """
    from maml_tf.export import DESCRIPTION

    path = Path(export_dir, DESCRIPTION)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read: make an export by `python main.py --export_dir={export_dir}`"
        ) from error
    if "settings" not in description:
        raise UserError(f"{export_dir} is no export of a run of main.py: name one that is")
    return description


def load(export_dir, description, task):
    """Loads an export and has it answer once; returns Exported."""
    import tensorflow as tf

    support = {"support_inputs": _tensor(task.support_x), "support_labels": _tensor(task.support_y)}
    query = _tensor(task.query_x)
    start = time.perf_counter()
    model = tf.saved_model.load(str(export_dir))
    model.signatures["adapt_and_predict"](**support, query_inputs=query)["query_outputs"].numpy()
    return Exported(model, description, time.perf_counter() - start)


def metrics_of_export(export, maml, tasks, num_updates):
    """[tasks] accuracy, or loss where there is none, on the queries after adaptation through the export."""
    metric = maml.accuracy or maml.loss
    found = []
    with progress(len(tasks.query_y), "Through the export", "task", leave=False) as bar:
        for task in (_task(tasks, i) for i in range(len(tasks.query_y))):
            outputs = export.adapt_and_predict(task, num_updates)
            found.append(float(metric(_tensor(outputs), _tensor(task.query_y))))
            bar.update()
    return np.array(found)


def _metrics(export, made, tasks):
    updates, count = made.experiment.reported_update, len(tasks.query_y)
    found = metrics_of_export(export, made.maml, tasks, updates)
    ours = evaluate(made.maml, lambda first, n: type(tasks)(*(v[first : first + n] for v in tasks)), num_tasks=count)
    test = ours.query[:, updates]
    return [
        f"{ours.kind} after {updates} updates on {count} test tasks, queries normalised by "
        f"{export.description['queries_normalised_by']}: {found.mean():.6f}",
        f"{ours.kind} of our test on the same tasks: {test.mean():.6f}; largest difference on a task: "
        f"{np.abs(found - test).max():.2g}",
    ]


def _speed(export, task, flags):
    size = sum(file.stat().st_size for file in Path(flags.export_dir).rglob("*") if file.is_file())
    shape = f"{len(task.support_x)} support and {len(task.query_x)} query examples"
    return [
        f"latency over {flags.calls} calls, {shape}:",
        *(
            f"  {name:30} {_latency(call, flags.calls)}"
            for name, call in (
                ("adapt_and_predict, 1 update", lambda: export.adapt_and_predict(task, 1)),
                ("adapt_and_predict, 10 updates", lambda: export.adapt_and_predict(task, 10)),
                ("predict", lambda: export.predict(task)),
            )
        ),
        f"from loading to the first answer: {export.first_answer:.2f} s",
        f"size on disk: {size / 1e6:.2f} MB",
    ]


def _latency(call, calls):
    milliseconds = []
    for _ in range(calls + calls // 10 + 1):
        start = time.perf_counter()
        call()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    median, slow = np.percentile(milliseconds[-calls:], (50, 99))  # those before them warm up
    return f"median {median:8.2f} ms, 99th percentile {slow:8.2f} ms"


def _task(tasks, index):
    """One of the tasks, without the task axis."""
    return type(tasks)(*(values[index] for values in tasks))


def _tensor(value, dtype="float32"):
    import tensorflow as tf

    return tf.cast(tf.convert_to_tensor(value), dtype)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
