"""Has the API reference show a docstring's examples as code: griffe knows a section `Examples`, ours is `Example`."""

import re

from griffe import Extension


class Examples(Extension):
    """Renames the section as a docstring is read; the source stays."""

    def on_instance(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
