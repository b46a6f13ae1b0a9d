"""Draw samples, mixing regions and contact sheets, to see what a mix did to a picture and its annotations.

Boxes, masks and keypoints are drawn by :mod:`torchvision.utils`; text and layout by Pillow, because torchvision's
labels need a font file and know nothing of each other or of the picture's border. Everything here is pure: tensors go
in, a new ``uint8`` tensor or a new Pillow image comes out.

Small pictures are enlarged *before* anything is drawn on them, so that lines and text stay crisp: images bicubically,
masks and maps nearest, boxes by the same factors.
"""

from __future__ import annotations

import colorsys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf
from torchvision.utils import draw_bounding_boxes, draw_keypoints, draw_segmentation_masks

if TYPE_CHECKING:
    from cutmix_dense.data.mixed_copy import MixedSample
    from cutmix_dense.plan import MixPlan

__all__ = [
    "Drawing",
    "caption_of",
    "class_colors",
    "contact_sheet",
    "draw_legend",
    "draw_region",
    "draw_sample",
    "mix_row",
    "partner_sources",
    "present_classes",
    "sample_rows",
    "shown_pixels",
    "source_letters",
    "to_pil",
]

Color = tuple[int, int, int]

# Far apart from each other on photographs, light enough for lines on dark ground. Index 0 is most often "background".
_PALETTE: tuple[Color, ...] = (
    (140, 148, 160),
    (255, 92, 92),
    (56, 176, 255),
    (82, 214, 112),
    (255, 190, 40),
    (186, 120, 255),
    (38, 222, 206),
    (255, 128, 208),
    (255, 140, 56),
    (170, 220, 40),
    (112, 136, 255),
    (230, 214, 110),
    (0, 168, 132),
    (222, 96, 160),
    (150, 200, 255),
    (196, 140, 92),
    (120, 255, 180),
    (255, 168, 150),
    (96, 160, 80),
    (216, 180, 255),
)
_BRIGHT: dict[str, Color] = {
    "person": (240, 60, 90),
    "rider": (255, 110, 40),
    "car": (80, 130, 255),
    "truck": (40, 200, 255),
    "bus": (255, 205, 60),
    "train": (40, 205, 160),
    "motorcycle": (176, 110, 255),
    "bicycle": (255, 130, 200),
    "caravan": (150, 170, 255),
    "trailer": (130, 220, 240),
    "license plate": (210, 220, 255),
}
_IGNORED: Color = (176, 180, 188)
_INK: Color = (24, 28, 36)
_GREY_INK: Color = (96, 104, 116)
_PAPER: Color = (250, 250, 252)


# ----------------------------------------------------------------------------------------------------------- colours


def class_colors(classes: Sequence[str] | int) -> list[Color]:
    """One colour per class; the same class at the same place always has the same colour.

    Cityscapes' class names get the colours its users know, brightened for what has instances: lines of the official
    dark blues could hardly be seen, nor told apart.

    Args:
        classes: the class names, or how many classes there are.

    Returns:
        A list of (red, green, blue), each 0–255.
    """
    count = classes if isinstance(classes, int) else len(classes)
    if not isinstance(classes, int):
        official = _cityscapes_colors()
        if count >= 8 and all(name in official for name in classes):
            return [official[name] for name in classes]
    return [_color(index) for index in range(count)]


def _color(index: int) -> Color:
    """Colour of a class index of any size: the palette first, then hues a golden angle apart."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    step = index - len(_PALETTE)
    hue = (0.11 + step * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.55, 0.75, 0.4)[step % 3], (1.0, 0.85)[step % 2])
    return round(red * 255), round(green * 255), round(blue * 255)


@lru_cache(maxsize=1)
def _cityscapes_colors() -> dict[str, Color]:
    from torchvision.datasets import Cityscapes

    return {**{entry.name: tuple(entry.color) for entry in Cityscapes.classes}, **_BRIGHT}


def _luminance(color: Color) -> float:
    """Perceived brightness, 0–1 (Rec. 601 weights)."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def _line_color(color: Color) -> Color:
    """The colour, lightened until a line of it can be seen on dark ground."""
    mixed = color
    for _ in range(8):
        if _luminance(mixed) >= 0.42:
            break
        mixed = (mixed[0] + (255 - mixed[0]) // 5, mixed[1] + (255 - mixed[1]) // 5, mixed[2] + (255 - mixed[2]) // 5)
    return mixed


def _text_color(background: Color) -> Color:
    """Black or white, whichever reads better on the background."""
    return (16, 18, 24) if _luminance(background) > 0.5 else (255, 255, 255)


# ---------------------------------------------------------------------------------------------------- pixels and sizes


def to_pil(image: Tensor) -> Image.Image:
    """A (3, H, W) or (1, H, W) image, uint8 or float in [0, 1], as a Pillow RGB image."""
    return tvf.to_pil_image(_as_rgb(image)).convert("RGB")


def _as_rgb(image: Tensor) -> UInt8[Tensor, "3 h w"]:
    """Any image tensor as plain uint8 RGB on the CPU, in memory of its own."""
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor of shape (C, H, W), got {type(image).__name__}")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"image must have the shape (3, H, W) or (1, H, W), got {tuple(image.shape)}")
    pixels = image.detach().cpu().as_subclass(Tensor)
    if pixels.dtype == torch.bool:
        pixels = pixels.to(torch.uint8) * 255
    elif pixels.is_floating_point():
        pixels = (pixels.float().clamp(0, 1) * 255).round().to(torch.uint8)
    elif pixels.dtype != torch.uint8:
        raise ValueError(f"image must be uint8 or float in [0, 1], got {pixels.dtype}")
    return pixels.expand(3, -1, -1).clone()


def _size(image: Tensor) -> Size:
    """(height, width) of an image."""
    return int(image.shape[-2]), int(image.shape[-1])


def _drawn_size(height: int, width: int, fit: tuple[int, int] | None, min_size: int) -> tuple[int, int]:
    """Size of an image's drawing: filling `fit` (height, width), else enlarged by a whole factor up to `min_size`."""
    if fit is not None:
        scale = min(fit[0] / height, fit[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))
    factor = max(1, -(-min_size // max(height, width)))
    return height * factor, width * factor


def _resize_image(image: UInt8[Tensor, "3 h w"], size: tuple[int, int]) -> UInt8[Tensor, "3 H W"]:
    if _size(image) == size:
        return image
    return tvf.resize(image, list(size), interpolation=tvf.InterpolationMode.BICUBIC, antialias=True)


def _resize_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest neighbour for the last two axes: the source pixel under each output pixel's centre."""
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    rows = ((torch.arange(size[0]) + 0.5) * (height / size[0])).long().clamp_(max=height - 1)
    columns = ((torch.arange(size[1]) + 0.5) * (width / size[1])).long().clamp_(max=width - 1)
    return maps.index_select(-2, rows).index_select(-1, columns)


def _grow(mask: Bool[Tensor, "*n h w"], radius: int) -> Bool[Tensor, "*n h w"]:
    """The mask grown by `radius` pixels in every direction (a square)."""
    if radius <= 0 or mask.numel() == 0:
        return mask
    stack = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    grown = torch.nn.functional.max_pool2d(stack, 2 * radius + 1, stride=1, padding=radius)
    return (grown > 0.5).reshape(mask.shape)


# ---------------------------------------------------------------------------------------------------------------- text


@lru_cache(maxsize=64)
def _font(size: int, path: str | None = None) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if path is not None:
        return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)


_FALLBACKS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "LiberationSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)
_SPELLED = {0x2010: "-", 0x2011: "-", 0x2013: "-", 0x2014: "-", 0x202F: " ", 0x00A0: " ", 0x00D7: "x"}


@lru_cache(maxsize=8)
def _has_glyphs(path: str | None, text: str) -> bool:
    font = _font(16, path)
    missing = bytes(font.getmask("\uffff"))
    return all(sign.isspace() or bytes(font.getmask(sign)) != missing for sign in text)


def _font_for(texts: Iterable[str], path: str | None) -> str | None:
    """A font with every letter of some texts: the one given, else Pillow's own, else one that the system has.

    Pillow's own knows little beyond ASCII, but looks the same everywhere.
    """
    signs = "".join(sorted({sign for text in texts for sign in text.translate(_SPELLED)}))
    if path is not None or _has_glyphs(None, signs):
        return path
    for name in _FALLBACKS:
        try:
            if _has_glyphs(name, signs):
                return name
        except OSError:  # not on this machine
            continue
    return None


def _spell(text: str, path: str | None) -> str:
    """The text as a font can write it: letters that Pillow's own lacks lose their accents."""
    text = text.translate(_SPELLED)
    if path is not None or _has_glyphs(None, "".join(sorted(set(text)))):
        return text
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "?"


def _text_size(text: str, font: Any) -> tuple[int, int]:
    """Width of the text and height of a line in this font, so that every label of a picture is equally high."""
    left, _, right, _ = font.getbbox(text)
    if isinstance(font, ImageFont.FreeTypeFont):
        ascent, descent = font.getmetrics()
        return int(right - left + 0.999), ascent + descent
    return int(right - left + 0.999), font.getbbox("Ag")[3]


def _shorten(text: str, font: Any, width: int) -> str:
    """The text, cut in its middle with an ellipsis if it is wider than `width` pixels."""
    if _text_size(text, font)[0] <= width:
        return text
    keep = len(text) - 1
    while keep > 2:
        shorter = text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]
        if _text_size(shorter, font)[0] <= width:
            return shorter
        keep -= 1
    return text[:1] + "…"


Size = tuple[int, int]
Rect = tuple[int, int, int, int]


def _area(box: Rect) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Rect, b: Rect) -> int:
    """Common area of two rectangles (x0, y0, x1, y1)."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _place_labels(
    boxes: Sequence[Rect], sizes: Sequence[tuple[int, int]], canvas: tuple[int, int]
) -> list[Rect | None]:
    """A place for every label near its box: inside the picture, on as few other labels and small boxes as possible.

    Small boxes, which have fewer places, choose first. A label that would lie on another one, or hide other small
    boxes, is left out (None): the box's colour still tells the class.

    Args:
        boxes: pixel rectangles (x0, y0, x1, y1) of the drawing.
        sizes: (width, height) of each label.
        canvas: (height, width) of the drawing.

    Returns:
        One rectangle per label, or None.
    """
    height, width = canvas
    order = sorted(range(len(boxes)), key=lambda i: _area(boxes[i]))
    placed: list[Rect] = []
    result: list[Rect | None] = [None] * len(boxes)
    for index in order:
        x0, y0, x1, y1 = boxes[index]
        w, h = sizes[index]
        candidates = [
            (x0, y0 - h),  # on top of the box, the place eyes look at first
            (x0, y0),
            (x0, y1),
            (x1 - w, y0 - h),
            (x1 - w, y1),
            (x0, y1 - h),
            (x1 - w, y0),
            (x1 - w, y1 - h),
            (x1, y0),
            (x0 - w, y0),
            (x1, y1 - h),
            (x0 - w, y1 - h),
        ]
        # What a label would hide: boxes not much larger than itself.
        small = [box for box in boxes if box is not boxes[index] and _area(box) < 6 * w * h]
        best: tuple[float, float, Rect] | None = None
        for rank, (left, top) in enumerate(candidates):
            # Slide into the picture; a far slide no longer belongs to the box, which the rank term expresses.
            inside_left = max(0, min(left, width - w))
            inside_top = max(0, min(top, height - h))
            rect = (inside_left, inside_top, inside_left + w, inside_top + h)
            slide = abs(inside_left - left) + abs(inside_top - top)
            on_labels = sum(_overlap(rect, other) for other in placed) / (w * h)
            on_small = sum(_overlap(rect, box) for box in small) / (w * h)
            own = _overlap(rect, boxes[index]) / (w * h) if _area(boxes[index]) < 6 * w * h else 0.0
            cost = 6.0 * on_labels + 1.5 * on_small + 0.9 * own + 0.02 * rank + 0.01 * slide
            if best is None or cost < best[0]:
                best = (cost, on_small, rect)
        assert best is not None
        _, hidden, rect = best
        if hidden <= 0.7 and max((_overlap(rect, other) for other in placed), default=0) <= 0.2 * w * h:
            placed.append(rect)
            result[index] = rect
    return result


# ------------------------------------------------------------------------------------------------------- one sample


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
        target: a dict as detectors take it (any of ``boxes`` (N, 4), ``labels`` (N,), ``masks`` (N, H, W),
            ``keypoints`` (N, K, 2 or 3), ``visibility`` (N,), ``iscrowd`` (N,), ``semantic`` (H, W), ``ignored``), a
            semantic map (H, W), or None.
        classes: class names; label i is called ``classes[i]``. Without them the number is shown.
        fit: (height, width) that the drawing fills as far as the image's shape allows. Without it the image keeps its
            size, enlarged by a whole factor until its longer side reaches `min_size`.
        min_size: see `fit`.
        boxes: draw the boxes' lines.
        names: write class names and visibilities.
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
        ValueError: shapes that do not belong together; boxes of a rotated format.
    """
    height, width = image.shape[-2:]
    pixels = _as_rgb(image)
    size = _drawn_size(height, width, fit, min_size)
    pixels = _resize_image(pixels, size)
    if isinstance(target, Tensor):
        target = {"semantic": target}
        semantic = True
    if target is not None and not isinstance(target, Mapping):
        raise TypeError(f"target must be a dict, a semantic map (H, W) or None, got {type(target).__name__}")
    fields: Mapping[str, Any] = target or {}
    palette = list(colors) if colors is not None else class_colors(classes if classes is not None else 0)
    palette += [_color(index) for index in range(len(palette), 256)]

    if dim is not None:
        dark = _resize_nearest(_flat(dim, "dim", (height, width)).bool(), size)
        pixels = torch.where(dark, (pixels.float() * 0.38 + 20).to(torch.uint8), pixels)
    if semantic and fields.get("semantic") is not None:
        for given, share in _maps_of(fields["semantic"]):
            labels = _resize_nearest(_flat(given, "semantic", (height, width)), size)
            pixels = _draw_semantic(pixels, labels, classes, palette, max(alpha, 0.5) * share, ignore_index)

    groups = [_instances(fields, (height, width), size, classes, palette, tags)]
    if isinstance(fields.get("ignored"), Mapping):
        groups.append(_instances(fields["ignored"], (height, width), size, classes, None, None))
    if masks:
        for group in groups:
            pixels = _draw_masks(pixels, group, alpha)
    if regions is not None:
        pixels = _draw_outline(pixels, _resize_nearest(_flat(regions, "regions", (height, width)), size), None)
    if boxes:
        pixels = _draw_boxes(pixels, [instance for group in reversed(groups) for instance in group], size)
    if keypoints:
        for group in groups:
            pixels = _draw_keypoints(pixels, group, size)
    if names:
        pixels = _draw_names(pixels, [instance for group in groups for instance in group], font_size, font)
    return pixels


@dataclass(frozen=True)
class _Instance:
    """What is drawn of one instance, in pixels of the drawing."""

    color: Color
    text: str
    box: Rect | None
    mask: Tensor | None
    points: Tensor | None
    crowd: bool = False


def _flat(values: Tensor, name: str, size: tuple[int, int]) -> Tensor:
    """A per-pixel map without its channel axis, checked against the image's size."""
    flat = values.detach().cpu().as_subclass(Tensor)
    if flat.ndim == 3 and flat.shape[0] == 1:
        flat = flat[0]
    if tuple(flat.shape) != size:
        raise ValueError(f"{name} must have the image's size {size}, got {tuple(values.shape)}")
    return flat


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
    corners = _corners(fields.get("boxes"), size, scale_x, scale_y)
    masks = fields.get("masks")
    if masks is not None:
        masks = masks.detach().cpu().as_subclass(Tensor).bool()
        if masks.ndim != 3 or _size(masks) != source:
            raise ValueError(f"masks must have the shape (N, {source[0]}, {source[1]}), got {tuple(masks.shape)}")
        masks = _resize_nearest(masks, size)
    points = fields.get("keypoints")
    shares = fields.get("visibility")
    crowd = fields.get("iscrowd")
    counts = {len(part) for part in (numbers or None, corners, masks, points) if part is not None}
    if len(counts) > 1:
        raise ValueError(f"boxes, labels, masks and keypoints must have the same length, got {sorted(counts)}")
    result = []
    for index in range(max(counts, default=0)):
        label = numbers[index] if numbers else None
        name = "" if label is None else (classes[label] if classes and 0 <= label < len(classes) else str(label))
        if palette is None:
            color, name = _IGNORED, f"ignored {name}".strip()
        else:
            color = _line_color(palette[label % len(palette)] if label is not None else palette[1])
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
        box = corners[index] if corners is not None else _mask_rect(mask)
        result.append(_Instance(color, name, box, mask, visible, crowd is not None and bool(crowd[index])))
    return result


def _percent(share: float) -> str:
    """A share as a whole percentage that never rounds to 0 % or 100 % what is neither."""
    return f"{min(99, max(1, round(share * 100))) if 0 < share < 1 else round(share * 100)}%"


def _corners(boxes: Tensor | None, size: tuple[int, int], scale_x: float, scale_y: float) -> list[Rect] | None:
    """Boxes of any axis-parallel format as whole pixels (x0, y0, x1, y1), half-open, clipped to the drawing."""
    if boxes is None:
        return None
    if isinstance(boxes, tv_tensors.BoundingBoxes):
        if boxes.format not in (
            tv_tensors.BoundingBoxFormat.XYXY,
            tv_tensors.BoundingBoxFormat.XYWH,
            tv_tensors.BoundingBoxFormat.CXCYWH,
        ):
            raise ValueError(f"boxes of the rotated format {boxes.format} cannot be drawn; convert them to XYXY first")
        boxes = tvf.convert_bounding_box_format(boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
    plain: Float[Tensor, "n 4"] = boxes.detach().cpu().as_subclass(Tensor).double().reshape(-1, 4)
    result: list[Rect] = []
    for x0, y0, x1, y1 in plain.tolist():
        left = min(max(round(x0 * scale_x), 0), size[1] - 1)
        top = min(max(round(y0 * scale_y), 0), size[0] - 1)
        right = min(max(round(x1 * scale_x), left + 1), size[1])
        bottom = min(max(round(y1 * scale_y), top + 1), size[0])
        result.append((left, top, right, bottom))
    return result


def _mask_rect(mask: Tensor | None) -> Rect | None:
    """The rectangle round a mask, half-open."""
    if mask is None or not bool(mask.any()):
        return None
    rows = mask.any(dim=1).nonzero().flatten()
    columns = mask.any(dim=0).nonzero().flatten()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _visible_points(points: Tensor, shown: Any, index: int, scale_x: float, scale_y: float) -> Float[Tensor, "k 2"]:
    """The keypoints of one instance that may be drawn, in pixels of the drawing."""
    plain = points.detach().cpu().as_subclass(Tensor).double()
    keep = torch.ones(len(plain), dtype=torch.bool)
    if plain.shape[-1] == 3:
        keep = plain[:, 2] > 0
    if shown is not None:
        keep = keep & shown[index].detach().cpu().bool()
    return plain[keep][:, :2] * torch.tensor([scale_x, scale_y], dtype=torch.float64)


def _maps_of(semantic: Any) -> list[tuple[Tensor, float]]:
    """The maps to draw over each other and how much each counts: a soft mix gives a pair of maps, or probabilities."""
    if isinstance(semantic, tuple):
        first, second, weight = semantic
        share = float(weight.float().mean())
        return [(first, share), (second, 1 - share)]
    if semantic.is_floating_point():
        return [(semantic.argmax(dim=0), 1.0)]
    return [(semantic, 1.0)]


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


def _draw_masks(pixels: UInt8[Tensor, "3 h w"], group: Sequence[_Instance], alpha: float) -> UInt8[Tensor, "3 h w"]:
    """Translucent masks with a contour; the smaller lies on top, because torchvision paints overlaps black."""
    drawn = [(int(item.mask.sum()), item) for item in group if item.mask is not None]
    drawn = [(area, item) for area, item in sorted(drawn, key=lambda pair: pair[0]) if area > 0]
    if not drawn:
        return pixels
    free = torch.ones(pixels.shape[-2:], dtype=torch.bool)
    fills, contours, colors = [], [], []
    line = _line_width(_size(pixels)) // 2
    for _, item in drawn:
        assert item.mask is not None
        fills.append(item.mask & free)
        # Contour just inside the mask; the picture's border is no contour.
        contours.append(item.mask & _grow(~item.mask, max(1, line)) & free)
        free = free & ~item.mask
        colors.append(item.color)
    pixels = draw_segmentation_masks(pixels, torch.stack(fills), alpha, colors)
    return draw_segmentation_masks(pixels, torch.stack(contours), 0.9, colors)


def _line_width(size: tuple[int, ...]) -> int:
    return 2 if max(size) < 900 else 3


def _draw_boxes(
    pixels: UInt8[Tensor, "3 h w"], group: Sequence[_Instance], size: tuple[int, int]
) -> UInt8[Tensor, "3 h w"]:
    """Coloured lines on a thin dark one, so that they show on any ground; small boxes over large ones."""
    shown = [(item.box, item.color) for item in group if item.box is not None]
    if not shown:
        return pixels
    shown.sort(key=lambda pair: -_area(pair[0]))
    width = _line_width(size)
    # Pillow counts the last row and column in; our boxes are half-open.
    inner = torch.tensor([[x0, y0, x1 - 1, y1 - 1] for (x0, y0, x1, y1), _ in shown])
    outer = inner + torch.tensor([-1, -1, 1, 1])
    pixels = draw_bounding_boxes(pixels, outer, colors=[(12, 14, 18)] * len(shown), width=1)
    return draw_bounding_boxes(pixels, inner, colors=[color for _, color in shown], width=width)


def _draw_keypoints(
    pixels: UInt8[Tensor, "3 h w"], group: Sequence[_Instance], size: tuple[int, int]
) -> UInt8[Tensor, "3 h w"]:
    radius = _line_width(size) + 1
    for item in group:
        if item.points is not None and len(item.points):
            pixels = draw_keypoints(pixels, item.points[None], colors=(12, 14, 18), radius=radius + 1)
            pixels = draw_keypoints(pixels, item.points[None], colors=item.color, radius=radius)
    return pixels


def _draw_names(
    pixels: UInt8[Tensor, "3 h w"], group: Sequence[_Instance], font_size: int | None, path: str | None
) -> UInt8[Tensor, "3 h w"]:
    named = [(item.box, item.text, item.color) for item in group if item.box is not None and item.text]
    if not named:
        return pixels
    height, width = pixels.shape[-2:]
    # In a crowd, smaller text lets more names find a place.
    points = font_size or max(10, min(20, round(max(height, width) / 34) - (2 if len(named) > 14 else 0)))
    path = _font_for([text for _, text, _ in named], path)
    font = _font(points, path)
    pad = max(2, points // 5)
    texts = [_shorten(_spell(text, path), font, width - 2 * pad) for _, text, _ in named]
    sizes = [(w + 2 * pad, h + 2) for w, h in (_text_size(text, font) for text in texts)]
    places = _place_labels([box for box, _, _ in named], sizes, (height, width))
    picture = tvf.to_pil_image(pixels)
    draw = ImageDraw.Draw(picture, "RGBA")
    for place, text, (_, _, color) in zip(places, texts, named, strict=True):
        if place is None:
            continue
        x0, y0, x1, y1 = place
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), fill=(*color, 225))
        draw.text((x0 + pad, y0 + 1), text, fill=_text_color(color), font=font)
    return tvf.pil_to_tensor(picture)


# -------------------------------------------------------------------------------------------------------- the region


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
    owner = _owners(plan, index)
    return _draw_outline(_as_rgb(image), _resize_nearest(owner, _size(image)), width)


def _draw_outline(
    pixels: UInt8[Tensor, "3 h w"], areas: Int[Tensor, "h w"], width: int | None
) -> UInt8[Tensor, "3 h w"]:
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
    line = _grow(edge, ((width or 2 * _line_width(_size(areas)) - 1) - 1) // 2)
    height, columns = areas.shape
    dashes = ((torch.arange(height)[:, None] + torch.arange(columns)[None, :]) // 8) % 2 == 0
    pixels = draw_segmentation_masks(pixels, line, 1.0, (0, 0, 0))
    return draw_segmentation_masks(pixels, line & dashes, 1.0, (255, 255, 255))


def _owners(plan: MixPlan, index: int) -> Int[Tensor, "h w"]:
    """Layer that shows in each pixel of one output's canvas, -1 for fill."""
    height, width = (int(side) for side in plan.canvas[index].tolist())
    return plan.owner_map()[index, :height, :width].cpu().long()


def _shows(plan: MixPlan, index: int, layer: int) -> Bool[Tensor, "h w"]:
    """The pixels of one output's canvas in which a layer shows: those it owns, or under a soft plan all it reaches."""
    if plan.weight is None:
        return _owners(plan, index) == layer
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


# -------------------------------------------------------------------------------------------------------- the sheets


@dataclass(frozen=True)
class Drawing:
    """One cell of a contact sheet: a picture and the lines of text under it."""

    picture: Tensor | None
    caption: str = ""


def contact_sheet(
    rows: Sequence[Sequence[Drawing]],
    *,
    headers: Sequence[str] = ("base", "partner", "mixed"),
    title: str = "",
    subtitle: str = "",
    legend: Sequence[tuple[str, Color]] = (),
    font: str | None = None,
) -> Image.Image:
    """Set drawings in rows and columns under headers, with captions and a legend of the classes' colours.

    Args:
        rows: the cells, row by row; rows may be shorter than the header.
        headers: what stands over the columns.
        title: the first line.
        subtitle: smaller lines under the title, wrapped to the sheet's width.
        legend: (name, colour) of the classes shown.
        font: path of a TrueType font.

    Returns:
        A Pillow RGB image.
    """
    font = _font_for([title, subtitle, *headers, *(cell.caption for row in rows for cell in row)], font)
    columns = max([len(headers), *(len(row) for row in rows)], default=1)
    gap, margin = 12, 18
    pictures = [[None if cell.picture is None else _as_rgb(cell.picture) for cell in row] for row in rows]
    widths = [120] * columns
    for row in pictures:
        for column, picture in enumerate(row):
            if picture is not None:
                widths[column] = max(widths[column], picture.shape[-1])
    heights = [max([40, *(cell.shape[-2] for cell in row if cell is not None)]) for row in pictures]
    body, small = _font(16, font), _font(13, font)
    line = _text_size("Ag", small)[1] + 3
    captions = [[_wrap(_spell(cell.caption, font), small, widths[c]) for c, cell in enumerate(row)] for row in rows]
    caption_heights = [line * max([len(lines) for lines in row], default=0) + (4 if row else 0) for row in captions]
    width = 2 * margin + sum(widths) + gap * (columns - 1)
    heading = _font(21, font)
    title_lines = _wrap(_spell(title, font), heading, width - 2 * margin)
    title_line = _text_size("Ag", heading)[1] + 4
    subtitle_lines = _wrap(_spell(subtitle, font), small, width - 2 * margin)
    key = draw_legend(legend, width - 2 * margin, font=font) if legend else None
    top = margin + title_line * len(title_lines) + line * len(subtitle_lines) + (10 if title or subtitle else 0)
    head = _text_size("Ag", body)[1] + 8 if any(headers) else 0
    foot = (key.height + gap if key else 0) + margin
    height = top + head + sum(heights) + sum(caption_heights) + gap * len(rows) + foot
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    y = margin
    for text in title_lines:
        draw.text((margin, y), text, fill=_INK, font=heading)
        y += title_line
    for text in subtitle_lines:
        draw.text((margin, y), text, fill=_GREY_INK, font=small)
        y += line
    y = top
    for column, header in enumerate(headers):
        draw.text((margin + sum(widths[:column]) + gap * column, y), _spell(header, font), fill=_INK, font=body)
    y += head
    for number, line_of_cells in enumerate(pictures):
        x = margin
        for column, picture in enumerate(line_of_cells):
            if picture is None:
                draw.rectangle((x, y, x + widths[column] - 1, y + heights[number] - 1), fill=(238, 239, 243))
            else:
                # Centred in its cell, so that portrait and landscape pictures share a column.
                left = x + (widths[column] - picture.shape[-1]) // 2
                sheet.paste(tvf.to_pil_image(picture), (left, y))
            for step, text in enumerate(captions[number][column]):
                draw.text((x, y + heights[number] + 4 + step * line), text, fill=_GREY_INK, font=small)
            x += widths[column] + gap
        y += heights[number] + caption_heights[number] + gap
    if key is not None:
        sheet.paste(key, (margin, y))
    return sheet


def _wrap(text: str, font: Any, width: int) -> list[str]:
    """The text in lines no wider than `width` pixels; line breaks are kept, a single long word is shortened."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        current = ""
        for word in paragraph.split(" "):
            longer = f"{current} {word}" if current else word
            if _text_size(longer, font)[0] <= width or not current:
                current = longer
            else:
                lines.append(current)
                current = word
        lines.append(current)
    return [_shorten(entry, font, width) for entry in lines]


def draw_legend(entries: Sequence[tuple[str, Color]], width: int, *, font: str | None = None) -> Image.Image:
    """Chips of colour with names, in as many rows as the width asks for.

    Args:
        entries: (name, colour).
        width: of the picture, in pixels.
        font: path of a TrueType font.

    Returns:
        A Pillow RGB image of that width.
    """
    font = _font_for([name for name, _ in entries], font)
    entries = [(_spell(name, font), color) for name, color in entries]
    letters = _font(13, font)
    chip, gap = 13, 16
    line = _text_size("Ag", letters)[1] + 6
    places: list[tuple[int, int]] = []
    x = y = 0
    for name, _ in entries:
        wide = chip + 6 + _text_size(name, letters)[0] + gap
        if x and x + wide > width:
            x, y = 0, y + line
        places.append((x, y))
        x += wide
    picture = Image.new("RGB", (max(1, width), y + line), _PAPER)
    draw = ImageDraw.Draw(picture)
    for (left, top), (name, color) in zip(places, entries, strict=True):
        draw.rectangle((left, top + 2, left + chip, top + 2 + chip), fill=color, outline=(90, 94, 104))
        draw.text((left + chip + 6, top), _shorten(name, letters, width - chip - 6), fill=_INK, font=letters)
    return picture


def present_classes(
    targets: Iterable[Mapping[str, Any]],
    classes: Sequence[str],
    *,
    semantic: bool = True,
    instances: bool = True,
    ignore_index: int = 255,
) -> list[tuple[str, Color]]:
    """Legend of the classes that occur in some targets, in the order of their numbers.

    Args:
        targets: dicts with ``labels`` and / or ``semantic``.
        classes: all class names.
        semantic: look at the semantic maps.
        instances: look at the labels.
        ignore_index: value of the maps that is no class.

    Returns:
        (name, colour) for :func:`contact_sheet`.
    """
    colors = class_colors(classes)
    found: set[int] = set()
    for target in targets:
        if instances and isinstance(target.get("labels"), Tensor):
            found.update(int(value) for value in target["labels"].flatten().tolist())
        if semantic and target.get("semantic") is not None:
            for labels, _ in _maps_of(target["semantic"]):
                found.update(int(value) for value in labels.unique().tolist())
    found.discard(ignore_index)
    if classes and classes[0] == "background":
        found.discard(0)
    return [(classes[index], colors[index]) for index in sorted(found) if 0 <= index < len(classes)]


def mix_row(
    images: Sequence[Tensor],
    targets: Sequence[Mapping[str, Any]],
    mixed_image: Tensor,
    mixed_target: Mapping[str, Any],
    plan: MixPlan,
    index: int,
    classes: Sequence[str] | None = None,
    *,
    cell: tuple[int, int] = (380, 480),
    titles: Sequence[str] | None = None,
    tagged: bool = False,
    caption: str = "",
    semantic: bool = False,
    **drawing: Any,
) -> list[Drawing]:
    """Draw base, partner and mixed picture of one output: what each image gave, and what became of it.

    Pixels that a source did not give are dark, the outline of the regions is dashed. Several partners share one cell.

    Args:
        images: the pool of the mix, each (3, H, W).
        targets: their targets, before the mix.
        mixed_image: output `index`.
        mixed_target: its target.
        plan: the plan of the mix.
        index: which output.
        classes: class names.
        cell: (height, width) that each drawing may take.
        titles: what to call each image of the pool in the captions.
        tagged: number the instances, ``a0, a1 …`` of the base and ``b0 …`` of the first partner, so that a table can
            refer to them. The mixed picture uses the same tags (by the targets' ``origin``).
        caption: text under the mixed picture.
        semantic: draw the semantic maps instead of the instances.
        **drawing: further options of :func:`draw_sample`.

    Returns:
        Three drawings for a row of :func:`contact_sheet`.
    """
    options: dict[str, Any] = dict(drawing)
    if semantic:
        options.update(semantic=True, boxes=False, masks=False, names=False, keypoints=False)
    base = int(plan.source[index, 0])
    partners = partner_sources(plan, index)
    letters = source_letters(plan, index)

    def title(source: int) -> str:
        return titles[source] if titles is not None else f"image {source}"

    def tags(source: int, target: Mapping[str, Any]) -> list[str] | None:
        if not tagged or target.get("labels") is None:
            return None
        return [f"{letters[source]}{number}" for number in range(len(target["labels"]))]

    def panel(source: int, fit: tuple[int, int], layers: Iterable[int] | None = None) -> Tensor:
        size = (int(images[source].shape[-2]), int(images[source].shape[-1]))
        seen = shown_pixels(plan, index, source, size, layers=layers)
        marks = tags(source, targets[source])
        return draw_sample(
            images[source], targets[source], classes, fit=fit, dim=~seen, regions=seen.long(), tags=marks, **options
        )

    first = Drawing(panel(base, cell, layers=[0]), title(base))
    if not partners:
        second = Drawing(None, "no partner: left as it was")
    elif len(partners) == 1:
        layers = list(range(1, plan.source.shape[1]))
        second = Drawing(panel(partners[0], cell, layers=layers), title(partners[0]))
    else:
        across = 2
        down = -(-len(partners) // across)
        fit = ((cell[0] - 4 * (down - 1)) // down, (cell[1] - 4 * (across - 1)) // across)
        layers = list(range(1, plan.source.shape[1]))
        parts = [panel(source, fit, layers=layers) for source in partners]
        second = Drawing(_grid(parts, across), ", ".join(title(source) for source in partners))
    mixed_tags = None
    if tagged and mixed_target.get("origin") is not None:
        mixed_tags = [f"{letters.get(source, '?')}{number}" for source, number in mixed_target["origin"].tolist()]
    owner = _owners(plan, index)
    regions = torch.full(_size(mixed_image), -1, dtype=owner.dtype)
    regions[: owner.shape[0], : owner.shape[1]] = owner
    picture = draw_sample(mixed_image, mixed_target, classes, fit=cell, regions=regions, tags=mixed_tags, **options)
    return [first, second, Drawing(picture, caption)]


def sample_rows(
    sample: MixedSample,
    titles: Sequence[str],
    classes: Sequence[str],
    *,
    cell: tuple[int, int] = (380, 480),
    hide: Iterable[str] = (),
    tagged: bool = False,
    font: str | None = None,
) -> list[list[Drawing]]:
    """Rows of a contact sheet for one sample: its instances, and below them its semantic maps where it has any.

    Args:
        sample: what ``mix_sample`` made.
        titles: what to call its images, base first.
        classes: class names.
        cell: (height, width) that each drawing may take.
        hide: any of "boxes", "names", "masks", "keypoints", "semantic".
        tagged: see :func:`mix_row`.
        font: path of a TrueType font.
    """
    hidden = set(hide)
    drawing: dict[str, Any] = {kind: kind not in hidden for kind in ("boxes", "names", "masks", "keypoints")}
    share = f"{1 - float(sample.plan.share()[0, 0]):.0%} {'replaced' if sample.plan.weight is None else 'partner'}"
    told = caption_of(sample.rows)
    maps = sample.target.get("semantic") is not None and "semantic" not in hidden

    def row(caption: str, **options: Any) -> list[Drawing]:
        return mix_row(
            sample.images,
            sample.targets,
            sample.image,
            sample.target,
            sample.plan,
            0,
            classes,
            cell=cell,
            titles=titles,
            caption=caption,
            font=font,
            **options,
        )

    rows = []
    if sample.target.get("labels") is not None or not maps:
        rows.append(row(f"{share} · {told}" if told else share, tagged=tagged, **drawing))
    if maps:
        rows.append(row(share if not rows else "semantic map", semantic=True))
    return rows


def caption_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """What became of the instances of one output, in a few words, base and partners apart.

    Args:
        rows: of ``MixReport.rows()``, those of the output.

    Returns:
        For example ``"base: 3 kept, 1 shrunk, 1 dropped (covered) · partner: 2 shrunk, 5 left out"``. What of a partner
        does not show at all is left out, not dropped.
    """
    parts = []
    table = list(rows)
    for title, side in (
        ("base", [row for row in table if row["layer"] == 0]),
        ("partner", [row for row in table if row["layer"] > 0]),
    ):
        counts: dict[str, int] = {}
        for row in sorted(side, key=lambda row: (_OUTCOMES.get(row["outcome"], 9), row["reason"])):
            words = row["outcome"] + (f" ({row['reason']})" if row["reason"] else "")
            if row["layer"] > 0 and row["reason"] in ("covered", "outside", "not carried"):
                words = "left out"
            counts[words] = counts.get(words, 0) + 1
        if counts:
            parts.append(f"{title}: " + ", ".join(f"{count} {words}" for words, count in counts.items()))
    return " · ".join(parts)


_OUTCOMES = {"kept": 0, "shrunk": 1, "ignored": 2, "dropped": 3}


def partner_sources(plan: MixPlan, index: int) -> list[int]:
    """Pool indices of the images that show in an output besides its base, in the order of their layers."""
    result: list[int] = []
    for layer in range(1, plan.source.shape[1]):
        source = int(plan.source[index, layer])
        if source >= 0 and source not in result and bool(_shows(plan, index, layer).any()):
            result.append(source)
    return result


def _grid(pictures: Sequence[UInt8[Tensor, "3 h w"]], across: int) -> UInt8[Tensor, "3 H W"]:
    """Pictures of different sizes side by side, `across` in a row, on the sheet's own ground."""
    height = max(picture.shape[-2] for picture in pictures)
    width = max(picture.shape[-1] for picture in pictures)
    down = -(-len(pictures) // across)
    canvas = torch.tensor(_PAPER, dtype=torch.uint8)[:, None, None].repeat(
        1, down * height + 4 * (down - 1), across * width + 4 * (across - 1)
    )
    for number, picture in enumerate(pictures):
        top, left = (number // across) * (height + 4), (number % across) * (width + 4)
        canvas[:, top : top + picture.shape[-2], left : left + picture.shape[-1]] = picture
    return canvas
