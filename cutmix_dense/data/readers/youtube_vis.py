"""YouTube-VIS: clips whose instances keep their track ids, with a mask and a box per frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.masks import boxes_from_masks, check_room, decode_segmentation
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers.base import DenseDataset, inside_folder, instance_target, needed_folder
from cutmix_dense.data.readers.coco_files import read_coco_json
from cutmix_dense.data.writers.youtube_vis import YouTubeVisWriter

if TYPE_CHECKING:
    from cutmix_dense.transforms.layout import Layout

__all__ = ["YouTubeVisDataset", "even_frames"]

_OF_VIDEO = frozenset({"id", "file_names", "width", "height", "length"})
_OF_TRACK = frozenset(
    {"id", "video_id", "category_id", "iscrowd", "segmentations", "bboxes", "areas", "width", "height", "length"}
)


class YouTubeVisDataset(DenseDataset):
    """Clips of a fixed number of frames from a folder with YouTube-VIS's layout.

    A sample is a `tv_tensors.Video` (T, 3, H, W) uint8 and a list of T targets, one per frame, as the transforms take
    them with ``layout="BTCHW"``. Each has `image_id` (the video's), `boxes` (tight round the masks), `labels`,
    `masks`, `iscrowd`, `area`, and `track_id` (N,) int64, the annotation's id, which is the same in every frame. An
    instance is in the frames in which the file gives it a mask. `classes[0]` is "background"; `category_ids[label]` is
    the file's id.

    Args:
        root: the dataset folder.
        split: "train", "valid" …
        frames: T, at even distances in the whole video; a shorter one shows some twice. None: all frames, as many as
            each video has. `mix_dataset` and `browse` read them all, and a partner gets as many as its base has, at
            even distances; in a batch clips must have one length.
        images: folder of the videos' folders, if it is not `<split>/JPEGImages`.
        annotations: JSON file, if it is not `<split>/instances.json` or `<split>.json`.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        ValueError: `frames` below 1.
        DatasetError: no annotation file or image folder, or a JSON of another kind.
        SampleError: on access, a frame that cannot be read or an annotation that makes no sense.
    """

    layout = "youtube_vis"
    title = "YouTube-VIS"
    options: ClassVar = {
        "images": "folder of the videos' folders, if it is not <split>/JPEGImages",
        "annotations": "JSON file, if it is not <split>/instances.json or <split>.json",
        "frames": "frames of each clip, at even distances (default: 8; of mixed copies and sheets: all)",
    }
    writer = YouTubeVisWriter
    mix_layout: Layout = "BTCHW"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        frames: int | None = 8,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        **common: Any,
    ) -> None:
        if frames is not None and frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        super().__init__(root, split, **common)
        self.frames = frames
        self.annotations = Path(annotations) if annotations is not None else _annotations_of(self.root, split)
        self._images = Path(images) if images is not None else self.root / split / "JPEGImages"
        needed_folder(self._images, "image")
        more = {"annotations": ("id", "category_id", "segmentations")}
        content = read_coco_json(self.annotations, "video instances", more, items="videos")
        for i, video in enumerate(content["videos"]):
            names = video["file_names"]
            if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
                raise DatasetError(f"{self.annotations}: videos[{i}]['file_names'] must list one frame or more")
        self._videos: list[dict[str, Any]] = sorted(content["videos"], key=lambda video: video["id"])
        self._tracks: dict[int | str, list[dict[str, Any]]] = {video["id"]: [] for video in self._videos}
        for annotation in content["annotations"]:
            self._tracks.get(annotation["video_id"], []).append(annotation)
        categories = sorted(content["categories"], key=lambda category: category["id"])
        self.classes = ("background", *(str(category["name"]) for category in categories))
        self.categories: tuple[dict[str, Any], ...] = ({}, *categories)
        self.header = {key: content[key] for key in ("info", "licenses") if content.get(key)}
        self.category_ids: tuple[int, ...] = (-1, *(category["id"] for category in categories))
        self._labels = {category: label for label, category in enumerate(self.category_ids) if label}
        self.has_masks = True

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits under `root` that have annotations and frames."""
        folders = [path.parent for path in root.glob("*/JPEGImages") if path.is_dir()]
        return sorted(path.name for path in folders if any(file.is_file() for file in _places(root, path.name)))

    @classmethod
    def whole(cls, root: Path, split: str) -> dict[str, Any]:
        """All frames."""
        return {"frames": None}

    def __len__(self) -> int:
        return len(self._videos)

    def image_path(self, index: int) -> Path:
        """The folder of sample `index`'s first frame."""
        return self._frame_path(index, 0).parent

    def picture(self, index: int) -> PictureInfo:
        """Name of the first frame, sub-folders included; names of all that are read, and what the file says more."""
        video = self._videos[index]
        details = {key: value for key, value in video.items() if key not in _OF_VIDEO}
        names = [video["file_names"][frame] for frame in self._chosen(index)]
        return PictureInfo(names[0].replace("\\", "/"), {**details, "file_names": names})

    def _chosen(self, index: int) -> list[int]:
        """Which frames of a video are read."""
        length = len(self._videos[index]["file_names"])
        return even_frames(length, length if self.frames is None else self.frames)

    def _frame_path(self, index: int, frame: int) -> Path:
        return inside_folder(self._images, self._videos[index]["file_names"][frame], self.annotations)

    def _load(self, index: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
        video = self._videos[index]
        chosen = self._chosen(index)
        count = len(chosen)
        pictures: list[np.ndarray] = []
        targets = []
        for frame in chosen:
            path = self._frame_path(index, frame)
            picture = self.read_image(path)
            if pictures and picture.shape != pictures[0].shape:
                sizes = " and ".join(f"{each.shape[-1]}×{each.shape[-2]}" for each in (pictures[0], picture))
                raise SampleError(path, f"the frames of a video must have one size, these are {sizes}")
            size = (picture.shape[-2], picture.shape[-1])
            with blaming(path):
                check_room("channels and masks", (3 + len(self._tracks[video["id"]])) * count, size)
            pictures.append(picture)
            targets.append(self._target(index, frame, path, size))
        return np.stack(pictures), targets

    def _target(self, index: int, frame: int, path: Path, size: tuple[int, int]) -> dict[str, Any]:
        masks, labels, crowd, tracks, details = [], [], [], [], []
        video = self._videos[index]
        for annotation in self._tracks[video["id"]]:
            try:
                segmentations = annotation["segmentations"]
                if not isinstance(segmentations, list) or len(segmentations) != len(video["file_names"]):
                    raise ValueError(f"segmentations must have an entry for each of {len(video['file_names'])} frames")
                if annotation["category_id"] not in self._labels:
                    raise ValueError(f"category_id {annotation['category_id']} is not among the categories")
                if isinstance(annotation["id"], bool) or not isinstance(annotation["id"], int):
                    raise ValueError("the id of a track must be an integer")
                mask = decode_segmentation(segmentations[frame], size)
                is_crowd, track = np.int64(int(annotation.get("iscrowd") or 0)), np.int64(annotation["id"])
            except (ValueError, TypeError, OverflowError) as error:
                reason = f"annotation {annotation['id']} in {self.annotations}, frame {frame}: {error}"
                raise SampleError(path, reason) from error
            if mask.any():
                masks.append(mask)
                labels.append(self._labels[annotation["category_id"]])
                crowd.append(is_crowd)
                tracks.append(int(track))
                details.append(_details(annotation, frame))
        stack = np.stack(masks) if masks else np.zeros((0, *size), dtype=bool)
        target = instance_target(
            video["id"],
            size,
            boxes_from_masks(stack),
            np.asarray(labels, dtype=np.int64),
            iscrowd=np.asarray(crowd, dtype=np.int64),
            masks=stack,
            details=details if self.details else None,
        )
        target["track_id"] = np.array(tracks, dtype=np.int64)
        return target


def even_frames(length: int, count: int) -> list[int]:
    """`count` frames at even distances in `length`; some twice if there are fewer."""
    return [((2 * step + 1) * length) // (2 * count) for step in range(count)]


def _details(annotation: dict[str, Any], frame: int) -> dict[str, Any]:
    """What the file says of a track besides what the target holds, and what it measures in a frame, as it states it."""
    details = {key: value for key, value in annotation.items() if key not in _OF_TRACK}
    stated = {}
    for name, many in (("segmentation", "segmentations"), ("bbox", "bboxes"), ("area", "areas")):
        values = annotation.get(many)
        if isinstance(values, list) and len(values) == len(annotation["segmentations"]):
            stated[name] = values[frame]
    return {**details, STATED: stated}


def _places(root: Path, split: str) -> list[Path]:
    """Where the annotations of a split may lie."""
    return [root / split / "instances.json", root / f"{split}.json"]


def _annotations_of(root: Path, split: str) -> Path:
    tried = _places(root, split)
    for path in tried:
        if path.is_file():
            return path
    names = ", ".join(str(path.relative_to(root)) for path in tried)
    found = ", ".join(YouTubeVisDataset.find_splits(root)) or "none"
    raise DatasetError(f"{root}: no YouTube-VIS annotations of split {split!r}; tried {names} (splits found: {found})")
