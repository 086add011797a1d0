"""Examples in docstrings as code: Markdown would take `>>>` for quotations in quotations."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> (?:.+\n?)+", re.MULTILINE)  # up to an empty line


class Fenced(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(lambda found: f"\n```\n{found[0].rstrip()}\n```\n", obj.docstring.value)
