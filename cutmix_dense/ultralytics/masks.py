"""Instance masks at a fraction of the images' size, as Ultralytics has them: judged at full size, cut as pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import weighs
from cutmix_dense.ultralytics.rows import KeptRows, Rows


@dataclass(frozen=True)
class ReducedMasks:
    """The masks of a batch.

    Attributes:
        given: ``masks`` as they came: an index map per image, or a mask per row of the batch.
        semantic: ``sem_masks`` (B, h, w), the class of each pixel's instance; None where the batch has none.
        each: the mask of every row, ordered by image.
        stated: which rows have a mask: what is small may have no pixel in a reduced map.
        index: 1 + the place of each pixel's instance among its image's rows, the smaller one where two overlap; 0 none.
        overlap: whether ``given`` holds index maps.
        ratio: pixels of the image per pixel of a mask, along each axis.
        frame: height and width of the images.
    """

    given: Shaped[Tensor, "m h w"]
    semantic: Shaped[Tensor, "b h w"] | None
    each: Bool[Tensor, "n h w"]
    stated: Bool[Tensor, " n"]
    index: Int[Tensor, "b h w"]
    overlap: bool
    ratio: int
    frame: tuple[int, int]

    @classmethod
    def of(
        cls, masks: Tensor, semantic: Tensor | None, rows: Rows, order: Int[Tensor, " n"], overlap: bool
    ) -> ReducedMasks:
        """Check and read the masks of a batch.

        Args:
            masks: (B, h, w) index maps or (n, h, w) masks.
            semantic: ``sem_masks``, if there are some.
            rows: the batch's rows.
            order: where each of these stands in the batch.
            overlap: which of the two ``masks`` are.

        Raises:
            TypeError: no tensors.
            ValueError: another shape than stated, a size that doesn't divide the images', an index without a row.
        """
        for key, value in (("masks", masks), ("sem_masks", semantic)):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(f"batch[{key!r}] must be a tensor, got {type(value).__name__}: stack it")
        images, count = len(rows.counts), len(rows.image)
        wanted, what = (images, "index map per image") if overlap else (count, "mask per row")
        if masks.ndim != 3 or len(masks) != wanted:
            raise ValueError(
                f"batch['masks'] must hold one {what} ({wanted}, h, w) with overlap_mask={overlap}, got "
                f"{tuple(masks.shape)}: give mix_batch the overlap_mask of the trainer's args"
            )
        height, width = masks.shape[-2:]
        ratio = rows.frame[0] // max(height, 1)
        if not height or (height * ratio, width * ratio) != rows.frame:
            raise ValueError(
                f"batch['masks'] must divide the images' size {rows.frame} by a whole number, got {(height, width)}: "
                "choose a mask_ratio that divides imgsz; with multi_scale, which resizes the images alone, mix before "
                "preprocess_batch"
            )
        if semantic is not None and tuple(semantic.shape) != (images, height, width):
            raise ValueError(
                f"batch['sem_masks'] must have shape {(images, height, width)} like the masks, got "
                f"{tuple(semantic.shape)}"
            )
        if not overlap:
            each = masks[order.to(masks.device)] != 0
            stated = each.flatten(1).any(dim=1)
            index = _painted(each, rows.counts)
        else:
            index = masks.to(torch.int32)
            most = index.flatten(1).amax(dim=1).tolist()
            for image, (highest, there) in enumerate(zip(most, rows.counts)):
                if highest > there:
                    raise ValueError(
                        f"batch['masks'][{image}] must hold 0 … {there}, one number per row of its image, got {highest}"
                    )
            each = torch.empty((count, height, width), dtype=torch.bool, device=masks.device)
            for own, numbers in zip(each.split(rows.counts), index):
                torch.eq(numbers, torch.arange(1, len(own) + 1, device=masks.device)[:, None, None], out=own)
            drawn = index.new_zeros((images, max(rows.counts) + 1)).scatter_(1, index.flatten(1).long(), 1)
            stated = drawn[rows.image.to(masks.device), rows.place.to(masks.device) + 1] > 0
        return cls(masks, semantic, each, stated, index, overlap, ratio, rows.frame)

    def full_size(self, rows: Rows) -> list[Bool[Tensor, "k H W"]]:
        """The masks at the size of the images, per image: every pixel stands for a square, within the row's box."""
        if rows.rotated:
            across = self.each.repeat_interleave(self.ratio, dim=1)
            return list(across.repeat_interleave(self.ratio, dim=2).split(rows.counts))
        enlarge = enlarged_in_boxes if self.each.device.type == "cpu" else enlarged
        corners = rows.pixels["bboxes"].to(self.each.device)
        return list(enlarge(self.each, self.ratio, corners).split(rows.counts))

    def mixed(self, plan: MixPlan, kept: KeptRows) -> tuple[Shaped[Tensor, "m h w"], Shaped[Tensor, "b h w"] | None]:
        """``masks`` and ``sem_masks`` of the mixed batch, in the form that they came in.

        A pixel takes what the image's pixel at its centre shows: of 4 × 4 pixels the third of the third line. It keeps
        its instance if that is a row of the mixed batch, and its class in any case.

        Raises:
            ValueError: mixed images whose size isn't a multiple of the ratio.
        """
        seen = _Seen.of(plan, self.ratio, self.index.device)
        index, semantic = self._index_maps(seen, kept)
        if self.overlap:
            most = max(kept.counts, default=0)
            return index.to(_holding(self.given.dtype, most)), semantic
        output, layer, row = (column.to(self.each.device) for column in (kept.output, kept.layer, kept.row))
        masks = self.each[row]
        if not seen.unmoved:
            lines, columns = seen.lines[output, layer], seen.columns[output, layer]
            masks = self.each[row[:, None, None], lines[:, :, None], columns[:, None]]
        return (masks & seen.shows[output, layer]).to(self.given.dtype), semantic

    def _index_maps(self, seen: _Seen, kept: KeptRows) -> tuple[Int[Tensor, "b h w"], Shaped[Tensor, "b h w"] | None]:
        """Index maps of the mixed batch, the smaller one where two instances overlap, and the classes there."""
        outputs, layers = seen.source.shape
        device = self.index.device
        number = torch.cat([torch.arange(1, count + 1, device="cpu") for count in kept.counts])
        table = torch.zeros(outputs, layers, int(self.index.max()) + 1, dtype=torch.long, device="cpu")
        shown = kept.instance + 1 < table.shape[2]  # an instance without a pixel needs no number
        table[kept.output[shown], kept.layer[shown], kept.instance[shown] + 1] = number[shown]
        table = table.to(device)
        index = torch.zeros_like(seen.shows[:, 0], dtype=torch.long)
        semantic = None if self.semantic is None else self.semantic.new_zeros(index.shape)
        claimed = torch.zeros_like(seen.shows[:, 0])
        for layer in range(layers):
            shows = seen.shows[:, layer]
            of_layer = seen.read(self.index, layer).flatten(1).long()
            of_layer = torch.where(shows, table[:, layer].gather(1, of_layer).reshape(index.shape), 0)
            on_top = of_layer > 0
            if seen.soft:  # else no two layers show in one pixel
                on_top &= (index == 0) | (_areas(of_layer) < _areas(index))
            index = torch.where(on_top, of_layer, index)
            if semantic is not None and self.semantic is not None:
                classes = seen.read(self.semantic, layer)
                semantic = torch.where(on_top | (shows & ~claimed), classes, semantic)
            claimed |= shows
        return index, semantic


@dataclass(frozen=True)
class _Seen:
    """What the pixels of a reduced map show, where they have their centre.

    Attributes:
        shows: whether a layer shows there.
        source: the image of the layer, 0 of absent ones, which never show.
        lines: line of the source's reduced map, for every line of the output's.
        columns: its column.
        unmoved: whether every pixel is where it was.
        soft: whether several layers may show in one pixel.
    """

    shows: Bool[Tensor, "b s h w"]
    source: Int[Tensor, "b s"]
    lines: Int[Tensor, "b s h"]
    columns: Int[Tensor, "b s w"]
    unmoved: bool
    soft: bool

    @classmethod
    def of(cls, plan: MixPlan, ratio: int, device: torch.device) -> _Seen:
        """Read a plan at the centres."""
        if any(length % ratio for length in plan.frame):
            raise ValueError(
                f"mixed images must be a multiple of {ratio} high and wide for batch['masks'] at 1/{ratio} of the "
                f"images' size, got {tuple(plan.frame)}"
            )
        centre = slice(ratio // 2, None, ratio)
        layers = torch.arange(plan.layers, device=plan.device)[:, None, None]
        if not weighs(plan):
            shows = plan.owner_map()[:, None, centre, centre] == layers
        else:
            shows = plan.pixel_weights()[:, :, centre, centre] > 0
        lines, columns = (plan.source_pixels(axis)[..., centre] // ratio for axis in range(2))
        unmoved = all(
            torch.equal(pixels, torch.arange(pixels.shape[-1], device=pixels.device).expand_as(pixels))
            for pixels in (lines, columns)
        )
        source = plan.source.clamp(min=0).to(device)
        soft = weighs(plan)
        return cls(shows.to(device), source, lines.to(device), columns.to(device), unmoved, soft)

    def read(self, maps: Shaped[Tensor, "p h w"], layer: int) -> Shaped[Tensor, "b h w"]:
        """What a layer's images hold for every pixel of the outputs, whether it shows there or not."""
        source = self.source[:, layer]
        if self.unmoved:
            return maps[source]
        return maps[source[:, None, None], self.lines[:, layer, :, None], self.columns[:, layer, None]]


def _areas(index: Int[Tensor, "b h w"]) -> Int[Tensor, "b h w"]:
    """How many pixels of an index map have the number of each pixel."""
    flat = index.flatten(1)
    counts = flat.new_zeros(len(flat), 1 + int(flat.max())).scatter_add_(1, flat, torch.ones_like(flat))
    return counts.gather(1, flat).reshape(index.shape)


def enlarged(
    masks: Bool[Tensor, "n h w"], ratio: int, corners: Float[Tensor, "n 4"]
) -> Bool[Tensor, "n {ratio}*h {ratio}*w"]:
    """Masks at the size of the images, each within its box.

    Args:
        masks: the reduced masks.
        ratio: pixels of the image per pixel of a mask.
        corners: the boxes, xyxy in pixels; a pixel that a box covers in part counts.
    """
    wide = masks.repeat_interleave(ratio, dim=2)
    left, top, right, bottom = corners[..., None].unbind(dim=1)
    line, column = (torch.arange(length * ratio, device=masks.device) for length in masks.shape[1:])
    wide &= ((column + 1 > left) & (column < right))[:, None]
    within = ((line + 1 > top) & (line < bottom)).unflatten(1, (-1, ratio))
    return (wide[:, :, None] & within[..., None]).flatten(1, 2)


def enlarged_in_boxes(
    masks: Bool[Tensor, "n h w"], ratio: int, corners: Float[Tensor, "n 4"]
) -> Bool[Tensor, "n {ratio}*h {ratio}*w"]:
    """The same on the host, where zeros that nobody writes cost nothing and a loop over boxes costs little."""
    height, width = (length * ratio for length in masks.shape[1:])
    full = np.zeros((len(masks), height, width), dtype=bool)
    low, high = corners[:, :2].floor(), corners[:, 2:].ceil()
    ends = torch.cat([low, high], dim=1).nan_to_num(0).clamp(min=0).long().tolist()
    for small, large, (left, top, right, bottom) in zip(masks.numpy(), full, ends):
        lines, columns = slice(top // ratio, -(-bottom // ratio)), slice(left // ratio, -(-right // ratio))
        window = small[lines, columns].repeat(ratio, axis=0).repeat(ratio, axis=1)
        into = large[top:bottom, left:right]
        y, x = top - lines.start * ratio, left - columns.start * ratio
        into[...] = window[y : y + into.shape[0], x : x + into.shape[1]]
    return torch.from_numpy(full)


def _painted(each: Bool[Tensor, "n h w"], counts: Sequence[int]) -> Int[Tensor, "b h w"]:
    """Index maps of masks, the smaller one on top."""
    maps = each.new_zeros((len(counts), *each.shape[1:]), dtype=torch.int32)
    for image, masks in enumerate(each.split(list(counts))):
        if not len(masks):
            continue
        order = masks.flatten(1).sum(dim=1).argsort(descending=True, stable=True)
        height = torch.arange(1, len(masks) + 1, device=each.device)[:, None, None]
        top = (masks[order] * height).amax(dim=0)
        maps[image] = torch.where(top > 0, order[(top - 1).clamp(min=0)] + 1, 0).to(maps.dtype)
    return maps


def _holding(dtype: torch.dtype, most: int) -> torch.dtype:
    """The dtype, or a larger one if it doesn't hold the number; int32 for integers, as Ultralytics has it."""
    if dtype.is_floating_point:
        return dtype if most <= 2 / torch.finfo(dtype).eps else torch.float32
    return dtype if dtype != torch.bool and most <= torch.iinfo(dtype).max else torch.int32
