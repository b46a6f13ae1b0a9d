"""People through MMPose's own datasets, transforms, packing and preprocessor, with coded pixels."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip(
    "mmpose", reason="needs MMPose, pip install --no-deps mmpose==1.3.2 xtcocotools json_tricks munkres"
)

import mmpose.codecs
import mmpose.datasets
import mmpose.models
import mmpose.registry
import pycocotools.mask
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmpose.datasets.datasets import CocoDataset
from mmpose.datasets.transforms import bottomup_transforms
from mmpose.structures import PoseDataSample
from PIL import Image
from posed import check_people, placed, posed_samples

import cutmix_dense.mmengine  # noqa: F401  # registers the mixes

MEAN, STD = [8.0, 16.0, 32.0], [2.0, 4.0, 8.0]  # powers of two, so that codes come back exactly
META = ("img_id", "img_shape", "ori_shape", "input_size", "mix_seeds", "id")
ENCODER = {"type": "YOLOXPoseAnnotationProcessor", "input_size": (64, 64)}
TAIL = [
    {"type": "FilterAnnotations", "by_kpt": False, "by_box": True, "keep_empty": False},
    {"type": "GenerateTarget", "encoder": ENCODER},
    {"type": "PackPoseInputs", "meta_keys": META},
]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope("mmpose")


def preprocessor(*augments):
    settings = {"type": "PoseDataPreprocessor", "mean": MEAN, "std": STD, "pad_size_divisor": 32}
    return mmpose.registry.MODELS.build({**settings, "batch_augments": list(augments)})


def packed(samples, *transforms):
    made = [mmpose.registry.TRANSFORMS.build(transform) for transform in (*transforms, *TAIL)]
    rows = []
    for sample in samples:
        results = copy.deepcopy(sample)
        for transform in made:
            results = transform(results)
        rows.append(results)
    return {"inputs": [row["inputs"] for row in rows], "data_samples": [row["data_samples"] for row in rows]}


def people_of(sample):
    """Labels are 10 · image + person − 1, as the processor counts them."""
    labels = sample.gt_instance_labels
    assert np.array_equal(labels.bboxes.numpy(), sample.gt_instances.bboxes)
    assert np.array_equal(labels.keypoints.numpy(), sample.gt_instances.keypoints)
    assert np.array_equal(labels.keypoints_visible.numpy(), sample.gt_instances.keypoints_visible)
    assert isinstance(sample.gt_instances.bboxes, np.ndarray)
    return {
        "bbox": labels.bboxes.numpy(),
        "keypoints": labels.keypoints.numpy(),
        "keypoints_visible": labels.keypoints_visible.numpy(),
        "category_id": labels.labels.numpy().astype(int) + 1,
    }


def image_of(inputs, index, size):
    image = inputs[index, :, : size[0], : size[1]] * torch.tensor(STD)[:, None, None]
    return (image + torch.tensor(MEAN)[:, None, None]).permute(1, 2, 0).numpy()


def test_a_sample_goes_through_mmposes_pipeline():
    samples = posed_samples()
    hidden = 0
    for seed in range(12):
        np.random.seed(seed)
        base = seed % 4
        mix = {"type": "cutmix_dense.CutMix", "p": 1.0, "partner_fit": "crop"}
        data = packed([{**samples[base], "mix_results": [samples[(base + 2) % 4]]}], mix)
        data = preprocessor()(data, training=True)
        (sample,) = data["data_samples"]
        size = samples[base]["img"].shape[:2]
        assert sample.img_shape == size
        assert len(sample.mix_seeds) == 1
        hidden += check_people(placed(image_of(data["inputs"], 0, size), samples), people_of(sample), samples)[0]
    assert hidden > 5


def test_a_batch_is_mixed_in_mmposes_preprocessor():
    samples = posed_samples(5)
    augment = {"type": "cutmix_dense.CutMix", "p": 0.9}
    hidden = smaller = 0
    for seed in range(6):
        torch.manual_seed(seed)
        data = preprocessor(augment)(packed(samples), training=True)
        assert data["inputs"].shape == (5, 3, 64, 64)
        for index, sample in enumerate(data["data_samples"]):
            assert isinstance(sample, PoseDataSample)
            size = samples[index]["img"].shape[:2]
            assert sample.img_shape == size
            prov = placed(image_of(data["inputs"], index, size), samples)
            found = people_of(sample)
            counts = check_people(prov, found, samples)
            hidden, smaller = hidden + counts[0], smaller + counts[1]
            origin = sample.gt_instances.origin
            assert found["category_id"].tolist() == [10 * image + person for image, person in origin.tolist()]
            for code, score in zip(found["category_id"], sample.gt_instances.bbox_scores):
                assert score == samples[code // 10]["bbox_score"][code % 10]
            assert len(sample.gt_instance_labels.areas) == len(origin)
            assert "ignored_instances" not in sample
    assert hidden > 20
    assert smaller > 10


def test_an_unmixed_batch_stays_as_it_was():
    samples = posed_samples(5)
    data = preprocessor({"type": "cutmix_dense.CutMix", "p": 0.0})(packed(samples), training=True)
    plain = preprocessor()(packed(samples), training=True)
    assert torch.equal(data["inputs"], plain["inputs"])
    for ours, theirs in zip(data["data_samples"], plain["data_samples"]):
        for name in ("gt_instances", "gt_instance_labels"):
            for key, value in getattr(theirs, name).items():
                found = getattr(ours, name)[key]
                assert type(found) is type(value), key
                assert found.dtype == value.dtype, key
                assert np.array_equal(found, value), key


def test_a_detector_of_poses_trains_on_mixed_batches():
    """A stock config of MMPose with one line more: what it was given is mixed, and its losses take it."""
    folder = Path(mmpose.__file__).parent / ".mim/configs/body_2d_keypoint/yoloxpose/coco"
    config = Config.fromfile(next(folder.glob("yoloxpose_tiny*.py"))).model
    config.data_preprocessor.batch_augments = [{"type": "cutmix_dense.CutMix", "p": 1.0}]
    config.backbone.init_cfg = None  # a checkpoint of the net
    torch.manual_seed(0)
    model = mmpose.registry.MODELS.build(config).train()
    samples = posed_samples(4, points_each=17)
    for sample in samples:
        sample["category_id"] = np.ones(len(sample["bbox"]), dtype=np.int64)
    data = model.data_preprocessor(packed(samples), training=True)
    origins = [sample.gt_instances.origin[:, 0].tolist() for sample in data["data_samples"]]
    assert any(set(origin) - {index} for index, origin in enumerate(origins)), "a person of another image"
    losses = model(**data, mode="loss")
    total = sum(value.sum() for key, value in losses.items() if "loss" in key)
    assert torch.isfinite(total)
    total.backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters() if weight.grad is not None)


def test_a_warped_image_is_valid_to_its_input_size():
    """BottomupRandomAffine leaves ``img_shape`` as it was: regions lie in what it made all the same."""
    samples = posed_samples(4)
    warp = {"type": "BottomupRandomAffine", "input_size": (64, 96), "bbox_keep_corner": False, "clip_border": True}
    data = packed([samples[0], samples[2], samples[3]], warp)
    assert {sample.img_shape for sample in data["data_samples"]} != {(96, 64)}
    for number, image in enumerate(data["inputs"]):
        image[:] = number
    whole = {"type": "AreaBox", "area": (1.0, 1.0), "aspect": (1.0, 1.0)}
    mix = mmpose.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0, "region": whole})
    mixed, after = mix(torch.stack(data["inputs"]).float(), data["data_samples"])
    assert [image.unique().numel() for image in mixed] == [1, 1, 1]
    assert not torch.equal(mixed, torch.stack(data["inputs"]).float())
    assert all(sample.img_shape == (96, 64) and tuple(sample.input_size) == (64, 96) for sample in after)


def test_the_mask_of_heatmaps_is_mixed_and_heatmaps_are_refused():
    samples = posed_samples(3)
    mix = mmpose.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    crop = (30, 40)
    images = torch.stack([torch.from_numpy(s["img"].transpose(2, 0, 1)[:, : crop[0], : crop[1]]) for s in samples])
    rows = packed(samples)["data_samples"]
    masks = [torch.rand(1, *crop, generator=torch.Generator().manual_seed(n)) < 0.5 for n in range(3)]
    for row, mask in zip(rows, masks):
        row.set_metainfo({"img_shape": crop})
        row.gt_instances, row.gt_instance_labels = row.gt_instances[:0], row.gt_instance_labels[:0]
        row.gt_fields = PixelData(heatmap_mask=mask)
    mixed, after = mix(images.clone(), rows)
    assert not torch.equal(mixed, images)
    for index, row in enumerate(after):
        prov = placed(mixed[index].permute(1, 2, 0).numpy(), [{"img": i.permute(1, 2, 0)} for i in images])
        wanted = [[masks[s][0, y, x] for s, y, x in zip(*line)] for line in zip(prov.source, prov.y, prov.x)]
        assert np.array_equal(row.gt_fields.heatmap_mask[0].numpy(), wanted)
    for name, fields, message in (
        ("gt_fields", PixelData(heatmaps=torch.zeros(6, 10, 14)), "gt_fields.*heatmaps.*before GenerateTarget"),
        ("gt_fields", PixelData(heatmap_mask=torch.zeros(1, 9, 12, dtype=torch.bool)), "gt_fields must have the size"),
        ("gt_instance_labels", InstanceData(keypoint_weights=torch.zeros(0, 6)), "keypoint_weights.*GenerateTarget"),
        ("gt_instance_labels", InstanceData(keypoints=torch.ones(2, 6, 2)), "hold other keypoints"),
        ("gt_instances", InstanceData(bbox_scales=np.zeros((0, 2))), "bbox_scales.*before GetBBoxCenterScale"),
    ):
        rows = packed(samples[:2])["data_samples"]
        for row in rows:
            row.set_metainfo({"img_shape": crop})
            setattr(row, name, fields)
        with pytest.raises(ValueError, match=message):
            mix(images[:2], rows)
    ignoring = mmpose.registry.MODELS.build({"type": "cutmix_dense.CutMix", "on_filtered": "ignore"})
    with pytest.raises(ValueError, match="on_filtered must be 'drop' for MMPose"):
        ignoring(images, packed(samples)["data_samples"])


def test_results_of_codecs_are_refused():
    samples = posed_samples(3)
    make = mmpose.registry.TRANSFORMS.build
    mix = make({"type": "cutmix_dense.CutMix", "p": 1.0})
    encoded = make({"type": "GenerateTarget", "encoder": ENCODER})(copy.deepcopy(samples[0]))
    with pytest.raises(ValueError, match="before GenerateTarget"):
        mix({**encoded, "mix_results": [samples[2]]})
    centred = make({"type": "GetBBoxCenterScale"})(copy.deepcopy(samples[0]))
    with pytest.raises(ValueError, match="before GetBBoxCenterScale"):
        mix({**centred, "mix_results": [samples[2]]})


@pytest.fixture
def annotations(tmp_path):
    """Three images of COCO's form: people with points, one without, which MMPose keeps as an invalid segment."""
    rng = np.random.default_rng(1)
    file = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "person"}]}
    for number in range(3):
        height, width = [(48, 64), (40, 72), (56, 50)][number]
        y, x = np.mgrid[0:height, 0:width]
        code = np.stack([y, x, np.full_like(x, number + 1)], axis=2)  # OpenCV reads the channels in reverse
        Image.fromarray(code.astype(np.uint8)).save(tmp_path / f"{number}.png")
        image = {"id": number, "file_name": f"{number}.png", "height": height, "width": width}
        file["images"].append(image)
        for person in range(3):
            left, top = rng.uniform(2, width - 24), rng.uniform(2, height - 24)
            points = np.c_[rng.uniform(left, left + 20, 17), rng.uniform(top, top + 20, 17), np.full(17, 2)]
            empty = person == 2
            file["annotations"].append(
                {
                    "id": 10 * number + person,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [left, top, 20.0, 20.0],
                    "area": 400.0,
                    "iscrowd": 0,
                    "num_keypoints": 0 if empty else 17,
                    "keypoints": (0 * points if empty else points).ravel().tolist(),
                    "segmentation": [[left, top, left + 20, top, left + 20, top + 20, left, top + 20]],
                }
            )
    (tmp_path / "people.json").write_text(json.dumps(file))
    return tmp_path


def coco(folder, *transforms, mode="bottomup"):
    return CocoDataset(
        ann_file=str(folder / "people.json"),
        data_prefix={"img": str(folder)},
        data_mode=mode,
        pipeline=[{"type": "LoadImage"}, *transforms],
    )


def test_a_coco_dataset_mixes_by_its_cache(annotations, monkeypatch):
    """Masks of the invalid parts are made in front of the mix, which mixes them."""
    monkeypatch.setattr(bottomup_transforms, "cocomask", pycocotools.mask)  # its fork's fails with NumPy 2
    mask = {"type": "BottomupGetHeatmapMask"}
    sized = {"type": "BottomupRandomAffine", "input_size": (60, 44), "bbox_keep_corner": False, "clip_border": True}
    mix = {"type": "cutmix_dense.CutMix", "p": 1.0, "max_cached_images": 3, "random_pop": False}
    plain = coco(annotations, {**sized, "rotate_prob": 0, "shift_prob": 0, "scale_prob": 0}, mask)
    pool = [plain[index] for index in range(3)]
    assert not any(sample["heatmap_mask"].all() for sample in pool)
    dataset = coco(annotations, {**sized, "rotate_prob": 0, "shift_prob": 0, "scale_prob": 0}, mask, mix)
    np.random.seed(3)
    foreign = 0
    for turn in range(9):
        results = dataset[turn % 3]
        base = turn % 3
        theirs = [(results["img"] == sample["img"]).all(axis=2) for sample in pool]
        assert np.logical_or.reduce(theirs).all()
        shown = [sample["heatmap_mask"] for sample in pool]
        sure = sum(map(np.asarray, theirs), np.zeros((44, 60), int)) == 1
        for own, wanted in zip(theirs, shown):
            assert np.array_equal(results["heatmap_mask"][own & sure], wanted[own & sure])
        points = {p.tobytes() for sample in pool for p in sample["keypoints"]}
        assert all(point.tobytes() in points for point in results["keypoints"])
        assert len(results["id"]) == len(results["bbox"]) == len(results["keypoints"])
        foreign += sum(identity // 10 != base for identity in results["id"])
    assert foreign > 3


def test_a_coco_dataset_says_what_is_in_the_way(annotations):
    mix = {"type": "cutmix_dense.CutMix", "p": 1.0, "max_cached_images": 3}
    with pytest.raises(ValueError, match="invalid_segs.*BottomupGetHeatmapMask"):
        coco(annotations, mix)[0]
    with pytest.raises(ValueError, match="top-down.*data_mode='bottomup'"):
        coco(annotations, mix, mode="topdown")[0]
