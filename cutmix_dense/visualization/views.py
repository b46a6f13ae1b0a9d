"""Samples as pictures: an image is one, a clip is a strip of frames, a volume is some of its slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.visualization.regions import partner_sources

if TYPE_CHECKING:
    from cutmix_dense.data.mixed_sample import MixedSample
    from cutmix_dense.plan import MixPlan


@dataclass(frozen=True)
class View:
    """One picture of a mixed sample, in the form that :func:`mix_row` draws.

    Attributes:
        name: which part of the sample it is: "frame 3", "slice 12"; "" for an image.
        images: the pool, each (C, H, W).
        targets: their targets.
        image: the mixed picture.
        target: its target.
        plan: a plan of two axes.
        index: its output that the picture shows.
        owners: for each image of the pool the number of the sample that it is a part of.
    """

    name: str
    images: Sequence[Tensor]
    targets: Sequence[Mapping[str, Any]]
    image: Tensor
    target: Mapping[str, Any]
    plan: MixPlan
    index: int
    owners: Sequence[int]


def views_of(sample: MixedSample, count: int = 4) -> list[View]:
    """The pictures that show a mixed sample.

    Args:
        sample: what ``mix_sample`` made, of any layout.
        count: how many frames or slices at most.

    Returns:
        For an image one picture; for a clip frames at even distances; for a volume slices along its first axis, those
        in which partners show.
    """
    if sample.plan.ndim == 3:
        return _slices(sample, count)
    if sample.image.ndim == 4:
        return _frames(sample, count)
    sample = viewable(sample)
    numbers = range(len(sample.images))
    return [View("", sample.images, sample.targets, sample.image, sample.target, sample.plan, 0, numbers)]


def viewable(sample: MixedSample) -> MixedSample:
    """The sample with pictures of three bands of 8 bits, to be drawn.

    The first three bands are shown, or the first of two; what isn't 8-bit is stretched over the values of the pool.
    """
    first = sample.images[0]
    if first.ndim != 3 or (first.dtype == torch.uint8 and first.shape[0] in (1, 3)):
        return sample
    window = None if first.dtype == torch.uint8 else _window([image[None] for image in sample.images])
    return replace(
        sample,
        images=[_in_bytes(image, window) for image in sample.images],
        image=_in_bytes(sample.image, window),
    )


def _in_bytes(image: Tensor, window: tuple[float, float] | None) -> Tensor:
    bands = image.as_subclass(Tensor)[: 3 if image.shape[0] >= 3 else 1]
    if window is None:
        return bands
    low, high = window
    return ((bands.float() - low) / (high - low)).nan_to_num(0).clamp(0, 1).mul(255).round().to(torch.uint8)


def _spread(low: int, high: int, count: int) -> list[int]:
    """Up to `count` numbers at even distances in [low, high)."""
    count = min(count, high - low)
    return [low + ((2 * step + 1) * (high - low)) // (2 * count) for step in range(count)]


def _frames(sample: MixedSample, count: int) -> list[View]:
    length = len(sample.image)
    plan = sample.plan.of_frames(length)
    images = [frame for clip in sample.images for frame in clip]
    targets: list[Any] = [frame for clip in sample.targets for frame in clip]
    owners = [clip for clip in range(len(sample.images)) for _ in range(length)]
    mixed: Sequence[Any] = sample.target
    return [
        View(f"frame {frame}", images, targets, sample.image[frame], mixed[frame], plan, frame, owners)
        for frame in _spread(0, length, count)
    ]


def _slices(sample: MixedSample, count: int) -> list[View]:
    depth = int(sample.plan.canvas[0, 0])
    sections = [sample.plan.section(0, place) for place in range(depth)]
    with_partners = [place for place, section in enumerate(sections) if partner_sources(section, 0)]
    low, high = (with_partners[0], with_partners[-1] + 1) if with_partners else (0, depth)
    window = _window(sample.images)
    where = sample.plan.source_pixels(0)[0]
    views = []
    for place in _spread(low, high, count):
        # an image that isn't there is shown at the same height
        places = [min(place, image.shape[-3] - 1) for image in sample.images]
        for layer in reversed(range(sample.plan.layers)):
            if int(sections[place].source[0, layer]) >= 0:
                places[int(sections[place].source[0, layer])] = int(where[layer, place])
        views.append(
            View(
                f"slice {place}",
                [_picture(image, at, window) for image, at in zip(sample.images, places)],
                [_slice_of(target, at) for target, at in zip(sample.targets, places)],
                _picture(sample.image, place, window),
                _slice_of(sample.target, place),
                sections[place],
                0,
                range(len(sample.images)),
            )
        )
    return views


def _window(volumes: Sequence[Tensor]) -> tuple[float, float]:
    """The intensities that are drawn black and white: nearly all of the pool's lie between."""
    values = torch.cat(
        [volume[0].as_subclass(Tensor).flatten()[:: max(1, volume[0].numel() // 10**5)] for volume in volumes]
    ).float()
    low, high = torch.quantile(values[values.isfinite()], torch.tensor([0.005, 0.995])).tolist()
    return low, max(high, low + 1e-6)


def _picture(volume: Tensor, place: int, window: tuple[float, float]) -> Float[Tensor, "1 h w"]:
    """A slice of the first channel, in [0, 1]."""
    low, high = window
    return ((volume[:1, place].as_subclass(Tensor).float() - low) / (high - low)).clamp(0, 1)


def _slice_of(target: Mapping[str, Any], place: int) -> dict[str, Any]:
    """What of a volume's target shows in a slice: the map, and the instances that it cuts."""
    result: dict[str, Any] = {}
    if target.get("semantic") is not None:
        result["semantic"] = _map_at(target["semantic"], place)
    boxes, masks = target.get("boxes"), target.get("masks")
    if isinstance(masks, Tensor):
        cut = masks[:, place].as_subclass(Tensor).flatten(1).any(1)
        result["masks"] = masks[:, place].as_subclass(Tensor)[cut]
    elif isinstance(boxes, Tensor):
        cut = (boxes[:, 2] < place + 1) & (boxes[:, 5] > place)
    else:
        return result
    if isinstance(boxes, Tensor):
        result["boxes"] = boxes.as_subclass(Tensor)[cut][:, [0, 1, 3, 4]]
    for key in ("labels", "iscrowd", "visibility", "origin"):
        if isinstance(target.get(key), Tensor):
            result[key] = target[key].as_subclass(Tensor)[cut]
    return result


def _map_at(semantic: Any, place: int) -> Any:
    """A slice of a map (D, H, W), of the pair that a soft mix makes, or of probabilities (K, D, H, W)."""
    if isinstance(semantic, tuple):
        return type(semantic)(*(part[place] if part.ndim > 2 else part for part in semantic))
    return semantic.as_subclass(Tensor)[..., place, :, :]
