"""Fields of a picture's entry that lead to a picture file: which they are, and what they say of a copy of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cutmix_dense.data.pictures import PICTURE_SUFFIXES

_ADDRESSES = ("coco_url", "url", "flickr_url")
"""COCO's own, the one that names the picture first."""

_GONE = object()
"""Stands for a text that is left out."""


def address_of(entry: Mapping[str, Any]) -> str:
    """The key of the address that names a picture where no file name does; "" where there is none."""
    return next((key for key in _ADDRESSES if isinstance(entry.get(key), str) and entry[key]), "")


def name_in(address: str) -> str:
    """Folder and file of a picture's address, which LVIS' readers open."""
    return "/".join(address.partition("?")[0].rsplit("/", 2)[-2:])


def renamed(address: str, path: str) -> str:
    """An address that ends with the last two parts of a path; as it is where it ends so already."""
    wanted = "/".join(PurePosixPath(path).parts[-2:])
    return address if name_in(address) == wanted else "/".join([*address.partition("?")[0].rsplit("/", 2)[:-2], wanted])


def without_addresses(details: Mapping[str, Any], kept: str, lost: Counter[str]) -> dict[str, Any]:
    """What is said of a picture without the texts that lead to a picture file: they would show it unmixed.

    Args:
        details: parsed JSON. Of its own fields the addresses of COCO go, and all texts in it that end like the name of
            a picture file, in dicts and lists, too.
        kept: a key that stays. So do a clip's ``file_names``.
        lost: counts what is left out, by name.
    """
    left: dict[str, Any] = {}
    for key, value in details.items():
        if key in (kept, "file_names"):
            left[key] = value
        elif key in _ADDRESSES and isinstance(value, str) and value:
            lost[f"{key} of mixed pictures"] += 1
        elif (rest := _without_files(value, key, lost)) is not _GONE:
            left[key] = rest
    return left


def _without_files(value: Any, name: str, lost: Counter[str]) -> Any:
    """A value without the names of picture files in it; ``_GONE`` if it is one."""
    if isinstance(value, dict):
        parts = ((key, _without_files(part, f"{name}.{key}", lost)) for key, part in value.items())
        return {key: part for key, part in parts if part is not _GONE}
    if isinstance(value, list):
        return [part for each in value if (part := _without_files(each, name, lost)) is not _GONE]
    file = value.partition("?")[0].partition("#")[0] if isinstance(value, str) else ""
    if not file.lower().endswith(tuple(PICTURE_SUFFIXES)):
        return value
    lost[f"{name} of mixed pictures"] += 1
    return _GONE
