"""Many methods on the same two pictures, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.mixed_sample import mix_sample
from cutmix_dense.visualization.sheets import Drawing, sample_rows

if TYPE_CHECKING:
    from cutmix_dense.data import DenseDataset
    from cutmix_dense.transforms import MixTransform

__all__ = ["family_rows"]

_SAMPLES = {"BCHW": "images", "BTCHW": "clips", "BCDHW": "volumes"}


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
) -> tuple[list[list[Drawing]], list[Mapping[str, Any]]]:
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
        The rows, and the targets that are drawn in them. A transform that can't mix these pictures (one that needs
        maps, where there are none) has no picture; its caption says why.

    Raises:
        SampleError: none of the transforms that are defined for such samples can mix them.
    """
    cells: list[Drawing] = []
    targets: list[Mapping[str, Any]] = []
    missing: list[Drawing] = []
    failure: SampleError | None = None
    for name, transform in transforms.items():
        if dataset.mix_layout not in transform.layouts:
            missing.append(Drawing(None, f"{name}\nnot defined for {_SAMPLES[dataset.mix_layout]}"))
            continue
        try:
            made = mix_sample(dataset, transform, index, seed=seed, pool=2)
        except SampleError as error:
            failure = error
            missing.append(Drawing(None, f"{name}\nnot on these pictures: {error.reason.rsplit(': ', 1)[-1]}"))
            continue
        titles = [f"{part}: {dataset.image_path(image).name}" for part, image in zip(("base", "partner"), made.indices)]
        rows = sample_rows(made, titles, dataset.classes, cell=cell, hide=hide, font=font, views=1)
        if not cells:
            cells += [Drawing(drawing.picture, drawing.caption) for drawing in rows[0][:2]]
            targets += made.targets
        cells.append(Drawing(rows[0][-1].picture, f"{name}\n{rows[0][-1].caption}"))
        targets.append(made.target)
    if failure is not None and not cells:
        raise failure
    cells += missing
    return [cells[start : start + across] for start in range(0, len(cells), across)], targets
