"""Where folders of pictures lie beside folders of masks, and which mask belongs to which picture."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import read_lines, walked
from cutmix_dense.data.pictures import PICTURE_SUFFIXES

ALL = "all"
"""The name of the split where nothing tells splits apart."""

# One table of names, in lower case and in the order of preference.
IMAGE_FOLDERS = (
    *(
        "images",
        "image",
        "imgs",
        "img",
        "img_dir",
        "jpegimages",
        "images_png",
        "images_jpg",
        "rgb",
        "photos",
        "pictures",
    ),
    *("inputs", "input", "leftimg8bit", "originals", "original", "src"),
)
MASK_FOLDERS = (
    *("masks", "mask", "masks_png", "ann_dir", "gts", "gt", "gt_dir", "ground_truth", "groundtruth", "groundtruths"),
    *("segmentationclass", "segmentations", "segmentation", "semantic", "seg", "labels", "label", "annotations"),
    *("annotation", "annots", "annot", "anns", "ann", "targets", "target"),
)
IMAGE_ENDINGS = ("img", "image", "sat", "rgb", "photo", "leftimg8bit")
MASK_ENDINGS = (
    *("mask", "masks", "gt", "groundtruth", "label", "labels", "labelids", "labeltrainids", "seg", "segmentation"),
    *("gtfine_labelids", "gtfine_labeltrainids", "segmap", "annotation"),
)
WEAK_MASK_ENDINGS = ("p", "l", "annot")  # in a folder of masks alone
IMAGE_PREFIXES = ("image", "img")
MASK_PREFIXES = ("gt", "mask", "label", "seg")
BESIDE = ("annot", "annotations", "annotation", "labels", "label", "masks", "mask", "gt", "gts", "seg")
"""`train` lies beside `trainannot`, `train_labels`, `train-masks` …"""

_SPLIT = re.compile(r"train|val|test|dev|eval|^all$", re.IGNORECASE)
_LISTS = ("splits", "split", "ImageSets/Segmentation", "ImageSets", "lists")
_PEEKED = 200
"""So many entries of a folder are looked at for a picture."""


class Place(NamedTuple):
    """A folder of pictures beside one of masks; the same one where masks lie among the pictures.

    Attributes:
        images: the pictures' folder.
        masks: the masks' folder.
        inner: what stands before the names of its samples, as the folder of one of several places of a split.
        others: further folders that could be the masks'.
    """

    images: Path
    masks: Path
    inner: str = ""
    others: tuple[Path, ...] = ()


class Pair(NamedTuple):
    """A picture and its mask.

    Attributes:
        name: of the picture, under the split's folder of pictures.
        image: the picture's file.
        mask: the mask's file.
    """

    name: str
    image: Path
    mask: Path


# -------------------------------------------------------------------------------------------------------------- folders


def find_places(root: Path) -> dict[str, list[Place]]:
    """The places of each split of a dataset; empty where no masks lie beside pictures. Only folders are listed."""
    below = _folders(root)
    place = _place(below)
    if place is not None:
        inner, masks = _folders(place.images), _folders(place.masks)
        common = [name for name in inner if name in masks]
        if any(_SPLIT.search(name) for name in common):
            return {
                inner[name].name: [Place(inner[name], masks[name], others=place.others)]
                for name in sorted(common)
                if _holds_pictures(masks[name])
            }
        return {ALL: [place]}
    found: dict[str, list[Place]] = {}
    for name, folder in below.items():
        for beside in _beside(name):
            if beside in below and _holds_pictures(below[beside]) and _holds_pictures(folder):
                split = re.sub(r"[-_ ]?(images?|imgs?)$", "", folder.name, flags=re.IGNORECASE)
                found.setdefault(split or folder.name, [Place(folder, below[beside])])
    if found:
        return dict(sorted(found.items()))
    splits = {name: folder for name, folder in sorted(below.items()) if _SPLIT.search(name)}
    for folder in splits.values():
        inside = _folders(folder)
        place = _place(inside)
        nested = [] if place is not None else [(child, _place(_folders(child))) for _, child in sorted(inside.items())]
        places = [place] if place is not None else [each._replace(inner=child.name) for child, each in nested if each]
        if places:
            found[folder.name] = places
    if found:
        return found
    if _is_mixed(root):
        return {ALL: [Place(root, root)]}
    return {folder.name: [Place(folder, folder)] for folder in splits.values() if _is_mixed(folder, deeper=True)}


def _place(folders: Mapping[str, Path]) -> Place | None:
    """The folder of pictures and the one of masks among some folders, by their names, in lower case, and contents."""
    images = [folders[name] for name in IMAGE_FOLDERS if name in folders]
    if not images:
        return None
    masks = [folders[name] for name in MASK_FOLDERS if name in folders]
    versions = [_folders(folder) for name, folder in sorted(folders.items(), reverse=True) if re.match(r"v\d", name)]
    masks += [version["labels"] for version in versions if "labels" in version]  # Mapillary's v2.0 before its v1.2
    full = [folder for folder in masks if _holds_pictures(folder)]
    pictured = [folder for folder in images if _holds_pictures(folder)]
    return Place(pictured[0], full[0], others=tuple(full[1:])) if full and pictured else None


def _beside(name: str) -> Iterator[str]:
    """Names that the folder of masks may have beside a folder of pictures of this name, in lower case."""
    base = re.fullmatch(r"(.+?)[-_ ]?(?:images?|imgs?)", name)
    if base is not None:
        yield from (f"{base[1]}{mark}{word}" for word in MASK_FOLDERS for mark in ("_", "-", " ", ""))
    yield from (f"{name}{mark}{word}" for word in BESIDE for mark in ("", "_", "-", " "))


def _folders(folder: Path) -> dict[str, Path]:
    """The folders in a folder, by their names in lower case; hidden ones are none."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return {}
    return {name.lower(): folder / name for name in reversed(names)}


def folder_inside(folder: Path, name: str) -> Path | None:
    """The folder of this name in another, in capitals or not; None if there is none."""
    exact = folder / name
    return exact if "/" not in name and exact.is_dir() else _folders(folder).get(name.lower())


def _holds_pictures(folder: Path, depth: int = 3) -> bool:
    """Whether a picture is among the first entries of a folder or of the folders in it."""
    inner: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= _PEEKED:
                    break
                if is_picture(entry.name):
                    return True
                if entry.is_dir() and not entry.name.startswith("."):
                    inner.append(folder / entry.name)
    except OSError:
        return False
    return depth > 0 and any(_holds_pictures(path, depth - 1) for path in sorted(inner)[:20])


def _is_mixed(folder: Path, *, deeper: bool = False) -> bool:
    """Whether a mask lies beside its picture in a folder, or in a folder in it."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if is_picture(entry.name)]
    except OSError:
        return False
    masks = [name for name in names if _strip(PurePosixPath(name).stem, (), MASK_ENDINGS) is not None]
    if masks and any(_mixed_pairs(names)):
        return True
    return deeper and any(map(_is_mixed, list(_folders(folder).values())[:20]))


def is_picture(name: str) -> bool:
    """Whether a name is a picture file's."""
    return not name.startswith(".") and name[name.rfind(".") :].lower() in PICTURE_SUFFIXES


def _pictures(folder: Path) -> list[str]:
    """Paths of all pictures under a folder, sorted."""
    found = []
    for place, _, names in walked(folder):
        inner = Path(place).relative_to(folder).as_posix()
        found += [name if inner == "." else f"{inner}/{name}" for name in names if is_picture(name)]
    return sorted(found)


# ---------------------------------------------------------------------------------------------------------------- pairs


def pair_up(place: Place) -> tuple[list[Pair], list[Path], list[Path]]:
    """The pairs of a place in the order of their names, the pictures without a mask, and the masks without a picture.

    Names are compared with their sub-folders, without the endings of files; then without one known prefix or ending of
    a picture's name, of a mask's, or of both.

    Raises:
        DatasetError: two masks for one picture, or no pair at all.
    """
    names = _pictures(place.images)
    before = f"{place.inner}/" if place.inner else ""
    if place.images == place.masks:
        couples = dict(_mixed_pairs(names))
        masks = [name for name in names if name in set(couples.values()) or _is_mask_name(name)]
        names = [name for name in names if name not in set(masks)]
    else:
        masks = _pictures(place.masks)
        couples = dict(_pairs(names, masks, place))
    if not couples:
        raise DatasetError(_no_pair(place, names, masks))
    used = set(couples.values())
    pairs = [Pair(before + name, place.images / name, place.masks / couples[name]) for name in names if name in couples]
    return (
        pairs,
        [place.images / name for name in names if name not in couples],
        [place.masks / name for name in masks if name not in used],
    )


def _pairs(images: Sequence[str], masks: Sequence[str], place: Place) -> Iterator[tuple[str, str]]:
    whole: dict[str, list[str]] = defaultdict(list)
    short: dict[str, list[str]] = defaultdict(list)
    endings = (*MASK_ENDINGS, *WEAK_MASK_ENDINGS)
    for mask in masks:
        stem, bare = _cut(mask, MASK_PREFIXES, endings)
        whole[stem].append(mask)
        short[bare].append(mask)
    for image in images:
        stem, bare = _cut(image, IMAGE_PREFIXES, IMAGE_ENDINGS)
        found = whole.get(stem) or short.get(stem) or whole.get(bare) or short.get(bare) or []
        if len(found) > 1:
            raise DatasetError(
                f"{place.masks}: {' and '.join(sorted(found)[:3])} would all be the mask of {image}; leave one of "
                "them, or name another folder with annotations="
            )
        if found:
            yield image, found[0]


def _mixed_pairs(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pictures and masks of one folder: a mask's name ends as no picture's does."""
    masks: dict[str, str] = {}
    images: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        base = _strip(path.stem, (), MASK_ENDINGS)
        if base is not None:
            masks.setdefault((path.parent / base).as_posix(), name)
            continue
        bare = _strip(path.stem, (), IMAGE_ENDINGS)
        images.setdefault((path.parent / (bare or path.stem)).as_posix(), name)
    for key, name in images.items():
        if key in masks:
            yield name, masks[key]


def _is_mask_name(name: str) -> bool:
    return _strip(PurePosixPath(name).stem, (), MASK_ENDINGS) is not None


def _strip(stem: str, prefixes: tuple[str, ...], endings: tuple[str, ...]) -> str | None:
    """A name without one known ending, or else one known prefix; None if it has none."""
    match = _known(prefixes, endings).fullmatch(stem)
    return None if match is None else match[1] or match[2]


@lru_cache
def _known(prefixes: tuple[str, ...], endings: tuple[str, ...]) -> re.Pattern[str]:
    longest = "|".join(re.escape(word) for word in sorted(endings, key=len, reverse=True))
    first = "|".join(map(re.escape, prefixes)) or "(?!)"
    return re.compile(rf"(.+?)[-_.](?:{longest})|(?:{first})[-_.](.+)", re.IGNORECASE | re.DOTALL)


def _cut(name: str, prefixes: tuple[str, ...], endings: tuple[str, ...]) -> tuple[str, str]:
    """A path without its file's ending, and without a known prefix or ending of its name, too."""
    folder, mark, last = name.rpartition("/")
    stem = last.rpartition(".")[0] or last
    before = folder + mark
    return before + stem, before + (_strip(stem, prefixes, endings) or stem)


def _no_pair(place: Place, images: Sequence[str], masks: Sequence[str]) -> str:
    told = f"{place.images}: none of its {len(images)} pictures"
    told += f" (first: {images[0]})" if images else ""
    told += f" has a mask among the {len(masks)} of {place.masks}"
    told += f" (first: {masks[0]})" if masks else ""
    endings = ", ".join(f"_{ending}" for ending in (*MASK_ENDINGS, *WEAK_MASK_ENDINGS))
    prefixes = ", ".join(f"{prefix}_" for prefix in MASK_PREFIXES)
    return (
        f"{told}: names must be the same but for the file's ending, one of {endings} or {prefixes} of the mask, and "
        f"one of {', '.join(f'_{ending}' for ending in IMAGE_ENDINGS)} or "
        f"{', '.join(f'{prefix}_' for prefix in IMAGE_PREFIXES)} of the picture"
    )


# ---------------------------------------------------------------------------------------------------------------- lists


def find_lists(root: Path) -> dict[str, Path]:
    """Lists of names by split, such as `splits/*.txt` or `train.txt`, for folders that no sub-folders split."""
    for folder in _LISTS:
        found = sorted((root / folder).glob("*.txt"))
        if found:
            return {path.stem: path for path in found}
    return {path.stem: path for path in sorted(root.glob("*.txt")) if re.fullmatch(r"(train|val|test)\w*", path.stem)}


def listed_pairs(path: Path, pairs: Sequence[Pair]) -> tuple[list[Pair], list[str]]:
    """The pairs that a list names, in its order, and the lines that name none.

    A line is a picture's name, with or without its ending and folders; what follows a space, as the mask's name does,
    is left out where the whole line is no name.
    """
    known: dict[str, Pair] = {}
    for pair in pairs:
        short = PurePosixPath(pair.name)
        base = _strip(short.stem, IMAGE_PREFIXES, IMAGE_ENDINGS) or short.stem
        for name in (short.name, short.stem, base, (short.parent / base).as_posix()):
            known.setdefault(name, pair)
    for pair in pairs:  # whole names before parts of others
        known[pair.name] = known[PurePosixPath(pair.name).with_suffix("").as_posix()] = pair
    found: list[Pair] = []
    absent: list[str] = []
    for line in read_lines(path):
        text = line.strip()
        if not text:
            continue
        words = (text, text.split()[0], text.split()[0].replace("\\", "/").rpartition("/")[2])
        places = [word for each in words for word in (each, str(PurePosixPath(each).with_suffix("")) if each else each)]
        named = next((name for name in places if name in known), None)
        if named is None:
            absent.append(text)
        else:
            found.append(known[named])
    return found, absent
