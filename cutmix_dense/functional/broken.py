"""Boxes that can't be right: warn of a few, refuse boxes whose format must be another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cutmix_dense.plan import MixPlan
from cutmix_dense.warned import warn_caller

_FEWEST = 4
"""Fewer boxes are no evidence: two bad ones in a batch may be bad luck. From here on, all must be bad."""

_ENOUGH = 8
"""From here on, more than half must be bad; if 1% of the data is bad, that is one batch in a hundred million."""

_UNIT = 1.01
"""Largest normalised coordinate, after jitter and rounding."""

_LARGE = 8
"""Pixels; boxes that all lie within the first pixel of an image with a longer side are normalised."""

_FITS = 0.9
"""Least share of the boxes that must fit their images in a format for messages to name it."""

REMEDY = (
    "declare their format (box_format= and normalized= of the transforms), give tv_tensors.BoundingBoxes with their "
    "format, or convert them with torchvision.ops.box_convert"
)
"""What ends the message of boxes that are broken as a whole: what a program can do."""

_warned = False
"""Whether this process has warned already."""


class GivenBoxes(NamedTuple):
    """Boxes of the input, one row each, on the host.

    Attributes:
        boxes: xyxy (xyzxyz) in pixels, as they were read; rotated boxes in their own format.
        image: pool image of each.
        position: its index in that image.
        size: size of its image, array order, pixels.
        broken: whether it has no area or is inverted.
        outside: whether it lies wholly outside of its image.
        counts: whether it is evidence about the format; ignore regions aren't.
        plain: whether the boxes are plain tensors, without a format of their own.
    """

    boxes: Float[np.ndarray, "n c"]
    image: Int[np.ndarray, " n"]
    position: Int[np.ndarray, " n"]
    size: Int[np.ndarray, "n d"]
    broken: Bool[np.ndarray, " n"]
    outside: Bool[np.ndarray, " n"]
    counts: Bool[np.ndarray, " n"]
    plain: bool = True


def sizes_of(plan: MixPlan) -> tuple[Int[np.ndarray, "pool d"], Bool[np.ndarray, " pool"]]:
    """Sizes of the pool's images as far as a plan uses them, and whether it uses each whole.

    It does if all layers of an image have the same extent, starting at 0. Else extents are crops, and a box outside of
    one isn't broken.
    """
    source, _, _, extent, _ = plan.facts
    present = source >= 0
    image, low, high = source[present], extent[present][:, : plan.ndim], extent[present][:, plan.ndim :]
    sizes = np.zeros((source.max(initial=-1) + 1, plan.ndim), dtype=np.int64)
    np.maximum.at(sizes, image, high)
    whole = np.ones(len(sizes), dtype=bool)
    np.logical_and.at(whole, image, ((low == 0) & (high == sizes[image])).all(axis=1))
    return sizes, whole


def check_boxes(given: GivenBoxes, first: str = "targets[{image}]['boxes'][{position}]") -> None:
    """Warn of the first broken box, once per process; refuse boxes that are broken as a whole.

    A box is bad if it has no area, is inverted or lies outside of its image. Boxes are broken as a whole if more than
    half of them are bad, and more than half in more than half of the images, of at least two; of four to seven boxes,
    all must be bad, and fewer never count. Boxes are normalised if there are at least two, on images larger than 8
    pixels, all within the first pixel and not of whole numbers. So one bad image, or a few bad boxes of a small batch,
    end no training. Rows of equal numbers (zeros, as for "no object") are no evidence. Rotated boxes, whose format is
    always declared, only cause a warning.

    Args:
        given: the boxes; an instance shown by several outputs may occur several times.
        first: how messages name a box, with ``{image}`` and ``{position}``.

    Raises:
        ValueError: the boxes are broken as a whole or normalised; the message says what they look like, names the first
            bad one, and gives the remedy.
    """
    global _warned
    given = _once(given)
    bad = given.broken | given.outside
    evidence = given.counts & (given.boxes != given.boxes[:, :1]).any(axis=1)
    unit = _are_normalised(given, evidence)
    if not unit and not bad.any():
        return
    one = int(bad.argmax()) if bad.any() else int(evidence.argmax())
    name = first.format(image=int(given.image[one]), position=int(given.position[one]))
    size = " × ".join(str(length) for length in given.size[one].tolist())
    example = f"{name} is {[round(value, 4) for value in given.boxes[one].tolist()]} in an image of {size} pixels"
    looks = _looks_like(given, evidence, unit) if given.plain else ""
    upright = given.boxes.shape[1] == 2 * given.size.shape[1]
    if unit or (upright and _mostly(bad, evidence, given.image)):
        share = f"{int((bad & evidence).sum())} of {int(evidence.sum())} have no area, are inverted or lie outside"
        what = "all lie within the first pixel" if unit else share
        if unit and not given.plain:
            looks = "normalised ones: tv_tensors.BoundingBoxes count in pixels, whatever their format"
        raise ValueError(
            f"boxes must be xyxy in pixels of their images, and {what}: {example}"
            f"{'; they look like ' + looks if looks else ''}; {REMEDY}"
        )
    if not _warned:
        _warned = True
        kind = "has no area or is inverted" if given.broken[one] else "lies outside of its image"
        warn_caller(
            f"a box {kind} and is dropped: {example}{'; the boxes look like ' + looks if looks else ''}. Further ones "
            "are dropped without a warning; return_report=True lists each"
        )


def check_keypoints(points: Float[np.ndarray, "n k c"], longest: int) -> None:
    """Refuse keypoints that are normalised: all labelled ones, of at least two, lie within the first pixel.

    Points of whole numbers are no evidence, nor are images of at most 8 pixels.

    Args:
        points: x, y and perhaps v of each instance's keypoints, in pixels as they were read.
        longest: longest side of the images, pixels.

    Raises:
        ValueError: the keypoints are normalised; the message names the remedy.
    """
    places = points[..., :2]
    labelled = (places != 0).any(axis=-1) & np.isfinite(places).all(axis=-1)
    if points.shape[-1] == 3:
        labelled &= points[..., 2] > 0
    places = places[labelled]
    if len(places) < 2 or longest <= _LARGE or np.abs(places).max() > _UNIT or (places == np.round(places)).all():
        return
    raise ValueError(
        "keypoints must be (x, y) in pixels of their images, whatever the unit of boxes is, and all lie within the "
        f"first pixel, the first one at {[round(number, 4) for number in places[0].tolist()]}; multiply them by the "
        "width and the height of their image"
    )


def _once(given: GivenBoxes) -> GivenBoxes:
    """Each instance once, in the order of the pool."""
    place = given.image * (given.position.max(initial=0) + 1) + given.position
    rows = np.unique(place, return_index=True)[1]
    return GivenBoxes(*(column[rows] for column in given[:-1]), plain=given.plain)  # type: ignore[arg-type, misc]


def _are_normalised(given: GivenBoxes, evidence: Bool[np.ndarray, " n"]) -> bool:
    """Whether all boxes lie within the first pixel, as normalised ones do."""
    upright = given.boxes.shape[1] == 2 * given.size.shape[1]
    limit = _UNIT if given.plain else _UNIT + 0.5  # a centre and a size, converted, reach that far
    if not upright or np.abs(given.boxes).max(initial=0) > limit or np.count_nonzero(evidence) < 2:
        return False
    boxes = given.boxes[evidence]
    return bool((boxes != np.round(boxes)).any() and (given.size[evidence] > _LARGE).any())


def _mostly(bad: Bool[np.ndarray, " n"], evidence: Bool[np.ndarray, " n"], image: Int[np.ndarray, " n"]) -> bool:
    """Whether more than half of the boxes are bad, in more than half of the images."""
    total = np.bincount(image[evidence])
    failed = np.bincount(image[evidence & bad], minlength=len(total))
    images = np.count_nonzero(total)
    most = np.count_nonzero(2 * failed > total)
    count, lost = int(total.sum()), int(failed.sum())
    many = lost == count if count < _ENOUGH else 2 * lost > count
    return bool(images >= 2 and count >= _FEWEST and many and 2 * most > images)


def _looks_like(given: GivenBoxes, evidence: Bool[np.ndarray, " n"], unit: bool) -> str:
    """The formats in which the boxes would fit their images; empty if there is none."""
    boxes, size = given.boxes[evidence], given.size[evidence][:, ::-1].astype(np.float64)
    if not unit and 2 * np.count_nonzero(given.outside & evidence) > len(boxes):
        return "pixels of an image of another size"
    broken = np.count_nonzero(given.broken & evidence)
    if not unit and (broken < 2 or 2 * broken <= len(boxes)):
        return ""
    ndim = size.shape[1]
    first, second = boxes[:, :ndim], boxes[:, ndim:]
    limit = np.ones_like(size) if unit else size
    found: dict[str, float] = {}
    for name, low, high in (
        ("xyxy", first, second),
        ("xywh", first, first + second),
        ("cxcywh", first - second / 2, first + second / 2),
        ("corners in the other order", second, first),
    ):
        slack = 0.01 * limit
        fits = (low >= -slack) & (high <= limit + slack) & (high > low)
        found[name] = float(fits.all(axis=1).mean())
    if not unit:
        found.pop("xyxy")  # how they were read
    best = max(found.values())
    if best < _FITS:
        return "normalised boxes" if unit else ""
    names = " or ".join(name for name, share in found.items() if share == best)
    return f"normalised {names}" if unit else names
