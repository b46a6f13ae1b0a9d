"""Read the targets of a pool key by key, checked: what follows an instance, stays with the image, or is a map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.arrays.host import HOST
from cutmix_dense.functional.fields import (
    COORDINATES,
    FIELDS,
    IGNORED,
    IMAGE_KEYS,
    INSTANCE_KEYS,
    LABEL_KEYS,
    RAW_ANNOTATIONS,
    SEMANTIC_KEYS,
    STATED,
    are_dicts,
    count_instances,
    is_annotations,
    is_map,
)
from cutmix_dense.functional.rotated import rotated_format
from cutmix_dense.functional.row_values import check_rows_alike, rows_joined, rows_of_key, shape_of
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.semantic import refuse_pair
from cutmix_dense.functional.table import FieldTable
from cutmix_dense.functional.wrapping import as_plain, numpy_remedy

_dtype = attrgetter("dtype")


def read_fields(
    targets: Sequence[Mapping[str, Any]],
    rules: TargetRules,
    ndim: int = 2,
    size_of: Callable[[int], Sequence[int]] | None = None,
) -> FieldTable:
    """Sort the keys of ``targets`` by what they mean.

    Args:
        targets: as for ``mix_instances``.
        rules: which further keys there are.
        ndim: number of spatial axes of the images.
        size_of: gives the size of a pool image, for ignored instances without masks in an image without any.

    Raises:
        TypeError: targets that aren't dicts; a value of a kind that its key can't have.
        ValueError: an unknown tensor, array or container key; rows that don't match the number of instances; a key that
            some image with instances lacks (but ``has_mask``: there all of its rows state their mask).
    """
    if not are_dicts(targets):
        raise TypeError(f"targets must be a list of dicts, got {type(targets).__name__}")
    image_keys, semantic_keys = set(rules.image_keys), set(rules.semantic_keys)
    instance_keys = set(rules.instance_keys)
    of_instances = row_keys(rules)
    of_maps = (SEMANTIC_KEYS | semantic_keys) - image_keys - instance_keys
    rows: list[Any] = [*targets]
    ignored: list[dict[str, Any]] = [{} for _ in targets]
    table = FieldTable(ndim=ndim, image=[{} for _ in targets])
    if not of_instances >= {*chain(*targets)}:
        rows = [{key: target[key] for key in target if key in of_instances} for target in targets]
        for index, target in enumerate(targets):
            others = {key: target[key] for key in target if key not in of_instances}
            ignored[index] = _sort(table, others, rows[index], index, image_keys, of_maps, of_instances)
    keys = dict.fromkeys(chain(*rows))  # in order of first appearance
    full = [{**keys, **row} for row in rows]
    plain = not any(ignored)
    given = [row["boxes"] for row in full] if "boxes" in keys else [None] * len(rows)
    table.counts = [
        boxes.shape[0] if type(boxes) is Tensor and boxes.ndim else count_instances(row, f"targets[{index}]")
        for index, (row, boxes) in enumerate(zip(rows, given))
    ]
    table.ignored_counts = [0] * len(rows)
    if not plain:
        named = [(extra, f"targets[{index}]['{IGNORED}']") for index, extra in enumerate(ignored)]
        table.ignored_counts = [count_instances(extra, where) for extra, where in named]
    for key in table.semantic:
        if (found := len(table.semantic[key])) != len(targets):
            raise ValueError(f"{key!r} must be in every target or in none; {found} of {len(targets)} have it")
    if table.has_ignored:
        _fill_ignored(table, rows, ignored, size_of)
    for key in keys if plain else dict.fromkeys(chain(keys, *ignored)):
        values = [row[key] for row in full] if plain else []
        if not plain or not _read_at_once(table, key, values):
            values = _collected(table, key, rows, ignored)
        table.instances[key] = values
    table.device = _device_of(table)
    table.rotated = rotated_format(table.example("boxes")) if "boxes" in table.instances else None
    return table


def row_keys(rules: TargetRules) -> frozenset[str]:
    """The keys that have one row per instance."""
    return (INSTANCE_KEYS | {*rules.instance_keys}) - {*rules.image_keys} - {*rules.semantic_keys}


def _sort(
    table: FieldTable,
    others: Mapping[str, Any],
    read: Mapping[str, Any],
    index: int,
    image_keys: set[str],
    of_maps: frozenset[str],
    of_instances: frozenset[str],
) -> dict[str, Any]:
    """Put the entries of a target that aren't of its instances into the table; return its ignored instances.

    ``read`` are those of its instances.
    """
    ignored: dict[str, Any] = {}
    for key, value in others.items():
        if key == IGNORED:
            if value is not None and not isinstance(value, Mapping):
                raise TypeError(
                    f"targets[{index}]['{IGNORED}'] must be a dict of instance keys, got {type(value).__name__}"
                )
            for unknown in set(value or ()) - of_instances:
                raise ValueError(
                    f"targets[{index}]['{IGNORED}'] holds the unknown key {unknown!r}: name it in instance_keys"
                )
            table.has_ignored |= value is not None
            ignored = dict(value or {})
        elif key in of_maps or (key not in image_keys and is_map(value)):
            refuse_pair(value, f"targets[{index}][{key!r}]")
            if not isinstance(value, Tensor):
                got = f"{type(value).__name__}{numpy_remedy(value)}"
                raise TypeError(f"targets[{index}][{key!r}] must be a tensor, got {got}")
            if value.is_floating_point():
                raise TypeError(
                    f"targets[{index}][{key!r}] must hold class ids, got {value.dtype}: {_beside(key, table.ndim)}"
                )
            table.semantic.setdefault(key, []).append(value)
        elif key in LABEL_KEYS and key not in image_keys:
            raise ValueError(
                f"targets[{index}] holds {key!r}, a label of the whole image: give labels as one (B,) or (B, K) "
                "tensor beside the list of dicts, so that they are mixed, or name the key in image_keys"
            )
        elif key not in IMAGE_KEYS and key not in image_keys and not _is_scalar(value):
            if is_annotations(value):
                raise ValueError(f"targets[{index}][{key!r}] holds {RAW_ANNOTATIONS}")
            if key in COORDINATES:
                if "boxes" in read or "masks" in read:
                    raise ValueError(
                        f"targets[{index}] holds the unknown key {key!r} beside 'boxes' or 'masks': leave it out "
                        "(target_keys= of torchvision's wrap_dataset_for_transforms_v2 does), or name it in image_keys "
                        "if it is to stay the base image's; instance_keys can't carry coordinates"
                    )
                raise ValueError(
                    f"targets[{index}] holds the unknown key {key!r} ({shape_of(value)}): give boxes as 'boxes' "
                    "(xyxy in pixels, or tv_tensors.BoundingBoxes of any format) and polygons as 'masks'; "
                    "instance_keys can't carry coordinates"
                )
            dense = isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1
            raise ValueError(
                f"targets[{index}] holds the unknown key {key!r} ({shape_of(value)}): name it in instance_keys (it "
                "follows the instances), in image_keys (it stays the base image's) or in semantic_keys (a map of class "
                f"ids){'; ' + _beside(key, table.ndim) if dense else ''}"
            )
        else:
            table.image[index][key] = value
    return ignored


def _fill_ignored(
    table: FieldTable,
    rows: list[dict[str, Any]],
    ignored: list[dict[str, Any]],
    size_of: Callable[[int], Sequence[int]] | None,
) -> None:
    """Give ignored instances that have less than others rows of zeros (no mask), so that all can be judged together."""
    some = [extra for extra, count in zip(ignored, table.ignored_counts) if count]
    if not some:
        return
    keys = {key for row in (*rows, *some) for key in row}
    table.bare = {key for key in keys - {"boxes", STATED} if any(key not in extra for extra in some)}
    if "boxes" in keys and any("boxes" not in extra for extra in some):  # refused as other rows are
        table.bare.discard("masks")
    if not table.bare:
        return
    given = {key: [row[key] for row in (*rows, *some) if key in row] for key in table.bare}
    table.states_none = "masks" in table.bare and STATED not in keys
    for index, (row, extra, count) in enumerate(zip(rows, ignored, table.ignored_counts)):
        for key in table.bare if count else ():
            if key in extra:
                continue
            tensors = [value for value in given[key] if isinstance(value, Tensor) and value.ndim]
            if not tensors:
                extra[key] = [None] * count
                continue
            like = next((value for value in tensors if len(value)), tensors[0])
            plain = as_plain(like)
            shape = tuple(plain.shape[1:])
            if key == "masks":
                largest = [tuple(value.shape[1:]) for value in tensors if value.ndim == table.ndim + 1]
                largest += [tuple(size_of(index))] if size_of is not None else []
                own = row.get("masks")
                shape = tuple(own.shape[1:]) if isinstance(own, Tensor) and len(own) else tuple(map(max, zip(*largest)))
                extra[STATED] = torch.zeros(count, dtype=torch.bool, device=plain.device)
            extra[key] = plain.new_full((count, *shape), key in ("visibility", "weight"))
    table.bare -= {"visibility", "weight"}


def _collected(table: FieldTable, key: str, rows: list[dict[str, Any]], ignored: list[dict[str, Any]]) -> list[Any]:
    """The values of a key, checked one by one, each with the rows of the ignored instances."""
    values = []
    for index, (row, extra) in enumerate(zip(rows, ignored)):
        where = f"targets[{index}]"
        main = rows_of_key(row, key, table.counts[index], where)
        more = rows_of_key(extra, key, table.ignored_counts[index], f"{where}['{IGNORED}']") if extra else None
        values.append(rows_joined(key, main, more))
    check_rows_alike(key, values)
    return values


def _read_at_once(table: FieldTable, key: str, values: list[Any]) -> bool:
    """Whether all values of a key are plain tensors against which nothing speaks, as nearly always; joins their rows.

    Masks aren't joined: they may be of several sizes.
    """
    known, counts = FIELDS.get(key), table.counts
    if 0 in counts or set(map(type, values)) != {Tensor}:
        return False
    try:
        if [value.shape[0] for value in values] != counts:
            return False
        if key == "masks":
            return len({value.device for value in values}) == 1
        dtype = values[0].dtype
        if {*map(_dtype, values)} != {dtype} or (key == STATED and dtype != torch.bool):
            return False
        joined = torch.cat(values)
    except (IndexError, RuntimeError, TypeError):  # of several shapes or devices: said where they are looked at singly
        return False
    if known is None or known.rank in (None, joined.ndim):
        table.joined[key] = joined
    return key in table.joined


def _device_of(table: FieldTable) -> torch.device:
    """The device of all instances, the host if there are none; ValueError where there are several."""
    first: tuple[str, int, torch.device] | None = None
    for key, values in table.instances.items():
        for index, value in enumerate([table.joined[key]] if key in table.joined else values):
            if type(value) is not Tensor and not isinstance(value, Tensor):
                continue
            device = value.device
            if first is None:
                first = (key, index, device)
            elif device != first[2]:
                raise ValueError(
                    f"targets must lie on one device: targets[{first[1]}][{first[0]!r}] lies on {first[2]}, "
                    f"targets[{index}][{key!r}] on {device}"
                )
    return HOST if first is None else first[2]


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, bytes, bool, int, float, complex))


def _beside(key: str, ndim: int) -> str:
    """Where a map of floating point goes."""
    axes = "B, D, H, W" if ndim == 3 else "B, H, W"
    return f"a map of floating point goes beside the list, {{'targets': [...], {key!r}: ({axes})}}"
