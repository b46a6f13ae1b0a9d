"""torchvision's references as they use a mix: their ways to collate, to move a batch and to train, on coded pixels."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
import torchvision
from oracle import (
    Settings,
    coded_image,
    compare_instances,
    decode,
    expect_instances,
    expect_semantic,
    stated_layers,
)
from PIL import Image
from snippets import ROOT, blocks, run
from torch.utils.data import DataLoader, default_collate
from torchvision import datasets, tv_tensors
from torchvision.transforms import v2

import cutmix_dense as cd

SIZES = [(40, 60), (40, 60), (48, 44), (40, 60), (36, 70)]
CLASSES = 5
PAGE = ROOT / "docs" / "stacks" / "torchvision.md"


def collate_fn(batch):
    """What ``references/detection/utils.py`` gives: a tuple of images and one of targets."""
    return tuple(zip(*batch))


def to_device(images, targets, device="cpu"):
    """What the detection reference does with a batch before the model gets it."""
    images = [image.to(device) for image in images]
    return images, [{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in t.items()} for t in targets]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def coded_samples(sizes=SIZES, empty=(1,), keypoints=True):
    """(image, target) as the references' data sets give them: floats, int64 labels, uint8 masks."""
    rng = np.random.default_rng(4)
    samples = []
    for number, (height, width) in enumerate(sizes):
        n = 0 if number in empty else 3
        low = np.stack([rng.integers(0, width - 14, n), rng.integers(0, height - 14, n)], axis=1)
        boxes = np.concatenate([low, low + rng.integers(6, 14, (n, 2))], axis=1)
        masks = np.zeros((n, height, width), dtype=np.uint8)
        points = np.zeros((n, 3, 3), dtype=np.float32)
        for row, (x0, y0, x1, y1) in enumerate(boxes):
            masks[row, y0:y1, x0:x1] = 1
            masks[row, y0, x1 - 1] = 0
            points[row] = [[x0 + 0.5, y0 + 1.5, 1], [x1 - 1.5, y1 - 0.5, 1], [0, 0, 0]]
        target = {
            "boxes": torch.from_numpy(boxes).float().reshape(-1, 4),
            "labels": torch.from_numpy(rng.integers(1, CLASSES, n)),
            "masks": torch.from_numpy(masks),
            "image_id": torch.tensor([number]),
            "area": torch.from_numpy(masks.sum(axis=(1, 2)).astype(np.float32)),
            "iscrowd": torch.zeros(n, dtype=torch.int64),
        }
        if keypoints:
            target["keypoints"] = torch.from_numpy(points)
        samples.append((coded_image(number, height, width), target))
    return samples


def check(samples, mixed, plan):
    """Hold a mixed batch against what its pixels prove; returns the foreign pixels."""
    images, targets = zip(*samples)
    sizes = [tuple(image.shape[1:]) for image in images]
    foreign = 0
    for output, (image, target) in enumerate(zip(*mixed)):
        size = tuple(image.shape[1:])
        layers, prov = stated_layers(plan, output), decode(image, size, sizes)
        records = expect_instances(prov, layers, targets, sizes, Settings(), dyadic=True)
        near = compare_instances(target, records, targets, Settings(), base=output, canvas=size, keys=set(targets[0]))
        assert near <= 1  # so close to a threshold that the oracle doesn't judge it
        foreign += int((prov.source != output).sum())
    return foreign


def parted(batch):
    """Foreign pixels of a batch whose images' numbers are its order, and that of unmixed ones."""
    return [int((image[0] != number + 1).sum()) for number, image in enumerate(batch[0])]


# ---------------------------------------------------------------------------------------------------------------------
# detection


@pytest.mark.parametrize(
    "mix", [cd.CutMix(p=0.9), cd.GridMix(p=1.0), cd.StripeMix(p=1.0)], ids=lambda m: type(m).__name__
)
@pytest.mark.parametrize("sizes", [SIZES, [(40, 60)] * 4], ids=["sizes", "one size"])
def test_all_ways_to_collate_give_the_same_mix(sizes, mix):
    samples = coded_samples(sizes)
    before = copy.deepcopy(samples)
    foreign = 0
    for seed in range(3):
        after_collate = mix(*collate_fn(samples), generator=seeded(seed))
        as_collate = mix(samples, generator=seeded(seed))
        on_device = mix(*to_device(*collate_fn(samples)), generator=seeded(seed))
        plan = mix.make_plan(*map(list, collate_fn(samples)), generator=seeded(seed))
        for mixed in (after_collate, as_collate, on_device):
            foreign += check(samples, mixed, plan)
        assert isinstance(as_collate[0], torch.Tensor) == (len(set(sizes)) == 1)
    assert foreign > 1000
    for (image, target), (was, old) in zip(samples, before):
        assert torch.equal(image, was)
        assert all(torch.equal(target[key], old[key]) for key in old)


@pytest.mark.filterwarnings("ignore:CutMix got a batch of one")
@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_in_workers_until_it_is_closed(method):
    samples = coded_samples()
    mix = cd.CutMix(p=1.0)
    loader = DataLoader(
        samples,
        batch_size=5,
        num_workers=1,
        persistent_workers=True,
        collate_fn=mix,
        multiprocessing_context=method,
    )
    keys = []
    for closed in (False, True, False):
        mix.close(closed)
        (batch,) = list(loader)
        images, targets = batch
        assert (sum(parted(batch)) == 0) == closed
        keys += [tuple(target) for target in targets]
        for image, target in zip(images, targets):
            for mask, (source, index) in zip(target["masks"], target["origin"].tolist()):
                here = image[0] == source + 1
                was = samples[source][1]["masks"][index]
                y, x = image[2].long(), image[1].long()
                inside = (y < was.shape[0]) & (x < was.shape[1]) & here
                expected = torch.zeros_like(mask)
                expected[inside] = was[y[inside], x[inside]]
                assert torch.equal(mask, expected)
    assert len(set(keys)) == 1


def test_a_mix_can_be_sent_to_workers_and_a_lambda_round_it_cannot():
    mix = cd.RandomMix([cd.CutMix(p=1.0), cd.Mosaic()])
    assert repr(pickle.loads(pickle.dumps(mix))) == repr(mix)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(lambda batch: mix(batch))


@pytest.fixture
def coco(tmp_path):
    """The coded samples in COCO's layout: outlines instead of masks, the second picture without annotations."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (extra: data)")
    samples = coded_samples()
    content = {"images": [], "annotations": [], "categories": [{"id": n, "name": str(n)} for n in range(1, CLASSES)]}
    for number, (image, target) in enumerate(samples):
        height, width = image.shape[1:]
        Image.fromarray(image.byte().permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png", "height": height, "width": width})
        for row, (x0, y0, x1, y1) in enumerate(target["boxes"].tolist()):
            content["annotations"].append(
                {
                    "id": 10 * number + row + 1,
                    "image_id": number,
                    "category_id": int(target["labels"][row]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                }
            )
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path


def wrapped(folder, keys=("boxes", "labels", "masks", "image_id")):
    steps = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)])
    dataset = datasets.CocoDetection(str(folder), str(folder / "instances.json"), transforms=steps)
    return datasets.wrap_dataset_for_transforms_v2(dataset, target_keys=list(keys))


def test_a_wrapped_coco_data_set(coco):
    dataset = wrapped(coco)
    assert set(dataset[1][1]) == {"image_id"}  # torchvision's own; its detectors refuse it
    mix = cd.CutMix(p=1.0)
    samples = [(image, target) for image, target in dataset]
    plan = mix.make_plan([image for image, _ in samples], [target for _, target in samples], generator=seeded(0))
    images, targets = mix(samples, generator=seeded(0))
    plain = [
        {k: v if k == "image_id" else v.as_subclass(torch.Tensor) for k, v in target.items()} for _, target in samples
    ]
    full = set(plain[0])
    sizes = [tuple(image.shape[1:]) for image, _ in samples]
    foreign = 0
    for output, (image, target) in enumerate(zip(images, targets)):
        assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
        assert isinstance(target["masks"], tv_tensors.Mask)
        assert target["image_id"] == output
        size = tuple(image.shape[1:])
        assert target["boxes"].canvas_size == size
        prov = decode(image.as_subclass(torch.Tensor), size, sizes)
        records = expect_instances(prov, stated_layers(plan, output), plain, sizes, Settings(), dyadic=True)
        compare_instances(target, records, plain, Settings(), base=output, canvas=size, keys=full)
        foreign += int((prov.source != output).sum())
    assert foreign > 500


def test_raw_annotations_are_refused_with_the_remedy(coco):
    dataset = datasets.CocoDetection(str(coco), str(coco / "instances.json"), transform=v2.ToImage())
    with pytest.raises(TypeError, match="wrap_dataset_for_transforms_v2"):
        cd.CutMix(p=1.0)([dataset[0], dataset[2]])


def test_areas_of_boxes_that_were_dropped_are_refused():
    """The references' ConvertCocoPolysToMask keeps area and iscrowd of boxes without area, which it drops."""
    samples = coded_samples()
    for _, target in samples:
        target["area"] = torch.cat([target["area"], torch.zeros(1)])
    with pytest.raises(ValueError, match=r"\['area'\] must have one row per instance \(3\)"):
        cd.CutMix(p=0.0)(samples)


BUILDERS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": {},
    "ssdlite320_mobilenet_v3_large": {},
    "retinanet_resnet50_fpn": {},
    "maskrcnn_resnet50_fpn": {},
    "keypointrcnn_resnet50_fpn": {"num_keypoints": 3},
}


@pytest.mark.parametrize("name", BUILDERS)
def test_torchvisions_detectors_train_on_what_comes_out(name):
    """One step: every key that the mix adds goes through the engine's loop and the model."""
    sizes = [(64, 96), (72, 80), (64, 96)]
    samples = [(image / 255, target) for image, target in coded_samples(sizes)]
    if name.startswith("keypoint"):
        for _, target in samples:
            target["labels"].fill_(1)
    classes = 2 if name.startswith("keypoint") else CLASSES
    options = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 96}
    model = getattr(torchvision.models.detection, name)(
        weights=None, weights_backbone=None, num_classes=classes, **options, **BUILDERS[name]
    )
    mix = cd.CutMix(p=1.0)
    images, targets = to_device(*mix(samples, generator=seeded(1)))
    assert any(not torch.equal(image, was) for image, (was, _) in zip(images, samples))
    assert all(isinstance(value, torch.Tensor) for target in targets for value in target.values())  # older engines
    losses = model.train()(images, targets)
    loss = sum(losses.values())
    loss.backward()
    assert torch.isfinite(loss)
    assert "loss_mask" in losses or not name.startswith("mask")
    assert "loss_keypoint" in losses or not name.startswith("keypoint")
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


def test_evaluation_is_left_alone(coco):
    """After an epoch of mixing, the truth still scores 1 against the data set's own annotations, as it did before."""
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    dataset = wrapped(coco)
    memory = [(image, target) for image, target in dataset]

    def precision():
        results = []
        for _, targets in DataLoader(memory, batch_size=1, collate_fn=collate_fn):
            (target,) = targets
            for (x0, y0, x1, y1), label in zip(
                target.get("boxes", torch.zeros(0, 4)).tolist(), target.get("labels", ())
            ):
                box = [x0, y0, x1 - x0, y1 - y0]
                results.append(
                    {"image_id": int(target["image_id"]), "category_id": int(label), "bbox": box, "score": 1.0}
                )
        judge = evaluation.COCOeval(dataset.coco, dataset.coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        return judge.stats[0]

    assert precision() == pytest.approx(1.0)
    changed = sum(
        sum(parted(batch)) for batch in [next(iter(DataLoader(memory, batch_size=5, collate_fn=cd.CutMix())))]
    )
    assert changed > 0
    assert precision() == pytest.approx(1.0)


# ---------------------------------------------------------------------------------------------------------------------
# segmentation and classification


def coded_maps(sizes):
    rng = np.random.default_rng(6)
    samples = []
    for number, (height, width) in enumerate(sizes):
        labels = torch.from_numpy(rng.integers(0, CLASSES, (height, width)))
        labels[:4] = 255
        samples.append((coded_image(number, height, width), labels))
    return samples


def check_maps(samples, images, maps, sizes):
    foreign = 0
    for output, (image, labels) in enumerate(zip(images, maps)):
        prov = decode(image, tuple(image.shape[1:]), sizes)
        expected = expect_semantic(prov, [label.numpy() for _, label in samples], 255)
        assert np.array_equal(labels.numpy(), expected)
        assert labels.dtype == torch.int64
        foreign += int(((prov.source != output) & (prov.source >= 0)).sum())
    return foreign


@pytest.mark.parametrize(
    "mix", [cd.CutMix(p=1.0), cd.ClassMix(p=1.0), cd.CowMix(p=1.0)], ids=lambda m: type(m).__name__
)
def test_samples_of_an_image_and_a_map(mix):
    samples = coded_maps([(40, 60)] * 4)
    images, maps = next(iter(DataLoader(samples, batch_size=4, collate_fn=mix)))
    assert images.shape == (4, 3, 40, 60)
    assert maps.shape == (4, 40, 60)
    assert check_maps(samples, images, maps, [(40, 60)] * 4) > 300
    images, maps = mix(*default_collate(samples))  # where a batch is mixed in the loop
    assert check_maps(samples, images, maps, [(40, 60)] * 4) > 300


def test_pictures_of_several_sizes_are_mixed_before_they_are_padded(page, monkeypatch):
    samples = coded_maps(SIZES)
    collate = page["collate_padded"]
    monkeypatch.setitem(page, "mix_maps", cd.CutMix(p=1.0))  # one that can be decoded
    images, maps = next(iter(DataLoader(samples, batch_size=5, collate_fn=collate)))
    assert images.shape == (5, 3, 48, 70)
    for image, labels, (height, width) in zip(images, maps, SIZES):
        padding = torch.ones(48, 70, dtype=torch.bool)
        padding[:height, :width] = False
        assert not image[:, padding].any()
        assert (labels[padding] == 255).all()
        assert (image[0][~padding] > 0).all()  # no padding was pasted
    assert check_maps(samples, images, maps, SIZES) > 300


def test_class_labels_count_pixels():
    samples = [(coded_image(number, 40, 60), number) for number in range(4)]
    either = cd.RandomMix([cd.CutMix(num_classes=10), cd.GridMix(num_classes=10)])
    foreign = 0
    for batch in (either(samples), either(*default_collate(samples))):
        images, probabilities = batch
        assert probabilities.shape == (4, 10)
        for image, row in zip(images, probabilities):
            shares = torch.bincount(image[0].long().flatten() - 1, minlength=10) / image[0].numel()
            torch.testing.assert_close(row, shares, atol=1e-6, rtol=0)
        foreign += sum(parted(batch))
    assert foreign > 0


# ---------------------------------------------------------------------------------------------------------------------
# the page


@pytest.fixture(scope="module")
def page():
    """What the page's snippets define."""
    names = {}
    for number, snippet in enumerate(blocks(PAGE, "python")):
        torch.manual_seed(number)
        run(snippet, PAGE, number, names)
    return names


def test_the_pages_snippets_mix(page):
    assert torch.isfinite(page["losses"])
    assert page["mix"].closed
    dataset = page["dataset"]
    originals = [image for image, _ in dataset]

    def foreign(images):
        return sum(not torch.equal(image.as_subclass(torch.Tensor), was) for image, was in zip(images, originals))

    page["mix"].close(False)
    page["mix"].p = 1.0  # in this process
    assert foreign(page["mix"](list(dataset))[0]) == 4
    found = [foreign(images) for _ in range(4) for images, _ in page["data_loader"]]  # p = 0.5 in the workers
    assert 0 < sum(found) < 16
    page["mix"].close()
    assert [foreign(images) for images, _ in page["data_loader"]] == [0]
    assert foreign(page["images"]) > 0  # behind the mix on the device
    for target in page["targets"]:
        assert set(target) == {"boxes", "labels", "masks", "image_id", "visibility", "origin"}
    assert not torch.equal(page["image"], page["pictures"])
    assert page["probabilities"].shape == (4, 10)
    torch.testing.assert_close(page["probabilities"].sum(dim=1), torch.ones(4))
    assert (page["probabilities"] > 0).sum() > 4
    maps = page["padded_maps"]
    assert maps.shape == (3, 96, 160)
    filled = maps != 255
    assert torch.equal((4 * page["padded"][:, 0]).long()[filled], maps[filled])  # cut alike
    mixed, labels = page["mix_maps"](page["pictures"], page["maps"])
    assert torch.equal((4 * mixed[:, 0]).long(), labels)
    assert not torch.equal(mixed, page["pictures"])
    assert all(p.grad is not None for p in page["segmentor"].classifier.parameters())


def test_the_page_holds_no_lambda_and_short_blocks():
    found = blocks(PAGE, "python")
    assert len(found) == 7
    for snippet in found:
        assert "lambda" not in snippet
        assert len(snippet.splitlines()) <= 15
