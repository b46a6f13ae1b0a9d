"""Files of COCO's layouts: where a split's annotations lie, and JSON, put in order before it is used."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cutmix_dense.data.addresses import address_of, name_in
from cutmix_dense.data.details import finite_fields
from cutmix_dense.data.errors import DatasetError, DataWarning, SampleError, blaming
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.sniff import coco_lists, largest
from cutmix_dense.data.splits import names_of_split

_UNIT = 1.01
"""The largest number of a box that is a share; some are rounded beyond 1."""
_LOOKED_AT = 50
"""JSON files that are looked into where none lies in a place of COCO's own; the largest of them."""


def read_json(path: Path) -> Any:
    """The content of a JSON file in UTF-8 (a byte order mark is passed over), 16 or 32; DatasetError if it is none."""
    try:
        with blaming(path):
            return json.loads(path.read_bytes())
    except (SampleError, RecursionError) as error:
        reason = error.reason if isinstance(error, SampleError) else "nested too deeply"
        raise DatasetError(f"{path}: not a readable JSON file ({reason})") from error


def read_coco_json(
    path: Path,
    kind: str = "instances",
    more: Mapping[str, Sequence[str]] | None = None,
    *,
    items: Literal["images", "videos"] = "images",
    told: list[str] | None = None,
) -> dict[str, Any]:
    """The parsed file, its ids made alike; DatasetError says what keeps it from being COCO.

    Ids that differ in type only (``"1"``, ``1`` and ``1.0``) are one id where that is without doubt. A category that is
    repeated counts once. An image without a ``file_name`` has the last part of its ``coco_url``.

    Args:
        path: the JSON file.
        kind: what its annotations are: "instances", "panoptic" …
        more: per list, fields that its entries must have besides those that every such file has.
        items: what is annotated: images, or YouTube-VIS's videos.
        told: gets what is left out of the file, for the dataset's notes; it is warned of, too.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not COCO, the top level is a {type(content).__name__} and not an object")
    owner = f"{items.removesuffix('s')}_id"
    needed: dict[str, Sequence[str]] = {
        items: ("id", "file_name" if items == "images" else "file_names"),
        "annotations": (owner,),
        "categories": ("id", "name"),
    }
    needed = {key: (*fields, *(more or {}).get(key, ())) for key, fields in needed.items()}
    if kind == "instances" and content.get("categories") is None and isinstance(content.get("annotations"), list):
        content["categories"] = _numbered(content["annotations"], path) or None
    missing = [key for key in needed if not isinstance(content.get(key), list)]
    if missing:
        raise DatasetError(f"{path}: not COCO {kind}, no list named {', '.join(map(repr, missing))}")
    for entry in content[items] if items == "images" else ():
        if isinstance(entry, dict) and not entry.get("file_name"):
            address = address_of(entry)  # LVIS names images by it alone; those of its val lie in two folders
            entry.update({"file_name": name_in(entry[address])} if address else {})
    for key, fields in needed.items():
        for i, entry in enumerate(content[key]):
            lacking = [field for field in fields if not isinstance(entry, dict) or field not in entry]
            if lacking:
                raise DatasetError(f"{path}: not COCO, {key}[{i}] has no {', '.join(map(repr, lacking))}")
    content["categories"] = _different(content["categories"], path)
    ids = {key: _Ids(content[key], key, path) for key in (items, "categories")}
    for i, annotation in enumerate(content["annotations"]):
        for key in (owner, "id", "category_id"):
            if isinstance(annotation.get(key), (list, dict)):
                raise DatasetError(f"{path}: annotations[{i}][{key!r}] must be an integer or a string")
        annotation[owner] = ids[items].of(annotation[owner])
        if "category_id" in annotation:
            annotation["category_id"] = ids["categories"].of(annotation["category_id"])
    for field, key in ((owner, items), ("category_id", "categories")):
        given = [annotation[field] for annotation in content["annotations"] if field in annotation]
        strays = [value for value in given if value not in ids[key].known]
        if given and len(strays) == len(given):
            raise DatasetError(
                f"{path}: no annotation belongs to any of the {key}: {field} {strays[0]!r} is not among their ids "
                f"{_some(ids[key].known)}"
            )
        if strays and key == items:
            reason = f"{len(strays)} annotations belong to {items} that the file does not list"
            warnings.warn(f"{path}: {reason}", DataWarning, stacklevel=2)
            if told is not None:
                told.append(reason)
    return content


def header_of(content: Mapping[str, Any], told: list[str], items: str = "images") -> dict[str, Any]:
    """What a file says besides its images, annotations and categories: `info`, `licenses`, fields of its maker's own.

    Args:
        content: of the file.
        told: gets which fields are left out because JSON can't hold their NaN.
        items: "images" or "videos".
    """
    lists = (items, "annotations", "categories")
    lost: Counter[str] = Counter()
    kept = finite_fields({key: value for key, value in content.items() if key not in lists}, lost)
    told += [f"is left out of its copies: {name}" for name in lost]
    return {key: value for key, value in kept.items() if value not in (None, [], {}, "")}


def categories_of(content: Mapping[str, Any], told: list[str]) -> list[dict[str, Any]]:
    """A file's categories by their ids, without numbers that JSON can't hold, which are ``told``."""
    lost: Counter[str] = Counter()
    found = [finite_fields(category, lost, "categories.") for category in content["categories"]]
    for kept, category in zip(found, content["categories"]):
        kept.setdefault("name", str(category["name"]))  # NaN
    told += [f"is left out of its copies: {name}" for name in lost]
    return sorted(found, key=lambda category: category["id"])


def categories_named(
    categories: Sequence[Mapping[str, Any]], names: Sequence[str], used: Collection[Any], path: Path
) -> list[dict[str, Any]]:
    """Categories in the order of stated names, with an id of its own for a name that the file doesn't have.

    Args:
        categories: the file's.
        names: a leading "background" is left out.
        used: ids of categories that have annotations, whose names must be stated.
        path: the file, for messages.

    Raises:
        DatasetError: names that are the same or that fit two categories; a category with annotations isn't named.

    Example:
        >>> categories_named([{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}], ["dog", "cow"], [8], Path("a.json"))
        [{'id': 8, 'name': 'dog'}, {'id': 9, 'name': 'cow'}]
    """
    names = [str(name).strip() for name in ([names] if isinstance(names, str) else names)]
    names = names[1:] if names[:1] == ["background"] else names
    found: dict[str, Mapping[str, Any]] = {}
    for category in categories:
        name = str(category["name"]).strip()
        twice = name in found and found[name]["id"] in used and category["id"] in used
        if name in names and (twice or names.count(name) > 1):
            raise DatasetError(f"{path}: classes must tell the categories apart, got {names}: {name!r} is there twice")
        if name not in names and category["id"] in used:
            raise DatasetError(
                f"{path}: classes must name every category with annotations, got {names} and no {name!r}"
            )
        if name not in found or category["id"] in used:  # Roboflow's files name an unused one after the project
            found[name] = category
    if len(set(names)) < len(names):
        raise DatasetError(f"{path}: classes must differ, got {names}")
    ids = [category["id"] for category in categories]
    whole = all(isinstance(value, int) for value in ids)
    last = max(ids, default=0) if whole else 0
    further = [name for name in names if name not in found]
    fresh = {name: last + number if whole else name for number, name in enumerate(further, 1)}
    return [dict(found.get(name) or {"id": fresh[name], "name": name}) for name in names]


def _numbered(annotations: list[Any], path: Path) -> list[dict[str, Any]]:
    """Categories named by their ids, for a file that doesn't name them; none where no annotation has one."""
    given = [each.get("category_id") for each in annotations if isinstance(each, dict)]
    ids = sorted({value for value in given if isinstance(value, int) and not isinstance(value, bool)})
    if ids:
        told = f"{path}: has no 'categories'; its classes are called by their ids, {_some(ids)}"
        warnings.warn(told, DataWarning, stacklevel=3)
    return [{"id": number, "name": str(number)} for number in ids]


class _Ids:
    """The ids of a list's entries, all integers or all strings, and the one that another spelling means.

    Raises:
        DatasetError: ids that are no integers or strings, or two that are the same.
    """

    def __init__(self, entries: Sequence[dict[str, Any]], key: str, path: Path) -> None:
        given = [entry["id"] for entry in entries]
        if any(
            isinstance(value, bool)
            or not isinstance(value, (int, str, float))
            or value in (math.inf, -math.inf)
            or value != value
            for value in given
        ):
            raise DatasetError(f"{path}: the ids of {key!r} must be integers or strings")
        spelled = [_spelling(value) for value in given]
        for first, second in _twice(given, spelled):
            same = repr(first) if type(first) is type(second) else f"{first!r} and {second!r}, one of them as text"
            raise DatasetError(f"{path}: two of the {key!r} have the id {same}")
        whole = len({type(value) for value in given}) > 1 or any(isinstance(value, float) for value in given)
        if whole:  # of several types: integers if all can be
            numbers = [int(text) if _is_integer(text) else text for text in spelled]
            alike = numbers if all(isinstance(number, int) for number in numbers) else spelled
            for entry, value in zip(entries, alike):
                entry["id"] = value
        self.known = {entry["id"] for entry in entries}
        self._by_spelling = {text: entry["id"] for text, entry in zip(spelled, entries)}
        padded: dict[int, list[Any]] = {}
        for text, entry in zip(spelled, entries):
            if _is_integer(text):
                padded.setdefault(int(text), []).append(entry["id"])
        self._by_number = {number: found[0] for number, found in padded.items() if len(found) == 1}

    def of(self, value: Any) -> Any:
        """The id that a value means; the value itself where it means none."""
        if type(value) in (int, str) and value in self.known:
            return value
        if isinstance(value, bool) or not isinstance(value, (int, str, float)):
            return value
        text = _spelling(value)
        if text in self._by_spelling:
            return self._by_spelling[text]
        return self._by_number.get(int(text), value) if _is_integer(text) else value


def _spelling(value: int | str | float) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and len(text) <= 18


def whole_number(value: Any) -> Any:
    """The integer that a file's number or text means, as ``"7"`` and ``7.0`` do; the value itself if it means none."""
    if isinstance(value, bool) or not isinstance(value, (str, float)):
        return value
    text = _spelling(value)
    return int(text) if _is_integer(text) else value


def _twice(given: Sequence[Any], spelled: Sequence[str]) -> Iterable[tuple[Any, Any]]:
    seen: dict[str, Any] = {}
    for value, text in zip(given, spelled):
        if text in seen:
            yield seen[text], value
            return
        seen[text] = value


def _different(categories: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """The categories without those that are repeated; DatasetError where one id has two names."""
    found: dict[str, dict[str, Any]] = {}
    for category in categories:
        if isinstance(category["id"], (list, dict)):
            raise DatasetError(f"{path}: the ids of 'categories' must be integers or strings")
        first = found.setdefault(f"{type(category['id']).__name__} {category['id']}", category)
        if str(first["name"]) != str(category["name"]):
            raise DatasetError(
                f"{path}: two of the 'categories' have the id {category['id']!r}: {first['name']!r} and "
                f"{category['name']!r}"
            )
    return list(found.values())


def _some(values: Iterable[Any]) -> str:
    listed = [repr(value) for value in values]
    return ", ".join(listed[:5]) + (" …" if len(listed) > 5 else "")


def stated_size(entry: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    """(H, W) that an entry states, as numbers or as text; None if it doesn't. SampleError for what is no number."""
    sides = []
    for key in ("height", "width"):
        try:
            side = float(entry.get(key) or 0)
            sides.append(0 if side != side else int(side))
        except (TypeError, ValueError, OverflowError):
            name = entry.get("file_name", entry.get("id"))
            raise SampleError(path, f"the {key} of {name!r} must be a number, got {entry[key]!r}") from None
    return (sides[0], sides[1]) if all(sides) else None


def check_in_pixels(boxes: Iterable[Any], path: Path) -> None:
    """Refuse boxes that are shares of their pictures' sides, as Azure ML exports them.

    Args:
        boxes: each `bbox` of a file, as it states it.
        path: of the file.

    Raises:
        DatasetError: of at least two boxes nearly all lie within the first pixel, and not all numbers are whole.
    """
    given = [box for box in boxes if isinstance(box, (list, tuple)) and len(box) == 4]
    found = [box for box in given if all(isinstance(value, (int, float)) and 0 <= value <= _UNIT for value in box)]
    odd = [box for box in found if any(value % 1 for value in box)]
    if len(given) > 1 and len(found) >= 0.95 * len(given) and odd:
        raise DatasetError(
            f"{path}: bbox must be [x, y, width, height] in pixels, but {len(found)} of {len(given)} lie within the "
            f"first pixel, {odd[0]} for one: they look like shares of the picture's sides. Multiply x and width by the "
            "picture's width, y and height by its height, those of segmentations too"
        )


def picture_of(entry: Mapping[str, Any], name: str | None = None) -> PictureInfo:
    """What an image's entry says besides its id and size, and the address in it that has its file name."""
    own = ("id", "file_name", "width", "height", "segments_info")
    details = {key: value for key, value in entry.items() if key not in own}
    address = address_of(entry)
    names = bool(address) and name_in(entry[address]) == entry["file_name"]
    name = name or PurePosixPath(str(entry["file_name"]).replace("\\", "/")).name
    return PictureInfo(name, details, address=address if names else "")


def find_annotations(root: Path, split: str, kind: str = "instances") -> Path:
    """The JSON file of a split; DatasetError names those that were tried, and the splits that are there."""
    tried: list[Path] = []
    for name in names_of_split(split):
        tried.append(root / "annotations" / f"{kind}_{name}.json")
        if kind == "instances":
            tried += [root / "annotations" / f"{name}.json", root / name / "_annotations.coco.json"]
    for path in tried:
        if path.is_file():
            return path
    dated = sorted((root / "annotations").glob(f"{kind}_{split}20[0-9][0-9].json"))
    if len(dated) == 1:
        return dated[0]
    if dated:
        names = ", ".join(path.stem.removeprefix(f"{kind}_") for path in dated)
        raise DatasetError(f"{root}: split {split!r} could be any of {names}; name one of them")
    others = _tables(root) if kind == "instances" else {}
    for name in names_of_split(split):
        if name in others:
            return others[name]
    names = ", ".join(str(path.relative_to(root)) for path in tried)
    annotations = "annotations" if kind == "instances" else f"{kind} annotations"
    raise DatasetError(
        f"{root}: no COCO {annotations} of split {split!r}; tried {names}"
        f" (splits found: {', '.join(splits_of(root, kind)) or 'none'})"
    )


def splits_of(root: Path, kind: str = "instances") -> list[str]:
    """The names of the splits whose annotations are found under `root`: COCO's own places, then any COCO JSON."""
    official = [path.stem.removeprefix(f"{kind}_") for path in (root / "annotations").glob(f"{kind}_*.json")]
    exported = root.glob("*/_annotations.coco.json") if kind == "instances" else ()
    found = sorted({*official, *(path.parent.name for path in exported)})
    return found or (sorted(_tables(root)) if kind == "instances" else [])


def _tables(root: Path) -> dict[str, Path]:
    """Any JSON files in `root` or a folder below with COCO's lists, by the name of the split.

    The name is the file's, the folder's of ``valid/labels.json``, else "train".
    """
    patterns = ("*.json", "*/*.json")
    tables = (path for pattern in patterns for path in root.glob(pattern) if not path.name.startswith("panoptic_"))
    found = sorted(path for path in largest(tables, _LOOKED_AT) if path.is_file() and _is_table(path))
    for names in ([_split_name(path, root) for path in found], [path.stem for path in found]):
        if len(set(names)) == len(names):
            return dict(zip(names, found))
    return {}


def _is_table(path: Path) -> bool:
    return {"images", "annotations"} <= set(coco_lists(path))


_PLAIN = frozenset({"", "annotation", "annotations", "coco", "instances", "labels", "result"})
"""What a file of annotations is called that doesn't name its split."""


def _split_name(path: Path, root: Path) -> str:
    """The split that a COCO JSON is of: its name without what says that it holds annotations, else its folder's."""
    name = path.stem.replace("_annotations.coco", "").removeprefix("instances_").removesuffix("_coco").strip("._")
    if name.lower() not in _PLAIN:
        return name
    return "train" if path.parent in (root, root / "annotations") else path.parent.name
