"""A rectangle chosen by the objects that it cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.checks import finite, whole
from cutmix_dense.regions.base import ObjectBoxes, RegionSampler, uniform
from cutmix_dense.regions.boxes import AreaBox
from cutmix_dense.regions.several import MultiBox


@dataclass(frozen=True)
class ObjectBox(RegionSampler):
    """A rectangle chosen to cut few objects and to carry whole ones of the partner.

    Half of the candidates are drawn as by ``AreaBox``, half lie round an object of the partner with a random margin.
    Those that carry a whole object come first, then those that cut the fewest objects of base and partner; ties go to
    the first drawn. A rectangle cuts an object if it covers part of it. Without objects this is an ``AreaBox``.

    Args:
        area: share of the image's area, (low, high), of the drawn half; a candidate larger than high is taken only if
            all are.
        aspect: see ``AreaBox``.
        margin: largest margin round a partner's object, as a fraction of its sides, >= 0; small objects get enough for
            the least area.
        candidates: number of rectangles to choose from, >= 2.

    Example:
        >>> one = ObjectBoxes(torch.tensor([[[8.0, 8.0, 16.0, 20.0]]]), torch.tensor([[True]]))
        >>> box, none = ObjectBox(), ObjectBoxes(torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.bool))
        >>> draws = box.draw(1, torch.Generator().manual_seed(0))
        >>> y0, x0, y1, x1 = box.place(draws, torch.tensor([[32, 48]]), base=none, partner=one)[0, 0].tolist()
        >>> y0 <= 8 and x0 <= 8 and y1 >= 16 and x1 >= 20  # the partner's object comes whole
        True
    """

    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] | None = (0.3, 1 / 0.3)
    margin: float = 0.25
    candidates: int = 32

    needs_objects: ClassVar[bool] = True

    def __post_init__(self) -> None:
        AreaBox(self.area, self.aspect)
        if not (finite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin must be at least 0, got {self.margin!r}")
        whole(self.candidates, "candidates", 2)

    def draw(self, batch: int, generator: torch.Generator | None = None, ndim: int = 2) -> Float[Tensor, "b k"]:
        """The draws of every candidate."""
        anchored = self.candidates // 2
        free = MultiBox(AreaBox(self.area, self.aspect), self.candidates - anchored).draw(batch, generator, ndim)
        return torch.cat([uniform(batch, anchored * (1 + 2 * ndim), generator), free], dim=1)

    def place(
        self,
        draws: Float[Tensor, "b k"],
        sizes: Int[Tensor, "b d"],
        base: ObjectBoxes | None = None,
        partner: ObjectBoxes | None = None,
    ) -> Int[Tensor, "b 1 ends"]:
        """One rectangle per sample."""
        if base is None or partner is None:
            raise ValueError("ObjectBox needs the objects of base and partner; got none")
        anchored, ndim = self.candidates // 2, sizes.shape[1]
        split = anchored * (1 + 2 * ndim)
        free = MultiBox(AreaBox(self.area, self.aspect), self.candidates - anchored).place(draws[:, split:], sizes)
        anchors = draws[:, :split].reshape(len(draws), anchored, 1 + 2 * ndim)
        round_objects = self._round_objects(anchors, sizes, partner, free[:, :1])
        candidates = torch.cat([round_objects, free], dim=1)

        _, base_cut = self._covered(candidates, base)
        whole, partner_cut = self._covered(candidates, partner)
        limit = self.area[1] * sizes.prod(dim=1, keepdim=True)
        too_large = (candidates[..., ndim:] - candidates[..., :ndim]).prod(dim=-1) > limit
        most = base.present.shape[1] + partner.present.shape[1] + 1
        cost = base_cut + partner_cut + most * (whole == 0) + 2 * most * too_large
        first = torch.arange(self.candidates, dtype=torch.float32, device=cost.device)
        best = (cost + first / self.candidates).argmin(dim=1)  # ties: the first drawn
        return candidates[torch.arange(len(draws), device=best.device), best][:, None]

    def _round_objects(
        self,
        draws: Float[Tensor, "b m k"],
        sizes: Int[Tensor, "b d"],
        partner: ObjectBoxes,
        spare: Int[Tensor, "b 1 ends"],
    ) -> Int[Tensor, "b m ends"]:
        """Rectangles round random objects of the partner; ``spare`` for partners without objects."""
        if partner.present.shape[1] == 0:
            return spare.expand(-1, draws.shape[1], -1)
        count = partner.present.sum(dim=1, keepdim=True)
        order = partner.present.long().argsort(dim=1, descending=True, stable=True)
        pick = torch.gather(order, 1, (draws[..., 0] * count).long().clamp(max=partner.present.shape[1] - 1))
        ndim = sizes.shape[1]
        box = torch.gather(partner.boxes.to(draws.dtype), 1, pick[..., None].expand(-1, -1, 2 * ndim))
        side = box[..., ndim:] - box[..., :ndim]
        limit = sizes[:, None]
        low = box[..., :ndim] - draws[..., 1 : 1 + ndim] * self.margin * side
        high = box[..., ndim:] + draws[..., 1 + ndim :] * self.margin * side
        least = self.area[0] * limit.prod(dim=2) / (high - low).prod(dim=2).clamp(min=1)
        grown = (least.clamp(min=1) ** (1 / ndim) - 1)[..., None] * (high - low) / 2
        low, high = (low - grown).floor().clamp(min=0).long(), (high + grown).ceil().clamp(min=0).long()
        rectangle = torch.cat([torch.minimum(low, limit), torch.minimum(high, limit)], dim=-1)
        usable = ((rectangle[..., ndim:] - rectangle[..., :ndim]) > 0).all(dim=-1) & (count > 0)
        return torch.where(usable[..., None], rectangle, spare)

    @staticmethod
    def _covered(
        rectangles: Int[Tensor, "b m ends"], objects: ObjectBoxes
    ) -> tuple[Int[Tensor, "b m"], Int[Tensor, "b m"]]:
        """Number of objects that each rectangle covers wholly, and in part."""
        boxes = objects.boxes[:, None]
        rectangle = rectangles[:, :, None].to(boxes.dtype)
        (box_low, box_high), (low, high) = (part.chunk(2, dim=-1) for part in (boxes, rectangle))
        touched = (torch.minimum(high, box_high) > torch.maximum(low, box_low)).all(dim=-1) & objects.present[:, None]
        inside = (low <= box_low) & (box_high <= high)
        whole = touched & inside.all(dim=-1)
        return whole.sum(dim=2), (touched & ~whole).sum(dim=2)
