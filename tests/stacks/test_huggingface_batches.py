"""Batches in the forms of transformers, mixed: coded pixels prove where each came from, and labels have to agree."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections import UserDict

import numpy as np
import pytest
import torch
from oracle import coded_pool, decode, same
from torchvision import tv_tensors
from torchvision.ops import box_convert

import cutmix_dense as cd
from cutmix_dense.huggingface import MixCollator, mix_batch, soft_cross_entropy

FRAME = (26, 40)
SIZES = [(26, 30), (18, 40), (26, 40), (20, 33)]
CLASSES = 6
METHODS = [cd.CutMix(p=1.0), cd.GridMix(p=1.0), cd.CowMix(p=1.0, boxes="estimate"), cd.CutMix(p=0.5, pairing="swap")]


class Feature(UserDict):
    """As transformers' BatchFeature: a mapping that isn't a dict."""


def plain(value):
    """A batch in dicts."""
    if isinstance(value, (dict, UserDict)):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def valid_masks(sizes=SIZES):
    mask = torch.zeros(len(sizes), *FRAME, dtype=torch.long)
    for row, (height, width) in zip(mask, sizes):
        row[:height, :width] = 1
    return mask


def objects(sizes=SIZES, empty=1):
    """Per image masks (N, H, W) of the frame, with a corner cut off, and classes."""
    rng = np.random.default_rng(5)
    found = []
    for index, (height, width) in enumerate(sizes):
        masks, classes = [], []
        for _ in range(0 if index == empty else 4):
            y, x = int(rng.integers(0, height - 9)), int(rng.integers(0, width - 11))
            mask = torch.zeros(FRAME, dtype=torch.bool)
            mask[y : y + int(rng.integers(5, 9)), x : x + int(rng.integers(5, 11))] = True
            mask[y, x] = False
            masks.append(mask)
            classes.append(int(rng.integers(0, CLASSES)))
        stack = torch.stack(masks) if masks else torch.zeros(0, *FRAME, dtype=torch.bool)
        found.append((stack, torch.tensor(classes, dtype=torch.long)))
    return found


def tight(mask):
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def unit_of(size):
    return torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float32)


def detection(*, unit="frame", masks=True, kind=Feature, sizes=SIZES):
    """A batch as DETR's processor writes it: coded and padded images, boxes in shares of the frame or the image."""
    labels = []
    for index, ((stack, classes), size) in enumerate(zip(objects(sizes), sizes)):
        one = FRAME if unit == "frame" else size
        boxes = torch.tensor([tight(mask) for mask in stack], dtype=torch.float32).reshape(-1, 4)
        label = {
            "size": torch.tensor(one),
            "image_id": torch.tensor([index + 70]),
            "class_labels": classes,
            "boxes": box_convert(boxes, "xyxy", "cxcywh") / unit_of(one),
            "area": stack.flatten(1).sum(1).float(),
            "iscrowd": torch.zeros(len(classes), dtype=torch.long),
            "orig_size": torch.tensor([500, 700]),
        }
        labels.append(kind({**label, "masks": stack} if masks else label))
    return kind({"pixel_values": coded_pool(sizes, FRAME), "pixel_mask": valid_masks(sizes), "labels": labels})


def provenance(before, after, sizes=SIZES):
    """Per output where each of its pixels came from; raises if a pixel of padding was copied or changed."""
    return [
        decode(image, size, sizes, base)
        for image, size, base in zip(after["pixel_values"], sizes, before["pixel_values"])
    ]


def shown(prov, image, mask):
    """Where a mask of a pool image shows in an output."""
    height, width = prov.shape
    whole = np.zeros(FRAME, dtype=bool)
    whole[:height, :width] = (prov.source == image) & mask.numpy()[prov.y, prov.x]
    return torch.from_numpy(whole)


@pytest.mark.parametrize("kind", [dict, Feature])
@pytest.mark.parametrize("unit", ["frame", "image"])
@pytest.mark.parametrize("mix", METHODS, ids=repr)
def test_detection(mix, unit, kind):
    before = detection(unit=unit, kind=kind)
    given = copy.deepcopy(before)
    after = mix_batch(before, mix, generator=seeded(3))
    assert same(plain(before), plain(given))
    assert type(after) is kind
    assert list(after) == list(before)
    assert torch.equal(after["pixel_mask"], before["pixel_mask"])
    foreign = 0
    for index, (prov, label) in enumerate(zip(provenance(before, after), after["labels"])):
        assert type(label) is kind
        assert {*label} == {*before["labels"][0], "visibility", "origin"}
        for key in ("size", "image_id", "orig_size"):
            assert torch.equal(label[key], before["labels"][index][key])
        one = FRAME if unit == "frame" else SIZES[index]
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * unit_of(one)
        rows = {}
        for row, (image, number) in enumerate(label["origin"].tolist()):
            source = before["labels"][image]
            mask = shown(prov, image, source["masks"][number])
            assert torch.equal(label["masks"][row].bool(), mask)
            assert label["class_labels"][row] == source["class_labels"][number]
            share = float(mask.sum() / source["masks"][number].sum())
            assert float(label["visibility"][row]) == pytest.approx(share)
            assert float(label["area"][row]) == pytest.approx(share * float(source["area"][number]))
            assert torch.allclose(boxes[row], torch.tensor(tight(mask)).float(), atol=1e-4)
            rows[image, number] = share
        for image, source in enumerate(before["labels"]):  # none that shows is missing, none that hardly does is there
            for number, mask in enumerate(source["masks"]):
                share = float(shown(prov, image, mask).sum() / mask.sum())
                assert ((image, number) in rows) == (share >= 0.1)
        foreign += int((prov.source != index).sum())
    assert foreign > 0


def test_boxes_alone():
    """As RT-DETR's processor writes them: one size, no masks, no ``pixel_mask``."""
    sizes = [FRAME] * 4
    before = detection(masks=False, sizes=sizes, kind=dict)
    del before["pixel_mask"]
    after = mix_batch(before, cd.CutMix(p=1.0, min_visibility=0, min_size=0), generator=seeded(1))
    cut = 0
    for prov, label in zip(provenance(before, after, sizes), after["labels"]):
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * unit_of(FRAME)
        for (image, number), box in zip(label["origin"].tolist(), boxes):
            source = before["labels"][image]
            x0, y0, x1, y1 = (box_convert(source["boxes"], "cxcywh", "xyxy") * unit_of(FRAME))[number].round().int()
            mask = torch.zeros(FRAME, dtype=torch.bool)
            mask[y0:y1, x0:x1] = True
            visible = shown(prov, image, mask)
            assert torch.allclose(box, torch.tensor(tight(visible)).float(), atol=1e-4)
            cut += int(not torch.equal(visible, mask))
    assert cut > 0


def test_padded_later_and_without_a_mask():
    """YOLOS takes no ``pixel_mask``: ``size`` then says what is picture, and what boxes count in."""
    before = detection(unit="image")
    after = mix_batch(before, cd.CutMix(p=1.0), generator=seeded(3))
    del before["pixel_mask"], after["pixel_mask"]
    alone = mix_batch(before, cd.CutMix(p=1.0), generator=seeded(3))
    assert same(plain(alone), plain(after))


def test_boxes_that_the_mix_declares():
    before = detection(kind=dict)
    for label in before["labels"]:
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * unit_of(FRAME)
        label["boxes"] = box_convert(boxes, "xyxy", "xywh")
        del label["size"]  # nothing says it
    after = mix_batch(before, cd.CutMix(p=1.0, box_format="xywh"), generator=seeded(3))
    wanted = mix_batch(detection(kind=dict), cd.CutMix(p=1.0), generator=seeded(3))
    for label, want in zip(after["labels"], wanted["labels"]):
        pixels = box_convert(want["boxes"], "cxcywh", "xywh") * unit_of(FRAME)
        assert torch.allclose(label["boxes"], pixels, atol=1e-4)
        assert torch.equal(label["masks"], want["masks"])


def test_sizes_that_say_neither():
    for change in (lambda label: label.pop("size"), lambda label: label.update(size=torch.tensor([9, 9]))):
        batch = detection(kind=dict)
        for label in batch["labels"]:
            change(label)
        with pytest.raises(ValueError, match=r"'size' of the labels must be the padded frame .* normalized='frame'"):
            mix_batch(batch, cd.CutMix(p=1.0))


def test_a_method_with_a_size_of_its_own():
    before = detection()
    after = mix_batch(before, cd.Mosaic(size=(30, 44), p=1.0), generator=seeded(2))
    assert after["pixel_values"].shape == (4, 3, 30, 44)
    assert after["pixel_mask"].shape == (4, 30, 44)
    assert after["pixel_mask"].all()
    for label in after["labels"]:
        assert label["size"].tolist() == [30, 44]
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * unit_of((30, 44))
        for box, mask, visibility in zip(boxes, label["masks"], label["visibility"]):
            if visibility < 0.999:
                assert torch.allclose(box, torch.tensor(tight(mask)).float(), atol=1e-3)
    assert sum(len(label["boxes"]) for label in after["labels"]) > 4


@pytest.mark.parametrize("kind", [np.array, tuple, list, torch.Size, lambda size: np.array(size, np.int32)])
def test_a_size_in_any_form_comes_back_in_it(kind):
    batch = detection(kind=dict)
    for label in batch["labels"]:
        label["size"] = kind(label["size"].tolist())
    for size in ((2, 3), (30, 44)):
        for given, label in zip(batch["labels"], mix_batch(batch, cd.Mosaic(size=size))["labels"]):
            assert type(label["size"]) is type(given["size"])
            assert getattr(label["size"], "dtype", None) == getattr(given["size"], "dtype", None)
            assert tuple(label["size"]) == size


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.CutMix(p=1.0, box_format="xyxy", normalized=False)])
def test_boxes_in_pixels_are_told_how_to_be_given(mix):
    batch = detection(kind=dict, sizes=[FRAME] * 4)
    shares, number = [label["boxes"] for label in batch["labels"]], 3
    corners = [box_convert(boxes * unit_of(FRAME), "cxcywh", "xyxy").round() for boxes in shares]
    for places in (range(4), [number]):
        for index in places:
            batch["labels"][index]["boxes"] = corners[index]
        for change in (lambda boxes: boxes, lambda boxes: boxes.double()):
            labels = [{**label, "boxes": change(label["boxes"])} for label in batch["labels"]]
            with pytest.raises(
                ValueError, match="cxcywh in shares .* look like pixels: divide .*BoundingBoxes"
            ) as error:
                mix_batch({**batch, "labels": labels}, mix)
            assert "normalized=" not in str(error.value)
        for index in places:
            batch["labels"][index]["boxes"] = shares[index]
    labels = [{**label, "boxes": boxes.int()} for label, boxes in zip(batch["labels"], corners)]
    with pytest.raises(TypeError, match=r"labels\[0\]\['boxes'\] must hold shares .* got torch.int32"):
        mix_batch({**batch, "labels": labels}, mix)
    wrapped = [tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=FRAME) for boxes in corners]
    labels = [{**label, "boxes": boxes} for label, boxes in zip(batch["labels"], wrapped)]
    mixed = mix_batch({**batch, "labels": labels}, mix, generator=seeded(1))
    wanted = mix_batch(batch, mix, generator=seeded(1))
    for label, want in zip(mixed["labels"], wanted["labels"]):
        assert torch.allclose(label["boxes"], box_convert(want["boxes"] * unit_of(FRAME), "cxcywh", "xyxy"), atol=1e-3)


@pytest.mark.parametrize("key", ["labels", "class_labels"])
@pytest.mark.parametrize("masks", [True, False])
def test_cut_outs_of_a_bank_are_pasted(key, masks):
    """Their pixels hold their class, which no pixel of the batch does."""
    bank, box = cd.InstanceBank(), torch.tensor([[4.0, 3, 14, 10]])
    bank.add([torch.full((3, 16, 20), label) for label in (120.0, 130.0)],
             [{"boxes": box, key: torch.tensor([label])} for label in (120, 130)])  # fmt: skip
    batch = detection(masks=masks, kind=dict)
    for label in batch["labels"]:
        label.pop("area")
    mix = cd.CopyPaste(source=bank, instances=2, place="random", p=1.0, boxes="estimate")
    mixed = mix_batch(batch, mix, generator=seeded(2))
    met = 0
    for image, label in zip(mixed["pixel_values"], mixed["labels"]):
        assert {*label} - {"has_mask"} == {*batch["labels"][0], "visibility", "origin"}
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * unit_of(FRAME)
        for one, (x0, y0, x1, y1) in zip(label["class_labels"].tolist(), boxes.round().int().tolist()):
            met += one >= 120
            assert one < 120 or (image[0, y0:y1, x0:x1] == one).any()
    assert met > 3


def test_ignored_instances_have_the_names_of_the_batch():
    batch = detection(kind=dict)
    batch["labels"][0]["ignored"] = {"boxes": batch["labels"][0]["boxes"][:1], "class_labels": torch.tensor([5])}
    mixed = mix_batch(batch, cd.CutMix(p=1.0, on_filtered="ignore", min_visibility=0.9), generator=seeded(2))
    found = [label["ignored"] for label in mixed["labels"] if len(label.get("ignored", ()))]
    assert found
    assert all("class_labels" in ignored and "labels" not in ignored for ignored in found)
    wrong = [{**label, "class_labels": torch.tensor([1])} for label in batch["labels"]]
    with pytest.raises(ValueError, match=r"\['class_labels'\] must have one row per instance"):
        mix_batch({**batch, "labels": wrong}, cd.CutMix(p=1.0))


@pytest.mark.parametrize("tensor", [True, False])
def test_torchs_default_device_changes_nothing(tensor):
    batch = detection(kind=dict)
    if not tensor:  # as a collator leaves it that makes tensors of boxes alone
        for label in batch["labels"]:
            label["size"] = tuple(label["size"].tolist())
    for mix in (cd.CutMix(p=1.0), cd.Mosaic(size=(30, 44), p=1.0)):
        wanted = mix_batch(batch, mix, generator=seeded(2))
        generator = seeded(2)
        try:
            torch.set_default_device("meta")
            after = mix_batch(batch, mix, generator=generator)
        finally:
            torch.set_default_device(None)
        assert same(after, wanted)
    assert list(after["labels"][0]["size"]) == [30, 44]


def test_images_in_a_list():
    before = detection(unit="image", masks=False, kind=dict)
    del before["pixel_mask"]
    before["pixel_values"] = coded_pool(SIZES)
    after = mix_batch(before, cd.CutMix(p=1.0), generator=seeded(4))
    assert [tuple(image.shape[1:]) for image in after["pixel_values"]] == SIZES
    assert any(len({*label["origin"][:, 0].tolist()}) > 1 for label in after["labels"])
    provs = [decode(image, size, SIZES) for image, size in zip(after["pixel_values"], SIZES)]
    for prov, label in zip(provs, after["labels"]):
        boxes = box_convert(label["boxes"], "cxcywh", "xyxy") * unit_of(prov.shape)
        for (image, _), box in zip(label["origin"].tolist(), boxes.round().int().tolist()):
            assert (prov.source[box[1] : box[3], box[0] : box[2]] == image).any()


def label_map(number, height, width):
    """Class ids that follow from the code of a pixel; some are 255."""
    y, x = np.mgrid[0:height, 0:width]
    ids = (number * 5 + x // 4 + y // 3) % 7
    return np.where(ids == 6, 255, ids)


def maps(dtype=torch.long, sizes=SIZES):
    batch = torch.full((len(sizes), *FRAME), 255, dtype=torch.long)
    for number, (height, width) in enumerate(sizes):
        batch[number, :height, :width] = torch.from_numpy(label_map(number, height, width))
    return {"pixel_values": coded_pool(sizes, FRAME), "pixel_mask": valid_masks(sizes), "labels": batch.to(dtype)}


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.ClassMix(p=1.0), cd.FMix(p=1.0)], ids=repr)
def test_semantic_maps(mix):
    before = maps()
    after = mix_batch(before, mix, generator=seeded(1))
    assert after["labels"].dtype == torch.long
    foreign = 0
    for index, (prov, ids) in enumerate(zip(provenance(before, after), after["labels"])):
        height, width = prov.shape
        assert torch.equal(ids[:height, :width], before["labels"][prov.source, prov.y, prov.x])
        assert (ids[height:] == 255).all()
        assert (ids[:, width:] == 255).all()
        foreign += int((prov.source != index).sum())
    assert foreign > 0


def test_depth_is_read_nearest():
    before = maps()
    before["labels"] = torch.where(before["labels"] == 255, 0.0, before["labels"] * 0.125 + 1)
    values = {*before["labels"].unique().tolist()}
    after = mix_batch(before, cd.CutMix(p=1.0), generator=seeded(1))
    for prov, depth in zip(provenance(before, after), after["labels"]):
        assert torch.equal(depth[: prov.shape[0], : prov.shape[1]], before["labels"][prov.source, prov.y, prov.x])
    scaled = mix_batch(before, cd.Mosaic(p=1.0), generator=seeded(1))
    assert not torch.equal(scaled["labels"], before["labels"])
    assert {*scaled["labels"].unique().tolist()} <= values  # none in between, 0 where nobody owns a pixel
    assert scaled["labels"].dtype == torch.float32


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.GridMix(p=1.0)], ids=repr)
def test_instances_of_mask2former(mix):
    found = objects()
    masks = [stack.float() for stack, _ in found]
    for mask, (height, width) in zip(masks, SIZES):  # what its processor writes into the padding
        mask[:, height:], mask[:, :, width:] = 255, 255
    classes = [labels for _, labels in found]
    before = {"pixel_values": coded_pool(SIZES, FRAME), "pixel_mask": valid_masks(), "mask_labels": masks}
    before["class_labels"] = classes
    after = mix_batch(before, mix, generator=seeded(2))
    assert list(after) == list(before)
    for index, prov in enumerate(provenance(before, after)):
        wanted = []
        for image in (index, *(other for other in range(4) if other != index)):
            for number, mask in enumerate(found[image][0]):
                visible = shown(prov, image, mask)
                if visible.sum() >= 0.1 * mask.sum():
                    wanted.append((visible.float(), int(classes[image][number])))
        assert after["mask_labels"][index].dtype == torch.float32
        assert after["class_labels"][index].dtype == torch.long
        assert after["class_labels"][index].tolist() == [label for _, label in wanted]
        got = after["mask_labels"][index]
        assert torch.equal(got, torch.stack([mask for mask, _ in wanted]) if wanted else got[:0])


def universal(ids):
    """A mask per class and image, as the processors make them of semantic maps."""
    masks, classes = [], []
    for row in ids:
        found = [label for label in row.unique().tolist() if label != 255]
        masks.append(torch.stack([row == label for label in found]).float())
        classes.append(torch.tensor(found))
    return masks, classes


@pytest.mark.parametrize("mix", [cd.CutMix(p=1.0), cd.ClassMix(p=1.0)], ids=repr)
def test_stuff_is_one_segment(mix):
    before = maps()
    ids = before.pop("labels")
    before["mask_labels"], before["class_labels"] = universal(ids)
    after = mix_batch(before, mix, stuff="all", generator=seeded(6))
    foreign = 0
    for index, prov in enumerate(provenance(before, after)):
        masks, classes = after["mask_labels"][index], after["class_labels"][index].tolist()
        assert len(classes) == len({*classes})  # one segment of a class, from both images
        painted = torch.full(FRAME, 255)
        for mask, label in zip(masks.bool(), classes):
            assert (painted[mask] == 255).all()
            painted[mask] = label
        assert torch.equal(painted[: prov.shape[0], : prov.shape[1]], ids[prov.source, prov.y, prov.x])  # no pixel lost
        foreign += int((prov.source != index).sum())
    assert foreign > 0


def test_classes_that_nothing_else_may_mean():
    """A class with the id of the mix's ``ignore_index`` stays a class; pixels without one stay so."""
    before = maps()
    ids = torch.where(before.pop("labels") == 5, 300, before["pixel_values"][:, 1].long() % 3 * 100)
    masks, classes = universal(ids)
    before |= {"mask_labels": [mask[1:] for mask in masks], "class_labels": [labels[1:] for labels in classes]}
    after = mix_batch(before, cd.CutMix(p=1.0, ignore_index=100), stuff="all", generator=seeded(6))
    for index, prov in enumerate(provenance(before, after)):
        wanted = ids[prov.source, prov.y, prov.x]
        got = after["mask_labels"][index][:, : prov.shape[0], : prov.shape[1]].bool()
        names = after["class_labels"][index].tolist()
        assert names == sorted(set(wanted.unique().tolist()) - {0})
        assert all(torch.equal(mask, wanted == label) for mask, label in zip(got, names))


@pytest.mark.parametrize("mix", [cd.CutMix, cd.ClassMix, cd.GridMix])
@pytest.mark.parametrize("padded", [True, False])
def test_partners_of_a_bank_keep_their_classes(mix, padded):
    """Every batch has classes of its own, in an order of its own, and pixels without a class (0)."""
    mix, met = mix(p=1.0, pairing=cd.SampleBank()), 0
    for step, known in enumerate([[5, 1, 2], [8, 9, 7], [2, 9], [250], []] * 4):
        ids = torch.zeros(1, *FRAME, dtype=torch.long)
        for place, label in enumerate(known):
            ids[:, 2:16, 2 + 9 * place : 9 + 9 * place] = label
        batch = {"pixel_values": ids[:, None].expand(-1, 3, -1, -1).float().clone()}
        if padded:
            batch["pixel_mask"] = valid_masks([SIZES[step % 4]])
            batch["pixel_values"] *= batch["pixel_mask"][:, None]
        masks = [torch.stack([ids[0] == label for label in known]) if known else torch.zeros(0, *FRAME).bool()]
        batch |= {"mask_labels": masks, "class_labels": [torch.tensor(known, dtype=torch.long)]}
        after = mix_batch(batch, mix, stuff="all", generator=seeded(step))
        painted = torch.zeros(FRAME, dtype=torch.long)
        for mask, label in zip(after["mask_labels"][0], after["class_labels"][0].tolist()):
            painted[mask] = label
            met += label not in known
        assert torch.equal(painted, after["pixel_values"][0, 0].long())
    assert met > 5


def test_things_beside_stuff():
    """Class 0 is stuff and joined; things stay apart and are dropped where hardly anything shows."""
    ids = torch.zeros(4, *FRAME, dtype=torch.long)
    ids[:, 4:14, 5:25] = 1
    ids[:, 16:24, 20:36] = 2
    masks, classes = universal(ids)
    before = {"pixel_values": coded_pool([FRAME] * 4), "mask_labels": masks, "class_labels": classes}
    before["pixel_values"] = torch.stack(before["pixel_values"])
    after = mix_batch(before, cd.CutMix(p=1.0), stuff=[0], generator=seeded(6))
    doubled = 0
    for prov, got, labels in zip(provenance(before, after, [FRAME] * 4), after["mask_labels"], after["class_labels"]):
        wanted = {0: [torch.from_numpy(ids[0].numpy()[prov.y, prov.x] == 0)], 1: [], 2: []}
        for image in range(4):
            for label in (1, 2):
                visible = shown(prov, image, ids[image] == label)
                if visible.sum() >= 0.1 * (ids[image] == label).sum():
                    wanted[label].append(visible)
        for label, every in wanted.items():
            mine = got[labels == label].bool()
            assert len(mine) == len(every)
            assert all(any(torch.equal(mask, other) for other in mine) for mask in every)
            doubled += label > 0 and len(every) == 2
    assert doubled > 0


def test_class_labels_become_probabilities():
    before = {"pixel_values": torch.stack(coded_pool([FRAME] * 4)), "labels": torch.tensor([3, 0, 2, 1])}
    after = mix_batch(before, cd.CutMix(p=1.0, num_classes=5), soft_labels=True, generator=seeded(1))
    for prov, got in zip(provenance(before, after, [FRAME] * 4), after["labels"]):
        wanted = torch.zeros(5)
        for image, label in enumerate(before["labels"].tolist()):
            wanted[label] += float((prov.source == image).mean())
        assert torch.allclose(got, wanted, atol=1e-6)
    hot = torch.nn.functional.one_hot(before["labels"], 5).float()
    again = mix_batch({**before, "labels": hot}, cd.CutMix(p=1.0), soft_labels=True, generator=seeded(1))
    assert torch.allclose(again["labels"], after["labels"])


def test_images_alone():
    before = {"pixel_values": torch.stack(coded_pool([FRAME] * 4)), "names": list("abcd")}
    after = mix_batch(before, cd.CutMix(p=1.0), generator=seeded(1))
    assert any((prov.source != index).any() for index, prov in enumerate(provenance(before, after, [FRAME] * 4)))
    assert after["names"] == list("abcd")


def test_unmixed_batches_have_the_same_form():
    for make, options in ((detection, {}), (maps, {})):
        before = make()
        mixed, unmixed = (mix_batch(make(), cd.CutMix(p=p), generator=seeded(), **options) for p in (1.0, 0.0))
        assert torch.equal(unmixed["pixel_values"], before["pixel_values"])
        assert list(mixed) == list(unmixed)
        if isinstance(before["labels"], list):
            for was, now, other in zip(before["labels"], unmixed["labels"], mixed["labels"]):
                assert {*now} == {*other}
                assert all(torch.equal(now[key], was[key]) for key in was)
        else:
            assert torch.equal(unmixed["labels"], before["labels"])


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.filterwarnings("ignore:CutMix got a batch of one image")
def test_odd_batches(count):
    batch = detection(sizes=SIZES[:count])
    after = mix_batch(batch, cd.CutMix(p=1.0, pairing="swap"), generator=seeded())
    assert len(after["labels"]) == count
    assert torch.equal(after["pixel_values"][-1], batch["pixel_values"][-1])  # without a partner


def test_a_bank_gives_partners_to_batches_of_one():
    bank = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    batches = []
    for index in range(4):
        whole = detection(unit="image", kind=dict)
        one = {key: whole[key][index : index + 1] for key in whole}
        batches.append(mix_batch(one, bank, generator=seeded(index)))
    numbers = {int(code) for batch in batches[1:] for code in batch["pixel_values"][0, 0].unique()}
    assert len(numbers - {250}) > 2
    assert any((batch["labels"][0]["origin"][:, 0] > 0).any() for batch in batches)


def test_random_mix_draws_one_method_per_batch():
    mix = cd.RandomMix([cd.CutMix(p=1.0), cd.MixUp(p=1.0)])
    pictures = [mix_batch(detection(), mix, generator=seeded(s))["pixel_values"] for s in range(8)]
    blended = [bool((image != image.round()).any()) for image in pictures]
    assert {True, False} == {*blended}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": None}, r"must hold tensors in 'pixel_values' \(return_tensors='pt'\), got NoneType"),
        ({"input_ids": torch.zeros(4, 7)}, r"tensors in 'input_ids' that would stay unmixed .* keep_keys"),
        ({"objects": [[[1, 2, 9, 9]]] * 4}, r"rows of numbers or tensors in 'objects' that would stay unmixed"),
        ({"objects": [{"bbox": [[1.0, 2.0, 9.0, 9.0]]}] * 4}, "'objects' that would stay unmixed"),
        ({"labels": []}, r"'labels' must have one entry per image \(4\), got 0"),
        ({"labels": torch.rand(4, 13, 20)}, r"labels\[0\] must have its image's size \(26, 40\), got \(13, 20\)"),
        ({"labels": torch.rand(2, *FRAME)}, r"'labels' must have one entry per image \(4\), got 2"),
        ({"text_inputs": torch.zeros(4, 7)}, "'text_inputs' lists the objects"),
        ({"patch_offsets": [torch.zeros(3)]}, "do_split_image=False"),
        ({"labels": torch.zeros(4)}, r"'labels' must be a dict per image .* got shape \(4,\), torch.float32"),
        ({"labels": torch.zeros(4, dtype=torch.long)}, "compute_loss_func=cutmix_dense.huggingface.soft_cross_entropy"),
        ({"labels": list("abcd")}, "'labels' must be a dict per image .* got list"),
        ({"labels": [{"boxes": torch.zeros(0, 4)}] * 4}, r"labels\[0\] must hold 'boxes' and 'class_labels'"),
        ({"pixel_mask": valid_masks().flip(-1)}, "'pixel_mask' must be 1 in a rectangle from the upper left corner"),
        ({"pixel_mask": torch.ones(4, 5, 5)}, r"'pixel_mask' must be \(B, H, W\) beside a tensor of images"),
        ({"mask_labels": [torch.zeros(0, *FRAME)] * 4}, "'class_labels' is missing"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises((TypeError, ValueError), match=message):
        mix_batch({**maps(), **change}, cd.CutMix(p=1.0))


@pytest.mark.parametrize("form", [torch.stack, list])
def test_clips_and_their_classes(form):
    """Every frame is cut by one region, and the label is the share of what shows."""
    clips = form([torch.full((4, 3, *FRAME), float(number)) for number in range(3)])
    mix = cd.CutMix(p=1.0, num_classes=3, layout="BTCHW")
    batch = {"pixel_values": clips, "labels": torch.arange(3)}
    mixed = mix_batch(batch, mix, soft_labels=True, generator=seeded(1))
    for number, (clip, label) in enumerate(zip(mixed["pixel_values"], mixed["labels"])):
        assert (clip == clip[:1, :1]).all()
        assert (clip != number).any()
        assert torch.allclose(label, torch.bincount(clip[0, 0].long().flatten(), minlength=3) / clip[0, 0].numel())
    alone = mix_batch({"pixel_values": clips}, mix, generator=seeded(1))
    assert same(alone["pixel_values"], mixed["pixel_values"])
    with pytest.raises(ValueError, match=r"must be images .*got 3 of \(4, 3, 26, 40\): give the mix layout='BTCHW'"):
        mix_batch(batch, cd.CutMix(num_classes=3), soft_labels=True)
    with pytest.raises(ValueError, match=r"must be clips .*got 4 of \(3, 26, 40\): give the mix layout='BCHW'"):
        mix_batch({**maps(), "labels": torch.arange(4)}, mix, soft_labels=True)
    with pytest.raises(ValueError, match="clips are mixed here with class labels or alone, got labels of detection"):
        mix_batch({**batch, "labels": [{"class_labels": torch.tensor([1]), "boxes": torch.rand(1, 4)}] * 3}, mix)


def test_what_is_refused_of_instances():
    batch = detection()
    batch["labels"][0]["keypoints"] = torch.zeros(12, 3)
    with pytest.raises(ValueError, match=r"labels\[0\]\['keypoints'\] can't be mixed"):
        mix_batch(batch, cd.CutMix(p=1.0))
    batch = detection()
    batch["labels"][2]["depths"] = torch.zeros(4)
    with pytest.raises(ValueError, match="unknown key 'depths'"):
        mix_batch(batch, cd.CutMix(p=1.0))
    after = mix_batch(batch | {"labels": [label | {"depths": torch.arange(len(label["boxes"]))} for label in
                      detection()["labels"]]}, cd.CutMix(p=1.0, instance_keys=["depths"]))  # fmt: skip
    for label in after["labels"]:
        assert label["depths"].tolist() == label["origin"][:, 1].tolist()


def test_what_is_refused_of_segments():
    plain = maps()
    ids = plain.pop("labels")
    masks, classes = universal(ids)
    batch = {**plain, "mask_labels": masks, "class_labels": classes}
    with pytest.raises(ValueError, match=r"mask_labels\[0\] must hold 0 and 1, got"):
        mix_batch({**batch, "mask_labels": [mask * 0.5 for mask in masks]}, cd.CutMix(p=1.0))
    with pytest.raises(ValueError, match=r"mask_labels\[0\] must be disjoint where stuff is named"):
        mix_batch({**batch, "mask_labels": [torch.ones_like(mask) for mask in masks]}, cd.CutMix(p=1.0), stuff="all")
    with pytest.raises(ValueError, match=r"must have one entry per image \(4\), got 2 and 4"):
        mix_batch({**batch, "mask_labels": masks[:2]}, cd.CutMix(p=1.0))
    with pytest.raises(TypeError, match=r"mask_labels\[0\] must be a tensor, got ndarray"):
        mix_batch({**batch, "mask_labels": [mask.numpy() for mask in masks]}, cd.CutMix(p=1.0))
    with pytest.raises(TypeError, match=r"class_labels\[0\] must hold class ids, integers, got torch.float32"):
        mix_batch({**batch, "class_labels": [labels / 2 for labels in classes]}, cd.CutMix(p=1.0), stuff="all")
    with pytest.raises(ValueError, match=r"class_labels\[0\] must hold ids of 32 bits"):
        mix_batch({**batch, "class_labels": [labels + 2**31 for labels in classes]}, cd.CutMix(p=1.0), stuff="all")
    for form in ("ignore", "crowd"):
        with pytest.raises(ValueError, match=f"on_filtered of CutMix must be 'drop' for 'mask_labels', got '{form}'"):
            mix_batch(batch, cd.CutMix(on_filtered=form))
    with pytest.raises(ValueError, match="'task_inputs' must be the same for all images"):
        mix_batch({**batch, "task_inputs": torch.tensor([[1], [2], [1], [1]])}, cd.CutMix(p=1.0))
    tasks = torch.ones(4, 1)
    assert mix_batch({**batch, "task_inputs": tasks}, cd.CutMix(p=1.0))["task_inputs"] is tasks
    with pytest.raises(ValueError, match="stuff is for universal segmentation"):
        mix_batch(maps(), cd.CutMix(p=1.0), stuff=[0])
    universal_batch = ("universal", batch)
    for (task, given), options in (
        (("semantic maps", maps()), {}),
        (universal_batch, {"stuff": "all"}),
        (universal_batch, {"stuff": [0]}),
        (universal_batch, {}),
        (("depth", maps(torch.float32)), {}),
    ):
        with pytest.raises(ValueError, match=f"MixUp blends pixels, and batches of {task} have no place"):
            mix_batch(given, cd.RandomMix([cd.CutMix(), cd.MixUp()]), **options)
    with pytest.raises(ValueError, match="CopyPaste blends pixels, .* of universal have no place .*, or blend='hard'"):
        mix_batch(batch, cd.CopyPaste(blend=0.5, p=1.0))
    with pytest.raises(ValueError, match="maps of depth can't be mixed with a bank"):
        mix_batch(maps(torch.float32), cd.CutMix(pairing="bank"))


def test_a_chain_is_refused_where_one_plan_is_needed():
    chain = cd.Chain([cd.CutMix(p=1.0)])
    for batch, task in ((detection(), "detection"), (maps(torch.float32), "depth")):
        for mix in (chain, cd.RandomMix([cd.CutMix(), chain])):
            with pytest.raises(ValueError, match=f"mix must be one transform for batches of {task}.* got a Chain"):
                mix_batch(batch, mix)
    mixed = mix_batch(maps(), chain, generator=seeded(0))
    assert not torch.equal(mixed["labels"], maps()["labels"])


def test_an_affine_is_refused_where_a_mix_is_followed():
    drawn = cd.RandomMix([cd.CutMix(), cd.Affine()], weights=[1, 0])
    for mix in (cd.Affine(), drawn):
        with pytest.raises(ValueError, match="mix must be without an Affine for maps of depth"):
            mix_batch(maps(torch.float32), mix)
        masks, classes = universal(maps()["labels"])
        batch = {"pixel_values": maps()["pixel_values"], "mask_labels": masks, "class_labels": classes}
        with pytest.raises(ValueError, match="mix must be without an Affine for masks of things beside stuff"):
            mix_batch(batch, mix, stuff=[0])
    assert not torch.equal(mix_batch(maps(), cd.Affine(), generator=seeded(0))["labels"], maps()["labels"])


def test_options_that_are_wrong_with_any_batch():
    for options, message in (
        ({"mix": torch.nn.Identity()}, "mix must be a mixing transform, got Identity"),
        (
            {"mix": cd.CutMix(layout="BCDHW")},
            r"mix must be of layout 'BCHW' \(images\) or 'BTCHW' \(clips\), got 'BCDHW'",
        ),
        ({"mix": cd.CutMix(), "stuff": "some"}, "stuff must be class ids or 'all', got 'some'"),
        ({"mix": cd.CutMix(), "stuff": 3}, "stuff must be a list of class ids or 'all', got 3"),
        ({"mix": cd.CutMix(), "keep_keys": "ids"}, "keep_keys must be a sequence of keys, got 'ids'"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            MixCollator(dict, **options)
    with pytest.raises(TypeError, match="collate_fn must be a function"):
        MixCollator(None, cd.CutMix())
    with pytest.raises(TypeError, match="batch must be a dict or a BatchFeature, got list"):
        mix_batch([], cd.CutMix())


def test_keys_that_are_kept():
    ids = torch.arange(4)
    batch = {**maps(), "ids": ids, "rows": [[[1, 2]]] * 4, "names": [["a", "b"]] * 4, "shapes": [(26, 40)] * 4}
    mixed = mix_batch(batch, cd.CutMix(p=1.0), keep_keys=["ids", "rows"])
    assert mixed["ids"] is ids
    assert [mixed[key] for key in ("rows", "names", "shapes")] == [batch[key] for key in ("rows", "names", "shapes")]


def test_the_collator_is_a_collate_function():
    before = maps()
    collator = MixCollator(lambda samples: {key: before[key][samples] for key in before}, cd.CutMix(p=1.0))
    torch.manual_seed(5)
    once = collator([0, 1, 2])
    torch.manual_seed(5)
    assert torch.equal(collator([0, 1, 2])["labels"], once["labels"])
    assert not torch.equal(once["pixel_values"], before["pixel_values"][:3])
    collator.mix.close()
    assert torch.equal(collator([0, 1, 2])["labels"], before["labels"][:3])
    collator.mix.close(False)


def test_the_collator_travels():
    collator = MixCollator(dict, cd.CutMix(p=1.0))
    for other in (pickle.loads(pickle.dumps(collator)), copy.deepcopy(collator)):
        collator.mix.close()
        assert other.mix.closed
        collator.mix.close(False)
        assert not other.mix.closed


def test_it_works_without_transformers():
    code = (
        "import sys\n"
        "sys.modules['transformers'] = None\n"
        "import torch, cutmix_dense as cd, cutmix_dense.huggingface as hf\n"
        "batch = {'pixel_values': torch.rand(2, 3, 8, 9), 'labels': torch.zeros(2, 8, 9, dtype=torch.long)}\n"
        "print(hf.MixCollator(dict, cd.CutMix())(batch)['labels'].shape)\n"
        "hf.MixCallback"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "torch.Size([2, 8, 9])"
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith('transformers is needed for this: pip install "cutmix_dense[huggingface]"')


def test_soft_cross_entropy():
    logits = torch.randn(6, 5, generator=seeded())
    ids = torch.tensor([0, 4, 2, 2, 1, 3])
    hot = torch.nn.functional.one_hot(ids, 5).float()
    wanted = torch.nn.functional.cross_entropy(logits, ids)
    for labels, items in ((ids, 6), (hot, 30), (ids, None), (hot, None), (hot, torch.tensor(30))):
        assert torch.allclose(soft_cross_entropy({"logits": logits}, labels, items), wanted)
    halves = [soft_cross_entropy({"logits": logits[rows]}, hot[rows], 30) for rows in (slice(0, 4), slice(4, 6))]
    assert torch.allclose(sum(halves), wanted)  # gradients of unequal batches add up to those of one
    with pytest.raises(ValueError, match=r"labels must be \(B,\) or \(B, K\) for logits \(6, 5\), got \(6, 4\)"):
        soft_cross_entropy({"logits": logits}, hot[:, :4])
