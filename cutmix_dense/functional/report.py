"""Reports: what happened to every input instance of a mix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor


class Reason(IntEnum):
    """Why an instance was filtered; ``KEPT`` if it wasn't.

    ``NOT_CARRIED``: its layer doesn't bring it. ``BROKEN_BOX``: its box has no area. ``EMPTY_MASK``: its mask has no
    pixel. ``OUTSIDE``: its box lies outside of its image. ``COVERED``: nothing of it shows. ``LOW_VISIBILITY``,
    ``TOO_SMALL``, ``ELONGATED``: it fails ``min_visibility``, ``min_size`` or ``max_aspect``. ``NOT_FINITE``: a
    coordinate is NaN or infinite.

    Example:
        >>> Reason.LOW_VISIBILITY.text
        'low visibility'
    """

    KEPT = 0
    NOT_CARRIED = 1
    BROKEN_BOX = 2
    EMPTY_MASK = 3
    OUTSIDE = 4
    COVERED = 5
    LOW_VISIBILITY = 6
    TOO_SMALL = 7
    ELONGATED = 8
    NOT_FINITE = 9

    @property
    def text(self) -> str:
        """The reason in words, as reports show it; empty for ``KEPT``."""
        return "" if self is Reason.KEPT else self.name.lower().replace("_", " ")


class Outcome(IntEnum):
    """What happened to an instance.

    ``KEPT``: kept whole. ``SHRUNK``: kept with a part missing. ``DROPPED``: not returned. ``IGNORED``: moved to the
    ignored instances, or marked as a crowd.

    Example:
        >>> Outcome(1).name
        'SHRUNK'
    """

    KEPT = 0
    SHRUNK = 1
    DROPPED = 2
    IGNORED = 3


@dataclass(frozen=True, eq=False)
class MixReport:
    """One row per (output, layer, instance), on the host. ``print(report)`` shows a table.

    Attributes:
        output: index of the output.
        layer: layer of the instance; 0 is the base.
        source: pool index of its image.
        instance: its index in that image; ignored instances are numbered after the others.
        visibility: visible share of the whole instance; 0 if it didn't come along or its box is broken.
        outcome: an ``Outcome``.
        reason: a ``Reason``.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> targets = [{"boxes": torch.tensor([[2.0, 2.0, 9.0, 7.0]]), "labels": torch.tensor([1])}] * 2
        >>> mix, generator = cd.CutMix(p=1.0), torch.Generator().manual_seed(1)
        >>> _, _, report = mix(torch.rand(2, 3, 12, 16), targets, generator=generator, return_report=True)
        >>> len(report), sum(report.counts().values())
        (4, 4)
    """

    output: Int[Tensor, " n"]
    layer: Int[Tensor, " n"]
    source: Int[Tensor, " n"]
    instance: Int[Tensor, " n"]
    visibility: Float[Tensor, " n"]
    outcome: Int[Tensor, " n"]
    reason: Int[Tensor, " n"]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.output)

    def __str__(self) -> str:
        lines = [f"{'output':>6} {'layer':>5} {'source':>6} {'instance':>8} {'visibility':>10}  outcome  reason"]
        for row in self.rows():
            numbers = f"{row['output']:6} {row['layer']:5} {row['source']:6} {row['instance']:8}"
            lines.append(f"{numbers} {row['visibility']:10.3f}  {row['outcome']:<8} {row['reason']}".rstrip())
        return "\n".join(lines)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts of plain values, with outcome and reason in words."""
        columns = (self.output, self.layer, self.source, self.instance, self.visibility, self.outcome, self.reason)
        for output, layer, source, instance, visibility, outcome, reason in zip(*(c.tolist() for c in columns)):
            yield {
                "output": output,
                "layer": layer,
                "source": source,
                "instance": instance,
                "visibility": visibility,
                "outcome": Outcome(outcome).name.lower(),
                "reason": Reason(reason).text,
            }

    def counts(self) -> dict[tuple[str, str], int]:
        """Number of instances by (outcome, reason)."""
        return dict(Counter((row["outcome"], row["reason"]) for row in self.rows()))
