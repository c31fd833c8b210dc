"""One file is one command."""

from maml_tf.runs.boundary import is_command, while_loading

if is_command():
    while_loading()
