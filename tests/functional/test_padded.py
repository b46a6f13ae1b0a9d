"""Padded boxes come out as a list of dicts would, slot by slot."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.functional import mix_instances, mix_padded

SLOTS = 7


def padded(batch=5, seed=0, size=(40, 60)):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(batch, SLOTS, 2, generator=generator) * torch.tensor([size[1] - 12.0, size[0] - 12.0])
    boxes = torch.cat([low, low + 2 + 20 * torch.rand(batch, SLOTS, 2, generator=generator)], dim=2)
    valid = torch.rand(batch, SLOTS, generator=generator) < 0.7
    valid[1] = False
    area = (boxes[..., 2:] - boxes[..., :2]).prod(dim=2)
    labels = torch.arange(batch * SLOTS).reshape(batch, SLOTS)
    return {"boxes": boxes, "labels": labels, "area": area, "valid": valid}


def ragged(targets):
    keys = ("boxes", "labels", "area")
    return [{key: targets[key][i][valid] for key in keys} for i, valid in enumerate(targets["valid"])]


@pytest.mark.parametrize("method", ["CutMix", "ResizeMix", "Mosaic", "RICAP", "GridMix", "StripeMix", "MixUp"])
def test_equal_to_a_list_of_dicts(method):
    images = torch.rand(5, 3, 40, 60)
    found = 0
    for seed in range(4):
        targets = padded(seed=seed)
        mix = getattr(cd, method)(p=0.8, min_visibility=0.3)
        plan = mix.make_plan(images, generator=torch.Generator().manual_seed(seed))
        before = {key: value.clone() for key, value in targets.items()}
        mixed = mix_padded(targets, plan, min_visibility=0.3)
        wanted = mix_instances(ragged(targets), plan, min_visibility=0.3)
        assert mixed["boxes"].shape == (5, plan.layers * SLOTS, 4)
        for output, target in enumerate(wanted):
            valid = mixed["valid"][output]
            for key in set(target) - {"origin"}:
                assert torch.equal(mixed[key][output][valid], target[key]), key
                assert not mixed[key][output][~valid].any()
            assert (mixed["origin"][output][~valid] == -1).all()
            image, slot = mixed["origin"][output][valid].T
            assert torch.equal(targets["labels"][image, slot], target["labels"])
            found += int(valid.sum())
        assert all(torch.equal(targets[key], before[key]) for key in before)
    assert found > 100


def test_areas_of_whole_numbers_are_rounded_as_in_a_list():
    targets = padded()
    targets["area"] = targets["area"].long()
    plan = cd.CutMix(p=1.0).make_plan(torch.rand(5, 3, 40, 60), generator=torch.Generator().manual_seed(1))
    mixed, wanted = mix_padded(targets, plan), mix_instances(ragged(targets), plan)
    for output, target in enumerate(wanted):
        assert torch.equal(mixed["area"][output][mixed["valid"][output]], target["area"])


def test_a_transform_takes_them_beside_maps_and_labels():
    images, targets = torch.rand(5, 3, 40, 60), padded()
    maps, classes = torch.randint(0, 4, (5, 40, 60)), torch.arange(5)
    mix = cd.CutMix(p=1.0, num_classes=5)
    _, mixed = mix(images, {**targets, "semantic": maps, "label": classes}, generator=torch.Generator().manual_seed(3))
    _, wanted = mix(
        images,
        {"instances": ragged(targets), "semantic": maps, "label": classes},
        generator=torch.Generator().manual_seed(3),
    )
    assert torch.equal(mixed["semantic"], wanted["semantic"])
    assert torch.equal(mixed["label"], wanted["label"])
    for output, target in enumerate(wanted["instances"]):
        assert torch.equal(mixed["boxes"][output][mixed["valid"][output]], target["boxes"])


def test_slots_without_valid_are_all_filled_and_incoming_visibility_counts():
    targets = padded()
    del targets["valid"]
    targets["visibility"] = torch.full((5, SLOTS), 0.5)
    plan = cd.CutMix(p=0.0).make_plan(torch.rand(5, 3, 40, 60))
    mixed = mix_padded(targets, plan)
    inside = (targets["boxes"][..., 2] <= 60) & (targets["boxes"][..., 3] <= 40)
    assert mixed["valid"][:, :SLOTS][inside].all()
    assert (mixed["visibility"][:, :SLOTS][inside] == 0.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(5)}, "one row per slot"),
        ({"tracks": torch.zeros(5, SLOTS)}, "tracks"),
        ({"boxes": torch.full((5, SLOTS, 4), torch.nan)}, "finite"),
        ({"masks": torch.zeros(5, SLOTS, 40, 60)}, "masks"),
    ],
)
def test_mistakes_are_named(change, message):
    plan = cd.CutMix(p=1.0).make_plan(torch.rand(5, 3, 40, 60))
    with pytest.raises(ValueError, match=message):
        mix_padded({**padded(), **change}, plan)


@pytest.mark.parametrize(("partner", "seen"), [(0, True), (-1, False), (1, False)])
def test_a_box_that_is_not_finite_matters_where_its_image_shows(partner, seen):
    boxes = torch.tensor([[[1.0, 1.0, torch.nan, 9.0]], [[2.0, 2.0, 9.0, 9.0]]])
    sizes, rectangle = torch.tensor([(12, 14)] * 2), torch.tensor([[[0, 0, 3, 3]]])
    plan = cd.MixPlan.from_rectangles(torch.tensor([[1, partner]]), rectangle, sizes)
    if seen:
        with pytest.raises(ValueError, match="finite"):
            mix_padded({"boxes": boxes}, plan)
        return
    mixed = mix_padded({"boxes": boxes}, plan)
    assert mixed["valid"].tolist() == [[True, False]]
    assert mixed["boxes"].isfinite().all()


def test_free_form_masks_and_ignoring_are_refused():
    images = torch.rand(5, 3, 40, 60)
    with pytest.raises(ValueError, match="estimate"):
        cd.CowMix(p=1.0)(images, padded())
    cd.CowMix(p=1.0, boxes="estimate")(images, padded())
    with pytest.raises(ValueError, match="on_filtered"):
        cd.CutMix(p=1.0, on_filtered="ignore")(images, padded())
    with pytest.raises(ValueError, match="one entry per image"):
        cd.CutMix(p=1.0)(images[:3], padded())


def test_boxes_of_half_precision_and_too_few_images():
    plan = cd.MixPlan.from_rectangles(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 0, 4, 8]]] * 2), torch.tensor([[8, 8]] * 2)
    )
    boxes = torch.tensor([[[1.0, 1.0, 3.0, 7.0]], [[5.0, 2.0, 8.0, 6.0]]])
    half = mix_padded({"boxes": boxes.bfloat16()}, plan)
    assert half["boxes"].dtype == torch.bfloat16
    assert torch.equal(half["boxes"].float(), mix_padded({"boxes": boxes}, plan)["boxes"])
    with pytest.raises(ValueError, match="targets must hold 2 images for this plan, got 1"):
        mix_padded({"boxes": boxes[:1]}, plan)


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0, instance_weights=True), cd.MixUp(p=1.0), cd.CutMix(p=1.0)])
def test_weights_are_there_whenever_they_were_asked_for(mix):
    valid = torch.tensor([[True, False]] * 2)
    boxes = torch.tensor([[[4.0, 4.0, 20.0, 20.0], [0.0, 0.0, 0.0, 0.0]]] * 2)
    _, mixed = mix(torch.rand(2, 3, 32, 32), {"boxes": boxes, "labels": torch.ones(2, 2).long(), "valid": valid})
    if not mix.instance_weights and isinstance(mix, cd.CutMix):
        assert "weight" not in mixed
    else:
        assert (mixed["weight"] > 0).equal(mixed["valid"])


def test_batches_of_several_methods_have_one_set_of_keys():
    boxes = {"boxes": torch.tensor([[[4.0, 4.0, 20.0, 20.0]]] * 2), "labels": torch.ones(2, 1).long()}
    mix = cd.RandomMix([cd.MixUp(p=1.0), cd.CutMix(p=1.0)])
    keys = {
        frozenset(mix(torch.rand(2, 3, 32, 32), boxes, generator=torch.Generator().manual_seed(s))[1]) for s in range(8)
    }
    assert len(keys) == 1


def test_empty_slots_may_hold_anything():
    images, labels = torch.rand(2, 3, 32, 32), torch.ones(2, 2).long()
    boxes = torch.tensor([[[4.0, 4.0, 20.0, 20.0], [float("nan")] * 4]] * 2)
    valid = torch.tensor([[True, False]] * 2)
    _, mixed = cd.CutMix(p=1.0)(images, {"boxes": boxes, "labels": labels, "valid": valid})
    assert mixed["boxes"].isfinite().all()
    assert not (mixed["origin"][..., 1] == 1).any()
    with pytest.raises(ValueError, match=r"targets\['boxes'\]\[0, 1\] must be finite, got \[nan"):
        cd.CutMix(p=0.0)(images, {"boxes": boxes, "labels": labels, "valid": valid | True})
