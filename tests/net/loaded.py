"""What takes long to load, so that `commands.fork` copies a process that has it: as commands load it."""

from maml_tf.runs import process

with process.quiet_import():
    import rl.training
    from maml_tf.supervised import commands

__all__ = ["commands", "rl"]
