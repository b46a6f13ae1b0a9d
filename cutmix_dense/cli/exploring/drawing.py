"""What the page shows of one mix, as HTML: the mixed picture, its sources, and what became of each instance."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.cli.browse import names_of
from cutmix_dense.cli.demo_page import instance_rows, instance_table
from cutmix_dense.data import DenseDataset
from cutmix_dense.data.mixed_sample import MixedSample, mix_sample
from cutmix_dense.functional.segments import segments_as_instances
from cutmix_dense.visualization import (
    caption_of,
    class_colors,
    draw_sample,
    partner_sources,
    present_classes,
    shown_pixels,
    source_letters,
    to_pil,
)
from cutmix_dense.visualization.regions import owners_of
from cutmix_dense.visualization.views import viewable

LAYERS = ("boxes", "names", "masks", "semantic map")
"""What can be drawn over the pictures."""

_LARGE, _SMALL, _TINY = (480, 640), (240, 320), (160, 220)
"""(height, width) that the mixed picture, one or two sources, and more sources may take."""


@dataclass(frozen=True)
class Look:
    """One mix as HTML.

    Attributes:
        mixed: the mixed picture and a line about it.
        sources: base and partners, with the pixels that they did not give dark.
        table: what became of each instance.
    """

    mixed: str
    sources: str
    table: str


def look(dataset: DenseDataset, transform: Any, index: int, seed: int, layers: Collection[str] = LAYERS[:3]) -> Look:
    """Mix one sample and draw it; (seed, index) decide partners and plan, as for ``cutmix-dense browse``.

    Args:
        dataset: where base and partners are from.
        transform: the method.
        index: of the base.
        seed: of partners and plan.
        layers: of :data:`LAYERS`; a data set that has maps only shows them in any case.

    Raises:
        SampleError: pictures that can't be read, or can't be mixed by this method.
    """
    made = viewable(mix_sample(dataset, transform, index, seed=seed))
    classes = names_of(dataset)
    objects = made.target.get("labels") is not None or getattr(dataset, "has_panoptic", False)
    maps = made.target.get("semantic") is not None and ("semantic map" in layers or not objects)
    options = {kind: kind in layers for kind in ("boxes", "names", "masks")}
    drawing: dict[str, Any] = {**options, "semantic": maps, "colors": class_colors(classes)}
    names = [dataset.image_path(number).name for number in made.indices]
    title = f"{type(transform).__name__}, sample {index}, seed {seed}"
    legend = _legend([made.target, *made.targets], classes) if maps else ""
    notes = "".join(f"<p class=note>Skipped a partner: {escape(str(error))}</p>" for error in made.replaced)
    none = "<p class=note>No objects are annotated here.</p>"
    table = instance_table(instance_rows(made, classes)) if made.rows else none
    return Look(
        _figure(_mixed(made, classes, drawing), f"Mixed picture: {title}", _told(made), "mixed"),
        _sources(made, names, classes, drawing) + legend,
        notes + table,
    )


def _mixed(made: MixedSample, classes: Sequence[str], drawing: Mapping[str, Any]) -> Tensor:
    letters = source_letters(made.plan, 0)
    origin = made.target.get("origin")
    tags = None if origin is None else [f"{letters.get(source, '?')}{number}" for source, number in origin.tolist()]
    owner = owners_of(made.plan, 0)
    regions = torch.full(made.image.shape[-2:], -1, dtype=owner.dtype)
    regions[: owner.shape[0], : owner.shape[1]] = owner
    return draw_sample(made.image, made.target, classes, fit=_LARGE, regions=regions, tags=tags, **drawing)


def _sources(made: MixedSample, names: Sequence[str], classes: Sequence[str], drawing: Mapping[str, Any]) -> str:
    """Base and partners, small: their instances have tags alone, which the table explains."""
    letters = source_letters(made.plan, 0)
    tags_only = ["background" if name == "background" else "" for name in classes]
    base, sources = int(made.plan.source[0, 0]), partner_sources(made.plan, 0)
    partners = [] if sources == [base] else sources  # what comes from the base itself needs no second picture of it
    shown = [(base, "base", [0])] + [(source, "partner", range(1, made.plan.source.shape[1])) for source in partners]
    figures = []
    for source, role, layers in shown:
        image, target = made.images[source], made.targets[source]
        seen = shown_pixels(made.plan, 0, source, (int(image.shape[-2]), int(image.shape[-1])), layers=layers)
        rows = segments_as_instances(target).get("labels")
        tags = None if rows is None else [f"{letters[source]}{number}" for number in range(len(rows))]
        fit = _SMALL if len(shown) <= 2 else _TINY
        picture = draw_sample(image, target, tags_only, fit=fit, dim=~seen, regions=seen.long(), tags=tags, **drawing)
        caption = f"<b>{letters[source]}</b> · {role} · {escape(names[source])}"
        figures.append(_figure(picture, f"The {role}, {names[source]}", caption, role))
    if not sources:
        figures.append("<p class=note>No partner is visible: this sample is unmixed.</p>")
    return f"<div class='sources {'many' if len(shown) > 2 else ''}'>{''.join(figures)}</div>"


def _told(made: MixedSample) -> str:
    share = 1 - float(made.plan.share()[0, 0])
    words = f"<b>{share:.0%}</b> {'from partners' if made.plan.weight is None else 'weight of the partner'}"
    told = caption_of(made.rows)
    return f"{words} · {escape(told)}" if told else words


def _figure(picture: Tensor, alt: str, caption: str, kind: str) -> str:
    """A picture inside the page itself, so that all parts of an update arrive together."""
    image, stream = to_pil(picture), io.BytesIO()
    image.save(stream, "JPEG", quality=92)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f"<figure class='{kind}'><img src='data:image/jpeg;base64,{data}' width={image.width} height={image.height} "
        f"alt='{escape(alt)}' decoding=sync><figcaption>{caption}</figcaption></figure>"
    )


def _legend(targets: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> str:
    """The classes of the maps, by colour."""
    chips = "".join(
        f"<span><i style='background:#{red:02x}{green:02x}{blue:02x}'></i>{escape(name)}</span>"
        for name, (red, green, blue) in present_classes(targets, classes)
    )
    return f"<p class=legend>{chips}<span><i class=hatched></i>not labelled</span></p>"
