"""Kinds of annotation files that no reader reads: how each is told, and what turns it into one that is read.

A converter is named for a kind where it gave the right names, counts and coordinates on public samples of it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
    """Files of one kind in a folder.

    Attributes:
        root: the folder that was named.
        file: the first of them.
        text: what is known of its content.
        pictures: the folder with most of the pictures.
    """

    root: Path
    file: Path
    text: str
    pictures: Path | None


class Kind(NamedTuple):
    """A kind of files.

    Attributes:
        endings: of their names, in lower case.
        sign: searched for in the content, `.` being line ends, too; "" where the name tells enough.
        name: what they are.
        remedy: what to do with them.
    """

    endings: tuple[str, ...]
    sign: str
    name: str
    remedy: str | Callable[[Found], str]


_APART = "in an environment of its own"


def _typed(*words: object) -> str:
    return " ".join(shlex.quote(str(word)) for word in words)


def _out(found: Found) -> str:
    """A folder for the converted set, beside the one that was named."""
    return f"{os.path.normpath(found.root)}_coco"


def _datumaro(form: str, levels: int = 0, but: str = "") -> Callable[[Found], str]:
    """A command of Datumaro's, which takes the folder `levels` above the file's."""

    def remedy(found: Found) -> str:
        folder = found.file.parent
        for _ in range(levels):
            folder = folder.parent
        command = _typed("datum", "convert", "-if", form, "-i", folder, "-f", "coco_instances", "-o", _out(found))
        return f'pip install "datumaro[cli]" {_APART}, then `{command} -- --save-media`{but}'

    return remedy


def _panlabel(form: str, but: str = "") -> Callable[[Found], str]:
    def remedy(found: Found) -> str:
        table = found.file.with_name(f"{found.file.stem}_coco.json")
        command = _typed("panlabel", "convert", "--from", form, "--to", "coco", "-i", found.file, "-o", table)
        shown = table.relative_to(found.root) if table.is_relative_to(found.root) else table
        flags = _typed("--annotations", shown, "--images", _place(found))
        return f"pip install panlabel {_APART}, then `{command} --allow-lossy`{but}, and open it with {flags}"

    return remedy


def _kitti(found: Found) -> str:
    """A command of labelformat's, which takes KITTI's files from any folder."""
    names = sorted({match[1].strip() for match in re.finditer(_KITTI_LINE, found.text)})
    images = found.root / _place(found)
    command = _typed(
        *("labelformat", "convert", "--task", "object-detection", "--input-format", "kitti"),
        *("--input-folder", found.file.parent, "--category-names", ",".join(names)),
        *("--images-rel-path", os.path.relpath(images, found.file.parent)),
        *("--output-format", "coco", "--output-file", found.root / "annotations.json"),
    )
    flags = _typed("--annotations", "annotations.json", "--images", _place(found))
    return (
        f"pip install labelformat {_APART}, then `{command}` (with the names of all classes: these are those of one "
        f"file), and open it with {flags}"
    )


def _place(found: Found) -> str:
    """The folder of the pictures as it is typed behind --images."""
    if found.pictures is None:
        return "FOLDER"
    return (
        str(found.pictures.relative_to(found.root))
        if found.pictures.is_relative_to(found.root)
        else str(found.pictures)
    )


def _dota(found: Found) -> str:
    texts = found.file.parent.relative_to(found.root)
    flags = _typed("--layout", "dota", "--annotations", texts, "--images", _place(found))
    return f"they are read from SPLIT/labelTxt/ beside SPLIT/images/; or name both: {flags}"


def _youtube_vis(found: Found) -> str:
    """The flags that read it; a file lists its videos or their tracks first."""
    name = re.search(r'"file_names"\s*:\s*\[\s*("(?:[^"\\]|\\.)*")', found.text)
    frame = ""
    with suppress(ValueError):  # an invalid escape
        frame = json.loads(name[1], strict=False) if name else ""
    folder = _folder_with(found, frame)
    table = found.file.relative_to(found.root)
    flags = _typed("--layout", "youtube_vis", "--annotations", table, "--images", folder or "FOLDER")
    return f"it is read with {flags}" + ("" if folder else f", FOLDER being the one that holds {frame or 'the videos'}")


def _folder_with(found: Found, name: str) -> str:
    """The folder, as it is typed behind --images, from which a file's name leads to it; "" where none is found."""
    near = [] if found.pictures is None else [found.pictures, *found.pictures.parents]
    below = sorted(Path(entry) for entry in os.scandir(found.root) if entry.is_dir())
    places = [found.root, *(place for place in near if place.is_relative_to(found.root)), *below]
    places += [place / "JPEGImages" for place in below]
    found_in = (place for place in places if name and (place / name).is_file())
    return next((place.relative_to(found.root).as_posix() for place in found_in), "")


WANTED = "a COCO JSON (images, annotations with bbox [x, y, width, height], categories)"
"""What is read of files of any kind."""

_BY_HAND = f"no converter that we tried reads them right; write {WANTED} and name it with --annotations"
_BY_HAND_TURNED = "write DOTA's text files of them, x1 y1 x2 y2 x3 y3 x4 y4 class difficult, into SPLIT/labelTxt/"

_YOLO_PLACES = "they are read with pictures in images/, texts in labels/ and the names of the classes in a data.yaml"

_NUMBER = r"-?\d+(?:\.\d+)?"
_KITTI_LINE = rf"(?m)^([^\W\d][^\n]*?)(?: {_NUMBER}){{14,15}}\s*$"

_FRAMES = r'"file_names"\s*:\s*\[\s*"'
_OF_TRACKS = "(?:video_id|bboxes|areas|counts)"  # a split without public annotations has none of these

KINDS: tuple[Kind, ...] = (
    Kind(
        (".xml",),
        r"<annotations>.*<track\s",
        "CVAT's XML of a video",
        "export as COCO, YOLO or MOT from CVAT; no converter that we tried leaves out what has left the picture",
    ),
    Kind(
        (".xml",),
        r"<annotations>.*<image\s",
        "CVAT's XML",
        _datumaro(
            "cvat", but=" (boxes, polygons and masks; it drops ellipses, lines and points); or export as COCO from CVAT"
        ),
    ),
    Kind(
        (".xml",),
        r"<annotation>.*<polygon>.*<pt>",
        "LabelMe's old XML",
        "import it into CVAT (as LabelMe 3.0) and export as COCO from there",
    ),
    Kind((".xml",), r"<annotation>.*<points>.*<point>", "an XML of oriented boxes (FAIR1M)", _BY_HAND_TURNED),
    Kind((".json",), r'"assets"\s*:\s*\{.*"(regions|boundingBox)"', "VoTT's JSON", _datumaro("vott_json")),
    Kind(
        (".json",),
        r'"shape_attributes"\s*:',
        "VIA's (VGG) JSON",
        _panlabel("via", " for rectangles (others are left out); for polygons export as COCO from VIA"),
    ),
    Kind(
        (".csv",),
        r"region_shape_attributes",
        "VIA's (VGG) table",
        _panlabel("via-csv", " for rectangles (others are left out); for polygons export as COCO from VIA"),
    ),
    Kind((".json",), r'"coordinates"\s*:\s*\{\s*"(x|y|width|height)"', "CreateML's JSON", _panlabel("create-ml")),
    Kind(
        (".json",),
        r'"classTitle"\s*:',
        "Supervisely's JSON",
        "export as COCO, YOLO or Pascal VOC from Supervisely",
    ),
    Kind(
        (".json",),
        r'"result"\s*:\s*\[.*"(from_name|rectanglelabels|polygonlabels|brushlabels)"',
        "Label Studio's own JSON",
        "export as COCO or YOLO from Label Studio",
    ),
    Kind((".ndjson", ".json"), r'"data_row"\s*:\s*\{', "Labelbox' export", _BY_HAND),
    Kind(
        (".json",),
        r'"dm_format_version"|"items"\s*:\s*\[\s*\{.*"annotations"',
        "Datumaro's JSON",
        _datumaro("datumaro", levels=1),
    ),
    Kind((".json",), r'"segments_info"\s*:', "COCO panoptic's JSON", "name it with --annotations"),
    Kind(
        (".json",),
        r'"videos"\s*:\s*\[.*"frame_id"',
        "MMTracking's CocoVID, a JSON of frames",
        "as YouTube-VIS (videos with file_names, segmentations by frame) it would be read as clips; without its "
        '"videos" as COCO images',
    ),
    Kind(
        (".json",),
        rf'{_FRAMES}.*"{_OF_TRACKS}"|"{_OF_TRACKS}".*{_FRAMES}',
        "YouTube-VIS's JSON of videos, as OVIS has it, too",
        _youtube_vis,
    ),
    Kind(
        (".odgt",),
        r'"gtboxes"\s*:',
        "CrowdHuman's JSON lines",
        f"write {WANTED}: fbox as bbox, and iscrowd 1 where the tag is mask or extra says ignore 1; then name it with "
        "--annotations",
    ),
    Kind(
        (".csv",),
        r"ImageID,.*LabelName",
        "an Open Images table",
        _datumaro("open_images", levels=1, but=" (its classes are then codes such as /m/01g317)"),
    ),
    Kind(
        (".csv",),
        r'^\W*image"?,"?xmin"?,"?ymin"?,"?xmax"?,"?ymax"?,"?label',
        "VoTT's table",
        _datumaro("vott_csv"),
    ),
    Kind((".csv",), r"(?i)^[^\n]*x_?min[^\n]*y_?max|^[^\n]*\bx1\b[^\n]*\by2\b", "a table of boxes", _BY_HAND),
    Kind(
        ("gt.txt",),
        r"(?m)^\d+,-?\d+,",
        "a MOT sequence",
        _datumaro("mot_seq", levels=1),
    ),
    Kind(
        (".txt",),
        rf"(?im)^\S[^\n]*\.(jpe?g|png)\s*\n\d+\s*\n{_NUMBER} {_NUMBER} {_NUMBER} {_NUMBER}",
        "WIDER FACE's list",
        _BY_HAND,
    ),
    Kind((".txt",), rf"(?m)^({_NUMBER} ){{8}}[^\W\d]\S* [0-2]\s*$", "DOTA's text files", _dota),
    Kind((".txt",), _KITTI_LINE, "KITTI's text files", _kitti),
    Kind(
        (".txt",),
        r"(?m)^\d+( (0?\.\d+|[01](\.0*)?)){4,}\s*$",
        "YOLO's text files",
        _YOLO_PLACES,
    ),
    Kind(
        (".txt",),
        rf"(?m)^\d+(?=[^\n]* (?:[3-9]|\d\d+)(?:\.\d*)?(?:\s|$))(?: {_NUMBER}){{4,}}\s*$",
        "YOLO's text files in pixels",
        "YOLO's coordinates are shares of the image's width and height, so divide pixels by them first; then "
        + _YOLO_PLACES,
    ),
    Kind(
        ("metadata.jsonl", "metadata.csv"),
        "file_name",
        "the metadata of a Hugging Face imagefolder without boxes",
        'rows of detection have "objects": {"bbox": [[x, y, width, height], …], "category": […]}',
    ),
    Kind(
        (".parquet", ".arrow"),
        "",
        "tables of Hugging Face or Arrow",
        "open them with datasets.load_dataset or load_from_disk, and give the split to HuggingFaceDataset",
    ),
    Kind((".tfrecord",), "", "TFRecords", _BY_HAND),
    Kind((".mat",), "", "MATLAB's files", _BY_HAND),
    Kind((".npy", ".npz", ".h5", ".hdf5"), "", "arrays", "save them as pictures, and maps as PNG beside them"),
    Kind(
        (".nii", ".nii.gz"),
        "",
        "NIfTI volumes",
        "a dataset.json as the Medical Segmentation Decathlon's, which pairs volumes and labels, makes them readable",
    ),
    Kind((".zip", ".tar", ".gz", ".tgz", ".7z", ".rar"), "", "an archive", "unpack it first"),
)
"""The kinds that are known, the more particular ones first."""


def kinds_of(name: str, kinds: Sequence[Kind] = KINDS) -> list[Kind]:
    """The kinds that a file may be of, told by its name."""
    plain = name.lower()
    return [kind for kind in kinds if plain.endswith(kind.endings)]
