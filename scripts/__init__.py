"""Commands, one per file, and the modules that they share."""

from maml_tf.runs.boundary import is_command, while_loading

if is_command():
    while_loading()
