"""Partners in Albumentations that haven't been through the transforms before the mix; unknown arguments."""

from __future__ import annotations

import copy
import inspect
import json
import warnings

import numpy as np
import pytest

A = pytest.importorskip("albumentations")

import cutmix_dense as cd  # noqa: E402
import cutmix_dense.albumentations as cda  # noqa: E402
from cutmix_dense.warned import MixWarning  # noqa: E402

WHOLE = {"type": "AreaBox", "area": [1.0, 1.0], "aspect": [1.0, 1.0]}
"""A region of all that image and partner share."""


def sample(number, height, width):
    """A picture of one number with an object in the second quarter of each side, and a keypoint in its middle."""
    left, top, right, bottom = width // 4, height // 4, width // 2, height // 2
    mask = np.zeros((height, width), np.uint8)
    mask[top:bottom, left:right] = 1
    return {
        "image": np.full((height, width, 3), number, np.uint8),
        "mask": mask * number,
        "masks": [mask],
        "bboxes": [[left, top, right, bottom]],
        "labels": [f"object {number}"],
        "mask_index": [0],
        "keypoints": [((left + right) / 2, (top + bottom) / 2, 8.0)],
        "names": [f"middle {number}"],
    }


def compose(*transforms, cls=A.Compose, form="pascal_voc", points="xys", **more):
    return cls(
        list(transforms),
        bbox_params=A.BboxParams(form, label_fields=["labels", "mask_index"]),
        keypoint_params=A.KeypointParams(points, label_fields=["names"]),
        **more,
    )


def call(base=(240, 320), partner=(480, 640)):
    return {**sample(1, *base), "mix_metadata": [sample(2, *partner)]}


def test_behind_longest_max_size_the_partner_is_as_large():
    """The stock call: both are read at 480 × 640, the pipeline makes the image 240 × 320."""
    pipeline = compose(A.LongestMaxSize(320), cda.CutMix(p=1.0, region=WHOLE))
    result = pipeline(**call(base=(480, 640)))
    assert result["image"].shape == (240, 320, 3)
    assert (result["image"] == 2).all()
    object_ = np.zeros((240, 320), np.uint8)
    object_[60:120, 80:160] = 1  # all of it, at half its size, where it was
    assert np.array_equal(result["mask"], 2 * object_)
    assert len(result["masks"]) == 1
    assert np.array_equal(result["masks"][0], object_)
    assert np.allclose(result["bboxes"], [[80, 60, 160, 120]], atol=1e-3)
    assert result["labels"] == ["object 2"]
    assert np.allclose(result["keypoints"], [(120, 90, 4)], atol=1e-3)
    assert result["names"] == ["middle 2"]


def test_crop_keeps_its_scale_and_corner():
    result = compose(cda.CutMix(p=1.0, region=WHOLE, partner_fit="crop"))(**call())
    assert np.allclose(result["bboxes"], [[160, 120, 320, 240]], atol=1e-3)
    assert np.allclose(result["keypoints"], [(240, 180, 8)], atol=1e-3)


def test_random_crop_shows_another_window_each_time_and_replays():
    pipeline = compose(cda.CutMix(p=1.0, region=WHOLE, partner_fit="random_crop", min_visibility=0.0), seed=0)
    places = []
    for _ in range(12):
        result = pipeline(**call())
        assert (result["image"] == 2).all()
        assert np.array_equal(np.array(result["masks"]).any(axis=0) if result["masks"] else 0, result["mask"] > 0)
        places.append(result["bboxes"])
    assert len({str(place) for place in places}) > 6
    with pytest.warns(UserWarning, match="ReplayMode"):
        replayed = compose(cda.CutMix(p=1.0, partner_fit="random_crop"), cls=A.ReplayCompose)
    made = replayed(**call())
    with pytest.warns(UserWarning, match="ReplayMode"):
        again = A.ReplayCompose.replay(made["replay"], **call())
    assert np.array_equal(made["mask"], again["mask"])


def test_partners_of_the_same_size_are_mixed_bit_for_bit_whatever_the_fit():
    results = [
        compose(cda.CutMix(p=1.0, partner_fit=fit), seed=3)(**call(partner=(240, 320)))
        for fit in ("resize", "crop", "random_crop")
    ]
    for other in results[1:]:
        assert np.array_equal(results[0]["image"], other["image"])
        assert results[0]["bboxes"] == other["bboxes"]


# ------------------------------------------------------------------------------------------------ partner_transform


def window():
    """A crop to the object's own window: it lies in the corner then."""
    return A.Crop(160, 120, 480, 360, p=1.0)


def test_a_pipeline_for_partners():
    mix = cda.CutMix(p=1.0, region=WHOLE, partner_transform=compose(window()))
    given = call()
    before = copy.deepcopy(given)
    result = compose(mix)(**given)
    assert (result["image"] == 2).all()
    assert np.allclose(result["bboxes"], [[0, 0, 160, 120]], atol=1e-3)
    assert (result["mask"][:120, :160] == 2).all()
    assert result["mask"].sum() == 2 * 120 * 160
    assert result["masks"][0].sum() == 120 * 160
    assert np.allclose(result["keypoints"], [(80, 60, 8)], atol=1e-3)
    assert (given["mix_metadata"][0]["image"] == before["mix_metadata"][0]["image"]).all()
    assert given["mix_metadata"][0]["bboxes"] == before["mix_metadata"][0]["bboxes"]


def test_a_callable_for_partners():
    def darker(partner):
        return {**partner, "image": partner["image"] // 2}

    result = compose(cda.CutMix(p=1.0, region=WHOLE, partner_transform=darker))(**call())
    assert (result["image"] == 1).all()
    assert result["labels"] == ["object 2"]


def test_random_partner_pipelines_are_seeded_saved_and_replayed():
    def ours():
        return cda.CutMix(p=1.0, region=WHOLE, partner_transform=compose(A.RandomCrop(240, 320, p=1.0)))

    pipeline = compose(ours())
    loaded = A.from_dict(json.loads(json.dumps(A.to_dict(pipeline))))
    twin = compose(ours(), seed=7)
    for one in (pipeline, loaded):
        one.set_random_seed(7)
    places = set()
    for _ in range(8):
        results = [one(**call()) for one in (pipeline, loaded, twin)]
        places.add(str(results[0]["bboxes"]))
        for other in results[1:]:
            assert np.array_equal(other["mask"], results[0]["mask"])
            assert other["bboxes"] == results[0]["bboxes"]
    assert len(places) > 4
    with pytest.warns(UserWarning, match="ReplayMode"):
        replayed = compose(ours(), cls=A.ReplayCompose)
    made = replayed(**call())
    replayed(**call())
    with pytest.warns(UserWarning, match="ReplayMode"):
        again = A.ReplayCompose.replay(made["replay"], **call())
    assert np.array_equal(made["mask"], again["mask"])


def test_partner_pipelines_that_would_misread_boxes_are_named():
    for wrong in (A.Compose([window()]), compose(window(), form="coco")):
        with pytest.raises(ValueError, match="partner_transform must have bbox_params of format 'pascal_voc'"):
            compose(cda.CutMix(p=1.0, partner_transform=wrong))(**call())
    with pytest.raises(ValueError, match="partner_transform must have keypoint_params of format 'xys'"):
        compose(cda.CutMix(p=1.0, partner_transform=compose(window(), points="xy")))(**call())
    with pytest.raises(TypeError, match=r"must be an A\.Compose, which knows the formats of boxes, got Crop"):
        cda.CutMix(partner_transform=window())
    with pytest.raises(TypeError, match="partner_transform must be an"):
        cda.CutMix(partner_transform=3)
    with pytest.raises(ValueError, match="partner_fit must be one of"):
        cda.CutMix(partner_fit="stretch")
    mix = cda.CutMix(p=1.0, partner_transform=compose(A.Crop(0, 0, 900, 900, p=1.0)))
    with pytest.raises(ValueError, match=r"^mix_metadata\[0\] in partner_transform: "):
        compose(mix)(**call())
    with pytest.raises(ValueError, match=r"partner_transform can't be saved, it is a function: give an A\.Compose"):
        A.to_dict(A.Compose([cda.CutMix(partner_transform=test_a_callable_for_partners)]))


def test_p_zero_and_closed_mixes_touch_no_partner():
    def never(partner):
        raise AssertionError

    mix = cda.CutMix(p=0.0, partner_transform=never)
    result = compose(mix)(**call())
    assert (result["image"] == 1).all()
    mix = cda.CutMix(p=1.0, partner_transform=never)
    mix.close()
    assert (compose(mix)(**call())["image"] == 1).all()


def test_no_partner_is_warned_of_once_and_an_empty_source_refused():
    image = sample(1, 20, 30)["image"]
    mix = cda.CutMix(p=1.0)
    pipeline = A.Compose([mix])
    with pytest.warns(MixWarning, match="CutMix got no partner in 'mix_metadata'") as told:
        results = [pipeline(image=image, mix_metadata=[])["image"] for _ in range(3)]
    assert [warning.filename for warning in told] == [__file__]
    assert all((result == image).all() for result in results)
    empty = A.Compose([cda.CutMix(p=1.0, source=[])])
    with pytest.raises(ValueError, match="source must hold at least one partner, got an empty list"):
        empty(image=image)
    cda.close(empty)
    assert (empty(image=image)["image"] == image).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixWarning)
        closed = A.Compose([cda.CutMix(p=1.0)])
        cda.close(closed)
        closed(image=image, mix_metadata=[])


def test_chains_and_affine_maps_are_refused_when_a_pipeline_is_built():
    for part, reason in ((cd.Affine(), "without an Affine"), (cd.Chain([cd.CutMix()]), "one transform .* got a Chain")):
        with pytest.raises(ValueError, match=f"mix must be {reason}"):
            cda.RandomMix(transforms=[cd.CutMix(), part])


def test_mixes_of_partners_are_closed_too():
    inner = cda.CutMix(p=1.0, metadata_key="more")
    assert cda.close(A.Compose([cda.CutMix(partner_transform=A.Compose([inner]))])) == 2
    assert inner.closed


def test_a_partner_that_missed_a_conversion_is_told_what_to_do():
    """Behind Normalize the image is floating point, and its partner bytes."""
    base, partner = (np.random.default_rng(k).integers(0, 256, (20, 30, 3), dtype=np.uint8) for k in range(2))
    data = {"image": base, "mix_metadata": [{"image": partner}]}
    with pytest.raises(ValueError, match=r"must be float32 .* got uint8 .*put it before those, or give partner_transf"):
        A.Compose([A.Normalize(), cda.CutMix(p=1.0)])(**data)
    one = A.Compose([A.Normalize(), cda.CutMix(p=1.0, partner_transform=A.Compose([A.Normalize()]))], seed=1)
    other = A.Compose([cda.CutMix(p=1.0), A.Normalize()], seed=1)
    assert np.array_equal(one(**data)["image"], other(**data)["image"])


def test_a_partner_of_another_kind_of_image_is_named():
    from PIL import Image

    base = np.zeros((20, 30, 3), dtype=np.uint8)
    with pytest.raises(TypeError, match=r"mix_metadata\[0\]\['image'\] must be a numpy array \(H, W\)"):
        cda.CutMix(p=1.0)(image=base, mix_metadata=[{"image": Image.fromarray(base)}])


# ----------------------------------------------------------------------------------------------- unknown arguments


@pytest.mark.parametrize("kind", [cda.CutMix, cda.Mosaic, cda.RandomMix, A.Mosaic])
def test_unknown_arguments_are_as_in_shipped_transforms(kind):
    """The same words, the same record, the same refusals as A.Mosaic of the installed version."""
    more = {"transforms": [{"type": "CutMix"}]} if kind is cda.RandomMix else {}
    message = f"Argument\\(s\\) 'colour, gridd' are not valid for transform {kind.__name__}"
    with pytest.warns(UserWarning, match=message) as seen:
        made = kind(p=1.0, colour=3, gridd=(2, 2), **more)
    assert seen[0].filename == __file__
    assert made.invalid_args == ["colour", "gridd"]
    assert "colour" not in json.dumps(A.to_dict(made))
    with pytest.raises(ValueError, match=message):
        kind(p=1.0, colour=3, gridd=(2, 2), strict=True, **more)
    with pytest.raises(ValueError, match=message):
        A.Compose([A.OneOf([made])], strict=True)
    assert isinstance(A.Compose([made]), A.Compose)
    assert kind(p=1.0, strict=True, **more).invalid_args == []
    assert "strict" not in A.to_dict(kind(p=1.0, strict=True, **more))["transform"]
    assert "strict" in inspect.signature(cda.CutMix).parameters


def test_a_near_name_is_shown():
    with pytest.warns(UserWarning, match="not valid for transform CutMix: did you mean 'alpha'"):
        cda.CutMix(aplha=0.5)
    with pytest.raises(ValueError, match="did you mean 'partner_fit'"):
        cda.CutMix(partners_fit="crop", strict=True)
    with pytest.warns(UserWarning, match=r"did you mean 'grid'\?; target_size: did you mean size=\(height, width\)"):
        cda.Mosaic(target_size=(512, 512), gird=(2, 2))
