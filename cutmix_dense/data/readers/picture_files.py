"""Pictures that a table names: the folder in which they lie, and the file that a name means."""

from __future__ import annotations

import contextlib
import posixpath
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.files import inside
from cutmix_dense.data.pictures import PICTURE_SUFFIXES
from cutmix_dense.data.readers.coco_files import splits_of
from cutmix_dense.data.splits import SPLITS, folders_in, names_of_split, words_of

_FOLDERS = ("images", "data", "img", "imgs", "JPEGImages", "default")
_SAMPLED = 20
"""So many pictures are looked for in each folder that may be theirs."""
_FOLDERS_SEEN = 200
"""Folders of names that `NamedFiles` looks for."""

Parts = tuple[str, ...]


def located(folder: Path, name: Any) -> Path:
    """The file in a folder that a name means: as it is written, else without folders before it that aren't there.

    Files are named by what made them: by a path of another machine, an address, or folders that were left behind.

    Raises:
        ValueError: nothing is there under the last part of the name, and the name leads out of the folder.
    """
    parts = _parts(name)
    start = _start(folder, parts, len(parts))
    return _named(folder, name) if start is None else inside(folder, "/".join(parts[start:]))


class NamedFiles:
    """The files in a folder that the names of a table mean, as by `located`, but as the other names allow it.

    A folder of a name isn't left out where other names show that such folders are there, or where what is left is the
    end of another name, too: what is found then is another picture.

    Args:
        folder: of the pictures.
        names: as the table states them.
        table: the file that a message blames.
    """

    def __init__(self, folder: Path, names: Iterable[Any], table: Path) -> None:
        self._folder, self._names, self._table = folder, list(names), table
        self._left_out: dict[Parts, Parts] = {}  # before folders that are there, and a name that shows it
        self._alike: dict[str, list[Parts]] = {}  # names with the same last part, each backwards, sorted
        if not any("/" in name or "\\" in name for name in map(str, self._names)):
            return
        paths = [_parts(name) for name in self._names]
        by_folder: dict[Parts, Parts] = {}
        by_file: dict[str, Parts] = {}
        shared: dict[str, set[Parts]] = {}
        for parts in filter(None, paths):
            by_folder.setdefault(parts[:-1], parts)
            first = by_file.setdefault(parts[-1], parts)
            if first != parts:
                shared.setdefault(parts[-1], {first[::-1]}).add(parts[::-1])
        self._alike = {name: sorted(found) for name, found in shared.items()}
        for parts in list(by_folder.values())[:_FOLDERS_SEEN]:
            start = _start(folder, parts, len(parts) - 1)
            if start is not None:
                self._left_out.setdefault(parts[:start], parts)

    def path(self, index: int) -> Path:
        """The file of the name `index`, whether it is there or not.

        Raises:
            SampleError: the name leads out of the folder, or another name would mean the same file.
        """
        name = self._names[index]
        parts = _parts(name)
        known = {len(begin) + 1: shown for begin, shown in self._left_out.items() if parts[: len(begin)] == begin}
        start = _start(self._folder, parts, min([len(parts), *known]))
        try:
            if start is None:
                return _named(self._folder, name, known[min(known)] if known else ())
            self._check(name, parts, start)
            return inside(self._folder, "/".join(parts[start:]))
        except ValueError as error:
            raise SampleError(self._table, str(error)) from error

    def _check(self, name: Any, parts: Parts, start: int) -> None:
        """ValueError where a name without its first folders is another one's end, too."""
        backwards, end = parts[::-1], parts[start:][::-1]
        alike = self._alike.get(parts[-1], []) if start else []
        place = bisect_left(alike, end)
        for other in alike[place : place + 2]:
            if other != backwards and other[: len(end)] == end:
                file = "/".join(parts[start:])
                raise ValueError(
                    f"{str(name)!r} and {'/'.join(other[::-1])!r} would both be {file} in {self._folder}; give the "
                    "folder that their folders lie in with images=, or name each picture's own file"
                )


def _parts(name: Any) -> Parts:
    """The parts of a name, of an address without what is asked of it; Label Studio's ``?d=`` is the name itself."""
    text = str(name).replace("\\", "/")
    if "?" in text:
        served = re.search(r"/local-files/\?d=([^&]+)", text)
        text = text.partition("?")[0] if served is None else unquote(served[1])
    text = posixpath.normpath(text) if ".." in text else text
    return tuple(part for part in text.split("/") if part not in ("", ".", ".."))


def _start(folder: Path, parts: Parts, stop: int) -> int | None:
    """How many of the first parts, fewer than `stop`, are left out of the name of a file that is there."""
    for start in range(stop):
        with contextlib.suppress(OSError, ValueError):  # too long, or a zero byte
            if folder.joinpath(*parts[start:]).is_file():
                return start
    return None


def _named(folder: Path, name: Any, shown: Parts = ()) -> Path:
    """What a name means where no file is there.

    Args:
        folder: of the pictures.
        name: as the table states it.
        shown: a name of the table whose folders are there, so that none of this one's may be left out.
    """
    try:
        return inside(folder, str(name))
    except ValueError as error:
        parts = _parts(name) or ("",)
        told = f"{error}, which has no {parts[-1]!r}"
        if _start(folder, parts, len(parts)) is not None:
            told = (
                f"{error}; the {parts[-1]!r} there isn't taken for it, as {'/'.join(shown)!r} is there with its "
                "folders, so it may be another picture"
            )
        raise ValueError(f"{told}; correct the name, or give its folder with images=") from error


def find_images(root: Path, split: str, annotations: Path, names: Sequence[str], kind: str = "instances") -> Path:
    """The image folder of a split: one of its name, a usual one that holds its images, else one that does.

    Args:
        root: of the data set.
        split: whose images.
        annotations: its table.
        names: of its images.
        kind: of annotations, which the table's name begins with.

    Raises:
        DatasetError: no folder of images; several hold them, or only the one of another split does.
    """
    stem = annotations.stem.removeprefix(f"{kind}_")
    own = [annotations.parent.name] if annotations.name == "_annotations.coco.json" else [stem, *names_of_split(split)]
    words, beside = words_of(split) | words_of(stem), annotations.parent
    below = [folder / name for folder in (root, root / "images") for name in folders_in(folder)]
    official = [folder / name for folder in (root, root / "images") for name in own]
    named = [folder / name for folder in (beside, beside / "images") for name in own]
    named += [path for path in below if frozenset() < words_of(path.name) <= words & SPLITS]
    usual = [root / "JPEGImages", root / "images"]
    further = [folder / name for folder in (root, beside, beside.parent) for name in _FOLDERS]
    every = [*official, *named, *usual, *further, beside, root]
    known = [folder for folder in dict.fromkeys(every) if folder.is_dir()]
    first = _some(names)
    held = {}
    for folder in known if first else ():
        held[folder] = _held(folder, first)
        if held[folder] == len(first):
            return folder
    best = max(held, key=lambda folder: held[folder], default=root)
    if first and 2 * held.get(best, 0) < len(first):
        told = _told_by_name(root, below, words, first, annotations, kind, held)
        if told is not None:
            return told
    if held.get(best):
        return best
    usual = [folder for folder in [*official, *usual] if folder.is_dir()]
    if not usual and not any(_has_pictures(folder) for folder in (beside, root)):
        raise DatasetError(
            f"{root}: no image folder; tried {own[0]}/, images/{own[0]}/, JPEGImages/, images/; give images="
        )
    return usual[0] if usual else next(folder for folder in (beside, root) if _has_pictures(folder))


def _told_by_name(
    root: Path,
    below: Sequence[Path],
    words: frozenset[str],
    first: Sequence[str],
    annotations: Path,
    kind: str,
    known: dict[Path, int],
) -> Path | None:
    """The folder that holds images and is called most like the table; None if none holds more than the known ones."""
    held = {path: _held(path, first) for path in below if path not in known}
    least = max(known.values(), default=0)
    found = [path for path, count in held.items() if count > least]
    foreign = [path for path in found if _of_another(words_of(path.name), words)]
    chosen = [path for path in found if path not in foreign] or foreign
    called = {path: words_of(path.name) for path in chosen}
    rank = {path: (len(called[path] & words), -len(called[path] - words), held[path]) for path in chosen}
    top = [path for path in chosen if rank[path] == max(rank.values())]
    if len(top) > 1:
        listed = " and ".join(f"{path.relative_to(root).as_posix()}/" for path in top)
        raise DatasetError(f"{root}: images of {annotations.name} lie in {listed}; name their folder with images=")
    if top and top == foreign:
        others = frozenset[str]().union(*map(words_of, splits_of(root, kind)))
        if others & words_of(top[0].name) & SPLITS:
            raise DatasetError(
                f"{root}: images of {annotations.name} lie in no folder but {top[0].name}/, which is another split's "
                f"by its name; name their folder with images={top[0].relative_to(root).as_posix()} if it is theirs, too"
            )
    return top[0] if top else None


def _of_another(folder: frozenset[str], words: frozenset[str]) -> bool:
    """Whether the words of a folder's name are another split's."""
    return bool(folder & SPLITS) and bool(words & SPLITS) and not folder & words & SPLITS


def _some(names: Sequence[str]) -> list[str]:
    """The first name of each folder, then the first ones."""
    of_each = {str(name).replace("\\", "/").rpartition("/")[0]: name for name in reversed(names)}
    return list(dict.fromkeys([*list(of_each.values())[:_SAMPLED], *names[:_SAMPLED]]))[:_SAMPLED]


def _held(folder: Path, names: Sequence[str]) -> int:
    parts = map(_parts, names)
    return sum(_start(folder, each, len(each)) is not None for each in parts)


def _has_pictures(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix.lower() in PICTURE_SUFFIXES for path in folder.iterdir())
