"""Instance masks under a plan: cut by the very ownership that cut the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from cutmix_dense.functional.mask_windows import SourceMasks, StackMasks, WindowCutter, tight_boxes
from cutmix_dense.kernels.block import spatial
from cutmix_dense.kernels.numpy_pixels import in_numpy
from cutmix_dense.plan import MixPlan

__all__ = ["LayerMasks", "MixedMasks", "boxes_of_masks", "mark_masks", "mask_sizes", "mix_masks"]


class MixedMasks(NamedTuple):
    """The masks of one layer of one output, on the canvas; ``mask_windows.StackMasks`` is the same on the host.

    Attributes:
        masks: what of each mask is visible, in the input's dtype.
        visible: pixels of each that are visible.
        whole: pixels of each within its source's extent as mapped onto the canvas, before anything was cut.
        boxes: tight boxes of what is visible.
    """

    masks: Shaped[Tensor, "n *size"]
    visible: Int[Tensor, " n"]
    whole: Float[Tensor, " n"]
    boxes: Float[Tensor, "n 2*d"]

    def take(self, rows: Sequence[int]) -> Shaped[Tensor, "n *size"]:
        """Some of the masks."""
        if len(rows) == len(self.masks):
            return self.masks
        return self.masks[torch.tensor(rows, device=self.masks.device)]

    def blank(self, count: int) -> Shaped[Tensor, "count *size"]:
        """A stack of zeros for masks like these."""
        return self.masks.new_zeros((count, *self.masks.shape[1:]))

    def put(self, rows: Sequence[int], stack: Shaped[Tensor, "n *size"]) -> None:
        """Write some of the masks into a stack."""
        stack.copy_(self.take(rows))


LayerMasks = MixedMasks | StackMasks


def mix_masks(
    masks: Sequence[Tensor | None], plan: MixPlan, size: Sequence[Sequence[int]]
) -> dict[tuple[int, int], LayerMasks]:
    """Cut the masks of every layer that has some.

    Args:
        masks: per pool image (N, H, W), not 0 is inside; None or N = 0 where there are none.
        plan: on the masks' device.
        size: size of each output's masks, at least its canvas.

    Returns:
        Per (output, layer) of layers present whose image has masks: the cut masks, all N of them in order.
    """
    jobs = [
        (output, layer, image)
        for output, layers in enumerate(plan.source.tolist())
        for layer, image in enumerate(layers)
        if image >= 0 and masks[image] is not None and len(masks[image])
    ]
    if plan.device.type != "cpu":
        return _mix_on_device(masks, plan, size, jobs)
    stacks = {image: SourceMasks(cast("Tensor", masks[image])) for image in {image for *_, image in jobs}}
    cutter = WindowCutter(plan, size)
    return {(output, layer): cutter.cut(stacks[image], output, layer) for output, layer, image in jobs}


def _mix_on_device(
    masks: Sequence[Tensor | None], plan: MixPlan, size: Sequence[Sequence[int]], jobs: Sequence[tuple[int, int, int]]
) -> dict[tuple[int, int], LayerMasks]:
    """Whole stacks at once."""
    owner = None if not jobs or plan.weight is not None else plan.owner_map()
    shared = None if plan.weight is None else plan.pixel_weights() > 0
    mixed: dict[tuple[int, int], LayerMasks] = {}
    for output, layer, image in jobs:
        stack = masks[image]
        assert stack is not None
        extent = plan.extent[output, layer].tolist()
        valid = spatial(slice(a, b) for a, b in zip(extent[: plan.ndim], extent[plan.ndim :]))
        pixels, counts = stack, []
        for axis in range(plan.ndim):
            index = plan.source_pixels(axis)[output, layer][: size[output][axis]]
            pixels = pixels.index_select(axis + 1, index.clamp(max=stack.shape[axis + 1] - 1))
            if not plan.unscaled:
                counts.append(plan.copies(output, layer, axis))
        canvas = tuple(slice(0, n) for n in size[output])
        if shared is not None:
            shown = shared[output, layer][canvas]
        else:
            assert owner is not None
            shown = owner[output][canvas] == layer
        cut = torch.where(shown, pixels, torch.zeros((), dtype=stack.dtype, device=stack.device))
        if plan.unscaled:
            whole = _pixels(stack[valid]).double()
        else:
            inside = _ones(stack[valid]).float()
            for count in reversed(counts):
                inside = inside @ count.float()
            whole = inside.double()
        mixed[output, layer] = MixedMasks(cut, _pixels(cut), whole, boxes_of_masks(cut))
    return mixed


def mask_sizes(masks: Sequence[Tensor | None], plan: MixPlan, padded: bool | None = None) -> list[tuple[int, ...]]:
    """Size of each output's masks: the frame if the masks came in it (a padded batch), else the canvas.

    Args:
        masks: per pool image (N, H, W); None or N = 0 where there are none.
        plan: where they go.
        padded: whether the images are a padded batch; None: only if a mask is larger than its image tells so.

    Raises:
        ValueError: masks smaller than the part of their image that the plan shows, or of another number of axes.
    """
    source, extent = (part.to("cpu").numpy() for part in (plan.source, plan.extent))
    ndim, frame = plan.ndim, tuple(plan.frame)
    framed, larger = True, False
    for index, stack in enumerate(masks):
        used = source == index
        if stack is None or stack.numel() == 0 or not used.any():
            continue
        size = tuple(stack.shape[1:])
        if stack.ndim != ndim + 1:
            raise ValueError(f"targets[{index}]['masks'] must have {ndim + 1} dimensions, got {tuple(stack.shape)}")
        needed = tuple(extent[used][:, ndim:].max(axis=0).tolist())
        if any(a < b for a, b in zip(size, needed)):
            raise ValueError(
                f"targets[{index}]['masks'] must cover the image's {needed} pixels, got {tuple(stack.shape)}"
            )
        framed &= size == frame
        larger |= size != needed
    if framed and (larger if padded is None else padded):
        return [frame] * len(plan)
    return [tuple(size) for size in plan.canvas.tolist()]


def boxes_of_masks(masks: Shaped[Tensor, "n *size"]) -> Float[Tensor, "n 2*d"]:
    """(min col, min row, max col + 1, max row + 1) of each mask, float64; zeros for an empty one."""
    if masks.device.type == "cpu":
        return tight_boxes(masks)
    inside = _ones(masks)
    lows, highs = [], []
    for axis in reversed(range(1, masks.ndim)):  # x first
        others = [other for other in range(1, masks.ndim) if other != axis]
        line = inside.amax(dim=others).bool()
        position = torch.arange(masks.shape[axis], device=masks.device)
        lows.append(torch.where(line, position, masks.shape[axis]).amin(dim=1))
        highs.append(torch.where(line, position + 1, 0).amax(dim=1))
    boxes = torch.stack([*lows, *highs], dim=1)
    return torch.where((boxes[:, -1:] > 0), boxes, 0).double()


def mark_masks(target: Bool[Tensor, "*size"], masks: Sequence[Shaped[Tensor, "*size"]]) -> None:
    """Write where any of some masks (one at least) isn't 0."""
    joins = not masks[0].is_floating_point()  # bits, several times faster than truth
    if in_numpy(target, *masks) and masks[0].dtype != torch.bfloat16:
        arrays = [mask.numpy() for mask in masks]
        covered = arrays[0]
        if len(arrays) > 1:
            join = np.bitwise_or if joins else np.logical_or
            covered = join(*arrays[:2])
            for array in arrays[2:]:
                join(covered, array, out=covered)
        np.not_equal(covered, 0, out=target.numpy())
        return
    marked = masks[0].clone()
    for mask in masks[1:]:
        (marked.bitwise_or_ if joins else marked.logical_or_)(mask)
    torch.ne(marked, 0, out=target)


def _ones(masks: Tensor) -> UInt8[Tensor, "n *size"]:
    """1 inside and 0 outside; bytes reduce several times faster than booleans do."""
    inside = masks if masks.dtype == torch.bool else masks != 0
    return inside.view(torch.uint8)


def _pixels(masks: Tensor) -> Int[Tensor, " n"]:
    return _ones(masks).flatten(1).sum(dim=1, dtype=torch.int32)
