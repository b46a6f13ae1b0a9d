"""Mosaic: a grid of images, each with its own scale and crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from cutmix_dense.checks import finite, sides, zoom
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.pool import Pool

_MOST_CELLS = 1024
"""Largest number of cells; every output shows an image in each."""


class Mosaic(MixTransform):
    """Arrange images of the batch in rows × columns round a jittered centre.

    Images in the outer rows and columns touch the inner lines and are cut at the canvas, as in YOLO; in between, their
    place is drawn. The base may get any cell. If the batch has too few images, they repeat with other crops.
    YOLO makes a canvas twice as large and crops it later: that is ``expand=2, scale=(0.5, 0.5)``, followed by an
    ``Affine(size=...)``. By default the canvas is the output.

    Args:
        grid: (rows, columns); (2, 2) is YOLO's mosaic of four.
        jitter: how far an inner grid line strays, as a fraction of a cell, in [0, 1). 0.5 puts the centre of a 2 × 2
            mosaic within the middle half of the canvas, as YOLO does.
        scale: scale of each image ~ U(low, high), relative to the scale that fits it into the canvas, aspect kept; a
            factor from 0.01 to 30, not a size in pixels.
        size: (height, width) of the output; default the base's own size.
        expand: sides of a mosaic relative to ``size``, or to the base's own, >= 1. Unmixed images aren't larger: they
            lie at the origin of the canvas, whose rest is padding (in a list they keep their size).
        p: probability that an image becomes a mosaic, per sample; other images are fitted into ``size``.
        fill: value of pixels that no image covers. None: 114 for bytes, the same grey for other unsigned integers, 0
            for signed ones and floating point.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range.

    Source: Bochkovskiy et al., YOLOv4 (2020); Ultralytics' and MMDetection's mosaics for the defaults.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mosaic = cd.Mosaic(grid=(2, 2), size=(64, 96))
        >>> mosaic([torch.rand(3, 40, 60), torch.rand(3, 32, 48), torch.rand(3, 50, 50)])[0].shape
        torch.Size([3, 64, 96])
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BTCHW")

    def __init__(
        self,
        *,
        grid: tuple[int, int] = (2, 2),
        jitter: float = 0.5,
        scale: tuple[float, float] = (0.5, 1.5),
        size: tuple[int, int] | None = None,
        expand: float = 1.0,
        p: float = 1.0,
        fill: float | Sequence[float] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(p=p, fill=fill, **common)
        self.grid = rows, columns = sides(grid, "grid", f"(rows, columns) with 2 to {_MOST_CELLS} cells")
        if not 2 <= rows * columns <= _MOST_CELLS:
            raise ValueError(f"grid must be (rows, columns) with 2 to {_MOST_CELLS} cells, got {grid!r}")
        if not (finite(jitter) and 0 <= jitter < 1):
            raise ValueError(f"jitter must lie in [0, 1), got {jitter!r}")
        if not (finite(expand) and expand >= 1):
            raise ValueError(f"expand must be at least 1, got {expand!r}")
        self.jitter = float(jitter)
        self.scale = zoom(scale, "scale", "1 fits an image into the canvas; a size in pixels is size=(height, width)")
        self.size = None if size is None else sides(size, "size", "(height, width) in pixels")
        self.expand = float(expand)

    @property
    def partners(self) -> int:
        """One image per cell, less the base."""
        return self.grid[0] * self.grid[1] - 1

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw the grid lines, the cell of each image, and its scale and place."""
        batch, (rows, columns) = pool.outputs, self.grid
        cells, lines = rows * columns, rows + columns - 2
        partner, _ = self.draw_partners(pool, generator, self.partners)
        draws = uniform(batch, lines + 4 * cells, generator).numpy()  # cheaper for a few numbers
        order, scales, place = (draws[:, lines + n * cells : lines + m * cells] for n, m in ((0, 1), (1, 2), (2, 4)))

        source = np.concatenate([np.arange(batch)[:, None], partner.numpy()], axis=1)
        mixed = source[:, 1:2] >= 0
        sizes = pool.sizes.numpy()[np.maximum(source, 0)].astype(np.float64)
        canvas = pool.sizes[:batch].numpy() if self.size is None else np.array([self.size] * batch, dtype=np.int64)
        fits = (canvas[:, None] / sizes).min(axis=2)  # scale that fits each image into the output, not yet expanded
        frame = pool.frame if self.size is None else self.size
        if self.expand > 1:
            canvas = np.where(mixed, np.rint(canvas * self.expand).astype(np.int64), canvas)
            fits = np.where(mixed, fits * self.expand, fits)
            frame = tuple(round(side * self.expand) for side in frame)
        inner = (draws[:, : rows - 1], draws[:, rows - 1 : lines])
        edges = tuple(self._lines(part, canvas[:, axis], mixed) for axis, part in enumerate(inner))
        layer_of_cell = np.where(mixed, order.argsort(axis=1), np.arange(cells))
        cell_of_layer = layer_of_cell.argsort(axis=1)

        drawn = self.scale[0] + scales * (self.scale[1] - self.scale[0])
        scale = fits * np.where(mixed, drawn, 1.0)
        if self.size is None:  # an image that is left alone keeps every pixel
            scale = np.where(mixed, scale, 1.0)
        place, output = place.reshape(batch, cells, 2), np.arange(batch)[:, None]
        shift = np.empty((batch, cells, 2))
        for axis, (edge, index) in enumerate(zip(edges, np.divmod(cell_of_layer, columns))):
            low, high = edge[output, index], edge[output, index + 1]
            anchor = self._anchor(index, self.grid[axis], place[..., axis])
            shift[..., axis] = low + anchor * (high - low - scale * sizes[..., axis])
        shift = np.where(mixed[..., None], np.rint(shift), 0.0)
        return MixPlan.from_grid(
            torch.from_numpy(source),
            tuple(map(torch.from_numpy, edges)),
            torch.from_numpy(layer_of_cell.reshape(batch, rows, columns)),
            pool.sizes,
            frame=frame,
            scale=torch.from_numpy(scale[..., None].astype(np.float32).repeat(2, axis=2)),
            shift=torch.from_numpy(shift.astype(np.float32)),
            canvas=torch.from_numpy(canvas),
            check=max(frame) * self.scale[1] > 2**20,  # else right as drawn: no image reaches far beyond its canvas
        )

    def _lines(
        self, draws: Float[np.ndarray, "b n"], length: Int[np.ndarray, " b"], mixed: Bool[np.ndarray, "b 1"]
    ) -> Int[np.ndarray, "b _lines"]:
        """Edges of the cells along one axis; an unmixed image has one cell that isn't empty."""
        count = draws.shape[1] + 1
        at = (np.arange(1, count) + (2 * draws - 1) * self.jitter) / count
        edges = np.zeros((len(length), count + 1), dtype=np.int64)
        edges[:, 1:] = length[:, None]
        edges[:, 1:-1] = np.where(mixed, np.rint(at * length[:, None]), length[:, None])
        return edges

    @staticmethod
    def _anchor(index: Int[np.ndarray, "b s"], count: int, drawn: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b s"]:
        """Where each image is anchored in its cell: 0 at the low edge, 1 at the high edge."""
        if count == 1:
            return drawn
        return np.where(index == 0, 1.0, np.where(index == count - 1, 0.0, drawn))
