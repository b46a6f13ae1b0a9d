"""The targets of a pool by key, and all rows of a key as one tensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.arrays.host import HOST
from cutmix_dense.functional.boxes import from_xyxy, to_xyxy
from cutmix_dense.functional.rotated import COLUMNS, as_rotated, rotated_format
from cutmix_dense.functional.wrapping import as_plain


@dataclass
class FieldTable:
    """The targets of a pool by key; ``read_fields`` fills it.

    Attributes:
        instances: by instance key, one value per pool image (rows of the target, then of its ignored instances); None
            if an image without instances lacks the key.
        counts: number of instances of each image, ignored ones not counted.
        ignored_counts: number of ignored instances of each image.
        image: for each pool image, the entries that stay with it.
        semantic: by semantic key, one map per pool image.
        has_ignored: whether some target holds ignored instances (perhaps zero of them).
        ndim: number of spatial axes of the images.
        joined: all rows of the pool by instance key, for keys whose values are plain tensors of one form.
        bare: instance keys that some ignored instances lack; all ignored instances then lose them.
        states_none: whether ``has_mask`` was added, for ignored instances without masks.
        device: where the instances lie; the host if there are none.
        rotated: the format of rotated boxes; None for others.
        cut: what a plan shows of all masks (a ``CutStack``), where that was found beforehand.
    """

    instances: dict[str, list[Any]] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    ignored_counts: list[int] = field(default_factory=list)
    image: list[dict[str, Any]] = field(default_factory=list)
    semantic: dict[str, list[Tensor]] = field(default_factory=dict)
    has_ignored: bool = False
    ndim: int = 2
    joined: dict[str, Tensor] = field(default_factory=dict)
    bare: set[str] = field(default_factory=set)
    states_none: bool = False
    device: torch.device = HOST
    rotated: Any = None
    cut: Any = None

    def example(self, key: str) -> Tensor | None:
        """A tensor with the class, dtype and trailing shape of a key: the first with rows, else the first."""
        if key in self.joined:
            return self.joined[key]
        first = None
        for value in self.instances[key]:
            if isinstance(value, Tensor):
                if value.shape[0]:
                    return value
                first = value if first is None else first
        return first

    def flat(self, key: str) -> Tensor:
        """The rows of the whole pool as one plain tensor, in the form of ``example(key)``."""
        if key in self.joined:
            return self.joined[key]
        example = self.example(key)
        assert example is not None
        parts = [value for value in self.instances[key] if value is not None and value.shape[0]]
        if not parts:
            empty = as_plain(example)[:0]
            if key != "boxes":
                return empty
            form = rotated_format(example)
            return empty.reshape(0, 2 * self.ndim if form is None else COLUMNS[form.name])
        if key == "boxes":
            form = getattr(example, "format", None)
            parts = [p if getattr(p, "format", None) == form else boxes_like(p, example) for p in parts]
        return torch.cat(parts if type(example) is Tensor else [as_plain(part) for part in parts])

    def flat_rotated(self) -> Float[Tensor, "n c"]:
        """The rotated boxes of the whole pool in the format ``rotated``; float64, on the host.

        Raises:
            ValueError: rows have another length, or some boxes are upright.
        """
        form, given = self.rotated, enumerate(self.instances["boxes"])
        parts = [as_rotated(value, form, f"targets[{i}]['boxes']") for i, value in given if value is not None]
        return torch.cat(parts)

    def flat_boxes(self) -> Float[Tensor, "n ends"]:
        """The boxes of the whole pool, xyxy.

        Raises:
            TypeError: boxes aren't tensors of numbers.
            ValueError: rows have another length, or boxes are rotated.
        """
        if "boxes" in self.joined and self.joined["boxes"].shape[1:] == (2 * self.ndim,):
            return to_xyxy(self.joined["boxes"], "targets[0]['boxes']", self.ndim)
        given = [(index, value) for index, value in enumerate(self.instances["boxes"]) if value is not None]
        parts = [to_xyxy(value, f"targets[{index}]['boxes']", self.ndim) for index, value in given]
        return torch.cat(parts) if parts else torch.zeros((0, 2 * self.ndim), dtype=torch.float32, device=self.device)


def boxes_like(boxes: Tensor, example: Tensor) -> Tensor:
    """Boxes as plain rows in the format and dtype of ``example``."""
    form = rotated_format(example)
    if form is None:
        return from_xyxy(to_xyxy(boxes), example)
    return as_rotated(boxes, form).to(example.device, example.dtype)
