"""How the maps of a dataset say which class a pixel has, found out by a look at them; reading and writing them so."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from cutmix_dense.data.colors import Color, ColorTable, colors_in, csv_rows, read_color_classes, read_color_table
from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.files import read_lines
from cutmix_dense.data.maps import check_fits, is_lossy, read_indices
from cutmix_dense.data.pictures import opened

IGNORE = 255
"""The id of a pixel without a class, in targets."""

CAMVID_CLASSES: tuple[str, ...] = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car", "pedestrian", "bicyclist"),
)
"""The 11 classes of CamVid as SegNet's tutorial ships it; 11 means unlabelled."""

CAMVID_FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+")
"""How CamVid names its frames."""

_COLOR_TABLES = re.compile(
    r"labelmap.*\.txt|label_?colors?\.txt|.*class_dict.*\.csv|_?classes\.csv|config.*\.json|dataset_meta\.json"
)
_NAME_LISTS = re.compile(
    r"codes\.txt|class(es|_names|_list)?\.txt|names\.txt|label(s|_names)?\.txt|class(es|_id_to_name|_names)\.json"
    r"|id2label\.json|dataset_meta\.json|_?classes\.csv"
)
_FEW_MAPS, _MANY_MAPS, _PIXELS = 8, 256, 1 << 26
"""So many maps are looked at to tell the form of all: at least, at most, and no more once so many pixels were seen."""

_FAR = 16
"""Values that are at least so far from each other may be grey levels."""

_IGNORED = re.compile(r"\(\s*ignored?\s*\)", re.IGNORECASE)
_VOID = re.compile(r"void|ignored?|unlabell?ed|unknown|undefined|don'?t.?care", re.IGNORECASE)


@dataclass(frozen=True)
class ClassTables:
    """What the files of a dataset say of its classes.

    Attributes:
        names: by id.
        names_from: the file that says so.
        ignored: ids whose name says that they are to be ignored.
        colors: names and colours.
        colors_from: the file that says so.
        files: the name and the content of each file, for a copy.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    names_from: Path | None = None
    ignored: tuple[int, ...] = ()
    colors: Sequence[tuple[str, Color]] = ()
    colors_from: Path | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class MapForm:
    """How maps hold classes: reads them as ids, 255 = no class, and encodes such ids so that they read back the same.

    Attributes:
        kind: "ids": the values are ids; "binary": 0 and 255 (in pictures of 1 bit, 1) are background and foreground;
            "colors": colours mean classes.
        classes: names by id.
        ignore: what means no class in the files: values, or for colours ids of the table.
        colors: by id.
        mode: Pillow's, of the pictures.
        palette: of palette pictures, 768 bytes.
        lossy: whether maps that are stored with loss are read, as `read_indices` reads binary ones.
        doubt: what is doubtful about how the values are read, in words.
        unsure: whether 255 may be an object as well as "ignore": no map that was looked at tells.
        files: the dataset's own tables of classes, by name.
    """

    kind: Literal["ids", "binary", "colors"]
    classes: tuple[str, ...]
    ignore: tuple[int, ...] = (IGNORE,)
    colors: tuple[Color, ...] = ()
    mode: str = "L"
    palette: bytes | None = None
    unsure: bool = False
    lossy: bool = False
    doubt: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def read(self, path: Path, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w"]:
        """The (H, W) ids of a map, 255 = no class; SampleError for a value that means nothing, never another class."""
        if self.kind == "colors":
            return read_color_classes(path, size, self._ids_of_colors())
        values = read_indices(path, size, equal_bands=True, binary=self.lossy)
        count = max(int(values.max()), IGNORE, *self.ignore) + 1  # read_indices lets 65535 pass at most
        table = np.full(count, IGNORE, dtype=np.uint8)
        known = np.zeros(count, dtype=bool)
        if self.kind == "binary":
            table[[0, self._on]] = 0, 1
            known[[0, self._on]] = True
        else:
            ids = np.arange(len(self.classes))
            table[ids], known[ids] = ids, True
        for value in self.ignore:
            table[value], known[value] = IGNORE, True
        known[IGNORE] &= not self.unsure
        if not known[values].all():
            raise self._refusal(path, values, known)
        return table[values]

    def encode(self, ids: UInt8[np.ndarray, "h w"]) -> tuple[bytes, int]:
        """The bytes of a PNG that reads back as these ids, and how many pixels without a class became background."""
        if int(np.where(ids == IGNORE, 0, ids).max(initial=0)) >= len(self.classes):
            raise ValueError(f"the map holds ids beyond those of its {len(self.classes)} classes")
        none, unplaced = self._none()
        table = np.full(IGNORE + 1, none, dtype=np.int64)
        if self.kind == "binary":
            table[:2] = 0, self._on
        else:
            table[: len(self.classes)] = np.arange(len(self.classes))
        values = table[ids]
        count = int((ids == IGNORE).sum()) if unplaced else 0
        if self.kind == "colors":
            picture = np.array(self.colors, dtype=np.uint8)[values]
            image = Image.fromarray(picture[..., 0] if self.mode == "L" else picture)
        elif self.mode == "1":
            image = Image.fromarray(values.astype(bool))
        elif self.mode.startswith("I"):
            image = Image.fromarray(values.astype(np.uint16))
        else:
            image = Image.fromarray(values.astype(np.uint8))
            if self.palette is not None:
                image.putpalette(self.palette)
        if self.mode in ("RGB", "RGBA", "LA") and image.mode != self.mode:
            image = image.convert(self.mode)
        stream = io.BytesIO()
        image.save(stream, "PNG", compress_level=4)
        return stream.getvalue(), count

    def tables(self) -> dict[str, bytes]:
        """The files, by name, by which a copy's maps mean the same: the dataset's own, or one written anew."""
        if self.files:
            return dict(self.files)
        if self.kind == "colors":
            lines = [f"{name}:{','.join(map(str, color))}::" for name, color in zip(self._marked(), self.colors)]
            return {
                "labelmap.txt": "".join(f"{line}\n" for line in ["# label:color_rgb:parts:actions", *lines]).encode()
            }
        if self.kind == "binary":
            lines = [f"0 {self.classes[0]}", f"{self._on} {self.classes[1]}"]
            lines += [f"{value} no class (ignore)" for value in self.ignore if value not in (0, self._on)]
        else:
            lines = self._marked()
            beyond = sorted(value for value in self.ignore if len(lines) <= value < IGNORE)
            if beyond or all(
                re.match(r"\d+\s*[:,;=\s]\s*\S", line) for line in lines
            ):  # or they would be taken for ids
                lines = [f"{number} {line}" for number, line in enumerate(lines)]
                lines += [f"{value} no class (ignore)" for value in beyond]
        return {"classes.txt": "".join(f"{' '.join(line.split())}\n" for line in lines).encode()}

    def _marked(self) -> list[str]:
        """Names by id; those that mean no class are marked as `read_class_names` knows it."""
        marked = [number in self.ignore and not _IGNORED.search(name) for number, name in enumerate(self.classes)]
        return [f"{name} (ignore)" if mark else name for name, mark in zip(self.classes, marked)]

    @property
    def _on(self) -> int:
        return 1 if self.mode == "1" else 255

    def _none(self) -> tuple[int, bool]:
        """What is written where a pixel has no class, and whether that is for want of anything better."""
        if self.kind == "binary":
            usable = [value for value in self.ignore if value not in (0, self._on)]
            return (usable[0], False) if usable else (0, True)
        if self.ignore:
            return self.ignore[0], False
        void = [number for number, name in enumerate(self.classes) if _VOID.search(name)]
        return (void[0], False) if void else (0, True)

    def _ids_of_colors(self) -> dict[Color, int]:
        return {color: IGNORE if number in self.ignore else number for number, color in enumerate(self.colors)}

    def _refusal(self, path: Path, values: Int[np.ndarray, "h w"], known: np.ndarray) -> SampleError:
        odd = (values >= len(known)) | ~known[values.clip(max=len(known) - 1)]
        row, column = (int(where[0]) for where in np.nonzero(odd))
        value = int(values[row, column])
        where = f"holds the value {value} (row {row}, column {column})"
        if self.unsure and value == IGNORE:
            return SampleError(
                path,
                f"{where}, which may mean an object or no class at all, and the maps that were looked at don't tell; "
                "give binary=True or binary=False",
            )
        if self.kind == "binary":
            return SampleError(
                path,
                f"{where}, but the maps of this dataset hold 0 and {self._on} alone, background and foreground; "
                "binary=False reads ids, ignore= names values that mean no class",
            )
        if value > IGNORE:
            return SampleError(
                path,
                f"{where}, and {IGNORE - 1} is the largest id; renumber the masks as 0 … {IGNORE - 1}, or give the "
                "values that mean no class as ignore=",
            )
        return SampleError(
            path,
            f"{where}, but the {len(self.classes)} classes are 0 … {len(self.classes) - 1}; name them all with "
            "classes= (254 is the largest id), or give the values that mean no class as ignore=",
        )


class _Look(NamedTuple):
    """What some maps hold."""

    modes: list[str]
    values: frozenset[int]
    colored: Path | None  # the first map that isn't grey
    palettes: frozenset[tuple[int, Color]]  # used indices and their colours
    palette: bytes | None
    complete: bool
    lossy: str  # what is to be said of those that are stored with loss
    marked: Mapping[frozenset[int], list[str]]  # the values besides 0 that a map holds, and the maps that hold these


def find_form(
    maps: Sequence[tuple[Path, Path]],
    tables: ClassTables,
    *,
    classes: Sequence[str] | None = None,
    colors: Sequence[Color] | None = None,
    binary: bool | None = None,
    ignore: Sequence[int] | None = None,
    camvid: bool = False,
) -> MapForm:
    """How the maps of a dataset hold classes, by a look at a bounded number of them.

    Args:
        maps: all maps of all splits, so that every split is read alike, and the picture of each.
        tables: what the files beside them say.
        classes: names by id, in place of theirs.
        colors: colours by id, in place of theirs.
        binary: whether 0 and 255 are background and foreground; None: where nothing else occurs.
        ignore: values that mean no class; of ids besides 255.
        camvid: whether the folders are named as SegNet's CamVid names them.

    Raises:
        DatasetError: colours without a table, more classes than a map of ids can tell, names that don't fit.
    """
    given = tuple(ignore or ())
    table = _given_colors(classes, colors) if colors is not None else list(tables.colors)
    asked = binary is True
    look = _look_at(maps, lossy=asked)
    if binary is not True and table and _means_colors(look, table):
        return _colored(look, tables, table, classes, given, own=colors is not None)
    if look.colored is not None:
        found = ", ".join(str(color) for color in colors_in(look.colored)) or "thousands of colours, as a picture does"
        raise DatasetError(
            f"{look.colored}: is a map of colours, and nothing says which colour is which class; it holds {found}. Put "
            "a table beside the folders of images and masks: class_dict.csv (name,r,g,b), labelmap.txt (name:r,g,b::), "
            "label_colors.txt (r g b name); or give classes= and colors="
        )
    files = {} if classes is not None or given else tables.files
    marked = () if classes is not None else tables.ignored
    ignored = tuple(dict.fromkeys((*given, *marked, IGNORE)))
    if classes is not None:
        stated = dict(enumerate(classes))
    else:
        stated = dict(tables.names) or dict(enumerate(name for name, _ in table))
        if camvid and not stated and max((look.values - {IGNORE}), default=0) <= len(CAMVID_CLASSES):
            stated, ignored = dict(enumerate(CAMVID_CLASSES)), (*given, len(CAMVID_CLASSES), IGNORE)
        if binary is None and IGNORE in stated:  # the list says itself what 255 means
            binary = stated.keys() - {*given, *marked} == {0, IGNORE} and not _VOID.search(stated[IGNORE])
    only = look.values <= {0, IGNORE} and IGNORE in look.values
    if binary or (binary is None and len(stated) <= 2 and (only or set(look.modes) == {"1"})):
        return replace(_binary(look, stated, (*given, *marked), tables, files), lossy=asked, doubt=look.lossy)
    stated = {number: name for number, name in stated.items() if number not in ignored or number < IGNORE}
    doubt = "" if stated else _doubt(look.values, ignored)
    if binary is None and IGNORE not in given and len(stated) <= 2:
        doubt = _two_codings(look) or doubt
    if not stated:
        stated = {number: str(number) for number in look.values if number not in ignored and number < IGNORE}
    counted = [number for number in stated if number not in ignored]
    if max(counted, default=0) >= IGNORE:
        source = "classes=" if classes is not None else str(tables.names_from or tables.colors_from)
        raise DatasetError(f"{source}: names ids up to {max(counted)}; a map of ids can hold 0 … 254")
    names = tuple(stated.get(number, str(number)) for number in range(max(counted, default=0) + 1))
    unsure = binary is None and not look.complete and look.values <= {0} and len(stated) <= 2
    return MapForm(
        "ids", names, ignored, mode=look.modes[0], palette=look.palette, unsure=unsure, doubt=doubt, files=files
    )


def _two_codings(look: _Look) -> str:
    """What is to be said of maps of 0 and 255 beside maps of 0 and 1, where none holds both 1 and 255; "" for others.

    A value for "no class" stands at the border of objects, so it would stand beside a 1 somewhere.
    """
    full, ones, both = (look.marked.get(frozenset(values), []) for values in ({IGNORE}, {1}, {1, IGNORE}))
    if not full or not ones or both or not look.values <= {0, 1, IGNORE}:
        return ""
    return (
        f"some masks hold 0 and {IGNORE} ({full[0]} and {len(full) - 1} more of those that were looked at), others 0 "
        f"and 1 ({ones[0]} and {len(ones) - 1} more), none both 1 and {IGNORE}; read as ids, so {IGNORE} means no "
        f"class. If it is the foreground, multiply the masks of 0 and 1 by {IGNORE} (binary=True alone refuses them); "
        f"if not, binary=False reads them without this note"
    )


def _doubt(values: Iterable[int], ignored: tuple[int, ...]) -> str:
    """What is to be said of values too large for ids, or far apart, which may be grey levels as well; "" for others."""
    found = sorted(values)
    large = [value for value in found if value > IGNORE and value not in ignored]
    if large:
        return (
            f"masks hold {', '.join(map(str, large[:5]))}{' …' * (len(large) > 5)}, and {IGNORE - 1} is the largest "
            f"id, so the masks with these are refused; renumber them as 0 … {IGNORE - 1}, or give the values that mean "
            "no class as ignore="
        )
    read = [value for value in found if value not in ignored]
    if len(found) < 2 or not read or min(high - low for low, high in pairwise(found)) < _FAR:
        return ""
    none = [str(value) for value in found if value in ignored]
    return (
        f"masks hold {', '.join(map(str, found))} and nothing names the classes; read as the ids "
        f"{', '.join(map(str, read))}{', no class where ' + ', '.join(none) if none else ''}. If they are grey levels, "
        "binary=True reads 255 as foreground (with ignore= for values between), a classes.txt of lines `value name` "
        "names ids"
    )


def _colored(
    look: _Look,
    tables: ClassTables,
    table: ColorTable,
    classes: Sequence[str] | None,
    ignore: tuple[int, ...],
    *,
    own: bool,
) -> MapForm:
    source = "colors=" if own else str(tables.colors_from)
    if len(table) > IGNORE:
        raise DatasetError(f"{source}: lists {len(table)} classes, {IGNORE} are the most")
    if classes is not None and len(classes) != len(table):
        raise DatasetError(f"classes= names {len(classes)} classes, {source} has {len(table)} colours")
    marked = [number for number, (name, _) in enumerate(table) if _IGNORED.search(name)]
    if any(value >= len(table) for value in ignore):
        raise DatasetError(f"ignore= must name ids of the {len(table)} colours, got {list(ignore)}")
    names = tuple(classes) if classes is not None else tuple(name for name, _ in table)
    files = {} if own or ignore or classes is not None else tables.files
    mode = look.modes[0] if look.modes[0] in ("L", "RGBA") else "RGB"
    ignored = (*ignore, *(number for number in marked if number not in ignore))
    return MapForm("colors", names, ignored, tuple(color for _, color in table), mode, files=files)


def _binary(
    look: _Look, stated: Mapping[int, str], ignore: tuple[int, ...], tables: ClassTables, files: Mapping[str, bytes]
) -> MapForm:
    names = [stated[number] for number in sorted(stated) if number not in ignore]
    if len(names) > 2:
        raise DatasetError(f"{tables.names_from or 'classes='}: binary maps have 2 classes, {len(names)} are named")
    names = ["background", *names] if len(names) == 1 else names or ["background", "foreground"]
    bits = set(look.modes) == {"1"}
    mode = "1" if bits else next(mode for mode in look.modes if mode != "1")
    return MapForm("binary", tuple(names), ignore, mode=mode, palette=look.palette, files=files)


def _means_colors(look: _Look, table: ColorTable) -> bool:
    """Whether the colours of maps decide, beside a table of colours: not where values number its rows."""
    listed = {color: number for number, (_, color) in enumerate(table)}
    if not look.modes:
        return False
    if any(mode in ("RGB", "RGBA") for mode in look.modes):
        return True
    if look.palettes and set(look.modes) == {"P"}:
        known = all(color in listed for _, color in look.palettes)
        return known and any(listed[color] != number for number, color in look.palettes)
    grey = {(value, value, value) for value in look.values}
    return grey <= set(listed) and max(look.values, default=0) >= len(table)


def _look_at(maps: Sequence[tuple[Path, Path]], *, lossy: bool) -> _Look:
    """What a bounded number of maps holds, evenly taken from all; those that can't be read say so when they are."""
    chosen = maps[:: max(1, -(-len(maps) // _MANY_MAPS))]
    order = sorted(range(len(chosen)), key=lambda number: (number % _FEW_MAPS, number))  # even, wherever it ends
    modes: list[str] = []
    values: set[int] = set()
    palettes: set[tuple[int, Color]] = set()
    palette: bytes | None = None
    colored: Path | None = None
    first: SampleError | None = None
    pixels = 0
    told = ""
    marked: dict[frozenset[int], list[str]] = {}
    for number in order:
        path, picture = chosen[number]
        try:
            check_fits(path, picture)  # else a few bytes could declare gigabytes
            with opened(path) as image:
                mode, pixels = image.mode, pixels + image.width * image.height
                halved = lossy and is_lossy(image, path)
                colors = image.getpalette("RGB") if mode == "P" else None
                if mode in ("RGB", "RGBA") and not halved and _has_colors(image):
                    modes.append(mode)
                    colored = colored or path
                    continue
            found = [int(value) for value in np.unique(read_indices(path, None, equal_bands=True, binary=lossy))]
        except SampleError as error:
            first = first or error
            continue
        if halved and not told:
            told = (
                f"{path.name} is stored with loss; its values from 128 on are read as foreground, others as background"
            )
        modes.append(mode)
        values.update(found)
        marked.setdefault(frozenset(found) - {0}, []).append(path.name)
        if colors is not None:
            full = [*colors, *[0] * (768 - len(colors))]
            palette = palette or bytes(full)
            palettes.update((value, (full[3 * value], full[3 * value + 1], full[3 * value + 2])) for value in found)
        if len(modes) >= _FEW_MAPS and pixels > _PIXELS:
            break
    if not modes:
        raise DatasetError(f"no map can be read; the first: {first}")
    return _Look(modes, frozenset(values), colored, frozenset(palettes), palette, len(modes) == len(maps), told, marked)


def _has_colors(image: Image.Image) -> bool:
    bands = np.asarray(image.convert("RGB"))
    return bool((bands != bands[..., :1]).any())


def _given_colors(classes: Sequence[str] | None, colors: Sequence[Color]) -> ColorTable:
    names = [str(number) for number in range(len(colors))] if classes is None else list(classes)
    if len(names) != len(colors):
        raise DatasetError(f"classes= names {len(names)} classes, colors= has {len(colors)}")
    table: ColorTable = []
    for name, color in zip(names, colors, strict=True):
        parts = [int(part) for part in color]
        if len(parts) != 3 or not all(0 <= part <= 255 for part in parts):
            raise ValueError(f"colors must be (r, g, b) in 0 … 255, got {tuple(color)}")
        table.append((name, (parts[0], parts[1], parts[2])))
    if len({color for _, color in table}) < len(table):
        raise ValueError("colors= has one colour twice")
    return table


# --------------------------------------------------------------------------------------------------------------- tables


def find_tables(folders: Iterable[Path], masks: Path) -> ClassTables:
    """What files of known names, such as `classes.txt` or `labelmap.txt`, say of the classes.

    Args:
        folders: where they may lie; the first that has one of a kind counts.
        masks: the folder of maps, whose path may name a version as Mapillary's does.

    Raises:
        DatasetError: a table that can't be read.
    """
    names: dict[int, str] = {}
    colors: ColorTable = []
    names_from: Path | None = None
    colors_from: Path | None = None
    for folder in dict.fromkeys(folders):
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".txt", ".csv", ".json"))
        for path in files if names_from is None else []:
            if _NAME_LISTS.fullmatch(path.name.lower()) and path.is_file() and not _is_color_csv(path):
                names, names_from = read_class_names(path), path
                break
        found = [path for path in files if _COLOR_TABLES.fullmatch(path.name.lower()) and path.is_file()]
        for path in _by_version(found, masks) if colors_from is None else []:
            if path.suffix.lower() == ".json" and not _states_colors(path):
                continue
            if "classes.csv" in path.name.lower() and not _is_color_csv(path):
                continue
            colors, colors_from = read_color_table(path), path
            break
    paths = dict.fromkeys(path for path in (names_from, colors_from) if path is not None)
    ignored = tuple(number for number, name in names.items() if _IGNORED.search(name))
    return ClassTables(
        names, names_from, ignored, colors, colors_from, {path.name: path.read_bytes() for path in paths}
    )


def read_class_names(path: Path) -> dict[int, str]:
    """Names of classes by id: a text of one name a line, or `id name`; or CSV or JSON of ids and names, or a JSON list.

    A name marked "(ignore)" means no class. A first line ``__ignore__``, which is LabelMe's id -1, is left out.

    Raises:
        DatasetError: no such list, or an id that is named twice.
    """
    if path.suffix.lower() == ".json":
        return _names_of_json(path)
    table = path.suffix.lower() == ".csv"
    lines = _pairs_of_csv(path) if table else [text for line in read_lines(path) if (text := line.strip())]
    if lines[:1] == ["__ignore__"]:
        lines = lines[1:]
    numbered = [re.fullmatch(r"(\d{1,5})\s*[:,;=\s]\s*(\S.*)", line) for line in lines]
    pairs = [(int(match[1]), match[2].strip()) for match in numbered if match is not None]
    if len(pairs) < len(lines):
        pairs = list(enumerate(lines))
    if not pairs:
        raise DatasetError(f"{path}: names no class")
    if len({number for number, _ in pairs}) < len(pairs):
        raise DatasetError(f"{path}: names an id twice")
    return dict(pairs)


def _pairs_of_csv(path: Path) -> list[str]:
    """Lines `id,name` of a table of ids and names, in whatever order its columns are; a first line may name them."""
    pairs = [row if row[0].isdecimal() else row[::-1] for row in csv_rows(path)]
    pairs = pairs[1:] if pairs and not pairs[0][0].isdecimal() else pairs
    if any(len(pair) != 2 or not pair[0].isdecimal() for pair in pairs):
        raise DatasetError(f"{path}: must have two columns, ids and names of classes, under a line that names them")
    return [",".join(pair) for pair in pairs]


def _names_of_json(path: Path) -> dict[int, str]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content, dict):
            content = next(
                (content[key] for key in ("label_map", "classes", "names", "labels") if key in content), content
            )
        if isinstance(content, list):
            names = [entry["name"] if isinstance(entry, dict) else entry for entry in content]
            content = dict(enumerate(names))
        pairs = {int(key): value for key, value in content.items() if isinstance(value, str)}
        if not pairs or len(pairs) < len(content):
            pairs = {int(value): str(key) for key, value in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: not a list of class names by id ({error!r})") from error
    if not pairs or min(pairs) < 0:
        raise DatasetError(f"{path}: names no class, or one with an id below 0")
    return pairs


def _is_color_csv(path: Path) -> bool:
    """Whether the first line of a CSV file names red, green and blue."""
    header = {cell.lower() for row in csv_rows(path)[:1] for cell in row} if path.suffix.lower() == ".csv" else set()
    return {"r", "g", "b"} <= header or {"red", "green", "blue"} <= header


def _states_colors(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")[: 1 << 20]
    except OSError:
        return False
    needed = r'"labels"\s*:\s*\[' if path.name.lower().startswith("config") else ""  # a config may be of anything
    return all(re.search(sign, text) for sign in (needed, r'"(color|palette|segmentation_colors)"\s*:'))


def _by_version(found: Sequence[Path], masks: Path) -> list[Path]:
    """Tables in the order they are tried; of several with a version in their names, the maps' own."""

    def rank(path: Path) -> tuple[bool, bool, str]:
        version = re.search(r"v\d+\.\d+", path.name)
        return version is not None and version[0] not in masks.parts, path.suffix.lower() == ".json", path.name

    return sorted(found, key=rank)
