"""Make mkdocstrings show the "Example:" of a docstring as code: it knows only the title "Examples:"."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

griffe: Any = import_module("griffe")  # of mkdocstrings, which is there only where the documentation is built

TITLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Rename the section of every docstring."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Called for each object that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = TITLE.sub(r"\1Examples:", obj.docstring.value)
