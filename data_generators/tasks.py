"""The shape of a few-shot task, and of what draws them; shared by every domain."""

from typing import Any, NamedTuple, Protocol


class Tasks(NamedTuple):
    """A batch of few-shot tasks; every array has the task as its leading axis.

    support_x: [tasks, support, ...] inputs to adapt on.
    support_y: [tasks, support, outputs] their targets: regression values, or one-hot labels.
    query_x: [tasks, query, ...] inputs to evaluate on after adaptation.
    query_y: [tasks, query, outputs] their targets.

    Example:
        >>> x = np.zeros((25, 20, 1))  # 25 tasks of 10 examples to adapt on and 10 to be measured on
        >>> Tasks(x[:, :10], np.sin(x[:, :10]), x[:, 10:], np.sin(x[:, 10:])).query_y.shape
        (25, 10, 1)
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any


class TaskSource(Protocol):
    """Draws tasks: a pure function of its arguments, on which resuming, workers and tests rest."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""

    @property
    def output_size(self) -> int:
        """Number of values that a model predicts for it."""

    @property
    def in_graph(self) -> bool:
        """Whether `sample` is TensorFlow, fit for a compiled loop; otherwise it gives NumPy arrays."""

    def sample(
        self, seed: int, split: str, iteration: int, num_tasks: int, part: tuple[int, int] | None = None
    ) -> Tasks:
        """Draws meta-batch `iteration`.

        Args:
            seed: of the run.
            split: "train", "val" or "test".
            iteration: which meta-batch, from 0.
            num_tasks: tasks in the whole meta-batch.
            part: (first, size), a worker's share of the meta-batch; default, all of it.
        """
