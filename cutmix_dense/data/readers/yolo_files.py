"""Files of the YOLO layout: what describes a folder, the images of its splits, their label files, the class names."""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.files import read_lines, walked
from cutmix_dense.data.pictures import PICTURE_SUFFIXES
from cutmix_dense.data.readers.coco_files import read_json
from cutmix_dense.data.readers.picture_files import located
from cutmix_dense.data.spelling import Folders
from cutmix_dense.data.splits import folders_in, names_of_split
from cutmix_dense.extras import require

_USUAL = ("train", "val", "valid", "validation", "test")
_OWN = frozenset(
    {"backup", "channels", "classes", "download", "eval", "flip_idx", "kpt_names", "kpt_shape", "names", "nc"}
)
_OTHER = frozenset({"path", "roboflow", "skeleton", "task", "yaml_file"})
IMAGE_FOLDERS, LABEL_FOLDERS = ("images",), ("labels", "annotations")
NAME_LISTS = ("classes.txt", "obj.names", "_darknet.labels", "notes.json")
_SPLIT = re.compile(r"train|val|test", re.IGNORECASE)
_LARGEST_YAML = 1 << 20
_MOST_YAML, _MOST_CLASSES, _LOOKS = 20, 100_000, 50
_MOST_EMPTY = 50_000
"""So many label files, if all are empty, say that all others are, too."""


class Description(NamedTuple):
    """What a folder's `data.yaml` or darknet's `obj.data` says, or without one its folders.

    Attributes:
        root: the dataset folder, which nothing leads out of.
        file: what says so; None for the folders alone.
        splits: by name, what it consists of: folders, lists of images, images.
        bases: folders that the paths may count from, the likeliest first.
        said: the whole content of the file; all values as the words that are written there.
    """

    root: Path
    file: Path | None
    splits: dict[str, list[str]]
    bases: tuple[Path, ...]
    said: Mapping[str, Any] = {}

    def name_of(self, split: str) -> str | None:
        """The split's name here, which may be an alias: "val" for "valid"; None if there is none."""
        return next((name for name in names_of_split(split) if name in self.splits), None)

    def place(self, value: str) -> Path | None:
        """The folder or file under the root that a split's value means; None where nothing is there."""
        loose = len({each for values in self.splits.values() for each in values}) == 1
        for path in _places(value, self.bases, self.root.name, loose=loose):
            if _within(path, self.root) and os.path.exists(path):  # False for names that are too long, too
                return _under(path, self.root)
        return None

    def is_there(self, split: str) -> bool:
        """Whether all that a split consists of is there."""
        return all(self.place(value) is not None for value in self.splits[split])


def describe(root: Path, given: Path | None = None) -> Description | None:
    """What describes a folder, in this order: the file that is given, a YAML file, darknet's `*.data`, the folders.

    Raises:
        DatasetError: a file that is given and describes no YOLO set; several YAML files of which none is the usual one.
    """
    if given is not None:
        found = _from_data(root, given) if given.suffix.lower() == ".data" else _from_yaml(root, given)
        if found is None:
            raise DatasetError(f"{given}: does not describe a YOLO set, it needs names and one of train, val, test")
        return found
    candidates = []
    for path in _yaml_files(root):
        try:
            found = _from_yaml(root, path)
        except DatasetError:
            if _split_words(path):
                raise
            continue  # of something else
        candidates += [found] if found is not None else []
    if candidates:
        usual = [each for each in candidates if each.file is not None and each.file.stem in ("data", "dataset")]
        if len(candidates) > 1 and not usual:
            names = ", ".join(str(each.file.name) for each in candidates if each.file is not None)
            raise DatasetError(f"{root}: holds {names}; name one with annotations=")
        return (usual or candidates)[0]
    for path in sorted(root.glob("*.data")):
        if (found := _from_data(root, path)) is not None:
            return found
    return _from_folders(root)


def split_words(root: Path) -> list[str]:
    """The splits that a folder's YAML files seem to name, by their text alone."""
    return list(dict.fromkeys(word for path in _yaml_files(root) for word in _split_words(path)))


def _split_words(path: Path) -> list[str]:
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST_YAML).decode("utf-8-sig", errors="replace")
    except OSError:
        return []
    words = re.findall(rf"(?m)^[\"']?({'|'.join(_USUAL)})[\"']?[ \t]*:", text)
    return words if re.search(r"(?m)^(names|nc)\b", text) else []


def parsed_yaml(path: Path) -> Any:
    """The content of a YAML file, every value as the word that is written there; DatasetError if it is none."""
    yaml = require("yaml", "data", distribution="pyyaml")
    try:
        with blaming(path):
            content = path.read_bytes()
            if len(content) > _LARGEST_YAML:
                raise ValueError(f"is larger than {_LARGEST_YAML} bytes")
            return yaml.load(content.decode("utf-8-sig"), Loader=yaml.BaseLoader)  # `no` is a word, not False
    except (SampleError, yaml.YAMLError, RecursionError, AttributeError, TypeError) as error:
        reason = error.reason if isinstance(error, SampleError) else " ".join(str(error).split())
        raise DatasetError(f"{path}: not a readable YAML file ({reason})") from error


def _yaml_files(root: Path) -> list[Path]:
    """YAML files in a folder, and the one beside it that has its name, as Ultralytics keeps `coco8.yaml`."""
    found = [path for pattern in ("*.yaml", "*.yml") for path in sorted(root.glob(pattern))][:_MOST_YAML]
    whole = root.absolute()
    return found or [path for end in (".yaml", ".yml") if (path := whole.parent / f"{whole.name}{end}").is_file()]


def _from_yaml(root: Path, path: Path) -> Description | None:
    """What a YAML file describes; None where it is about something else."""
    try:
        if path.stat().st_size > _LARGEST_YAML or not re.search(rb"\b(names|nc)\b", path.read_bytes()):
            return None
        said = parsed_yaml(path)
    except OSError:
        return None
    if not isinstance(said, dict) or not (said.get("names") or said.get("nc")):
        return None
    stated = said.get("path")
    bases = list(_bases(stated, path.parent)) if isinstance(stated, str) and stated.strip() else []
    kept = tuple(
        base for base in dict.fromkeys([*bases, path.parent, root]) if _within(base, root) and os.path.isdir(base)
    )
    described = Description(root, path, {}, kept, said)
    for key, value in said.items():
        values = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str) and each]
        if not isinstance(key, str) or not values or key in _OWN | _OTHER:
            continue
        if key in _USUAL or (all(re.search(r"[/\\]|\.txt$", each) for each in values) and described.place(values[0])):
            described.splits[key] = values
    return described if described.splits else None


def _bases(stated: str, folder: Path) -> Iterator[Path]:
    """What `path` may mean: as it is written, or of what it says the end that is here."""
    yield Path(os.path.normpath(folder / stated.strip().replace("\\", "/")))
    parts = _parts(stated)[1]
    for start in range(len(parts)):
        yield folder.joinpath(*parts[start:])


def _from_data(root: Path, path: Path) -> Description | None:
    """What darknet's file of `key = value` lines describes; None where it is about something else."""
    try:
        text = path.read_bytes()[:_LARGEST_YAML].decode("utf-8-sig", errors="replace")
    except OSError:
        return None
    said = {
        key.strip(): value.strip()
        for key, mark, value in (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
        if mark
    }
    splits = {key: [value] for key, value in said.items() if value and key not in _OWN | _OTHER}
    if "names" not in said or not splits:
        return None
    bases = dict.fromkeys(base for base in (path.parent, root) if _within(base, root))
    return Description(root, path, splits, tuple(bases), said)


# --------------------------------------------------------------------------------------------------- folders alone


def _from_folders(root: Path) -> Description | None:
    """`images` beside `labels`, with splits above or below, or images and text files in one folder."""
    below = folders_in(root)
    images, labels = called(below, IMAGE_FOLDERS), called(below, LABEL_FOLDERS)
    splits: dict[str, list[str]] = {}
    if images and labels:
        inner = [name for name in folders_in(root / images) if _SPLIT.match(name)]
        if inner and _holds_labels(root / labels):
            splits = {name: [f"{images}/{name}"] for name in inner}
        elif _holds_labels(root / labels):
            splits = {"all": [images]}
    if not splits:
        for name in below:
            within = folders_in(root / name)
            pair = called(within, IMAGE_FOLDERS), called(within, ("labels",))
            if _SPLIT.match(name) and pair[0] and pair[1] and _holds_labels(root / name / pair[1]):
                splits[name] = [f"{name}/{pair[0]}"]
    if not splits and _names_files([root]) and _is_mixed(root):
        splits = {"all": ["."]}
    if not splits:
        for name in below:
            known = re.fullmatch(r"(?:obj_)?(\w+?)(?:_data)?", name)
            if (
                known
                and _SPLIT.match(known[1])
                and (_names_files([root / name]) or _names_files([root]))
                and _is_mixed(root / name)
            ):
                splits[known[1]] = [name]
    return Description(root, None, splits, (root,)) if splits else None


def first_foreign(root: Path) -> tuple[str, str, Path | None] | None:
    """Folders of images and labels that are no YOLO set because of their texts.

    Returns:
        The two folders under the root, and the first text file that isn't YOLO's (None where there is no text at all);
        None where no `images` lies beside `labels`, in the root or in a split's folder.
    """
    for above in ("", *(name for name in folders_in(root) if _SPLIT.match(name))):
        there = folders_in(root / above)
        images, labels = called(there, IMAGE_FOLDERS), called(there, LABEL_FOLDERS)
        if images and labels:
            texts = sorted(_text_files(root / above / labels))
            first = next((path for path in texts if kind_of_text(path) is False), None)
            return posixpath.join(above, images), posixpath.join(above, labels), first
    return None


def called(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of the wanted names that is there, in capitals or not."""
    lower = {name.lower(): name for name in names}
    return next((lower[name] for name in wanted if name in lower), None)


def _holds_labels(folder: Path) -> bool:
    """Whether the text files under a folder are of YOLO's kind."""
    return _are_labels(_text_files(folder))


def _are_labels(paths: Iterable[Path]) -> bool:
    """Whether one of the first files that aren't empty is of YOLO's kind, or most are empty, as of backgrounds."""
    empty, others = 0, 0
    for path in paths:
        kind = kind_of_text(path)
        if kind:
            return True
        empty, others = empty + (kind is None), others + (kind is False)
        if others >= _LOOKS or empty >= _MOST_EMPTY:
            break
    return empty > others


def _is_mixed(folder: Path) -> bool:
    """Whether a folder has images with text files of YOLO's kind beside them."""
    with os.scandir(folder) as entries:
        stems = (os.path.splitext(entry.name) for entry in entries)
        beside = (folder / f"{stem}.txt" for stem, suffix in stems if suffix.lower() in PICTURE_SUFFIXES)
        return _are_labels(path for path in itertools.islice(beside, _MOST_EMPTY) if path.is_file())


def _text_files(folder: Path) -> Iterator[Path]:
    for place, _, names in walked(folder):
        for name in names:
            if name.lower().endswith(".txt") and name.lower() not in NAME_LISTS:
                yield Path(place, name)


def kind_of_text(path: Path) -> bool | None:
    """Whether the first line of a text file is a class and shares of an image; None where there is no line."""
    try:
        with open(path, "rb") as file:
            words = file.readline(1 << 16).decode("utf-8-sig", errors="replace").split()
    except OSError:
        return False
    if not words:
        return None
    try:
        values = [float(word) for word in words]
    except ValueError:
        return False
    return len(values) >= 5 and values[0] >= 0 and values[0] == int(values[0]) and max(map(abs, values[1:5])) <= 2


# ---------------------------------------------------------------------------------------------------------- paths


def _parts(value: str) -> tuple[bool, list[str]]:
    """Whether a path is absolute, of whatever system, and its parts without ``..`` before them."""
    text = value.strip().replace("\\", "/")
    absolute = text.startswith("/") or bool(re.match(r"[A-Za-z]:", text))
    text = posixpath.normpath(re.sub(r"^[A-Za-z]:", "", text))
    return absolute, [part for part in text.split("/") if part not in ("", ".", "..")]


def _places(value: str, bases: Iterable[Path], name: str, *, loose: bool) -> Iterator[Path]:
    """Where a split's value may lie: as written, without ``..`` or a foreign beginning, under an alias of its name.

    Args:
        value: from the file.
        bases: what it may count from.
        name: of the dataset's folder, which is dropped.
        loose: whether of an absolute path a last `images` alone may be taken, which would do for any split.
    """
    absolute, parts = _parts(value)
    absolute |= bool(parts) and "." in parts[-1]  # a file, such as darknet's data/train.txt, tells what it is
    bases = tuple(bases)
    for base in bases:
        yield Path(os.path.normpath(base / value.strip().replace("\\", "/")))
    starts = range(len(parts) if absolute else 1)
    ends = [
        parts[start:] for start in starts if loose or start == 0 or parts[start:] not in ([i] for i in IMAGE_FOLDERS)
    ]
    if name in parts[:-1]:
        ends.append(parts[len(parts) - parts[::-1].index(name) :])
    for end in ends:
        yield from (base.joinpath(*end) for base in bases)
    for end in ends:
        for at, part in enumerate(end):
            for other in names_of_split(part)[1:]:
                yield from (base.joinpath(*end[:at], other, *end[at + 1 :]) for base in bases)


def _within(path: Path, root: Path) -> bool:
    whole, top = os.path.abspath(path), os.path.abspath(root)
    return whole == top or whole.startswith(top.rstrip(os.sep) + os.sep)


def _under(path: Path, root: Path) -> Path:
    """The same path, written as one below the root."""
    return Path(root, os.path.relpath(os.path.abspath(path), os.path.abspath(root)))


def images_of(described: Description, split: str) -> list[str]:
    """The images of a split, under the root with forward slashes; sorted where a folder names them.

    Those that a list names and that aren't there are kept, as long as others are, for their samples to say so.

    Raises:
        DatasetError: none, or a place that isn't there.
    """
    found: list[str] = []
    blame = described.file or described.root
    for value in described.splits[split]:
        place = described.place(value)
        if place is None:
            outside = next((p for p in _stated_places(described, value) if os.path.exists(p)), None)
            if outside is not None:
                raise DatasetError(
                    f"{blame}: {split} is {outside}, outside of {described.root}; give the folder above it as root, "
                    f"and annotations={blame}"
                )
            there = [name for name in described.splits if name != split and described.is_there(name)]
            raise DatasetError(
                f"{blame}: {split} is {value!r}, which isn't there (nor without what stands before it); correct it, or "
                f"name the folder with images= (splits found: {', '.join(there) or 'none'})"
            )
        if place.is_dir():
            deep = place != described.root or described.file is not None
            found += _pictures(place, described.root, deep=deep)
        elif place.suffix.lower() in PICTURE_SUFFIXES:
            found.append(place.relative_to(described.root).as_posix())
        else:
            found += _listed(place, described)
    if not found:
        where = ", ".join(described.splits[split])
        raise DatasetError(f"{blame}: {split} ({where}) holds no image ({', '.join(PICTURE_SUFFIXES)})")
    return found


def _stated_places(described: Description, value: str) -> Iterator[Path]:
    """Where the file says that a split lies, be it outside of the root."""
    stated = described.said.get("path")
    for base in (stated, "."):
        if isinstance(base, str) and described.file is not None:
            yield Path(os.path.normpath(described.file.parent / base / value))


def _pictures(folder: Path, root: Path, *, deep: bool) -> list[str]:
    found = []
    for place, folders, names in walked(folder):
        folders[:] = folders if deep else []
        above = _relative(place, root)
        found += [
            above + name
            for name in names
            if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES and not name.startswith(".")
        ]
    return found


def _relative(folder: str | Path, root: Path) -> str:
    """A folder's path under the root, with forward slashes and one at the end; nothing for the root itself."""
    inner = os.path.relpath(os.path.abspath(folder), os.path.abspath(root)).replace(os.sep, "/")
    return "" if inner == "." else f"{inner}/"


def _listed(path: Path, described: Description) -> list[str]:
    """The images that a list names, one a line, whatever their capitals; those that aren't there, below the root."""
    entries = [line.strip() for line in read_lines(path) if line.strip()]
    bases = [_relative(base, described.root) for base in dict.fromkeys([path.parent, *described.bases])]
    root, found, absent, way = str(described.root), [], 0, (0, 0)
    folders = Folders(root)
    for entry in entries:
        parts = _parts(entry)[1]
        ways = [way, *((base, start) for start in range(len(parts)) for base in range(len(bases)))]
        for base, start in ways:
            place = bases[base] + "/".join(parts[start:])
            if parts[start:] and os.path.isfile(f"{root}/{place}"):
                way = base, start
                found.append(place)
                break
        else:
            places = (bases[base] + "/".join(parts[start:]) for base, start in ways if parts[start:])
            respelled = next((there for place in places if (there := folders.find(place)) is not None), None)
            absent += respelled is None
            found.append(respelled or "/".join(parts) or entry)
    if entries and absent == len(entries):
        raise DatasetError(f"{path}: names {len(entries)} images, none of which is there; the first is {entries[0]!r}")
    return found


def short_names(images: Sequence[str], folder: str, split: str) -> list[str]:
    """The name of each image under its image folder, sub-folders included; under the root for those that are alike.

    Args:
        images: under the root.
        folder: the split's, where it is one; else nothing.
        split: its name.
    """
    short = [_short(name.removeprefix(folder), split) for name in images]
    places: dict[str, set[str]] = {}  # a.jpg and a.png of one folder have one label file and differ by their endings
    for name, image in zip(short, images):
        places.setdefault(os.path.splitext(name)[0], set()).add(os.path.splitext(image)[0])
    return [
        name if len(places[os.path.splitext(name)[0]]) == 1 else _without_images(image)
        for name, image in zip(short, images)
    ]


def _short(name: str, split: str) -> str:
    if "/" not in name:
        return name
    parts = name.split("/")
    folders = [part.lower() for part in parts[:-1]]
    if "images" in folders:
        parts = parts[len(folders) - folders[::-1].index("images") :]
    if len(parts) > 1 and parts[0] in (*names_of_split(split), f"obj_{split}_data"):
        parts = parts[1:]
    return "/".join(parts)


def _without_images(name: str) -> str:
    """The path without folders called `images`, which would mean something where the picture is written."""
    *folders, last = name.split("/")
    return "/".join([*(part for part in folders if part.lower() not in IMAGE_FOLDERS), last])


# ---------------------------------------------------------------------------------------------------------- names


def class_names(described: Description, folders: Sequence[Path]) -> tuple[list[str], Path] | None:
    """The names by id, and the file that states them; None if nothing does.

    Args:
        described: the set.
        folders: where else a list of names may lie.

    Raises:
        DatasetError: names that are no list or map of ids, or a name for two ids.
    """
    said, file = described.said.get("names"), described.file
    if file is not None and isinstance(said, str) and said:  # a file of names, as darknet has
        path = next((p for base in described.bases if (p := _located(base, said)) is not None), None)
        if path is None and file.suffix.lower() != ".data":
            raise DatasetError(f"{file}: names must be a list, or a map from ids to names, got {said!r}")
        if path is not None:
            return _different(_listed_names(path), path), path
    elif file is not None and said:
        return _different(_by_id(said, file), file), file
    for path in _names_files([described.root, *folders]):
        return _different(_listed_names(path), path), path
    count = str(described.said.get("nc", ""))
    if file is not None and count.isdecimal() and len(count) <= 6 and int(count):
        return [str(number) for number in range(int(count))], file
    return None


def _located(folder: Path, name: str) -> Path | None:
    try:
        path = located(folder, name)
    except ValueError:
        return None
    return path if os.path.isfile(path) else None


def _names_files(folders: Iterable[Path]) -> list[Path]:
    found = []
    for folder in dict.fromkeys(folders):
        found += [folder / name for name in NAME_LISTS if (folder / name).is_file()]
        found += [path for path in sorted(folder.glob("*.names")) if path not in found]
    return found


def _by_id(said: Any, file: Path) -> list[str]:
    if isinstance(said, list):
        pairs = dict(enumerate(said))
    else:
        try:
            pairs = {int(str(key)): name for key, name in said.items()}
        except (ValueError, AttributeError):
            raise DatasetError(f"{file}: names must be a list, or a map from ids to names, got {said!r:.100}") from None
        if len(pairs) < len(said):
            raise DatasetError(f"{file}: names gives an id twice")
    if any(not isinstance(name, str) for name in pairs.values()):
        raise DatasetError(f"{file}: every class must have one name, got {said!r:.100}")
    if min(pairs) < 0 or max(pairs) >= _MOST_CLASSES:
        raise DatasetError(f"{file}: ids of classes must be in 0..{_MOST_CLASSES - 1}, got {min(pairs)}..{max(pairs)}")
    return [pairs.get(number) or str(number) for number in range(max(pairs) + 1)]


def _listed_names(path: Path) -> list[str]:
    """The names in `classes.txt`, one a line, or in Label Studio's `notes.json`."""
    if path.suffix.lower() == ".json":
        content = read_json(path)
        try:
            return _by_id({str(each["id"]): each["name"] for each in content["categories"]}, path)
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{path}: must list categories with id and name") from error
    names = [line.strip() for line in read_lines(path)]
    while names and not names[-1]:
        names.pop()
    if not names or len(names) > _MOST_CLASSES:
        raise DatasetError(f"{path}: must name 1 to {_MOST_CLASSES} classes, one a line, got {len(names)}")
    return [name or str(number) for number, name in enumerate(names)]


def _different(names: list[str], where: Path) -> list[str]:
    first: dict[str, int] = {}
    for number, name in enumerate(names):
        if first.setdefault(name, number) != number:
            raise DatasetError(
                f"{where}: {name!r} is the name of the classes {first[name]} and {number}; give each its own, there or "
                "with classes="
            )
    return names
