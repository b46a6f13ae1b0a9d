"""The checked images of a call: their number, valid sizes, and what samplers look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor

from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.arrays.host import HOST, fetched, sent, tensor_of
from cutmix_dense.functional.fields import SEMANTIC_KEYS, is_map
from cutmix_dense.functional.masks import boxes_of_masks
from cutmix_dense.functional.rotated import bounds_of
from cutmix_dense.functional.segments import (
    MAP_KEY,
    category_map,
    has_segments,
    has_segments_only,
    segments_as_instances,
)
from cutmix_dense.functional.transfer import HostRows
from cutmix_dense.functional.wrapping import are_tensors, as_plain, numpy_remedy
from cutmix_dense.regions import ObjectBoxes
from cutmix_dense.transforms.box_format import BoxForm
from cutmix_dense.transforms.frames import check_frames, detection_targets, frames_named
from cutmix_dense.transforms.layout import Layout, has_frames, hint_of_axes, shape_of, spatial_axes

Images = Tensor | list[Tensor] | tuple[Tensor, ...]
"""A batch (B, C, H, W) or a list of (C, Hi, Wi); clips and volumes have the axes of their ``Layout``."""


@dataclass(frozen=True)
class Pool:
    """The images that a plan draws from.

    Attributes:
        sizes: valid size of each image, (height, width), or (depth, height, width) for volumes; on the host.
        frame: size of a padded output: that of the tensor, or the largest size in a list.
        targets: the call's targets, for samplers that look at objects or maps; boxes are xyxy in pixels.
        images: the call's images, for samplers that look at pixels.
        outputs: how many of the images, from the first on, are mixed; the others are only partners.
        layout: axes of the images.
        frames: number of frames of a clip; else 1.
        box_form: the format in which boxes are returned; None: xyxy in pixels.
        p: probability that each output is mixed, instead of the transform's; None: the transform's.
        cut_outs: whether the images behind the outputs are cut-outs of a bank of instances.
        shrunk: of each image the scale of its cut-outs, where large ones were made to fit; None: 1.
        host_rows: rows of the targets that drawing brings to the host.
        shown: frame of the results, where images of a bank need a larger one than the batch; None: ``frame``.
    """

    sizes: Int[Tensor, "pool d"]
    frame: tuple[int, ...]
    targets: Any
    images: Images
    outputs: int
    layout: Layout
    frames: int
    box_form: BoxForm | None = None
    p: Float[np.ndarray, " b"] | None = None
    cut_outs: bool = False
    shrunk: Sequence[Float[np.ndarray, " _n"]] | None = None
    shown: tuple[int, ...] | None = None
    host_rows: HostRows = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of images, partners included."""
        return self.sizes.shape[0]

    @property
    def ndim(self) -> int:
        """Number of spatial axes."""
        return self.sizes.shape[1]

    @property
    def clips(self) -> bool:
        """Whether the images are clips, with targets per frame."""
        return has_frames(self.layout)

    @classmethod
    def of(
        cls,
        images: Images,
        targets: Any = None,
        sizes: Any = None,
        outputs: int | None = None,
        layout: Layout = "BCHW",
        box_form: BoxForm | None = None,
    ) -> Pool:
        """Check the images of a call.

        Args:
            images: (B, C, H, W) or a list of (C, Hi, Wi), or with the axes of another layout.
            targets: unchanged, except for boxes of another ``box_form``.
            sizes: (B, 2) valid heights and widths of a padded batch; (B, 3) for volumes, depths first.
            outputs: how many images are mixed, default all.
            layout: axes of the images.
            box_form: format of plain boxes in the targets; None: xyxy in pixels.

        Raises:
            TypeError: an image isn't a tensor; of clips, a frame's target isn't a dict.
            ValueError: the input is a single image, an empty batch, images without pixels or with channels last, or
                clips of different lengths, or ``sizes`` or ``outputs`` don't fit.
        """
        ndim, axes, clips = spatial_axes(layout), len(layout), has_frames(layout)
        if isinstance(images, Tensor):
            if images.ndim != axes:
                single = " a batch is needed, not a single image;" if images.ndim == axes - 1 else ""
                named = "" if layout == "BCHW" else f" for layout {layout!r}"
                got = f"{tuple(images.shape)}{hint_of_axes(images.ndim - axes, layout)}"
                raise ValueError(f"images must have shape {shape_of(layout)}{named};{single} got {got}")
            frame = tuple(images.shape[-ndim:])
            every = [frame]
            own = torch.tensor([frame], device=HOST).expand(images.shape[0], -1)
        elif isinstance(images, (list, tuple)) and images and are_tensors(images):
            for index, image in enumerate(images):
                if image.ndim != axes - 1:
                    got = f"{tuple(image.shape)}{hint_of_axes(image.ndim + 1 - axes, layout)}"
                    raise ValueError(f"images[{index}] must have shape {shape_of(layout, batch=False)}, got {got}")
                if clips and len(image) != len(images[0]):
                    counts = f"images[{index}] has {len(image)}, images[0] {len(images[0])}"
                    raise ValueError(f"images must have equal numbers of frames: {counts}")
            every = [tuple(image.shape[-ndim:]) for image in images]
            own = torch.from_numpy(np.array(every, dtype=np.int64))
            frame = tuple(map(max, zip(*every)))
        else:
            values = images if isinstance(images, (list, tuple)) else [images]
            kinds = "" if values is not images else f" {sorted({type(i).__name__ for i in images})}"
            arrays = next(filter(None, map(numpy_remedy, values)), "")
            arrays += (
                "; pipelines of arrays have their own classes, see cutmix_dense.mmengine.sample and .albumentations"
            )
            remedy = arrays if any(isinstance(image, np.ndarray) for image in values) else ""
            raise TypeError(
                f"images must be a tensor {shape_of(layout)} or a list of tensors {shape_of(layout, batch=False)}, "
                f"got {type(images).__name__}{kinds}{remedy}"
            )
        count = own.shape[0]
        if count == 0:
            raise ValueError("images must hold at least one image, got none")
        if min(map(min, every)) < 1:
            raise ValueError(f"images must have pixels, got the sizes {own.tolist()}")
        if frame[-1] <= 4 and layout == "BCHW":
            _refuse_channels_last(images, targets, frame)
        if outputs is not None and outputs not in range(1, count + 1):
            raise ValueError(
                f"outputs must be a whole number from 1 to the number of images ({count}), got {outputs!r}"
            )
        outputs = count if outputs is None else int(outputs)
        frames = int(images[0].shape[0]) if clips else 1
        if clips:
            check_frames(targets)
        if sizes is None:
            return cls(own, frame, targets, images, outputs, layout, frames)._with_boxes(box_form)
        if not isinstance(images, Tensor):
            raise ValueError("sizes are for padded batches; a list holds images of their own sizes")
        given = tensor_of(sizes).to(HOST, torch.long)
        if given.shape != own.shape:
            raise ValueError(f"sizes must have shape {tuple(own.shape)}, got {tuple(given.shape)}")
        if bool(((given < 1) | (given > own)).any()):
            raise ValueError(f"sizes must lie within 1 … {frame}, got {given.tolist()}")
        return cls(given, frame, targets, images, outputs, layout, frames)._with_boxes(box_form)

    def _with_boxes(self, form: BoxForm | None) -> Pool:
        """This pool with boxes converted to xyxy in pixels."""
        if form is None or form.in_pixels:
            return self
        unit = self.sizes if form.normalized != "frame" else tensor_of([self.frame] * len(self))
        if form.normalized == "frame" and not isinstance(self.images, Tensor):
            unit = self.sizes  # in a list, every image is its own frame
        targets, form = form.to_pixels(self.targets, unit)
        return replace(self, targets=targets, box_form=form)

    def with_p(self, p: Any) -> Pool:
        """This pool with a probability for each output, which is brought to the host.

        Raises:
            ValueError: not one number in [0, 1] per output.
        """
        given = tensor_of(p).detach().to(HOST, torch.float64)
        if tuple(given.shape) != (self.outputs,):
            raise ValueError(f"p must hold one probability per mixed image ({self.outputs},), got {tuple(given.shape)}")
        if not bool(((given >= 0) & (given <= 1)).all()):
            raise ValueError(f"p must lie in [0, 1], got {given.tolist()}")
        return replace(self, p=given.numpy())

    def shared(self, source: Int[Tensor, "b s"]) -> Int[Tensor, "b d"]:
        """Size of the area that all present layers of each output have in common."""
        if self.sizes.stride(0) == 0:  # one size for all
            return self.sizes[:1].expand(source.shape[0], -1)
        images = source.numpy()  # numpy is cheaper for a few numbers
        sizes = self.sizes.numpy()[np.maximum(images, 0)]
        if np.minimum.reduce(images, axis=None, initial=0) < 0:
            sizes = np.where((images < 0)[..., None], sizes[:, :1], sizes)
        return torch.from_numpy(np.minimum.reduce(sizes, axis=1))

    def objects(self, *, fetch: bool = False) -> ObjectBoxes:
        """Object boxes of every image (or all frames of a clip), padded; from masks if there are no boxes.

        Args:
            fetch: bring them to the host, by one copy that is waited for.

        Raises:
            ValueError: the targets hold no instances.
        """
        targets = detection_targets(self.targets)
        if targets is None:
            raise ValueError(
                "targets must be detection targets with 'boxes' or 'masks' for a region that looks at objects"
            )
        rows, none = [], torch.zeros((0, 2 * self.ndim), dtype=torch.float32, device=HOST)
        with frames_named(self.frames) if self.clips else nullcontext():
            for index, target in enumerate(targets):
                boxes, masks = target.get("boxes"), target.get("masks")
                if boxes is None and masks is not None:
                    if not isinstance(masks, Tensor):
                        raise TypeError(f"targets[{index}]['masks'] must be a tensor, got {type(masks).__name__}")
                    boxes = boxes_of_masks(masks.as_subclass(Tensor))
                elif has_segments_only(target):
                    segments = segments_as_instances(target)
                    boxes = boxes_of_masks(segments["masks"][segments["isthing"]])
                rows.append(none if boxes is None else bounds_of(boxes, f"targets[{index}]['boxes']", self.ndim))
        device = [*[row.device for row in rows if row.shape[0]], HOST][0]
        if fetch and device.type != "cpu":
            there = iter(fetched([sent(as_plain(row), device) for row in rows if row.shape[0]]))
            rows, device = [next(there) if row.shape[0] else none for row in rows], HOST
        if self.clips:
            rows = [
                torch.cat([row.to(device, exact_dtype(device)) for row in rows[start : start + self.frames]])
                for start in range(0, len(rows), self.frames)
            ]
        ndim, most = self.ndim, max([row.shape[0] for row in rows])
        padded = torch.zeros((len(rows), most, 2 * ndim), dtype=exact_dtype(device), device=device)
        for index, row in enumerate(rows):
            padded[index, : row.shape[0]] = row
        padded = padded.reshape(*padded.shape[:2], 2, ndim).flip(3).flatten(2)  # array order
        return ObjectBoxes(padded, (padded[..., ndim:] > padded[..., :ndim]).all(dim=2))

    def maps(self, keys: Sequence[str]) -> list[Integer[Tensor, "..."]]:
        """The valid part of the semantic map of every image.

        Args:
            keys: further keys of maps in dicts.

        Raises:
            ValueError: the targets don't hold one map of class ids per image.
        """
        found = _semantic_maps(self.targets, keys)
        if found is None or len(found) != len(self):
            raise ValueError(
                "ClassMix, CarveMix and other masks made of classes need a semantic map of every image; targets must "
                "hold one of class ids, as 'semantic' in each dict or under a key in semantic_keys"
            )
        blocks = [tuple(slice(0, length) for length in size) for size in self.sizes.tolist()]
        for value in found:
            if value.ndim > self.ndim and set(value.shape[: -self.ndim]) != {1}:
                raise ValueError(
                    "targets must hold one class id per pixel for a mask that looks at classes, got maps of "
                    f"{value.shape[0]} channels {tuple(value.shape)}: give ids, as maps.argmax(1) of one-hot maps are, "
                    "as 'semantic'; what has channels can stay beside it under a key of its own"
                )
        return [
            value.as_subclass(Tensor).reshape(value.shape[-self.ndim :])[block] for value, block in zip(found, blocks)
        ]


def _semantic_maps(targets: Any, keys: Sequence[str]) -> Sequence[Tensor] | None:
    """One map per image: a tensor or list of maps among the targets, or one key of a list of dicts.

    Raises:
        ValueError: there are several maps, and no key says which holds classes.
    """
    wanted = {*SEMANTIC_KEYS, *keys}
    if isinstance(targets, Mapping):
        found = {k: maps for k, value in targets.items() if (maps := _semantic_maps(value, keys)) is not None}
        named = [maps for key, maps in found.items() if key in wanted]
        if len(found) > 1 and not named:
            raise ValueError(f"targets hold several maps, {sorted(found)}: name the one of classes in semantic_keys")
        return named[0] if named else next(iter(found.values()), None)
    if isinstance(targets, Tensor):
        return list(targets) if targets.ndim >= 3 and not targets.is_floating_point() else None
    if not isinstance(targets, (list, tuple)) or not targets:
        return None
    if all(isinstance(target, Tensor) and target.ndim >= 2 and not target.is_floating_point() for target in targets):
        return targets
    if all(isinstance(target, Mapping) for target in targets):
        for key in sorted(targets[0], key=lambda key: key not in wanted):
            if key == MAP_KEY and key not in wanted:  # ids of segments, not of classes
                continue
            if all(isinstance(t.get(key), Tensor) and (key in wanted or is_map(t.get(key))) for t in targets):
                return [target[key] for target in targets]
        if all(has_segments(target) for target in targets):
            return [category_map(target) for target in targets]
    return None


def _refuse_channels_last(images: Images, targets: Any, frame: Sequence[int]) -> None:
    """Raise ValueError for images that look like (B, H, W, C), by boxes wider than the last axis or by its length."""
    channels, width = images[0].shape[0], frame[-1]
    boxes = [target.get("boxes") for target in detection_targets(targets) or ()]
    plain = [box for box in boxes if isinstance(box, Tensor) and box.ndim == 2 and box.shape[1] == 4 and len(box)]
    wider = any(float(box.as_subclass(Tensor)[:, 2].max()) > width for box in plain) if channels > width else False
    if wider or (width in (3, 4) and min(channels, frame[0]) > 16):
        raise ValueError(
            f"images must have shape (B, C, H, W), got {tuple(images[0].shape)} of each, which looks "
            "like channels last (H, W, C): give images.permute(0, 3, 1, 2), or (2, 0, 1) of each one in a list"
        )
