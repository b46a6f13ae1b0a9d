"""MMEngine's transform of one sample: partners of another size are scaled, cut or left, as its setting says."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mmengine")

from cutmix_dense.mmengine import TRANSFORMS


def sample(number, height, width):
    """A sample of one number, its object in the second quarter of each side."""
    box = [width // 4, height // 4, width // 2, height // 2]
    mask = np.zeros((1, height, width), np.uint8)
    mask[0, box[1] : box[3], box[0] : box[2]] = 1
    return {
        "img": np.full((height, width, 3), number, np.uint8),
        "img_shape": (height, width),
        "gt_bboxes": np.array([box], np.float32),
        "gt_bboxes_labels": np.array([number]),
        "gt_masks": mask,
        "gt_seg_map": (mask[0] * number).astype(np.uint8),
    }


def mixed(fit=None, **method):
    settings = {} if fit is None else {"partner_fit": fit}
    mix = TRANSFORMS.build({"p": 1.0, **method, **settings})
    return mix({**sample(1, 40, 56), "mix_results": [sample(2, 80, 112)]})


@pytest.mark.parametrize("fit", [None, "resize"])
def test_a_larger_partner_is_scaled_into_the_sample(fit):
    result = mixed(fit, type="cutmix_dense.CopyPaste", instances="all")
    place = np.zeros((40, 56), bool)
    place[10:20, 14:28] = True  # half of (20 … 40, 28 … 56), where the sample's own object lies
    assert np.array_equal(result["img"][..., 0] == 2, place)
    assert np.array_equal(result["gt_seg_map"], np.where(place, 2, 0))
    assert result["gt_bboxes"].tolist() == [[14, 10, 28, 20]]
    assert result["gt_bboxes_labels"].tolist() == [2]
    assert np.array_equal(result["gt_masks"][0].astype(bool), place)


def test_it_may_keep_its_scale():
    region = {"type": "AreaBox", "area": (1.0, 1.0), "aspect": (1.0, 1.0)}  # all that the two share
    result = mixed("crop", type="cutmix_dense.CutMix", region=region)
    assert (result["img"] == 2).all()
    assert result["gt_bboxes"].tolist() == [[28, 20, 56, 40]]
    np.random.seed(5)  # noqa: NPY002  # the state that MMEngine's transforms draw from
    places = set()
    for _ in range(60):
        result = mixed("random_crop", type="cutmix_dense.CutMix", region=region, min_visibility=1.0)
        assert (result["img"] == 2).all()
        places.update(map(tuple, result["gt_bboxes"].tolist()))
    assert len(places) > 3
    assert all(right - left == 28 and bottom - top == 20 for left, top, right, bottom in places)


@pytest.mark.parametrize("given", ["20", 20.5, None, [20]])
def test_a_cache_of_no_whole_number_is_refused_by_name(given):
    with pytest.raises(ValueError, match="max_cached_images must be a whole number, got"):
        TRANSFORMS.build({"type": "cutmix_dense.CutMix", "max_cached_images": given})
    assert TRANSFORMS.build({"type": "cutmix_dense.CutMix", "max_cached_images": 20.0}).max_cached_images == 20


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="partner_fit must be one of"):
        mixed("scale", type="cutmix_dense.CutMix")
