"""What happened to every input instance of a mix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.functional.filtering import Reason

if TYPE_CHECKING:
    from cutmix_dense.functional.fate import Entries, Verdict

__all__ = ["MixReport", "Outcome"]


class Outcome(IntEnum):
    """Kept whole, kept with a part missing, dropped, or moved to the ignored instances (or marked as a crowd)."""

    KEPT = 0
    SHRUNK = 1
    DROPPED = 2
    IGNORED = 3


@dataclass(frozen=True, eq=False)
class MixReport:
    """One row per (output, layer, instance), on the host.

    Attributes:
        output: index of the output.
        layer: layer that the instance is part of; 0 is the base.
        source: pool index of its image.
        instance: its index there; ignored instances count on after the others.
        visibility: share of the whole instance that is visible; 0 where it didn't come along or its box is broken.
        outcome: an ``Outcome``.
        reason: a ``Reason``.
    """

    output: Int[Tensor, " n"]
    layer: Int[Tensor, " n"]
    source: Int[Tensor, " n"]
    instance: Int[Tensor, " n"]
    visibility: Float[Tensor, " n"]
    outcome: Int[Tensor, " n"]
    reason: Int[Tensor, " n"]

    @classmethod
    def of(cls, entries: Entries, verdict: Verdict, outcome: Int[np.ndarray, " n"]) -> MixReport:
        """What was found of a mix's entries, as a report."""
        return cls(
            output=torch.from_numpy(entries.output),
            layer=torch.from_numpy(entries.layer),
            source=torch.from_numpy(entries.image),
            instance=torch.from_numpy(entries.position),
            visibility=torch.from_numpy(verdict.visibility.astype(np.float32)),
            outcome=torch.from_numpy(outcome.astype(np.int64)),
            reason=torch.from_numpy(verdict.reason.astype(np.int64)),
        )

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.output)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts of plain values, outcome and reason in words."""
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
        """How many instances had each (outcome, reason)."""
        return dict(Counter((row["outcome"], row["reason"]) for row in self.rows()))
