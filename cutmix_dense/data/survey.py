"""What lies in a folder that no reader knows, and what would read it."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from cutmix_dense.data.files import walked
from cutmix_dense.data.foreign import WANTED, Found, kinds_of
from cutmix_dense.data.pictures import PICTURE_SUFFIXES
from cutmix_dense.data.sniff import coco_lists, json_fault, largest

_DEEP, _MANY = 4, 20_000
"""Folders are looked through so deep, and files counted up to so many."""

_SNIFFED = 1 << 16
"""Bytes at either end of a file that are searched for what tells its kind."""

_LOOKED_AT, _PER_FOLDER = 60, 5
"""So many files are looked into, and so many of one ending in one folder."""

_TABLES = 20
"""So many JSON files, the largest, are searched whole for COCO's lists."""

_TOLD = 3
"""Kinds of files that are told of."""


class _File(NamedTuple):
    """A file by its folder, its name, and the name's ending in lower case; thousands of paths would take too long."""

    place: str
    name: str
    ending: str

    @property
    def path(self) -> Path:
        return Path(self.place, self.name)


def advice(root: Path, below: Mapping[str, str]) -> str:
    """One message: the folder is of no layout that is known, what was found in it, and what would read it.

    Args:
        root: the folder.
        below: folders under it that are of a known layout, and which.
    """
    told = f"{root}: none of the known layouts (datasets/README.md shows them)"
    files = list(_files(root))
    pictures = [file for file in files if file.ending in PICTURE_SUFFIXES]
    tables = {
        path: json_fault(path) for path in largest((file.path for file in files if file.ending == ".json"), _TABLES)
    }
    broken = [f"{path.relative_to(root)} is no readable JSON: {fault}" for path, fault in tables.items() if fault][
        :_TOLD
    ]
    if below:
        first, layout = next(iter(below.items()))
        listed = ", ".join(f"{name}/ ({kind})" for name, kind in below.items())
        lines = [f"{told}; below it there are {listed}: name one, as {shlex.quote(str(root / first))} ({layout})"]
        plain = all(kind == "image_masks" for kind in below.values())  # as any two folders of pictures may look
        return "; ".join(lines + broken + (_of_other(root, files, pictures) if plain else []))
    if not files:
        return f"{told}; it holds no files"
    counts = Counter(file.ending for file in files)
    found = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in counts.most_common(5))
    lines = [f"{told}; found {'at least ' if len(files) >= _MANY else ''}{found}"]
    lines += broken
    lines += (
        _of_coco(root, [path for path, fault in tables.items() if not fault], pictures)
        or _of_other(root, files, pictures)
        or ([] if broken else _of_pictures(root, pictures, alone=len(files) == len(pictures)))
    )
    return "; ".join(lines)


def _of_coco(root: Path, tables: list[Path], pictures: list[_File]) -> list[str]:
    """Files with COCO's lists, and the flags that read them."""
    told = []
    for path in tables:
        lists = coco_lists(path)
        if len(lists) >= 2:
            words = ("--annotations", str(path.relative_to(root)), "--images", _folder(root, pictures))
            flags = " ".join(map(shlex.quote, words))
            told.append(f"{path.relative_to(root)} has {'/'.join(lists)}: {flags}")
    return told[:_TOLD]


def _of_other(root: Path, files: list[_File], pictures: list[_File]) -> list[str]:
    """What files of other kinds are, and what to do with them."""
    told: dict[str, str] = {}
    looked_at: Counter[tuple[str, str]] = Counter()
    opened = 0
    for file in files:
        group = (file.place, file.ending)
        looked_at[group] += 1
        kinds = kinds_of(file.name) if looked_at[group] <= _PER_FOLDER and opened < _LOOKED_AT else []
        if not kinds:
            continue
        text = ""
        if any(kind.sign for kind in kinds):
            opened += 1
            text = _ends(file.path)
        kind = next((kind for kind in kinds if not kind.sign or re.search(kind.sign, text, re.DOTALL)), None)
        if kind is not None and kind.name not in told:
            most = root / _folder(root, pictures) if pictures else None
            remedy = kind.remedy if isinstance(kind.remedy, str) else kind.remedy(Found(root, file.path, text, most))
            told[kind.name] = f"{file.path.relative_to(root)} looks like {kind.name}: {remedy}"
    return list(told.values())[:_TOLD]


def _of_pictures(root: Path, pictures: list[_File], alone: bool) -> list[str]:
    """Where pictures lie, alone or beside files of no known kind, and what it takes to read them."""
    places = Counter(file.place for file in pictures).most_common(4)
    if not places:
        return []
    listed = ", ".join(f"{os.path.relpath(place, root)}/ ({count})" for place, count in places)
    if len(places) == 1:
        told = (
            "nothing says what is on them: put the annotations beside them"
            if alone
            else f"no other file is of a known kind: write the annotations as {WANTED}"
        )
        return [f"pictures are in {listed}, and {told}, or name them with --layout LAYOUT --annotations PATH"]
    flags = "--layout image_masks --images FOLDER --annotations FOLDER"
    return [f"pictures are in {listed}; if one of these holds maps of class ids with the names of the others: {flags}"]


def _folder(root: Path, pictures: list[_File]) -> str:
    """The folder that most of the pictures lie in, as it is typed."""
    if not pictures:
        return "FOLDER"
    return os.path.relpath(Counter(file.place for file in pictures).most_common(1)[0][0], root)


def _ends(path: Path) -> str:
    """The first and the last part of a text file."""
    try:
        with open(path, "rb") as file:
            start = file.read(_SNIFFED)
            size = os.fstat(file.fileno()).st_size
            if size > 2 * _SNIFFED:
                file.seek(size - _SNIFFED)
            return (start + file.read(_SNIFFED)).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _files(root: Path) -> Iterator[_File]:
    """Files under a folder, not hidden, not too deep and not too many."""
    count = 0
    top = len(root.parts)
    for place, folders, names in walked(root):
        if len(Path(place).parts) - top >= _DEEP:
            folders.clear()
        for name in names:
            if not name.startswith("."):
                yield _File(place, name, os.path.splitext(name)[1].lower())
                count += 1
                if count >= _MANY:
                    return
