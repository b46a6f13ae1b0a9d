"""Faults that fuzzing found in the public surface, each with the input it took; files: tests/data/test_hostile_*."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.functional import mix_labels, mix_pixels
from cutmix_dense.plan import MixPlan

BOXES = torch.tensor([[1.0, 1.0, 5.0, 5.0], [2.0, 2.0, 8.0, 8.0]])


def plan_of(**changes):
    """A plan of one output that shows the one image, with some fields changed."""
    source, sizes = torch.zeros((1, 1), dtype=torch.long), torch.tensor([[6, 5]])
    edges = tuple(torch.tensor([[0, side]]) for side in (6, 5))
    return replace(MixPlan.from_grid(source, edges, torch.zeros((1, 1, 1), dtype=torch.long), sizes), **changes)


@pytest.mark.parametrize("side", [(6, 1), (1, 6), (1, 1), (6, 2)])
@pytest.mark.parametrize("scale", [0.2, 0.5, 1.5, 3.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "antialias"])
def test_bytes_of_one_column_are_resized_as_numbers_are(side, scale, interpolation):
    """torch's resize of uint8 ends in an internal error, or in other pixels, where a side is 1."""
    image = torch.randint(0, 255, (3, *side), dtype=torch.uint8)
    canvas = [max(1, round(length * scale)) for length in side]
    plan = MixPlan.from_grid(
        torch.zeros((1, 1), dtype=torch.long),
        tuple(torch.tensor([[0, length]]) for length in canvas),
        torch.zeros((1, 1, 1), dtype=torch.long),
        torch.tensor([side]),
        scale=torch.full((1, 1, 2), scale),
        canvas=torch.tensor([canvas]),
    )
    bytewise, exact = (
        mix_pixels([pool], plan, fill=0, interpolation=interpolation)[0] for pool in (image, image.double())
    )
    assert (bytewise.double() - exact).abs().max() <= 1.5  # torch rounds bytes after each axis


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": torch.zeros((1, 1))}, "source must be int64 or int32"),
        ({"source": torch.zeros((1, 1), dtype=torch.int8)}, "source must be int64 or int32"),
        ({"carry": torch.ones((1, 1, 2), dtype=torch.long)}, "carry must be bool"),
        ({"scale": torch.full((1, 1, 2), 1e30)}, "scale and shift of output 0 must place"),
        ({"shift": torch.full((1, 1, 2), -1e30)}, "scale and shift of output 0 must place"),
    ],
)
def test_a_plan_refuses_what_no_canvas_holds(change, reason):
    with pytest.raises(ValueError, match=reason):
        plan_of(**change)


@pytest.mark.parametrize("change", [{"carry": ()}, {"edges": (torch.tensor([[0, 6]]), 5)}, {"scale": 1.0}])
def test_a_plan_is_made_of_tensors(change):
    with pytest.raises(TypeError, match="must be a tensor"):
        plan_of(**change)


def test_a_plan_of_small_integers_mixes_labels():
    plan = plan_of(source=torch.zeros((1, 1), dtype=torch.int32))
    assert mix_labels(torch.tensor([2]), plan, num_classes=4).tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize("method", [cd.CopyPaste(), cd.CutMix(), cd.CutMix(region=cd.regions.ObjectBox())])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"boxes": BOXES.tolist()}, TypeError),
        ({"boxes": BOXES.bool()}, TypeError),
        ({"masks": [1, 2]}, TypeError),
        ({"masks": torch.ones((3, 9, 9), dtype=torch.bool)}, ValueError),
        ({"iscrowd": torch.zeros(3)}, ValueError),
        ({"iscrowd": ["a", "b"]}, TypeError),
        ({"labels": torch.ones(3)}, ValueError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value.__name__,
)
def test_rows_that_do_not_fit_are_refused_by_name(method, change, error):
    target = {"boxes": BOXES, "labels": torch.ones(2, dtype=torch.long), **change}
    with pytest.raises(error, match=rf"targets\[0\]\['(boxes|{next(iter(change))})'\]"):
        method([torch.zeros(3, 9, 9)] * 2, [target] * 2)


@pytest.mark.parametrize("value", [{"a": 1, "b": 2}, {1, 2}, 5])
def test_an_interval_is_a_pair(value):
    with pytest.raises(ValueError, match=r"aspect must be \(low, high\)"):
        cd.regions.AreaBox(aspect=value)


@pytest.mark.parametrize("value", ["", "24", 5, (2,), (2.5, 4), {2: 3, 4: 5}])
def test_a_range_of_counts_is_a_pair(value):
    with pytest.raises(ValueError, match=r"n_stripes must be \(low, high\)"):
        cd.StripeMix(n_stripes=value)


HUGE = 10**400
"""A whole number that no float holds."""


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: cd.RICAP(beta=HUGE), "beta"),
        (lambda: cd.CutMix(alpha=HUGE), "alpha"),
        (lambda: cd.CopyPaste(feather=HUGE), "feather"),
        (lambda: cd.CopyPaste(scale=(1, HUGE)), "scale"),
        (lambda: cd.CarveMix(spacing=(HUGE, 1)), "spacing"),
        (lambda: cd.CowMix(sigma=(1, HUGE)), "sigma"),
        (lambda: cd.CowMix(sigma=(1, 1e6)), "sigma"),
        (lambda: cd.FMix(decay=HUGE), "decay"),
        (lambda: cd.RandomMix([cd.CutMix()], weights=(HUGE,)), "weights"),
        (lambda: cd.regions.ObjectBox(margin=HUGE), "margin"),
        (lambda: cd.CutMix(min_size=HUGE), "min_size"),
        (lambda: cd.CutMix(min_size=(1.0, HUGE)), "min_size"),
        (lambda: cd.CutMix(min_visibility=HUGE), "min_visibility"),
        (lambda: cd.Mosaic(grid=(HUGE, 2)), "grid"),
        (lambda: cd.Mosaic(grid=(100_000, 100_000)), "grid"),
    ],
)
def test_numbers_beyond_every_float_are_refused_by_name(make, name):
    with pytest.raises(ValueError, match=f"^{name} must"):
        make()


def test_a_fill_of_bytes_is_no_nan():
    plan = plan_of(shift=torch.full((1, 1, 2), 2.0))
    image = torch.zeros((1, 3, 6, 5))
    assert bool(mix_pixels(image, plan, fill=float("nan")).isnan().any())
    with pytest.raises(ValueError, match=r"fill must lie within 0 … 255 for torch\.uint8, got nan"):
        mix_pixels(image.byte(), plan, fill=float("nan"))


@pytest.mark.parametrize("others", [{}, {"boxes": BOXES}])
def test_instances_to_be_pasted_lie_somewhere(others):
    targets = [{"labels": torch.arange(2), **others}, {"labels": torch.arange(3)}]
    with pytest.raises(ValueError, match=r"targets\[\d\] has \d instances but neither 'boxes' nor 'masks'"):
        cd.CopyPaste(p=1.0)(torch.zeros((2, 3, 9, 9)), targets)


@pytest.mark.parametrize("whose", ["base", "partner"])
@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"img": None}, TypeError, r"img must be an array .*NoneType"),
        ({"img": [1, 2]}, TypeError, r"img must be an array .*list"),
        ({"img": np.zeros(0)}, TypeError, r"img must be an array .*an array of \(0,\)"),
        (
            {"gt_ignore_flags": np.ones(3, bool)},
            ValueError,
            "gt_ignore_flags must have a row for each of gt_bboxes's 2",
        ),
    ],
)
def test_a_sample_of_a_pipeline_is_checked_by_name(whose, change, error, reason):
    mmengine = pytest.importorskip("cutmix_dense.mmengine", reason="the adapter needs MMEngine")
    sample = {
        "img": np.zeros((9, 9, 3), np.uint8),
        "gt_bboxes": BOXES.numpy(),
        "gt_bboxes_labels": np.arange(2),
        "gt_ignore_flags": np.array([False, True]),
    }
    mix = mmengine.scope.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    assert len(mix({**sample, "mix_results": [sample]})["img"]) == 9
    base, partner = ({**sample, **change} if whose == name else sample for name in ("base", "partner"))
    with pytest.raises(error, match=reason):
        mix({**base, "mix_results": [partner]})


def test_the_boxes_of_a_partner_have_four_columns():
    A = pytest.importorskip("albumentations")
    import cutmix_dense.albumentations as adapter

    sample = {"image": np.zeros((9, 9, 3), np.uint8), "bboxes": BOXES.numpy(), "labels": [1, 2]}
    mix = A.Compose([adapter.CutMix(p=1.0)], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]))
    with pytest.raises(
        ValueError, match=r"mix_metadata.*\['bboxes'\] must be rows like the image's own, got shape \(2, 2\)"
    ):
        mix(**sample, mix_metadata=[{**sample, "bboxes": BOXES.numpy()[:, :2]}])
