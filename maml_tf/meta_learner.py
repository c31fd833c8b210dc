"""The former module of MAML and adam, which still works in this release; import them from maml_tf instead."""

from maml_tf.maml import MAML, Adapted, adam

__all__ = ["MAML", "Adapted", "adam"]
