"""A bank of cut-outs: what it holds, what it is drawn by, and that what is pasted is what was cut."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from oracle import coded_image, random_mask, tight
from test_family_samplers import assert_share, seeded
from torchvision import tv_tensors
from torchvision.ops import box_convert

import cutmix_dense as cd
from cutmix_dense.functional import broken


def pictures(count: int, masks: bool, first: int, rng: np.random.Generator, least: int = 14) -> tuple[list, list]:
    """Coded pictures with two instances each."""
    images, targets = [], []
    for number in range(first, first + count):
        height, width = rng.integers(least, least + 10, 2).tolist()
        images.append(coded_image(number, height, width))
        stack = np.stack([random_mask(rng, height, width) for _ in range(2)])
        boxes = torch.tensor([tight(mask) for mask in stack])
        target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "iscrowd": torch.zeros(2, dtype=torch.long)}
        targets.append({**target, "masks": torch.from_numpy(stack)} if masks else target)
    return images, targets


@pytest.mark.parametrize("own_masks", [False, True])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_what_is_pasted_is_what_was_cut(batched: bool, masks: bool, own_masks: bool):
    rng = np.random.default_rng([batched, masks, own_masks])
    donors, donor_targets = pictures(6, masks, 50, rng)
    bank = cd.InstanceBank(margin=0.0 if masks else 0.25)
    assert bank.add(donors, donor_targets) == 12
    images, targets = pictures(3, own_masks, 0, rng, least=30)  # none of what is pasted is scaled
    if batched:
        sizes = [tuple(image.shape[1:]) for image in images]
        frame = tuple(map(max, zip(*sizes)))
        batch = torch.zeros(3, 3, *frame)
        for b, (image, (height, width)) in enumerate(zip(images, sizes)):
            batch[b, :, :height, :width] = image
            if own_masks:
                padded = torch.zeros(2, *frame, dtype=torch.bool)
                padded[:, :height, :width] = targets[b]["masks"]
                targets[b]["masks"] = padded
        images, given = batch, {"sizes": torch.tensor(sizes)}
    else:
        given = {}
    mix = cd.CopyPaste(
        source=bank, instances=3, place="random", p=1.0, boxes="estimate", min_visibility=0.0, min_size=0
    )
    out_images, out = mix(images, targets, generator=seeded(1), **given)
    pasted = 0
    for b, target in enumerate(out):
        assert ("masks" in target) == own_masks
        code = out_images[b].long()
        ids, xs, ys = code[0] - 1, code[1], code[2]
        foreign = ids >= 50
        assert foreign.any()
        for y, x in foreign.nonzero().tolist():
            donor, source = donor_targets[ids[y, x] - 50], (ys[y, x], xs[y, x])
            if masks:
                assert donor["masks"][:, source[0], source[1]].any(), "a pixel beside the masks"
            else:
                x0, y0, x1, y1 = donor["boxes"].T
                inside = (source[1] >= x0) & (source[1] < x1) & (source[0] >= y0) & (source[0] < y1)
                assert inside.any(), "a pixel beside the boxes"
        for row in range(len(target["labels"])):
            if target["origin"][row, 0] < 3:
                continue
            pasted += 1
            x0, y0, x1, y1 = target["boxes"][row].round().long().tolist()
            shown = foreign[y0:y1, x0:x1]
            if own_masks and masks:
                mask = target["masks"][row]
                assert foreign[mask].all(), "a mask beside what was pasted"
                assert [x0, y0, x1, y1] == tight(mask.numpy())
                of_donor = {(int(ids[y, x]), int(ys[y, x]), int(xs[y, x])) for y, x in mask.nonzero().tolist()}
                label = int(target["labels"][row]) - 1
                assert all(donor_targets[i - 50]["masks"][label, y, x] for i, y, x in of_donor)
            assert shown.any(), "a box without pixels"
    assert pasted >= 7


def boxes_of(labels: list[int]) -> tuple[list, list]:
    images = [torch.rand(3, 12, 16) for _ in labels]
    return images, [{"boxes": torch.tensor([[2.0, 3, 9, 9]]), "labels": torch.tensor([k])} for k in labels]


@pytest.mark.parametrize(
    ("weights", "shares"), [(None, (0.8, 0.2)), ("balanced", (0.5, 0.5)), ({1: 1.0, 2: 12.0}, (0.25, 0.75))]
)
def test_cut_outs_are_drawn_by_weight(weights, shares):
    bank = cd.InstanceBank()
    bank.add(*boxes_of([1] * 8 + [2] * 2))
    assert bank.counts == {1: 8, 2: 2}
    mix = cd.CopyPaste(source=bank, instances=2, place="random", weights=weights, p=1.0, min_visibility=0)
    none = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}] * 8
    generator, found = seeded(0), Counter()
    for _ in range(60):
        _, out = mix([torch.zeros(3, 90, 120)] * 8, none, generator=generator)  # backgrounds
        found.update(int(label) for target in out for label in target["labels"])
    assert found.total() > 900
    assert_share(np.repeat([1.0, 0.0], [found[1], found[2]]), shares[0])


def test_a_bank_is_bounded_saved_and_moved(tmp_path):
    images, targets = boxes_of([1, 2, 3, 4])
    one = cd.InstanceBank()
    one.add(images[:1], targets[:1])
    small = cd.InstanceBank(max_bytes=2 * one.nbytes + 1)
    assert small.add(images, targets) == 2
    assert small.nbytes <= small.max_bytes
    small.save(tmp_path / "bank.pt")
    again = cd.InstanceBank.load(tmp_path / "bank.pt")
    assert (len(again), again.nbytes, again.max_bytes, again.margin) == (2, small.nbytes, small.max_bytes, small.margin)
    draws = [
        cd.CopyPaste(source=bank, instances=2, place="random", p=1.0)(
            [torch.zeros(3, 30, 40)], [targets[0]], generator=seeded(3)
        )[0][0]
        for bank in (small, again, pickle.loads(pickle.dumps(small)))
    ]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    assert (again.map(lambda image: image + 5)._cuts[0][0] >= 5).all()
    assert again.to("meta")._cuts[0][0].device.type == "meta"


def test_a_checkpoint_names_its_bank(tmp_path):
    images, targets = boxes_of([1, 2, 3, 4])
    bank = cd.InstanceBank()
    bank.add(images, targets)
    bank.save(tmp_path / "bank.pt")
    again = cd.InstanceBank(file=tmp_path / "bank.pt")
    assert again.fingerprint == bank.fingerprint == bank.to("cpu").fingerprint
    assert (again.max_bytes, again.margin) == (bank.max_bytes, bank.margin)

    def paste(source: object) -> cd.CopyPaste:
        return cd.CopyPaste(source=source, instances=1, place="random", p=1.0)

    state = paste(bank).state_dict()
    assert state["_extra_state"]["cut_outs"] == {"instances": 4, "fingerprint": bank.fingerprint}
    torch.save(state, tmp_path / "state.pt")
    paste(again).load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    changed = bank.map(lambda image: image + 1)
    other = [bank._like(bank._cuts[::-1]), changed]
    bank.add(images[:1], targets[:1])
    for wrong in (*other, bank):
        assert wrong.fingerprint != again.fingerprint
        with pytest.raises(ValueError, match=f"trained with, 4 cut-outs of fingerprint {again.fingerprint}, got"):
            paste(wrong).load_state_dict(state)
    with pytest.raises(ValueError, match="got no bank"):
        paste("batch").load_state_dict(state)
    paste(bank).load_state_dict(paste("batch").state_dict())  # one that began without
    with pytest.raises(ValueError, match="margin are those of the file"):
        cd.InstanceBank(file=tmp_path / "bank.pt", margin=0.5)


def test_a_bank_that_grows_is_another_one():
    images, targets = boxes_of([1, 2])
    bank = cd.InstanceBank()
    bank.add(images[:1], targets[:1])
    mix = cd.CopyPaste(source=bank, instances=1, place="random", p=1.0)
    state, before = mix.state_dict(), bank.fingerprint
    bank.add(images[1:], targets[1:])
    assert bank.fingerprint != before
    with pytest.raises(ValueError, match="source must be the bank that the checkpoint was trained with"):
        mix.load_state_dict(state)


def test_instances_under_a_name_of_their_own():
    images, targets = boxes_of([1, 2, 3, 4])
    bank = cd.InstanceBank()
    bank.add(images, targets)
    mix = cd.CopyPaste(source=bank, instances=2, place="random", p=1.0)
    plain, rows = mix([torch.zeros(3, 30, 40)], targets[:1], generator=seeded(3))
    named, found = mix([torch.zeros(3, 30, 40)], {"things": targets[:1]}, generator=seeded(3))
    assert torch.equal(plain[0], named[0])
    assert all(torch.equal(found["things"][0][key], value) for key, value in rows[0].items())
    with pytest.raises(ValueError, match=r"instances alone for a bank of cut-outs, got \['maps', 'things'\]"):
        mix(torch.zeros(1, 3, 30, 40), {"things": targets[:1], "maps": torch.zeros(1, 30, 40, dtype=torch.long)})


def test_crowds_and_broken_boxes_are_left_out():
    target = {
        "boxes": torch.tensor([[1.0, 1, 5, 5], [2, 2, 6, 6], [9, 9, 3, 3], [20, 1, 30, 6]]),
        "labels": torch.tensor([1, 2, 3, 4]),
        "iscrowd": [1, 0, 0, 0],  # as torchvision's datasets give it
    }
    bank = cd.InstanceBank(margin=0.5)
    with warning_anew(), pytest.warns(UserWarning, match="is dropped: box 2 of target 0"):
        assert bank.add([torch.rand(3, 8, 12)], [target]) == 1
    ((image, cut),) = bank._cuts
    assert tuple(image.shape) == (3, 8, 8)
    assert cut["boxes"].tolist() == [[2, 2, 6, 6]]
    assert cut["iscrowd"].tolist() == [0]


@contextmanager
def warning_anew():
    """As in a process that hasn't warned of a broken box."""
    before, broken._warned = broken._warned, False
    yield
    broken._warned = before


@pytest.mark.filterwarnings("ignore:a box has no area")
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("box", "told"),
    [
        ([0.2, 0.3, 0.5, 0.7], "all lie within the first pixel.*look like normalised xyxy"),
        ([0.5, 0.5, 0.25, 0.25], "all lie within the first pixel.*look like normalised xywh or cxcywh"),
        ([100.0, 80, 40, 30], "4 of 4 have no area.*look like xywh"),
    ],
)
def test_boxes_that_are_broken_as_a_whole_are_refused(box: list[float], told: str, together: bool):
    """As a mix refuses them, also where every call brings one picture of one object."""
    image, target = torch.zeros(3, 120, 160), {"boxes": torch.tensor([box]), "labels": torch.tensor([1])}
    bank = cd.InstanceBank(margin=0)
    calls = [([image] * 4, [target] * 4)] if together else [([image], [target])] * 4
    with pytest.raises(ValueError, match=told) as error:
        _ = [bank.add(*call) for call in calls]
    assert "give tv_tensors.BoundingBoxes with their format" in str(error.value)
    assert "of the transforms" not in str(error.value)
    form = {"xywh": "XYWH"}.get(told[-4:])
    if form is not None:  # what the message advises
        boxes = tv_tensors.BoundingBoxes([box], format=form, canvas_size=(120, 160))
        assert bank.add([image] * 4, [{**target, "boxes": boxes}] * 4) == 4
        assert tuple(bank[0][0].shape) == (3, 30, 40)


def test_targets_that_do_not_fit_their_images_are_refused():
    image, rows = torch.zeros(3, 12, 16), {"boxes": torch.tensor([[2.0, 3, 9, 9]]), "labels": torch.tensor([1])}
    nan = torch.tensor([[2.0, 3, float("nan"), 9]])
    two = torch.tensor([1, 0])
    for images, targets, error, told in (
        ([image] * 3, [rows], ValueError, r"targets must be one for each image \(3\), got 1"),
        (iter([image] * 3), [rows], ValueError, "one for each image, got 1 targets and more images"),
        ([image], iter([rows] * 3), ValueError, "one for each image, got 1 images and more targets"),
        (image, [rows], ValueError, r"images must be \(C, H, W\) each, or one \(B, C, H, W\), got \(3, 12, 16\)"),
        (image[None].numpy(), [rows], TypeError, r"images\[0\] must be a tensor, got ndarray: torch.from_numpy"),
        (image[None], {"boxes": torch.zeros(1, 3, 4)}, TypeError, r"got one dict of \['boxes'\]: give a list"),
        (image[None], two[:1], TypeError, r"targets\[0\] must be a dict"),
        ([image], [{**rows, "boxes": nan}], ValueError, r"targets\[0\]\['boxes'\]\[0\] must be finite"),
        ([image], [{**rows, "labels": [1]}], TypeError, r"targets\[0\]\['labels'\] must be a tensor, got list"),
        ([image], [{**rows, "labels": two}], ValueError, r"\['labels'\] must have one row per instance \(1\)"),
        ([image], [{**rows, "scores": two}], ValueError, r"\['scores'\] must have one row per instance \(1\)"),
        ([image], [{**rows, "masks": torch.ones(1, 6, 8).bool()}], ValueError, r"must be \(1, 12, 16\), as its image"),
    ):
        bank = cd.InstanceBank()
        bank.add([image + 1], [rows])
        before = bank.nbytes, bank.fingerprint
        with pytest.raises(error, match=told):
            bank.add(images, targets)
        assert (len(bank), bank.nbytes, bank.fingerprint) == (1, *before)
    with pytest.raises(TypeError, match="classes must be a sequence of names, got 'car'"):
        cd.InstanceBank(classes="car")


def test_a_full_bank_takes_no_smaller_ones(tmp_path):
    """Large and small ones, offered in turn, are held in the same number."""
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    large, small = ({"boxes": torch.tensor([[0.0, 0, s, s]]), "labels": torch.tensor([s])} for s in (90, 10))
    bank = cd.InstanceBank(max_bytes=2**17, margin=0)
    for _ in range(20):
        bank.add([image], [large])
        bank.add([image], [small])
    assert bank.full
    assert bank.counts == {90: 5, 10: 5}
    bank.save(tmp_path / "bank.pt")
    again = cd.InstanceBank(file=tmp_path / "bank.pt")
    assert again.add([image], [small]) == 0
    again.max_bytes *= 2
    assert again.add([image], [small]) == 1


def test_a_cut_out_larger_than_its_bank_is_left_out():
    image = torch.zeros(3, 100, 100, dtype=torch.uint8)
    large, small = ({"boxes": torch.tensor([[0.0, 0, s, s]]), "labels": torch.tensor([s])} for s in (90, 10))
    bank = cd.InstanceBank(max_bytes=2000, margin=0)
    with pytest.warns(
        UserWarning, match=r"InstanceBank\(max_bytes=2000\) doesn't hold a cut-out of 24324 bytes"
    ) as told:
        assert bank.add([image] * 4, [large, small, large, small]) == 2
    assert len(told) == 1
    assert not bank.full


@pytest.mark.parametrize("masks", [False, True])
def test_a_change_that_resizes_pictures_is_refused(masks: bool):
    bank = cd.InstanceBank(margin=0)
    bank.add(*pictures(2, masks, 50, np.random.default_rng(1)))
    numbers = iter([torch.uint8, torch.float32, torch.uint8, torch.float32])
    for change, error, told in (
        (lambda x: torch.nn.functional.interpolate(x[None], scale_factor=2)[0], ValueError, "keep the size"),
        (lambda x: x[:, ::2, ::2], ValueError, "change must keep the size of a picture"),
        (lambda x: x[None], ValueError, "keep the size"),
        (lambda x: x.numpy(), TypeError, r"change must give a tensor \(C, h, w\), got ndarray: torch.from_numpy"),
        (
            lambda x: x.to(next(numbers)),
            ValueError,
            "one dtype and channels, got torch.uint8 of 3 channels and torch.fl",
        ),
    ):
        with pytest.raises(error, match=told):
            bank.map(change)
    grey = bank.map(lambda x: tv_tensors.Image(x[:1] / 2))
    assert type(grey[0][0]) is torch.Tensor
    assert torch.equal(grey[0][0], bank[0][0][:1] / 2)


def test_what_a_bank_refuses():
    images, targets = boxes_of([1])
    bank = cd.InstanceBank()
    empty = cd.CopyPaste(source=bank, instances=1, place="random", p=1.0)
    with pytest.raises(ValueError, match="at least one cut-out"):
        empty(images, targets)
    bank.add(images, targets)
    mix = cd.CopyPaste(source=bank, instances=1, place="random", p=1.0)
    with pytest.raises(ValueError, match="bank.map"):
        mix([(images[0] * 255).byte()], targets)
    with pytest.raises(ValueError, match="semantic"):
        mix(images, [{**targets[0], "semantic": torch.zeros(12, 16, dtype=torch.long)}])
    with pytest.raises(ValueError, match="track_id"):
        mix(images, [{**targets[0], "track_id": torch.tensor([4])}])
    with pytest.raises(ValueError, match="list of dicts"):
        mix(images, torch.zeros(1, 12, 16, dtype=torch.long))
    with pytest.raises(ValueError, match="call the transform"):
        mix.make_plan(images, targets)
    with pytest.raises(ValueError, match="inplace"):
        mix(torch.stack(images), targets, inplace=True)
    with pytest.raises(ValueError, match="instances"):
        cd.CopyPaste(source=bank)
    with pytest.raises(ValueError, match="for a pairing with a SampleBank, got an InstanceBank"):
        cd.CopyPaste(source=bank, instances=1, pairing="bank")
    with pytest.raises(ValueError, match="place must be 'random' or 'grid' for an InstanceBank, got 'same'"):
        cd.CopyPaste(source=bank, instances=1)
    for wrong in ({"max_bytes": 0}, {"margin": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            cd.InstanceBank(**wrong)
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        bank.add([torch.zeros(8, 8)], targets)
    with pytest.raises(ValueError, match="labels"):
        bank.add(images, [{"boxes": targets[0]["boxes"]}])


def test_rows_that_a_batch_has_besides():
    images, targets = boxes_of([1])
    bank = cd.InstanceBank()
    bank.add(images, targets)
    mix = cd.CopyPaste(source=bank, instances=1, place="random", p=1.0, instance_weights=True)
    batch = [{**targets[0], "area": torch.tensor([42.0]), "iscrowd": torch.tensor([0]), "image_id": torch.tensor(7)}]
    _, out = mix([torch.rand(3, 40, 50)], batch, generator=seeded(0))
    assert out[0]["area"].tolist() == [42.0, 42.0]
    assert out[0]["iscrowd"].tolist() == [0, 0]
    assert out[0]["image_id"] == 7


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shrink", [1, 6])
def test_rows_of_each_cut_out_are_its_own(batched: bool, shrink: int):
    """Area by pixels of a mask, by the box without one, or as it was given; beside cut-outs that lack it."""
    bank, side = cd.InstanceBank(margin=0), 10 * shrink
    corner = torch.zeros(1, 20 * shrink, 20 * shrink, dtype=torch.bool)  # an L of 36 % of its box
    corner[0, :side, : side // 5] = corner[0, 4 * side // 5 : side, :side] = True
    box = torch.tensor([[0.0, 0, side, side]])
    stated = {"boxes": box, "area": torch.tensor([7.0 * shrink**2]), "difficult": torch.tensor([1])}
    for number, rows in enumerate([{"masks": corner}, {"boxes": box}, stated], 1):
        bank.add([torch.ones(1, 20 * shrink, 20 * shrink)], [{**rows, "labels": torch.tensor([number])}])
    mask = torch.zeros(1, 40, 40, dtype=torch.bool)
    mask[0, 1:5, 1:5] = True
    base = {"boxes": torch.tensor([[1.0, 1, 5, 5]]), "labels": torch.tensor([0]), "area": torch.tensor([16.0])}
    base |= {"difficult": torch.tensor([0]), "masks": mask}
    settings = {"place": "grid", "overlap": 0.0, "scale": (1 / shrink, 1 / shrink), "boxes": "estimate"}
    mix = cd.CopyPaste(source=bank, instances=3, p=1.0, **settings)
    images, seen = torch.zeros(8, 1, 40, 40), Counter()
    _, targets = mix(images if batched else list(images), [base] * 8, generator=seeded(4))
    for target in targets:
        pixels = target["masks"].flatten(1).sum(dim=1)
        sides = (target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(dim=1)
        for row, label in enumerate(target["labels"].tolist()):
            seen[label] += 1
            wanted = (pixels[row], pixels[row], sides[row], 0.07 * sides[row])[label]
            assert target["area"][row] == pytest.approx(float(wanted), rel=0.01 if label != 1 or shrink == 1 else 0.15)
            assert int(target["difficult"][row]) == (label == 3)
            assert bool(target["has_mask"][row]) == (label < 2)
    assert min(seen[label] for label in range(4)) > 2


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("source", ["partner", "self", "batch", "bank"])
def test_lists_of_numbers_are_read(source: str, batched: bool):
    """``iscrowd`` as torchvision's datasets give it, as tensors give it; a crowd isn't pasted."""
    box, bank = torch.tensor([[2.0, 2, 10, 12], [20, 8, 30, 18]]), cd.InstanceBank()
    bank.add([torch.rand(1, 40, 50)], [{"boxes": box, "labels": torch.tensor([1, 2]), "iscrowd": [0, 1]}])
    assert bank.counts == {1: 1}
    more = {} if source == "partner" else {"instances": 1, "place": "random"}
    mix = cd.CopyPaste(source=bank if source == "bank" else source, p=1.0, **more)
    images = torch.rand(4, 1, 40, 50)
    images = images if batched else list(images)
    rows = {"boxes": box, "labels": torch.tensor([3, 4])}
    lists = {"iscrowd": [0, 1], "area": [80.0, 50.0]}
    tensors = {"iscrowd": torch.tensor([0, 1]), "area": torch.tensor([80.0, 50.0])}
    mixed, found = mix(images, [{**rows, **lists}] * 4, generator=seeded(1))
    same, wanted = mix(images, [{**rows, **tensors}] * 4, generator=seeded(1))
    assert all(map(torch.equal, mixed, same))
    for target, other in zip(found, wanted):
        assert target.keys() == other.keys()
        assert all(torch.equal(target[key], other[key]) for key in target)
        pasted = target["labels"][target["iscrowd"] == 0]
        assert 4 not in pasted.tolist()


def test_rows_that_no_cut_out_can_have_are_named():
    images, targets = boxes_of([1])
    bank = cd.InstanceBank()
    bank.add(images, targets)
    mix = cd.CopyPaste(source=bank, instances=1, place="random", p=1.0)
    with pytest.raises(TypeError, match=r"targets\[0\]\['labels'\] must be a tensor for a bank of cut-outs, got list"):
        mix(images, [{**targets[0], "labels": ["cat"]}])
    with pytest.raises(ValueError, match="which can't have 'keypoints'"):
        mix(images, [{**targets[0], "keypoints": torch.zeros(1, 2, 3)}])


@pytest.mark.parametrize(("form", "own"), [("XYWH", [30.0, 30, 10, 10]), ("CXCYWH", [35.0, 35, 10, 10])])
def test_boxes_of_cut_outs_have_the_format_of_the_batch(form, own):
    bank = cd.InstanceBank(margin=0.5)
    bank.add([torch.full((3, 20, 30), 9.0)], [{"boxes": torch.tensor([[4.0, 6, 12, 11]]), "labels": torch.tensor([3])}])
    boxes = tv_tensors.BoundingBoxes([own], format=form, canvas_size=(60, 80))
    mix = cd.CopyPaste(source=bank, instances=1, place="random", overlap=0, p=1.0)
    images = torch.zeros(1, 3, 60, 80)
    for batch in (images, list(images)):
        target = {"boxes": boxes, "labels": torch.tensor([1])}
        mixed, (after,) = mix(batch, [target], generator=torch.Generator().manual_seed(1))
        y, x = (mixed[0][0] == 9).nonzero().T.tolist()
        assert after["boxes"].format.name == form
        corners = box_convert(after["boxes"][1:].as_subclass(torch.Tensor), form.lower(), "xyxy")
        assert corners.tolist() == [[min(x), min(y), max(x) + 1, max(y) + 1]]
        assert (max(x) + 1 - min(x), max(y) + 1 - min(y)) == (8, 5)  # the object's box, not another part of its cut-out
    if hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"):
        rotated = tv_tensors.BoundingBoxes([[30.0, 30, 10, 10, 20]], format="CXCYWHR", canvas_size=(60, 80))
        with pytest.raises(ValueError, match="must be upright"):
            mix(images, [{"boxes": rotated, "labels": torch.tensor([1])}])


@pytest.mark.parametrize("masks", [False, True])
def test_large_cut_outs_fit_a_tensor_as_they_fit_a_list(masks: bool):
    """A cut-out four times as large as the frame: as often, and as large, as where pictures lie alone."""
    bank = cd.InstanceBank()
    for side, label in ((200, 7), (12, 1)):
        target = {"boxes": torch.tensor([[0.0, 0.0, side, side / 2]]), "labels": torch.tensor([label])}
        if masks:
            target["masks"] = torch.ones(1, side // 2, side, dtype=torch.bool)
        bank.add([torch.full((3, side // 2, side), float(label))], [target])
    mix = cd.CopyPaste(
        source=bank, instances=2, place="random", overlap=0, weights="balanced", scale=(0.1, 0.4), p=1.0, min_size=0
    )
    base = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    widths: dict[str, list[float]] = {"list": [], "tensor": []}
    for form, found in widths.items():
        for seed in range(30):
            images = torch.zeros(8, 3, 48, 64)
            mixed, targets = mix(images if form == "tensor" else list(images), [base] * 8, generator=seeded(seed))
            for image, target in zip(mixed, targets):
                assert ("masks" in target) == masks, "no object of the batch lacks a mask"
                for box, label in zip(target["boxes"].round().long().tolist(), target["labels"].tolist()):
                    inside = image[0, box[1] : box[3], box[0] : box[2]]
                    assert ((inside - label).abs() < 1e-4)[2:-2, 2:-2].all(), "a box lies on its object"
                    assert (inside > 0).all()
                    found += [box[2] - box[0]] if label == 7 else []
    assert len(widths["list"]) > 150
    assert len(widths["tensor"]) == pytest.approx(len(widths["list"]), rel=0.15)
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(widths["tensor"], share) == pytest.approx(np.quantile(widths["list"], share), abs=5)


@pytest.mark.parametrize("batched", [False, True])
def test_a_weight_of_0_pastes_nothing(batched: bool):
    bank = cd.InstanceBank()
    bank.add([torch.rand(3, 20, 20)], [{"boxes": torch.tensor([[5.0, 5, 15, 15]]), "labels": torch.tensor([1])}])
    base = {"boxes": torch.tensor([[2.0, 2, 20, 20]]), "labels": torch.tensor([1])}
    images = torch.rand(4, 3, 60, 60)
    mix = cd.CopyPaste(source=bank, instances=2, place="random", weights={1: 0.0}, p=1.0)
    mixed, targets = mix(images if batched else list(images), [base] * 4)
    assert [len(target["boxes"]) for target in targets] == [1] * 4
    assert all(torch.equal(one, other) for one, other in zip(mixed, images)), "nor is anything of another image"


@pytest.mark.parametrize("of_bank", ["labels", "class_labels"])
@pytest.mark.parametrize("of_batch", ["labels", "class_labels"])
@pytest.mark.parametrize("empty", [False, True])
def test_classes_by_either_name(of_bank: str, of_batch: str, empty: bool):
    """The pixels of a cut-out hold its class."""
    donors, box = [torch.full((3, 20, 24), float(label)) for label in (7, 9)], torch.tensor([[5.0, 5, 15, 15]])
    bank = cd.InstanceBank()
    bank.add(donors, [{"boxes": box, of_bank: torch.tensor([label])} for label in (7, 9)])
    assert bank.counts == {7: 1, 9: 1}
    base = {"boxes": box[:0] if empty else box, of_batch: torch.zeros(0 if empty else 1, dtype=torch.long)}
    mix = cd.CopyPaste(source=bank, instances=2, place="random", weights="balanced", p=1.0, boxes="estimate")
    images, targets = mix(torch.zeros(4, 3, 40, 50), [base] * 4, generator=seeded(3))
    for image, target in zip(images, targets):
        assert {*target} == {"boxes", of_batch, "visibility", "origin"}
        assert {*image.unique().tolist()} - {0} == {*target[of_batch].tolist()} - {0} != set()


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("stated", [False, True])
def test_backgrounds_are_bases(batched: bool, masks: bool, stated: bool):
    """Images without objects, with empty rows or with none: what is pasted has classes, and masks if the bank has."""
    bank = cd.InstanceBank()
    bank.add(*pictures(3, masks, 50, np.random.default_rng(1)))
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int32)} if stated else {}
    images = torch.rand(4, 3, 40, 50)
    mix = cd.CopyPaste(source=bank, instances=2, place="random", p=1.0)
    _, targets = mix(images if batched else list(images), [empty] * 4, generator=seeded(0))
    assert sum(len(target["boxes"]) for target in targets) >= 6
    for target in targets:
        assert set(target["labels"].tolist()) <= {1, 2}
        assert len(target["labels"]) == len(target["boxes"])
        assert target["labels"].dtype == (torch.int32 if stated else torch.int64)
        if masks:
            assert target["boxes"].tolist() == [list(tight(mask)) for mask in target["masks"].numpy()]
        else:
            assert "masks" not in target
