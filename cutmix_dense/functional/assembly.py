"""Hand out the rows of instances that were chosen, field by field, one dict per output."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import pick, sent
from cutmix_dense.functional.boxes import from_xyxy
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.keypoints import mix_keypoints, swap_pairs
from cutmix_dense.functional.mask_windows import put_masks
from cutmix_dense.functional.measuring import Judged
from cutmix_dense.functional.rotated import rotated_like
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.scaling import scaled_numbers
from cutmix_dense.functional.table import FieldTable
from cutmix_dense.functional.wrapping import as_plain, rewrap
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import instance_weights, weighs


def assemble(
    table: FieldTable, judged: Judged, chosen: Int[np.ndarray, " k"], rules: TargetRules
) -> list[dict[str, Any]]:
    """The rows of the chosen entries, one dict per output, in the order of the keys that came in."""
    device, plan, entries, flip_pairs = table.device, judged.plan, judged.entries, rules.flip_pairs or ()
    picked = [torch.from_numpy(column) for column in (entries.flat[chosen], _origin(table, entries, chosen))]
    flat, origin = picked if device.type == "cpu" else [sent(column, device) for column in picked]

    def where() -> tuple[Tensor, Tensor]:
        """Output and layer of each row."""
        return sent(entries.output[chosen], device), sent(entries.layer[chosen], device)

    counts: list[int] = np.bincount(entries.output[chosen], minlength=entries.outputs).tolist()
    columns: dict[str, list[Any]] = {}
    for key in table.instances:
        example = table.example(key)
        if example is None:
            items = [item for value in table.instances[key] if value is not None for item in value]
            picked = [items[index] for index in entries.flat[chosen].tolist()]
            columns[key] = [[picked.pop(0) for _ in range(count)] for count in counts]
            continue
        if key == "masks":
            assert judged.masks is not None
            if table.cut is None:
                columns[key] = _masks_of(example, judged, chosen, counts)
            else:
                rows = torch.from_numpy(chosen)  # of the cut masks, which ``send_rows`` takes where they lie
                columns[key] = [rewrap(part, example) for part in rows.split_with_sizes(counts)]
            continue
        rows = table.flat(key).index_select(0, flat)
        if key == "boxes":
            assert judged.measured.boxes is not None
            # those that stayed the same do so bit by bit
            same = pick(judged.same_box, chosen)[:, None]
            boxes = pick(judged.measured.boxes, chosen)
            if table.rotated is None:
                boxes = from_xyxy(boxes, example)
            else:
                boxes = rotated_like(boxes, rows, table.rotated, plan.scale[where()])
            mixed = torch.where(same, rows, boxes)
            columns[key] = _wrapped(mixed.split_with_sizes(counts), example, plan)
            continue
        if key in ("visibility", "weight"):
            continue
        change = rules.changes[key]
        if change in ("length", "area", "inverse"):
            same = pick(judged.measured.untouched, chosen)
            share = pick(judged.found.share, chosen) if key == "area" else None
            rows = scaled_numbers(rows, change, plan.scale[where()], same, share)
        elif key in ("keypoints", "keypoints_visible") and "keypoints" in table.instances:
            untouched = pick(judged.measured.untouched, chosen)
            points, shows = mix_keypoints(table.flat("keypoints")[flat], plan, *where(), flip_pairs, untouched)
            if key == "keypoints":
                if points.shape[2] == 2 and "keypoints_visible" not in table.instances:
                    columns["keypoints_visible"] = list(shows.split_with_sizes(counts))
                rows = points
            else:
                if flip_pairs is not None:
                    mirrored = plan.scale[where()][:, -1] < 0
                    rows = torch.where(mirrored[:, None], swap_pairs(rows, flip_pairs), rows)
                rows = torch.where(shows, rows, torch.zeros((), dtype=rows.dtype, device=device))
        columns[key] = _wrapped(rows.split_with_sizes(counts), example, plan)
    columns["visibility"] = list(pick(judged.found.visibility, chosen).split_with_sizes(counts))
    if rules.instance_weights or weighs(plan) or "weight" in table.instances:
        columns["weight"] = list(_weights(table, plan, where(), flat).split_with_sizes(counts))
    columns["origin"] = list(origin.split_with_sizes(counts))
    return [dict(zip(columns, rows)) for rows in zip(*columns.values())]


def _weights(
    table: FieldTable, plan: MixPlan, where: tuple[Int[Tensor, " k"], Int[Tensor, " k"]], flat: Int[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Weight of each instance's layer in [0, 1], multiplied with an incoming one; 1 under an opaque plan."""
    if weighs(plan):
        weight = instance_weights(plan)[where]
    else:
        weight = torch.ones(len(flat), dtype=torch.float32, device=flat.device)
    return weight * table.flat("weight").float()[flat] if "weight" in table.instances else weight


def _masks_of(example: Tensor, judged: Judged, chosen: Int[np.ndarray, " k"], counts: list[int]) -> list[Tensor]:
    """What shows of the masks of the chosen entries, a stack per output."""
    masks, entries, pieces = judged.masks, judged.entries, judged.pieces
    assert masks is not None
    plain, stacks = as_plain(example), []
    windows: list[Any] = []
    begin = 0
    for output, (count, size) in enumerate(zip(counts, judged.mask_sizes)):
        rows = chosen[begin : begin + count]
        begin += count
        layers = entries.layer[rows]
        stack = masks[output, int(layers[0])].blank(count) if count else plain.new_zeros((0, *size))
        stacks.append(rewrap(stack, example))
        starts = [0, *((layers[1:] != layers[:-1]).nonzero()[0] + 1).tolist(), count] if count else []
        for start, stop in pairwise(starts):
            cut, part = masks[output, int(layers[start])], stack[start:stop]
            places = entries.position[rows[start:stop]]
            if not pieces:
                windows.append((cut, places, part))
            for index, row in enumerate(rows[start:stop].tolist() if pieces else ()):
                if row in pieces:
                    block, values = pieces[row]
                    part[index][block] = sent(values, part.device)
                else:
                    windows.append((cut, places[index : index + 1], part[index : index + 1]))
    put_masks(windows)
    return stacks


def _origin(table: FieldTable, entries: Entries, chosen: Int[np.ndarray, " k"]) -> Int[np.ndarray, "k 2"]:
    """Pool image, and index in its own list: ignored instances have one of theirs."""
    origin = np.empty((chosen.size, 2), dtype=np.int64)
    origin[:, 0], origin[:, 1] = entries.image[chosen], entries.position[chosen]
    if any(table.ignored_counts):
        others = np.array(table.counts, dtype=np.int64)[origin[:, 0]]
        origin[:, 1] -= np.where(entries.ignored[chosen], others, 0)
    return origin


def _wrapped(parts: Sequence[Tensor], like: Tensor, plan: MixPlan) -> list[Tensor]:
    """The rows of each output in the class of ``like``."""
    if type(like) is Tensor:
        return list(parts)
    if hasattr(like, "canvas_size"):
        sizes = [cast("tuple[int, int]", tuple(size)) for size in plan.facts.canvas.tolist()]
        return [rewrap(part, like, canvas_size=size) for part, size in zip(parts, sizes)]
    return [rewrap(part, like) for part in parts]
