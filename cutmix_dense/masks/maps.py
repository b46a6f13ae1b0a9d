"""Parts of the partner's map: half of its classes, or a lesion that shrinks or grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.arrays.blocks import block_of
from cutmix_dense.arrays.class_maps import ReadableMaps
from cutmix_dense.arrays.host import in_numpy, sent
from cutmix_dense.checks import finite, whole
from cutmix_dense.distance import carved
from cutmix_dense.masks.base import MapMask
from cutmix_dense.native.threads import split
from cutmix_dense.regions import uniform


@dataclass(frozen=True)
class ClassMask(MapMask):
    """Half of the classes of the partner's map, drawn for each image.

    Args:
        rounding: of half an odd number of classes: ``"floor"`` (ClassMix) or ``"ceil"`` (DACS).
        ignore_index: id of pixels without a class; neither counted nor pasted.
        max_classes: ids must be below this; they needn't be contiguous.

    Source: Olsson et al., ClassMix (2021); Tranheden et al., DACS (2021).

    Example:
        >>> mask, maps = ClassMask(), torch.tensor([[[0, 0, 3], [7, 7, 255]]])
        >>> pasted = mask.place(mask.draw(1, torch.Generator().manual_seed(0)), maps)
        >>> len(maps[pasted].unique())  # one of three classes
        1
    """

    rounding: Literal["floor", "ceil"] = "floor"
    ignore_index: int = 255
    max_classes: int = 256

    def __post_init__(self) -> None:
        if self.rounding not in ("floor", "ceil"):
            raise ValueError(f"rounding must be 'floor' or 'ceil', got {self.rounding!r}")
        whole(self.max_classes, "max_classes")

    def draw(self, batch: int, generator: torch.Generator | None = None) -> Float[Tensor, "b k"]:
        """A score for every class of every image; the lowest are pasted."""
        return uniform(batch, self.max_classes, generator)

    def place(self, draws: Float[Tensor, "b k"], maps: Integer[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """Where the chosen classes of each map lie.

        Args:
            draws: the result of ``draw``.
            maps: labels or pseudo-labels of the partners.

        Raises:
            ValueError: an id isn't below ``max_classes`` (checked on the host).
        """
        if _is_readable(*maps) and len(maps):
            return self.place_each(draws, [*maps], tuple(maps.shape[1:]))
        ids = maps.long()
        if ids.device.type == "cpu" and ids.numel():
            self._check(ids)
        columns = self._columns(ids).flatten(1)
        occurs = torch.zeros((len(ids), self._spare + 1), dtype=torch.bool, device=ids.device)
        return self._chosen(occurs.scatter_(1, columns, True), draws).gather(1, columns).reshape(ids.shape)

    def place_each(
        self, draws: Float[Tensor, "b k"], maps: Sequence[Integer[Tensor, "..."]], frame: tuple[int, ...]
    ) -> Bool[Tensor, "b *frame"]:
        """``place`` for maps of any sizes that fit the frame."""
        if not _is_readable(*maps):
            return super().place_each(draws, maps, frame)
        readable = ReadableMaps(maps)
        seen = readable.seen(self.ignore_index, self.max_classes)
        for index in np.flatnonzero(seen[:, -1]).tolist():
            self._check(maps[index].long())
        return readable.marked(self._chosen(torch.from_numpy(seen[:, :-1]), draws).numpy(), frame)

    def _check(self, ids: Integer[Tensor, "*n"]) -> None:
        """Raise ValueError if an id isn't below ``max_classes``."""
        large = ids[(ids >= self.max_classes) & ~_are(ids, self.ignore_index)]
        if large.numel():
            raise ValueError(f"maps must hold ids below max_classes = {self.max_classes}, got {int(large.max())}")

    @property
    def _spare(self) -> int:
        """The column of a table of ids for pixels without a class."""
        return self.max_classes

    def _columns(self, ids: Integer[Tensor, "*size"]) -> Int[Tensor, "*size"]:
        """The column of each id, the spare one for what is none; ids are int64."""
        return ids.clamp(-1, self._spare).remainder_(self._spare + 1)

    def _chosen(self, occurs: Bool[Tensor, "b columns"], draws: Float[Tensor, "b k"]) -> Bool[Tensor, "b columns"]:
        """The half of the classes that occur with the lowest scores; ``draws`` lie on the host."""
        scores = draws.new_full(occurs.shape, torch.inf)
        scores[:, : self.max_classes] = draws
        if 0 <= self.ignore_index < self.max_classes:
            scores[:, self.ignore_index] = torch.inf
        scores = torch.where(occurs, sent(scores, occurs.device), torch.inf)
        count = (scores < torch.inf).sum(dim=1, keepdim=True)
        wanted = count // 2 if self.rounding == "floor" else (count + 1) // 2
        return scores < scores.sort(dim=1).values.gather(1, wanted)


@dataclass(frozen=True)
class CarveMask(MapMask):
    """The lesion of the partner's map, shrunk by up to half of its depth or grown by up to all of it.

    With d the signed distance to the lesion's border (negative inside) and D its largest magnitude inside, the mask is
    d < λ, λ ~ ½ U(−D/2, 0) + ½ U(0, D), drawn for each image.

    Args:
        classes: ids of the lesion; None: all but 0 and ``ignore_index``.
        ignore_index: id of pixels without a class.
        spacing: size of a pixel along each axis, in array order; default 1.

    Source: Zhang et al., CarveMix: A Simple Data Augmentation Method for Brain Lesion Segmentation (2021). Their later
    code draws λ ~ U(−D/2, D) and counts distances from the border pixels themselves.

    Example:
        >>> maps = torch.zeros(1, 9, 9, dtype=torch.long)
        >>> maps[:, 3:6, 3:6] = 1
        >>> CarveMask().place(torch.tensor([[1.0, 0.9]]), maps).sum()  # grown
        tensor(25)
    """

    classes: tuple[int, ...] | None = None
    ignore_index: int = 255
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and not self.classes:
            raise ValueError("classes must name at least one id, got none")
        if self.spacing is not None and (not self.spacing or not all(finite(s) and s > 0 for s in self.spacing)):
            raise ValueError(f"spacing must be above 0 along each axis, got {self.spacing!r}")

    def draw(self, batch: int, generator: torch.Generator | None = None) -> Float[Tensor, "b 2"]:
        """Whether the lesion shrinks or grows, and by how much."""
        return uniform(batch, 2, generator)

    def place(self, draws: Float[Tensor, "b 2"], maps: Integer[Tensor, "b *size"]) -> Bool[Tensor, "b *size"]:
        """The carved lesion of each map.

        Args:
            draws: the result of ``draw``.
            maps: labels of the partners; pixels of negative ids are never in a mask.

        Raises:
            ValueError: the spacing has another number of axes than the maps.
            ImportError: scipy isn't installed.
        """
        return self.place_each(draws, [*maps], tuple(maps.shape[1:]))

    def place_each(
        self, draws: Float[Tensor, "b 2"], maps: Sequence[Integer[Tensor, "..."]], frame: tuple[int, ...]
    ) -> Bool[Tensor, "b *frame"]:
        """``place`` for maps of any sizes that fit the frame; no lesion lies beyond them."""
        if self.spacing is not None and len(self.spacing) != len(frame):
            raise ValueError(f"spacing must have one size per axis ({len(frame)}), got {self.spacing!r}")
        amounts = torch.where(draws[:, 0] < 0.5, -draws[:, 1] / 2, draws[:, 1]).tolist()
        known, masks = [ids.cpu().numpy() for ids in maps], np.empty((len(maps), *frame), dtype=bool)

        def carve(first: int, last: int) -> None:
            for ids, amount, mask in zip(known[first:last], amounts[first:last], masks[first:last]):
                valid, lesion = block_of(ids.shape), np.zeros(frame, dtype=bool)
                lesion[valid] = self._lesion(ids)
                grown = carved(lesion, amount, self.spacing)
                mask.fill(False)
                np.logical_and(grown[valid], ids >= 0, out=mask[valid])

        split(carve, len(masks), 8 * masks.nbytes)  # distances are doubles
        return sent(torch.from_numpy(masks), maps[0].device)

    def _lesion(self, ids: Integer[np.ndarray, "*size"]) -> Bool[np.ndarray, "*size"]:
        """Where a map holds the lesion's ids."""
        if self.classes is None:
            return np.asarray((ids > 0) & (ids != self.ignore_index))
        return np.isin(ids, self.classes)


def _is_readable(*maps: Integer[Tensor, "..."]) -> bool:
    """Whether the compiled library is there and may read maps."""
    return native.library is not None and in_numpy(*maps)


def _are(ids: Integer[Tensor, "*n"], number: int) -> Bool[Tensor, "*n"]:
    """Where ids equal a number; among bytes, torch would take 256 for 0."""
    bounds = torch.iinfo(torch.uint8 if ids.dtype == torch.bool else ids.dtype)
    if not bounds.min <= number <= bounds.max:
        return torch.zeros(ids.shape, dtype=torch.bool, device=ids.device)
    return ids == number
