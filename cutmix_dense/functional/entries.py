"""One row per (output, layer, instance of that layer's image): what is measured, judged and handed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int


@dataclass(frozen=True)
class Entries:
    """The rows, on the host, ordered by output, layer and instance.

    Attributes:
        output: index of the output.
        layer: the layer that the instance is part of.
        image: pool index of that layer's image.
        position: index of the instance in its image, whose ignored instances follow the others.
        flat: index of the instance in the whole pool.
        ignored: whether it is one of the image's ignored instances.
        outputs: number of outputs.
    """

    output: Int[np.ndarray, " e"]
    layer: Int[np.ndarray, " e"]
    image: Int[np.ndarray, " e"]
    position: Int[np.ndarray, " e"]
    flat: Int[np.ndarray, " e"]
    ignored: Bool[np.ndarray, " e"]
    outputs: int

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.output)

    @classmethod
    def of(cls, counts: Sequence[int], ignored_counts: Sequence[int], source: Int[np.ndarray, "b s"]) -> Entries:
        """The rows of a plan's ``source``.

        Args:
            counts: number of instances of each pool image, ignored ones not counted.
            ignored_counts: number of ignored instances of each.
            source: pool index per layer, -1 for none.
        """
        own = np.array(counts, dtype=np.int64)
        each = own + np.array(ignored_counts, dtype=np.int64)
        start = each.cumsum() - each
        images = source.reshape(-1)
        layers = source.shape[1] or 1
        per_layer = each[images] * (images >= 0) if each.size else np.zeros_like(images)
        slot = np.arange(images.size).repeat(per_layer)
        position = np.arange(slot.size) - (per_layer.cumsum() - per_layer)[slot]
        image = images[slot]
        return cls(
            output=slot // layers,
            layer=slot % layers,
            image=image,
            position=position,
            flat=start[image] + position,
            ignored=position >= own[image],
            outputs=source.shape[0],
        )

    def take(self, rows: Int[np.ndarray, " k"]) -> Entries:
        """Some of the rows, in any order, perhaps repeated."""
        names = ("output", "layer", "image", "position", "flat", "ignored")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})
