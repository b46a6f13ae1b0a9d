"""Batch mixes inside the real data preprocessors of MMDetection and MMSegmentation, with coded pixels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

import mmdet.datasets.transforms
import mmdet.models
import mmdet.registry
import mmseg.datasets.transforms
import mmseg.models
import mmseg.registry
from coded import as_targets, check, coded_samples
from mmdet.structures.bbox import BaseBoxes
from mmengine.registry import init_default_scope
from oracle import Settings, decode, expect_semantic

import cutmix_dense as cd
import cutmix_dense.mmengine
from cutmix_dense.build import known_transforms

META = ("img_id", "img_shape", "ori_shape")
MEAN, STD = [8.0, 16.0, 32.0], [2.0, 4.0, 8.0]


def packed(samples, framework="mmdet"):
    pack = {"mmdet": "mmdet.PackDetInputs", "mmseg": "mmseg.PackSegInputs"}[framework]
    made = mmdet.registry.TRANSFORMS.build({"type": pack, "meta_keys": META})
    rows = [made(copy.deepcopy(sample)) for sample in samples]
    return {"inputs": [row["inputs"] for row in rows], "data_samples": [row["data_samples"] for row in rows]}


def unnormalised(inputs):
    return inputs * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]


def plan_of(mix, samples, seed, frame=None):
    images = [torch.from_numpy(sample["img"]).permute(2, 0, 1) for sample in samples]
    sizes = None
    if frame is not None:
        padded = torch.zeros(len(images), 3, *frame)
        for row, image in zip(padded, images):
            row[:, : image.shape[1], : image.shape[2]] = image
        sizes, images = [image.shape[1:] for image in images], padded
    targets = {"instances": as_targets(samples)}
    return mix.make_plan(images, targets, sizes=sizes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pad_mask", [True, False])
@pytest.mark.parametrize("masks", ["bitmap", "polygon", None])
@pytest.mark.parametrize("stage", ["batch_augments", "augments_before_normalize"])
@pytest.mark.parametrize("boxtype2tensor", [True, False])
def test_what_leaves_mmdets_preprocessor_is_mixed_right(stage, masks, pad_mask, boxtype2tensor):
    """Coded pixels through normalise and pad: instances and map follow the pixels; both stages are the same mix."""
    init_default_scope("mmdet")
    torch.manual_seed(3)
    samples = coded_samples(5, masks=masks)
    preprocessor = mmdet.registry.MODELS.build(
        {
            "type": "cutmix_dense.DetDataPreprocessor",
            "mean": MEAN,
            "std": STD,
            "pad_size_divisor": 32,
            "pad_mask": pad_mask,
            "pad_seg": True,
            "boxtype2tensor": boxtype2tensor,
            stage: [{"type": "cutmix_dense.CutMix", "p": 0.8, "min_visibility": 0.317}],
        }
    )
    data = preprocessor(packed(samples), training=True)
    assert data["inputs"].shape == (5, 3, 64, 64)
    frame = (64, 64) if stage == "batch_augments" else None
    seeds = {tuple(sample.mix_seeds) for sample in data["data_samples"]}
    assert len(seeds) == 1
    plan = plan_of(cd.CutMix(p=0.8), samples, next(iter(seeds))[0], frame)
    foreign = 0
    for index, sample in enumerate(data["data_samples"]):
        height, width = sample.img_shape
        assert (height, width) == samples[index]["img"].shape[:2]
        assert sample.batch_input_shape == (64, 64)
        assert not data["inputs"][index, :, height:].any()
        instances = sample.gt_instances
        assert isinstance(instances.bboxes, BaseBoxes) != boxtype2tensor
        found = {
            "boxes": (instances.bboxes if boxtype2tensor else instances.bboxes.tensor).numpy(),
            "labels": instances.labels,
        }
        if masks is not None:
            assert instances.masks.masks.shape[1:] == ((64, 64) if pad_mask else (height, width))
            found["masks"] = instances.masks.masks[:, :height, :width]
        semantic = sample.gt_sem_seg.sem_seg[0].numpy()
        assert semantic.shape == (64, 64)
        assert (semantic[height:] == 255).all()
        image = unnormalised(data["inputs"])[index, :, :height, :width].permute(1, 2, 0).numpy()
        settings = Settings(min_visibility=0.317)
        foreign += check(image, found, semantic[:height, :width], samples, plan, index, settings)
        assert len(instances.visibility) == len(instances.origin) == len(instances.bboxes)
    assert foreign > 300


@pytest.mark.parametrize("stage", ["batch_augments", "augments_before_normalize"])
def test_what_leaves_mmsegs_preprocessor_is_mixed_right(stage):
    init_default_scope("mmseg")
    torch.manual_seed(1)
    samples = coded_samples(5, masks=None, boxes=False)
    preprocessor = mmseg.registry.MODELS.build(
        {
            "type": "cutmix_dense.SegDataPreProcessor",
            "mean": MEAN,
            "std": STD,
            "size": (48, 64),
            "seg_pad_val": 255,
            stage: [{"type": "cutmix_dense.CutMix", "p": 1.0}, {"type": "cutmix_dense.ClassMix", "p": 0.5}],
        }
    )
    data = preprocessor(packed(samples, "mmseg"), training=True)
    sizes = [sample["img"].shape[:2] for sample in samples]
    foreign = 0
    for index, sample in enumerate(data["data_samples"]):
        height, width = sample.img_shape
        assert (height, width) == sizes[index]
        assert len(sample.mix_seeds) == 2
        prov = decode(unnormalised(data["inputs"])[index, :, :height, :width], (height, width), sizes)
        semantic = sample.gt_sem_seg.data
        assert semantic.shape == (1, 48, 64)
        wanted = expect_semantic(prov, [s["gt_seg_map"] for s in samples], 255)
        assert np.array_equal(semantic[0, :height, :width].numpy(), wanted)
        assert (semantic[0, height:] == 255).all()
        foreign += int((prov.source != index).sum())
    assert foreign > 300
    untouched = preprocessor(packed(samples[:1], "mmseg"), training=False)
    assert torch.equal(unnormalised(untouched["inputs"])[0], torch.from_numpy(samples[0]["img"]).permute(2, 0, 1))


def test_mmsegs_own_preprocessor_fails_where_ours_works():
    """The reason for ours (mmsegmentation issues 3244 and 3647); once it is mended there, ours can go."""
    init_default_scope("mmseg")
    augments = [{"type": "cutmix_dense.CutMix", "p": 1.0}]
    theirs = mmseg.registry.MODELS.build({"type": "SegDataPreProcessor", "size": (48, 64), "batch_augments": augments})
    with pytest.raises(TypeError, match="not callable"):
        theirs(packed(coded_samples(2, masks=None, boxes=False), "mmseg"), training=True)


@pytest.mark.parametrize("name", sorted(set(known_transforms()) - {"RandomMix"}))
def test_every_method_mixes_a_batch(name):
    init_default_scope("mmdet")
    torch.manual_seed(0)
    samples = coded_samples(4, maps=name != "MixUp")
    mix = mmdet.registry.MODELS.build({"type": f"cutmix_dense.{name}", "p": 1.0})
    plain = mmdet.registry.MODELS.build({"type": "DetDataPreprocessor", "pad_mask": True, "pad_seg": True})
    before = plain(packed(samples), training=True)
    images = before["inputs"].clone()
    sizes = [sample.img_shape for sample in before["data_samples"]]
    targets = {"instances": [core_target(sample.gt_instances) for sample in before["data_samples"]]}
    if name != "MixUp":
        targets["gt_sem_seg"] = torch.stack([sample.gt_sem_seg.sem_seg for sample in before["data_samples"]])
    inputs, after = mix(before["inputs"], before["data_samples"])
    core = getattr(cd, name)(p=1.0, fill=0, semantic_keys=("gt_sem_seg",))
    generator = torch.Generator().manual_seed(after[0].mix_seeds[0])
    wanted, mixed = core(images, targets, sizes=sizes, generator=generator)
    assert torch.equal(inputs, wanted)
    assert not torch.equal(inputs, images)
    for index, sample in enumerate(after):
        assert torch.equal(sample.gt_instances.bboxes, mixed["instances"][index]["boxes"])
        assert np.array_equal(sample.gt_instances.masks.masks, mixed["instances"][index]["masks"].numpy())
        if name != "MixUp":
            assert torch.equal(sample.gt_sem_seg.sem_seg, mixed["gt_sem_seg"][index])


def core_target(fields):
    return {"boxes": fields.bboxes, "labels": fields.labels, "masks": torch.from_numpy(fields.masks.masks)}


@pytest.mark.parametrize("size", [(40, 72), (26, 40)])
def test_a_canvas_of_another_size_changes_the_metainfo(size):
    """The second is the size that some images had already."""
    init_default_scope("mmdet")
    samples = coded_samples(4)
    preprocessor = mmdet.registry.MODELS.build(
        {
            "type": "DetDataPreprocessor",
            "pad_mask": True,
            "pad_seg": True,
            "batch_augments": [{"type": "cutmix_dense.Mosaic", "size": size}],
        }
    )
    data = preprocessor(packed(samples), training=True)
    assert data["inputs"].shape == (4, 3, *size)
    for sample in data["data_samples"]:
        assert sample.img_shape == sample.batch_input_shape == sample.pad_shape == size
        assert sample.gt_instances.masks.masks.shape[1:] == size
        assert sample.gt_sem_seg.sem_seg.shape == (1, *size)
        assert (sample.gt_instances.bboxes[:, 2] <= size[1]).all()
        assert (sample.gt_instances.bboxes[:, 3] <= size[0]).all()


def test_ignored_instances_come_along():
    """Those that came in, and those that fail the filter; with labels, boxes and provenance as the core has them."""
    init_default_scope("mmdet")
    samples = coded_samples(5, flags=True)
    for number, sample in enumerate(samples):  # labels that name their instance
        sample["gt_bboxes_labels"] = 10 * number + np.arange(len(sample["gt_bboxes_labels"]))
    settings = {"p": 1.0, "on_filtered": "ignore", "min_visibility": 0.9}
    preprocessor = mmdet.registry.MODELS.build(
        {"type": "DetDataPreprocessor", "batch_augments": [{"type": "cutmix_dense.CutMix", **settings}]}
    )
    plain = mmdet.registry.MODELS.build({"type": "DetDataPreprocessor"})
    came_in = failed = 0
    for seed in range(6):
        torch.manual_seed(seed)
        data = preprocessor(packed(samples), training=True)
        before = plain(packed(samples), training=True)
        targets = [
            {**core_target(sample.gt_instances), "ignored": core_target(sample.ignored_instances)}
            for sample in before["data_samples"]
        ]
        generator = torch.Generator().manual_seed(data["data_samples"][0].mix_seeds[0])
        sizes = [sample.img_shape for sample in before["data_samples"]]
        _, wanted = cd.CutMix(**settings)(before["inputs"], targets, sizes=sizes, generator=generator)
        for index, (sample, target) in enumerate(zip(data["data_samples"], wanted)):
            for fields, rows in ((sample.gt_instances, target), (sample.ignored_instances, target["ignored"])):
                assert torch.equal(fields.bboxes, rows["boxes"])
                assert torch.equal(fields.labels, rows["labels"])
                assert torch.equal(fields.visibility, rows["visibility"])
                assert torch.equal(fields.origin, rows["origin"])
                assert np.array_equal(fields.masks.masks, rows["masks"].numpy())
            labels = sample.ignored_instances.labels
            came_in += int(((labels % 10 == 0) & (labels // 10 != index)).sum())
            failed += int((labels % 10 != 0).sum())
    assert came_in > 0
    assert failed > 0


def test_metainfo_of_elements_stays():
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    samples = mmdet.registry.MODELS.build({"type": "DetDataPreprocessor", "pad_seg": True})(
        packed(coded_samples(3)), training=True
    )
    for sample in samples["data_samples"]:
        sample.gt_sem_seg.set_metainfo({"ignore_index": 255})
        sample.gt_instances.set_metainfo({"note": 3})
    _, after = mix(samples["inputs"], samples["data_samples"])
    assert {sample.gt_sem_seg.ignore_index for sample in after} == {255}
    assert {sample.gt_instances.note for sample in after} == {3}


def test_a_model_does_not_know_of_the_mix():
    """A checkpoint from a closed training must not close the next one, nor need ours to be loaded."""
    settings = {"mean": MEAN, "std": STD}
    augments = [{"type": "cutmix_dense.RandomMix", "transforms": [{"type": "CutMix"}, {"type": "Mosaic"}]}]
    plain = mmdet.registry.MODELS.build({"type": "DetDataPreprocessor", **settings})
    ours = mmdet.registry.MODELS.build(
        {
            "type": "cutmix_dense.DetDataPreprocessor",
            "batch_augments": augments,
            "augments_before_normalize": augments,
            **settings,
        }
    )
    assert set(ours.state_dict()) == set(plain.state_dict())
    plain.load_state_dict(ours.state_dict())


def test_what_would_stay_unmixed_is_refused():
    from mmengine.structures import InstanceData, PixelData

    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    data = packed(coded_samples(2))
    for sample in data["data_samples"]:
        sample.set_metainfo({"img_shape": (26, 40)})
        sample.proposals = InstanceData(bboxes=torch.zeros(3, 4))
    with pytest.raises(ValueError, match="proposals"):
        mix(torch.zeros(2, 3, 34, 40), data["data_samples"])
    data = packed(coded_samples(2))
    data["data_samples"][0].gt_panoptic_seg = PixelData(pan_seg=torch.zeros(1, 26, 40))
    with pytest.raises(ValueError, match="gt_panoptic_seg"):
        mix(torch.zeros(2, 3, 34, 40), data["data_samples"])
    data = packed(coded_samples(2))
    for sample in data["data_samples"]:
        sample.gt_instances.tracks = torch.arange(len(sample.gt_instances))
        sample.ignored_instances.tracks = torch.arange(0)
    with pytest.raises(ValueError, match="tracks.*instance_keys"):
        mix(torch.zeros(2, 3, 34, 40), data["data_samples"])
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0, "instance_keys": ["tracks"]})
    _, after = mix(torch.zeros(2, 3, 34, 40), data["data_samples"])
    assert all(len(sample.gt_instances.tracks) == len(sample.gt_instances) for sample in after)
    soft = mmdet.registry.MODELS.build({"type": "cutmix_dense.MixUp", "p": 1.0})
    with pytest.raises(ValueError, match="gt_sem_seg.*MixUp"):
        soft(torch.zeros(2, 3, 34, 40), packed(coded_samples(2))["data_samples"])


def test_images_alone_are_mixed():
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    images = torch.stack([torch.full((3, 20, 30), float(i)) for i in range(4)])
    mixed, samples = mix(images, None)
    assert samples is None
    assert (mixed != images).any()


def test_ranks_draw_different_plans(monkeypatch):
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    images = torch.stack([torch.full((3, 20, 30), float(i)) for i in range(4)])
    drawn = []
    for rank in ("0", "1", "0"):
        monkeypatch.setenv("RANK", rank)
        torch.manual_seed(5)
        drawn.append(mix(images, None)[0])
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
