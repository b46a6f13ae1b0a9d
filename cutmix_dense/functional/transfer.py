"""Rows of instances between a CUDA device and the host: one copy each way, so that lists cost few launches.

Boxes, labels and other rows are a few kilobytes. On the host they are measured and judged in the time that a device
takes to launch a handful of kernels; only what lies per pixel stays on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import HOST
from cutmix_dense.functional.cut_stack import cut_at_once
from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.table import FieldTable
from cutmix_dense.functional.wrapping import as_plain, rewrap
from cutmix_dense.kernels import sent_with_plan
from cutmix_dense.plan import MixPlan

__all__ = ["fetch_rows", "send_rows"]

_MOST = 2**24
"""Bytes of rows that are worth a copy; features of more are mixed where they lie."""

_MADE = ("visibility", "weight", "origin", "keypoints_visible", "iscrowd")
"""Keys that a mix adds to those that came in."""


def fetch_rows(table: FieldTable, plan: MixPlan, rules: TargetRules, padded: bool | None) -> torch.device | None:
    """Bring the rows of a table from a CUDA device to the host, in place, by one copy that is waited for.

    Masks stay where they are, cut and measured by then: ``table.cut``.

    Args:
        table: the targets.
        plan: what they are mixed by.
        rules: how they are judged.
        padded: see ``masks.mask_sizes``.

    Returns:
        Where they were; None if they stay: those of other devices, those with gradients, with masks that one launch
        can't cut, under a free-form plan that lies on a device, and very many.
    """
    device = table.device
    if device.type != "cuda" or is_compiling():
        return None
    if plan.free_form and plan.device.type != "cpu":  # whose map of owners is no small thing to bring along
        return None
    if "masks" in table.instances and (rules.split == "parts" or table.rotated is not None):  # which look at pixels
        return None
    places: list[tuple[str, int]] = []
    tensors: list[Tensor] = []
    for key, values in table.instances.items():
        if key == "masks":
            continue
        given = {-1: table.joined[key]} if key in table.joined else dict(enumerate(values))
        for index, value in given.items():
            if isinstance(value, Tensor):
                places.append((key, index))
                tensors.append(value)
    if any(tensor.requires_grad for tensor in tensors) or sum(tensor.nbytes for tensor in tensors) > _MOST:
        return None
    if "masks" in table.instances:
        table.cut = cut_at_once(table, plan, padded)
        if table.cut is None:
            return None
        places.append(("masks", -1))
        tensors.append(table.cut.facts)
    order = sorted(range(len(tensors)), key=lambda index: -tensors[index].element_size())  # so all are aligned
    host = torch.cat([_bytes(tensors[index]) for index in order]).to(HOST)
    start = 0
    for index in order:
        (key, row), like = places[index], tensors[index]
        rows = host[start : start + like.nbytes].view(like.dtype).reshape(like.shape)
        start += like.nbytes
        if key == "masks":
            table.cut = table.cut._replace(facts=rows)
        elif row < 0:
            each = [own + ignored for own, ignored in zip(table.counts, table.ignored_counts)]
            table.joined[key], table.instances[key] = rows, list(rows.split_with_sizes(each))
        else:
            table.instances[key][row] = rewrap(rows, like)
    table.device = HOST
    return device


def send_rows(mixed: Sequence[dict[str, Any]], keys: Mapping[str, Any], plan: MixPlan, device: torch.device) -> None:
    """Send the rows of mixed targets to a device, in place, by one copy that nothing waits for.

    Args:
        mixed: one dict per output, with rows on the host.
        keys: the instance keys that came in.
        plan: what they were mixed by; where pixels wait to be mixed by it, too, it travels along.
        device: a CUDA device.
    """
    names = dict.fromkeys((*keys, *_MADE))
    groups: dict[Any, list[tuple[dict[str, Any], str]]] = {}
    parts: list[dict[str, Any]] = [part for target in mixed for part in (target, target.get(IGNORED)) if part]
    for part in parts:
        for name in names:
            value = part.get(name)
            if isinstance(value, Tensor) and value.is_cpu:
                groups.setdefault((name, value.dtype, value.shape[1:]), []).append((part, name))
    groups = dict(sorted(groups.items(), key=lambda item: -item[0][1].itemsize))  # so all are aligned
    joined = [torch.cat([as_plain(part[name]) for part, name in places]) for places in groups.values()]
    there, start = sent_with_plan([_bytes(rows) for rows in joined], plan, device), 0
    for rows, places in zip(joined, groups.values()):
        moved = there[start : start + rows.nbytes].view(rows.dtype).reshape(rows.shape)
        start += rows.nbytes
        for (part, name), own in zip(places, moved.split_with_sizes([len(part[name]) for part, name in places])):
            part[name] = rewrap(own, part[name])


def _bytes(rows: Tensor) -> Tensor:
    return as_plain(rows).contiguous().flatten().view(torch.uint8)
