"""The shape of a few-shot task, shared by every domain."""

from typing import Any, NamedTuple


class Tasks(NamedTuple):
    """A batch of few-shot tasks; every array has the task as its leading axis.

    support_x: [tasks, support, ...] inputs to adapt on.
    support_y: [tasks, support, outputs] their targets: regression values, or one-hot labels.
    query_x: [tasks, query, ...] inputs to be judged on after adaptation.
    query_y: [tasks, query, outputs] their targets.
    """

    support_x: Any
    support_y: Any
    query_x: Any
    query_y: Any
