"""One file is one command."""

from maml_tf import interrupt

if interrupt.is_command():
    interrupt.while_loading()
