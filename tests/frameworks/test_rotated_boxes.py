"""MMRotate's box types through the adapters: judged by their polygons, and in the parameters that they came in.

MMRotate 1.0.0rc1 refuses the MMDetection of this environment by its version alone. Its own classes are tested where it
is installed beside it: ``pip install --no-deps mmrotate==1.0.0rc1``.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")

import mmdet.datasets.transforms
import mmdet.models
import mmdet.registry
from mmdet.structures.bbox import HorizontalBoxes, box_type, register_box, register_box_converter
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import init_default_scope

import cutmix_dense.mmengine  # noqa: F401 – registers the transforms
from cutmix_dense.build import from_config
from cutmix_dense.functional import mix_pixels
from cutmix_dense.mmengine import structures
from cutmix_dense.mmengine.structures import as_boxes

SIZES = [(44, 60), (52, 46), (44, 60)]
FINE = 10
"""Points per pixel and axis of the rasterised boxes."""


def minimal():
    """Box types registered as MMRotate registers its own; of their methods an exact mix needs none."""

    @register_box("rbox", force=True)
    class RotatedBoxes(HorizontalBoxes):
        box_dim = 5

    @register_box("qbox", force=True)
    class QuadriBoxes(HorizontalBoxes):
        box_dim = 8

    def convert(boxes):
        corners = boxes.unflatten(1, (4, 2)) if boxes.shape[1] == 8 else torch.from_numpy(corners_of(boxes))
        return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1).to(boxes.dtype)

    for kind in (RotatedBoxes, QuadriBoxes):
        register_box_converter(kind, HorizontalBoxes, convert, force=True)
    return RotatedBoxes, QuadriBoxes


def mmrotates(monkeypatch):
    """Its own, imported under the newest version of MMDetection that it lets pass."""
    monkeypatch.setattr(mmdet, "__version__", "3.1.0")
    try:
        from mmrotate.structures.bbox import QuadriBoxes, RotatedBoxes
    except ImportError as error:
        pytest.skip(f"needs MMRotate, pip install --no-deps mmrotate==1.0.0rc1 ({error})")
    except AssertionError as error:
        pytest.skip(f"MMRotate refuses what is installed: {error}")
    return RotatedBoxes, QuadriBoxes


@pytest.fixture(params=["minimal", "mmrotate"])
def kinds(request, monkeypatch):
    """The box types (rotated, quadrilateral), registered for this test alone."""
    if request.param == "mmrotate":
        found = mmrotates(monkeypatch)
    for name in ("box_types", "_box_type_to_name", "box_converters"):
        monkeypatch.setattr(box_type, name, dict(getattr(box_type, name)))
    return minimal() if request.param == "minimal" else found


def drawn(count, height, width, rng):
    """Rotated boxes (cx, cy, w, h, t) that lie in the picture; many are long and lie askew."""
    rows = []
    while len(rows) < count:
        long, short, turn = rng.uniform(14, 28), rng.uniform(3, 8), rng.uniform(-math.pi, math.pi)
        reach = [abs(math.cos(turn)) * long + abs(math.sin(turn)) * short]
        reach += [abs(math.sin(turn)) * long + abs(math.cos(turn)) * short]
        if reach[0] < width - 2 and reach[1] < height - 2:
            centre = [rng.uniform(r / 2 + 1, n - r / 2 - 1) for r, n in zip(reach, (width, height))]
            rows.append([*centre, long, short, turn])
    return np.array(rows, dtype=np.float32).reshape(-1, 5)


def corners_of(rows):
    """Corners in MMRotate's order, by its documentation: turned by t radians clockwise on the screen."""
    cx, cy, w, h, t = np.asarray(rows, dtype=np.float64).T
    along = np.stack([w / 2 * np.cos(t), w / 2 * np.sin(t)], axis=1)
    down = np.stack([-h / 2 * np.sin(t), h / 2 * np.cos(t)], axis=1)
    centre = np.stack([cx, cy], axis=1)
    return np.stack([centre + along + down, centre + along - down, centre - along - down, centre - along + down], 1)


def samples_of(kind, *, quadrilaterals=False, counts=(5, 4, 0)):
    """Loaded samples with a picture each that says which it is, and boxes of a type."""
    rng = np.random.default_rng(5)
    samples = []
    for number, ((height, width), count) in enumerate(zip(SIZES, counts)):
        rows = drawn(count, height, width, rng)
        boxes = corners_of(rows).reshape(-1, 8).astype(np.float32) if quadrilaterals else rows
        samples.append(
            {
                "img": np.full((height, width, 3), number + 1, dtype=np.uint8),
                "img_shape": (height, width),
                "ori_shape": (height, width),
                "img_id": number,
                "gt_bboxes": kind(torch.from_numpy(boxes)),
                "gt_bboxes_labels": np.arange(count) + 10 * number,
                "gt_ignore_flags": np.zeros(count, dtype=bool),
            }
        )
    return samples


def shown(rows, owner, number):
    """Visible share of rotated boxes, from points in them: a point shows where the picture is the box's own."""
    height, width = owner.shape
    shares = []
    for cx, cy, w, h, t in rows.astype(np.float64):
        across, down = (np.arange(int(n * FINE)) + 0.5 for n in (w, h))
        u, v = np.meshgrid(across / int(w * FINE) * w - w / 2, down / int(h * FINE) * h - h / 2)
        x, y = cx + u * math.cos(t) - v * math.sin(t), cy + u * math.sin(t) + v * math.cos(t)
        column, row = np.floor(x).astype(int), np.floor(y).astype(int)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        mine = owner[row.clip(0, height - 1), column.clip(0, width - 1)] == number
        shares.append((inside & mine).mean())
    return np.array(shares)


def upright_share(rows, owner, number):
    """What the upright box round each would be judged by."""
    shares = []
    for points in corners_of(rows):
        (x0, y0), (x1, y1) = np.floor(points.min(0)).astype(int).clip(0), np.ceil(points.max(0)).astype(int)
        part = owner[y0:y1, x0:x1] == number
        shares.append(part.sum() / ((x1 - x0) * (y1 - y0)))
    return np.array(shares)


@pytest.mark.parametrize("quadrilaterals", [False, True])
def test_what_shows_of_a_polygon_decides(kinds, quadrilaterals):
    init_default_scope("mmdet")
    kind = kinds[quadrilaterals]
    samples = samples_of(kind, quadrilaterals=quadrilaterals)
    turned = [sample["gt_bboxes"].tensor.clone() for sample in samples_of(kinds[0])]
    mix = mmdet.registry.TRANSFORMS.build(
        {"type": "cutmix_dense.CutMix", "p": 1.0, "min_visibility": 0.75, "partner_fit": "crop"}
    )
    np.random.seed(1)
    dropped = otherwise = 0
    for _ in range(60):
        before = copy.deepcopy(samples)
        mixed = mix({**before[0], "mix_results": [before[1]]})
        assert isinstance(mixed["gt_bboxes"], kind)
        assert mixed["gt_bboxes"].tensor.dtype == torch.float32
        for one, two in zip(before, samples):
            assert torch.equal(one["gt_bboxes"].tensor, two["gt_bboxes"].tensor), "the input changed"
        owner = mixed["img"][..., 0].astype(int)
        expected, labels, near = [], [], False
        for number in (0, 1):
            rows = turned[number].numpy()
            share, upright = shown(rows, owner, number + 1), upright_share(rows, owner, number + 1)
            near |= bool((np.abs(share - 0.75) < 0.02).any())
            keep = share >= 0.75
            dropped += int((~keep).sum())
            otherwise += int(((upright >= 0.75) != keep).sum())
            expected.append(samples[number]["gt_bboxes"].tensor[torch.from_numpy(keep)])
            labels.append(samples[number]["gt_bboxes_labels"][keep])
        if near:
            continue
        assert mixed["gt_bboxes_labels"].tolist() == np.concatenate(labels).tolist()
        assert torch.equal(mixed["gt_bboxes"].tensor, torch.cat(expected)), "kept to the last bit"
    assert dropped > 40
    assert otherwise > 5, "the upright boxes round them would have been judged alike"


def test_a_refit_encloses_what_shows(kinds):
    init_default_scope("mmdet")
    config = {"type": "cutmix_dense.CutMix", "p": 1.0, "rotated": "refit", "min_visibility": 0.2}
    mix = mmdet.registry.TRANSFORMS.build({**config, "partner_fit": "crop"})
    samples = samples_of(kinds[0])
    np.random.seed(2)
    smaller = 0
    for _ in range(30):
        mixed = mix({**copy.deepcopy(samples[0]), "mix_results": copy.deepcopy(samples[1:2])})
        owner = mixed["img"][..., 0].astype(int)
        for row, label in zip(mixed["gt_bboxes"].tensor.numpy(), mixed["gt_bboxes_labels"]):
            number = label // 10
            whole = samples[number]["gt_bboxes"].tensor[label % 10].numpy()
            visible = shown(whole[None], owner, number + 1)[0] * whole[2] * whole[3]
            covered = shown(row[None], owner, number + 1)[0] * row[2] * row[3]
            assert covered >= visible - 0.05 * whole[2] * whole[3], "something visible lies outside"
            assert row[2] * row[3] <= whole[2] * whole[3] * (1 + 1e-4)
            assert abs(row[4] - whole[4]) <= math.pi / 2 + 1e-4, "named anew though a turn would do"
            smaller += row[2] * row[3] < 0.95 * whole[2] * whole[3]
    assert smaller > 10


def test_a_box_and_its_corners_are_the_same_object(kinds):
    """Both types give the same survivors, and corners at the same places."""
    init_default_scope("mmdet")
    config = {"type": "cutmix_dense.ResizeMix", "scope": (0.5, 0.5), "p": 1.0, "min_visibility": 0.3}
    rotated, quadrilaterals = (samples_of(kinds[four], quadrilaterals=four) for four in (False, True))
    seen = 0
    for seed in range(10):
        results = []
        for samples in (rotated, quadrilaterals):
            np.random.seed(seed)
            mix = mmdet.registry.TRANSFORMS.build(config)
            results.append(mix({**samples[0], "mix_results": samples[1:2]}))
        one, four = results
        assert one["gt_bboxes_labels"].tolist() == four["gt_bboxes_labels"].tolist()
        height, width = SIZES[0]
        given, other = SIZES[1]
        alike = (height // 2 / given) == (width // 2 / other)
        base = one["gt_bboxes_labels"] < 10  # unscaled; the partner is scaled unequally: a rectangle encloses it
        assert not alike
        ours = corners_of(one["gt_bboxes"].tensor.numpy())
        theirs = four["gt_bboxes"].tensor.numpy().reshape(-1, 4, 2)
        assert np.allclose(ours[base], theirs[base], atol=1e-4)
        for rectangle, points in zip(ours[~base], theirs[~base]):
            side = np.roll(rectangle, -1, axis=0) - rectangle
            normal = np.stack([-side[:, 1], side[:, 0]], axis=1)
            apart = ((points[:, None] - rectangle) * normal).sum(-1) / np.linalg.norm(normal, axis=1)
            assert (apart * np.sign(np.median(apart)) > -1e-3).all(), "a corner lies outside"
            seen += 1
    assert seen > 10


def test_a_mirror_turns_them_as_flip_does(kinds):
    """Mirrored left to right, x becomes width - x and the angle its negative; both types go through it."""
    init_default_scope("mmdet")
    config = {"type": "cutmix_dense.CopyPaste", "p": 1.0, "flip": 1.0, "instances": "all", "min_visibility": 0.0}
    samples = samples_of(kinds[0])
    partner = samples[1]["gt_bboxes"].tensor.numpy()
    samples[0] = {**samples[2], "img_id": 0}  # as a base without objects
    samples[0]["img"] = np.full((*SIZES[1], 3), 1, dtype=np.uint8)
    samples[0]["img_shape"] = SIZES[1]
    np.random.seed(0)
    mask = np.ones((4, *SIZES[1]), dtype=np.uint8)
    samples[1]["gt_masks"] = BitmapMasks(mask, *SIZES[1])
    samples[0]["gt_masks"] = BitmapMasks(mask[:0], *SIZES[1])
    mixed = mmdet.registry.TRANSFORMS.build(config)({**samples[0], "mix_results": samples[1:2]})
    found = mixed["gt_bboxes"].tensor.numpy()
    picked = mixed["gt_bboxes_labels"] - 10
    assert len(picked) >= 1
    expected = partner[picked].copy()
    expected[:, 0] = SIZES[1][1] - expected[:, 0]
    expected[:, 4] = -expected[:, 4]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_is_to_be_ignored_and_samples_without_boxes(kinds):
    init_default_scope("mmdet")
    samples = samples_of(kinds[0])
    samples[0]["gt_ignore_flags"][:2] = True
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0, "on_filtered": "ignore"})
    np.random.seed(3)
    aside = 0
    for partner in (1, 2, 1, 2):
        mixed = mix({**copy.deepcopy(samples[0]), "mix_results": [copy.deepcopy(samples[partner])]})
        assert len(mixed["gt_bboxes"]) == len(mixed["gt_bboxes_labels"]) == len(mixed["gt_ignore_flags"])
        assert mixed["gt_bboxes"].tensor.shape[1] == 5
        aside += int(mixed["gt_ignore_flags"].sum())
        place = {label: index for index, label in enumerate(samples[0]["gt_bboxes_labels"].tolist())}
        for row, label in zip(mixed["gt_bboxes"].tensor, mixed["gt_bboxes_labels"].tolist()):
            if label in place:
                assert torch.equal(row, samples[0]["gt_bboxes"].tensor[place[label]])
    assert aside >= 4
    mixed = mix({**copy.deepcopy(samples[2]), "mix_results": [copy.deepcopy(samples[2])]})
    assert isinstance(mixed["gt_bboxes"], kinds[0])
    assert mixed["gt_bboxes"].tensor.shape == (0, 5)


@pytest.mark.parametrize("quadrilaterals", [False, True])
def test_batches_in_mmdets_preprocessor(kinds, quadrilaterals):
    """As MMRotate's configs have it: ``boxtype2tensor=False`` keeps the box type."""
    init_default_scope("mmdet")
    samples = samples_of(kinds[quadrilaterals], quadrilaterals=quadrilaterals)
    pack = mmdet.registry.TRANSFORMS.build({"type": "PackDetInputs", "meta_keys": ("img_id", "img_shape", "ori_shape")})
    rows = [pack(copy.deepcopy(sample)) for sample in samples]
    preprocessor = mmdet.registry.MODELS.build(
        {
            "type": "DetDataPreprocessor",
            "boxtype2tensor": False,
            "batch_augments": [{"type": "cutmix_dense.CutMix", "p": 1.0, "min_visibility": 0.4}],
        }
    )
    torch.manual_seed(4)
    turned = [sample["gt_bboxes"].tensor.numpy() for sample in samples_of(kinds[0])]
    changed = 0
    for _ in range(10):
        data = {
            "inputs": [row["inputs"] for row in rows],
            "data_samples": [copy.deepcopy(r["data_samples"]) for r in rows],
        }
        out = preprocessor(data, True)
        for picture, sample in zip(out["inputs"], out["data_samples"]):
            found = sample.gt_instances
            assert isinstance(found.bboxes, kinds[quadrilaterals])
            owner = picture[0, : sample.img_shape[0], : sample.img_shape[1]].numpy().astype(int)
            for row, (image, index), visibility in zip(found.bboxes.tensor, found.origin.tolist(), found.visibility):
                assert torch.equal(row, samples[image]["gt_bboxes"].tensor[index])
                share = shown(turned[image][index : index + 1], owner, image + 1)[0]
                assert abs(float(visibility) - share) < 0.02
                changed += share < 0.95
    assert changed > 10


def test_other_angles_are_not_guessed(kinds):
    """Five numbers alone don't make a rotated box: a type of another name is read as its own converter says."""
    assert box_type.box_types["rbox"] is kinds[0]

    @register_box("in_degrees")
    class Degrees(HorizontalBoxes):
        box_dim = 5

    @register_box_converter(Degrees, HorizontalBoxes)
    def convert(boxes):
        return torch.cat([boxes[..., :2] - boxes[..., 2:4], boxes[..., :2] + boxes[..., 2:4]], dim=-1)

    found = as_boxes(Degrees(torch.tensor([[9.0, 9, 2, 3, 45]])))
    assert found.tolist() == [[7, 6, 11, 12]]


@pytest.mark.parametrize("quadrilaterals", [False, True])
def test_an_older_torchvision_has_the_upright_boxes_only(kinds, quadrilaterals, monkeypatch):
    monkeypatch.setattr(structures, "_ROTATED", {"rbox": "NOT_YET", "qbox": "NOT_YET"})
    boxes = samples_of(kinds[quadrilaterals], quadrilaterals=quadrilaterals)[0]["gt_bboxes"]
    corners = corners_of(samples_of(kinds[0])[0]["gt_bboxes"].tensor.numpy())
    round_them = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    np.testing.assert_allclose(as_boxes(boxes).numpy(), round_them, atol=1e-4)


def test_the_core_says_the_same_of_torchvisions_boxes(kinds):
    """The adapter adds nothing: the plan of the recorded seed, and torchvision's rotated boxes, give the same."""
    init_default_scope("mmdet")
    samples = samples_of(kinds[0])
    config = {"type": "cutmix_dense.CutMix", "p": 1.0, "rotated": "refit"}
    np.random.seed(6)
    mix = mmdet.registry.TRANSFORMS.build({**config, "partner_fit": "crop"})  # as the core does
    mixed = mix({**samples[0], "mix_results": samples[1:2]})
    core = from_config({**config, "type": "CutMix"})
    images = [torch.from_numpy(sample["img"]).permute(2, 0, 1) for sample in samples[:2]]
    targets = []
    for sample in samples[:2]:
        rows = sample["gt_bboxes"].tensor.double()
        rows[:, 4] = -rows[:, 4] * 180 / math.pi
        form = tv_tensors.BoundingBoxFormat.CXCYWHR
        boxes = tv_tensors.BoundingBoxes(rows, format=form, canvas_size=sample["img_shape"])
        targets.append({"boxes": boxes, "labels": torch.from_numpy(sample["gt_bboxes_labels"])})
    generator = torch.Generator().manual_seed(mixed["mix_seeds"][0])
    plan = core.make_plan(images, targets, generator=generator, outputs=1)
    (expected,) = core.apply_plan(plan, images, targets)[1]
    assert np.array_equal(mix_pixels(images, plan)[0].permute(1, 2, 0).numpy(), mixed["img"])
    assert mixed["gt_bboxes_labels"].tolist() == expected["labels"].tolist()
    rows = expected["boxes"].as_subclass(torch.Tensor)
    rows = torch.cat([rows[:, :4], -rows[:, 4:] * math.pi / 180], dim=1)
    torch.testing.assert_close(mixed["gt_bboxes"].tensor.double(), rows, atol=1e-5, rtol=0)
