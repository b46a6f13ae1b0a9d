"""The Albumentations adapter: coded pixels prove that all of a sample is mixed as the core says, in any pipeline."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

A = pytest.importorskip("albumentations")

import cutmix_dense as cd  # noqa: E402
import cutmix_dense.albumentations as cda  # noqa: E402
from cutmix_dense.albumentations.rows import pixel_boxes  # noqa: E402
from cutmix_dense.build import from_config, known_transforms  # noqa: E402
from cutmix_dense.functional.keypoints import mix_points, mix_poses  # noqa: E402
from cutmix_dense.transforms.single import mix_single  # noqa: E402

SIZES = [(48, 70), (60, 52), (44, 80), (66, 58), (50, 64)]
ARGUMENTS = {
    "RandomMix": {"transforms": [{"type": "CutMix", "p": 1.0}, {"type": "RICAP", "p": 1.0}], "weights": [2, 1]},
    "CutMix": {"region": {"type": "AreaBox", "area": [0.2, 0.5]}, "min_visibility": [0.1, 0.2]},
    "Mosaic": {"grid": [2, 2], "fill": [1, 2, 3]},
    "CowMix": {"sigma": [3.0, 6.0]},
    "CopyPaste": {"flip": 0.5, "scale": [0.6, 1.2]},
    "MixUp": {"alpha": 1.5},
}
NAMES = sorted(known_transforms())
UNSCALED = {
    "CutMix": {},
    "RICAP": {"fill": 0},
    "GridMix": {},
    "StripeMix": {},
    "CopyPaste": {"flip": 1.0},
    "ClassMix": {},
    "CowMix": {"sigma": [2.0, 5.0]},
    "FMix": {},
    "SaliencyMix": {},
    "RandomMix": ARGUMENTS["RandomMix"],
}


def classes(number, x, y):
    """The class that the pixel (x, y) of an image has: a different one for (almost) every pixel."""
    return (7 * x + 3 * y + 31 * number) % 200


def sample(number, objects=4):
    """Image `number`, coded, with rectangles as instances."""
    height, width = SIZES[number]
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([np.full_like(x, number + 1), x, y], axis=2).astype(np.uint8)
    random = np.random.default_rng(number)
    boxes = np.zeros((objects, 4))
    boxes[:, :2] = random.integers(0, (width - 22, height - 18), (objects, 2))
    boxes[:, 2:] = boxes[:, :2] + random.integers(8, (22, 18), (objects, 2))
    masks = [((x >= a) & (x < c) & (y >= b) & (y < d)).astype(np.uint8) for a, b, c, d in boxes]
    points = [(int(a) + 1, int(b) + 2) for a, b, _, _ in boxes] + [(0, 0), (width - 1, height - 1)]
    return {
        "image": image,
        "mask": classes(number, x, y).astype(np.uint8),
        "masks": masks,
        "bboxes": boxes.tolist(),
        "keypoints": points,
        "labels": [f"object {number}-{k}" for k in range(objects)],
        "mask_index": list(range(objects)),
        "names": [f"{number} {px} {py}" for px, py in points],
    }


def call(objects=4, partners=(1, 2, 3, 4)):
    return {**sample(0, objects), "mix_metadata": [sample(number) for number in partners]}


def compose(
    *transforms, cls=A.Compose, boxes="pascal_voc", fields=("labels", "mask_index"), points="xy", visible=0.0, **more
):
    return cls(
        list(transforms),
        bbox_params=A.BboxParams(boxes, label_fields=list(fields), min_visibility=visible),
        keypoint_params=A.KeypointParams(points, label_fields=["names"]),
        **more,
    )


def make(name, **more):
    """A transform whose partners keep their scale, so that coded pixels stay codes."""
    return getattr(cda, name)(**{"p": 1.0, "partner_fit": "crop", **ARGUMENTS.get(name, {}), **more})


def unscaled(name):
    return getattr(cda, name)(p=1.0, partner_fit="crop", **UNSCALED[name])


def floating(data):
    """MixUp blends maps of floating point only."""
    return {
        key: [floating(item) for item in value]
        if key == "mix_metadata"
        else value.astype(np.float32)
        if key == "mask"
        else value
        for key, value in data.items()
    }


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


def targets_only(result):
    return {key: value for key, value in result.items() if key not in ("mix_metadata", "replay", "applied_transforms")}


# --------------------------------------------------------------------------------------------------- coded pixels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", UNSCALED)
def test_every_target_follows_the_pixels(name, seed):
    before = [A.HorizontalFlip(p=0.5), A.RandomCrop(40, 46, p=0.5)]
    after = [A.VerticalFlip(p=0.5), A.Transpose(p=0.5)]
    pipeline = compose(*before, unscaled(name), *after, seed=seed, strict=True)
    result = pipeline(**call())
    number, x, y = np.moveaxis(result["image"].astype(int), 2, 0)
    number -= 1  # -1 is fill
    assert len(set(np.unique(number)) - {-1}) > 1, "nothing was mixed"

    assert np.array_equal(result["mask"], np.where(number < 0, 255, classes(number, x, y)))

    pool = [sample(k) for k in range(5)]
    assert result["mask_index"] == list(range(len(result["masks"])))
    assert len(result["masks"]) == len(result["bboxes"]) == len(result["labels"]) > 0
    for mask, box, label in zip(result["masks"], result["bboxes"], result["labels"]):
        source, index = map(int, label.split()[1].split("-"))
        theirs = np.zeros(mask.shape, int)
        mine = number == source
        theirs[mine] = pool[source]["masks"][index][y[mine], x[mine]]
        assert np.array_equal(mask, theirs)
        rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert np.allclose(box, tight, atol=1e-3)

    codes = set(zip(number.flat, x.flat, y.flat))
    for (px, py), text in zip(result["keypoints"], result["names"]):
        assert (number[int(py), int(px)], x[int(py), int(px)], y[int(py), int(px)]) == tuple(map(int, text.split()))
    expected = {text for k in range(5) for text in pool[k]["names"] if tuple(map(int, text.split())) in codes}
    assert set(result["names"]) == expected


def test_what_little_shows_is_dropped_and_all_else_kept():
    data = call()
    for seed in range(12):
        result = compose(cda.CutMix(p=1.0), seed=seed)(**data)
        number, x, y = np.moveaxis(result["image"].astype(int), 2, 0)
        expected = set()
        for k in range(5):
            pool = sample(k)
            mine = number == k + 1
            for mask, label in zip(pool["masks"], pool["labels"]):
                if mask[y[mine], x[mine]].sum() >= 0.1 * mask.sum():
                    expected.add(label)
        assert set(result["labels"]) == expected


# ------------------------------------------------------------------------------------- the core, and nothing but it


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_gives_the_plan_of_the_core(name):
    data = floating(call()) if name == "MixUp" else call()
    pipeline = compose(make(name), seed=3, save_applied_params=True)
    result = pipeline(**data)
    ((_, params),) = result["applied_transforms"]
    assert 0 <= params["seed"] < 2**63

    settings = {} if name == "RandomMix" else {"p": 1.0}
    core = from_config({"type": name, **settings, **ARGUMENTS.get(name, {})})
    pool = [data, *(data["mix_metadata"][index] for index in params["partners"])]
    assert len(pool) == 1 + core.partners
    images = [torch.from_numpy(item["image"]).permute(2, 0, 1) for item in pool]
    targets = [
        {
            "boxes": torch.tensor(item["bboxes"], dtype=torch.float64),
            "masks": torch.from_numpy(np.stack(item["masks"])),
            "semantic": torch.from_numpy(item["mask"].astype(np.uint8)),
        }
        for item in pool
    ]
    generator = torch.Generator().manual_seed(params["seed"])
    mixed = mix_single(core, images, targets, generator)
    assert np.array_equal(result["image"], mixed.image.permute(1, 2, 0).numpy())
    assert np.allclose(np.reshape(result["bboxes"], (-1, 4)), mixed.targets[0]["boxes"].numpy(), atol=1e-4)
    assert np.array_equal(np.array(result["masks"]), mixed.targets[0]["masks"].numpy())
    assert result["labels"] == [pool[i]["labels"][k] for i, k in mixed.targets[0]["origin"].tolist()]
    if name != "MixUp":
        assert np.array_equal(result["mask"], mixed.targets[0]["semantic"].numpy())


def test_all_methods_are_there():
    assert set(cda.__all__) == {*NAMES, "MixTransform", "close"}
    for name in NAMES:
        assert "p" in getattr(cda, name).__signature__.parameters
        assert "pairing" not in getattr(cda, name).__signature__.parameters


# ---------------------------------------------------------------------------------------------------------- formats


def in_format(boxes, form, size):
    a = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    scale = np.array([size[1], size[0]] * 2)
    sides = a[:, 2:] - a[:, :2]
    return {
        "pascal_voc": a,
        "coco": np.hstack([a[:, :2], sides]),
        "albumentations": a / scale,
        "yolo": np.hstack([a[:, :2] + sides / 2, sides]) / scale,
    }[form].tolist()


@pytest.mark.parametrize("form", ["coco", "albumentations", "yolo"])
@pytest.mark.parametrize("as_array", [False, True])
def test_every_box_format(form, as_array):
    for seed in range(4):
        expected = compose(cda.CutMix(p=1.0), seed=seed)(**call())
        data = call()
        for item in (data, *data["mix_metadata"]):
            item["bboxes"] = in_format(item["bboxes"], form, item["image"].shape)
            item["bboxes"] = np.array(item["bboxes"]) if as_array else item["bboxes"]
        result = compose(cda.CutMix(p=1.0), boxes=form, seed=seed)(**data)
        assert type(result["bboxes"]) is (np.ndarray if as_array else list)
        assert np.allclose(result["bboxes"], in_format(expected["bboxes"], form, expected["image"].shape), atol=1e-3)
        assert result["labels"] == expected["labels"]
        assert same(expected["masks"], result["masks"])


@pytest.mark.parametrize("form", ["yx", "xya", "xys", "xyas", "xysa", "xyz"])
def test_every_keypoint_format(form):
    values = {"a": 30.0, "s": 4.0, "z": 0.0}

    def points(item):
        return [[*(x, y)[:: -1 if form == "yx" else 1], *(values[c] for c in form[2:])] for x, y in item["keypoints"]]

    data = call()
    for item in (data, *data["mix_metadata"]):
        item["keypoints"] = points(item)
    expected = compose(unscaled("CutMix"), seed=1)(**call())
    result = compose(unscaled("CutMix"), points=form, seed=1)(**data)
    assert np.allclose(result["keypoints"], points(expected), atol=1e-4)
    assert result["names"] == expected["names"]


def test_keypoints_turn_and_grow_with_their_layer():
    plan = cd.MixPlan.from_rectangles(
        torch.tensor([[0, 1]]),
        torch.tensor([[[0, 0, 20, 30]]]),
        torch.tensor([[20, 30], [20, 30]]),
        scale=torch.tensor([[[1.0, 1.0], [1.0, -2.0]]]),
        shift=torch.tensor([[[0.0, 0.0], [0.0, 60.0]]]),
    )
    where = torch.tensor([0, 0]), torch.tensor([0, 1])
    points, shows = mix_points(torch.tensor([[3.0, 4.0], [16.0, 4.0]]), plan, *where)
    assert points.tolist() == [[3.0, 4.0], [27.0, 4.0]]  # of 60 columns, 2 · 16 is column 32; mirrored, 59 − 32
    assert shows.tolist() == [False, True]
    angles, sizes = mix_poses(torch.tensor([0.3, 0.3]), torch.tensor([2.0, 2.0]), plan, *where)
    assert torch.allclose(angles, torch.tensor([0.3, torch.pi - 0.3]))
    assert sizes.tolist() == [2.0, 4.0]


def test_keypoints_of_a_mirrored_layer_turn():
    data = call(partners=(1,))
    for item in (data, *data["mix_metadata"]):
        item["keypoints"] = [(x, y, 30.0, 4.0) for x, y in item["keypoints"]]
    transform = cda.CopyPaste(p=1.0, instances="all", flip=1.0, scale=[0.75, 0.75], partner_fit="crop")
    result = compose(transform, points="xyas", seed=0)(**data)
    found = {name[0]: tuple(point[2:]) for name, point in zip(result["names"], result["keypoints"])}
    assert found["0"] == pytest.approx((30, 4), abs=1e-4)
    assert found["1"] == pytest.approx((150, 3), abs=1e-4)


def test_invisible_keypoints_stay_where_asked_and_are_marked():
    data = call(partners=(1,))
    for item in (data, *data["mix_metadata"]):
        item["keypoints_visible"] = [2] * len(item["keypoints"])
    pipeline = A.Compose(
        [cda.CutMix(p=1.0, region={"type": "AreaBox", "area": [0.3, 0.5]})],
        bbox_params=A.BboxParams("pascal_voc", label_fields=["labels", "mask_index"]),
        keypoint_params=A.KeypointParams("xy", label_fields=["names", "keypoints_visible"], remove_invisible=False),
        seed=0,
    )
    result = pipeline(**data)
    assert result["names"] == [*data["names"], *data["mix_metadata"][0]["names"]]
    visible = dict(zip(result["names"], result["keypoints_visible"]))
    shown = compose(cda.CutMix(p=1.0, region={"type": "AreaBox", "area": [0.3, 0.5]}), seed=0)(**call(partners=(1,)))
    assert {name for name, value in visible.items() if value == 2} == set(shown["names"])
    assert set(visible.values()) == {0, 2}


# ----------------------------------------------------------------------------------------------------------- labels


def boxes_only(labels, partner_labels, boxes=((5, 5, 20, 20), (30, 20, 50, 40))):
    data = {"image": sample(0)["image"], "bboxes": [list(box) for box in boxes[: len(labels)]], "labels": labels}
    partner = {"image": sample(2)["image"], "bboxes": [list(box) for box in boxes[: len(partner_labels)]]}
    return {**data, "mix_metadata": [{**partner, "labels": partner_labels}]}


def union(fields=("labels",), **more):
    """A pipeline that unites all boxes."""
    return A.Compose([cda.MixUp(p=1.0, lam=0.5)], bbox_params=A.BboxParams("pascal_voc", label_fields=fields), **more)


@pytest.mark.parametrize(
    ("base", "partner", "expected"),
    [
        (["a", "b"], ["unseen", "a"], ["a", "b", "unseen", "a"]),
        (np.array(["a", "b"]), np.array(["elephant", "c"]), ["a", "b", "elephant", "c"]),
        ([1, 2], [7, 9], [1, 2, 7, 9]),
        (np.array([1, 2], np.int8), [7, 9], [1, 2, 7, 9]),
        ([np.int64(1), np.int64(2)], [7, 9], [1, 2, 7, 9]),
        ([], ["first"], ["first"]),
        (["only"], [], ["only"]),
        ([], [], []),
    ],
)
def test_labels_arrive_with_their_boxes(base, partner, expected):
    result = union()(**boxes_only(base, partner))
    assert list(result["labels"]) == expected
    assert len(result["bboxes"]) == len(expected)
    if isinstance(base, np.ndarray) and base.dtype.kind != "U":
        assert result["labels"].dtype == base.dtype


def test_several_label_fields_or_none():
    data = boxes_only(["a"], ["b"])
    data["score"], data["mix_metadata"][0]["score"] = [0.25], [0.5]
    result = union(("score", "labels"))(**data)
    assert (result["score"], result["labels"]) == ([0.25, 0.5], ["a", "b"])

    data = boxes_only([], [])
    data["bboxes"], data["mix_metadata"][0]["bboxes"] = [[5, 5, 20, 20, 3]], [[6, 6, 20, 20, 4]]
    result = union(None)(**data)
    assert [row[4] for row in result["bboxes"]] == [3, 4]


@pytest.mark.parametrize(("base", "partner", "what"), [([1], ["x"], "numbers"), (["x"], [1], "words")])
def test_labels_of_another_kind_are_refused(base, partner, what):
    with pytest.raises(ValueError, match=rf"mix_metadata\[0\]\['labels'\] must hold {what}"):
        union()(**boxes_only(base, partner))
    with pytest.raises(ValueError, match="int8"):
        union()(**boxes_only(np.array([1], np.int8), [1000]))


def test_measured_fields_are_kept_up_to_date():
    data = boxes_only([1, 2], [3])
    for item in (data, *data["mix_metadata"]):
        item["weight"], item["area"], item["visibility"] = ([1.0] * len(item["labels"]) for _ in range(3))
    pipeline = A.Compose(
        [cda.MixUp(p=1.0, lam=0.75)],
        bbox_params=A.BboxParams("pascal_voc", label_fields=["labels", "weight", "area", "visibility"]),
    )
    assert pipeline(**data)["weight"] == [0.75, 0.75, 0.25]
    pipeline.transforms[0] = cda.CutMix(p=1.0, region={"type": "AreaBox", "area": [0.4, 0.6]}, min_visibility=0)
    pipeline.transforms[0].set_processors(pipeline.processors)
    seen = [share for _ in range(10) for share in pipeline(**data)["visibility"]]
    assert any(0 < share < 1 for share in seen)
    data["weight"] = np.array([1, 1])
    with pytest.raises(ValueError, match="'weight' must be floating point"):
        union(["labels", "weight"])(**data)


# ---------------------------------------------------------------------------------------- boxes: untouched, visible


class Watched(cda.CutMix):
    """Keeps the rows as it gets and gives them, before Compose goes over them."""

    def apply_with_params(self, params, *args, **data):
        result = super().apply_with_params(params, *args, **data)
        self.rows = data["bboxes"], result["bboxes"]
        return result


@pytest.mark.parametrize("before", [[], [A.HorizontalFlip(p=1.0)]], ids=["single precision", "double precision"])
def test_untouched_rows_are_bit_identical(before):
    random = np.random.default_rng(0)
    height, width = SIZES[0]
    corner = random.uniform(0, 0.7, (30, 2))
    exact = np.hstack([corner, corner + random.uniform(0.05, 0.3, (30, 2))])
    boxes = exact.astype(np.float32)
    data = {"image": np.zeros((height, width), np.uint8), "bboxes": boxes, "id": np.arange(30)}
    data["mix_metadata"] = [{"image": np.ones((height, width), np.uint8), "bboxes": boxes, "id": np.arange(100, 130)}]
    watched = Watched(p=1.0, region={"type": "AreaBox", "area": [0.3, 0.6]})
    data["mix_metadata"][0]["bboxes"] = exact if before else boxes
    bbox_params = A.BboxParams("albumentations", label_fields=["id"])
    pipeline = A.Compose([*before, watched], bbox_params=bbox_params, seed=0)
    whole = 0
    for _ in range(5):
        partner = pipeline(**data)["image"].astype(bool)
        ours, after = watched.rows
        assert after.dtype == ours.dtype == (np.float64 if before else np.float32)
        given = {int(row[4]): row for row in after}
        theirs = np.array(data["mix_metadata"][0]["bboxes"])
        for index, row in [*enumerate(ours), *enumerate(theirs, 100)]:
            x0, y0, x1, y1 = row[:4] * [width, height, width, height]
            own = partner[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] == (index >= 100)
            if own.all():
                assert np.array_equal(given[index][:4], row[:4])
                whole += 1
            elif index in given:
                assert not np.array_equal(given[index][:4], row[:4]) or own.any(0).all()
    assert whole > 40


def test_whole_pixels_stay_whole():
    for width in range(90, 1500, 61):
        x = np.arange(0, width - 1)
        pixels = np.stack([x, x, x + 1, x + 1], axis=1)
        rows = (pixels / width).astype(np.float32)
        between = ((pixels + 0.25) / width).astype(np.float32)
        counts = [0, len(rows), len(rows)]
        whole, apart = np.split(
            pixel_boxes(np.concatenate([rows, between]), [(7, 9), *[(width, width)] * 2], counts), 2
        )
        assert np.array_equal(whole, pixels)
        assert np.allclose(apart, pixels + 0.25, atol=1e-3)


def test_visibility_is_judged_by_the_mix_and_not_undone():
    """A box of which 30 % is left stays, whatever visibility Compose asks of later crops."""
    partner = {"image": sample(0)["image"], "bboxes": [], "labels": []}
    region = {"type": "AreaBox", "area": [0.5, 0.5], "aspect": [1, 1]}
    data = {"image": sample(0)["image"], "bboxes": [[0, 0, 70, 48]], "labels": [1], "mix_metadata": [partner]}
    for least, left in ((0.3, 1), (0.9, 0)):
        pipeline = A.Compose(
            [cda.CutMix(p=1.0, region=region, min_visibility=least)],
            bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"], min_visibility=0.99),
            seed=0,
        )
        assert len(pipeline(**data)["bboxes"]) == left


# ------------------------------------------------------------------------------------------------------------ masks


def test_masks_of_boxes_that_were_all_dropped_are_gone():
    """Albumentations keeps the masks of boxes that a crop drops; ``mask_index`` says that they have no box."""
    data = {key: value for key, value in call().items() if key not in ("keypoints", "names")}
    params = A.BboxParams("pascal_voc", label_fields=["labels", "mask_index"])
    data["bboxes"], crop = [[60, 40, 68, 46]] * 4, A.Crop(0, 0, 30, 30, p=1.0)
    assert crop(image=data["image"])["image"].shape[:2] == (30, 30)
    for partners in ([], data["mix_metadata"]):
        mixing = A.Compose([crop, A.NoOp(p=1.0), make("CutMix")], bbox_params=params, seed=3)
        result = mixing(**{**data, "mix_metadata": partners})
        assert len(result["masks"]) == len(result["bboxes"]) == len(result["mask_index"])
        assert not any(label.startswith("object 0") for label in result["labels"])
    cropped = A.Compose([crop, A.NoOp(p=1.0)], bbox_params=params)(
        **{key: data[key] for key in ("image", "mask", "masks", "bboxes", "labels", "mask_index")}
    )
    assert len(cropped["masks"]) == 4
    assert not len(cropped["bboxes"])
    mixing = A.Compose([make("CutMix")], bbox_params=params, seed=3)
    result = mixing(**{**sample(1), "mix_metadata": [{**cropped, "mask_index": []}], "keypoints": None, "names": None})
    assert len(result["masks"]) == len(result["bboxes"])
    del cropped["mask_index"]  # were they forgotten?
    with pytest.raises(ValueError, match="has 4 masks for 0 bboxes"):
        mixing(**{**sample(1), "mix_metadata": [cropped], "keypoints": None, "names": None})


def test_masks_that_outlived_their_boxes_need_the_field():
    data = call()
    crop = A.Crop(*map(int, data["bboxes"][2]), p=1)  # one box is left, perhaps parts of others, and all masks
    assert len(compose(crop, visible=0.1)(**data)["bboxes"]) < 4
    pipeline = compose(crop, cda.CutMix(p=1.0), seed=0, visible=0.1)
    result = pipeline(**data)
    assert len(result["masks"]) == len(result["bboxes"])
    with pytest.raises(ValueError, match=r"the image has 4 masks for \d bboxes.*'mask_index'"):
        compose(crop, cda.CutMix(p=1.0), seed=0, visible=0.1, fields=("labels",))(**data)
    renamed = {**data, "which": data["mask_index"]}
    renamed["mix_metadata"] = [{**item, "which": item["mask_index"]} for item in data["mix_metadata"]]
    transform = cda.CutMix(p=1.0, mask_index_field="which")
    again = compose(crop, transform, seed=0, visible=0.1, fields=("labels", "which"))(**renamed)
    assert same(again["masks"], result["masks"])
    data["mask_index"] = [0, 1, 2, 9]
    with pytest.raises(ValueError, match="below 4"):
        compose(cda.CutMix(p=1.0))(**data)


def test_no_mask_left_is_an_empty_list_that_transforms_take():
    data = {**call(objects=0), "mix_metadata": [{**sample(1, 0)}]}
    data["masks"] = []
    result = compose(cda.CutMix(p=1.0), A.HorizontalFlip(p=1))(**data)
    assert (result["masks"], result["bboxes"], result["labels"]) == ([], [], [])
    data = call()
    result = compose(cda.CutMix(p=1.0, min_size=500), A.HorizontalFlip(p=1), seed=0)(**data)
    assert len(result["masks"]) == len(result["bboxes"])


def test_objects_whose_mask_is_empty_stay_where_nothing_touches_them():
    data = call()
    for item in (data, *data["mix_metadata"]):
        item["masks"] = [mask * (index % 2) for index, mask in enumerate(item["masks"])]
    for pipeline in (compose(cda.CutMix(p=0.0)), compose(cda.CutMix(p=1.0))):
        result = pipeline(**data) if pipeline.transforms[0].p == 0 else pipeline(**{**data, "mix_metadata": []})
        assert result["labels"] == data["labels"]
        assert [mask.sum() for mask in result["masks"]] == [mask.sum() for mask in data["masks"]]
    stayed = []
    for seed in range(12):
        result = compose(cda.CutMix(p=1.0), seed=seed)(**data)
        assert len(result["masks"]) == len(result["labels"])
        for index in (0, 2):
            left, top, right, bottom = map(int, data["bboxes"][index])
            untouched = (result["image"][top:bottom, left:right, 0] == 1).all()
            assert (f"object 0-{index}" in result["labels"]) == untouched
            stayed.append(bool(untouched))
    assert len(set(stayed)) == 2


@pytest.mark.parametrize("form", ["array", "channel", "bool"])
def test_forms_of_masks(form):
    def change(item):
        stack = np.stack(item["masks"])
        return {**item, "masks": {"array": stack, "channel": stack[..., None], "bool": stack.astype(bool)}[form]}

    data = {**change(call()), "mix_metadata": [change(sample(k)) for k in (1, 2)]}
    result = compose(cda.CutMix(p=1.0), seed=0)(**data)["masks"]
    expected = compose(cda.CutMix(p=1.0), seed=0)(**call(partners=(1, 2)))["masks"]
    assert result.dtype == data["masks"].dtype
    assert result.shape[1:] == data["masks"].shape[1:]
    assert np.array_equal(result.reshape(len(expected), *SIZES[0]), np.stack(expected))


# ------------------------------------------------------------------------------------------------ saving, replaying


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading(name, tmp_path):
    data = floating(call()) if name == "MixUp" else call()
    pipeline = compose(A.HorizontalFlip(p=0.5), make(name, p=0.9))
    copies = [A.from_dict(A.to_dict(pipeline)), A.from_dict(json.loads(json.dumps(A.to_dict(pipeline))))]
    for form in ("json", "yaml"):
        A.save(pipeline, tmp_path / f"it.{form}", data_format=form)
        copies.append(A.load(tmp_path / f"it.{form}", data_format=form))
    copies.append(pickle.loads(pickle.dumps(pipeline)))
    pipeline.set_random_seed(5)
    expected = targets_only(pipeline(**data))
    for other in copies:
        other.set_random_seed(5)
        assert same(targets_only(other(**data)), expected)
        assert other.transforms[1].p == 0.9
        assert repr(other.transforms[1]) or True


def test_what_cannot_be_saved_is_named():
    cases = {
        "source": cda.CutMix(source=lambda rng: sample(1)),
        "region": cda.CutMix(region=cd.regions.AreaBox((0.1, 0.4))),
        "transforms": cda.RandomMix(transforms=[cd.CutMix()]),
    }
    for name, transform in cases.items():
        with pytest.raises(ValueError, match=f"^{name} can't be saved"):
            A.to_dict(A.Compose([transform]))
        with pytest.raises(ValueError, match=f"^{name} can't be saved"):
            A.save(transform, io.StringIO())
        assert name in repr(transform)


@pytest.mark.filterwarnings("ignore:.*could work incorrectly in ReplayMode")
@pytest.mark.parametrize("name", NAMES)
def test_replay(name):
    data = floating(call()) if name == "MixUp" else call()
    first = A.RandomCrop(40, 46, p=0.5), A.VerticalFlip(p=0.5)
    for before in first:
        pipeline = compose(before, make(name), A.HorizontalFlip(p=0.5), cls=A.ReplayCompose)
        result = pipeline(**data)
        saved = result["replay"]
        if before is first[1]:  # ours is plain; of theirs, not all
            saved = json.loads(json.dumps(saved))
        assert same(targets_only(A.ReplayCompose.replay(saved, **data)), targets_only(result))


@pytest.mark.filterwarnings("ignore:.*could work incorrectly in ReplayMode")
def test_replay_needs_the_partners():
    data = call()
    result = compose(cda.CutMix(p=1.0), cls=A.ReplayCompose)(**data)
    with pytest.raises(ValueError, match="partners to replay"):
        A.ReplayCompose.replay(result["replay"], **{**data, "mix_metadata": data["mix_metadata"][:0]})
    del data["mix_metadata"]
    with pytest.raises(TypeError, match="mix_metadata must be a list"):
        A.ReplayCompose.replay(result["replay"], **data)


# ------------------------------------------------------------------------------------------------------- randomness


def test_seeded_pipelines_repeat_and_their_calls_differ():
    data = call()
    one, two = (compose(cda.CutMix(p=1.0), seed=9) for _ in range(2))
    first = [one(**data)["image"] for _ in range(6)]
    assert same(first, [two(**data)["image"] for _ in range(6)])
    assert len({image.tobytes() for image in first}) == 6


def test_nothing_global_is_drawn_from():
    data = call()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = torch.get_rng_state().clone(), np.random.get_state()[1].copy()  # noqa: NPY002
    for name in ("CutMix", "Mosaic", "FMix", "CopyPaste"):
        compose(make(name), seed=0)(**data)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_partners_are_chosen_from_a_longer_list():
    data = call()
    pipeline = compose(cda.CutMix(p=1.0), seed=0, save_applied_params=True)
    chosen = [pipeline(**data)["applied_transforms"][0][1]["partners"] for _ in range(60)]
    assert {tuple(each) for each in chosen} == {(0,), (1,), (2,), (3,)}
    assert compose(cda.Mosaic(p=1.0), save_applied_params=True)(**call(partners=(1, 2)))["applied_transforms"][0][1][
        "partners"
    ] == [0, 1]


def test_p_is_applied_once():
    data = {"image": sample(0)["image"], "mix_metadata": [{"image": sample(1)["image"]}]}
    for p in (0.0, 0.5, 1.0):
        pipeline = A.Compose([cda.CutMix(p=p, region={"type": "AreaBox", "area": [0.3, 0.5]})], seed=0)
        mixed = [(pipeline(**data)["image"][..., 0] == 2).any() for _ in range(200)]
        assert abs(np.mean(mixed) - p) < 0.1 * (0 < p < 1) + 1e-9


@pytest.mark.parametrize("wrap", ["OneOf", "SomeOf", "Sequential", "Compose"])
def test_within_other_compositions(wrap):
    inner = [cda.CutMix(p=1.0), cda.RICAP(p=1.0)]
    pipeline = compose(getattr(A, wrap)(inner, p=1.0), seed=0, strict=True)
    result = pipeline(**call())
    assert (result["image"][..., 0] != 1).any()
    assert len(result["bboxes"]) == len(result["masks"]) == len(result["labels"])


# --------------------------------------------------------------------------------------------------------- partners


class Samples:
    """A map-style dataset."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return sample(index)


@pytest.mark.filterwarnings("ignore:.*could work incorrectly in ReplayMode")
@pytest.mark.parametrize("source", [Samples(), lambda rng: sample(int(rng.integers(1, 5)))])
def test_partners_from_a_source(source):
    data = {key: value for key, value in call().items() if key != "mix_metadata"}
    one, two = (compose(cda.Mosaic(p=1.0, source=source), seed=1, strict=True) for _ in range(2))
    for _ in range(3):
        assert same(one(**data), two(**data))
    result = compose(cda.CutMix(p=1.0, source=source), cls=A.ReplayCompose)(**data)
    assert same(targets_only(A.ReplayCompose.replay(result["replay"], **data)), targets_only(result))
    if isinstance(source, Samples):
        copied = pickle.loads(pickle.dumps(two))
        assert same(copied(**data), two(**data))
    with pytest.raises(TypeError, match="source"):
        cda.CutMix(source=3)


@pytest.mark.parametrize("name", NAMES)
def test_without_partners_nothing_changes(name):
    data = floating(call(partners=())) if name == "MixUp" else call(partners=())
    result = compose(make(name), seed=0)(**data)
    assert np.array_equal(result["image"], data["image"])
    assert np.array_equal(result["mask"], data["mask"])
    assert np.allclose(result["bboxes"], data["bboxes"], atol=1e-4)
    assert result["labels"] == data["labels"]
    assert same(result["masks"], data["masks"])
    assert result["names"] == data["names"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda item: item.pop("image"), r"mix_metadata\[0\] must have 'image'"),
        (lambda item: item.pop("mask"), r"mix_metadata\[0\] must have 'mask'"),
        (lambda item: item.pop("masks"), r"mix_metadata\[0\] must have 'masks'"),
        (lambda item: item.pop("labels"), r"mix_metadata\[0\] has bboxes but not their label fields \['labels'\]"),
        (lambda item: item.pop("bboxes"), r"mix_metadata\[0\] has 'labels' but no bboxes"),
        (lambda item: item.update(labels=["one"]), r"mix_metadata\[0\]: The lengths of bboxes and labels"),
        (lambda item: item.update(bboxes=[[5, 5, 2, 2]] * 4), r"mix_metadata\[0\]: x_max is less"),
        (lambda item: item.update(mask=item["mask"][:-1]), r"mix_metadata\[0\]\['mask'\] must have its image's size"),
        (lambda item: item.update(masks=np.zeros((4, 9, 9), np.uint8)), r"mix_metadata\[0\]\['masks'\] must have"),
        (lambda item: item.update(image=item["image"][..., 0]), r"mix_metadata\[0\]\['image'\] must be uint8 with 3"),
        (lambda item: item.update(image=item["image"] / 255), r"mix_metadata\[0\]\['image'\] must be uint8"),
        (lambda item: item.update(image="a.png"), r"mix_metadata\[0\]\['image'\] must be a numpy array"),
    ],
)
def test_a_partner_that_does_not_fit_is_named(change, message):
    data = call(partners=(1,))
    change(data["mix_metadata"][0])
    with pytest.raises((ValueError, TypeError), match=message):
        compose(cda.CutMix(p=1.0))(**data)


def test_an_image_without_objects_is_a_partner():
    bare = {"image": sample(1)["image"], "mask": sample(1)["mask"]}
    result = compose(cda.CutMix(p=1.0), seed=0)(**{**call(), "mix_metadata": [bare]})
    assert (result["image"][..., 0] == 2).any()
    assert all(label.startswith("object 0") for label in result["labels"])
    with pytest.raises(ValueError, match="missing keys"):
        compose(cda.CutMix(p=1.0))(**sample(0))
    with pytest.raises(TypeError, match="list of dicts"):
        compose(cda.CutMix(p=1.0))(**{**call(), "mix_metadata": bare})
    with pytest.raises(TypeError, match=r"mix_metadata\[0\] must be a dict"):
        compose(cda.CutMix(p=1.0))(**{**call(), "mix_metadata": [bare["image"]]})


def test_an_image_of_nothing_gets_what_the_partner_has():
    data = {**call(objects=0), "mask_index": [], "labels": [], "bboxes": [], "keypoints": [], "names": []}
    for empty in ([], np.zeros((0, 4), np.float32), np.zeros(0)):
        data["bboxes"] = empty
        result = compose(cda.GridMix(p=1.0), A.HorizontalFlip(p=1), seed=1)(**data)
        assert len(result["bboxes"]) == len(result["labels"]) == len(result["masks"]) > 0
        assert len(result["keypoints"]) == len(result["names"]) > 0
        assert not any(label.startswith("object 0") for label in result["labels"])


# ------------------------------------------------------------------------------------------------- images and maps


@pytest.mark.parametrize("name", ["CutMix", "Mosaic", "MixUp", "FMix", "CopyPaste"])
@pytest.mark.parametrize("form", ["uint8", "float32", "gray", "one channel", "four channels"])
def test_forms_of_images(name, form):
    def change(item):
        image = item["image"]
        return {
            "uint8": image,
            "float32": image.astype(np.float32) / 255,
            "gray": image[..., 0] * 9,
            "one channel": image[..., :1] * 9,
            "four channels": np.concatenate([image, image[..., :1]], axis=2),
        }[form]

    data = floating(call()) if name == "MixUp" else call()
    for item in (data, *data["mix_metadata"]):
        item["image"] = change(item)[::1]
    more = {"fill": 0} if name == "Mosaic" else {}
    result = compose(make(name, **more), seed=0)(**data)["image"]
    assert (result.dtype, result.shape) == (data["image"].dtype, data["image"].shape)
    assert result.flags.c_contiguous
    assert not np.array_equal(result, data["image"])


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_never_changed(name):
    data = floating(call()) if name == "MixUp" else call()
    for item in (data, *data["mix_metadata"]):  # arrays that the adapter could write into, and ones it can't read
        item["bboxes"] = np.array(item["bboxes"], dtype=np.float32)
        item["image"] = item["image"][::-1]
    before = copy.deepcopy(data)
    boxes = {"image": data["image"], "bboxes": np.full((1, 4), [0.1, 0.1, 1.5, 1.2], np.float32)}
    if name == "CutMix":  # Compose clips a partner's boxes where they lie
        A.Compose([make(name)], bbox_params=A.BboxParams("albumentations", clip=True))(
            image=data["image"], bboxes=[[0, 0, 1, 1]], mix_metadata=[boxes]
        )
        assert boxes["bboxes"][0, 2] == 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compose(make(name), A.RandomBrightnessContrast(p=1), seed=0)(**data)
    assert same(data, before)


def test_read_only_arrays_and_wide_maps():
    data = call()
    for item in (data, *data["mix_metadata"]):
        item["mask"] = item["mask"].astype(np.int32) - 1
        for key in ("image", "mask"):
            item[key].setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compose(cda.RICAP(p=1.0), seed=0)(**data)
    assert result["mask"].dtype == np.int32
    expected = compose(cda.RICAP(p=1.0), seed=0)(**call())["mask"].astype(np.int32)
    assert np.array_equal(result["mask"], np.where(expected == 255, 255, expected - 1))


def test_maps_that_hold_no_classes():
    data = call()
    data["mask"] = np.stack([sample(0)["mask"]] * 2, axis=2).astype(np.float32) / 7
    for number, item in enumerate(data["mix_metadata"], 1):
        item["mask"] = np.stack([sample(number)["mask"]] * 2, axis=2).astype(np.float32) / 7
    transform = make("Mosaic", size=[90, 100], scale=[0.4, 0.5], fill_mask=[-1.0, -2.0])
    result = compose(transform, seed=0)(**data)
    assert result["mask"].shape == (90, 100, 2)
    fill = (result["mask"] == [-1.0, -2.0]).all(axis=2)
    assert fill.any()
    assert np.array_equal(fill, (result["image"] == [1, 2, 3]).all(axis=2) | fill)
    given = np.unique(
        [item["mask"].flat[k] for item in (data, *data["mix_metadata"]) for k in range(item["mask"].size)]
    )
    assert np.isin(result["mask"][~fill], given).all(), "a value was averaged"


def test_fill_of_a_class_map_is_ignored():
    data = call()
    for item in (data, *data["mix_metadata"]):
        item["mask2"] = item["mask"]
    transform = make("Mosaic", size=[90, 100], scale=[0.4, 0.5], ignore_index=254)
    result = compose(transform, seed=0, additional_targets={"mask2": "mask"})(**data)
    assert result["mask"].shape == (90, 100)
    assert np.array_equal(result["mask"], result["mask2"])
    assert set(np.unique(result["mask"])) <= {*range(200), 254}
    assert (result["mask"] == 254).any()


def test_additional_targets():
    def more(item):
        return {"image2": 255 - item["image"], "mask2": item["mask"][..., None]}

    extra = {"image2": "image", "mask2": "mask"}
    data = {**call(), **more(call()), "mix_metadata": [{**sample(k), **more(sample(k))} for k in (1, 2)]}
    result = compose(unscaled("CutMix"), A.HorizontalFlip(p=1), seed=0, additional_targets=extra, strict=True)(**data)
    assert (result["image"][..., 0] != 1).any()
    assert np.array_equal(result["image2"], 255 - result["image"])
    assert np.array_equal(result["mask2"][..., 0], result["mask"])
    del data["mix_metadata"][0]["mask2"], data["mix_metadata"][1]["mask2"]
    with pytest.raises(ValueError, match=r"must have 'mask2'"):
        compose(cda.CutMix(p=1.0), additional_targets=extra)(**data)
    with pytest.raises(ValueError, match="'mask2' has a value per pixel and would stay unmixed"):
        compose(cda.CutMix(p=1.0))(**{**call(), "mask2": sample(0)["mask"]})


@pytest.mark.parametrize(
    "form",
    [
        torch.from_numpy,
        lambda depth: depth[None],
        lambda depth: np.stack([depth, depth]),
        lambda depth: np.stack([depth, depth])[..., None],
        lambda depth: [depth, depth],
        lambda depth: (torch.from_numpy(depth)[None],),
    ],
    ids=["tensor", "channels first", "stack", "stack of channels", "list", "tuple of tensors"],
)
def test_no_form_of_pixels_stays_unmixed(form):
    depth = sample(0)["image"][..., 0].astype(np.float32)
    with pytest.raises(ValueError, match="'depth' has a value per pixel and would stay unmixed"):
        compose(cda.CutMix(p=1.0))(**{**call(), "depth": form(depth)})
    for other in (torch.zeros(depth.shape[0]), [depth.mean()], np.zeros((4, 3)), [np.zeros(4), "text"]):
        compose(cda.CutMix(p=1.0))(**{**call(), "depth": other})


@pytest.mark.parametrize(
    ("kind", "params", "rows"),
    [
        ("bboxes", {"bbox_params": A.BboxParams("pascal_voc")}, [[2, 3, 30, 25, 7]]),
        ("keypoints", {"keypoint_params": A.KeypointParams("xy")}, [[12, 13]]),
    ],
)
def test_what_a_partner_has_and_the_image_lacks_is_not_lost(kind, params, rows):
    pipeline = A.Compose([cda.CutMix(p=1.0)], seed=1, **params)
    image, partners = sample(0)["image"], [{"image": sample(1)["image"], kind: rows}]
    with pytest.raises(ValueError, match=rf"\[0\] has {kind}, .*call the pipeline with {kind}=\[\]"):
        pipeline(image=image, mix_metadata=partners)
    assert kind in pipeline(image=image, mix_metadata=partners, **{kind: []})
    assert kind not in pipeline(image=image, mix_metadata=[{**partners[0], kind: []}])


def test_members_and_sources_of_another_kind_are_named():
    with pytest.raises(TypeError, match=r"cutmix_dense\.CutMix\(…\) or \{\"type\": \"CutMix\"\}.*A\.OneOf"):
        cda.RandomMix(transforms=[cda.CutMix(p=1.0)])
    with pytest.raises(TypeError, match="source must be a dataset or a callable, got str"):
        cda.CutMix(source="coco")


@pytest.mark.parametrize("source", [lambda: sample(1), lambda one, two: sample(1), lambda *, rng: sample(1)])
def test_a_source_that_does_not_take_the_generator_is_refused_before_it_is_called(source):
    with pytest.raises(TypeError, match=r"source must take one argument, the numpy.random.Generator .* \(.*\): write"):
        cda.CutMix(p=1.0, source=source)


def partner(rng):
    assert isinstance(rng, np.random.Generator)
    return {"image": sample(1)["image"]}


@pytest.mark.parametrize("source", [partner, lambda *given: partner(*given), lambda rng, more=2: partner(rng)])
def test_a_source_that_takes_the_generator_is_called_with_it(source):
    image = sample(0)["image"]
    mixed = A.Compose([cda.CutMix(p=1.0, source=source)], seed=1)(image=image)["image"]
    assert not np.array_equal(mixed, image)


def test_a_mix_behind_totensor_is_told_its_place():
    image = sample(0)["image"]
    with pytest.raises(TypeError, match=r"got a tensor \(3, .*put the mix before ToTensorV2"):
        A.Compose([A.ToTensorV2(), cda.CutMix(p=1.0)])(image=image, mix_metadata=[{"image": image}])


def test_what_is_not_offered_is_refused():
    with pytest.raises(ValueError, match="'more' holds bboxes"):
        A.Compose([cda.CutMix(p=1.0)], bbox_params=A.BboxParams("coco"), additional_targets={"more": "bboxes"})(
            image=sample(0)["image"], more=[[1, 1, 5, 5, 0]], mix_metadata=[]
        )
    with pytest.raises(ValueError, match="one of image, images, volume, volumes must be given"):
        cda.CutMix(p=1.0).apply_with_params({"partners": [], "seed": 1}, mask=sample(0)["mask"], mix_metadata=[])


def test_mixup_blends_and_refuses_ids():
    data = {"image": np.full((20, 30, 3), 40, np.uint8), "mask": np.zeros((20, 30), np.float32)}
    data["mix_metadata"] = [{"image": np.full((20, 30, 3), 80, np.uint8), "mask": np.ones((20, 30), np.float32)}]
    result = A.Compose([cda.MixUp(p=1.0, lam=0.25)])(**data)
    assert (result["image"] == 70).all()
    assert np.allclose(result["mask"], 0.75)
    for transform in (cda.MixUp(p=1.0), cda.RandomMix(p=1.0, transforms=[{"type": "CutMix"}, {"type": "MixUp"}])):
        with pytest.raises(ValueError, match="'mask' holds uint8 ids"):
            A.Compose([transform])(**{**data, "mask": np.zeros((20, 30), np.uint8), "mix_metadata": []})


# ---------------------------------------------------------------------------------------------------------- arguments


def test_arguments_are_the_core_s():
    with pytest.raises(TypeError, match="CutMix: pairing says nothing"):
        cda.CutMix(pairing="roll")
    with pytest.raises(ValueError, match="CutMix: alpha"):
        cda.CutMix(alpha=-1)
    with pytest.raises(ValueError, match="p must lie"):
        cda.CutMix(p=2)
    with pytest.raises(ValueError, match="type must be one of"):
        cda.CutMix(region={"type": "Areabox"})
    with pytest.raises(ValueError, match="on_filtered"):
        cda.CutMix(on_filtered="ignore")
    assert cda.CutMix().p == 0.5
    assert cda.CutMix().method.p == 1.0
    assert cda.RandomMix(transforms=[{"type": "CutMix", "p": 0.25}]).method.members[0].p == 0.25


def test_crowds_need_their_field():
    data = boxes_only([1, 2], [3, 4])
    for item in (data, *data["mix_metadata"]):
        item["iscrowd"] = [0, 0]
    transform = cda.CutMix(p=1.0, region={"type": "AreaBox", "area": [0.3, 0.5]}, on_filtered="crowd", min_visibility=1)
    pipeline = A.Compose(
        [transform], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels", "iscrowd"]), seed=0
    )
    assert 1 in [crowd for _ in range(10) for crowd in pipeline(**data)["iscrowd"]]
    pipeline = A.Compose([transform], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]), seed=0)
    with pytest.raises(ValueError, match="needs 'iscrowd'"):
        pipeline(**data)


def test_the_schedule_of_random_mix():
    transform = cda.RandomMix(p=1.0, transforms=[{"type": "CutMix", "p": 1.0}], total=4, close_last=1)
    data = {"image": sample(0)["image"], "mix_metadata": [{"image": sample(1)["image"]}]}
    transform.set_progress(3)
    assert np.array_equal(transform(**data)["image"], data["image"])


def test_alone_it_mixes_images_and_maps():
    data = {key: sample(0)[key] for key in ("image", "mask")}
    result = cda.CutMix(p=1.0)(**data, mix_metadata=[{key: sample(1)[key] for key in ("image", "mask")}])
    assert result["image"].shape == data["image"].shape
    with pytest.raises(ValueError, match="bbox_params"):
        cda.CutMix(p=1.0)(**sample(0), mix_metadata=[])


def test_missing_albumentations_is_one_clear_line():
    code = "import sys\nsys.modules['albumentations'] = None\nimport cutmix_dense.albumentations"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    line = 'ImportError: albumentations is needed for this: pip install "cutmix_dense[albumentations]"'
    assert done.stderr.strip().splitlines()[-1] == line
