"""CutMix in the least Python: slices of torch and the arithmetic of one box. A yardstick for ours, not a peer.

Nothing is checked, there is one region and one rule, no report, no other kind of target: what is left of a mix's cost
when all that is taken away, on the machine that the benchmark runs on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tools.benchmarking.samples import Batch
from tools.benchmarking.timing import Contender

__all__ = ["draw", "mix_into", "mix_padded", "mix_ragged", "plain_contenders", "swap_within"]

DOES = "a yardstick: slices of torch, nothing checked"


def draw(batch: int, size: tuple[int, int], exchange: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Partners (B,), the image before or in exchanging pairs; boxes (B, 4) xyxy, whole pixels, as of ``BetaBox(1)``."""
    share, centre = torch.rand(batch, generator=generator), torch.rand(2, batch, generator=generator)
    if exchange:
        order, partner = torch.randperm(batch - batch % 2, generator=generator), torch.arange(batch)
        partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
        first = torch.minimum(partner, torch.arange(batch))
        share, centre = share[first], centre[:, first]
        share[partner == torch.arange(batch)] = 1  # of an odd number the last one stays as it is
    else:
        partner = torch.arange(batch).roll(1)
    height, width = size
    y, x, half = centre[0] * height, centre[1] * width, 0.5 * (1 - share).sqrt()
    low = torch.stack([x - half * width, y - half * height], dim=1)
    high = torch.stack([x + half * width, y + half * height], dim=1)
    return partner, torch.cat([low.clamp_(min=0), torch.minimum(high, torch.tensor([width, height]))], dim=1).round_()


def mix_into(out: Tensor, images: Tensor, partner: Tensor, boxes: Tensor) -> None:
    """Copy the batch, and into each image its partner's patch."""
    out.copy_(images)
    for index, (mate, (x0, y0, x1, y1)) in enumerate(zip(partner.tolist(), boxes.int().tolist())):
        out[index, :, y0:y1, x0:x1] = images[mate, :, y0:y1, x0:x1]


def swap_within(images: Tensor, partner: Tensor, boxes: Tensor) -> None:
    """Exchange the patches of each pair."""
    for index, (mate, (x0, y0, x1, y1)) in enumerate(zip(partner.tolist(), boxes.int().tolist())):
        if index < mate:
            mine, theirs = images[index, :, y0:y1, x0:x1], images[mate, :, y0:y1, x0:x1]
            held = mine.clone()
            mine.copy_(theirs)
            theirs.copy_(held)


def mix_padded(
    boxes: Tensor, labels: Tensor, partner: Tensor, region: Tensor, least: float = 0.1
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (B, 2·N, 4) and labels of bases and partners, and which are kept (at least a tenth of them shows)."""
    patch, theirs = region[:, None], boxes[partner]
    pasted, hidden = _clipped(theirs, patch), _clipped(boxes, patch)
    whole = _area(boxes)
    shown, seen = whole - _area(hidden), _area(pasted)
    kept = torch.cat([shown >= least * whole, seen >= least * whole[partner]], dim=1)
    every = torch.cat([_shrunk(boxes, patch), pasted], dim=1)
    sides = every[..., 2:] - every[..., :2]
    return every, torch.cat([labels, labels[partner]], dim=1), kept & (sides >= 1).all(dim=2)


def mix_ragged(targets: Sequence[dict[str, Tensor]], partner: Tensor, region: Tensor) -> list[dict[str, Tensor]]:
    """The same for a list of dicts with as many boxes each."""
    boxes = torch.stack([target["boxes"] for target in targets])
    labels = torch.stack([target["labels"] for target in targets])
    boxes, labels, kept = mix_padded(boxes, labels, partner, region)
    counts = kept.sum(dim=1).tolist()
    rows = zip(boxes[kept].split(counts), labels[kept].split(counts))
    return [{"boxes": box, "labels": label} for box, label in rows]


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _clipped(boxes: Tensor, patch: Tensor) -> Tensor:
    low, high = torch.maximum(boxes[..., :2], patch[..., :2]), torch.minimum(boxes[..., 2:], patch[..., 2:])
    return torch.cat([low, torch.maximum(low, high)], dim=-1)


def _shrunk(boxes: Tensor, patch: Tensor) -> Tensor:
    """What is left of boxes of which the patch covers a whole side."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    left, top, right, bottom = patch.unbind(-1)
    wide, high = (left <= x0) & (right >= x1), (top <= y0) & (bottom >= y1)
    return torch.stack(
        [
            torch.where(high & (left <= x0) & (right > x0), right, x0),
            torch.where(wide & (top <= y0) & (bottom > y0), bottom, y0),
            torch.where(high & (right >= x1) & (left < x1), left, x1),
            torch.where(wide & (bottom >= y1) & (top < y1), top, y1),
        ],
        dim=-1,
    )


def plain_contenders(job: str, batches: Sequence[Batch], seed: int = 0) -> list[Contender]:
    """The rows of a batch job on the host; none for jobs that it doesn't do."""
    if job not in ("images", "boxes") or batches[0].images.device.type != "cpu":
        return []

    def contender(
        name: str, exchange: bool, boxes: Callable[[Batch, Tensor, Tensor], Any] | None, given: bool = False
    ) -> Contender:
        def make() -> Callable[[int], Any]:
            generator = torch.Generator().manual_seed(seed)
            out = torch.empty_like(batches[0].images)

            def drawn() -> tuple[Tensor, Tensor]:
                count, _, height, width = batches[0].images.shape
                return draw(count, (height, width), exchange, generator)

            held = [drawn() for _ in batches] if given else []

            def call(index: int) -> Any:
                batch = batches[index]
                partner, region = held[index] if given else drawn()
                if exchange:
                    swap_within(batch.images, partner, region)
                else:
                    mix_into(out, batch.images, partner, region)
                return boxes(batch, partner, region) if boxes else None

            return call

        return Contender(f"plain slices {name}", make, f"{DOES}, nothing drawn" if given else DOES)

    def padded(batch: Batch, partner: Tensor, region: Tensor) -> Any:
        return mix_padded(batch.boxes, batch.labels, partner, region)

    def ragged(batch: Batch, partner: Tensor, region: Tensor) -> Any:
        return mix_ragged(batch.targets, partner, region)

    if job == "images":
        return [
            contender("CutMix, out=", False, None),
            contender("CutMix, in place (swap)", True, None),
            contender("alone, out=", False, None, given=True),
            contender("alone, in place (swap)", True, None, given=True),
        ]
    return [
        contender("CutMix + padded boxes, out=", False, padded),
        contender("CutMix + ragged boxes, out=", False, ragged),
        contender("CutMix + padded boxes, in place (swap)", True, padded),
        contender("CutMix + ragged boxes, in place (swap)", True, ragged),
    ]
