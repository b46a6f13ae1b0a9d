"""Rows of a contact sheet: base, partners and mixed picture of a sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from cutmix_dense.data.outcomes import LEFT_OUT, named, without_repeats
from cutmix_dense.visualization.colors import PAPER
from cutmix_dense.visualization.pictures import picture_size
from cutmix_dense.visualization.regions import owners_of, partner_sources, shown_pixels, source_letters
from cutmix_dense.visualization.samples import draw_sample
from cutmix_dense.visualization.sheets import Drawing
from cutmix_dense.visualization.views import View, views_of

if TYPE_CHECKING:
    from cutmix_dense.data.mixed_sample import MixedSample
    from cutmix_dense.plan import MixPlan


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
    sources: bool = True,
    others: bool = True,
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
        sources: draw base and partners; without them there is the mixed picture alone.
        others: draw the partners.
        **drawing: further options of :func:`draw_sample`.

    Returns:
        Up to three drawings for a row of :func:`contact_sheet`.
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

    def together(shown: Sequence[int]) -> Drawing:
        """The partners in one cell."""
        if not shown:
            return Drawing(None, "no partner: unchanged")
        layers = list(range(1, plan.source.shape[1]))
        if len(shown) == 1:
            return Drawing(panel(shown[0], cell, layers=layers), title(shown[0]))
        across, down = 2, -(-len(shown) // 2)
        fit = ((cell[0] - 4 * (down - 1)) // down, (cell[1] - 4 * (across - 1)) // across)
        parts = [panel(source, fit, layers=layers) for source in shown]
        return Drawing(_grid(parts, across), ", ".join(title(source) for source in shown))

    row = [Drawing(panel(base, cell, layers=[0]), title(base))] if sources else []
    if sources and others:
        row.append(together(partners))
    mixed_tags = None
    if tagged and mixed_target.get("origin") is not None:
        mixed_tags = [f"{letters.get(source, '?')}{number}" for source, number in mixed_target["origin"].tolist()]
    owner = owners_of(plan, index)
    regions = torch.full(picture_size(mixed_image), -1, dtype=owner.dtype)
    regions[: owner.shape[0], : owner.shape[1]] = owner
    picture = draw_sample(mixed_image, mixed_target, classes, fit=cell, regions=regions, tags=mixed_tags, **options)
    return [*row, Drawing(picture, caption)]


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
    sources: bool = True,
) -> list[list[Drawing]]:
    """Rows of a contact sheet for one sample: its instances, and below them its semantic maps where it has any.

    An image is one row: base, partners (or the cut-outs of a bank), mixed. A clip is a strip of frames, a volume some
    of its slices: a row for the base, one for its partners and one for the mixed sample. With ``views=1`` they are one
    row, as an image is. A sample that is mixed with itself alone has no partners to draw.

    Args:
        sample: what ``mix_sample`` made.
        titles: what to call its images, base first; cut-outs are called by their class.
        classes: class names.
        cell: (height, width) that each drawing of an image may take; those of a strip take three quarters.
        hide: any of "boxes", "names", "masks", "keypoints", "semantic".
        tagged: see :func:`mix_row`; not for volumes, whose slices don't show every instance.
        font: path of a TrueType font.
        views: frames or slices at most.
        sources: draw base and partners; without them each row is the mixed picture alone.
    """
    hidden = set(hide)
    drawing: dict[str, Any] = {kind: kind not in hidden for kind in ("boxes", "names", "masks", "keypoints")}
    side = "cut-outs" if sample.cut_outs else "partner"
    share = f"{1 - float(sample.plan.share()[0, 0]):.0%} {'replaced' if sample.plan.weight is None else side}"
    titles = [*titles, *(_class_of(target, classes) for target in sample.targets[len(sample.indices) :])]
    shown = views_of(sample, views)
    others = not _is_alone(sample, shown)
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
            sources=sources,
            others=others,
            **options,
        )
        if not view.name:
            return cells
        sides = [*(["base"] if sources else []), *([side] if sources and others else []), "mixed"]
        return [
            Drawing(each.picture, " · ".join(filter(None, (role, view.name, each.caption))))
            for role, each in zip(sides, cells, strict=True)
        ]

    kinds: list[list[list[Drawing]]] = []
    if instances:
        told = [caption_of([line for line in sample.rows if line["output"] == view.index], side) for view in shown]
        captions = [" · ".join(filter(None, (share, words))) for words in told]
        tagged = tagged and sample.plan.ndim == 2
        kinds.append([row(view, words, tagged=tagged, **drawing) for view, words in zip(shown, captions)])
    if maps:
        kinds.append([row(view, "semantic map" if instances else share, semantic=True) for view in shown])
    return [list(line) for rows in kinds for line in (zip(*rows) if strip else rows)]


def _class_of(target: Mapping[str, Any], classes: Sequence[str]) -> str:
    """The class of a cut-out."""
    label = int(target["labels"][0])
    return classes[label] if label < len(classes) else str(label)


def _is_alone(sample: MixedSample, shown: Sequence[View]) -> bool:
    """Whether no other image is in a mix: what is pasted comes from the base itself."""
    pasted = [set(partner_sources(view.plan, view.index)) - {int(view.plan.source[view.index, 0])} for view in shown]
    itself = any(partner_sources(view.plan, view.index) for view in shown)
    return len(sample.images) == 1 or (itself and not any(pasted))


def caption_of(rows: Iterable[Mapping[str, Any]], of: str = "partner") -> str:
    """What happened to the instances of one output, in a few words, for base and partners separately.

    Args:
        rows: of ``MixReport.rows()``, those of the output.
        of: what the words call those that aren't the base's.

    Returns:
        For example ``"base: 3 kept, 1 shrunk, 1 dropped (covered) · partner: 2 shrunk, 5 left out"``. What of a partner
        does not show in any layer is left out, not dropped.
    """
    parts = []
    table = without_repeats(rows)
    for title, side in (
        ("base", [row for row in table if row["layer"] == 0]),
        (of, [row for row in table if row["layer"] > 0]),
    ):
        counts: dict[str, int] = {}
        called = [named("base" if row["layer"] == 0 else "partner", row["outcome"], row["reason"]) for row in side]
        for _, outcome, reason in sorted(called, key=lambda each: (_OUTCOMES.get(each[1], 9), each[2])):
            words = outcome + (f" ({reason})" if reason and outcome != LEFT_OUT else "")
            counts[words] = counts.get(words, 0) + 1
        if counts:
            parts.append(f"{title}: " + ", ".join(f"{count} {words}" for words, count in counts.items()))
    return " · ".join(parts)


_OUTCOMES = {"kept": 0, "shrunk": 1, "ignored": 2, LEFT_OUT: 3, "dropped": 4}


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
