"""Measures an export: its metric on test tasks beside that of our own test, how fast it answers, and its size.

python -m scripts.benchmark_export --export_dir=exported/omniglot/1

The settings in the export's description identify the exported run, whose checkpoint and data are loaded. The test of
that run normalises queries by their own statistics, so only exports with `--export_transductive` should give the same
metric.
"""

import functools
import json
import shlex
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
    flags.string("logdir", None, "folder of the runs; default: logs/<datasource>, or logs/folder/<data_dir>")
    flags.string("data_dir", None, "folder of the data; default: data/<datasource>")
    flags.integer("tasks", 100, "test tasks to adapt to", least=1, most=10**6)
    flags.integer("calls", 1000, "calls to time of each kind", least=1, most=10**7)


def run(flags: Flags) -> None:
    """Prints the measurements."""
    with quiet_import():
        from maml_tf.supervised import build

    description = read_description(flags.export_dir)
    experiment = Experiment.of(**description["settings"])
    logdir = flags.logdir or experiment.dataset.logdir(flags.data_dir)
    made = build.load_run(experiment, logdir, iteration=description["iteration"], data_dir=flags.data_dir)
    tasks = made.data.evaluation_tasks(made.data.split_to_test(), 0, flags.tasks)
    export = load(flags.export_dir, description, _task(tasks, 0))
    print(*_metrics(export, made, tasks), *_speed(export, _task(tasks, 0), flags), sep="\n")


class Exported(NamedTuple):
    """A loaded export, after its first call.

    model: the loaded SavedModel.
    description: dict, the description that the export holds.
    labels: tf.TensorSpec of the support labels that it expects.
    first_answer: seconds from the start of loading to the first answer of `adapt_and_predict`.
    """

    model: object
    description: dict
    labels: object
    first_answer: float

    @property
    def only_updates(self):
        """The only number of updates that it makes with the step sizes of training; None if it makes any number."""
        return self.description["num_updates"] if self._step_size is None else None

    @property
    def _step_size(self):
        """The step size of training in the form that `adapt_and_predict_with` expects.

        None for step sizes per update or per weight, which that signature does not accept.
        """
        step_size = self.description["step_size"]
        step_size = list(step_size.values()) if isinstance(step_size, dict) else step_size
        return None if isinstance(step_size, str) or np.ndim(step_size) > 1 else step_size

    def adapt_and_predict(self, task, num_updates):
        """Returns the query outputs for one task after adaptation with the step sizes of training.

        task: Tasks whose arrays have no task axis.
        num_updates: number of updates; must be `only_updates`, unless that is None.
        """
        name, settings = "adapt_and_predict", {}
        if self.only_updates is None:
            name += "_with"
            settings = {"step_size": _tensor(self._step_size), "num_updates": _tensor(num_updates, "int32")}
        answer = self.model.signatures[name](
            support_inputs=_tensor(task.support_x),
            support_labels=_labels(task.support_y, self.labels),
            query_inputs=_tensor(task.query_x),
            **settings,
        )
        return answer["query_outputs"].numpy()

    def predict(self, task):
        """Returns the outputs of the initial weights for a task's queries."""
        return self.model.signatures["predict"](inputs=_tensor(task.query_x))["outputs"].numpy()


def read_description(export_dir: str) -> dict:
    """Reads the description that the export of a run holds.

    Raises:
        UserError: the description cannot be read, or the export is not of a run.
    """
    from maml_tf.export import DESCRIPTION

    path = Path(export_dir, DESCRIPTION)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        command = f"python main.py {shlex.quote(f'--export_dir={export_dir}')}"
        raise UserError(f"{path} cannot be read: make an export by `{command}`") from error
    if not isinstance(description, dict) or not {"datasource", "settings"} <= description.keys():
        raise UserError(f"{export_dir} is no export of a run of main.py: name one that is")
    return description


def load(export_dir, description, task):
    """Loads an export and calls it once; returns Exported."""
    import tensorflow as tf

    inputs = {"support_inputs": _tensor(task.support_x), "query_inputs": _tensor(task.query_x)}
    start = time.perf_counter()
    model = tf.saved_model.load(str(export_dir))
    signature = model.signatures["adapt_and_predict"]
    labels = signature.structured_input_signature[1]["support_labels"]
    signature(**inputs, support_labels=_labels(task.support_y, labels))["query_outputs"].numpy()
    return Exported(model, description, labels, time.perf_counter() - start)


def metrics_of_export(export, maml, tasks, num_updates):
    """Adapts through the export; returns [tasks], the accuracy on the queries, or the loss if there is no accuracy."""
    metric = maml.accuracy or maml.loss
    found = []
    with progress(len(tasks.query_y), "Through the export", "task", leave=False) as bar:
        for task in (_task(tasks, i) for i in range(len(tasks.query_y))):
            outputs = export.adapt_and_predict(task, num_updates)
            found.append(float(metric(_tensor(outputs), task.query_y)))
            bar.update()
    return np.array(found)


def _metrics(export, made, tasks):
    updates, count = made.experiment.reported_update, len(tasks.query_y)
    found = metrics_of_export(export, made.maml, tasks, updates)
    ours = evaluate(
        made.maml,
        lambda first, n: type(tasks)(*(v[first : first + n] for v in tasks)),
        num_tasks=count,
        num_updates=made.experiment.test_updates,
    )
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
    kinds = {
        f"adapt_and_predict, {updates} update{'s' * (updates > 1)}": functools.partial(
            export.adapt_and_predict, task, updates
        )
        for updates in ([1, 10] if export.only_updates is None else [export.only_updates])
    }
    kinds["predict"] = functools.partial(export.predict, task)
    return [
        f"latency over {flags.calls} calls, {shape}:",
        *(f"  {name:30} {_latency(call, flags.calls)}" for name, call in kinds.items()),
        f"from loading to the first answer: {export.first_answer:.2f} s",
        f"size on disk: {size / 1e6:.2f} MB",
    ]


def _latency(call, calls):
    milliseconds = []
    for _ in range(calls + calls // 10 + 1):
        start = time.perf_counter()
        call()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    median, slow = np.percentile(milliseconds[-calls:], (50, 99))  # the calls before these warm up
    return f"median {median:8.2f} ms, 99th percentile {slow:8.2f} ms"


def _task(tasks, index):
    """One of the tasks, without the task axis."""
    return type(tasks)(*(values[index] for values in tasks))


def _labels(values, spec):
    """Converts labels to what an export expects: class ids become one-hot labels if it expects one-hot labels."""
    import tensorflow as tf

    return _tensor(tf.one_hot(values, spec.shape[-1]) if spec.shape.rank > np.ndim(values) else values, spec.dtype)


def _tensor(value, dtype="float32"):
    import tensorflow as tf

    return tf.cast(tf.convert_to_tensor(value), dtype)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
