"""One file is one command."""

from maml_tf import interrupt  # noqa: F401 - first, while the rest loads
