"""Forms of input that once came through unmixed, mixed wrongly, or in another form than they came."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.functional import mix_instances
from cutmix_dense.regions import AreaBox
from cutmix_dense.transforms import extents
from cutmix_dense.warned import MixWarning

SIZE = (20, 30)
WHOLE = AreaBox((1, 1), (1, 1))


def target_of(box=(2.0, 3.0, 12.0, 13.0), **fields):
    return {"boxes": torch.tensor([box]), "labels": torch.tensor([1]), **fields}


def pair(first, second, **kwargs):
    plan = cd.MixPlan.from_rectangles(
        torch.tensor([[0, 1]]), torch.tensor([[[0, 7, 20, 30]]]), torch.tensor([SIZE, SIZE])
    )
    return mix_instances([first, second], plan, **kwargs)[0]


def test_masks_of_a_list_have_their_own_images_size():
    images = [torch.rand(3, 50, 60), torch.rand(3, 80, 90)]
    targets = [{}, target_of(masks=torch.ones(1, 80, 90, dtype=torch.bool))]
    mixed, out = cd.CutMix(p=1.0, region=WHOLE)(images, targets)
    for image, target in zip(mixed, out):
        assert target["masks"].shape[1:] == image.shape[1:]


def test_masks_of_a_padded_batch_have_the_frame_even_if_only_the_full_image_has_some():
    targets = [{}, target_of(masks=torch.ones(1, 20, 30, dtype=torch.bool))]
    _, out = cd.CutMix(p=1.0, region=WHOLE)(torch.rand(2, 3, 20, 30), targets, sizes=[[15, 22], [20, 30]])
    assert [tuple(target["masks"].shape[1:]) for target in out] == [SIZE, SIZE]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("keypoints", [[[3.0, 3.0, 2.0]]]),
        ("visibility", [1.0]),
        ("masks", [torch.ones(SIZE)]),
    ],
)
def test_fields_with_a_geometry_must_be_tensors(key, value):
    with pytest.raises(TypeError, match=rf"targets\[0\]\['{key}'\] must be a tensor, got list"):
        pair(target_of(**{key: value}), {})


@pytest.mark.parametrize(
    "wrapped",
    [
        tv_tensors.BoundingBoxes(torch.ones(1, 4), format="XYXY", canvas_size=SIZE),
        tv_tensors.Mask(torch.ones(1, *SIZE)),
    ],
)
def test_wrapped_tensors_are_not_carried_unmapped(wrapped):
    with pytest.raises(ValueError, match=r"\['amodal'\] is a .*, which would have to be mapped"):
        pair(target_of(amodal=wrapped), {}, instance_keys=["amodal"])


@pytest.mark.parametrize("key", ["area", "visibility", "weight", "iscrowd"])
def test_fields_of_one_number_have_one_dimension(key):
    with pytest.raises(ValueError, match=rf"\['{key}'\] must have 1 dimensions"):
        pair(target_of(**{key: torch.ones(1, 1)}), {})


@pytest.mark.parametrize("plain_first", [True, False])
def test_plain_and_wrapped_boxes_together(plain_first):
    plain = target_of((1.0, 1.0, 5.0, 6.0))
    wrapped = {
        "boxes": tv_tensors.BoundingBoxes([[10.0, 10, 5, 8]], format="XYWH", canvas_size=SIZE),
        "labels": torch.tensor([2]),
    }
    targets = [plain, wrapped] if plain_first else [wrapped, plain]
    _, out = cd.CutMix(p=0.0)(torch.rand(2, 3, *SIZE), targets)
    xyxy = [cd.functional.boxes.to_xyxy(target["boxes"]).tolist() for target in out]
    expected = [[[1, 1, 5, 6]], [[10, 10, 15, 18]]]
    assert xyxy == (expected if plain_first else expected[::-1])


def test_ids_are_never_blended_by_name_or_by_type():
    images = torch.rand(2, 3, *SIZE)
    with pytest.raises(TypeError, match=r"targets\['semantic'\] must hold integer class ids"):
        cd.MixUp(p=1.0)(images, {"semantic": torch.zeros(2, *SIZE)})
    with pytest.raises(TypeError, match="must be floating point to be blended"):
        cd.MixUp(p=1.0)(images, {"ids": torch.zeros(2, 2, *SIZE, dtype=torch.uint8)})


def test_classmix_looks_at_the_map_of_classes():
    images = torch.rand(2, 3, *SIZE)
    classes = torch.randint(0, 5, (2, *SIZE), dtype=torch.uint8)
    valid = torch.ones(2, *SIZE, dtype=torch.uint8)

    def owner(targets):
        return cd.ClassMix().make_plan(images, targets, generator=torch.Generator().manual_seed(0)).owner_map()

    assert torch.equal(owner({"valid": valid, "semantic": classes}), owner({"semantic": classes}))
    with pytest.raises(ValueError, match="several maps"):
        owner({"a": valid, "b": classes})
    with pytest.raises(ValueError, match="ids below max_classes = 4, got 4"):
        cd.ClassMix(max_classes=4).make_plan(images, torch.full((2, *SIZE), 4))


@pytest.mark.parametrize("alpha", [0.01, 1.0])
def test_where_the_partner_does_not_reach_the_base_counts_whole(alpha):
    images = [torch.full((1, 8, 8), 200.0), torch.full((1, 4, 4), 100.0)]
    for mix in (cd.MixUp(lam=0.0, p=1.0), *(cd.MixUp(alpha=alpha, p=1.0) for _ in range(50))):
        mixed, _ = mix.apply_plan(mix.make_plan(images), images)
        assert (mixed[0][:, 4:] == 200).all()
        assert (mixed[0][:, :, 4:] == 200).all()


@pytest.mark.parametrize("value", [[0, 1], [torch.tensor(0), torch.tensor(1)], torch.arange(2)])
def test_numbers_under_an_unknown_key_are_refused(value):
    with pytest.raises(ValueError, match=r"targets\['index'\] is of unknown meaning"):
        cd.CutMix(p=1.0, num_classes=10)(torch.rand(2, 3, *SIZE), {"index": value})


@pytest.mark.parametrize("key", ["masks", "boxes", "keypoints"])
def test_instances_in_a_dict_of_batches_are_refused(key):
    with pytest.raises(ValueError, match="give a list of dicts"):
        cd.CutMix(p=1.0)(torch.rand(2, 3, *SIZE), {key: [torch.ones(2, *SIZE)] * 2})


def test_crowds_can_be_mixed_again():
    targets = [target_of(ignored=target_of((15.0, 2.0, 25.0, 12.0))) for _ in range(2)]
    mix = cd.CutMix(p=1.0, on_filtered="crowd", min_visibility=0.9)
    images = torch.rand(2, 3, *SIZE)
    for seed in range(5):
        _, once = mix(images, targets, generator=torch.Generator().manual_seed(seed))
        _, twice = mix(images, once, generator=torch.Generator().manual_seed(seed + 100))
        assert all("iscrowd" in target["ignored"] for target in twice)


def test_ignored_instances_alone():
    (mixed,) = mix_instances(
        [{"ignored": target_of()}],
        cd.MixPlan.from_rectangles(torch.tensor([[0, -1]]), torch.zeros(1, 0, 4).long(), torch.tensor([SIZE])),
    )
    assert mixed["boxes"].shape == (0, 4)
    assert mixed["ignored"]["boxes"].tolist() == [[2, 3, 12, 13]]


@pytest.mark.parametrize("flip", [0.0, 0.3])
def test_keypoints_need_pairs_only_where_something_may_flip(flip):
    targets = [target_of(keypoints=torch.ones(1, 2, 3)) for _ in range(2)]
    mix = cd.CopyPaste(p=0.5, flip=flip)
    for seed in range(10):
        if flip:
            with pytest.raises(ValueError, match="flip_pairs must be given"):
                mix(torch.rand(2, 3, *SIZE), targets, generator=torch.Generator().manual_seed(seed))
        else:
            mix(torch.rand(2, 3, *SIZE), targets, generator=torch.Generator().manual_seed(seed))


def test_a_bank_knows_the_maps_it_was_told_of():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank(), semantic_keys=("seg",))
    for size in ((20, 30), (24, 28), (16, 40)):
        targets = [{"seg": torch.zeros(size, dtype=torch.uint8)}, {"seg": torch.ones(size, dtype=torch.uint8)}]
        images = torch.stack([torch.zeros(1, *size), torch.ones(1, *size)])
        mixed, out = mix(images, targets)
        for image, target in zip(mixed, out):
            assert torch.equal(image[0], target["seg"].float())


def test_settings_can_change():
    mix = cd.CutMix(p=1.0)
    mix.num_classes = 3
    assert mix(torch.rand(2, 3, *SIZE), torch.tensor([0, 2]))[1].shape == (2, 3)
    mix.region = WHOLE
    assert mix.make_plan(torch.rand(2, 3, *SIZE)).share()[:, 1].tolist() == [1, 1]


@pytest.mark.parametrize("fill", [300, -1])
def test_fill_must_fit_the_dtype(fill):
    with pytest.raises(ValueError, match=f"fill must lie within 0 … 255 for torch.uint8, got {fill}"):
        cd.Mosaic(fill=fill)(torch.zeros(2, 3, *SIZE, dtype=torch.uint8))


@pytest.mark.parametrize("value", [5, torch.tensor(3), [1]])
def test_image_keys_hold_one_entry_per_image(value):
    with pytest.raises((TypeError, ValueError), match=r"targets\['image_id'\] must have one entry per image"):
        cd.CutMix(p=1.0)(torch.rand(2, 3, *SIZE), {"image_id": value})


def test_a_bank_goes_through_a_checkpoint_that_loads_weights_only(tmp_path):
    def target():
        return {
            "boxes": tv_tensors.BoundingBoxes([[1.0, 2, 10, 12]], format="XYWH", canvas_size=SIZE),
            "labels": torch.tensor([1]),
            "masks": tv_tensors.Mask(torch.ones(1, *SIZE, dtype=torch.bool)),
            "names": ["a"],
        }

    def make():
        return cd.CutMix(p=1.0, pairing="bank", instance_keys=["names"])

    mix, again = make(), make()
    for _ in range(3):
        mix(tv_tensors.Image(torch.rand(1, 3, *SIZE)), [target()])
    torch.save(mix.state_dict(), tmp_path / "checkpoint.pt")
    again.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    image = tv_tensors.Image(torch.rand(1, 3, *SIZE))
    results = [m(image, [target()], generator=torch.Generator().manual_seed(3)) for m in (mix, again)]
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1][0]["boxes"], results[1][1][0]["boxes"])
    assert results[1][1][0]["boxes"].format.name == "XYWH"
    assert not torch.equal(results[0][0], image)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("free_form", [False, True])
def test_ignore_regions_need_boxes_alone(p, free_form):
    """As mmdet's own ``demo_mm_inputs`` makes them: boxes, beside instances that have labels and masks."""
    masks = torch.zeros(1, *SIZE, dtype=torch.bool)
    masks[:, 3:13, 2:12] = True
    region = {"boxes": torch.tensor([[15.0, 4.0, 25.0, 14.0]])}
    first = target_of(masks=masks, area=torch.tensor([100.0]), ignored=region)
    targets = [first, {"ignored": {"boxes": torch.tensor([[0.0, 0.0, 4.0, 5.0]])}}]
    images = torch.stack([torch.zeros(3, *SIZE), torch.ones(3, *SIZE)])
    mix = cd.CowMix(p=p, sigma=(2, 2)) if free_form else cd.CutMix(p=p, region=WHOLE)
    mixed, out = mix(images, targets, generator=torch.Generator().manual_seed(0))
    for target in out:
        assert set(target["ignored"]) == {"boxes", "visibility", "origin"}
        assert set(target) == {"boxes", "labels", "masks", "area", "visibility", "origin", "ignored"}
        assert len({len(value) for value in target["ignored"].values()}) == 1
    if p == 0:
        assert torch.equal(mixed, images)
        assert out[0]["ignored"]["boxes"].tolist() == [[15, 4, 25, 14]]
        assert out[0]["masks"].sum() == 100
        assert len(out[1]["labels"]) == 0
    elif not free_form:  # the partner replaces the whole image, with what belongs to it
        assert mixed[:, 0, 0, 0].tolist() == [1, 0]
        assert out[1]["ignored"]["boxes"].tolist() == [[15, 4, 25, 14]]
        assert out[0]["ignored"]["boxes"].tolist() == [[0, 0, 4, 5]]
        assert (out[1]["labels"].tolist(), out[1]["masks"].sum()) == ([1], 100)


def test_what_is_moved_to_bare_ignore_regions_is_as_bare():
    targets = [target_of(ignored={"boxes": torch.tensor([[20.0, 2.0, 28.0, 9.0]])}), target_of()]
    mix = cd.CutMix(p=1.0, region=AreaBox((0.5, 0.5), (1, 1)), min_visibility=1.0, on_filtered="ignore")
    moved = 0
    for seed in range(10):
        _, out = mix(torch.rand(2, 3, *SIZE), targets, generator=torch.Generator().manual_seed(seed))
        moved += sum(int((target["ignored"]["visibility"] < 1).sum()) for target in out)
        assert all(set(target["ignored"]) == {"boxes", "visibility", "origin"} for target in out)
    assert moved


def test_the_size_of_an_image_without_instances_is_known_to_its_ignore_regions():
    images = [torch.rand(3, *SIZE), torch.rand(3, 40, 50)]
    masks = torch.ones(1, *SIZE, dtype=torch.bool)
    targets = [target_of(masks=masks), {"ignored": {"boxes": torch.tensor([[30.0, 22.0, 45.0, 38.0]])}}]
    mixed, out = cd.CutMix(p=0.0)(images, targets)
    assert out[1]["ignored"]["boxes"].tolist() == [[30, 22, 45, 38]]
    assert [target["masks"].shape[1:] for target in out] == [image.shape[1:] for image in mixed]


@pytest.mark.parametrize("key", ["bbox", "bboxes", "segmentation"])
def test_coordinates_are_not_carried_under_other_names(key):
    targets = [target_of(**{key: [[2.0, 3.0, 10.0, 10.0]]}), {}]
    with pytest.raises(ValueError, match=rf"unknown key '{key}'.*instance_keys can't carry coordinates"):
        pair(*targets)
    with pytest.raises(ValueError, match=rf"instance_keys can't carry coordinates, got '{key}'"):
        pair(*targets, instance_keys=[key])


def test_raw_annotations_in_a_target_are_refused_with_the_remedy():
    rows = [{"bbox": [2, 3, 10, 10], "category_id": 1}]
    with pytest.raises(ValueError, match=r"targets\[0\]\['annotations'\].*wrap_dataset_for_transforms_v2"):
        pair({"image_id": 3, "annotations": rows}, {})


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([{"depth": torch.rand(16, 24)}] * 2, r"goes beside the list, {'targets': \[...\], 'depth': \(B, H, W\)}"),
        ([torch.tensor([[1.0, 2.0, 9.0, 9.0]])] * 2, "boxes go into a dict"),
        ([None, None], "an image without objects is {}"),
        (np.zeros((2, 16, 24)), "torch.from_numpy"),
    ],
)
def test_targets_that_do_not_fit_have_a_remedy(targets, message):
    with pytest.raises((TypeError, ValueError), match=message):
        cd.CutMix(p=1.0)(torch.rand(2, 3, 16, 24), targets)


def test_maps_of_floating_point_go_beside_the_list():
    images, depth = torch.rand(2, 3, 16, 24), torch.rand(2, 16, 24)
    with pytest.raises(TypeError, match=r"targets\[0\]\['depth'\] must hold class ids, got torch.float32"):
        cd.CutMix(p=1.0, semantic_keys=["depth"])(images, [{"depth": one} for one in depth])
    boxes = [{"boxes": torch.tensor([[1.0, 2.0, 9.0, 9.0]])}] * 2
    mixed, targets = cd.CutMix(p=1.0)(torch.stack([depth] * 3, dim=1), {"targets": boxes, "depth": depth})
    assert targets["depth"].equal(mixed[:, 0])


@pytest.mark.parametrize("key", ["mask", "label", "labels", "seg", "depth"])
@pytest.mark.parametrize("listed", [False, True], ids=["batch", "list"])
def test_no_value_comes_out_of_a_scaled_map_of_ids_in_floats_that_did_not_go_in(key, listed):
    ids = torch.randint(0, 4, (2, 1, 30, 44)).float()
    images = torch.rand(2, 3, 30, 44)
    given = (list(images), {key: list(ids)}) if listed else (images, {key: ids})
    _, mixed = cd.ResizeMix(p=1.0)(*given, generator=torch.Generator().manual_seed(2))
    assert set(torch.stack(list(mixed[key])).unique().tolist()) <= {0.0, 1.0, 2.0, 3.0}


def test_maps_of_floats_are_read_nearest_where_images_are():
    values = torch.rand(2, 30, 44)
    for interpolation, same in (("nearest", True), ("bilinear", False), (None, False)):
        mix = cd.ResizeMix(p=1.0, interpolation=interpolation)
        _, mixed = mix(torch.rand(2, 3, 30, 44), {"confidence": values}, generator=torch.Generator().manual_seed(3))
        assert set(mixed["confidence"].unique().tolist()).issubset(values.unique().tolist()) == same


def test_a_list_of_maps_without_a_fill_is_named():
    with pytest.raises(ValueError, match=r"targets\['depth'\] has no value for pixels without an owner"):
        cd.Cutout(fill=0, p=1.0)(list(torch.rand(2, 3, 16, 24)), {"depth": list(torch.rand(2, 16, 24))})


def test_masks_of_truth_values_are_filled_with_false():
    valid = torch.ones(2, 16, 24, dtype=torch.bool)
    mixed, targets = cd.Cutout(fill=0, ignore_index=0, p=1.0)(torch.ones(2, 1, 16, 24), {"valid": valid})
    assert targets["valid"].dtype == torch.bool
    assert targets["valid"].equal(mixed[:, 0] > 0)
    assert not targets["valid"].all()
    with pytest.raises(ValueError, match="set ignore_index to 0 or 1"):
        cd.Cutout(p=1.0)(torch.ones(2, 1, 16, 24), {"valid": valid})


def test_weights_by_class_need_one_class_per_instance():
    row = {"boxes": torch.tensor([[2.0, 3, 20, 15]]), "labels": torch.rand(1, 4)}
    with pytest.raises(ValueError, match=r"targets\[0\]\['labels'\] must be one class .*got shape \(1, 4\)"):
        cd.CopyPaste(source="batch", instances=1, weights="balanced", p=1.0)(torch.rand(2, 3, 16, 24), [row] * 2)


def test_lists_of_numbers_become_tensors_where_a_key_needs_one():
    """As torchvision's wrapped COCO data sets give ``iscrowd`` and ``area``; ints in one image, floats in another."""
    box, one = torch.tensor([[4.0, 4, 20, 16]]), torch.tensor([1])
    rows = [
        {"boxes": box, "labels": one, "iscrowd": [0], "area": [192]},
        {"boxes": box.repeat(2, 1), "labels": one.repeat(2), "iscrowd": [0, 1], "area": [192.0, 96.5]},
        {"boxes": box[:0], "labels": one[:0], "iscrowd": [], "area": []},
    ]
    _, mixed = cd.CutMix(p=0.0)(torch.rand(3, 3, 24, 36), rows)
    assert [row["iscrowd"].tolist() for row in mixed] == [[0], [0, 1], []]
    assert [row["area"].tolist() for row in mixed] == [[192.0], [192.0, 96.5], []]
    assert {(row["iscrowd"].dtype, row["area"].dtype) for row in mixed} == {(torch.int64, torch.float32)}
    _, mixed = cd.CutMix(p=1.0)(torch.rand(3, 3, 24, 36), rows)
    assert all(len(row["iscrowd"]) == len(row["area"]) == len(row["boxes"]) for row in mixed)
    with pytest.raises(TypeError, match=r"\['iscrowd'\] must be a tensor or a list of numbers, got \['a'\]"):
        cd.CutMix()(torch.rand(1, 3, 24, 36), [{"boxes": box, "labels": one, "iscrowd": ["a"]}])


@pytest.mark.parametrize("key", ["segmentation", "bbox"])
def test_raw_coordinates_beside_boxes_are_to_be_left_out(key):
    row = {"boxes": torch.tensor([[4.0, 4, 20, 16]]), "labels": torch.tensor([1]), key: [[4.0, 4, 16, 12]]}
    with pytest.raises(ValueError, match=rf"targets\[0\] holds the unknown key '{key}' beside 'boxes'.*: leave it out"):
        cd.CutMix()(torch.rand(2, 3, 24, 36), [row] * 2)


def test_arrays_are_refused_with_the_remedy():
    images, box = torch.rand(2, 3, 24, 36), np.array([[4.0, 4, 20, 16]])
    for targets in (
        [np.zeros((24, 36), dtype=np.int64)] * 2,
        [{"boxes": box, "labels": torch.tensor([1])}] * 2,
        [{"boxes": torch.from_numpy(box), "labels": np.array([1])}] * 2,
        [{"boxes": torch.from_numpy(box), "semantic": np.zeros((24, 36))}] * 2,
    ):
        with pytest.raises(TypeError, match="ndarray.*: torch.from_numpy makes a tensor of it"):
            cd.CutMix()(images, targets)


def boxes_of(*canvas: int, count: int = 1) -> list[dict]:
    boxes = tv_tensors.BoundingBoxes(
        torch.tensor([[2.0, 3, 12, 14]] * count).reshape(-1, 4), format="XYXY", canvas_size=canvas
    )
    return [{"boxes": boxes, "labels": torch.ones(count, dtype=torch.long)}] * 2


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.Affine()], ids=lambda mix: type(mix).__name__)
def test_boxes_of_another_canvas_warn_once(mix, monkeypatch):
    monkeypatch.setattr(extents, "_warned", False)
    images = torch.rand(2, 3, 24, 36)
    with pytest.warns(MixWarning, match=r"state a canvas of \(48, 72\), their image has \(24, 36\): resize both"):
        mix(images, boxes_of(48, 72))
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixWarning)
        mix(images, boxes_of(48, 72))


def test_a_canvas_within_a_padded_batch_asks_for_sizes(monkeypatch):
    monkeypatch.setattr(extents, "_warned", False)
    with pytest.warns(MixWarning, match="where the rest is padding, give sizes=; else resize both"):
        cd.CutMix(p=1.0)(torch.rand(2, 3, 24, 36), boxes_of(20, 30))


def test_canvases_that_say_nothing_wrong(monkeypatch):
    monkeypatch.setattr(extents, "_warned", False)
    mix, images = cd.CutMix(p=1.0), torch.rand(2, 3, 24, 36)
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixWarning)
        mix(images, boxes_of(24, 36))
        mix(images, boxes_of(0, 0))  # as adapters write it
        mix(images, boxes_of(24, 36), sizes=torch.tensor([[24, 30], [24, 36]]))
        mix(images, boxes_of(1, 1, count=0))
        mix(images, boxes_of(24, 37))  # torchvision's, of a rotated image


@pytest.mark.parametrize("listed", [True, False])
def test_a_plan_for_smaller_images_is_refused(listed):
    small, large = torch.rand(2, 3, 16, 24), torch.rand(2, 3, 20, 30)
    target = {"boxes": torch.tensor([[18.0, 2, 29, 12]]), "labels": torch.tensor([1])}
    for mix in (cd.CutMix(p=1.0), cd.MixUp(p=1.0), cd.Mosaic(p=1.0), cd.FMix(p=1.0, boxes="estimate")):
        plan = mix.make_plan(small)
        with pytest.raises(ValueError, match=r"image [01] is \(20, 30\), the plan was drawn for \(16, 24\).*sizes="):
            mix.apply_plan(plan, list(large) if listed else large, [target] * 2)
    plan = cd.CutMix(p=1.0).make_plan(large, sizes=[[16, 24], [20, 30]])
    cd.CutMix().apply_plan(plan, large)  # the padding beyond the sizes stays
