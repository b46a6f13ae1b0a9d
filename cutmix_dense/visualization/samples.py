"""Draw a picture with its annotations: boxes, names, masks, keypoints, semantic and panoptic maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import ImageDraw
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf
from torchvision.utils import draw_keypoints, draw_segmentation_masks

from cutmix_dense.functional.segments import INFO_KEY, has_segments_only, segments_as_instances
from cutmix_dense.visualization.boxes import FAR, Outline, draw_outlines, outline_of_mask, outlines_of
from cutmix_dense.visualization.colors import IGNORED, Color, class_colors, color_at, line_color_for, text_color_on
from cutmix_dense.visualization.masks import draw_masks
from cutmix_dense.visualization.pictures import (
    as_rgb,
    line_width_for,
    picture_size,
    resize_image,
    resize_nearest,
    size_to_draw,
)
from cutmix_dense.visualization.regions import draw_outline
from cutmix_dense.visualization.text import (
    font_for_texts,
    load_font,
    measure_text,
    place_labels,
    rect_area,
    shorten,
    spell_out,
)

if TYPE_CHECKING:
    pass


def draw_sample(
    image: Tensor,
    target: Mapping[str, Any] | Tensor | None,
    classes: Sequence[str] | None = None,
    *,
    fit: tuple[int, int] | None = None,
    min_size: int = 480,
    boxes: bool = True,
    names: bool = True,
    masks: bool = True,
    keypoints: bool = True,
    semantic: bool = False,
    tags: Sequence[str] | None = None,
    dim: Bool[Tensor, "h w"] | None = None,
    regions: Int[Tensor, "h w"] | None = None,
    colors: Sequence[Color] | None = None,
    alpha: float = 0.42,
    ignore_index: int = 255,
    font_size: int | None = None,
    font: str | None = None,
) -> UInt8[Tensor, "3 H W"]:
    """Draw one image with its annotations.

    A visibility is written behind the class name as a percentage when something of the instance is hidden. What a mix
    put under ``target["ignored"]`` is drawn in grey.

    Args:
        image: (3, H, W) or (1, H, W), uint8 or float in [0, 1].
        target: a dict as detectors take it (any of ``boxes`` (N, 4) or of any tv_tensors format, rotated ones, which
            are drawn as polygons, among them, ``labels`` (N,), ``masks`` (N, H, W),
            ``keypoints`` (N, K, 2 or 3), ``visibility`` (N,), ``iscrowd`` (N,), ``semantic`` (H, W), ``ignored``), a
            semantic map, or None. A semantic map is (H, W) or (1, H, W) of class ids, in any dtype, or (C, H, W)
            floats, of which the largest is the class. Boxes and keypoints that aren't finite are left out. For a
            panoptic map (``panoptic``, ``segments_info``) without instances the segments are drawn like instances,
            ``category_id`` as label; stuff gets no box.
        classes: class names; label i is called ``classes[i]``. Without them the number is shown.
        fit: (height, width) that the drawing fills as far as the image's shape allows. Without it the image keeps its
            size, enlarged by a whole factor until its longer side reaches `min_size`.
        min_size: see `fit`.
        boxes: draw the boxes' lines.
        names: write class names and visibilities; of at most 24 instances, unless there are `tags`.
        masks: lay the instance masks over the image, with a contour.
        keypoints: draw the keypoints that are visible.
        semantic: lay the semantic map over the image, each class in its colour; ``background`` stays clear, pixels of
            `ignore_index` are hatched.
        tags: (N,) short texts set before the class names, to refer to instances elsewhere.
        dim: pixels of the image to be drawn darker (those that a mix does not use).
        regions: a number per pixel; the outline between different numbers is drawn as :func:`draw_region` does, under
            boxes and names.
        colors: colour of each class; :func:`class_colors` by default.
        alpha: opacity of masks and maps, 0–1.
        ignore_index: the value of the semantic map that means "not labelled".
        font_size: height of the text in pixels of the drawing; by default it follows the drawing's size.
        font: path of a TrueType font for class names that the built-in one lacks.

    Returns:
        The drawing, uint8 RGB. Its size differs from the image's as `fit` and `min_size` say.

    Raises:
        TypeError: image is not a tensor, or target is neither dict, map nor None.
        ValueError: shapes that do not belong together, or an image of floats that aren't in [0, 1].
    """
    height, width = image.shape[-2:]
    pixels = as_rgb(image)
    size = size_to_draw(height, width, fit, min_size)
    pixels = resize_image(pixels, size)
    if isinstance(target, Tensor):
        target = {"semantic": target}
        semantic = True
    if target is not None and not isinstance(target, Mapping):
        raise TypeError(f"target must be a dict, a semantic map (H, W) or None, got {type(target).__name__}")
    fields: Mapping[str, Any] = target or {}
    palette = list(colors) if colors is not None else class_colors(classes if classes is not None else 0)
    palette += [color_at(index) for index in range(len(palette), 256)]

    if dim is not None:
        dark = resize_nearest(_flat(dim, "dim", (height, width)).bool(), size)
        pixels = torch.where(dark, (pixels.float() * 0.38 + 20).to(torch.uint8), pixels)
    if semantic and fields.get("semantic") is not None:
        for given, share in maps_of(fields["semantic"]):
            labels = resize_nearest(_flat(given, "semantic", (height, width)), size)
            pixels = _draw_semantic(pixels, labels, classes, palette, max(alpha, 0.5) * share, ignore_index)

    groups = [_instances(_with_segments(fields), (height, width), size, classes, palette, tags)]
    if isinstance(fields.get("ignored"), Mapping):
        groups.append(_instances(_with_segments(fields["ignored"]), (height, width), size, classes, None, None))
    if masks:
        for group in groups:
            pixels = draw_masks(pixels, [(item.mask, item.color) for item in group if item.mask is not None], alpha)
    if regions is not None:
        pixels = draw_outline(pixels, resize_nearest(_flat(regions, "regions", (height, width)), size), None)
    if boxes:
        shown = [instance for group in reversed(groups) for instance in group if instance.outlined]
        pixels = draw_outlines(pixels, [(item.outline, item.color) for item in shown if item.outline is not None])
    if keypoints:
        for group in groups:
            pixels = _draw_keypoints(pixels, group, size)
    if names:
        listed = [instance for group in groups for instance in group]
        pixels = _draw_names(pixels, listed if tags is not None else _few(listed), font_size, font)
    return pixels


MOST_NAMES = 24
"""So many names are written on a picture; in a crowd, colours tell the classes of the others."""


def _few(instances: Sequence[_Instance]) -> Sequence[_Instance]:
    """The instances that get a name: in a crowd the largest of each class, class by class in turn."""
    if len(instances) <= MOST_NAMES:
        return instances
    ranked = sorted(instances, key=lambda item: -rect_area(item.outline.rect) if item.outline is not None else 0)
    seen: Counter[Color] = Counter()
    turns = []
    for item in ranked:
        turns.append(seen[item.color])
        seen[item.color] += 1
    chosen = sorted(range(len(ranked)), key=lambda number: turns[number])[:MOST_NAMES]
    return [ranked[number] for number in chosen]


@dataclass(frozen=True)
class _Instance:
    """What is drawn of one instance, in pixels of the drawing."""

    color: Color
    text: str
    outline: Outline | None
    mask: Tensor | None
    points: Tensor | None
    outlined: bool = True


def _flat(values: Tensor, name: str, size: tuple[int, int]) -> Tensor:
    """A per-pixel map without its channel axis, checked against the image's size."""
    flat = values.detach().cpu().as_subclass(Tensor)
    if flat.ndim == 3 and flat.shape[0] == 1:
        flat = flat[0]
    if tuple(flat.shape) != size:
        raise ValueError(f"{name} must have the image's size {size}, got {tuple(values.shape)}")
    return flat


def _with_segments(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """A target whose panoptic segments are rows, where it has no others."""
    if not has_segments_only(fields):
        return fields
    shares = torch.tensor([float(info.get("visibility", 1.0)) for info in fields[INFO_KEY]])
    return {**fields, **segments_as_instances(fields), "visibility": shares}


def _instances(
    fields: Mapping[str, Any],
    source: tuple[int, int],
    size: tuple[int, int],
    classes: Sequence[str] | None,
    palette: Sequence[Color] | None,
    tags: Sequence[str] | None,
) -> list[_Instance]:
    """The instances of a target, scaled to the drawing; without a palette they are drawn as ignored ones."""
    scale_y, scale_x = size[0] / source[0], size[1] / source[1]
    labels = fields.get("labels")
    numbers = [] if labels is None else [int(value) for value in labels.detach().cpu().flatten().tolist()]
    outlines = outlines_of(fields.get("boxes"), size, scale_x, scale_y)
    masks = fields.get("masks")
    if masks is not None:
        masks = masks.detach().cpu().as_subclass(Tensor).bool()
        if masks.ndim != 3 or picture_size(masks) != source:
            raise ValueError(f"masks must have the shape (N, {source[0]}, {source[1]}), got {tuple(masks.shape)}")
        masks = resize_nearest(masks, size)
    points = fields.get("keypoints")
    shares = fields.get("visibility")
    crowd = fields.get("iscrowd")
    things = fields.get("isthing")
    counts = {len(part) for part in (numbers or None, outlines, masks, points) if part is not None}
    if len(counts) > 1:
        raise ValueError(f"boxes, labels, masks and keypoints must have the same length, got {sorted(counts)}")
    result = []
    for index in range(max(counts, default=0)):
        label = numbers[index] if numbers else None
        name = "" if label is None else (classes[label] if classes and 0 <= label < len(classes) else str(label))
        if palette is None:
            color, name = IGNORED, f"ignored {name}".strip()
        else:
            color = line_color_for(palette[label % len(palette)] if label is not None else palette[1])
        if crowd is not None and bool(crowd[index]):
            name = f"{name} (crowd)".strip()
        if tags is not None and index < len(tags):
            name = f"{tags[index]} {name}".strip()
        if shares is not None and float(shares[index]) < 0.9995:
            name = f"{name} {_percent(float(shares[index]))}".strip()
        visible = None
        if points is not None:
            visible = _visible_points(points[index], fields.get("keypoints_visible"), index, scale_x, scale_y)
        mask = masks[index] if masks is not None and len(masks) else None
        outline = outlines[index] if outlines is not None else outline_of_mask(mask)
        outlined = things is None or bool(things[index])
        result.append(_Instance(color, name, outline, mask, visible, outlined))
    return result


def _percent(share: float) -> str:
    """A share as a whole percentage that never rounds to 0 % or 100 % what is neither."""
    return f"{min(99, max(1, round(share * 100))) if 0 < share < 1 else round(share * 100)}%"


def _visible_points(points: Tensor, shown: Any, index: int, scale_x: float, scale_y: float) -> Float[Tensor, "k 2"]:
    """The keypoints of one instance that may be drawn, in pixels of the drawing."""
    plain = points.detach().cpu().as_subclass(Tensor).double()
    keep = torch.ones(len(plain), dtype=torch.bool)
    if plain.shape[-1] == 3:
        keep = plain[:, 2] > 0
    if shown is not None:
        keep = keep & shown[index].detach().cpu().bool()
    keep = keep & (plain[:, :2].abs() < FAR).all(dim=1)  # NaN isn't
    return plain[keep][:, :2] * torch.tensor([scale_x, scale_y], dtype=torch.float64)


def maps_of(semantic: Any) -> list[tuple[Tensor, float]]:
    """The maps to draw over each other and how much each counts: a soft mix gives a pair of maps, or probabilities.

    Raises:
        ValueError: a map of one channel in floating point that holds no class ids.
    """
    if isinstance(semantic, tuple):
        first, second, weight = semantic
        share = float(weight.float().mean())
        return [(_class_ids(first), share), (_class_ids(second), 1 - share)]
    return [(_class_ids(semantic), 1.0)]


def _class_ids(semantic: Tensor) -> Int[Tensor, "*one h w"]:
    """The class ids of a map: whole numbers in any dtype, or the classes with the largest of several channels."""
    if not semantic.is_floating_point():
        return semantic
    if semantic.ndim == 3 and len(semantic) > 1:
        return semantic.argmax(dim=0)
    odd = semantic[(semantic != semantic.round()) | semantic.isinf()]  # NaN is odd, too
    if len(odd):
        raise ValueError(
            f"semantic of shape {tuple(semantic.shape)} must hold class ids, got values such as {float(odd[0]):g}: "
            "round it, or give one channel per class"
        )
    return semantic.long()


def _draw_semantic(
    pixels: UInt8[Tensor, "3 h w"],
    labels: Int[Tensor, "h w"],
    classes: Sequence[str] | None,
    palette: Sequence[Color],
    alpha: float,
    ignore_index: int,
) -> UInt8[Tensor, "3 h w"]:
    values = [int(value) for value in labels.unique().tolist()]
    clear = {ignore_index}
    if classes and classes[0] == "background":
        clear.add(0)
    shown = [value for value in values if value not in clear]
    if shown:
        stack = torch.stack([labels == value for value in shown])
        pixels = draw_segmentation_masks(pixels, stack, alpha, [palette[value % len(palette)] for value in shown])
    border = torch.zeros_like(labels, dtype=torch.bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:, :] |= labels[1:, :] != labels[:-1, :]
    pixels = draw_segmentation_masks(pixels, border, 0.55, (20, 22, 28))
    ignored = labels == ignore_index
    if ignored.any():
        height, width = labels.shape
        stripes = ((torch.arange(height)[:, None] + torch.arange(width)[None, :]) // 4) % 3 == 0
        pixels = draw_segmentation_masks(pixels, ignored, 0.35, (40, 42, 48))
        pixels = draw_segmentation_masks(pixels, ignored & stripes, 0.45, (225, 228, 235))
    return pixels


def _draw_keypoints(
    pixels: UInt8[Tensor, "3 h w"], group: Sequence[_Instance], size: tuple[int, int]
) -> UInt8[Tensor, "3 h w"]:
    radius = line_width_for(size) + 1
    for item in group:
        if item.points is not None and len(item.points):
            pixels = draw_keypoints(pixels, item.points[None], colors=(12, 14, 18), radius=radius + 1)
            pixels = draw_keypoints(pixels, item.points[None], colors=item.color, radius=radius)
    return pixels


def _draw_names(
    pixels: UInt8[Tensor, "3 h w"], group: Sequence[_Instance], font_size: int | None, path: str | None
) -> UInt8[Tensor, "3 h w"]:
    named = [(item.outline, item.text, item.color) for item in group if item.outline is not None and item.text]
    if not named:
        return pixels
    height, width = pixels.shape[-2:]
    # In a crowd, smaller text lets more names find a place.
    points = font_size or max(10, min(20, round(max(height, width) / 34) - (2 if len(named) > 14 else 0)))
    path = font_for_texts([text for _, text, _ in named], path)
    font = load_font(points, path)
    pad = max(2, points // 5)
    texts = [shorten(spell_out(text, path), font, width - 2 * pad) for _, text, _ in named]
    sizes = [(w + 2 * pad, h + 2) for w, h in (measure_text(text, font) for text in texts)]
    outlines = [outline for outline, _, _ in named]
    places = place_labels(
        [outline.rect for outline in outlines], sizes, (height, width), [outline.points for outline in outlines]
    )
    picture = tvf.to_pil_image(pixels)
    draw = ImageDraw.Draw(picture, "RGBA")
    for place, text, (_, _, color) in zip(places, texts, named, strict=True):
        if place is None:
            continue
        x0, y0, x1, y1 = place
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=(*color, 225))
        draw.text((x0 + pad, y0 + 1), text, fill=text_color_on(color), font=font)
    return tvf.pil_to_tensor(picture)
