"""Fields of a picture's entry that lead to a picture file: which they are, and what they say of a copy of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cutmix_dense.data.pictures import PICTURE_SUFFIXES

_ADDRESSES = ("coco_url", "url", "flickr_url")
"""COCO's own, the one that names the picture first."""


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


def without_addresses(details: Mapping[str, Any], kept: str, lost: Counter[str], path: str = "") -> dict[str, Any]:
    """What is said of a picture without the texts that lead to a picture file: they would show it unmixed.

    Args:
        details: parsed JSON; dicts in it lose such texts alone.
        kept: a key that stays.
        lost: counts what is left out, by name.
        path: of the details, before their names.
    """
    left: dict[str, Any] = {}
    for key, value in details.items():
        if isinstance(value, dict):
            left[key] = without_addresses(value, "", lost, f"{path}{key}.")
        elif key == kept or not isinstance(value, str) or not value or not _leads(key, value):
            left[key] = value
        else:
            lost[f"{path}{key} of mixed pictures"] += 1
    return left


def _leads(key: str, text: str) -> bool:
    file = text.partition("?")[0].partition("#")[0]
    return key in _ADDRESSES or file.lower().endswith(tuple(PICTURE_SUFFIXES))
