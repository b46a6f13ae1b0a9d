"""Draw who owns which pixel: outlines of a plan, and what each source shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor
from torchvision.utils import draw_segmentation_masks

from cutmix_dense.visualization.pictures import as_rgb, grow_mask, line_width_for, picture_size, resize_nearest

if TYPE_CHECKING:
    from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import weighs


def draw_region(
    image: UInt8[Tensor, "3 h w"], plan: MixPlan, index: int, *, width: int | None = None
) -> UInt8[Tensor, "3 h w"]:
    """Draw the outline of a mix: where one source image ends and the next begins.

    A black line with white dashes, drawn between the pixels of different owners, so it works for rectangles and for
    free-form masks alike.

    Args:
        image: drawing of output `index` of the plan, at any scale.
        plan: the plan of the mix.
        index: which output of the plan.
        width: width of the line in pixels.

    Returns:
        A new drawing of the same size.
    """
    owner = owners_of(plan, index)
    return draw_outline(as_rgb(image), resize_nearest(owner, picture_size(image)), width)


def draw_outline(
    pixels: UInt8[Tensor, "3 h w"], areas: Int[Tensor, "h w"], width: int | None
) -> UInt8[Tensor, "3 h w"]:
    """A dashed line on the borders between areas of different numbers."""
    edge = torch.zeros(areas.shape, dtype=torch.bool)
    vertical = areas[:, 1:] != areas[:, :-1]
    horizontal = areas[1:, :] != areas[:-1, :]
    edge[:, 1:] |= vertical
    edge[:, :-1] |= vertical
    edge[1:, :] |= horizontal
    edge[:-1, :] |= horizontal
    if not edge.any():
        return pixels
    # The edge itself is two pixels wide, one on either side.
    line = grow_mask(edge, ((width or line_width_for(picture_size(areas))) - 1) // 2)
    height, columns = areas.shape
    dashes = ((torch.arange(height)[:, None] + torch.arange(columns)[None, :]) // 8) % 2 == 0
    pixels = draw_segmentation_masks(pixels, line, 1.0, (0, 0, 0))
    return draw_segmentation_masks(pixels, line & dashes, 1.0, (255, 255, 255))


def owners_of(plan: MixPlan, index: int) -> Int[Tensor, "h w"]:
    """Layer that shows in each pixel of one output's canvas, -1 for fill."""
    height, width = (int(side) for side in plan.canvas[index].tolist())
    return plan.owner_map()[index, :height, :width].cpu().long()


def _shows(plan: MixPlan, index: int, layer: int) -> Bool[Tensor, "h w"]:
    """The pixels of one output's canvas in which a layer shows: those it owns, and those it shows through."""
    if not weighs(plan):
        return owners_of(plan, index) == layer
    height, width = (int(side) for side in plan.canvas[index].tolist())
    return plan.pixel_weights()[index, layer, :height, :width].cpu() > 0


def source_letters(plan: MixPlan, index: int) -> dict[int, str]:
    """What an output's tags call its images: "a" the base, "b" the first partner, and so on, by pool index."""
    letters: dict[int, str] = {}
    for source in [int(plan.source[index, 0]), *partner_sources(plan, index)]:
        letters.setdefault(source, chr(ord("a") + len(letters) % 26))
    return letters


def shown_pixels(
    plan: MixPlan, index: int, source: int, size: tuple[int, int], *, layers: Iterable[int] | None = None
) -> Bool[Tensor, "h w"]:
    """Which pixels of a source image can be seen in an output of the plan.

    Args:
        plan: the plan of the mix, of images (two axes).
        index: which output.
        source: index of the source image in the pool.
        size: (height, width) of the source image.
        layers: look at these layers only; by default at all that show this source.

    Returns:
        True where the centre of the source's pixel lies on a canvas pixel in which the layer shows.
    """
    height, width = (int(side) for side in plan.canvas[index].tolist())
    seen = torch.zeros(size, dtype=torch.bool)
    chosen = range(plan.source.shape[1]) if layers is None else layers
    for layer in chosen:
        if int(plan.source[index, layer]) != source:
            continue
        scale = plan.scale[index, layer].cpu().double()
        shift = plan.shift[index, layer].cpu().double()
        rows = torch.floor(scale[0] * (torch.arange(size[0]) + 0.5) + shift[0]).long()
        columns = torch.floor(scale[1] * (torch.arange(size[1]) + 0.5) + shift[1]).long()
        on_rows, on_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        hit = _shows(plan, index, layer)[rows.clamp(0, height - 1)][:, columns.clamp(0, width - 1)]
        seen |= hit & on_rows[:, None] & on_columns[None, :]
    return seen


def partner_sources(plan: MixPlan, index: int) -> list[int]:
    """Pool indices of the images that show in an output besides its base, in the order of their layers."""
    result: list[int] = []
    for layer in range(1, plan.source.shape[1]):
        source = int(plan.source[index, layer])
        if source >= 0 and source not in result and bool(_shows(plan, index, layer).any()):
            result.append(source)
    return result
