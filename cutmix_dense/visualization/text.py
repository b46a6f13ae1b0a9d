"""Text on pictures: fonts, lengths, and names placed where they hide little."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from PIL import ImageFont

if TYPE_CHECKING:
    pass


@lru_cache(maxsize=64)
def load_font(size: int, path: str | None = None) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own TrueType font, or the one at ``path``, at a size in pixels."""
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
    font = load_font(16, path)
    missing = bytes(font.getmask("\uffff"))
    return all(sign.isspace() or bytes(font.getmask(sign)) != missing for sign in text)


def font_for_texts(texts: Iterable[str], path: str | None) -> str | None:
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


def spell_out(text: str, path: str | None) -> str:
    """The text as a font can write it: letters that Pillow's own lacks lose their accents."""
    text = text.translate(_SPELLED)
    if path is not None or _has_glyphs(None, "".join(sorted(set(text)))):
        return text
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "?"


def measure_text(text: str, font: Any) -> tuple[int, int]:
    """Width of the text and height of a line in this font, so that every label of a picture is equally high."""
    left, _, right, _ = font.getbbox(text)
    if isinstance(font, ImageFont.FreeTypeFont):
        ascent, descent = font.getmetrics()
        return int(right - left + 0.999), ascent + descent
    return int(right - left + 0.999), font.getbbox("Ag")[3]


def shorten(text: str, font: Any, width: int) -> str:
    """The text, cut in its middle with an ellipsis if it is wider than `width` pixels."""
    if measure_text(text, font)[0] <= width:
        return text
    keep = len(text) - 1
    while keep > 2:
        shorter = text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]
        if measure_text(shorter, font)[0] <= width:
            return shorter
        keep -= 1
    return text[:1] + "…"


Rect = tuple[int, int, int, int]


def rect_area(box: Rect) -> int:
    """Pixels in a rectangle."""
    return (box[2] - box[0]) * (box[3] - box[1])


def _overlap(a: Rect, b: Rect) -> int:
    """Common area of two rectangles (x0, y0, x1, y1)."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def place_labels(
    boxes: Sequence[Rect],
    sizes: Sequence[tuple[int, int]],
    canvas: tuple[int, int],
    points: Sequence[Any] | None = None,
) -> list[Rect | None]:
    """A place for every label near its box: inside the picture, on no other label, on as few small boxes as possible.

    Small boxes, which have fewer places, choose first. A label that would lie on another one, and so hide letters, or
    hide other small boxes, is left out (None): the box's colour still tells the class.

    Args:
        boxes: pixel rectangles (x0, y0, x1, y1) of the drawing.
        sizes: (width, height) of each label.
        canvas: (height, width) of the drawing.
        points: per box None, or (n, 2) points (x, y) by which its label stands, those of a slanted box.

    Returns:
        One rectangle per label, or None.
    """
    height, width = canvas
    order = sorted(range(len(boxes)), key=lambda i: rect_area(boxes[i]))
    placed: list[Rect] = []
    result: list[Rect | None] = [None] * len(boxes)
    for index in order:
        w, h = sizes[index]
        corners = None if points is None else points[index]
        candidates = _round_box(boxes[index], w, h) if corners is None else _at_points(corners, w, h)
        # What a label would hide: boxes not much larger than itself.
        small = [box for box in boxes if box is not boxes[index] and rect_area(box) < 6 * w * h]
        best: tuple[float, Rect] | None = None
        for rank, (left, top) in enumerate(candidates):
            # Slide into the picture; a far slide no longer belongs to the box, which the rank term expresses.
            inside_left = max(0, min(left, width - w))
            inside_top = max(0, min(top, height - h))
            rect = (inside_left, inside_top, inside_left + w, inside_top + h)
            slide = abs(inside_left - left) + abs(inside_top - top)
            on_small = sum(_overlap(rect, box) for box in small) / (w * h)
            own = _overlap(rect, boxes[index]) / (w * h) if rect_area(boxes[index]) < 6 * w * h else 0.0
            cost = 1.5 * on_small + 0.9 * own + 0.02 * rank + 0.01 * slide
            if on_small > 0.7 or any(_overlap(rect, other) for other in placed):
                continue
            if best is None or cost < best[0]:
                best = (cost, rect)
        if best is not None:
            placed.append(best[1])
            result[index] = best[1]
    return result


def _round_box(box: Rect, w: int, h: int) -> list[tuple[int, int]]:
    """Left upper corners of the places for a label (w, h) by an upright box, the best first."""
    x0, y0, x1, y1 = box
    return [
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
        ((x0 + x1 - w) // 2, y0 - h),
        ((x0 + x1 - w) // 2, y1),
        (x1, (y0 + y1 - h) // 2),
        (x0 - w, (y0 + y1 - h) // 2),
        (x1 - w // 2, y0 - h),  # reaching beyond a side
        (x0 - w // 2, y0 - h),
        (x1 - w // 2, y1),
        (x0 - w // 2, y1),
    ]


def _at_points(points: Any, w: int, h: int) -> list[tuple[int, int]]:
    """The same by the points that span a slanted box: outside of each, above those in its upper half first."""
    middle_x, middle_y = (points.max(axis=0) + points.min(axis=0)) / 2
    places: list[tuple[int, int]] = []
    for x, y in sorted(points.tolist(), key=lambda point: point[1]):
        places.append((round(x - w / 2), round(y - h) if y <= middle_y else round(y)))
        places.append((round(x - w) if x <= middle_x else round(x), round(y - h / 2)))
    return [*places, (round(middle_x - w / 2), round(middle_y - h / 2))]


def wrap_text(text: str, font: Any, width: int) -> list[str]:
    """The text in lines no wider than `width` pixels; line breaks are kept, a single long word is shortened."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        current = ""
        for word in paragraph.split(" "):
            longer = f"{current} {word}" if current else word
            if measure_text(longer, font)[0] <= width or not current:
                current = longer
            else:
                lines.append(current)
                current = word
        lines.append(current)
    return [shorten(entry, font, width) for entry in lines]
