"""Detectron2's batches through ``cutmix_dense.detectron2``: its structures where it is installed, a double everywhere.

The double has what the adapter and Detectron2's models use of the structures; where the real ones are, both are held
against each other.
"""

from __future__ import annotations

import copy
import importlib.util
import multiprocessing
import pickle
import re
import types
from functools import partial

import numpy as np
import pytest
import torch
from oracle import (
    Settings,
    carried_instances,
    coded_image,
    compare_instances,
    decode,
    expect_instances,
    expect_semantic,
    stated_layers,
)
from PIL import Image
from snippets import ROOT, blocks, run
from torch.utils.data import DataLoader
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.detectron2 import MixedLoader, mix_batch
from cutmix_dense.functional import broken
from cutmix_dense.polygon_bitmaps import draw_in_windows
from cutmix_dense.warned import MixWarning

SIZES = [(34, 52), (40, 36), (34, 52), (28, 60), (46, 30)]
CLASSES = 7

# ---------------------------------------------------------------------------------------------------------------------
# the double


class Boxes:
    """Rows of x0, y0, x1, y1 in float32."""

    columns = 4

    def __init__(self, tensor):
        tensor = torch.as_tensor(tensor).to(torch.float32)
        self.tensor = tensor.reshape(-1, self.columns) if tensor.numel() == 0 else tensor
        assert self.tensor.ndim == 2
        assert self.tensor.shape[1] == self.columns

    def to(self, device):
        return type(self)(self.tensor.to(device=device))

    def __getitem__(self, item):
        return type(self)(self.tensor[item].reshape(-1, self.columns))

    def __len__(self):
        return self.tensor.shape[0]


class RotatedBoxes(Boxes):
    """Rows of cx, cy, w, h and degrees, counter-clockwise on the screen."""

    columns = 5


class Keypoints:
    """(N, K, 3) of x, y and a flag, float32."""

    def __init__(self, keypoints):
        self.tensor = torch.as_tensor(keypoints, dtype=torch.float32)
        assert self.tensor.ndim == 3
        assert self.tensor.shape[2] == 3

    def to(self, *args, **kwargs):
        return type(self)(self.tensor.to(*args, **kwargs))

    def __getitem__(self, item):
        return type(self)(self.tensor[item])

    def __len__(self):
        return self.tensor.shape[0]


class BitMasks:
    """(N, H, W) bool."""

    def __init__(self, tensor):
        self.tensor = torch.as_tensor(tensor).to(torch.bool)
        assert self.tensor.ndim == 3
        self.image_size = self.tensor.shape[1:]

    def to(self, *args, **kwargs):
        return type(self)(self.tensor.to(*args, **kwargs))

    def __getitem__(self, item):
        return type(self)(self.tensor[item])

    def __len__(self):
        return self.tensor.shape[0]

    @staticmethod
    def from_polygon_masks(polygon_masks, height, width):
        tools = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed (extra: data)")
        drawn = np.zeros((len(polygon_masks), height, width), dtype=bool)
        for bitmap, parts in zip(drawn, polygon_masks):
            if len(parts):
                bitmap[:] = tools.decode(tools.merge(tools.frPyObjects(parts, height, width)))
        return BitMasks(torch.from_numpy(drawn))


class PolygonMasks:
    """Per instance a list of parts, float64 arrays of x0, y0, x1, y1 ….; always on the host."""

    def __init__(self, polygons):
        self.polygons = [[np.asarray(part).astype("float64") for part in parts] for parts in polygons]

    def to(self, *args, **kwargs):
        return self

    def __getitem__(self, item):
        return type(self)(self.polygons[item])

    def __len__(self):
        return len(self.polygons)


class Instances:
    """Fields of one length, read as attributes."""

    def __init__(self, image_size, **fields):
        self._image_size = image_size
        self._fields = {}
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self):
        return self._image_size

    def __setattr__(self, name, value):
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name):
        if name == "_fields" or name not in self._fields:
            raise AttributeError(name)
        return self._fields[name]

    def set(self, name, value):
        assert not self._fields or len(self) == len(value)
        self._fields[name] = value

    def has(self, name):
        return name in self._fields

    def get(self, name):
        return self._fields[name]

    def get_fields(self):
        return self._fields

    def to(self, *args, **kwargs):
        moved = {k: v.to(*args, **kwargs) if hasattr(v, "to") else v for k, v in self._fields.items()}
        return type(self)(self._image_size, **moved)

    def __len__(self):
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("no fields")


DOUBLE = types.SimpleNamespace(
    Boxes=Boxes,
    RotatedBoxes=RotatedBoxes,
    Keypoints=Keypoints,
    BitMasks=BitMasks,
    PolygonMasks=PolygonMasks,
    Instances=Instances,
)
HERE = importlib.util.find_spec("detectron2") is not None
needs_detectron2 = pytest.mark.skipif(not HERE, reason="detectron2 is not installed (it is not on PyPI)")


@pytest.fixture(params=["double", pytest.param("detectron2", marks=needs_detectron2)])
def structures(request):
    if request.param == "double":
        return DOUBLE
    return pytest.importorskip("detectron2.structures")


# ---------------------------------------------------------------------------------------------------------------------
# coded batches


def fields_of(number, size, count, rng):
    """Plain annotations of one image: boxes on whole pixels, masks that lack a corner, keypoints in and off the box."""
    height, width = size
    low = np.stack([rng.integers(0, width - 14, count), rng.integers(0, height - 14, count)], axis=1)
    high = low + rng.integers(6, 14, (count, 2))
    boxes = np.concatenate([low, high], axis=1)
    masks = np.zeros((count, height, width), dtype=bool)
    keypoints = np.zeros((count, 3, 3), dtype=np.float32)
    for row, (x0, y0, x1, y1) in enumerate(boxes):
        masks[row, y0:y1, x0:x1] = True
        masks[row, y0, x0] = False
        keypoints[row] = [[x0 + 1.5, y0 + 2.5, 2], [x1 - 1.25, y1 - 0.5, 1], [0, 0, 0]]
    return {
        "boxes": torch.from_numpy(boxes).float(),
        "labels": torch.from_numpy(rng.integers(0, CLASSES, count)),
        "masks": torch.from_numpy(masks),
        "keypoints": torch.from_numpy(keypoints),
    }


def coded_batch(structures, *, masks="bitmap", keypoints=True, sem_seg=True, instances=True, sizes=SIZES, empty=(1,)):
    """Samples as a mapper gives them, and the same annotations as plain tensors."""
    rng = np.random.default_rng(5)
    batch, targets = [], []
    for number, size in enumerate(sizes):
        height, width = size
        target = fields_of(number, size, 0 if number in empty else 4, rng)
        sample = {
            "file_name": f"{number}.jpg",
            "image_id": 100 + number,
            "height": 2 * height,
            "width": 2 * width,
            "image": coded_image(number, height, width, torch.uint8),
        }
        if instances:
            sample["instances"] = made = structures.Instances(size)
            made.gt_boxes = structures.Boxes(target["boxes"].clone())
            made.gt_classes = target["labels"].clone()
            if masks and number not in empty:  # a mapper leaves them out where there is nothing
                made.gt_masks = {
                    "bitmap": lambda t: structures.BitMasks(t["masks"].clone()),
                    "polygon": lambda t: structures.PolygonMasks(outlines(t["boxes"])),
                    "plain": lambda t: t["masks"].clone(),
                }[masks](target)
            if masks == "polygon":
                bits = BitMasks.from_polygon_masks(outlines(target["boxes"]), height, width)
                target["masks"] = bits.tensor
            if keypoints and number not in empty:
                made.gt_keypoints = structures.Keypoints(target["keypoints"].clone())
        for key, wanted in (("masks", masks), ("keypoints", keypoints)):
            if not wanted:
                del target[key]
        if sem_seg:
            sample["sem_seg"] = torch.from_numpy(rng.integers(0, CLASSES, size))
        batch.append(sample)
        targets.append(target)
    return batch, targets


def outlines(boxes):
    """Boxes as polygons of two parts that share an edge, as COCO has them for split objects."""
    parts = []
    for x0, y0, x1, y1 in boxes.double().tolist():
        middle = (x0 + x1) // 2
        parts.append(
            [
                np.array([x0, y0, middle, y0, middle, y1, x0, y1]),
                np.array([middle, y0, x1, y0, x1, y1, middle, y1]),
            ]
        )
    return parts


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def plain(instances):
    """The fields of mixed instances under the core's names, plain tensors."""
    names = {"gt_classes": "labels"}
    fields = {}
    for name, value in instances.get_fields().items():
        fields[names.get(name, name.removeprefix("gt_"))] = getattr(value, "tensor", value)
    return fields


def check(batch, targets, mixed, plan):
    """Hold every output against what its pixels prove; returns the foreign pixels."""
    sizes = [tuple(sample["image"].shape[1:]) for sample in batch]
    foreign = 0
    keys = set(targets[0]) if "instances" in batch[0] else None
    for output, sample in enumerate(mixed):
        size = tuple(sample["image"].shape[1:])
        layers = stated_layers(plan, output)
        prov = decode(sample["image"], size, sizes)
        foreign += int((prov.source != output).sum())
        if keys:
            settings = Settings()
            records = expect_instances(
                prov, layers, targets, sizes, settings, dyadic=True, carried=carried_instances(plan, output)
            )
            made = sample["instances"]
            assert tuple(made.image_size) == size
            near = compare_instances(plain(made), records, targets, settings, base=output, canvas=size, keys=keys)
            assert near <= 1  # so close to a threshold that the oracle doesn't judge it
        if "sem_seg" in sample:
            expected = expect_semantic(prov, [s["sem_seg"].numpy() for s in batch], 255)
            assert np.array_equal(sample["sem_seg"].numpy(), expected)
        for key in ("file_name", "image_id", "height", "width"):
            assert sample[key] == batch[output][key]
    return foreign


METHODS = [
    cd.CutMix(p=0.9),
    cd.CutMix(p=1.0, pairing="swap"),
    cd.GridMix(p=1.0),
    cd.CopyPaste(p=1.0),
    cd.RandomMix([cd.CutMix(p=1.0), cd.StripeMix(p=1.0)]),
]


@pytest.mark.parametrize("mix", METHODS, ids=lambda mix: type(mix).__name__)
@pytest.mark.parametrize("masks", ["bitmap", "polygon", "plain", None])
def test_pixels_prove_the_annotations(structures, masks, mix):
    batch, targets = coded_batch(structures, masks=masks)
    foreign = 0
    for seed in range(3):
        mixed = mix_batch(batch, mix, generator=seeded(seed))
        generator = seeded(seed)
        core = [{**target, "sem_seg": sample["sem_seg"]} for target, sample in zip(targets, batch)]
        plan = mix.choose(generator).make_plan([sample["image"] for sample in batch], core, generator=generator)
        foreign += check(batch, targets, mixed, plan)
        for sample in mixed:
            made = sample["instances"]
            assert type(made) is structures.Instances
            assert type(made.gt_boxes) is structures.Boxes
            assert type(made.gt_keypoints) is structures.Keypoints
            if masks:
                wanted = torch.Tensor if masks == "plain" else structures.BitMasks
                assert type(made.gt_masks) is wanted
            assert sample["image"].dtype == torch.uint8
    assert foreign > 300


def test_a_semantic_batch_needs_no_instances(structures):
    batch, targets = coded_batch(structures, instances=False)
    mix = cd.ClassMix(p=1.0)
    mixed = mix_batch(batch, mix, generator=seeded(1))
    maps = [{"sem_seg": sample["sem_seg"]} for sample in batch]
    plan = mix.make_plan([sample["image"] for sample in batch], maps, generator=seeded(1))
    assert check(batch, targets, mixed, plan) > 300
    assert all("instances" not in sample for sample in mixed)


def test_panoptic_maps_in_both_forms(structures):
    batch, _ = coded_batch(structures, masks="bitmap", empty=())
    category = {}
    for number, sample in enumerate(batch):
        ids = torch.zeros(SIZES[number], dtype=torch.int32)
        ids[3:20, 4:25] = 7
        ids[15:, 10:] = 9
        infos = [
            {"id": 7, "category_id": 10 + number, "isthing": True, "iscrowd": 0},
            {"id": 9, "category_id": 20 + number, "isthing": False},
        ]
        category[number] = torch.tensor([0, 10 + number, 20 + number])[(ids == 7).int() + 2 * (ids == 9).int()]
        sample["panoptic_seg"], sample["segments_info"] = ids, infos
    pairs = [
        {**{k: v for k, v in sample.items() if k != "segments_info"}, "panoptic_seg": (ids, sample["segments_info"])}
        for sample in batch
        for ids in [sample["panoptic_seg"]]
    ]
    mix = cd.CutMix(p=1.0)
    foreign = 0
    for sample, pair in zip(mix_batch(batch, mix, generator=seeded(3)), mix_batch(pairs, mix, generator=seeded(3))):
        prov = decode(sample["image"], tuple(sample["image"].shape[1:]), SIZES)
        expected = np.zeros(prov.shape, dtype=np.int64)
        for number, known in category.items():
            here = prov.source == number
            expected[here] = known.numpy()[prov.y[here], prov.x[here]]
        table = {0: 0, **{info["id"]: info["category_id"] for info in sample["segments_info"]}}
        told = np.vectorize(table.__getitem__)(sample["panoptic_seg"].numpy())
        assert np.array_equal(told, expected)
        assert sample["panoptic_seg"].dtype == torch.int32
        foreign += len({info["category_id"] % 10 for info in sample["segments_info"]}) > 1
        assert torch.equal(pair["panoptic_seg"][0], sample["panoptic_seg"])
        assert pair["panoptic_seg"][1] == sample["segments_info"]
        assert "segments_info" not in pair
    assert foreign > 0


def inside_rotated(box, height, width):
    """(H, W): pixels whose centre lies in a rotated box (cx, cy, w, h, degrees counter-clockwise)."""
    cx, cy, w, h, angle = box
    y, x = np.mgrid[0:height, 0:width] + 0.5
    turn = np.deg2rad(angle)
    along = (x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)
    across = (x - cx) * np.sin(turn) + (y - cy) * np.cos(turn)
    return (np.abs(along) <= w / 2) & (np.abs(across) <= h / 2)


@pytest.mark.skipif(not hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"), reason="needs torchvision 0.23")
def test_rotated_boxes(structures):
    sizes = [(60, 90), (80, 64), (60, 90), (70, 110), (66, 80)]
    rng = np.random.default_rng(2)
    batch, rows = [], []
    for number, (height, width) in enumerate(sizes):
        count = 0 if number < 2 else 6
        centre = rng.uniform([22, 22], [width - 22, height - 22], (count, 2))
        boxes = np.concatenate([centre, rng.uniform(8, 24, (count, 2)), rng.uniform(-180, 180, (count, 1))], axis=1)
        made = structures.Instances((height, width))
        kind = structures.Boxes if number == 0 else structures.RotatedBoxes  # the default mapper's of no annotations
        made.gt_boxes = kind(torch.from_numpy(boxes) if count else torch.zeros(0))
        made.gt_classes = torch.arange(count)
        rows.append(made.gt_boxes.tensor)
        batch.append({"image": coded_image(number, height, width, torch.uint8), "instances": made})
    cut = 0
    for seed in range(4):
        for sample in mix_batch(batch, cd.CutMix(p=0.8, min_visibility=0.2), generator=seeded(seed)):
            prov = decode(sample["image"], tuple(sample["image"].shape[1:]), sizes)
            made = sample["instances"]
            assert type(made.gt_boxes) is structures.RotatedBoxes
            assert made.gt_boxes.tensor.dtype == torch.float32
            for box, label, share, (image, index) in zip(
                made.gt_boxes.tensor, made.gt_classes, made.gt_visibility, made.gt_origin.tolist()
            ):
                assert torch.equal(box, rows[image][index])  # "keep": the whole object's box, to the last bit
                assert label == index
                body = inside_rotated(box.double().numpy(), *sizes[image])
                shown = np.zeros_like(body)
                here = prov.source == image
                shown[prov.y[here], prov.x[here]] = True
                assert abs((body & shown).sum() / body.sum() - float(share)) < 0.1
                cut += float(share) < 1
    assert cut > 10


# ---------------------------------------------------------------------------------------------------------------------
# forms


def same(a, b):
    """Whether two values of samples are equal to the last bit, of one type."""
    if hasattr(a, "get_fields"):
        return a.image_size == b.image_size and same(a.get_fields(), b.get_fields())
    if hasattr(a, "polygons"):
        return all(np.array_equal(p, q) for x, y in zip(a.polygons, b.polygons) for p, q in zip(x, y))
    a, b = getattr(a, "tensor", a), getattr(b, "tensor", b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return torch.equal(a, b) and a.dtype == b.dtype if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("masks", ["bitmap", "polygon"])
def test_unmixed_is_untouched_and_of_the_same_form(structures, masks):
    batch, targets = coded_batch(structures, masks=masks)
    mixed = mix_batch(batch, cd.CutMix(p=1.0))
    closed = cd.CutMix(p=1.0)
    closed.close()
    for mix in (cd.CutMix(p=0.0), closed):
        for before, target, out, other in zip(batch, targets, mix_batch(batch, mix), mixed):
            assert list(out) == list(before)
            assert same(
                {k: v for k, v in out.items() if k != "instances"}, {k: before[k] for k in out if k != "instances"}
            )
            made = out["instances"]
            for name, key in {"gt_boxes": "boxes", "gt_masks": "masks", "gt_keypoints": "keypoints"}.items():
                assert torch.equal(made.get(name).tensor, target[key])
            assert torch.equal(made.gt_classes, target["labels"])
            assert made.gt_visibility.tolist() == [1.0] * len(made)
            theirs = other["instances"].get_fields()
            assert list(made.get_fields()) == list(theirs)
            assert all(type(made.get(name)) is type(theirs[name]) for name in theirs)
            assert all(len(value) == len(made) for value in made.get_fields().values())


def test_inputs_stay(structures):
    batch, _ = coded_batch(structures, masks="polygon")
    before = copy.deepcopy(batch)
    mix_batch(batch, cd.CutMix(p=1.0))
    assert same(batch, before)


def test_a_mixed_batch_is_mixed_again(structures):
    batch, _ = coded_batch(structures)
    once = mix_batch(batch, cd.CutMix(p=1.0), generator=seeded(0))
    twice = mix_batch(once, cd.CutMix(p=1.0), generator=seeded(1))
    seen = 0
    for sample in twice:
        made = sample["instances"]
        for share, (image, index) in zip(made.gt_visibility, made.gt_origin.tolist()):
            before = float(once[image]["instances"].gt_visibility[index])
            assert float(share) <= before + 1e-6
            seen += before < 1
    assert seen > 0


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.filterwarnings("ignore:CutMix got a batch of one")
def test_small_and_empty_batches(structures, count):
    batch, _ = coded_batch(structures, sizes=SIZES[:count], empty=range(count))
    for sample in mix_batch(batch, cd.CutMix(p=1.0)):
        assert len(sample["instances"]) == 0
        assert sample["instances"].gt_boxes.tensor.shape == (0, 4)
    for sample in batch:
        sample["instances"].gt_masks = structures.PolygonMasks([])
    for sample, (height, width) in zip(mix_batch(batch, cd.CutMix(p=1.0)), SIZES):
        assert type(sample["instances"].gt_masks) is structures.BitMasks
        assert sample["instances"].gt_masks.tensor.shape == (0, height, width)
    for sample in batch:
        sample["instances"] = structures.Instances(sample["instances"].image_size)
    assert not mix_batch(batch, cd.CutMix(p=1.0))[0]["instances"].get_fields()


def test_fields_that_are_named_follow_their_instance(structures):
    batch, _ = coded_batch(structures)
    for number, sample in enumerate(batch):
        made = sample["instances"]
        made.gt_ids = torch.arange(len(made)) + 10 * number
        made.gt_names = [f"{number}-{row}" for row in range(len(made))]
    mixed = mix_batch(batch, cd.CutMix(p=1.0, instance_keys=("gt_ids", "gt_names")), generator=seeded(2))
    seen = 0
    for sample in mixed:
        made = sample["instances"]
        for number, name, (image, row) in zip(made.gt_ids, made.gt_names, made.gt_origin.tolist()):
            assert number == row + 10 * image
            assert name == f"{image}-{row}"
            seen += 1
    assert seen > 8


def test_mask2formers_mappers(structures):
    """They give plain masks, no boxes (semantic) and a map of the padding."""
    batch, targets = coded_batch(structures, masks="plain", keypoints=False)
    for sample in batch:
        made = sample["instances"]
        masks = made.gt_masks if made.has("gt_masks") else torch.zeros(0, *made.image_size, dtype=torch.bool)
        sample["instances"] = structures.Instances(made.image_size, gt_classes=made.gt_classes, gt_masks=masks)
        sample["padding_mask"] = torch.zeros(made.image_size, dtype=torch.bool)
        sample["padding_mask"][5:9, sample["image_id"] - 98 :] = True
        sample["segments_info"] = [{"id": 1, "category_id": 2, "isthing": True}]
    mix = cd.CutMix(p=1.0, semantic_keys=("padding_mask",), image_keys=("segments_info",))
    for before, sample in zip(batch, mix_batch(batch, mix, generator=seeded(0))):
        prov = decode(sample["image"], tuple(sample["image"].shape[1:]), SIZES)
        padding = expect_semantic(prov, [other["padding_mask"].numpy() for other in batch], 255)
        assert np.array_equal(sample["padding_mask"].numpy(), padding)
        assert sample["segments_info"] == before["segments_info"]
        made = sample["instances"]
        assert type(made.gt_masks) is torch.Tensor
        for mask, (image, row) in zip(made.gt_masks.numpy(), made.gt_origin.tolist()):
            here = prov.source == image
            expected = np.zeros(prov.shape, dtype=bool)
            expected[here] = targets[image]["masks"][row].numpy()[prov.y[here], prov.x[here]]
            assert np.array_equal(mask, expected)


@pytest.mark.parametrize("mix", [cd.Mosaic(), cd.ResizeMix(p=1.0), cd.RICAP(p=1.0)], ids=lambda mix: type(mix).__name__)
def test_scaled_mixes_are_the_cores(structures, mix):
    batch, targets = coded_batch(structures)
    for sample, target in zip(batch, targets):
        target["area"] = target["masks"].flatten(1).sum(1).float()
        target["iscrowd"] = torch.zeros(len(target["labels"]), dtype=torch.int64)
        sample["instances"].gt_area = target["area"]
        sample["instances"].gt_iscrowd = target["iscrowd"]
        target["sem_seg"] = sample["sem_seg"]
    images, wanted = mix([sample["image"] for sample in batch], targets, generator=seeded(5))
    for sample, image, target in zip(mix_batch(batch, mix, generator=seeded(5)), images, wanted):
        assert torch.equal(sample["image"], image)
        assert torch.equal(sample["sem_seg"], target.pop("sem_seg"))
        made = plain(sample["instances"])
        assert made.keys() == target.keys()
        assert all(torch.equal(made[key], target[key]) for key in target)
        assert len(made["area"]) == 0 or (made["area"] > 0).all()


@pytest.mark.filterwarnings("ignore:CutMix got a batch of one")
def test_a_bank_brings_fields_that_the_batch_lacks(structures):
    """One image a batch, the second without objects and so without masks: what is pasted into it has them."""
    batch, _ = coded_batch(structures, masks="polygon")
    del batch[1]["instances"]._fields["gt_boxes"]
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    pasted = 0
    for number, sample in enumerate(batch):
        (mixed,) = mix_batch([sample], mix, generator=seeded(number))
        made = mixed["instances"]
        assert mixed["image_id"] == sample["image_id"]
        assert type(made.gt_boxes) is structures.Boxes
        assert type(made.gt_masks) is structures.BitMasks
        assert type(made.gt_keypoints) is structures.Keypoints
        foreign = mixed["image"][0] != number + 1
        assert (int(foreign.sum()) > 0) == (number > 0)
        for mask, (image, _) in zip(made.gt_masks.tensor, made.gt_origin.tolist()):
            assert bool(mask.any())
            assert bool(foreign[mask].all()) == (image > 0)
            pasted += image > 0
    assert pasted > 0


def test_blends_carry_weights(structures):
    batch, _ = coded_batch(structures, sem_seg=False)
    mix = cd.RandomMix([cd.MixUp(p=1.0), cd.CutMix(p=1.0)])
    seen = set()
    for seed in range(8):
        for sample in mix_batch(batch, mix, generator=seeded(seed)):
            weights = sample["instances"].gt_weight
            assert len(weights) == len(sample["instances"])
            seen |= {bool((weights < 1).any())} if len(weights) else set()
    assert seen == {False, True}


def test_the_report(structures):
    batch, _ = coded_batch(structures)
    mixed, report = mix_batch(batch, cd.CutMix(p=1.0), generator=seeded(0), return_report=True)
    kept = [row for row in report.rows() if row["outcome"] in ("kept", "shrunk")]
    assert len(kept) == sum(len(sample["instances"]) for sample in mixed)


def test_a_device_gets_what_is_mixed(structures):
    batch, _ = coded_batch(structures, masks="polygon")
    sent = []

    class Watched(structures.Instances):
        def to(self, *args, **kwargs):
            sent.append(args)
            return structures.Instances(self.image_size, **self.get_fields())

    for sample in batch:
        made = sample["instances"]
        sample["instances"] = Watched(made.image_size, **made.get_fields())
    mixed = mix_batch(batch, cd.CutMix(p=1.0), generator=seeded(0), device="cpu")
    assert sent == [(torch.device("cpu"),)] * len(batch)
    assert same(mixed, mix_batch(batch, cd.CutMix(p=1.0), generator=seeded(0)))


def test_a_panoptic_map_with_its_segments_goes_to_the_device(structures):
    sent = []

    class Watched(torch.Tensor):
        def to(self, *args, **kwargs):
            sent.append(args)
            return self.as_subclass(torch.Tensor)

    infos = [{"id": 1, "category_id": 3, "isthing": False}]
    batch = [
        {
            "image": torch.full((3, 20, 30), number, dtype=torch.uint8),
            "panoptic_seg": (torch.ones(20, 30, dtype=torch.int32).as_subclass(Watched), infos),
        }
        for number in range(2)
    ]
    mixed = mix_batch(batch, cd.CutMix(p=1.0), generator=seeded(0), device="cpu")
    assert sent == [(torch.device("cpu"),)] * 2
    assert all(type(sample["panoptic_seg"]) is tuple for sample in mixed)
    assert [type(sample["panoptic_seg"][0]) for sample in mixed] == [torch.Tensor] * 2


# ---------------------------------------------------------------------------------------------------------------------
# refusals


def with_field(name, value):
    def change(batch, structures):
        for sample in batch:
            made = sample["instances"]
            made.set(name, value(len(made), structures))

    return change


def with_entry(name, value):
    def change(batch, structures):
        for sample in batch:
            sample[name] = value(structures)

    return change


def drop_instances(batch, structures):
    del batch[2]["instances"]


def another_size(batch, structures):
    batch[0]["image"] = batch[0]["image"][:, :-2]


def no_instances(batch, structures):
    batch[0]["instances"] = {"gt_boxes": torch.zeros(0, 4)}


REFUSED = [
    (with_entry("proposals", lambda s: s.Instances((3, 4))), ValueError, "proposals.*precomputed"),
    (with_entry("annotations", lambda s: [{"bbox": [0, 0, 1, 1]}]), ValueError, "annotations.*mapper"),
    (with_entry("segments_info", lambda s: [{"id": 1}]), ValueError, "segments_info.*panoptic_seg.*image_keys"),
    (with_entry("panoptic_seg", lambda s: torch.zeros(3, 4).long()), ValueError, "panoptic_seg.*segments_info"),
    (with_entry("depth", lambda s: torch.zeros(3, 4)), ValueError, "depth.*semantic_keys.*image_keys"),
    (with_field("gt_ids", lambda n, s: torch.arange(n)), ValueError, "gt_ids.*instance_keys"),
    (with_field("gt_point_coords", lambda n, s: torch.zeros(n, 5, 2)), ValueError, "gt_point_coords.*places"),
    (with_field("proposal_boxes", lambda n, s: s.Boxes(torch.zeros(n, 4))), ValueError, "proposal_boxes.*places"),
    (with_field("labels", lambda n, s: torch.zeros(n)), ValueError, "'labels'.*gt_labels"),
    (with_field("gt_other", lambda n, s: s.Boxes(torch.zeros(n, 4))), ValueError, "gt_other.*a Boxes"),
    (with_field("gt_masks", lambda n, s: s.BitMasks(torch.zeros(n, 9, 9))), ValueError, "masks.*size"),
    (drop_instances, ValueError, r"'instances' must be in every sample or in none, 4 of 5.*batch\[2\]"),
    (another_size, ValueError, r"are of an image of \(34, 52\).*\(32, 52\)"),
    (no_instances, TypeError, "must be Instances, got dict"),
]


@pytest.mark.parametrize(("change", "kind", "message"), REFUSED, ids=[message[:20] for _, _, message in REFUSED])
def test_what_cannot_be_mixed_is_refused_by_name(structures, change, kind, message):
    batch, _ = coded_batch(structures, empty=())
    change(batch, structures)
    for p in (1.0, 0.0):
        with pytest.raises(kind, match=message):
            mix_batch(batch, cd.CutMix(p=p, instance_keys=("gt_other",)))


def only_one_has(name, value):
    def change(batch, structures):
        made = batch[0]["instances"]
        made.set(name, value(len(made), structures))

    return change


def box_of(*corners):
    def change(batch, structures):
        for sample in batch:
            made = sample["instances"]
            made.set("gt_boxes", structures.Boxes(torch.tensor([corners] * len(made)).reshape(-1, 4)))

    return change


WORDED = [
    (only_one_has("gt_iscrowd", lambda n, s: torch.zeros(n).long()), r"batch\[\d\]\['instances'\] has .*'gt_iscrowd'"),
    (only_one_has("gt_keypoints", lambda n, s: s.Keypoints(torch.ones(n, 5, 3))), "but no 'gt_keypoints', which other"),
    (with_field("gt_iscrowd", lambda n, s: torch.zeros(n, 2)), r"batch\[0\]\['instances'\].gt_iscrowd must have 1 dim"),
    (with_field("gt_area", lambda n, s: ["a"] * n), r"batch\[0\]\['instances'\].gt_area must be a tensor"),
    (with_entry("sem_seg", lambda s: torch.zeros(34, 52)), r"batch\[0\]\['sem_seg'\].*torch.float32: .*\.long\(\)"),
    (with_entry("sem_seg", lambda s: np.zeros((34, 52), int)), r"batch\[0\]\['sem_seg'\].*ndarray: torch.as_tensor"),
    (with_entry("further", lambda s: torch.zeros(34, 52)), r"batch\[0\]\['further'\] must hold class ids"),
    (with_entry("sem_seg", lambda s: torch.zeros(9, 9).long()), r"batch\[0\]\['sem_seg'\] must have its image's size"),
    (box_of(1.0, 2.0, float("nan"), 9.0), r"batch\[0\]\['instances'\].gt_boxes\[0\] must be finite"),
    (box_of(0.1, 0.1, 0.5, 0.6), "normalised xyxy or xywh; give them as BoxMode.XYXY_ABS in the mapper$"),
]


@pytest.mark.parametrize(("change", "message"), WORDED, ids=[message[-20:] for _, message in WORDED])
def test_the_core_speaks_of_the_batch_and_its_fields(structures, change, message):
    batch, _ = coded_batch(structures, keypoints=False, masks=None, empty=())
    change(batch, structures)
    with pytest.raises((TypeError, ValueError), match=message) as refused:
        mix_batch(batch, cd.CutMix(p=1.0, semantic_keys=("further",)))
    assert not re.search(r"targets|box_format|'(iscrowd|keypoints|boxes|masks)'", str(refused.value))


def test_warnings_and_needs_of_methods_speak_of_the_batch(structures, monkeypatch):
    monkeypatch.setattr(broken, "_warned", False)  # broken boxes are warned of once
    batch, _ = coded_batch(structures, keypoints=False, masks=None, empty=())
    batch[0]["instances"].gt_boxes.tensor[0] = torch.tensor([900.0, 900, 950, 950])
    with pytest.warns(MixWarning, match=r"batch\[0\]\['instances'\].gt_boxes\[0\]"):
        mix_batch(batch, cd.CutMix(p=1.0))
    with pytest.raises(ValueError, match="samples must hold one, as 'sem_seg'"):
        mix_batch([{"image": sample["image"]} for sample in batch], cd.ClassMix(p=1.0))


@pytest.mark.parametrize(
    ("mix", "kind", "message"),
    [
        (cd.CutMix(on_filtered="ignore"), ValueError, "on_filtered must be 'drop'"),
        (cd.RandomMix([cd.CutMix(), cd.Mosaic(on_filtered="crowd")]), ValueError, "Mosaic: on_filtered"),
        (cd.CutMix(box_format="cxcywh"), ValueError, "box_format must be 'xyxy'"),
        (cd.CutMix(normalized=True), ValueError, "normalized False"),
        (cd.CutMix(layout="BCDHW"), ValueError, "layout must be 'BCHW'"),
        (torch.nn.Identity(), TypeError, "mixing transform, got Identity"),
        (cd.MixUp(), ValueError, "sem_seg hold one class per pixel"),
    ],
)
def test_settings_without_a_meaning_here(mix, kind, message):
    batch, _ = coded_batch(DOUBLE)
    with pytest.raises(kind, match=message):
        mix_batch(batch, mix)
    if "sem_seg" not in message:
        with pytest.raises(kind, match=message):
            MixedLoader([batch], mix)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ([], "list of dicts"),
        ({"image": torch.zeros(3, 4, 5)}, "list of dicts.*dict"),
        ([torch.zeros(3, 4, 5)], "list of dicts, got tensor of shape"),
        ([{"image": [torch.zeros(3, 4, 5)]}], r"\(C, H, W\).*frames of a clip"),
        ([{"instances": None}], r"batch\[0\]\['image'\].*NoneType"),
    ],
)
def test_batches_of_other_forms(batch, message):
    with pytest.raises(TypeError, match=message):
        mix_batch(batch, cd.CutMix())


# ---------------------------------------------------------------------------------------------------------------------
# loaders


class Loader:
    """What a loader of Detectron2 is to its trainers: an iterable that never ends, with attributes."""

    def __init__(self, batch):
        self.batch = batch
        self.dataset = "the dataset"

    def __iter__(self):
        while True:
            yield self.batch


def foreign_share(sample, number):
    """Share of an image's pixels that come from another image than ``number``."""
    return float((sample["image"][0] != number + 1).float().mean())


def test_a_loader_mixes_until_it_is_closed(structures):
    batch, _ = coded_batch(structures)
    loader = MixedLoader(Loader(batch), cd.CutMix(p=1.0))
    assert loader.dataset == "the dataset"
    with pytest.raises(AttributeError):
        _ = loader.nothing
    with pytest.raises(TypeError):
        len(loader)
    batches = iter(loader)
    assert sum(foreign_share(sample, n) for n, sample in enumerate(next(batches))) > 0
    loader.mix.close()
    assert [foreign_share(sample, n) for n, sample in enumerate(next(batches))] == [0.0] * 5
    loader.mix.close(False)
    assert sum(foreign_share(sample, n) for n, sample in enumerate(next(batches))) > 0


@pytest.mark.filterwarnings("ignore:CutMix got a batch of one")
def test_a_loader_has_its_length_and_is_copied(structures):
    batch, _ = coded_batch(structures, instances=False)
    loader = MixedLoader(DataLoader(batch, batch_size=2, collate_fn=list), cd.CutMix(p=1.0))
    assert len(loader) == 3
    assert loader.batch_size == 2
    assert [len(part) for part in loader] == [len(part) for part in loader] == [2, 2, 1]
    for other in (copy.deepcopy(loader), copy.copy(loader)):
        assert len(other) == 3
    assert len(pickle.loads(pickle.dumps(MixedLoader([batch], cd.CutMix())))) == 1


@pytest.mark.filterwarnings("ignore:CutMix got a batch of one")
@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_as_collate_fn_in_workers_closing_included(method):
    batch, _ = coded_batch(DOUBLE, instances=False, sizes=[(20, 28)] * 4)
    mix = cd.CutMix(p=1.0)
    loader = DataLoader(
        batch,
        batch_size=4,
        collate_fn=partial(mix_batch, mix=mix),
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=method,
    )

    def epoch():
        (mixed,) = list(loader)
        for sample in mixed:
            prov = decode(sample["image"], (20, 28), [(20, 28)] * 4)
            expected = expect_semantic(prov, [other["sem_seg"].numpy() for other in batch], 255)
            assert np.array_equal(sample["sem_seg"].numpy(), expected)
        return sum(foreign_share(sample, n) for n, sample in enumerate(mixed))

    assert epoch() > 0
    mix.close()
    assert epoch() == 0


# ---------------------------------------------------------------------------------------------------------------------
# polygons


def test_polygons_are_drawn_in_their_windows():
    """Bit for bit as on the whole canvas, at its borders and beyond, apart from a pixel on an edge now and then."""
    rng = np.random.default_rng(0)

    def draw(parts, height, width):
        return BitMasks.from_polygon_masks([parts], height, width).tensor[0].numpy()

    assert draw_in_windows([], 4, 5, draw).shape == (0, 4, 5)
    assert not draw_in_windows([[]], 4, 5, draw).any()
    different = pixels = 0
    for case in range(1200):
        height, width = rng.integers(5, 60, 2)
        low = rng.uniform([-4, -4], [width, height]) if case % 3 == 0 else rng.uniform([0, 0], [width / 2, height / 2])
        points = low + rng.uniform(0, 1, (rng.integers(3, 9), 2)) * (width / 2, height / 2)
        points = [points, points.round(), points.round(1), points.clip(0, [width, height])][case % 4]
        parts = [points.reshape(-1)]
        found, wanted = draw_in_windows([parts], height, width, draw)[0], draw(parts, height, width)
        different += int((found != wanted).sum())
        pixels += int(wanted.sum())
    assert different <= 1
    assert pixels > 20000


# ---------------------------------------------------------------------------------------------------------------------
# the real package


@needs_detectron2
def test_the_double_is_faithful():
    """What the adapter does with structures comes out alike, and so do the structures' own ways."""
    real = pytest.importorskip("detectron2.structures")
    for masks in ("bitmap", "polygon", "plain", None):
        for mix in METHODS:
            mixed = [mix_batch(coded_batch(s, masks=masks)[0], mix, generator=seeded(4)) for s in (DOUBLE, real)]
            assert same(*mixed)
    rng = np.random.default_rng(1)
    target = fields_of(0, SIZES[0], 4, rng)
    made = []
    for s in (DOUBLE, real):
        one = s.Instances(SIZES[0], gt_boxes=s.Boxes(target["boxes"].double()))
        one.gt_classes = target["labels"]
        one.gt_masks = s.BitMasks(target["masks"].to(torch.uint8))
        one.gt_keypoints = s.Keypoints(target["keypoints"].double())
        one.gt_polygons = s.PolygonMasks(outlines(target["boxes"]))
        one.gt_rotated = s.RotatedBoxes(torch.zeros(4, 5, dtype=torch.float64))
        made.append(one)
        with pytest.raises(AssertionError):
            one.gt_other = torch.zeros(3)
        with pytest.raises(AttributeError):
            _ = one.gt_missing
        with pytest.raises(NotImplementedError):
            len(s.Instances(SIZES[0]))
        for kind, columns in ((s.Boxes, 4), (s.RotatedBoxes, 5)):
            assert kind(torch.zeros(0)).tensor.shape == (0, columns)
            with pytest.raises(AssertionError):
                kind(torch.zeros(2, 3))
        with pytest.raises(AssertionError):
            s.BitMasks(torch.zeros(4, 5))
        with pytest.raises(AssertionError):
            s.Keypoints(torch.zeros(4, 5))
        assert tuple(one.gt_masks.image_size) == SIZES[0]
        assert one.has("gt_masks")
        assert not one.has("gt_other")
    assert same(*made)
    assert same(*(one.to("cpu") for one in made))
    for name, value in made[0].get_fields().items():
        other = made[1].get(name)
        for item in (slice(1, 3), slice(0, 0)):
            assert same(value[item], other[item])
        assert len(value) == len(other) == 4
    parts = outlines(target["boxes"])
    assert same(*(s.BitMasks.from_polygon_masks(parts, *SIZES[0]) for s in (DOUBLE, real)))


PAGE = ROOT / "docs" / "stacks" / "detectron2.md"


@pytest.fixture
def page():
    """What the page's snippets define."""
    names = {}
    for number, snippet in enumerate(blocks(PAGE, "python")):
        run(snippet, PAGE, number, names)
    return names


@pytest.fixture
def data_set(tmp_path):
    """Coded pictures on disk, registered as a data set of Detectron2; their annotations as plain tensors."""
    catalogs = pytest.importorskip("detectron2.data")
    rng = np.random.default_rng(7)
    dicts, targets = [], []
    for number, (height, width) in enumerate([(64, 96), (64, 96), (72, 100), (96, 64), (96, 70), (64, 96)]):
        target = fields_of(number, (height, width), 3, rng)
        target["masks"] = BitMasks.from_polygon_masks(outlines(target["boxes"]), height, width).tensor
        target["sem_seg"] = torch.from_numpy(rng.integers(0, CLASSES, (height, width)))
        image = coded_image(number, height, width, torch.uint8).numpy().transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(tmp_path / f"{number}.png")  # read as BGR
        Image.fromarray(target["sem_seg"].numpy().astype(np.uint8)).save(tmp_path / f"{number}-map.png")
        annotations = [
            {
                "bbox": box.tolist(),
                "bbox_mode": 0,  # BoxMode.XYXY_ABS
                "category_id": int(label),
                "segmentation": [part.tolist() for part in parts],
                "keypoints": points.reshape(-1).tolist(),
            }
            for box, label, parts, points in zip(
                target["boxes"], target["labels"], outlines(target["boxes"]), target["keypoints"]
            )
        ]
        dicts.append(
            {
                "file_name": str(tmp_path / f"{number}.png"),
                "sem_seg_file_name": str(tmp_path / f"{number}-map.png"),
                "image_id": number,
                "height": height,
                "width": width,
                "annotations": annotations,
            }
        )
        targets.append(target)
    catalogs.DatasetCatalog.register("coded", lambda: copy.deepcopy(dicts))
    catalogs.MetadataCatalog.get("coded").set(
        thing_classes=[str(n) for n in range(CLASSES)],
        keypoint_names=["a", "b", "c"],
        keypoint_flip_map=[],
        keypoint_connection_rules=[],
    )
    yield targets
    catalogs.DatasetCatalog.remove("coded")
    catalogs.MetadataCatalog.remove("coded")


def small_config(folder, architecture, **parts):
    """A config whose model is small and whose mapper leaves pixels as they are."""
    config = pytest.importorskip("detectron2.config").get_cfg()
    fpn = {
        "MODEL.DEVICE": "cpu",
        "MODEL.WEIGHTS": "",
        "MODEL.META_ARCHITECTURE": architecture,
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
        "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"],
        "MODEL.FPN.OUT_CHANNELS": 16,
        "MODEL.ANCHOR_GENERATOR.SIZES": [[8], [16], [32], [64], [128]],
        "MODEL.RPN.IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "MODEL.ROI_HEADS.NUM_CLASSES": CLASSES,
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
        "MODEL.ROI_MASK_HEAD.NAME": "MaskRCNNConvUpsampleHead",
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
        "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 3,
        "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [8],
        "MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE": 0,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": CLASSES,
        "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
        "MODEL.RETINANET.NUM_CLASSES": CLASSES,
        "INPUT.MIN_SIZE_TRAIN": (0,),  # no resizing
        "INPUT.RANDOM_FLIP": "none",
        "DATASETS.TRAIN": ("coded",),
        "DATASETS.TEST": (),
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 10,
        "SOLVER.STEPS": (),
        "SOLVER.BASE_LR": 1e-5,
        "SEED": 3,
        "OUTPUT_DIR": str(folder),
    }
    config.merge_from_list([item for pair in {**fpn, **parts}.items() for item in pair])
    return config


RETINANET = {
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
}


def hold(batch, data_set):
    """Hold a mixed batch against the pictures that its pixels say they come from; returns the foreign pixels."""
    sizes = [tuple(target["masks"].shape[1:]) for target in data_set]
    numbers = [sample["image_id"] for sample in batch]
    assert len(set(numbers)) == len(batch), "one picture twice in a batch: choose another seed of the sampler"
    foreign = 0
    for sample in batch:
        prov = decode(sample["image"], tuple(sample["image"].shape[1:]), sizes)
        foreign += int((prov.source != sample["image_id"]).sum())
        if "sem_seg" in sample:
            expected = expect_semantic(prov, [target["sem_seg"].numpy() for target in data_set], 255)
            assert np.array_equal(sample["sem_seg"].numpy(), expected)
        if "instances" not in sample:
            continue
        made = sample["instances"]
        assert tuple(made.image_size) == prov.shape
        for row, (image, index) in enumerate(made.gt_origin.tolist()):
            target = data_set[numbers[image]]
            here = prov.source == numbers[image]
            mask = np.zeros(prov.shape, dtype=bool)
            mask[here] = target["masks"][index].numpy()[prov.y[here], prov.x[here]]
            assert made.gt_classes[row] == target["labels"][index]
            if made.has("gt_masks"):
                assert np.array_equal(made.gt_masks.tensor[row].numpy(), mask)
            if float(made.gt_visibility[row]) < 1:
                y, x = mask.nonzero()
                tight = [x.min(), y.min(), x.max() + 1, y.max() + 1]
                inside = made.gt_boxes.tensor[row].tolist()
                assert inside == tight or not made.has("gt_masks")
                assert tight[0] >= inside[0]
                assert tight[3] <= inside[3]
            else:
                assert torch.equal(made.gt_boxes.tensor[row], target["boxes"][index])
            if made.has("gt_keypoints"):
                for point, was in zip(made.gt_keypoints.tensor[row].tolist(), target["keypoints"][index].tolist()):
                    shows = was[2] > 0 and here[int(was[1]), int(was[0])]
                    assert point == (was if shows else [0, 0, 0])
    return foreign


MODELS = {
    "retinanet": ("RetinaNet", RETINANET),
    "masks": ("GeneralizedRCNN", {"MODEL.MASK_ON": True}),
    "bitmasks": ("GeneralizedRCNN", {"MODEL.MASK_ON": True, "INPUT.MASK_FORMAT": "bitmask"}),
    "keypoints": ("GeneralizedRCNN", {"MODEL.KEYPOINT_ON": True}),
    "panoptic": ("PanopticFPN", {"MODEL.MASK_ON": True}),
    "semantic": ("SemanticSegmentor", {}),
}


@needs_detectron2
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", MODELS)
def test_the_pages_trainer(model, page, data_set, tmp_path):
    """It trains on mixed batches, and on whole pictures for the last tenth."""
    page["mix"].p = 1.0
    trainer = page["Trainer"](small_config(tmp_path / "out", MODELS[model][0], **MODELS[model][1]))
    assert isinstance(trainer.data_loader, MixedLoader)
    seen = []
    trainer.model.register_forward_pre_hook(lambda module, inputs: seen.append(hold(inputs[0], data_set)))
    trainer.train()
    assert len(seen) == 10
    assert min(seen[:9]) > 0
    assert seen[9] == 0
    losses = trainer.storage.histories()["total_loss"].values()
    assert len(losses) > 0
    assert all(np.isfinite(value) for value, _ in losses)


@needs_detectron2
@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_pages_loader_mixes_where_it_collates(grouped, workers, page, data_set, tmp_path):
    page["build_detection_train_loader"] = partial(
        page["build_detection_train_loader"], aspect_ratio_grouping=grouped, num_workers=workers
    )
    page["mix"].p = 1.0
    loader = page["build_mixed_loader"](small_config(tmp_path, "GeneralizedRCNN", **MODELS["masks"][1]))
    batches = iter(loader)
    assert min(hold(next(batches), data_set) for _ in range(4)) > 0
    page["mix"].close()
    ahead = 8 * workers
    assert [hold(next(batches), data_set) for _ in range(ahead + 2)][-2:] == [0, 0]


@needs_detectron2
def test_a_lazy_config(page, data_set, tmp_path):
    from detectron2.config import LazyConfig
    from detectron2.data import DatasetMapper, build_detection_train_loader, get_detection_dataset_dicts
    from detectron2.data.samplers import TrainingSampler
    from detectron2.engine import SimpleTrainer
    from omegaconf import OmegaConf

    lazy = page["L"]
    config = OmegaConf.create()
    config.dataloader = OmegaConf.create()
    config.dataloader.train = lazy(build_detection_train_loader)(
        dataset=lazy(get_detection_dataset_dicts)(names="coded"),
        mapper=lazy(DatasetMapper)(is_train=True, augmentations=[], image_format="BGR", use_instance_mask=True),
        sampler=lazy(TrainingSampler)(size=6, seed=3),
        total_batch_size=2,
        num_workers=0,
    )
    config.mix = lazy(cd.RandomMix)(transforms=[lazy(cd.CutMix)(p=0.5), lazy(cd.GridMix)(p=0.5)], weights=[1.0, 2.0])
    config = LazyConfig.apply_overrides(config, ["mix.transforms.0.p=1.0", "mix.transforms.1.p=1.0"])
    LazyConfig.save(config, str(tmp_path / "config.yaml"))
    loader, close = page["build_lazily"](config)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))
            self.seen = []

        def forward(self, batch):
            self.seen.append(hold(batch, data_set))
            return {"loss": self.weight**2}

    model = Model()
    trainer = SimpleTrainer(model, loader, torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.register_hooks([close])
    trainer.train(0, 10)
    assert min(model.seen[:9]) > 0
    assert model.seen[9] == 0


def test_the_pages_semantic_batch():
    """The block that needs no Detectron2."""
    names = {}
    (snippet,) = (block for block in blocks(PAGE, "python") if "segments =" in block)
    run(snippet, PAGE, 0, names)
    changed = 0
    for before, after in zip(names["segments"], names["mixed_segments"]):
        assert torch.equal(after["image"][0] // 64, after["sem_seg"])
        changed += int((before["image"] != after["image"]).sum())
    assert changed > 1000
