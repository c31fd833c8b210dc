"""One file is one command."""

from maml_tf.runs import command

if command.is_command():
    command.while_loading()
