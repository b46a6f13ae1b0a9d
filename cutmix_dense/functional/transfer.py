"""Rows of instances between a CUDA device and the host: one copy each way, so that lists cost few launches.

Boxes, labels and other rows are a few kilobytes. On the host they are measured and judged in the time that a device
takes to launch a handful of kernels; only what lies per pixel stays on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import HOST
from cutmix_dense.functional.cut_stack import cut_at_once
from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.functional.reading import row_keys
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.segments import PANOPTIC_KEYS
from cutmix_dense.functional.table import FieldTable
from cutmix_dense.functional.wrapping import as_plain, rewrap
from cutmix_dense.kernels import sent_with_plan
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.moving import outline_of

HostRows = dict[str, Any]
"""Where the rows of one call's targets are kept that were brought to the host to draw by; its mix works on them, too.

A plain dict: compiled code makes one in every call.
"""

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
        can't cut, without masks under a free-form plan that lies on a device, and very many.
    """
    device = table.device
    if device.type != "cuda" or is_compiling():
        return None
    by_mask = "masks" in table.instances and rules.boxes_from != "box"
    if plan.free_form and plan.device.type != "cpu" and not (by_mask and outline_of.known(plan)):
        return None  # its map of owners is no small thing to bring along
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


def bring_rows(
    found: HostRows, targets: Sequence[Mapping[str, Any]], rules: TargetRules
) -> Sequence[Mapping[str, Any]]:
    """The targets with their rows on the host, by one copy that is waited for.

    Those with masks or panoptic maps, with gradients or very many rows come back as they are, and so do those of
    the host.
    """
    if not any(getattr(target.get("boxes"), "is_cuda", False) for target in targets):
        return targets
    keys = row_keys(rules)
    here = [_open(target) for target in targets]
    parts = [part for target in here for part in (target, target.get(IGNORED)) if isinstance(part, dict)]
    rows = [value for part in parts for key, value in part.items() if key in keys and isinstance(value, Tensor)]
    devices = {row.device for row in rows}
    if len(devices) != 1 or is_compiling() or not {"masks", *PANOPTIC_KEYS}.isdisjoint(chain(*parts)):
        return targets
    if any(row.requires_grad for row in rows) or sum(row.nbytes for row in rows) > _MOST:
        return targets
    _carry(parts, keys, lambda joined: torch.cat(joined).to(HOST), "cuda")
    found["rows"] = targets, keys, here, devices.pop()
    return here


def rows_of(
    found: HostRows, targets: Sequence[Mapping[str, Any]], rules: TargetRules
) -> tuple[Sequence[Mapping[str, Any]], torch.device | None]:
    """The targets with the rows that were brought, and the device that they came from; else as they are, None."""
    given, keys, here, device = found.get("rows", (None, None, targets, None))
    return (here, device) if given is targets and keys == row_keys(rules) else (targets, None)


def send_rows(mixed: Sequence[dict[str, Any]], table: FieldTable, plan: MixPlan, device: torch.device) -> None:
    """Send the rows of mixed targets to a device, in place, by one copy that nothing waits for.

    Args:
        mixed: one dict per output, with rows on the host; for masks that were cut at once, which ones.
        table: the targets that came in.
        plan: what they were mixed by; where pixels wait to be mixed by it, too, it travels along.
        device: a CUDA device.
    """
    parts: list[dict[str, Any]] = [part for target in mixed for part in (target, target.get(IGNORED)) if part]
    taken = {} if table.cut is None else {"masks": partial(table.cut.masks.index_select, 0)}
    keys = dict.fromkeys((*table.instances, *_MADE))
    _carry(parts, keys, lambda rows: sent_with_plan(rows, plan, device), "cpu", taken)


def _open(target: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a target, and of its ignored instances."""
    ignored = target.get(IGNORED)
    return {**target, IGNORED: {**ignored}} if isinstance(ignored, Mapping) else {**target}


def _carry(
    parts: Sequence[dict[str, Any]],
    keys: Iterable[str],
    transfer: Callable[[list[Tensor]], Tensor],
    place: str,
    taken: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
) -> None:
    """Replace the rows of some keys that lie at a place by what became of them elsewhere, all bytes in one transfer.

    The rows of keys in ``taken`` are changed by it, all at once, where they arrive.
    """
    groups: dict[Any, list[tuple[dict[str, Any], str]]] = {}
    for part in parts:
        for name in keys:
            value = part.get(name)
            if isinstance(value, Tensor) and value.device.type == place:
                groups.setdefault((name, value.dtype, value.shape[1:]), []).append((part, name))
    groups = dict(sorted(groups.items(), key=lambda item: -item[0][1].itemsize))  # so all are aligned
    joined = [torch.cat([as_plain(part[name]) for part, name in places]) for places in groups.values()]
    there, start = transfer([_bytes(rows) for rows in joined]), 0
    for rows, ((name, *_), places) in zip(joined, groups.items()):
        moved = there[start : start + rows.nbytes].view(rows.dtype).reshape(rows.shape)
        moved = taken[name](moved) if name in taken else moved
        start += rows.nbytes
        for (part, name), own in zip(places, moved.split_with_sizes([len(part[name]) for part, name in places])):
            part[name] = rewrap(own, part[name])


def _bytes(rows: Tensor) -> Tensor:
    return as_plain(rows).contiguous().flatten().view(torch.uint8)
