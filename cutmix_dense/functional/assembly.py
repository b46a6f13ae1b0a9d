"""Hand out the rows of instances that were chosen, field by field, one dict per output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.functional.boxes import from_xyxy
from cutmix_dense.functional.fate import Entries, Fate, areas_of
from cutmix_dense.functional.fields import FieldTable
from cutmix_dense.functional.keypoints import mix_keypoints, swap_pairs
from cutmix_dense.functional.masks import LayerMasks
from cutmix_dense.functional.wrapping import rewrap
from cutmix_dense.plan import MixPlan

__all__ = ["Form", "assemble"]


@dataclass(frozen=True)
class Form:
    """How rows are to be handed out."""

    flip_pairs: Sequence[tuple[int, int]]
    weights: bool


def assemble(
    table: FieldTable, plan: MixPlan, entries: Entries, fate: Fate, chosen: Int[Tensor, " k"], form: Form
) -> list[dict[str, Any]]:
    """The rows of the chosen entries, one dict per output, in the order of the keys that came in."""
    device = table.device
    plan = plan.to(device)
    here = chosen.to(device)
    flat = entries.flat[chosen].to(device)
    counts = torch.bincount(entries.output[chosen], minlength=entries.outputs).tolist()
    canvas = [cast("tuple[int, int]", tuple(size)) for size in plan.canvas.tolist()]
    columns: dict[str, list[Any]] = {}
    for key in table.instances:
        example = table.example(key)
        if example is None:
            items = [item for value in table.instances[key] if value is not None for item in value]
            picked = [items[index] for index in entries.flat[chosen].tolist()]
            columns[key] = [[picked.pop(0) for _ in range(count)] for count in counts]
            continue
        if key == "masks":
            assert fate.masks is not None
            columns[key] = _masks_of(example, fate.masks, entries, chosen, fate.mask_sizes)
            continue
        rows = table.flat(key)[flat]
        if key == "boxes":
            assert fate.boxes is not None
            # those that stayed the same do so bit by bit
            mixed = torch.where(fate.same_box[here][:, None], rows, from_xyxy(fate.boxes[here], example))
            columns[key] = _wrapped(mixed.split(counts), example, canvas)
            continue
        if key == "area":
            output, layer = entries.output[chosen].to(device), entries.layer[chosen].to(device)
            rows = areas_of(rows, plan, output, layer, fate.share[here], fate.untouched[here])
        elif key in ("visibility", "weight"):
            continue
        elif key in ("keypoints", "keypoints_visible") and "keypoints" in table.instances:
            points, shows = mix_keypoints(
                table.flat("keypoints")[flat],
                plan,
                entries.output[chosen].to(device),
                entries.layer[chosen].to(device),
                form.flip_pairs,
            )
            if key == "keypoints":
                if points.shape[2] == 2 and "keypoints_visible" not in table.instances:
                    columns["keypoints_visible"] = list((shows | fate.untouched[here][:, None]).split(counts))
                rows = torch.where(fate.untouched[here][:, None, None], rows, points)
            else:
                if form.flip_pairs:
                    mirrored = plan.scale[entries.output[chosen], entries.layer[chosen], -1] < 0
                    rows = torch.where(mirrored[:, None], swap_pairs(rows, form.flip_pairs), rows)
                shows = shows | fate.untouched[here][:, None]
                rows = torch.where(shows, rows, torch.zeros((), dtype=rows.dtype, device=device))
        columns[key] = _wrapped(rows.split(counts), example, canvas)
    columns["visibility"] = list(fate.visibility[here].split(counts))
    if form.weights or "weight" in table.instances:
        columns["weight"] = list(_weights(table, plan, entries, chosen, flat).split(counts))
    origin = torch.stack([entries.image[chosen], _index_in_own_list(table, entries, chosen)], dim=1).to(device)
    columns["origin"] = list(origin.split(counts))
    return [{key: column[output] for key, column in columns.items()} for output in range(entries.outputs)]


def _weights(
    table: FieldTable, plan: MixPlan, entries: Entries, chosen: Int[Tensor, " k"], flat: Int[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Weight of each instance's layer in [0, 1], multiplied with an incoming one; 1 under a hard plan."""
    if plan.weight is None:
        weight = torch.ones(len(chosen), device=flat.device)
    else:
        layers = plan.weight / plan.weight.sum(dim=1, keepdim=True)
        weight = layers[entries.output[chosen], entries.layer[chosen]].float().to(flat.device)
    return weight * table.flat("weight").float()[flat] if "weight" in table.instances else weight


def _masks_of(
    example: Tensor,
    masks: dict[tuple[int, int], LayerMasks],
    entries: Entries,
    chosen: Int[Tensor, " k"],
    sizes: Sequence[Sequence[int]],
) -> list[Tensor]:
    wanted: list[dict[int, list[int]]] = [{} for _ in range(entries.outputs)]
    columns = (entries.output, entries.layer, entries.position)
    for output, layer, position in zip(*(column[chosen].tolist() for column in columns)):
        wanted[output].setdefault(layer, []).append(position)
    plain = example.as_subclass(Tensor)
    stacks = []
    for output, (layers, size) in enumerate(zip(wanted, sizes)):
        count, start = sum(map(len, layers.values())), 0
        stack = masks[output, next(iter(layers))].blank(count) if count else plain.new_zeros((0, *size))
        for layer, rows in layers.items():
            masks[output, layer].put(rows, stack[start : start + len(rows)])
            start += len(rows)
        stacks.append(rewrap(stack, example))
    return stacks


def _index_in_own_list(table: FieldTable, entries: Entries, chosen: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    own = torch.tensor(table.counts, dtype=torch.long)[entries.image[chosen]]
    return entries.position[chosen] - torch.where(entries.ignored[chosen], own, 0)


def _wrapped(parts: Sequence[Tensor], like: Tensor, canvas: Sequence[tuple[int, int]]) -> list[Tensor]:
    """The rows of each output in the class of ``like``."""
    if type(like) is Tensor:
        return list(parts)
    if hasattr(like, "canvas_size"):
        return [rewrap(part, like, canvas_size=size) for part, size in zip(parts, canvas)]
    return [rewrap(part, like) for part in parts]
