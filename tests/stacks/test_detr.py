"""Batches of the DETR family: what their pixels prove, their padding masks and their targets agree with."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detr_batches import (
    FRAME,
    SIZES,
    Frozen,
    Named,
    NestedTensor,
    check,
    declared,
    nested,
    pixel_targets,
    seeded,
    shares,
)
from oracle import (
    POISON,
    Settings,
    attribute,
    carried_instances,
    coded_pool,
    decode,
    expect_instances,
    expect_soft_instances,
    same,
    soft_weights,
    stated_layers,
)
from snippets import ROOT, blocks, run
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.detr import MixCollate, _read_device_mask, _read_host_mask, is_nested, mix_batch

PAGE = ROOT / "docs" / "stacks" / "detr.md"


@pytest.mark.parametrize("keypoints", [False, True])
@pytest.mark.parametrize("frame", [None, FRAME])
@pytest.mark.parametrize("mix", [
    cd.CutMix(p=1.0),
    cd.CutMix(p=0.6, pairing="swap"),
    cd.CutMix(p=1.0, region=cd.regions.ObjectBox()),
    cd.Mosaic(p=1.0, interpolation="nearest"),
    cd.CopyPaste(p=1.0),
])  # fmt: skip
def test_targets_agree_with_what_the_pixels_prove(mix, frame, keypoints):
    samples, pixels = nested(), pixel_targets(frame=frame, keypoints=keypoints)
    given = shares(pixels)
    mixed, targets = mix_batch(samples, given, mix, generator=seeded())
    plan = declared(mix).make_plan(samples.tensors, given, sizes=torch.tensor(SIZES), generator=seeded())
    assert type(mixed) is NestedTensor
    assert torch.equal(mixed.mask, samples.mask)
    owners, settings = plan.owner_map().numpy(), Settings(min_visibility=mix.min_visibility, min_size=mix.min_size)
    foreign = pasted = 0
    for number, (out, size) in enumerate(zip(targets, SIZES)):
        prov = decode(mixed.tensors[number], size, SIZES, samples.tensors[number])  # its padding is what it was
        assert tuple(plan.canvas[number].tolist()) == size
        layers = stated_layers(plan, number)
        shown = attribute(prov, layers, owners[number, : size[0], : size[1]])
        if not isinstance(mix, cd.Mosaic):
            assert (prov.source >= 0).all(), "a valid pixel is fill"
        carried = carried_instances(plan, number)
        records = expect_instances(prov, layers, pixels, SIZES, settings, shown=shown, carried=carried, dyadic=True)
        pasted += check(out, records, given, number, size)
        assert tuple(out["masks"].shape[1:]) == (frame or size)
        foreign += int((prov.source != number).sum())
    assert foreign > 200
    assert pasted > 0


def test_mixup_weighs_pixels_and_instances():
    samples, pixels = nested(), pixel_targets()
    given, mix = shares(pixels), cd.MixUp(p=1.0)
    mixed, targets = mix_batch(samples, given, mix, generator=seeded())
    plan = declared(mix).make_plan(samples.tensors, given, sizes=torch.tensor(SIZES), generator=seeded())
    assert torch.equal(mixed.mask, samples.mask)
    pasted = 0
    for number, (out, size) in enumerate(zip(targets, SIZES)):
        layers, weights = stated_layers(plan, number), plan.weight[number].tolist()
        wanted = np.zeros((3, *size))
        for layer, weight in zip(layers, soft_weights(size, layers, weights, SIZES)):
            reach = tuple(map(min, size, SIZES[layer.source]))
            code = samples.tensors[layer.source, :, : reach[0], : reach[1]].numpy()
            wanted[:, : reach[0], : reach[1]] += code * weight[: reach[0], : reach[1]]
        assert np.allclose(mixed.tensors[number, :, : size[0], : size[1]].numpy(), wanted, atol=1e-3)
        valid = ~samples.mask[number]
        assert torch.equal(mixed.tensors[number][:, ~valid], samples.tensors[number][:, ~valid])
        records = expect_soft_instances(size, layers, pixels, SIZES, Settings())
        pasted += check(out, records, given, number, size, weights)
    assert pasted > 0


@pytest.mark.parametrize("sizes", [SIZES, SIZES[:1], [FRAME] * 3])
@pytest.mark.parametrize("number", range(3))
def test_it_is_the_cores_own_call(number, sizes):
    samples, given = nested(sizes=sizes), shares(pixel_targets(sizes), sizes)
    members = [cd.CutMix(p=1.0), cd.Mosaic(p=1.0), cd.MixUp(p=1.0)]
    mix = cd.RandomMix(members, weights=[float(index == number) for index in range(3)])
    core = cd.RandomMix([declared(member) for member in members], weights=mix.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the batch of one
        mixed, targets = mix_batch(samples, given, mix, generator=seeded())
        images, wanted = core(samples.tensors, given, sizes=torch.tensor(sizes), generator=seeded())
    assert torch.equal(mixed.tensors, images)
    assert same(targets, wanted)
    assert torch.equal(images, samples.tensors) == (len(sizes) == 1)
    assert all({"visibility", "origin", "weight"} <= target.keys() for target in targets)


@pytest.mark.parametrize("kind", [NestedTensor, Named, Frozen])
def test_the_batch_comes_back_as_what_it_was_and_is_left_alone(kind):
    samples, given = nested(kind), tuple(shares(pixel_targets()))
    before = (samples.tensors.clone(), samples.mask.clone(), copy.deepcopy(given))
    mixed, targets = mix_batch(samples, given, cd.CutMix(p=1.0))
    assert type(mixed) is kind
    assert type(targets) is tuple
    assert not torch.equal(mixed.tensors, samples.tensors)
    assert same((samples.tensors, samples.mask, given), before)
    assert mixed.tensors.data_ptr() != samples.tensors.data_ptr()


def test_further_attributes_of_a_nested_tensor_stay():
    samples = nested(sizes=[FRAME] * 4)
    samples.no_padding = True
    samples.mask = None  # nobody reads it
    mixed, _ = mix_batch(samples, shares(pixel_targets([FRAME] * 4), [FRAME] * 4), cd.CutMix(p=1.0))
    assert mixed.no_padding is True
    assert mixed.mask is None
    assert is_nested(mixed)
    assert not is_nested(mixed.tensors)
    assert not is_nested(given := {"tensors": mixed.tensors, "mask": None}), given


def test_every_value_can_be_moved_as_the_loops_do():
    for mix in (cd.CutMix(p=1.0), cd.MixUp(p=1.0), cd.CutMix(p=1.0, on_filtered="crowd", min_visibility=0.9)):
        _, targets = mix_batch(nested(), shares(pixel_targets(keypoints=True)), mix)
        assert all(len({k: v.to("cpu") for k, v in target.items()}) >= 10 for target in targets)
        assert len({frozenset(target) for target in targets}) == 1


def test_an_images_alone_batch_has_no_padding():
    sizes = [FRAME] * 4
    samples, given = nested(sizes=sizes), shares(pixel_targets(sizes), sizes)
    images, targets = mix_batch(samples.tensors, given, cd.CutMix(p=1.0), generator=seeded())
    mixed, wanted = mix_batch(samples, given, cd.CutMix(p=1.0), generator=seeded())
    assert torch.equal(images, mixed.tensors)
    assert same(targets, wanted)


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.Mosaic(p=1.0, size=(32, 48), interpolation="nearest")])
def test_a_list_of_images_has_no_padding_either(mix):
    images, given = coded_pool(SIZES), shares(pixel_targets(keypoints=True))
    mixed, targets = mix_batch(images, given, mix, generator=seeded())
    judged = 0
    for number, (image, target) in enumerate(zip(mixed, targets)):
        height, width = image.shape[1:]
        assert target["size"].tolist() == [height, width]
        assert (height, width) == (SIZES[number] if isinstance(mix, cd.CutMix) else (32, 48))
        for points, (source, _) in zip(target["keypoints"], target["origin"].tolist()):
            for x, y, visible in points.tolist():
                if visible:
                    assert image[0, int(y * height), int(x * width)] == source + 1
                    judged += source != number
    assert judged > 0


def test_shares_of_the_frame_are_declared():
    samples, pixels = nested(), pixel_targets()
    frames = shares(pixels, [FRAME] * len(SIZES))
    for row, size in zip(frames, SIZES):
        row["size"] = torch.tensor(size)
    _, own = mix_batch(samples, shares(pixels), cd.CutMix(p=1.0), generator=seeded())
    mix = cd.CutMix(p=1.0, box_format="cxcywh", normalized="frame")
    _, targets = mix_batch(samples, frames, mix, generator=seeded())
    for target, other, (height, width) in zip(targets, own, SIZES):
        units = torch.tensor([width, height, width, height]), torch.tensor([FRAME[1], FRAME[0]] * 2)
        assert torch.allclose(other["boxes"] * units[0], target["boxes"] * units[1], atol=1e-4)
        assert torch.equal(target["origin"], other["origin"])


@pytest.mark.parametrize("form", ["XYXY", "CXCYWH"])
def test_tv_tensors_say_themselves_what_they_hold(form):
    samples, pixels = nested(), pixel_targets()
    given = shares(pixels)
    for row, target in zip(given, pixels):
        low, high = target["boxes"].chunk(2, dim=1)
        boxes = target["boxes"] if form == "XYXY" else torch.cat([(low + high) / 2, high - low], dim=1)
        row["boxes"] = tv_tensors.BoundingBoxes(boxes, format=form, canvas_size=FRAME)
    _, targets = mix_batch(samples, given, cd.CutMix(p=1.0), generator=seeded())
    _, plain = mix_batch(samples, shares(pixels), cd.CutMix(p=1.0), generator=seeded())
    for target, other, (height, width) in zip(targets, plain, SIZES):
        assert target["boxes"].format.value == form
        unit = torch.tensor([width, height, width, height])
        low, size = (other["boxes"] * unit).chunk(2, dim=1)
        wanted = torch.cat([low - size / 2, low + size / 2], dim=1) if form == "XYXY" else other["boxes"] * unit
        assert torch.allclose(target["boxes"].as_subclass(torch.Tensor), wanted, atol=1e-4)


def test_a_size_as_an_array_comes_back_as_one():
    given = [{**row, "size": np.array(row["size"], np.int32)} for row in shares(pixel_targets())]
    targets = mix_batch(nested(), given, cd.Mosaic(p=1.0, size=(2, 3), interpolation="nearest"))[1]
    assert all((row["size"].dtype, row["size"].tolist()) == (np.int32, [2, 3]) for row in targets)


def test_a_mosaic_of_its_own_size_has_no_padding():
    given = shares(pixel_targets())
    mixed, targets = mix_batch(nested(), given, cd.Mosaic(p=1.0, size=(32, 48), interpolation="nearest"))
    assert mixed.tensors.shape[2:] == mixed.mask.shape[1:] == (32, 48)
    assert not mixed.mask.any()
    assert all(target["size"].tolist() == [32, 48] for target in targets)
    assert all(torch.equal(target["orig_size"], row["orig_size"]) for target, row in zip(targets, given))
    for number, target in enumerate(targets):
        codes = mixed.tensors[number, 0].int()
        assert POISON not in codes.unique()
        for box, (source, _) in zip(target["boxes"] * torch.tensor([48, 32, 48, 32]), target["origin"].tolist()):
            x, y = box[:2].int().tolist()
            assert codes[y, x] in (source + 1, 0) or float(target["visibility"].min()) < 1


def test_a_bank_lends_images_of_earlier_batches():
    bank = cd.SampleBank(max_samples=8)
    mix = cd.CutMix(p=1.0, pairing=bank)
    samples, given = nested(), shares(pixel_targets(keypoints=True))
    origins = []
    for step in range(3):
        mixed, targets = mix_batch(samples, given, mix, generator=seeded(step))
        origins += [origin for target in targets for origin in target["origin"][:, 0].tolist()]
        for target, image, (height, width) in zip(targets, mixed.tensors, SIZES):
            x, y = (target["keypoints"][..., :2] * torch.tensor([width, height])).unbind(-1)
            shows = target["keypoints"][..., 2] > 0
            code = image[:, y[shows].int(), x[shows].int()]
            assert torch.equal(code[1] + 0.5, x[shows].round(decimals=3))
    assert max(origins) >= len(SIZES)


def test_a_batch_of_one_warns_once():
    mix = cd.CutMix(p=1.0)
    samples, given = nested(sizes=SIZES[:1]), shares(pixel_targets(SIZES[:1]), SIZES[:1])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            mixed, targets = mix_batch(samples, given, mix)
            assert torch.equal(mixed.tensors, samples.tensors)
            assert torch.equal(targets[0]["boxes"], given[0]["boxes"])
    assert len([one for one in told if "batch of one" in str(one.message)]) == 1


def test_settings_of_the_mix_are_read_at_every_call():
    mix = cd.CutMix(p=0.0)
    samples, given = nested(), shares(pixel_targets())
    assert torch.equal(mix_batch(samples, given, mix)[0].tensors, samples.tensors)
    mix.p = 1.0
    assert not torch.equal(mix_batch(samples, given, mix)[0].tensors, samples.tensors)
    mix.close()
    assert torch.equal(mix_batch(samples, given, mix)[0].tensors, samples.tensors)
    assert (mix.box_format, mix.normalized) == ("xyxy", False)


@pytest.mark.parametrize(("setting", "value", "usual"), [
    (torch.set_default_device, "meta", None),
    (torch.set_default_dtype, torch.float64, torch.float32),
])  # fmt: skip
@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.Mosaic(p=1.0, size=(32, 48)), cd.MixUp(p=1.0)])
def test_torchs_global_settings_change_nothing(mix, setting, value, usual):
    samples, given, generators = nested(), shares(pixel_targets(keypoints=True)), [seeded(), seeded()]
    wanted, rows = mix_batch(samples, given, mix, generator=generators[0])
    try:
        setting(value)
        mixed, targets = mix_batch(samples, given, mix, generator=generators[1])
    finally:
        setting(usual)
    assert torch.equal(mixed.tensors, wanted.tensors)
    assert torch.equal(mixed.mask, wanted.mask)
    assert same(targets, rows)


# ---------------------------------------------------------------------------------------------------------------------
# what is refused


def left(mask):
    mask[2] = mask[2].flip(1)
    return mask


def hole(mask):
    mask[2, 3, 3] = True
    return mask


def ragged(mask):
    mask[2, 8:12, 20:] = True
    return mask


def nothing(mask):
    mask[2] = True
    return mask


def bottom_only(mask):
    mask[2, :-3] = True
    mask[2, -3:] = False
    return mask


@pytest.mark.parametrize("spoil", [left, hole, ragged, nothing, bottom_only])
def test_padding_elsewhere_is_refused(spoil):
    samples = nested(sizes=[(20, 30), (24, 26), (16, 32), (28, 36), (22, 34)])
    samples.mask = spoil(samples.mask)
    with pytest.raises(ValueError, match=r"right and bottom only; images \[2\] have it elsewhere"):
        mix_batch(samples, shares(pixel_targets()), cd.CutMix())


@pytest.mark.parametrize("spoil", [left, hole, ragged, nothing, bottom_only, lambda mask: mask])
def test_both_ways_of_reading_a_mask_agree(spoil):
    mask = spoil(nested(sizes=[(20, 30), (24, 26), (16, 32), (28, 36), FRAME]).mask)
    host, device = _read_host_mask(mask.numpy()), _read_device_mask(mask)
    assert host[1] == device[1]
    assert torch.equal(host[0], device[0])
    assert host[0][0].tolist() == [20, 30]


@pytest.mark.parametrize(("error", "message", "change"), [
    (TypeError, "samples.mask must be a tensor of bools", {"mask": torch.zeros(5, *FRAME)}),
    (TypeError, "samples.mask must be a tensor of bools", {"mask": [0]}),
    (ValueError, "samples.mask must have shape", {"mask": torch.zeros(5, 28, 39, dtype=torch.bool)}),
    (TypeError, "mix must be a mixing transform", {"mix": torch.nn.Identity()}),
    (ValueError, "on_filtered of CutMix must be 'drop' or 'crowd' here", {"mix": cd.CutMix(on_filtered="ignore")}),
    (TypeError, "targets must be one dict per image, got dict", {"targets": {"boxes": 1}}),
    (TypeError, "targets must be one dict per image, got NoneType", {"targets": None}),
    (TypeError, "targets must be one dict per image, got list at 0", {"targets": [[1]]}),
    (ValueError, "pad_targets_to=None", {"targets": [{"valid": torch.ones(3, dtype=torch.bool)}] * 5}),
    (ValueError, "boxes of the targets must be shares .* got values up to .*CutMix itself",
     {"targets": pixel_targets()}),
    (TypeError, r"targets\[0\]\['boxes'\] must hold shares .* got torch.int64",
     {"targets": [{**row, "boxes": row["boxes"].long()} for row in pixel_targets()]}),
    (ValueError, "unknown key 'depths'", {"targets": [{**row, "depths": torch.ones(3)} for row in
                                                      shares(pixel_targets())]}),
])  # fmt: skip
def test_what_cannot_be_mixed_is_refused(error, message, change):
    samples = nested()
    samples.mask = change.get("mask", samples.mask)
    with pytest.raises(error, match=message):
        mix_batch(samples, change.get("targets", shares(pixel_targets())), change.get("mix", cd.CutMix()))


def test_keypoints_in_pixels_are_refused():
    given = shares(pixel_targets(keypoints=True))
    for row, target in zip(given, pixel_targets(keypoints=True)):
        row["keypoints"] = target["keypoints"]
    with pytest.raises(ValueError, match="keypoints of the targets must be shares"):
        mix_batch(nested(), given, cd.CutMix())


def test_normalised_boxes_in_the_dress_of_pixels_are_refused():
    given = shares(pixel_targets())
    for row in given:
        row["boxes"] = tv_tensors.BoundingBoxes(row["boxes"], format="CXCYWH", canvas_size=FRAME)
    with pytest.raises(ValueError, match="tv_tensors.BoundingBoxes must be in pixels, .*as_subclass"):
        mix_batch(nested(), given, cd.CutMix(p=1.0))


# ---------------------------------------------------------------------------------------------------------------------
# collates of RT-DETR, D-FINE and DEIM


class BatchImageCollate:
    """What RT-DETR's, D-FINE's and DEIM's does: images of one size, resized together, targets in a list."""

    def __init__(self, scales=None, stop_epoch=None):
        self.scales, self.stop_epoch, self.ema_restart_decay = scales, stop_epoch or 10**8, 0.9998
        self._epoch = -1

    def set_epoch(self, epoch):
        self._epoch = epoch

    def __call__(self, items):
        images, targets = torch.stack([image for image, _ in items]), [target for _, target in items]
        if self.scales and self._epoch < self.stop_epoch:
            images = torch.nn.functional.interpolate(images, size=self.scales[self._epoch % len(self.scales)])
        return images, targets


class Items(torch.utils.data.Dataset):
    """Coded images with the targets that D-FINE's CocoDetection and ConvertBoxes leave; one has no objects."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        sizes = [(24, 36)] * 8
        row = shares(pixel_targets(sizes), sizes)[index]
        count = len(row["boxes"])
        return (
            coded_pool(sizes)[index],
            {
                "boxes": row["boxes"],
                "labels": row["labels"],
                "image_id": row["image_id"],
                "image_path": f"{index}.jpg",
                "area": torch.tensor([40, 50, 60][:count]),  # floats of an image without objects, as there
                "iscrowd": torch.tensor([0, 0, 0][:count]),
                "orig_size": torch.tensor([36, 24]),
                "idx": torch.tensor([index]),
            },
        )


def centre_codes(images, targets):
    """Number of the image that shows in the middle of every whole instance, and of the one it comes from."""
    pairs = []
    height, width = images.shape[2:]
    for image, target in zip(images, targets):
        for box, (source, _), seen in zip(target["boxes"], target["origin"].tolist(), target["visibility"].tolist()):
            if seen == 1.0:
                code = int(image[0, int(box[1] * height), int(box[0] * width)])
                pairs.append((code - 1, int(targets[source]["idx"])))
    return pairs


def test_a_mixing_collate_mixes_what_the_other_makes():
    items = [Items()[index] for index in range(8)]
    before = copy.deepcopy(items)
    collate = MixCollate(BatchImageCollate(scales=[(48, 72)]), cd.CutMix(p=1.0))
    images, targets = collate(items)
    assert images.shape == (8, 3, 48, 72)
    pairs = centre_codes(images, targets)
    assert len(pairs) >= 8
    assert all(shown == source for shown, source in pairs)
    assert any(source != number for number, target in enumerate(targets) for source in target["origin"][:, 0].tolist())
    assert [target["image_path"] for target in targets] == [f"{index}.jpg" for index in range(8)]
    assert [int(target["idx"]) for target in targets] == list(range(8))
    assert same(items, before)


def test_targets_of_deims_own_mixup_are_completed():
    """It unites boxes, labels and areas of two images, and forgets ``iscrowd``."""
    given = shares(pixel_targets())
    for row in given:
        del row["masks"]
        row["mixup"] = torch.full((2 * len(row["labels"]),), 0.5)
        row.update({key: torch.cat([row[key]] * 2) for key in ("boxes", "labels", "area")})
        row["iscrowd"] = torch.zeros(len(row["labels"]) // 2, dtype=torch.long)
    before = copy.deepcopy(given)
    _, targets = mix_batch(nested(), given, cd.CutMix(p=1.0))
    assert same(given, before)
    for target in targets:
        assert target["iscrowd"].tolist() == [0] * len(target["labels"])
        assert target["mixup"].tolist() == [0.5] * len(target["labels"])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_closing_reaches_persistent_workers(context):
    collate = MixCollate(BatchImageCollate(stop_epoch=2), cd.CutMix(p=1.0))
    loader = torch.utils.data.DataLoader(
        Items(),
        batch_size=4,
        collate_fn=collate,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=context,
    )
    mixed = []
    for epoch in range(4):
        loader.collate_fn.set_epoch(epoch)
        for images, targets in loader:
            mixed.append((epoch, any(len(image[0].unique()) > 1 for image in images)))
            assert {"visibility", "origin"} <= targets[0].keys()
    assert mixed == [(epoch, epoch < 2) for epoch in range(4) for _ in range(2)]


def test_schedules_of_a_mixing_collate():
    closed = lambda collate, epochs=range(6): [(collate.set_epoch(e), collate.mix.closed)[1] for e in epochs]  # noqa: E731
    plain = lambda items: tuple(zip(*items))  # noqa: E731
    assert closed(MixCollate(plain, cd.CutMix(), stop_epoch=4)) == [False] * 4 + [True] * 2
    assert closed(MixCollate(BatchImageCollate(stop_epoch=2), cd.CutMix(), stop_epoch=4)) == [False] * 4 + [True] * 2
    assert closed(MixCollate(plain, cd.RandomMix([cd.CutMix()], total=6, close_last=1))) == [False] * 5 + [True]
    own = cd.CutMix()
    own.close()
    assert closed(MixCollate(plain, own)) == closed(MixCollate(plain, own, stop_epoch=4)) == [True] * 6
    assert closed(MixCollate(BatchImageCollate(stop_epoch=2), own)) == [True] * 6
    assert closed(MixCollate(plain, cd.CutMix(), stop_epoch=4), [5, 0]) == [True, False]


def test_a_mixing_collate_passes_for_the_other():
    inner = BatchImageCollate(stop_epoch=7)
    collate = MixCollate(inner, cd.CutMix())
    collate.set_epoch(3)
    assert (collate.stop_epoch, collate.ema_restart_decay, inner._epoch) == (7, 0.9998, 3)
    with pytest.raises(AttributeError, match="warmup"):
        _ = collate.warmup
    for other in (copy.deepcopy(collate), pickle.loads(pickle.dumps(collate))):
        assert other.stop_epoch == 7
        other.mix.close()
        assert collate.mix.closed
        collate.mix.close(False)


@pytest.mark.parametrize(("error", "message", "arguments"), [
    (TypeError, "collate must be a function", {"collate": 3}),
    (TypeError, "mix must be a mixing transform", {"mix": "CutMix"}),
    (ValueError, "stop_epoch must be at least 0", {"stop_epoch": -1}),
    (TypeError, "stop_epoch must be an integer or None, got 1.5", {"stop_epoch": 1.5}),
    (ValueError, "schedule of its own", {"mix": cd.RandomMix([cd.CutMix()], total=3, close_last=1), "stop_epoch": 1}),
    (ValueError, "on_filtered of CutMix", {"mix": cd.RandomMix([cd.CutMix(on_filtered="ignore")])}),
])  # fmt: skip
def test_wrong_arguments_of_a_mixing_collate_are_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        MixCollate(**{"collate": BatchImageCollate(), "mix": cd.CutMix(), **arguments})


# ---------------------------------------------------------------------------------------------------------------------
# the page


def test_the_loop_of_the_page_mixes_until_the_last_epochs():
    samples, given = nested(), shares(pixel_targets())
    seen = []

    def criterion(outputs, targets):
        moved = [{key: value.to("cpu") for key, value in target.items()} for target in targets]
        return sum(target["boxes"].sum() for target in moved)

    names = {"epochs": 13, "loader": [(samples, given)] * 2, "model": seen.append, "criterion": criterion}
    run(blocks(PAGE, "python")[0], PAGE, 1, names)
    changed = [not torch.equal(mixed.tensors, samples.tensors) for mixed in seen]
    assert len(changed) == 26
    assert any(changed[:6])
    assert not any(changed[6:])
    assert all(torch.equal(mixed.mask, samples.mask) for mixed in seen)


class Loader(torch.utils.data.DataLoader):
    """As those of D-FINE and DEIM: epochs reach the collate function."""

    def set_epoch(self, epoch):
        self.collate_fn.set_epoch(epoch)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_solver_of_the_page_mixes_until_its_epoch():
    loader = Loader(
        Items(), batch_size=4, collate_fn=BatchImageCollate(), num_workers=1, persistent_workers=True,
        multiprocessing_context="fork",
    )  # fmt: skip
    mixed = []

    def fit():
        for epoch in range(60, 64):
            loader.set_epoch(epoch)
            for images, targets in loader:
                mixed.append((epoch, any(len(image[0].unique()) > 1 for image in images)))
                assert all(shown == source for shown, source in centre_codes(images, targets))

    solver = SimpleNamespace(cfg=SimpleNamespace(train_dataloader=loader), fit=fit)
    run(blocks(PAGE, "python")[1].replace("p=0.5", "p=1.0"), PAGE, 2, {"solver": solver})
    assert mixed == [(epoch, epoch < 62) for epoch in range(60, 64) for _ in range(2)]


# ---------------------------------------------------------------------------------------------------------------------
# their own code, which isn't on PyPI: checkouts in the folder that CUTMIX_DENSE_DETR_SOURCES names

SCRIPT = """
import sys, torch
sys.path[:0] = [{tests!r}, {stacks!r}]
import cutmix_dense as cd
from cutmix_dense.detr import MixCollate
from test_detr import Items, centre_codes
from {package}.data.dataloader import BatchImageCollateFunction

collate = MixCollate(BatchImageCollateFunction({arguments}), cd.CutMix(p=1.0))
collate.set_epoch(0)
images, targets = collate([Items()[index] for index in range(8)])
pairs = centre_codes(images, targets)
assert images.shape[2:] in {shapes!r}, images.shape
assert pairs, "no whole instance"
assert all(shown == source for shown, source in pairs) or "mixup" in targets[0], pairs
assert any(len(image[0].unique()) > 1 for image in images)
assert all(target["mixup"].shape == target["labels"].shape for target in targets if "mixup" in target)
assert ("mixup" in targets[0]) == {mixup!r}
assert all(not target["iscrowd"].any() and target["iscrowd"].shape == target["labels"].shape for target in targets)
collate.set_epoch(collate.stop_epoch)
images, targets = collate([Items()[index] for index in range(8)])
assert all(len(image[0].unique()) == 1 for image in images)
assert all("origin" in target for target in targets)
print("mixed")
"""


@pytest.mark.skipif("CUTMIX_DENSE_DETR_SOURCES" not in os.environ, reason="no checkouts of D-FINE, DEIM and RT-DETR")
@pytest.mark.parametrize(("folder", "package", "arguments", "mixup"), [
    ("D-FINE", "src", "stop_epoch=5", False),
    ("D-FINE", "src", "stop_epoch=5, base_size=64, base_size_repeat=1", False),
    ("RT-DETR/rtdetrv2_pytorch", "src", "stop_epoch=5, scales=[(48, 72)]", False),
    ("DEIM", "engine", "stop_epoch=5, base_size=64, base_size_repeat=1", False),
    ("DEIM", "engine", "stop_epoch=5, mixup_prob=1.0, mixup_epochs=[0, 5]", True),
])  # fmt: skip
def test_their_own_collate_functions(folder, package, arguments, mixup):
    root = Path(os.environ["CUTMIX_DENSE_DETR_SOURCES"]) / folder
    shapes = [(24, 36), (32, 32), (48, 48), (64, 64), (80, 80), (48, 72)]
    own = Path(__file__)
    script = SCRIPT.format(
        tests=str(own.parents[1]), stacks=str(own.parent), package=package, arguments=arguments, shapes=shapes,
        mixup=mixup,
    )  # fmt: skip
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert result.stdout.strip().endswith("mixed"), result.stderr


LOSS = """
import sys, torch
sys.path[:0] = [{tests!r}]
import cutmix_dense as cd
from cutmix_dense.detr import mix_batch
from detr_batches import pixel_targets, shares, SIZES
from oracle import coded_image
from util.misc import NestedTensor, collate_fn
from models.matcher import HungarianMatcher
from models.detr import SetCriterion

given = shares(pixel_targets())
samples, targets = collate_fn([(coded_image(i, *size), row) for i, (size, row) in enumerate(zip(SIZES, given))])
for mix in (cd.CutMix(p=1.0), cd.MixUp(p=1.0), cd.Mosaic(p=1.0)):
    mixed, rows = mix_batch(samples, targets, mix)
    assert type(mixed) is NestedTensor
    assert torch.equal(mixed.mask, samples.mask)
    assert not torch.equal(mixed.tensors, samples.tensors)
    rows = [{{k: v.to("cpu") for k, v in row.items()}} for row in rows]
    losses = ["labels", "boxes", "masks", "cardinality"]
    criterion = SetCriterion(60, HungarianMatcher(), {{}}, 0.1, losses)
    outputs = {{"pred_logits": torch.rand(5, 20, 61), "pred_boxes": torch.rand(5, 20, 4) * 0.3 + 0.3,
               "pred_masks": torch.rand(5, 20, 7, 10)}}
    found = criterion(outputs, rows)
    assert {{"loss_ce", "loss_bbox", "loss_giou", "loss_mask", "loss_dice"}} <= found.keys()
    assert all(torch.isfinite(value).all() for value in found.values())
print("mixed")
"""


@pytest.mark.skipif("CUTMIX_DENSE_DETR_SOURCES" not in os.environ, reason="no checkout of DETR")
def test_the_collate_function_and_the_losses_of_detr():
    root = Path(os.environ["CUTMIX_DENSE_DETR_SOURCES"]) / "detr"
    script = LOSS.format(tests=str(Path(__file__).parents[1]))
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert result.stdout.strip().endswith("mixed"), result.stderr
