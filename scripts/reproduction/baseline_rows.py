"""The rows of the two baselines, which scripts.baselines trains and tests together."""

from pathlib import Path

from maml_tf.baselines.training import iterations_done
from maml_tf.runs import tables
from maml_tf.runs.published import published_rows
from scripts import baselines
from scripts.reproduction.registry import Figure, Row, Status


class BaselineRow(Row):
    """A baseline on miniImagenet, 5-way.

    Args:
        name: of the row.
        key: of the baseline in published.json.
        shots: support images per class.
    """

    total = 30_000  # minibatches of the classifier

    def __init__(self, name: str, key: str, shots: int):
        self.name, self._shots = name, shots
        self._row = next(row for row in published_rows("miniimagenet", 5, shots) if row.key == key)
        self.title = f"miniImagenet, 5-way {shots}-shot, {self._row.system.lower()}"

    def published(self):
        """Its row in table 1."""
        return f"{self._row.percent} +- {self._row.ci95}"

    def command(self, options):
        """The same for both baselines."""
        iterations = [] if options.iterations is None else [f"--iterations={options.iterations}"]
        return ["python", "-m", "scripts.baselines", f"--shots={self._shots}", *iterations, *options.flags()]

    def run(self, options):
        """Calls scripts.baselines."""
        _, _, _, *arguments = self.command(options)
        return baselines.main(arguments)

    def status(self, options):
        """By the checkpoints of the classifier."""
        folder = self._logdir(options) / "classifier"
        return Status(str(folder), iterations_done(folder))

    def figure(self, options):
        """On the test classes or, without them, on the second half of the validation classes."""
        with tables.rows(self._logdir(options) / f"baselines_5way_{self._shots}shot.csv") as rows:
            by_split = {row["split"]: row for row in rows if row["baseline"] == self._row.system}
            row = by_split.get("test") or by_split["val"]
            split = "test" if "test" in by_split else f"second half of val ({row['classes']} classes)"
            return Figure(split, f"{float(row['accuracy']):.2f} +- {float(row['ci95']):.2f}")

    def _logdir(self, options):
        return Path(options.logdir or Path("logs", "miniimagenet"))


def baseline_rows() -> list[BaselineRow]:
    """Both baselines of table 1."""
    keys = {"fine_tuning": "fine_tuning_baseline", "nearest_neighbor": "nearest_neighbor_baseline"}
    return [
        BaselineRow(f"miniimagenet_5way_{shots}shot_{name}", key, shots)
        for name, key in keys.items()
        for shots in (1, 5)
    ]
