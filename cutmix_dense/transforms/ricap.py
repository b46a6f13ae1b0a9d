"""RICAP: random crops of four images round one point."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from cutmix_dense.arrays.host import HOST
from cutmix_dense.checks import positive
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import beta, uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.pool import Pool


class RICAP(MixTransform):
    """Join four images at a drawn point; each fills its corner with a random, unscaled crop.

    The base fills the top left corner (the paper permutes all four). A corner larger than its image leaves fill.

    Args:
        beta: the point's coordinates ~ Beta(β, β) of the image's sides; > 0.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range.

    Source: Takahashi et al., RICAP (2018): β = 0.3.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> _, labels = cd.RICAP(beta=1.0, p=1.0, num_classes=4)(torch.rand(4, 3, 32, 48), torch.arange(4))
        >>> labels.sum(dim=1).tolist()  # four shares of each output
        [1.0, 1.0, 1.0, 1.0]
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BTCHW")

    def __init__(self, *, beta: float = 0.3, p: float = 0.5, **common: Any) -> None:
        super().__init__(p=p, **common)
        self.beta = positive(beta, "beta")

    @property
    def partners(self) -> int:
        """One image per corner, less the base."""
        return 3

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw the point, and the place of each crop."""
        batch = pool.outputs
        partner, _ = self.draw_partners(pool, generator, self.partners)
        point = torch.cat([beta(batch, self.beta, generator) for _ in range(2)], dim=1)
        crops = uniform(batch, 8, generator).reshape(batch, 4, 2)
        source = torch.cat([torch.arange(batch, device=HOST)[:, None], partner], dim=1)
        sizes = pool.sizes[source.clamp(min=0)]
        canvas = sizes[:, 0]
        mixed = partner[:, :1] >= 0
        inner = torch.where(mixed, (point * canvas).round().long(), canvas)
        edges = tuple(
            torch.stack([torch.zeros_like(inner[:, axis]), inner[:, axis], canvas[:, axis]], dim=1) for axis in range(2)
        )
        # row and column of each layer's cell
        corner = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], device=HOST)
        low = torch.stack([edges[axis][:, corner[:, axis]] for axis in range(2)], dim=2)
        high = torch.stack([edges[axis][:, corner[:, axis] + 1] for axis in range(2)], dim=2)
        room = (sizes - (high - low)).clamp(min=0)
        taken = torch.where(mixed[..., None], (crops * (room + 1)).long(), 0)
        owner = torch.arange(4, device=HOST).reshape(1, 2, 2).expand(batch, -1, -1)
        shift = (low - taken).float()
        placed: Any = {"frame": pool.frame, "scale": torch.ones_like(shift), "shift": shift, "check": False}
        return MixPlan.from_grid(source, edges, owner, pool.sizes, **placed)
