"""Instance masks under a plan: cut by the very ownership that cut the image.

On the host only the window round each mask is looked at, so that cost grows with the object: by the compiled library,
or in numpy. Whole stacks in plain torch serve everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from cutmix_dense.arrays.blocks import filled, spatial
from cutmix_dense.arrays.dtypes import full_precision
from cutmix_dense.arrays.host import HOST, in_numpy, sent
from cutmix_dense.functional.broken import sizes_of
from cutmix_dense.functional.mask_windows import StackMasks, cut_windows, suits_windows
from cutmix_dense.kernels.device import serves
from cutmix_dense.kernels.native_instances import windows_of
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import copies_of
from cutmix_dense.plan.ownership import beneath, opaque, shared_weights


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
    boxes: Float[Tensor, "n ends"]

    def take(self, rows: Sequence[int] | Int[np.ndarray, " k"]) -> Shaped[Tensor, "n *size"]:
        """Some of the masks."""
        if len(rows) == len(self.masks):
            return self.masks
        return self.masks.index_select(0, sent(np.array(rows, dtype=np.int64), self.masks.device))

    def blank(self, count: int) -> Shaped[Tensor, "count *size"]:
        """A stack of zeros for masks like these."""
        return self.masks.new_zeros((count, *self.masks.shape[1:]))


LayerMasks = MixedMasks | StackMasks


def mix_masks(
    masks: Sequence[Tensor | None],
    plan: MixPlan,
    size: Sequence[Sequence[int]],
    carried: Bool[np.ndarray, " e"] | None = None,
    stated: Sequence[Bool[Tensor, " _n"] | None] | None = None,
) -> dict[tuple[int, int], LayerMasks]:
    """Cut the masks of every layer that has some.

    Args:
        masks: per pool image (N, H, W), not 0 is inside; None or N = 0 where there are none.
        plan: on the host, so that nothing has to be waited for, or on the masks' device.
        size: size of each output's masks, at least its canvas.
        carried: which rows of the result, one layer after another, come along (default all). On the host the others
            aren't looked at, and come out empty.
        stated: per pool image which of its masks are any (default all); the others come out empty, whatever they hold.

    Returns:
        Per (output, layer) of layers present whose image has masks: the cut masks, all N of them in order.
    """
    jobs = [
        (output, layer, image)
        for output, layers in enumerate(plan.facts.source.tolist())
        for layer, image in enumerate(layers)
        if image >= 0 and masks[image] is not None and masks[image].shape[0]
    ]
    if not jobs:
        return {}
    if plan.opacity is not None:
        return _mix_base_apart(masks, plan, size, jobs, carried, stated)
    return _mixed(masks, plan, size, jobs, carried, stated)


def _mix_base_apart(
    masks: Sequence[Tensor | None],
    plan: MixPlan,
    size: Sequence[Sequence[int]],
    jobs: Jobs,
    carried: Bool[np.ndarray, " e"] | None,
    stated: Sequence[Bool[Tensor, " _n"] | None] | None,
) -> dict[tuple[int, int], LayerMasks]:
    """``mix_masks`` by two plans: translucent layers don't hide the base's instances."""
    counts = [len(cast("Tensor", masks[image])) for *_, image in jobs]
    parts = [None] * len(jobs) if carried is None else np.split(carried, np.cumsum(counts)[:-1])
    found: dict[tuple[int, int], LayerMasks] = {}
    for one, base in ((opaque(plan), False), (beneath(plan), True)):
        some = [(job, part) for job, part in zip(jobs, parts) if (job[1] == 0) == base]
        if some:
            rows = None if carried is None else np.concatenate([part for _, part in some])
            found |= _mixed(masks, one, size, [job for job, _ in some], rows, stated)
    return {(output, layer): found[output, layer] for output, layer, _ in jobs}


def _mixed(
    masks: Sequence[Tensor | None],
    plan: MixPlan,
    size: Sequence[Sequence[int]],
    jobs: Jobs,
    carried: Bool[np.ndarray, " e"] | None,
    stated: Sequence[Bool[Tensor, " _n"] | None] | None,
) -> dict[tuple[int, int], LayerMasks]:
    """``mix_masks`` of some layers; ``carried`` are their rows."""
    pool: dict[int, Tensor] = {image: cast("Tensor", masks[image]) for *_, image in jobs}
    if suits_windows([*pool.values()]):
        if stated is not None:
            every = np.concatenate([cast("Tensor", stated[image]).numpy() for *_, image in jobs])
            carried = every if carried is None else carried & every
        return cut_windows(pool, plan.to(HOST), size, jobs, carried)
    here = in_numpy(*pool.values()) and not any(stack.dtype == torch.bfloat16 for stack in pool.values())
    if stated is not None:
        pool = {image: _blanked(stack, stated[image]) for image, stack in pool.items()}
    given = [pool[image] for *_, image in jobs]
    return _mix_on_host(given, plan.to(HOST), size, jobs) if here else _mix_on_device(given, plan, size, jobs)


def _blanked(stack: Shaped[Tensor, "n *size"], stated: Bool[Tensor, " n"] | None) -> Shaped[Tensor, "n *size"]:
    """The masks that are stated; zeros for the others."""
    assert stated is not None
    keep = stated.reshape(-1, *(1,) * (stack.ndim - 1))
    return torch.where(keep, stack, torch.zeros((), dtype=stack.dtype, device=stack.device))


Jobs = Sequence[tuple[int, int, int]]
"""Output, layer and pool image of the layers that have masks."""


def _mix_on_host(
    stacks: Sequence[Tensor], plan: MixPlan, size: Sequence[Sequence[int]], jobs: Jobs
) -> dict[tuple[int, int], LayerMasks]:
    """Window by window in numpy; ``stacks`` are those of the jobs."""
    ndim = plan.ndim
    mixed: dict[tuple[int, int], LayerMasks] = {}
    owner = plan.owner_map().numpy()
    low, high = (bound.numpy() for bound in plan.pixel_ranges())
    taken = [plan.source_pixels(axis).numpy() for axis in range(ndim)]
    for (output, layer, _), stack in zip(jobs, stacks):
        extent = plan.facts.extent[output, layer].tolist()
        valid = tuple(map(slice, extent[:ndim], extent[ndim:]))
        copies = [copies_of(plan, output, layer, axis) for axis in range(ndim)]
        shows = plan.weight is None or bool(plan.weight[output, layer] > 0)
        masks = np.zeros((len(stack), *size[output]), dtype=stack.numpy().dtype)
        visible, whole, boxes = np.zeros(len(stack), np.int32), np.zeros(len(stack)), np.zeros((len(stack), 2 * ndim))
        for row, mask in enumerate(stack.numpy()):
            window = filled(mask[valid])
            if window is None:
                continue
            inside: Any = mask[valid][window] != 0
            for part, count in reversed(list(zip(window, copies))):
                inside = inside @ count[part]
            whole[row] = inside
            block, source = [], []
            for axis, part in enumerate(window):
                start, stop = low[output, layer, axis], min(high[output, layer, axis], size[output][axis])
                pixels = taken[axis][output, layer, start:stop]
                first = extent[axis]
                reach = ((pixels >= first + part.start) & (pixels < first + part.stop)).nonzero()[0]
                block.append(slice(start + reach[0], start + reach[-1] + 1) if len(reach) else slice(0, 0))
                source.append(pixels[reach])
            values = mask[np.ix_(*source)]
            if plan.weight is None:
                values = np.where(owner[output][tuple(block)] == layer, values, masks.dtype.type(0))
            left = filled(values) if shows and values.size else None
            if left is None:
                continue
            masks[row][tuple(block)] = values
            visible[row] = np.count_nonzero(values)
            ends = [(at.start + inner.start, at.start + inner.stop) for at, inner in zip(block, left)]
            boxes[row] = np.array(ends[::-1]).T.reshape(-1)
        mixed[output, layer] = MixedMasks(*map(torch.from_numpy, (masks, visible, whole, boxes)))
    return mixed


def _mix_on_device(
    stacks: Sequence[Tensor], plan: MixPlan, size: Sequence[Sequence[int]], jobs: Jobs
) -> dict[tuple[int, int], LayerMasks]:
    """Whole stacks at once, where they lie; ``stacks`` are those of the jobs."""
    whole_numbers = not any(stack.is_floating_point() or stack.is_complex() for stack in stacks)
    if serves(stacks[0].device) and plan.ndim == 2 and whole_numbers:
        return _cut_by_kernel(stacks, plan, size, jobs)
    device = stacks[0].device
    there = plan.to(device)
    owner = None if plan.weight is not None else there.owner_map()
    shared = None if plan.weight is None else shared_weights(there) > 0
    source_pixels = [there.source_pixels(axis) for axis in range(plan.ndim)]
    mixed: dict[tuple[int, int], LayerMasks] = {}
    for (output, layer, _), stack in zip(jobs, stacks):
        extent = plan.facts.extent[output, layer].tolist()
        valid = spatial(slice(a, b) for a, b in zip(extent[: plan.ndim], extent[plan.ndim :]))
        pixels = stack
        for axis, index in enumerate(source_pixels):
            shown_there = index[output, layer][: size[output][axis]]
            pixels = pixels.index_select(axis + 1, shown_there.clamp(max=stack.shape[axis + 1] - 1))
        canvas = tuple(slice(0, n) for n in size[output])
        if shared is not None:
            shown = shared[output, layer][canvas]
        else:
            assert owner is not None
            shown = owner[output][canvas] == layer
        cut = torch.where(shown, pixels, torch.zeros((), dtype=stack.dtype, device=device))
        if plan.unscaled:
            whole = _pixels(stack[valid]).double()
        else:
            inside = _ones(stack[valid]).float()
            with full_precision(device):
                for axis in reversed(range(plan.ndim)):
                    inside = inside @ sent(copies_of(plan, output, layer, axis), device, torch.float32)
            whole = inside.double()
        mixed[output, layer] = MixedMasks(cut, _pixels(cut), whole, boxes_of_masks(cut))
    return mixed


def _cut_by_kernel(
    stacks: Sequence[Tensor], plan: MixPlan, size: Sequence[Sequence[int]], jobs: Jobs
) -> dict[tuple[int, int], LayerMasks]:
    """The same by one launch per pool image, which reads its masks once for every layer that shows them."""
    from cutmix_dense.kernels.triton_masks import cut_masks  # needs triton, which is optional

    there = plan.to(stacks[0].device)
    places: dict[int, list[tuple[int, int]]] = {}
    for output, layer, image in jobs:
        places.setdefault(image, []).append((output, layer))
    stack_of = {image: stack for (*_, image), stack in zip(jobs, stacks)}
    found: dict[tuple[int, int], LayerMasks] = {}
    for image, shown in places.items():
        stack = stack_of[image]
        count = len(stack)
        outputs, layers = (np.array(column).repeat(count) for column in zip(*shown))
        rows = np.tile(np.arange(count), len(shown))
        cut = cut_masks(stack, there, *sent(np.stack([rows, outputs, layers]), stack.device))
        for place, part in zip(shown, zip(*(column.split(count) for column in cut))):
            masks, visible, whole, boxes = part
            canvas = spatial(slice(0, length) for length in size[place[0]])
            found[place] = MixedMasks(masks[canvas], visible, whole.double(), boxes.double())
    return {(output, layer): found[output, layer] for output, layer, _ in jobs}


def mask_sizes(masks: Sequence[Tensor | None], plan: MixPlan, padded: bool | None = None) -> list[tuple[int, ...]]:
    """Size of each output's masks: the frame if the masks came in it (a padded batch), else the canvas.

    Args:
        masks: per pool image (N, H, W); None or N = 0 where there are none.
        plan: where they go.
        padded: whether the images are a padded batch; None: only if a mask is larger than its image tells so.

    Raises:
        ValueError: masks smaller than the part of their image that the plan shows, or of another number of axes.
    """
    (source, _, _, _, canvas), ndim, frame = plan.facts, plan.ndim, tuple(plan.frame)
    shown, used = sizes_of(plan)[0].tolist(), set(source.reshape(-1).tolist())
    framed, larger = True, False
    for index, stack in enumerate(masks):
        if stack is None or 0 in stack.shape or index not in used:
            continue
        size = tuple(stack.shape[1:])
        if stack.ndim != ndim + 1:
            raise ValueError(f"targets[{index}]['masks'] must have {ndim + 1} dimensions, got {tuple(stack.shape)}")
        needed = tuple(shown[index])
        if size != needed and any(a < b for a, b in zip(size, needed)):
            raise ValueError(
                f"targets[{index}]['masks'] must cover the image's {needed} pixels, got {tuple(stack.shape)}"
            )
        framed &= size == frame
        larger |= size != needed
    if framed and (larger if padded is None else padded):
        return [frame] * len(plan)
    return [tuple(size) for size in canvas.tolist()]


def boxes_of_masks(masks: Shaped[Tensor, "n *size"]) -> Float[Tensor, "n ends"]:
    """(min col, min row, max col + 1, max row + 1) of each mask, float64; zeros for an empty one."""
    if suits_windows([masks]):
        windows = windows_of(masks)[..., ::-1].reshape(len(masks), 2 * (masks.ndim - 1))
        return torch.from_numpy(windows.astype(np.float64))
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
