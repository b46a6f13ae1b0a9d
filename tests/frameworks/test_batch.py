"""Batch mixes inside the real data preprocessors of MMDetection and MMSegmentation, with coded pixels."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings

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
from mmdet.testing import demo_mm_inputs
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
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
            assert instances.masks.masks.dtype == np.uint8
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
    core = getattr(cd, name)(p=1.0, semantic_keys=("gt_sem_seg",))
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
    return {"boxes": fields.bboxes, "labels": fields.labels, "masks": torch.from_numpy(fields.masks.to_ndarray())}


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


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("masks", ["bitmap", "polygon"])
@pytest.mark.parametrize("padding", [None, "pad_mask", "BatchFixedSizePad"])
def test_ignored_instances_come_along(padding, masks, p):
    """Those that came in, and those that fail the filter; with labels, boxes and provenance as the core has them.

    MMDetection pads the masks of the others only.
    """
    init_default_scope("mmdet")
    samples = coded_samples(5, masks=masks, flags=True)
    for number, sample in enumerate(samples):  # labels that name their instance
        sample["gt_bboxes_labels"] = 10 * number + np.arange(len(sample["gt_bboxes_labels"]))
    settings = {"p": p, "on_filtered": "ignore", "min_visibility": 0.9}
    fixed = {"type": "BatchFixedSizePad", "size": (80, 96), "pad_mask": True}
    padded = [fixed] if padding == "BatchFixedSizePad" else []
    common = {"type": "DetDataPreprocessor", "pad_mask": padding == "pad_mask", "pad_size_divisor": 32}
    preprocessor = mmdet.registry.MODELS.build(
        {**common, "batch_augments": [*padded, {"type": "cutmix_dense.CutMix", **settings}]}
    )
    plain = mmdet.registry.MODELS.build({**common, "batch_augments": padded})
    came_in = failed = 0
    for seed in range(6):
        torch.manual_seed(seed)
        data = preprocessor(packed(samples), training=True)
        before = plain(packed(samples), training=True)
        targets = []
        for sample in before["data_samples"]:
            target, aside = core_target(sample.gt_instances), core_target(sample.ignored_instances)
            whole = aside["masks"].new_zeros(len(aside["masks"]), *target["masks"].shape[1:])
            whole[:, : sample.img_shape[0], : sample.img_shape[1]] = aside["masks"]
            targets.append({**target, "ignored": {**aside, "masks": whole}})
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
    assert (came_in > 0) == (failed > 0) == bool(p)


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


PREPROCESSORS = [
    (mmdet.registry.MODELS, {"type": "cutmix_dense.DetDataPreprocessor"}),
    (mmseg.registry.MODELS, {"type": "cutmix_dense.SegDataPreProcessor", "size": (24, 36)}),
]


@pytest.mark.parametrize("name", ["augments_before_normalize", "batch_augments"])
@pytest.mark.parametrize(("registry", "settings"), PREPROCESSORS, ids=["mmdet", "mmseg"])
def test_augments_are_a_list_or_none(registry, settings, name):
    """None turns off what a config inherits: images leave as they came."""
    images = [torch.full((3, 24, 36), value, dtype=torch.uint8) for value in (0, 200)]
    samples = [SegDataSample(metainfo={"img_shape": (24, 36)}) for _ in images]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, 24, 36, dtype=torch.long))
    one = {"type": "cutmix_dense.CutMix", "p": 1.0, "region": {"type": "AreaBox", "area": (0.3, 0.4)}}
    for off, values in ((None, 1), ([], 1), ((), 1), ([one], 2)):
        made = registry.build({**settings, name: off})
        batch = {"inputs": list(images), "data_samples": copy.deepcopy(samples)}
        assert [len(image.unique()) for image in made(batch, training=True)["inputs"]] == [values] * 2
    for wrong in (one, "cutmix_dense.CutMix", ["cutmix_dense.CutMix"], [[one]], 1):
        with pytest.raises(TypeError, match=rf"{name} must be a list of configs, .* write {name}=\[dict\(type="):
            registry.build({**settings, name: wrong})


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


LOADS = """
import sys, torch
made, data = torch.load(sys.argv[1], weights_only=False)
torch.manual_seed(0)
torch.save(made(data, training=True)["inputs"], sys.argv[1])
"""


@pytest.mark.parametrize("stage", ["batch_augments", "augments_before_normalize"])
@pytest.mark.parametrize("framework", ["mmdet", "mmseg"])
def test_copies_and_saved_models_mix_as_the_model_does(framework, stage, tmp_path):
    """Whole ones, of torch.save(), in a process that has made no preprocessor yet."""
    if framework == "mmdet":
        registry, settings = mmdet.registry.MODELS, {"type": "DetDataPreprocessor", "pad_size_divisor": 32}
    else:
        registry, settings = mmseg.registry.MODELS, {"type": "SegDataPreProcessor", "size": (64, 64)}
    data = packed(coded_samples(3, masks=None, boxes=framework == "mmdet"), framework)
    cutmix = {"type": "cutmix_dense.CutMix", "p": 1.0, "region": {"type": "AreaBox", "area": (0.3, 0.5)}}
    with DefaultScope.overwrite_default_scope(framework):
        stock = registry.build(settings)(copy.deepcopy(data), training=True)["inputs"]
        made = registry.build({**settings, "type": f"cutmix_dense.{settings['type']}", stage: [cutmix]})
    mixed = []
    for one in (made, copy.deepcopy(made)):
        torch.manual_seed(0)
        mixed.append(one(copy.deepcopy(data), training=True)["inputs"])
    torch.save((made, data), tmp_path / "saved.pt")
    subprocess.run([sys.executable, "-c", LOADS, tmp_path / "saved.pt"], check=True)
    mixed.append(torch.load(tmp_path / "saved.pt"))
    assert not torch.equal(mixed[0], stock)
    assert torch.equal(mixed[1], mixed[0])
    assert torch.equal(mixed[2], mixed[0])


def test_what_would_stay_unmixed_is_refused():
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    data = packed(coded_samples(2, maps=False))
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


@pytest.mark.parametrize(("fill", "wanted"), [(None, 114), (7, 7), ((7, 8, 9), (7, 8, 9))])
def test_the_fill_of_a_mosaic_is_the_cores(fill, wanted):
    """Grey of bytes before they are normalised, the mean colour after that, unless one is stated."""
    given = {} if fill is None else {"fill": fill}
    augment = {"type": "cutmix_dense.RICAP", "p": 1.0, **given} if fill else {"type": "cutmix_dense.Mosaic", "p": 1.0}
    augment |= {} if fill else {"size": (120, 90), "scale": (0.2, 0.3)}
    single = mmdet.registry.MODELS.build(augment)
    chosen = mmdet.registry.MODELS.build(
        {"type": "cutmix_dense.RandomMix", "transforms": [{**augment, "type": augment["type"].split(".")[1]}]}
    )
    for mix in (single, chosen):
        for dtype, expected in ((torch.uint8, wanted), (torch.float32, 0 if fill is None else wanted)):
            images = [torch.full((3, *size), 200).to(dtype) for size in [(20, 60), (60, 20), (20, 60), (60, 20)]]
            mixed, _ = mix(images, None)
            bare = torch.cat(
                [image.flatten(1)[:, ((image.float() - 200).abs() > 1).all(dim=0).flatten()] for image in mixed], dim=1
            )
            assert bare.shape[1] > 20
            assert torch.equal(bare, torch.as_tensor(expected, dtype=dtype).reshape(-1, 1).expand_as(bare))


def test_a_batch_of_one_is_said_to_stay():
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    images = torch.arange(3 * 26 * 40).reshape(1, 3, 26, 40).float()
    samples = packed(coded_samples(1))["data_samples"]
    boxes = samples[0].gt_instances.bboxes.tensor.clone()
    with pytest.warns(UserWarning, match="CutMix got a batch of one image.*max_cached_images"):
        mixed, after = mix(images, samples)
    assert torch.equal(mixed, images)
    assert torch.equal(after[0].gt_instances.bboxes.tensor, boxes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mix(images, None)
        closed = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
        closed.close()
        closed(images, None)
        mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 0.0})(images, None)
        larger = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
        larger(images.expand(3, -1, -1, -1), None)
        larger(images, None)  # the last batch of an epoch


def test_an_empty_image_and_ignored_boxes_alone_are_mixed():
    """MMDetection's own demo has ``ignored_instances`` of boxes alone; one image has no object at all."""
    data = demo_mm_inputs(4, [(3, 40, 56), (3, 40, 56), (3, 40, 56), (3, 40, 56)], num_items=[3, 0, 2, 0])
    images, samples = torch.stack(data["inputs"]).float(), data["data_samples"]
    assert {key for sample in samples for key in sample.ignored_instances.keys()} == {"bboxes"}  # noqa: SIM118
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0, "min_visibility": 0.0})
    given = [(len(sample.gt_instances), len(sample.ignored_instances)) for sample in samples]
    torch.manual_seed(1)
    mixed, after = mix(images.clone(), samples)
    assert not torch.equal(mixed, images)
    for sample in after:
        assert {"bboxes", "labels", "visibility", "origin"} <= set(sample.gt_instances.keys())
        assert len(sample.gt_instances.bboxes) == len(sample.gt_instances.labels)
        assert set(sample.ignored_instances.keys()) == {"bboxes", "visibility", "origin"}
    origins = {tuple(row) for sample in after for row in sample.ignored_instances.origin.tolist()}
    assert origins <= {(image, index) for image, (_, count) in enumerate(given) for index in range(count)}
    assert len(origins) > 3


def test_polygons_without_a_part_state_no_mask():
    """As where those objects had come without masks at all."""
    samples = coded_samples(3, masks="polygon")
    samples = [samples[0], samples[2]]
    for sample in samples:
        sample["gt_masks"].masks[1] = []
        sample["gt_masks"].masks[2] = [np.zeros(6)]
    settings = {"type": "DetDataPreprocessor", "boxtype2tensor": True}
    mix = {"type": "cutmix_dense.CutMix", "p": 1.0}
    ours = mmdet.registry.MODELS.build({**settings, "batch_augments": [mix]})
    plain = mmdet.registry.MODELS.build(settings)
    found = 0
    for seed in range(10):
        torch.manual_seed(seed)
        data, before = ours(packed(samples), training=True), plain(packed(samples), training=True)
        targets = []
        for sample in before["data_samples"]:
            fields = sample.gt_instances
            drawn = torch.from_numpy(fields.masks[[0, 3]].to_ndarray())
            masks = torch.zeros(4, *drawn.shape[1:], dtype=torch.bool)
            masks[[0, 3]] = drawn.bool()
            stated = torch.tensor([True, False, False, True])
            targets.append({"boxes": fields.bboxes, "labels": fields.labels, "masks": masks, "has_mask": stated})
        generator = torch.Generator().manual_seed(data["data_samples"][0].mix_seeds[0])
        sizes = [sample.img_shape for sample in before["data_samples"]]
        _, wanted = cd.CutMix(p=1.0)(before["inputs"], targets, sizes=sizes, generator=generator)
        for sample, target in zip(data["data_samples"], wanted):
            assert torch.equal(sample.gt_instances.bboxes, target["boxes"])
            assert torch.equal(sample.gt_instances.labels, target["labels"])
            assert np.array_equal(sample.gt_instances.masks.masks, target["masks"].numpy())
            assert "has_mask" not in sample.gt_instances
            found += int((~target["has_mask"]).sum())
    assert found > 20


def test_depth_follows_the_pixels():
    init_default_scope("mmseg")
    samples = coded_samples(4, masks=None, boxes=False)
    rng = np.random.default_rng(0)
    for sample in samples:
        sample["gt_depth_map"] = rng.uniform(1, 9, sample["img"].shape[:2]).astype(np.float32)
    preprocessor = mmseg.registry.MODELS.build(
        {
            "type": "cutmix_dense.SegDataPreProcessor",
            "mean": MEAN,
            "std": STD,
            "size": (48, 64),
            "batch_augments": [{"type": "cutmix_dense.CutMix", "p": 1.0}],
        }
    )
    data = preprocessor(packed(samples, "mmseg"), training=True)
    sizes = [sample["img"].shape[:2] for sample in samples]
    foreign = 0
    for index, sample in enumerate(data["data_samples"]):
        height, width = sample.img_shape
        prov = decode(unnormalised(data["inputs"])[index, :, :height, :width], (height, width), sizes)
        depths = [s["gt_depth_map"] for s in samples]
        wanted = [[depths[s][y, x] for s, y, x in zip(*row)] for row in zip(prov.source, prov.y, prov.x)]
        assert np.array_equal(sample.gt_depth_map.data[0, :height, :width].numpy(), wanted)
        foreign += int((prov.source != index).sum())
    assert foreign > 100
    images = [torch.full((3, *size), 200.0) for size in [(20, 60), (60, 20), (20, 60), (60, 20)]]
    rows = [SegDataSample(metainfo={"img_shape": tuple(image.shape[1:])}) for image in images]
    for row, image in zip(rows, images):
        row.gt_depth_map = PixelData(data=torch.full((1, *image.shape[1:]), 3.0))
    mixed, after = mmdet.registry.MODELS.build({"type": "cutmix_dense.RICAP", "p": 1.0})(images, rows)
    bare = [(image == 0).all(dim=0) for image in mixed]
    assert sum(int(part.sum()) for part in bare) > 20
    for part, row in zip(bare, after):
        assert torch.equal(row.gt_depth_map.data[0], torch.where(part, 0.0, 3.0))
    with pytest.raises(ValueError, match="gt_depth_map can't be blended"):
        mmdet.registry.MODELS.build({"type": "cutmix_dense.MixUp", "p": 1.0})(images, after)


def texts(one, other):
    return lambda samples: [sample.set_metainfo({"text": text}) for sample, text in zip(samples, (one, other))]


def element(name, value):
    return lambda samples: [setattr(sample, name, value) for sample in samples]


def field(name, value):
    return lambda samples: [setattr(sample.gt_instances, name, value(len(sample.gt_instances))) for sample in samples]


def meta(**values):
    return lambda samples: [sample.set_metainfo(values) for sample in samples]


def only_ignored(samples):
    for sample in samples:
        sample.ignored_instances = sample.gt_instances
        del sample.gt_instances


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (texts("a dog. ", "a cat. "), "'text' differs between the images of a mix"),
        (meta(tokens_positive={0: [[0, 3]]}), "tokens_positive.*caption"),
        (meta(phrase_ids=[1]), "phrase_ids.*caption"),
        (meta(homography_matrix=np.eye(3)), "homography_matrix.*supervised branch"),
        (meta(input_center=np.zeros(2)), "input_center.*one person"),
        (field("tracks", torch.arange), "gt_instances hold 'tracks'.*instance_keys"),
        (field("proposals", lambda n: torch.zeros(n, 4)), "proposals.*LoadProposals"),
        (field("keypoint_weights", lambda n: torch.zeros(n, 6)), "keypoint_weights.*before GenerateTarget"),
        (element("pred_instances", InstanceData(bboxes=torch.zeros(2, 4))), "pred_instances.*image_keys"),
        (element("gt_panoptic_seg", PixelData(pan_seg=torch.zeros(1, 34, 40).long())), "gt_panoptic_seg.*its parts"),
        (element("features", PixelData(data=torch.zeros(1, 34, 40))), "features.*one field of ids.*image_keys"),
        (element("gt_depth_map", PixelData(data=torch.zeros(1, 9, 9))), "gt_depth_map must have the size"),
        (
            element("gt_sem_seg", PixelData(metainfo={"ignore_index": 0}, sem_seg=torch.zeros(1, 34, 40).long())),
            "ignore_index must be that of gt_sem_seg, 0",
        ),
        (only_ignored, "ignored_instances can't be mixed without gt_instances"),
    ],
)
def test_what_would_stay_unmixed_is_refused_by_name(change, message):
    init_default_scope("mmdet")
    for p in (0.0, 1.0):
        samples = packed(coded_samples(3, maps=False))["data_samples"]
        samples = [samples[0], samples[2]]
        for sample in samples:
            sample.set_metainfo({"img_shape": (26, 40)})
        change(samples)
        mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": p})
        with pytest.raises(ValueError, match=message):
            mix(torch.zeros(2, 3, 34, 40), samples)


def test_what_may_stay_does():
    samples = packed(coded_samples(3, maps=False))["data_samples"]
    samples = [samples[0], samples[2]]
    shared = {"text": ("person", "dog"), "custom_entities": True, "caption_prompt": None, "img_path": "a.png"}
    for number, sample in enumerate(samples):
        sample.set_metainfo({**shared, "img_path": f"{number}.png"})
        sample.scene = PixelData(embedding=torch.full((2, 3, 3), float(number)))
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0, "image_keys": ["scene"]})
    images = torch.stack([torch.full((3, 34, 40), float(number)) for number in range(2)])
    mixed, after = mix(images.clone(), samples)
    assert not torch.equal(mixed, images)
    for number, sample in enumerate(after):
        assert (sample.text, sample.img_path) == (("person", "dog"), f"{number}.png")
        assert (sample.scene.embedding == number).all()


def test_weights_are_given_where_they_are_asked_for():
    samples = packed(coded_samples(3, maps=False, masks=None))
    mix = mmdet.registry.MODELS.build({"type": "cutmix_dense.MixUp", "p": 1.0, "instance_weights": True})
    _, after = mix(samples["inputs"], samples["data_samples"])
    for sample in after:
        weights = sample.gt_instances.weight
        assert len(weights) == len(sample.gt_instances)
        assert (weights < 1).all()
