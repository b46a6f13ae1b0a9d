"""GridMix and StripeMix: two images interleaved by a regular grid or by stripes."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.checks import interval, positive
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import AreaBox, beta, uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.pool import Pool


class GridMix(MixTransform):
    """Show the partner through a regular grid of windows, within a rectangle of the image.

    Args:
        alpha: λ ~ Beta(α, α), > 0; a window takes √(1−λ) of each side of its grid unit.
        n_holes: units per side of the rectangle, a whole number ~ U(low, high), the same for rows and columns.
        cut_area: share of the image that the rectangle takes, (low, high).
        pattern: ``"holes"``, or ``"checkerboard"``: whole units alternate, and λ isn't used.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range.

    Source: Baek et al., GridMix (2021); OpenMixup's implementation for the parameters.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mix = cd.GridMix(pattern="checkerboard", n_holes=(4, 4), cut_area=(1.0, 1.0), p=1.0, num_classes=2)
        >>> _, labels = mix(torch.rand(2, 3, 32, 64), torch.tensor([0, 1]))
        >>> labels.tolist()  # every other unit
        [[0.5, 0.5], [0.5, 0.5]]
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BTCHW")

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        n_holes: tuple[int, int] = (2, 6),
        cut_area: tuple[float, float] = (0.5, 1.0),
        pattern: Literal["holes", "checkerboard"] = "holes",
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        _check_count(n_holes, "n_holes")
        if pattern not in ("holes", "checkerboard"):
            raise ValueError(f"pattern must be 'holes' or 'checkerboard', got {pattern!r}")
        self.alpha = positive(alpha, "alpha")
        self.n_holes = (int(n_holes[0]), int(n_holes[1]))
        self.cut_area = interval(cut_area, "cut_area", most=1)
        self.pattern = pattern

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw the rectangle, the number of units, and the windows' size and place."""
        source, leader = self.draw_pairs(pool, generator)
        area = AreaBox(self.cut_area, (0.5, 2.0))
        # numpy is cheaper for a few numbers
        cut = area.place(area.draw(pool.outputs, generator)[leader], pool.shared(source))[:, 0].numpy()
        lam = beta(pool.outputs, self.alpha, generator)[leader].numpy()
        draws = uniform(pool.outputs, 3, generator)[leader].numpy()
        count = _counts(draws[:, 0], self.n_holes)
        low, high = cut[:, :2], cut[:, 2:]
        if self.pattern == "checkerboard":
            lines = [_units(low[:, a], high[:, a], count, self.n_holes[1]) for a in range(2)]
            return _interleave(source, lines, pool, "xor")
        part = np.sqrt(1 - lam[:, 0])
        lines = [
            _units(low[:, a], high[:, a], count, self.n_holes[1], part, draws[:, 1 + a] * (1 - part)) for a in range(2)
        ]
        return _interleave(source, lines, pool, "and")


class StripeMix(MixTransform):
    """Alternate stripes of image and partner.

    Args:
        n_stripes: number of stripes, a whole number ~ U(low, high).
        direction: direction of the stripes: ``"horizontal"``, ``"vertical"`` or ``"random"``.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mix = cd.StripeMix(n_stripes=(4, 4), direction="vertical", p=1.0)
        >>> images = torch.tensor([0, 1]).reshape(2, 1, 1, 1).expand(-1, -1, 4, 8).float()
        >>> mix(images)[0, 0, 0].reshape(4, 2).sum(dim=1).sort().values.tolist()  # four stripes of two columns
        [0.0, 0.0, 2.0, 2.0]
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BTCHW")

    def __init__(
        self,
        *,
        n_stripes: tuple[int, int] = (2, 8),
        direction: Literal["random", "horizontal", "vertical"] = "random",
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        _check_count(n_stripes, "n_stripes")
        if direction not in ("random", "horizontal", "vertical"):
            raise ValueError(f"direction must be 'random', 'horizontal' or 'vertical', got {direction!r}")
        self.n_stripes = (int(n_stripes[0]), int(n_stripes[1]))
        self.direction = direction

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw the number of stripes, their direction, and which image comes first."""
        source, leader = self.draw_pairs(pool, generator)
        draws = uniform(pool.outputs, 3, generator)[leader].numpy()
        count = _counts(draws[:, 0], self.n_stripes)
        lying = draws[:, 1] < {"random": 0.5, "horizontal": 1.0, "vertical": 0.0}[self.direction]
        shared = pool.shared(source).numpy()
        lines = []
        for axis, striped in enumerate((lying, ~lying)):
            edges, inside = _units(np.zeros_like(count), shared[:, axis], count, self.n_stripes[1])
            there = edges[:, :-1] < shared[:, axis, None]
            first = (draws[:, 2] < 0.5)[:, None] & there
            # along the other axis, all units show the partner
            lines.append((edges, np.where(striped[:, None], inside ^ first, there)))
        return _interleave(source, lines, pool, "and")


Lines = tuple[Int[np.ndarray, "b _edges"], Bool[np.ndarray, "#b g"]]
"""Edges of cells along one axis, and which cells count as inside, one row for all or one for each."""


def _check_count(count: tuple[int, int], name: str) -> None:
    """Raise ValueError unless ``count`` is an ordered pair of whole numbers >= 1."""
    pair = isinstance(count, (tuple, list)) and len(count) == 2
    whole = pair and all(isinstance(end, Integral) and not isinstance(end, bool) for end in count)
    if not whole or not 1 <= count[0] <= count[1]:
        raise ValueError(f"{name} must be (low, high), whole numbers with 1 <= low <= high, got {count!r}")


def _counts(draws: Float[np.ndarray, " b"], limits: tuple[int, int]) -> Int[np.ndarray, " b"]:
    """Whole numbers between the limits, from draws in [0, 1)."""
    return limits[0] + (draws * (limits[1] - limits[0] + 1)).astype(np.int64)


def _units(
    low: Int[np.ndarray, " b"],
    high: Int[np.ndarray, " b"],
    count: Int[np.ndarray, " b"],
    most: int,
    part: Float[np.ndarray, " b"] | None = None,
    offset: Float[np.ndarray, " b"] | None = None,
) -> Lines:
    """Units of one axis between two ends: every other one is inside, or a part of each.

    Args:
        low: start of the first unit, pixels.
        high: end of the last unit, pixels.
        count: number of units of each sample.
        most: largest number of units, which fixes the number of cells.
        part: share of each unit that is inside, in [0, 1].
        offset: where that part starts in its unit, in [0, 1 − part].
    """
    low, high = low[:, None], high[:, None]
    unit = (high - low).astype(np.float32) / count[:, None].astype(np.float32)
    index = np.minimum(np.arange(most + 1), count[:, None])
    if part is None or offset is None:
        edges = np.rint(low.astype(np.float32) + index.astype(np.float32) * unit).astype(np.int64)
        return edges, (np.arange(most) % 2 == 0) & (edges[:, :-1] < high)
    begin = low + (index[:, :-1] + offset[:, None]) * unit
    both = np.rint(np.stack([begin, begin + part[:, None] * unit], axis=2).reshape(len(low), -1)).astype(np.int64)
    edges = np.concatenate([low, np.minimum(both, high), high], axis=1)
    return edges, np.arange(edges.shape[1] - 1)[None] % 2 == 1


def _interleave(source: Tensor, lines: list[Lines], pool: Pool, combine: Literal["and", "xor"]) -> MixPlan:
    """The plan that shows the partner where row and column are inside: both (``and``) or exactly one (``xor``)."""
    canvas = pool.sizes[source[:, 0]].numpy()
    edges, inside, reach = [], [], []
    for axis, (edge, cells) in enumerate(lines):
        whole = np.zeros((len(edge), edge.shape[1] + 2), dtype=np.int64)
        whole[:, 1:-1], whole[:, -1] = edge, canvas[:, axis]
        np.maximum.accumulate(whole, axis=1, out=whole)  # where a rounding put an edge before another
        edges.append(torch.from_numpy(whole))
        within = np.zeros((2, len(edge), edge.shape[1] + 1), dtype=bool)
        within[0, :, 1:-1] = cells
        within[1, :, 1:-1] = (edge[:, :-1] >= edge[:, :1]) & (edge[:, 1:] <= edge[:, -1:])
        inside.append(within[0])
        reach.append(within[1])
    rows, columns = inside[0][:, :, None], inside[1][:, None]
    shown = rows & columns if combine == "and" else (rows ^ columns) & reach[0][:, :, None] & reach[1][:, None]
    owner = torch.from_numpy(shown.view(np.int8))
    return MixPlan.from_grid(source, tuple(edges), owner, pool.sizes, frame=pool.frame, check=False)
