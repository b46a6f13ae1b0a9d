"""YouTube-VIS: `<split>/JPEGImages/<video>/00000.jpg` … and the tracks of all videos in `<split>/instances.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from cutmix_dense.data.details import STATED, finite_fields
from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.data.masks import boxes_from_masks, encode_rle
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.writers.base import Sample, Writer

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset


class YouTubeVisWriter(Writer):
    """Writes a split of clips, a folder of frames each.

    A track is what has one `track_id` in one clip of the mix: two clips that number theirs alike give two tracks, and
    so does an id that is twice in a frame. What a frame ignores becomes a crowd's track. A frame in which a mix left a
    track as it was keeps what its file states: mask, box and area. Masks of others are run lengths; an instance without
    a mask has its box alone. Frames keep their source's names where they are as many; ids of videos and tracks count
    from 1 in the order of `finish`.

    Args:
        root: the folder of the dataset.
        classes: names by label, `classes[0]` being "background".
        split: name of the split, which is its folder.
        quality: JPEG quality.
        category_ids: the file's category id of every label; default: the label itself.
        categories: by label, what the file says of each category besides id and name.
        header: `info` and `licenses` of the file, and whatever else it says beside its lists.

    Raises:
        ValueError: another number of ids than of classes.
    """

    layout = "youtube_vis"
    made_anew = ("ids of videos and tracks",)

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str],
        split: str = "train",
        quality: int = 95,
        category_ids: Sequence[int | str] | None = None,
        categories: Sequence[Mapping[str, Any]] = (),
        header: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        self.category_ids = tuple(category_ids) if category_ids is not None else tuple(range(len(self.classes)))
        if len(self.category_ids) != len(self.classes):
            raise ValueError(f"{len(self.category_ids)} category_ids for {len(self.classes)} classes")
        self.categories, self.header = tuple(categories), dict(header or {})

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> YouTubeVisWriter:
        """The writer of a copy of a dataset of clips; ValueError for others."""
        if dataset.mix_layout != "BTCHW":
            raise ValueError(f"youtube_vis holds clips with tracks, samples of {dataset.layout} are others")
        return cls(
            root,
            classes=dataset.classes,
            split=split,
            quality=quality,
            category_ids=getattr(dataset, "category_ids", None),
            categories=getattr(dataset, "categories", ()),
            header=getattr(dataset, "header", {}),
        )

    @classmethod
    def stem_of(cls, path: Path) -> str:
        """The name of the video's folder."""
        return path.name

    def _staged(
        self, key: str, image: Any, target: Any, picture: PictureInfo | None
    ) -> tuple[dict[str, bytes], Any, Counter[str]]:
        """Check and encode a clip: (T, C, H, W) tensor or (T, H, W, C) array, and a target for each frame."""
        if isinstance(target, Mapping) or len(target) != len(image):
            raise ValueError(f"target must be a list of {len(image)}, one for each frame of the clip")
        names = _frame_names(picture, len(image))
        parent = PurePosixPath() if picture is None else PurePosixPath(picture.name).parent.parent
        tags = PictureInfo("").tags if picture is None else picture.tags
        tracks: dict[tuple[Any, ...], _Track] = {}
        files: dict[str, bytes] = {}
        lost: Counter[str] = Counter()
        for number, (pixels, fields) in enumerate(zip(image, target)):
            sample = self._check(pixels, fields, PictureInfo((parent / key / names[number]).as_posix(), tags=tags))
            path, content = self.picture_file(
                f"{self.split}/JPEGImages", PurePosixPath(names[number]).stem, sample, ".jpg"
            )
            files[path] = content
            self._add_frame(tracks, number, sample, fields, len(image))
            lost.update(sample.lost)
        details = {} if picture is None else {k: v for k, v in picture.details.items() if k != "file_names"}
        shape = {"width": sample.size[1], "height": sample.size[0], "length": len(image)}
        prefix = f"{self.split}/JPEGImages/"
        names = [path.removeprefix(prefix) for path in files]
        video = {"file_names": names, **shape, **finite_fields(details, lost)}
        records = [finite_fields({**shape, **track.record()}, lost) for track in tracks.values()]
        return files, {"video": video, "tracks": records}, lost

    def _add_frame(
        self, tracks: dict[tuple[Any, ...], _Track], number: int, sample: Sample, fields: Mapping[str, Any], length: int
    ) -> None:
        count = len(sample.labels)
        if count and "track_id" not in fields:
            raise ValueError("instances of a clip need track_id")
        if sample.semantic is not None:
            sample.lost["semantic map"] += 1
        if sample.keypoints is not None:
            sample.lost["keypoints"] += int((sample.keypoints[..., 2] > 0).any(axis=1).sum())
        ids = np.asarray(fields.get("track_id", np.zeros(count))).reshape(count)
        # A mix counts the frames of all its clips in one row.
        clips = np.asarray(fields.get("origin", np.zeros((count, 2)))).reshape(count, 2)[:, 0] // length
        often: Counter[tuple[int, ...]] = Counter()
        for i in range(count):
            which = (int(clips[i]), int(ids[i]), int(sample.iscrowd[i]), int(sample.labels[i]))
            often[which] += 1
            label = which[3]
            if label < 1:
                raise ValueError("label 0 is the background, which YouTube-VIS has no category for")
            fresh = _Track(self.category_ids[label], int(bool(which[2])), length)
            mask = sample.masks[i] if sample.masks is not None and sample.has_mask[i] else None
            box = sample.boxes[i] if mask is None else boxes_from_masks(mask[None])[0]
            area = float(sample.area[i]) if mask is None else int(mask.sum())
            tracks.setdefault((*which, often[which]), fresh).see(number, mask, box, area, sample.details[i])

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        raise ValueError("youtube_vis holds clips, this is a single picture")

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        videos: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, sample in enumerate(samples, start=1):
            videos.append({"id": number, **sample["video"]})
            for track in sample["tracks"]:
                annotations.append({"id": len(annotations) + 1, "video_id": number, **track})
        categories = [
            {
                **(self.categories[label] if label < len(self.categories) else {}),
                "id": self.category_ids[label],
                "name": name,
            }
            for label, name in enumerate(self.classes)
            if label
        ]
        content = {**self.header, "categories": categories, "videos": videos, "annotations": annotations}
        write_atomic(self.root / self.split / "instances.json", dump_json(content))


class _Track:
    """An annotation in the making."""

    def __init__(self, category: int | str, crowd: int, length: int) -> None:
        self._fields: dict[str, Any] = {"category_id": category, "iscrowd": crowd}
        self._masks: list[Any] = [None] * length
        self._boxes: list[Any] = [None] * length
        self._areas: list[Any] = [None] * length
        self._has_masks = False
        self._details: dict[str, Any] | None = None

    def see(
        self, frame: int, mask: np.ndarray | None, box: np.ndarray, area: float, details: Mapping[str, Any]
    ) -> None:
        """Note what a frame shows of it, in its own words where they still hold."""
        x1, y1, x2, y2 = (float(side) for side in box)
        stated = finite_fields(details.get(STATED) or {}, Counter())  # what isn't finite is measured
        own = stated.get("segmentation")
        self._masks[frame] = own if own or mask is None else encode_rle(mask)
        self._has_masks |= mask is not None or "segmentation" in stated
        self._boxes[frame] = stated.get("bbox") or [x1, y1, x2 - x1, y2 - y1]
        self._areas[frame] = area if stated.get("area") is None else stated["area"]
        said = {name: value for name, value in details.items() if name != STATED}
        if self._details is None:
            self._details = said
        else:  # what a mix falsified in one frame is false of the track
            self._details = {k: v for k, v in self._details.items() if k in said and said[k] == v}

    def record(self) -> dict[str, Any]:
        """The annotation but for its ids and sizes."""
        masks = {"segmentations": self._masks} if self._has_masks else {}
        return {**self._fields, **masks, "bboxes": self._boxes, "areas": self._areas, **(self._details or {})}


def _frame_names(picture: PictureInfo | None, count: int) -> list[str]:
    """File names of the frames: their source's if they are as many and differ, else numbers."""
    names = () if picture is None else picture.details.get("file_names", ())
    given = [PurePosixPath(name.replace("\\", "/")).name for name in names]
    stems = {PurePosixPath(name).stem.lower() for name in given}
    if len(stems) == count == len(given):
        return given
    suffix = ".jpg" if picture is None else PurePosixPath(picture.name).suffix
    return [f"{number:05d}{suffix}" for number in range(count)]
