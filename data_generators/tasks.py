"""The shape of a few-shot task, shared by every domain."""

from typing import Any, NamedTuple


class Tasks(NamedTuple):
    """A batch of few-shot tasks; every array has the task as its leading axis.

    support_x: [tasks, support, ...] inputs to adapt on.
    support_y: [tasks, support, outputs] their targets: regression values, or one-hot labels.
    query_x: [tasks, query, ...] inputs to be judged on after adaptation.
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
