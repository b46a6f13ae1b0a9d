"""Maps in Albumentations: what pixels without owner become, masks without boxes, stacks of slices."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

A = pytest.importorskip("albumentations")

import cutmix_dense.albumentations as cda  # noqa: E402

SIZE = (30, 44)
MOSAIC = {"p": 1.0, "scale": [0.3, 0.4], "jitter": 0.0, "fill": [0, 0, 0]}
"""Leaves gaps, which are black; no image of the tests is."""


def picture(number, size=SIZE):
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    return np.stack([np.full_like(x, number + 1), x + 1, y + 1], axis=2).astype(np.uint8)


def halves(high, dtype=np.uint8):
    """A mask whose right half is an object."""
    mask = np.zeros(SIZE, dtype)
    mask[:, SIZE[1] // 2 :] = high
    return mask


def call(mask, key="mask"):
    partners = [{"image": picture(number), key: mask.copy()} for number in (1, 2, 3)]
    return {"image": picture(0), key: mask, "mix_metadata": partners}


def gaps(result):
    empty = (result["image"] == 0).all(axis=2)
    assert empty.any()
    assert not empty.all()
    return empty


# ------------------------------------------------------------------------------------------------------------ fill


@pytest.mark.parametrize("name", ["mask", "other"])
@pytest.mark.parametrize("shape", ["H W", "H W 1"])
@pytest.mark.parametrize(("high", "dtype"), [(255, np.uint8), (1, np.uint8), (1, bool), (1, np.int8), (9, np.int32)])
def test_fill_mask_is_the_fill_of_a_class_map(high, dtype, shape, name):
    mask = halves(high, dtype)
    data = call(mask if shape == "H W" else mask[..., None], name)
    pipeline = A.Compose([cda.Mosaic(fill_mask=0, **MOSAIC)], seed=1, additional_targets={"other": "mask"})
    result = pipeline(**data)
    assert result[name].dtype == dtype
    assert result[name].shape == data[name].shape
    found = result[name].reshape(SIZE)
    empty = gaps(result)
    assert not found[empty].any()
    assert set(np.unique(found[~empty]).tolist()) == {0, high}
    with_one = A.Compose([cda.Mosaic(fill_mask=1, **MOSAIC)], seed=1, additional_targets={"other": "mask"})(**data)
    assert (with_one[name].reshape(SIZE)[empty] == 1).all()
    assert np.array_equal(with_one[name].reshape(SIZE)[~empty], found[~empty])


def test_without_a_word_it_is_the_ignored_id_where_no_class_has_it():
    result = A.Compose([cda.Mosaic(**MOSAIC)], seed=1)(**call(halves(1)))
    assert (result["mask"][gaps(result)] == 255).all()


@pytest.mark.parametrize("which", ["image", "partner"])
def test_an_id_in_use_is_no_fill_unless_stated(which):
    data = call(halves(1))
    (data if which == "image" else data["mix_metadata"][2])["mask"] = halves(255)
    with pytest.raises(ValueError, match=r"'mask' holds the id 255, which may be a class.*fill_mask=0.*ignore_index="):
        A.Compose([cda.Mosaic(**MOSAIC)], seed=1)(**data)
    for stated in (255, 7):
        result = A.Compose([cda.Mosaic(ignore_index=stated, **MOSAIC)], seed=1)(**data)
        assert (result["mask"][gaps(result)] == stated).all()
    # every pixel has an owner: nothing is filled, so nothing is asked
    result = A.Compose([cda.CutMix(p=1.0)], seed=1)(**data)
    assert set(np.unique(result["mask"]).tolist()) <= {0, 1, 255}


def test_of_several_methods_each_states_its_own():
    def several(**settings):
        one = {"type": "Mosaic", **MOSAIC, **settings}
        return cda.RandomMix(p=1.0, transforms=[one, one])

    data = call(halves(255))
    with pytest.raises(ValueError, match="may be a class"):
        A.Compose([several()], seed=1)(**data)
    result = A.Compose([several(ignore_index=255)], seed=1)(**data)
    assert (result["mask"][gaps(result)] == 255).all()


@pytest.mark.parametrize(("dtype", "fill"), [(np.uint8, 256), (np.uint8, 0.5), (bool, 2), (np.uint8, [0, 0])])
def test_a_fill_that_is_no_id_is_named(dtype, fill):
    with pytest.raises(ValueError, match=r"fill_mask must be one id within 0 … (1|255) for 'mask', got"):
        A.Compose([cda.Mosaic(fill_mask=fill, **MOSAIC)], seed=1)(**call(halves(1, dtype)))


@pytest.mark.parametrize("dtype", [bool, np.int8])
def test_a_dtype_without_room_for_the_ignored_id_is_named(dtype):
    with pytest.raises(ValueError, match=r"ignore_index 255 doesn't fit 'mask' of torch\.\w+: .*fill_mask=0"):
        A.Compose([cda.Mosaic(**MOSAIC)], seed=1)(**call(halves(1, dtype)))


def test_it_is_saved_and_replayed():
    data = call(halves(255))
    pipeline = A.Compose([cda.Mosaic(fill_mask=0, **MOSAIC)])
    again = A.from_dict(json.loads(json.dumps(A.to_dict(pipeline))))
    for one in (pipeline, again):
        one.set_random_seed(4)
    assert np.array_equal(pipeline(**data)["mask"], again(**data)["mask"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        replayed = A.ReplayCompose([cda.Mosaic(fill_mask=0, **MOSAIC)])
    made = replayed(**data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(A.ReplayCompose.replay(made["replay"], **data)["mask"], made["mask"])
    untouched = A.Compose([cda.Mosaic(fill_mask=0, **{**MOSAIC, "p": 0.0})])(**data)
    assert np.array_equal(untouched["mask"], data["mask"])


# -------------------------------------------------------------------------------------------- masks without boxes


@pytest.mark.parametrize("form", ["list", "array", "channel"])
@pytest.mark.parametrize("alone", [False, True])
def test_masks_without_boxes_are_maps_in_order(form, alone):
    def masks(number):
        y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
        both = np.stack([(x + number) % 7, (y + number) % 5]).astype(np.uint8)
        return {"list": list(both), "array": both, "channel": both[..., None]}[form]

    data = {"image": picture(0), "masks": masks(0), "mix_metadata": [{"image": picture(1), "masks": masks(1)}]}
    mix = cda.CutMix(p=1.0, region={"type": "AreaBox", "area": [0.3, 0.5]})
    result = mix(**data) if alone else A.Compose([mix], seed=0)(**data)
    assert type(result["masks"]) is type(data["masks"])
    number, x, y = (result["image"].astype(int) - 1).transpose(2, 0, 1)
    assert set(np.unique(number).tolist()) == {0, 1}
    found = np.stack(result["masks"])
    assert found.dtype == np.uint8
    assert found.shape == np.stack(data["masks"]).shape
    assert np.array_equal(found.reshape(2, *SIZE), np.stack([(x + number) % 7, (y + number) % 5]))


def test_masks_of_instances_need_their_boxes():
    two, three = (np.ones((count, *SIZE), np.uint8) for count in (2, 3))
    with pytest.raises(ValueError, match=r"mix_metadata\[0\]\['masks'\] must hold as many.*instances they need bboxes"):
        cda.CutMix(p=1.0)(image=picture(0), masks=two, mix_metadata=[{"image": picture(1), "masks": three}])
    with pytest.raises(ValueError, match=r"mix_metadata\[0\] has 3 masks, the image it is mixed with has none"):
        cda.CutMix(p=1.0)(image=picture(0), masks=[], mix_metadata=[{"image": picture(1), "masks": three}])
    assert cda.CutMix(p=1.0)(image=picture(0), masks=[], mix_metadata=[{"image": picture(1)}])["masks"] == []


# ----------------------------------------------------------------------------------------------------------- stacks


def slices(number, ahead, grey=False):
    """Pictures of their own at every place of the axes ahead: the place is in the red channel."""
    count = int(np.prod(ahead))
    stack = np.stack([picture(10 * number + place) for place in range(count)])
    stack = stack.reshape(*ahead, *SIZE, 3)
    return stack[..., 0] if grey else stack


def ids(number, ahead):
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    place = np.arange(int(np.prod(ahead))).reshape(*ahead, 1, 1)
    return ((x + 3 * y + place + 50 * number) % 200).astype(np.uint8)


STACKS = {"images": (3,), "volume": (3,), "volumes": (2, 3), "mask3d": (3,), "masks3d": (2, 3)}


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("names", [("images",), ("volume", "mask3d"), ("volumes", "masks3d"), ("image", "images")])
def test_one_plan_serves_every_slice(names, grey):
    def sample(number):
        return {
            name: picture(10 * number)
            if name == "image"
            else ids(number, STACKS[name])
            if "mask" in name
            else slices(number, STACKS[name], grey)
            for name in names
        }

    data = {**sample(0), "mix_metadata": [sample(1)]}
    mix = cda.CutMix(p=1.0, region={"type": "AreaBox", "area": [0.3, 0.5]})
    result = A.Compose([mix, A.HorizontalFlip(p=1.0)], seed=2, strict=True)(**data)
    first = result[names[0]].reshape(-1, *result[names[0]].shape[len(STACKS.get(names[0], ())) :])[0]
    red = (first if first.ndim == 2 else first[..., 0]).astype(int) - 1
    number = red[:, ::-1] // 10
    assert set(np.unique(number).tolist()) == {0, 1}
    for name in names:
        assert result[name].shape == data[name].shape
        ours, theirs = data[name], data["mix_metadata"][0][name]
        mine = number[..., None] if ours.ndim == len(STACKS.get(name, ())) + 3 else number
        assert np.array_equal(np.flip(result[name], axis=len(STACKS.get(name, ())) + 1), np.where(mine, theirs, ours))


def test_boxes_and_a_list_of_frames_come_along():
    boxes = A.BboxParams("pascal_voc", label_fields=["labels"])
    base = {"images": list(slices(0, (2,))), "bboxes": [[2, 3, 20, 15]], "labels": ["a"]}
    partner = {"images": list(slices(1, (2,))), "bboxes": [[22, 12, 40, 28]], "labels": ["b"]}
    mix = cda.CutMix(p=1.0, region={"type": "AreaBox", "area": [0.3, 0.5]}, min_visibility=0.0)
    result = A.Compose([mix], bbox_params=boxes, seed=2)(**base, mix_metadata=[partner])
    assert isinstance(result["images"], list)
    theirs = result["images"][0][..., 0] > 10
    assert np.array_equal(theirs, result["images"][1][..., 0] > 10)
    for (left, top, right, bottom), label in zip(np.rint(result["bboxes"]).astype(int), result["labels"]):
        x0, y0, x1, y1 = (base if label == "a" else partner)["bboxes"][0]
        own = np.zeros(SIZE, bool)
        own[y0:y1, x0:x1] = (theirs == (label == "b"))[y0:y1, x0:x1]
        rows, columns = own.any(1).nonzero()[0], own.any(0).nonzero()[0]
        assert [left, top, right, bottom] == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_stacks_of_another_length_are_named():
    with pytest.raises(ValueError, match=r"mix_metadata\[0\]\['images'\] must hold as many"):
        cda.CutMix(p=1.0)(images=slices(0, (3,)), mix_metadata=[{"images": slices(1, (2,))}])
    with pytest.raises(ValueError, match=r"mix_metadata\[0\] must have 'volume'"):
        cda.CutMix(p=1.0)(volume=slices(0, (3,)), mix_metadata=[{"image": picture(1)}])
    with pytest.raises(TypeError, match=r"\['volume'\] must be a numpy array \(D, H, W\) or \(D, H, W, C\)"):
        cda.CutMix(p=1.0).apply_with_params({"partners": [], "seed": 0}, volume=picture(0)[..., 0], mix_metadata=[])
