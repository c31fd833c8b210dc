"""Has the API reference show two forms of our docstrings, which it does not know; the sources stay."""

import re

from griffe import Extension

_FIELD = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*): ", re.MULTILINE)


class Forms(Extension):
    """An `Example` as code: the section's name is `Examples` there. The fields of a class as a list."""

    def on_instance(self, *, obj, **_):
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            if obj.is_class:
                obj.docstring.value = "\n\n".join(map(_listed, obj.docstring.value.split("\n\n")))


def _listed(paragraph):
    """A paragraph as a list, if each of its lines is `name: meaning` or continues the line before."""
    if all(_FIELD.match(line) or line.startswith("    ") for line in paragraph.split("\n")):
        return _FIELD.sub("- **`\\1`** \u2013 ", paragraph)
    return paragraph
