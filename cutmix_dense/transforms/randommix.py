"""RandomMix: one of several mixing transforms for each batch, until it is time to stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torchvision.transforms import v2

from cutmix_dense.checks import finite
from cutmix_dense.randomness import call_generator
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.mixup import MixUp
from cutmix_dense.transforms.settings import NamedSettings

__all__ = ["RandomMix"]


class RandomMix(NamedSettings, v2.Transform):
    """Draws one of several transforms for each batch, by weight, and closes mixing for the end of a training.

    Args:
        transforms: mixing transforms, each with its own settings.
        weights: how often each is drawn, >= 0, default alike.
        total: length of the training, in whatever steps ``set_progress`` counts (epochs, iterations).
        close_last: number of last steps without mixing; needs ``total``.

    If one of them is a ``MixUp``, ``instance_weights`` is set for all: instances carry ``weight`` in every batch.
    Semantic maps come as the drawn transform gives them: as pairs or probabilities after a ``MixUp``, else as maps.

    Raises:
        TypeError: something else than mixing transforms.
        ValueError: an argument out of range.

    Source: the closing of Mosaic and MixUp for the last epochs is YOLOX's.
    """

    def __init__(
        self,
        transforms: Sequence[MixTransform],
        weights: Sequence[float] | None = None,
        total: int | None = None,
        close_last: int = 0,
    ) -> None:
        super().__init__()
        if not transforms or not all(isinstance(transform, MixTransform) for transform in transforms):
            raise TypeError(f"transforms must be mixing transforms, at least one, got {transforms!r}")
        layouts = sorted({transform.layout for transform in transforms})
        if len(layouts) > 1:
            raise ValueError(f"transforms must be of one layout, got {layouts}")
        weights = [1.0] * len(transforms) if weights is None else list(weights)
        if len(weights) != len(transforms) or not all(finite(w) and w >= 0 for w in weights) or sum(weights) <= 0:
            raise ValueError(f"weights must be {len(transforms)} numbers >= 0, not all 0, got {weights!r}")
        if close_last < 0 or (close_last > 0 and (total is None or total < close_last)):
            raise ValueError(f"close_last must be at least 0 and at most total = {total!r}, got {close_last!r}")
        self.transforms = torch.nn.ModuleList(transforms)
        self.weights = [float(weight) for weight in weights]
        self.total = total
        self.close_last = close_last
        if any(isinstance(transform, MixUp) or transform.instance_weights for transform in transforms):
            for transform in transforms:
                transform.instance_weights = True

    @property
    def members(self) -> list[MixTransform]:
        """The transforms."""
        return [cast("MixTransform", transform) for transform in self.transforms]

    @property
    def partners(self) -> int:
        """How many other images an output may be mixed with."""
        return max(member.partners for member in self.members)

    def set_progress(self, step: int) -> None:
        """Say which step begins (counted from 0): the last ``close_last`` of ``total`` don't mix, in workers either."""
        closed = self.close_last > 0 and self.total is not None and step >= self.total - self.close_last
        self.close(closed)

    @property
    def closed(self) -> bool:
        """Whether mixing is closed: that of all transforms."""
        return all(transform.closed for transform in self.members)

    def close(self, closed: bool = True) -> None:
        """Stop mixing (or start again) at once, in every copy; see ``MixTransform.close``."""
        for transform in self.members:
            transform.close(closed)

    def choose(self, generator: torch.Generator) -> MixTransform:
        """One of the transforms, by weight."""
        weights = torch.tensor(self.weights, dtype=torch.float64, device="cpu")
        index = int(torch.multinomial(weights, 1, generator=generator))
        return self.members[index]

    def forward(self, *inputs: Any, generator: torch.Generator | None = None, **options: Any) -> Any:
        """Mix a batch by one of the transforms; arguments and result as theirs."""
        generator = call_generator(generator)
        return self.choose(generator)(*inputs, generator=generator, **options)

    def extra_repr(self) -> str:
        """The weights and the schedule; the transforms are shown below."""
        return f"weights={self.weights}, total={self.total}, close_last={self.close_last}"
