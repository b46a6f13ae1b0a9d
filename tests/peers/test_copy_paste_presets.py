"""CopyPaste's presets beside the rules of the peers they are named after.

Neither peer can be installed for a test: torchvision's ``SimpleCopyPaste`` is part of its reference scripts, not of the
wheel, and MMDetection needs mmcv. So their behaviour is written down here once more, from its description and in plain
loops: given the same selected instances, which are kept, with which masks and boxes.

Both peers make every box anew from its mask and keep what they paste as it is. Where ours deliberately differs, a test
of its own says so and why.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as plain

import cutmix_dense as cd


def outline(mask, beyond):
    """Box round a mask; ``beyond`` = 1 where it ends at the last pixel's outer edge, 0 at the pixel itself."""
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return np.zeros(4)
    return np.array([columns.min(), rows.min(), columns.max() + beyond, rows.max() + beyond], dtype=float)


def covering(partner, chosen):
    over = np.zeros(partner["masks"].shape[1:], dtype=bool)
    for index in chosen:
        over |= partner["masks"][index]
    return over


def torchvision_rule(base, partner, chosen):
    """SimpleCopyPaste without blending: what still shows a pixel stays, unless its box, which ends *at* the last pixel,
    has no width or no height. Rows (layer, index, mask, box).
    """
    over = covering(partner, chosen)
    rows = []
    for index, mask in enumerate(base["masks"]):
        left = mask & ~over
        box = outline(left, beyond=0)
        if left.any() and box[2] > box[0] and box[3] > box[1]:
            rows.append((0, index, left, box))
    for index in chosen:
        box = partner["boxes"][index]
        if box[2] > box[0] and box[3] > box[1]:
            rows.append((1, index, partner["masks"][index], box))
    return rows


def mmdet_rule(base, partner, chosen, max_shift=10, min_pixels=300):
    """CopyPaste: a base instance stays if no coordinate of its box moved by more than 10 pixels, or if more than 300 of
    its pixels are left. Rows (layer, index, mask, box).
    """
    over = covering(partner, chosen)
    rows = []
    for index, mask in enumerate(base["masks"]):
        left = mask & ~over
        box = outline(left, beyond=1)
        if (np.abs(box - base["boxes"][index]) <= max_shift).all() or left.sum() > min_pixels:
            rows.append((0, index, left, box))
    rows.extend((1, index, partner["masks"][index], partner["boxes"][index]) for index in chosen)
    return rows


def random_mask(height, width, random):
    """One of: a filled rectangle, an ellipse, a sprinkled patch, a line, a few pixels. Never empty."""
    mask = np.zeros((height, width), dtype=bool)
    row, column = random.integers(height), random.integers(width)
    largest = 1 if random.random() < 0.5 else 2
    tall, wide = (random.integers(1, size // largest + 1) for size in (height, width))
    kind = random.integers(5)
    if kind == 0:
        mask[row : row + tall, column : column + wide] = True
    elif kind == 1:
        y, x = np.ogrid[:height, :width]
        mask |= ((y - row) / tall) ** 2 + ((x - column) / wide) ** 2 < 0.4
    elif kind == 2:
        part = mask[row : row + tall, column : column + wide]
        part |= random.random(part.shape) < 0.3
    elif kind == 3:
        mask[row, column : column + wide] = True
    else:
        mask[random.integers(height, size=3), random.integers(width, size=3)] = True
    mask[row, column] = True
    return mask


def random_image(random, height, width):
    count = int(random.integers(3, 9))
    masks = np.stack([random_mask(height, width, random) for _ in range(count)])
    boxes = np.stack([outline(mask, beyond=1) for mask in masks])
    labels, crowd = random.integers(1, 9, count), random.integers(0, 2, count)
    return {"masks": masks, "boxes": boxes, "labels": labels, "iscrowd": crowd}


def as_target(image):
    return {
        "boxes": torch.tensor(image["boxes"], dtype=torch.float32),
        "labels": torch.tensor(image["labels"]),
        "masks": torch.tensor(image["masks"]),
        "iscrowd": torch.tensor(image["iscrowd"]),
        "area": torch.tensor(image["masks"].sum(axis=(1, 2)), dtype=torch.float32),
    }


def random_case(seed):
    random = np.random.default_rng(seed)
    height, width = int(random.integers(16, 56)), int(random.integers(16, 72))
    return [random_image(random, height, width) for _ in range(3)], (height, width)


def paste(mix, images, size, seed):
    """Our result, and the rows (partner, its chosen instances) that the plan says were selected."""
    height, width = size
    pixels = torch.arange(len(images)).float()[:, None, None, None].expand(-1, 3, height, width)
    targets = [as_target(image) for image in images]
    plan = mix.make_plan(pixels, targets, generator=torch.Generator().manual_seed(seed))
    mixed_pixels, mixed = mix.apply_plan(plan, pixels, targets)
    chosen = [
        (int(partner), [i for i in row.nonzero()[:, 0].tolist() if i < len(images[partner]["labels"])])
        for partner, row in zip(plan.source[:, 1].tolist(), plan.carry[:, 1])
    ]
    return mixed_pixels, mixed, chosen


def rows_of(target, base):
    """Our instances by (layer, index)."""
    return {
        (int(image != base), int(index)): position for position, (image, index) in enumerate(target["origin"].tolist())
    }


SELECTIONS = ["random", "all", 2, 0.5]


@pytest.mark.parametrize("instances", SELECTIONS, ids=str)
@pytest.mark.parametrize("peer", ["torchvision", "mmdet"])
def test_same_selection_same_kept_set_masks_and_boxes(peer, instances):
    rule = {"torchvision": torchvision_rule, "mmdet": mmdet_rule}[peer]
    mix = getattr(cd.CopyPaste, peer)(instances=instances)
    seen = {"kept": 0, "dropped": 0, "changed": 0}
    for seed in range(18):
        images, size = random_case(seed)
        pixels, mixed, selections = paste(mix, images, size, seed)
        for base, (target, (partner, chosen)) in enumerate(zip(mixed, selections)):
            assert len(chosen) > 0
            rows = rule(images[base], images[partner], chosen)
            ours, theirs = rows_of(target, base), {row[:2]: row for row in rows}
            if peer == "torchvision":
                # an intact instance is never filtered, however thin; the reference removes it
                slim = {key for key in ours if key not in theirs}
                for key in slim:
                    assert min(np.ptp(line) for line in np.nonzero(target["masks"][ours[key]].numpy())) == 0
                    assert target["visibility"][ours[key]] == 1
            else:
                # see test_what_is_covered_wholly_is_gone
                slim = set()
                theirs = {key: row for key, row in theirs.items() if row[2].any()}
            assert set(ours) == set(theirs) | slim
            assert [key for key in ours if key not in slim] == [row[:2] for row in rows if row[:2] in theirs]  # order
            for key, position in ours.items():
                source = images[base if key[0] == 0 else partner]
                assert target["labels"][position] == source["labels"][key[1]]
                assert target["iscrowd"][position] == source["iscrowd"][key[1]]
                if key in slim:
                    continue
                _, _, mask, box = theirs[key]
                assert np.array_equal(target["masks"][position].numpy(), mask)
                assert np.abs(target["boxes"][position].numpy() - box).max() <= 1
                assert target["area"][position] == pytest.approx(mask.sum(), rel=1e-5)
                seen["changed"] += int(mask.sum() < source["masks"][key[1]].sum())
            over = covering(images[partner], chosen)
            assert np.array_equal(pixels[base, 0].numpy(), np.where(over, partner, base))
            seen["kept"] += len(ours)
            seen["dropped"] += len(images[base]["labels"]) + len(chosen) - len(ours)
    assert min(seen.values()) > 4, seen


def test_mmdets_boxes_may_be_loose():
    """The box that mmdet compares is the annotated one, not the tight one. An instance that keeps every pixel is left
    alone by us (mmdet drops small ones whose box is more than 10 pixels too large: nothing happened to them).
    """
    mix = cd.CopyPaste.mmdet()
    decided_by_looseness = 0
    for seed in range(25):
        images, (height, width) = random_case(1000 + seed)
        random = np.random.default_rng(seed)
        for image in images:
            looser = image["boxes"] + random.integers(0, 8, image["boxes"].shape) * np.array([-1, -1, 1, 1])
            image["boxes"] = np.clip(looser, 0, [width, height, width, height]).astype(float)
        _, mixed, selections = paste(mix, images, (height, width), seed)
        for base, (target, (partner, chosen)) in enumerate(zip(mixed, selections)):
            over = covering(images[partner], chosen)
            untouched = {(0, i) for i, mask in enumerate(images[base]["masks"]) if not (mask & over).any()}
            theirs = {row[:2] for row in mmdet_rule(images[base], images[partner], chosen) if row[2].any()}
            tight = dict(images[base], boxes=np.stack([outline(mask, 1) for mask in images[base]["masks"]]))
            by_tight = {row[:2] for row in mmdet_rule(tight, images[partner], chosen) if row[2].any()}
            decided_by_looseness += len((theirs ^ by_tight) - untouched)
            ours = rows_of(target, base)
            assert set(ours) == theirs | untouched
            for key in untouched:
                assert np.array_equal(target["boxes"][ours[key]].numpy(), images[base]["boxes"][key[1]])
    assert decided_by_looseness > 5


@pytest.mark.parametrize("peer", ["torchvision", "mmdet"])
def test_by_boxes_where_there_are_no_masks(peer):
    """mmdet's ``paste_by_box``: as if every whole-pixel box were a mask. Boxes are then enough, exactly."""
    rule = {"torchvision": torchvision_rule, "mmdet": mmdet_rule}[peer]
    mix = getattr(cd.CopyPaste, peer)()
    for seed in range(18):
        images, (height, width) = random_case(2000 + seed)
        for image in images:
            for mask, box in zip(image["masks"], image["boxes"].astype(int)):
                mask[box[1] : box[3], box[0] : box[2]] = True
        targets = [as_target(image) for image in images]
        for target in targets:
            del target["masks"]
        pixels = torch.zeros(len(images), 3, height, width)
        plan = mix.make_plan(pixels, targets, generator=torch.Generator().manual_seed(seed))
        _, mixed = mix.apply_plan(plan, pixels, targets)
        for base, target in enumerate(mixed):
            partner = int(plan.source[base, 1])
            chosen = plan.carry[base, 1].nonzero()[:, 0].tolist()
            theirs = {row[:2]: row for row in rule(images[base], images[partner], chosen) if row[2].any()}
            ours = rows_of(target, base)
            for key in set(ours) - set(theirs):
                sides = target["boxes"][ours[key]][2:] - target["boxes"][ours[key]][:2]
                assert peer == "torchvision"
                assert sides.min() == 1
            assert set(theirs) <= set(ours)
            for key in theirs:
                assert np.abs(target["boxes"][ours[key]].numpy() - theirs[key][3]).max() <= 1
                assert target["area"][ours[key]] == pytest.approx(theirs[key][2].sum(), rel=1e-5)


def pair(base_mask, pasted_mask, loose=0):
    """Two images of one instance each; the first is the base of output 0, the second is pasted on it."""
    images = []
    for mask in (base_mask, pasted_mask):
        box = outline(mask, beyond=1) + np.array([-loose, -loose, loose, loose])
        images.append({"masks": mask[None], "boxes": box[None], "labels": np.ones(1, int), "iscrowd": np.zeros(1, int)})
    return images


def rectangle(y0, x0, y1, x1, size=(40, 64)):
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_a_remnant_one_pixel_wide_is_dropped_as_there():
    """In torchvision's reference a column of pixels has a box of no width (masks_to_boxes ends at the last pixel), and
    boxes without width are removed. The preset does the same by its least side; the default keeps the column.
    """
    images = pair(rectangle(5, 10, 15, 20), rectangle(5, 11, 15, 30))
    assert [row[:2] for row in torchvision_rule(*images, [0])] == [(1, 0)]
    _, mixed, _ = paste(cd.CopyPaste.torchvision(), images, (40, 64), 0)
    assert list(rows_of(mixed[0], 0)) == [(1, 0)]

    _, mixed, _ = paste(cd.CopyPaste(p=1.0), images, (40, 64), 0)
    assert list(rows_of(mixed[0], 0)) == [(0, 0), (1, 0)]
    assert mixed[0]["boxes"][0].tolist() == [10, 5, 11, 15]


def test_what_is_covered_wholly_is_gone():
    """mmdet keeps a small instance near the image's origin though nothing of it is left: the box of its empty mask is
    (0, 0, 0, 0), which is no further than 10 pixels from where it was. A target that can't be seen is no target.
    """
    images = pair(rectangle(1, 2, 8, 9), rectangle(0, 0, 20, 20))
    phantom = mmdet_rule(*images, [0])[0]
    assert phantom[:2] == (0, 0)
    assert not phantom[2].any()
    _, mixed, _ = paste(cd.CopyPaste.mmdet(), images, (40, 64), 0)
    assert list(rows_of(mixed[0], 0)) == [(1, 0)]


@pytest.mark.parametrize(
    ("shift", "left", "kept"), [(10, 100, True), (11, 100, False), (11, 300, False), (11, 301, True), (11, 302, True)]
)
def test_mmdets_thresholds_to_the_pixel(shift, left, kept):
    """Kept at 10 pixels and dropped at 11; dropped at 300 pixels left and kept at 301."""
    base = np.zeros((40, 64), dtype=bool)
    base[:20, :shift] = base[0, shift:40] = base[19, shift:40] = True  # the frame of what stays keeps the box's place
    inner = np.zeros((18, 40 - shift), dtype=bool)
    inner.flat[: left - base[:, shift:].sum()] = True
    base[1:19, shift:40] = inner
    assert base[:, shift:].sum() == left
    images = pair(base, rectangle(0, 0, 40, shift))
    assert ((0, 0) in {row[:2] for row in mmdet_rule(*images, [0])}) == kept
    _, mixed, _ = paste(cd.CopyPaste.mmdet(), images, (40, 64), 0)
    assert ((0, 0) in rows_of(mixed[0], 0)) == kept


def test_soft_edges_leave_the_masks_alone():
    """torchvision's reference softens the *bool* mask of what is pasted: the blur of a bool mask is a wider bool mask,
    so neighbours lose a rim of pixels and the image shows a rim of the partner's background. ``feather`` blends the
    pixels and cuts every mask where it lies.
    """
    images = pair(rectangle(5, 10, 30, 40), rectangle(10, 30, 25, 60))
    blurred = plain.gaussian_blur(torch.tensor(images[1]["masks"]), kernel_size=[5, 5], sigma=[2.0])
    assert blurred.dtype == torch.bool
    assert blurred.sum() > images[1]["masks"].sum()
    hard_pixels, hard, _ = paste(cd.CopyPaste.torchvision(), images, (40, 64), 0)
    soft_pixels, soft, _ = paste(cd.CopyPaste.torchvision(feather=2.0), images, (40, 64), 0)
    assert torch.equal(soft[0]["masks"], hard[0]["masks"])
    assert torch.equal(soft[0]["boxes"], hard[0]["boxes"])
    assert torch.equal(soft[0]["masks"][0], torch.tensor(images[0]["masks"][0] & ~images[1]["masks"][0]))
    assert not torch.equal(soft_pixels, hard_pixels)


def test_a_partner_of_another_size_is_placed_not_refused():
    """mmdet asserts equal sizes; torchvision stretches the partner to the base's size, whatever its aspect. Here the
    partner is placed at random, and scaled by ``scale`` with its aspect kept.
    """
    random = np.random.default_rng(0)
    images = [random_image(random, 30, 44), random_image(random, 22, 60)]
    pixels = [torch.zeros(3, 30, 44), torch.ones(3, 22, 60)]
    targets = [as_target(image) for image in images]
    for seed in range(20):
        mix = cd.CopyPaste.mmdet(instances="all")
        mixed_pixels, mixed = mix(pixels, targets, generator=torch.Generator().manual_seed(seed))
        for base, target in enumerate(mixed):
            assert target["masks"].shape[1:] == mixed_pixels[base].shape[1:] == pixels[base].shape[1:]
            pasted = target["masks"][target["origin"][:, 0] != base]
            assert torch.equal(pasted.any(dim=0), mixed_pixels[base][0] != base)
