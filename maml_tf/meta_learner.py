"""The former place of MAML and adam, which still works in this release: import them from maml_tf."""

from maml_tf.maml import MAML, Adapted, adam

__all__ = ["MAML", "Adapted", "adam"]
