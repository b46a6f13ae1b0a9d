"""Many methods on the same two pictures, side by side."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.mixed_sample import mix_sample
from cutmix_dense.transforms import CarveMix
from cutmix_dense.visualization.rows import sample_rows
from cutmix_dense.visualization.sheets import Drawing

if TYPE_CHECKING:
    from cutmix_dense.data import DenseDataset
    from cutmix_dense.data.mixed_sample import MixedSample
    from cutmix_dense.transforms import MixTransform

_SAMPLES = {"BCHW": "images", "BTCHW": "clips", "BCDHW": "volumes"}


@dataclass(frozen=True)
class FamilySheet:
    """Many methods on the same two pictures.

    Attributes:
        rows: the base, its partner and the mixed pictures, for a contact sheet.
        targets: what is drawn in them.
        left_out: why a method doesn't mix these pictures (it needs maps or instances, and there are none), by its name.
    """

    rows: list[list[Drawing]]
    targets: list[Mapping[str, Any]]
    left_out: dict[str, str]

    def remark(self) -> str:
        """One line about the methods that are left out; empty if there is none."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            reasons.setdefault(reason, []).append(name)
        told = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
        return f"left out: {told}" if told else ""


def family_rows(
    dataset: DenseDataset,
    index: int,
    transforms: Mapping[str, MixTransform],
    *,
    seed: int = 0,
    across: int = 4,
    cell: tuple[int, int] = (300, 400),
    hide: Iterable[str] = (),
    font: str | None = None,
) -> FamilySheet:
    """Rows of a contact sheet: the base, its partner, and what every transform makes of the two.

    Args:
        dataset: where the pictures are from.
        index: the base; the partner is drawn by ``seed``, the same for all.
        transforms: by the name that stands below the picture.
        seed: of the partner and of every mix.
        across: pictures in a row.
        cell: (height, width) that each drawing may take.
        hide: see :func:`sample_rows`.
        font: path of a TrueType font.

    Returns:
        The rows, the targets that are drawn in them, and the transforms that can't mix these pictures.

    Raises:
        SampleError: none of the transforms that are defined for such samples can mix them.
    """
    cells: list[Drawing] = []
    targets: list[Mapping[str, Any]] = []
    left_out: dict[str, str] = {}
    failure: SampleError | None = None
    heard: dict[Any, Any] = {}
    for name, transform in transforms.items():
        if dataset.mix_layout not in transform.layouts:
            left_out[name] = f"not defined for {_SAMPLES[dataset.mix_layout]}"
            continue
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                made = mix_sample(dataset, transform, index, seed=seed, pool=2)
            except SampleError as error:
                failure = error
                left_out[name] = error.reason.rsplit(": ", 1)[-1].partition(";")[0]
                continue
        if not made.mixed:
            left_out[name] = "has nothing to mix here"
            continue
        for each in told:  # of a method that is left out, the remark says why
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, registry=heard)
        chosen = _one_class(transform, made)
        if chosen is not None:
            transform = copy(transform)
            transform.classes = (chosen,)
            made = mix_sample(dataset, transform, index, seed=seed, pool=2)
            name = f"{name}(classes=[{chosen}])"
        names = (dataset.image_path(image).name for image in made.indices)
        titles = [f"{part}: {file}, as {name} cuts it" for part, file in zip(("base", "partner"), names)]
        rows = sample_rows(made, titles, dataset.classes, cell=cell, hide=hide, font=font, views=1, sources=not cells)
        if not cells:
            cells += rows[0][:2]
            targets += map(_drawn, made.targets)
        cells.append(Drawing(rows[0][-1].picture, f"{name}\n{rows[0][-1].caption}"))
        targets.append(_drawn(made.target))
    if failure is not None and not cells:
        raise failure
    return FamilySheet([cells[start : start + across] for start in range(0, len(cells), across)], targets, left_out)


def _drawn(target: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of a target is drawn: its instances, and its semantic map where it has none."""
    if isinstance(target, Mapping) and target.get("labels") is not None:
        return {key: value for key, value in target.items() if key != "semantic"}
    return target


def _one_class(transform: MixTransform, made: MixedSample) -> int | None:
    """The class that a CarveMix carves out of a map in which everything but 0 would be its lesion; None to leave it.

    It is the largest class of the partner that takes at most a quarter of the map, else the smallest.
    """
    if not isinstance(transform, CarveMix) or transform.classes is not None or made.plan.ndim != 2:
        return None
    labels = made.targets[-1].get("semantic")
    if not isinstance(labels, Tensor):
        return None
    values, counts = labels.as_subclass(Tensor).unique(return_counts=True)
    sizes = {int(v): int(n) for v, n in zip(values, counts) if int(v) not in (0, transform.ignore_index)}
    if len(sizes) < 2 or 2 * sum(sizes.values()) < labels.numel():
        return None
    fitting = [value for value, size in sizes.items() if 4 * size <= labels.numel()]
    return max(fitting, key=sizes.__getitem__) if fitting else min(sizes, key=sizes.__getitem__)
