"""Where the files of a VOC set lie: lists of ImageSets, folders of pictures and XML files, names of classes."""

from __future__ import annotations

import codecs
import itertools
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers.expat import errors

from cutmix_dense.data.class_tables import VOC_CLASSES
from cutmix_dense.data.colors import Color, read_labelmap
from cutmix_dense.data.errors import MEND, DatasetError, SampleError, blaming
from cutmix_dense.data.files import read_lines, walked
from cutmix_dense.data.pictures import PICTURE_SUFFIXES
from cutmix_dense.data.spelling import Names
from cutmix_dense.data.splits import names_of_split

_MOST_ENTRIES = 20_000
"""So many entries of a folder are looked at before it counts as one without the files that are looked for."""
_MOST_LOOKED_AT = 200_000
"""So many entries of all folders together."""
_SNIFFED = 4096
_FEW = 64
"""So many XML files are looked at to find out what a set holds."""
_MAPS = ("SegmentationClass", "SegmentationObject", "SegmentationClassPNG", "SegmentationObjectPNG")
_SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing", "trainval")
_LISTS = ("ImageSets/Main", "ImageSets/Segmentation", "ImageSets")
_IMAGE_NAMES = ("jpegimages", "images", "image", "imgs", "img")
_FLAG = re.compile(r"^(.*\S)\s+(-1|0|1)$")


class VocFolders(NamedTuple):
    """Where one split lies.

    Attributes:
        folder: what the maps and the table of classes lie in.
        images: the pictures.
        annotations: the XML files.
        listed: whether `folder/ImageSets` lists the names; else they are those of the XML files.
    """

    folder: Path
    images: Path
    annotations: Path
    listed: bool


def find_folders(root: Path) -> dict[str, VocFolders]:
    """The splits of a folder in any form of VOC, and where they lie; empty where it is none.

    The names are those of the lists in `ImageSets/Main`, else in `ImageSets/Segmentation`, else in `ImageSets` itself,
    where there are any. Else pictures and XML files lie in one folder
    or in two side by side: that of the root is the split "all", those of folders below it have the folders' names.
    """
    found: dict[str, VocFolders] = {}
    for folder in voc_folders(root):
        place = VocFolders(folder, folder / "JPEGImages", folder / "Annotations", True)
        names = next((names for each in _LISTS if (names := [path.stem for path in (folder / each).glob("*.txt")])), [])
        found.update(dict.fromkeys(sorted(names), place))
    return found or _unlisted(root)


def voc_folders(root: Path) -> list[Path]:
    """The folders that hold `ImageSets`: `root` itself, or every VOC<year> under it."""
    if (root / "ImageSets").is_dir():
        return [root]
    patterns = ("VOC*/ImageSets", "VOCdevkit/VOC*/ImageSets")
    return sorted(path.parent for pattern in patterns for path in root.glob(pattern) if path.is_dir())


def voc_folder(root: Path) -> Path:
    """The folder that holds `ImageSets`: `root` itself, or the only VOC<year> under it."""
    found = voc_folders(root)
    if len(found) == 1:
        return found[0]
    if found:
        raise DatasetError(f"{root}: holds {', '.join(path.name for path in found)}; name one of them, as {found[0]}")
    raise DatasetError(f"{root}: not PASCAL VOC, no ImageSets folder in it, in VOC*/ or in VOCdevkit/VOC*/")


class _Look(NamedTuple):
    """What a folder holds: its first XML file of VOC, whether pictures, and the folders below it."""

    path: Path
    xml: str | None
    pictures: bool
    folders: list[str]


class _Looking:
    """Looks into folders, until so many entries have been seen that an answer would take long."""

    def __init__(self) -> None:
        self._left = _MOST_LOOKED_AT

    def at(self, folder: Path) -> _Look:
        xml: str | None = None
        pictures, folders, tried = False, [], 0
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in itertools.islice(entries, min(_MOST_ENTRIES, self._left)):
                self._left -= 1
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()
                if suffix in PICTURE_SUFFIXES:
                    pictures = True
                elif suffix == ".xml" and xml is None and tried < _FEW:
                    tried += 1
                    xml = entry.name if _is_voc(folder / entry.name) else None
        return _Look(folder, xml, pictures, sorted(folders))

    def below(self, look: _Look) -> list[_Look]:
        return [self.at(look.path / name) for name in look.folders if name != "ImageSets"]


def _is_voc(path: Path) -> bool:
    """Whether an XML file begins as VOC's do; those of CVAT and FAIR1M have other elements."""
    try:
        with open(path, "rb") as file:
            start = file.read(_SNIFFED).replace(b"\0", b"")  # UTF-16, too
    except OSError:
        return False
    return re.search(rb"<annotation[\s>/]", start) is not None and b"<objects>" not in start


def _unlisted(root: Path) -> dict[str, VocFolders]:
    looking = _Looking()
    here = looking.at(root)
    below = looking.below(here)
    own = _pair(here, below)
    if own is not None:
        flat = {look.path.name: _flat(look.path) for look in below if own.images == root and look.xml and look.pictures}
        return {"all": own, **flat}
    if not any(look.xml or look.folders for look in below):
        return {}
    found: dict[str, VocFolders] = {}
    deeper = {look.path.name: looking.below(look) for look in below}
    for look in below:
        if "ImageSets" not in look.folders:  # a set of its own
            pair = _pair(look, deeper[look.path.name])
            if pair is not None:
                found[look.path.name] = pair
    official = [name for name, pair in found.items() if pair.images.name == "JPEGImages"]
    if len(official) == 1 and official[0].lower() not in _SPLITS:
        del found[official[0]]  # a set of its own beside other things
    if found:
        return found
    full = [name for name, looks in deeper.items() if any(look.xml or look.pictures for look in looks)]
    sides = [look for each in deeper.values() for look in each]
    for xml in sides:  # annotations/<split>/ beside images/<split>/, or both in images/<split>/
        if xml.xml is None:
            continue
        pictures = [each for each in sides if each.pictures and each.path.name == xml.path.name]
        if xml.pictures:
            pictures = [xml] if len(full) == 1 else []
        chosen = _with_picture(pictures, xml.xml)
        if chosen is not None:
            found[xml.path.name] = VocFolders(root, chosen.path, xml.path, False)
    return found


def _flat(folder: Path) -> VocFolders:
    return VocFolders(folder, folder, folder, False)


def _pair(here: _Look, below: Sequence[_Look]) -> VocFolders | None:
    """The pictures and the XML files of a folder: both in it, or in folders below it."""
    if here.xml and here.pictures:
        return _flat(here.path)
    inner = [look for look in below if look.path.name not in _MAPS]
    inner.sort(key=lambda look: look.path.name.lower() not in _IMAGE_NAMES)
    for xml in (here, *(look for look in inner if not (look.pictures and look.xml))):
        if xml.xml is not None:
            pictures = [look for look in (here, *inner) if look.pictures and look is not xml]
            chosen = _with_picture(pictures, xml.xml)
            if chosen is not None:
                return VocFolders(here.path, chosen.path, xml.path, False)
    named = {look.path.name: look for look in below}
    if "JPEGImages" in named and any(name in named and named[name].pictures for name in _MAPS):
        return VocFolders(here.path, here.path / "JPEGImages", here.path / "Annotations", False)
    return None


def _with_picture(looks: Sequence[_Look], xml: str) -> _Look | None:
    """The folder with the picture of an XML file; the only folder, if that picture is missing."""
    stem = os.path.splitext(xml)[0]
    for look in looks:
        if any((look.path / f"{stem}{suffix}").is_file() for suffix in (*PICTURE_SUFFIXES, ".JPG", ".JPEG", ".PNG")):
            return look
    return looks[0] if len(looks) == 1 else None


def names_in(found: Mapping[str, VocFolders], split: str) -> str | None:
    """The name that a split has among those found, "val" being "valid", too; None if it isn't there."""
    return next((name for name in names_of_split(split) if name in found), None)


# ----------------------------------------------------------------------------------------------------- names and lists


def stems_of(
    folder: Path, suffixes: Collection[str], *, deep: bool = False, rivals: dict[str, list[str]] | None = None
) -> dict[str, str]:
    """The files of a folder with such endings, in capitals or not: name without ending → name; `.jpg` goes first.

    Args:
        folder: the folder.
        suffixes: the endings.
        deep: whether folders below it count, too; the names have them before them.
        rivals: takes all names of each stem that several files have.
    """
    present: dict[str, str] = {}
    for place, below, files in walked(folder):
        below[:] = below if deep else []
        inner = os.path.relpath(place, folder).replace(os.sep, "/")
        before = "" if inner == "." else f"{inner}/"
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in suffixes or name.startswith("."):
                continue
            taken = present.get(before + stem)
            if taken is not None and rivals is not None:
                rivals.setdefault(before + stem, [taken]).append(before + name)
            if suffix == ".jpg" or taken is None:
                present[before + stem] = before + name
    return present


def list_file(folder: Path, split: str, *, segmented: bool) -> Path:
    """The list of a split: in `ImageSets/Segmentation`, or in `Main` and else there; in neither, in `ImageSets`."""
    main, other, plain = (folder / each / f"{split}.txt" for each in _LISTS)
    if any(main.parent.glob("*.txt")):
        return other if segmented else main
    if plain.is_file() and not any(other.parent.glob("*.txt")):
        return plain
    return other if segmented or other.is_file() else main


def read_list(path: Path, images: Path | None = None, classes: Iterable[str] = VOC_CLASSES) -> list[str]:
    """The names in a list of `ImageSets`.

    Lists of one class, as `cat_train.txt`, have -1, 0 or 1 behind each name. A name may end in such a number, too: the
    number belongs to the name where a picture is called so and none is called otherwise. Names may have an ending, and
    folders of another machine before them.

    Args:
        path: the list.
        images: the folder of the pictures; None: lists of classes are told by their name alone.
        classes: names of the classes.

    Raises:
        DatasetError: there is no such list, or it is no text.
    """
    if not path.is_file():
        found = sorted(other.stem for other in path.parent.glob("*.txt"))
        raise DatasetError(f"{path}: no such list (lists found: {', '.join(found) or 'none'})")
    present = Names({} if images is None else stems_of(images, PICTURE_SUFFIXES, deep=True))
    of_a_class = path.stem.rpartition("_")[0] in set(classes)
    names = []
    for line in read_lines(path):
        text = line if present.find(line) else line.strip()  # a name may end in a space
        if not text:
            continue
        flagged = _FLAG.match(text)
        name = _present(text, present)
        if flagged is None:
            if name is not None or not text.startswith("#"):  # a comment
                names.append(name or text)
            continue
        plain = _present(flagged[1], present)
        stripped = of_a_class if (name is None) == (plain is None) else name is None
        names.append((plain or flagged[1]) if stripped else (name or text))
    return names


def _present(text: str, present: Names) -> str | None:
    """What a picture is called that a line of a list names, without its ending; None if there is none."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    tried = [text]
    for start in range(len(parts) if ".." not in parts else 0):
        name = "/".join(parts[start:])
        tried += [name, *([os.path.splitext(name)[0]] if _ends(name) else [])]
    return next((found for each in tried if (found := present.find(each)) is not None), None)


def _ends(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in (*PICTURE_SUFFIXES, ".xml")


# ----------------------------------------------------------------------------------------------------------------- XML


_CUT_OFF = frozenset(
    errors.codes[text]
    for text in (
        errors.XML_ERROR_NO_ELEMENTS,
        errors.XML_ERROR_UNCLOSED_TOKEN,
        errors.XML_ERROR_PARTIAL_CHAR,
        errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
    )
)
"""What the parser says of a file whose end is missing."""

_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.:-]{1,40})["']""")

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _NoEntities(ElementTree.TreeBuilder):
    """Entities can only be declared in a DOCTYPE, and no VOC file needs one; a DOCTYPE alone does no harm."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._declares = b"<!ENTITY" in content.replace(b"\0", b"")  # in UTF-16, too

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        if self._declares:
            raise ValueError("declares entities in a DOCTYPE, which is refused; remove the DOCTYPE")


def parse_xml(path: Path) -> ElementTree.Element:
    """The root element; SampleError if the file is missing, broken, of another kind, or declares entities."""
    with blaming(path):
        content = path.read_bytes()
        try:
            tree = _root_of(content)
        except ElementTree.ParseError as error:
            raise ValueError(f"{error}: {_remedy_of(error, content)}") from error
        if tree.tag != "annotation":
            raise ValueError(f"not a VOC annotation, the root element is <{tree.tag}>")
        if tree.find("object") is None and tree.find("objects/object") is not None:
            raise ValueError("not a VOC annotation, its objects lie in <objects>, as FAIR1M's do")
        return tree


def _encoding_of(content: bytes) -> str:
    """The encoding that an XML file begins with or names; none where it does neither, which means UTF-8."""
    if content[:2] in _UTF_16:
        return "utf-16"
    declared = _ENCODING.match(content.removeprefix(codecs.BOM_UTF8))
    return declared[1].decode() if declared else ""


def _root_of(content: bytes) -> ElementTree.Element:
    """The root element, of a file in an encoding of several bytes a character as well; those expat doesn't know."""
    name = _encoding_of(content)
    try:
        return ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoEntities(content)))
    except (ValueError, LookupError) as error:
        if not name or "encoding" not in str(error):
            raise
    except ElementTree.ParseError as error:
        if not name or error.code != errors.codes[errors.XML_ERROR_UNKNOWN_ENCODING]:
            raise
    try:
        plain = content.decode(name).encode()
    except (LookupError, UnicodeError) as error:
        raise ValueError(f"can't be read in its encoding, {name}: {error}; save it as UTF-8") from error
    return ElementTree.fromstring(plain, ElementTree.XMLParser(target=_NoEntities(plain), encoding="utf-8"))


def _remedy_of(error: ElementTree.ParseError, content: bytes) -> str:
    """What to do with a file that the parser refuses."""
    if error.code in _CUT_OFF or (b"\0" in content and content[:2] not in _UTF_16):
        return MEND
    if error.code == errors.codes[errors.XML_ERROR_UNDEFINED_ENTITY]:
        return "write the character itself in its place"
    try:
        text = content.decode(_encoding_of(content) or "utf-8")
    except (LookupError, UnicodeError):
        return "its text isn't in the encoding that its first line names, UTF-8 where it names none; save it as UTF-8"
    lines = re.split(r"\r\n?|\n", text)  # as the parser counts them
    line = lines[min(error.position[0], len(lines)) - 1]
    if re.search(r"&(?!#?\w+;)", line):
        return "an & in a text must be written as &amp;"
    return "correct the file there"


def xmls_of(place: VocFolders) -> dict[str, str]:
    """The XML files of a place: name without ending → name; of those with a folder of their own, sub-folders, too."""
    return stems_of(place.annotations, (".xml",), deep=place.annotations != place.folder)


def classes_in(places: Iterable[VocFolders]) -> set[str]:
    """All names of objects in all XML files, so that every split numbers the classes alike."""
    found: set[str] = set()
    for path in {place.annotations / name for place in places for name in xmls_of(place).values()}:
        try:
            found.update((node.findtext("name") or "").strip() for node in parse_xml(path).findall("object"))
        except SampleError:
            continue  # reported when that sample is read
    return found - {""}


def has_polygons(paths: Sequence[Path]) -> bool:
    """Whether any of some XML files, spread over all of them, states a polygon."""
    for path in paths[:: max(1, len(paths) // _FEW)]:
        with suppress(OSError):
            if b"<polygon" in path.read_bytes().replace(b"\0", b""):
                return True
    return False


# ------------------------------------------------------------------------------------------------------------- classes


class ClassTable(NamedTuple):
    """The classes, the background first, and where CVAT's label map states them, their colours in the maps.

    Attributes:
        names: by label.
        colors: which label a colour means; 255 for none.
        stated: whether a file or the caller names the classes in their order.
        file: the label map whose classes these are.
    """

    names: tuple[str, ...]
    colors: dict[Color, int]
    stated: bool
    file: Path | None = None


def class_table(
    given: Sequence[str] | None, places: Sequence[Path], sets: Iterable[VocFolders], fallback: Sequence[Path] = ()
) -> ClassTable:
    """The classes of a set: those given, else of a table in one of some folders, else those that occur.

    Args:
        given: names from 1 on, a leading "background" allowed.
        places: folders that may hold `classes.txt`, `class_names.txt` or `labelmap.txt`.
        sets: where the XML files of all splits lie.
        fallback: further folders that may hold `labelmap.txt`.

    Raises:
        DatasetError: a table that makes no sense, or names that are the same.
    """
    colors: dict[Color, int] = {}
    mapped: tuple[str, ...] | None = None
    label_map: Path | None = None
    for folder in (*places, *fallback):
        path = folder / "labelmap.txt"
        if path.is_file():
            mapped, colors = _label_map(path)
            label_map = path
            break
    if given is not None:
        names = _with_background([name.strip() for name in given], "classes")
        numbers = {name: label for label, name in enumerate(names)}
        named = (
            {}
            if mapped is None
            else {color: numbers.get(mapped[label], -1) for color, label in colors.items() if label < 255}
        )
        colors = {color: named.get(color, 255) for color in colors if named.get(color, 255) >= 0}
        return ClassTable(names, colors, True, label_map if names == mapped else None)
    for folder in places:
        for path in (folder / "classes.txt", folder / "class_names.txt"):
            if path.is_file():
                return ClassTable(_with_background(_read_classes(path), path), {}, True)
    if mapped is not None:
        return ClassTable(mapped, colors, True, label_map)
    found = classes_in(sets)
    where = places[0] if places else "classes"
    if found.issubset(VOC_CLASSES):
        return ClassTable(_with_background(VOC_CLASSES, where), {}, True)
    return ClassTable(_with_background(sorted(found), where), {}, False)


_IGNORED = (224, 224, 192)
"""VOC's colour of 255, which CVAT's label maps list as a class named "ignored"."""


def _label_map(path: Path) -> tuple[tuple[str, ...], dict[Color, int]]:
    table = [entry for entry in read_labelmap(path) if entry[1] != _IGNORED]
    background = [entry for entry in table if _is_background(entry[0])]
    table = [("background", background[0][1] if background else (0, 0, 0))] + [
        entry for entry in table if not _is_background(entry[0])
    ]
    names = _with_background([name for name, _ in table], path)
    if len(names) > 255:  # a map can't hold them; XML files can
        return names, {}
    return names, {**{color: label for label, (_, color) in enumerate(table)}, _IGNORED: 255}


def _is_background(name: str) -> bool:
    return name.strip("_ ").lower() == "background"


def _read_classes(path: Path) -> list[str]:
    """One name a line; a number before it, as in `3 car`, must be its index (the background's being 0)."""
    names = [stripped for line in read_lines(path) if (stripped := line.strip())]
    lines = [name.split(maxsplit=1) for name in names]
    if all(len(line) == 2 and line[0].isdecimal() for line in lines):
        # as words: Python refuses to make a number of thousands of digits
        numbers = [line[0].lstrip("0") or "0" for line in lines]
        if not any(numbers == [str(first + i) for i in range(len(lines))] for first in (0, 1)):
            raise DatasetError(f"{path}: the class numbers must count up from 0 or 1")
        return [line[1].strip() for line in lines]
    return names[1:] if names[:1] == ["__ignore__"] else names  # which LabelMe's lists begin with


def _with_background(names: Sequence[str], where: object) -> tuple[str, ...]:
    rest = names[1:] if names and _is_background(names[0]) else names
    if len(set(rest)) < len(rest):
        raise DatasetError(f"{where}: class names must differ, got {list(rest)}")
    return ("background", *rest)


def map_folder(folder: Path, kind: str) -> Path:
    """`SegmentationClass` or `SegmentationObject`; with LabelMe's `PNG` behind it where the plain one has arrays."""
    other = folder / f"{kind}PNG"
    return other if other.is_dir() else folder / kind
