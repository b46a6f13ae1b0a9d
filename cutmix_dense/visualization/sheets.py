"""Contact sheets: drawings in rows and columns, with captions and a legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.visualization.colors import GREY_INK, HATCHED, INK, PAPER, Color, class_colors
from cutmix_dense.visualization.pictures import as_rgb
from cutmix_dense.visualization.samples import maps_of
from cutmix_dense.visualization.text import font_for_texts, load_font, measure_text, shorten, spell_out, wrap_text


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
    caption_size: int = 13,
) -> Image.Image:
    """Set drawings in rows and columns under headers, with captions and a legend of the classes' colours.

    Args:
        rows: the cells, row by row; rows may be shorter than the header.
        headers: what stands over the columns.
        title: the first line.
        subtitle: smaller lines under the title, wrapped to the sheet's width.
        legend: (name, colour) of the classes shown.
        font: path of a TrueType font.
        caption_size: of the captions' letters, in pixels.

    Returns:
        A Pillow RGB image.
    """
    font = font_for_texts([title, subtitle, *headers, *(cell.caption for row in rows for cell in row)], font)
    columns = max([len(headers), *(len(row) for row in rows)], default=1)
    gap, margin = 12, 18
    pictures = [[None if cell.picture is None else as_rgb(cell.picture) for cell in row] for row in rows]
    widths = [120] * columns
    for row in pictures:
        for column, picture in enumerate(row):
            if picture is not None:
                widths[column] = max(widths[column], picture.shape[-1])
    heights = [max([40, *(cell.shape[-2] for cell in row if cell is not None)]) for row in pictures]
    body, small = load_font(16, font), load_font(13, font)
    letters = load_font(caption_size, font)
    line, caption_line = (measure_text("Ag", face)[1] + 3 for face in (small, letters))
    captions = [
        [wrap_text(spell_out(cell.caption, font), letters, widths[c]) for c, cell in enumerate(row)] for row in rows
    ]
    caption_heights = [
        caption_line * max([len(lines) for lines in row], default=0) + (4 if row else 0) for row in captions
    ]
    width = 2 * margin + sum(widths) + gap * (columns - 1)
    heading = load_font(21, font)
    title_lines = wrap_text(spell_out(title, font), heading, width - 2 * margin)
    title_line = measure_text("Ag", heading)[1] + 4
    subtitle_lines = wrap_text(spell_out(subtitle, font), small, width - 2 * margin)
    key = draw_legend(legend, width - 2 * margin, font=font) if legend else None
    top = margin + title_line * len(title_lines) + line * len(subtitle_lines) + (10 if title or subtitle else 0)
    head = measure_text("Ag", body)[1] + 8 if any(headers) else 0
    foot = (key.height + gap if key else 0) + margin
    height = top + head + sum(heights) + sum(caption_heights) + gap * len(rows) + foot
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    y = margin
    for text in title_lines:
        draw.text((margin, y), text, fill=INK, font=heading)
        y += title_line
    for text in subtitle_lines:
        draw.text((margin, y), text, fill=GREY_INK, font=small)
        y += line
    y = top
    for column, header in enumerate(headers):
        draw.text((margin + sum(widths[:column]) + gap * column, y), spell_out(header, font), fill=INK, font=body)
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
                draw.text((x, y + heights[number] + 4 + step * caption_line), text, fill=GREY_INK, font=letters)
            x += widths[column] + gap
        y += heights[number] + caption_heights[number] + gap
    if key is not None:
        sheet.paste(key, (margin, y))
    return sheet


def draw_legend(entries: Sequence[tuple[str, Color]], width: int, *, font: str | None = None) -> Image.Image:
    """Chips of colour with names, in as many rows as the width asks for.

    Args:
        entries: (name, colour).
        width: of the picture, in pixels.
        font: path of a TrueType font.

    Returns:
        A Pillow RGB image of that width.
    """
    font = font_for_texts([name for name, _ in entries], font)
    entries = [(spell_out(name, font), color) for name, color in entries]
    letters = load_font(13, font)
    chip, gap = 13, 16
    line = measure_text("Ag", letters)[1] + 6
    places: list[tuple[int, int]] = []
    x = y = 0
    for name, _ in entries:
        wide = chip + 6 + measure_text(name, letters)[0] + gap
        if x and x + wide > width:
            x, y = 0, y + line
        places.append((x, y))
        x += wide
    picture = Image.new("RGB", (max(1, width), y + line), PAPER)
    draw = ImageDraw.Draw(picture)
    for (left, top), (name, color) in zip(places, entries, strict=True):
        draw.rectangle((left, top + 2, left + chip, top + 2 + chip), fill=color, outline=(90, 94, 104))
        if color == HATCHED:
            for step in range(3, 2 * chip - 2, 4):  # inside the outline
                first, last = max(1, step - chip + 1), min(step - 1, chip - 1)
                ends = (left + first, top + 2 + step - first, left + last, top + 2 + step - last)
                draw.line(ends, fill=(235, 238, 245))
        draw.text((left + chip + 6, top), shorten(name, letters, width - chip - 6), fill=INK, font=letters)
    return picture


def present_classes(
    targets: Iterable[Mapping[str, Any] | Sequence[Mapping[str, Any]]],
    classes: Sequence[str],
    *,
    semantic: bool = True,
    instances: bool = True,
    ignore_index: int = 255,
) -> list[tuple[str, Color]]:
    """Legend of the classes that occur in some targets, in the order of their numbers.

    Args:
        targets: dicts with ``labels``, ``semantic`` or ``segments_info``; of a clip a list of them.
        classes: all class names.
        semantic: look at the semantic maps.
        instances: look at the labels; where there are none, at the segments' categories.
        ignore_index: value of the maps that is no class. Where it occurs, it is the last entry, hatched as in the
            drawings.

    Returns:
        (name, colour) for :func:`contact_sheet`.
    """
    colors = class_colors(classes)
    found: set[int] = set()
    hatched = False
    for target in (part for each in targets for part in ([each] if isinstance(each, Mapping) else each)):
        if instances and isinstance(target.get("labels"), Tensor):
            found.update(int(value) for value in target["labels"].flatten().tolist())
        elif instances and target.get("segments_info") is not None:
            found.update(int(info["category_id"]) for info in target["segments_info"])
        if semantic and target.get("semantic") is not None:
            for labels, _ in maps_of(target["semantic"]):
                values = [int(value) for value in labels.unique().tolist()]
                hatched |= ignore_index in values
                found.update(values)
    found.discard(ignore_index)
    if classes and classes[0] == "background":
        found.discard(0)
    named = [(classes[index], colors[index]) for index in sorted(found) if 0 <= index < len(classes)]
    return [*named, (f"ignored ({ignore_index})", HATCHED)] if hatched else named
