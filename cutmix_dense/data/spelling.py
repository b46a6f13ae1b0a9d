"""Names of files as they are spelled on disk, for lists that spell them another way."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection
from urllib.parse import unquote


class Names:
    """Names that are there, found by others that differ in capitals, in how accents are encoded, or as in addresses.

    Those of macOS have an accent as a character of its own (NFD); in addresses a space is ``%20``.

    Args:
        names: those that are there.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._lower: dict[str, str | None] | None = None

    def find(self, name: str) -> str | None:
        """The name that is there; None if none is, or if several differ from it in no more than that."""
        spelled = (name, unquote(name))
        for each in spelled:
            if each in self._names:
                return each
        if self._lower is None:  # seldom needed
            self._lower = {}
            for there in self._names:
                self._lower[_plain(there)] = None if _plain(there) in self._lower else there
        return next((found for each in spelled if (found := self._lower.get(_plain(each))) is not None), None)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).lower()


class Folders:
    """The files under a folder, found by paths whose parts are spelled another way.

    Args:
        root: the folder.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, Names] = {}

    def find(self, path: str) -> str | None:
        """The path under the root, forward slashes between its parts; None if no file is there, in any spelling."""
        found = ""
        for part in path.split("/"):
            if found not in self._known:
                try:
                    self._known[found] = Names(set(os.listdir(f"{self._root}/{found}")))
                except (OSError, ValueError):  # no folder, or a name with a zero byte
                    self._known[found] = Names(())
            name = self._known[found].find(part)
            if name is None or name in ("", ".", ".."):
                return None
            found = f"{found}/{name}" if found else name
        return found if os.path.isfile(f"{self._root}/{found}") else None
