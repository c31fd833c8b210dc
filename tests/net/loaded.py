"""Loads the slow libraries as commands do, so that `commands.fork` can copy a process that has them."""

from maml_tf.runs import process

with process.quiet_import():
    import rl.training
    from maml_tf.supervised import commands

__all__ = ["commands", "rl"]
