"""The Albumentations adapter: what a call costs above an empty pipeline, and that reading partners at once is exact."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest

A = pytest.importorskip("albumentations")

import cutmix_dense as cd  # noqa: E402
import cutmix_dense.albumentations as cda  # noqa: E402
from cutmix_dense import native  # noqa: E402
from cutmix_dense.albumentations.rows import read_rows  # noqa: E402
from cutmix_dense.cli.benchmarking.calls import count_calls  # noqa: E402

CORE = str(Path(cd.__file__).parent)
ADAPTER = str(Path(cda.__file__).parent)


def sample(seed, fields=("labels",), height=120, width=160):
    r = np.random.default_rng(seed)
    corner, side = r.random((20, 2)) * 90, r.random((20, 2)) * 25 + 4
    image = r.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = r.integers(0, 19, (height, width), dtype=np.uint8)
    boxes = np.hstack([corner, corner + side])
    return {"image": image, "mask": mask, "bboxes": boxes, **{field: list(range(20)) for field in fields}}


def calls_outside_the_core(function):
    """How many Python and C calls a function makes, without those that the core makes."""
    count = depth = 0

    def watch(frame, event, _):
        nonlocal count, depth
        if event in ("call", "c_call") and not depth:
            count += 1
        if event == "call":
            file = frame.f_code.co_filename
            inside = file.startswith(CORE) and not file.startswith(ADAPTER)
            depth += depth > 0 or inside
        elif event == "return":
            depth -= depth > 0

    for _ in range(3):
        function()
    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def pipeline(*transforms, fields=("labels",)):
    params = A.BboxParams("pascal_voc", label_fields=list(fields))
    return A.Compose([*transforms, *[A.NoOp(p=1.0)][len(transforms) :]], bbox_params=params, seed=1)


MEASURED = {("CutMix", 1): (450, 114), ("CopyPaste", 1): (660, 119), ("Mosaic", 3): (599, 188)}
"""By method and number of partners: all calls, and those of the adapter, with torch 2.14 and Python 3.11."""


@pytest.mark.skipif(native.library is None, reason="the library wasn't built")
@pytest.mark.parametrize("count", [count_calls, calls_outside_the_core])
@pytest.mark.parametrize(("name", "partners"), MEASURED)
def test_a_mix_adds_few_calls(name, partners, count):
    given = {**sample(0), "mix_metadata": [sample(1 + k) for k in range(partners)]}
    empty, mixing = pipeline(), pipeline(getattr(cda, name)(p=1.0))
    works = (lambda: mixing(**given), lambda: empty(**given))
    mixed, alone = (min(count(work) for _ in range(3)) for work in works)  # some collect garbage
    assert mixed - alone <= MEASURED[name, partners][count is calls_outside_the_core] * 9 / 8


FORMATS = {
    "pascal_voc": lambda boxes, size: boxes,
    "coco": lambda boxes, size: np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]),
    "albumentations": lambda boxes, size: boxes / (size[::-1] * 2),
    "yolo": lambda boxes, size: (
        np.hstack([boxes[:, :2] + boxes[:, 2:], 2 * (boxes[:, 2:] - boxes[:, :2])]) / (size[::-1] * 2) / 2
    ),
}
DTYPES = {"list": np.ndarray.tolist, "single": np.float32, "double": np.float64}


def split(rows):
    return np.split(rows.values, np.cumsum(rows.counts)[:-1])


@pytest.mark.parametrize("settings", [{}, {"clip": True}, {"filter_invalid_bboxes": True}], ids=str)
@pytest.mark.parametrize("form", FORMATS)
def test_boxes_of_all_partners_are_converted_as_compose_converts_each(form, settings):
    r = np.random.default_rng(7)
    params = A.BboxParams(form, label_fields=["words", "numbers"], **settings)
    for dtype in DTYPES.values():
        processor = A.Compose([A.NoOp()], bbox_params=params).processors["bboxes"]
        partners, sizes = [], []
        for count in (5, 0, 1, 9):
            size = (int(r.integers(60, 700)), int(r.integers(60, 700)))
            corner = r.random((count, 2)) * 30
            boxes = np.hstack([corner, corner + 1 + r.random((count, 2)) * 29])
            if settings and count == 9:
                boxes[3, 2] += 800  # beyond its image, but where clipped
                boxes[3, 2] = boxes[3, 2] if "clip" in settings else boxes[3, 0]
            words = [f"{'w' * k}{count}" for k in range(count)]
            given = dtype(FORMATS[form](boxes, size))
            partners.append(("it", {"bboxes": given, "words": words, "numbers": np.arange(count)}))
            sizes.append(size)
        twin = copy.deepcopy(processor)
        found = read_rows("bboxes", processor, np.zeros((0, 4), np.float32), partners, sizes)
        for part, (_, item), size in zip(split(found)[1:], partners, sizes):
            alone = {**copy.deepcopy(item), "image": np.zeros((*size, 3), np.uint8)}
            twin.preprocess(alone)
            assert np.array_equal(part, alone["bboxes"][:, : part.shape[1]] if len(part) else part)
            assert len(part) == len(alone["bboxes"])


@pytest.mark.parametrize("remove", [True, False], ids=["visible", "all"])
@pytest.mark.parametrize("form", ["xy", "yx", "xya", "xys", "xyas", "xysa", "xyz"])
def test_keypoints_of_all_partners_are_converted_as_compose_converts_each(form, remove):
    r = np.random.default_rng(8)
    params = A.KeypointParams(form, label_fields=["words"], remove_invisible=remove)
    for dtype in DTYPES.values():
        processor = A.Compose([A.NoOp()], keypoint_params=params).processors["keypoints"]
        partners, sizes = [], []
        for count in (4, 0, 7):
            sizes.append((int(r.integers(60, 700)), int(r.integers(60, 700))))
            points = dtype(r.random((count, len(form))) * 60)
            partners.append(("it", {"keypoints": points, "words": [f"{count}-{k}" for k in range(count)]}))
        twin = copy.deepcopy(processor)
        found = read_rows("keypoints", processor, np.zeros((0, 5), np.float32), partners, sizes)
        for part, (_, item), size in zip(split(found)[1:], partners, sizes):
            alone = {**copy.deepcopy(item), "image": np.zeros((*size, 3), np.uint8)}
            twin.preprocess(alone)
            assert len(part) == len(item["keypoints"])
            assert np.array_equal(part, alone["keypoints"]) or not len(part)


def test_what_compose_refuses_is_refused_by_its_partner():
    for boxes in ([[5.0, 5.0, 9.0, 200.0]], [[5.0, 5.0, 5.0, 9.0]], [[float("nan")] * 4]):
        good, bad = ({"image": np.ones((40, 50, 3), np.uint8), "bboxes": given} for given in ([[1, 1, 4, 4]], boxes))
        mixing = A.Compose([cda.Mosaic(p=1.0)], bbox_params=A.BboxParams("pascal_voc"))
        with pytest.raises(ValueError, match=r"mix_metadata\[1\]: (Expected|. _max|x_max)"):
            mixing(**good, mix_metadata=[good, bad, good])
