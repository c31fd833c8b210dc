"""One file is one command."""

from maml_tf.runs.command import is_command, while_loading

if is_command():
    while_loading()
