"""Contact sheets: rows of base, partners and mixed picture, with captions and a legend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.visualization.colors import GREY_INK, INK, PAPER, Color, class_colors
from cutmix_dense.visualization.pictures import as_rgb, picture_size
from cutmix_dense.visualization.regions import owners_of, partner_sources, shown_pixels, source_letters
from cutmix_dense.visualization.samples import draw_sample, maps_of
from cutmix_dense.visualization.text import font_for_texts, load_font, measure_text, shorten, spell_out, wrap_text
from cutmix_dense.visualization.views import View, views_of

if TYPE_CHECKING:
    from cutmix_dense.data.mixed_sample import MixedSample
    from cutmix_dense.plan import MixPlan

__all__ = ["Drawing", "caption_of", "contact_sheet", "draw_legend", "mix_row", "present_classes", "sample_rows"]


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
    line = measure_text("Ag", small)[1] + 3
    captions = [
        [wrap_text(spell_out(cell.caption, font), small, widths[c]) for c, cell in enumerate(row)] for row in rows
    ]
    caption_heights = [line * max([len(lines) for lines in row], default=0) + (4 if row else 0) for row in captions]
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
                draw.text((x, y + heights[number] + 4 + step * line), text, fill=GREY_INK, font=small)
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
        ignore_index: value of the maps that is no class.

    Returns:
        (name, colour) for :func:`contact_sheet`.
    """
    colors = class_colors(classes)
    found: set[int] = set()
    for target in (part for each in targets for part in ([each] if isinstance(each, Mapping) else each)):
        if instances and isinstance(target.get("labels"), Tensor):
            found.update(int(value) for value in target["labels"].flatten().tolist())
        elif instances and target.get("segments_info") is not None:
            found.update(int(info["category_id"]) for info in target["segments_info"])
        if semantic and target.get("semantic") is not None:
            for labels, _ in maps_of(target["semantic"]):
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
    owner = owners_of(plan, index)
    regions = torch.full(picture_size(mixed_image), -1, dtype=owner.dtype)
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
    views: int = 4,
) -> list[list[Drawing]]:
    """Rows of a contact sheet for one sample: its instances, and below them its semantic maps where it has any.

    An image is one row: base, partners, mixed. A clip is a strip of frames, a volume some of its slices: a row for the
    base, one for its partners and one for the mixed sample. With ``views=1`` they are one row, as an image is.

    Args:
        sample: what ``mix_sample`` made.
        titles: what to call its images, base first.
        classes: class names.
        cell: (height, width) that each drawing of an image may take; those of a strip take three quarters.
        hide: any of "boxes", "names", "masks", "keypoints", "semantic".
        tagged: see :func:`mix_row`; not for volumes, whose slices don't show every instance.
        font: path of a TrueType font.
        views: frames or slices at most.
    """
    hidden = set(hide)
    drawing: dict[str, Any] = {kind: kind not in hidden for kind in ("boxes", "names", "masks", "keypoints")}
    share = f"{1 - float(sample.plan.share()[0, 0]):.0%} {'replaced' if sample.plan.weight is None else 'partner'}"
    shown = views_of(sample, views)
    strip = len(shown) > 1
    maps = shown[0].target.get("semantic") is not None and "semantic" not in hidden
    instances = shown[0].target.get("labels") is not None or not maps

    def row(view: View, caption: str, **options: Any) -> list[Drawing]:
        cells = mix_row(
            view.images,
            view.targets,
            view.image,
            view.target,
            view.plan,
            view.index,
            classes,
            cell=(cell[0] * 3 // 4, cell[1] * 3 // 4) if strip else cell,
            titles=[titles[owner] for owner in view.owners],
            caption=caption,
            font=font,
            **options,
        )
        if not view.name:
            return cells
        sides = ("base", "partner", "mixed")
        return [
            Drawing(each.picture, " · ".join(filter(None, (side, view.name, each.caption))))
            for side, each in zip(sides, cells)
        ]

    kinds: list[list[list[Drawing]]] = []
    if instances:
        told = [caption_of([line for line in sample.rows if line["output"] == view.index]) for view in shown]
        captions = [" · ".join(filter(None, (share, words))) for words in told]
        tagged = tagged and sample.plan.ndim == 2
        kinds.append([row(view, words, tagged=tagged, **drawing) for view, words in zip(shown, captions)])
    if maps:
        kinds.append([row(view, "semantic map" if instances else share, semantic=True) for view in shown])
    return [list(line) for rows in kinds for line in (zip(*rows) if strip else rows)]


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


def _grid(pictures: Sequence[UInt8[Tensor, "3 h w"]], across: int) -> UInt8[Tensor, "3 H W"]:
    """Pictures of different sizes side by side, `across` in a row, on the sheet's own ground."""
    height = max(picture.shape[-2] for picture in pictures)
    width = max(picture.shape[-1] for picture in pictures)
    down = -(-len(pictures) // across)
    canvas = torch.tensor(PAPER, dtype=torch.uint8)[:, None, None].repeat(
        1, down * height + 4 * (down - 1), across * width + 4 * (across - 1)
    )
    for number, picture in enumerate(pictures):
        top, left = (number // across) * (height + 4), (number % across) * (width + 4)
        canvas[:, top : top + picture.shape[-2], left : left + picture.shape[-1]] = picture
    return canvas
