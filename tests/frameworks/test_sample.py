"""Per-sample mixes inside the real pipelines of MMDetection and MMSegmentation, with coded pixels."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

import mmdet.datasets
import mmdet.datasets.transforms
import mmdet.models
import mmdet.registry
import mmseg.datasets
import mmseg.registry
from coded import CodedDataset, as_targets, check, coded_samples
from mmdet.datasets import MultiImageMixDataset as DetMix
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import PolygonMasks
from mmengine.registry import init_default_scope
from mmseg.datasets.dataset_wrappers import MultiImageMixDataset as SegMix
from oracle import Settings

import cutmix_dense as cd
import cutmix_dense.mmengine
from cutmix_dense.build import from_config, known_transforms
from cutmix_dense.mmengine import SampleMix
from cutmix_dense.mmengine.structures import as_masks
from cutmix_dense.transforms.single import mix_single

META = ("img_id", "img_shape", "ori_shape", "flip", "flip_direction", "mix_seeds")
MEAN, STD = [8.0, 16.0, 32.0], [2.0, 4.0, 8.0]  # powers of two, so that codes come back exactly


@pytest.fixture
def pools(monkeypatch):
    """What each mix got, base first; images are coded anew by their place there, since one may come twice."""
    seen = []
    original = SampleMix.transform

    def spy(self, results):
        pool = copy.deepcopy([results, *results.get("mix_results", [])])
        for place, sample in enumerate(pool):
            sample["img"][..., 0] = place + 1
        seen.append(copy.deepcopy(pool))
        self.partner_fit = "crop"  # codes stay codes, and the plan is the one that the core draws
        return original(self, {**pool[0], "mix_results": pool[1:]} if pool[1:] else pool[0])

    monkeypatch.setattr(SampleMix, "transform", spy)
    return seen


def plan_of(config, pool, seed):
    """The plan that the core draws for the same pool from the recorded seed."""
    mix = from_config({**config, "type": config["type"].split(".")[1]})
    images = [torch.from_numpy(sample["img"]).permute(2, 0, 1) for sample in pool]
    targets = {"instances": as_targets(pool)}
    if "gt_seg_map" in pool[0]:
        targets["gt_seg_map"] = [torch.from_numpy(sample["gt_seg_map"]) for sample in pool]
        mix.semantic_keys = ("gt_seg_map",)
    generator = torch.Generator().manual_seed(seed)
    return mix.choose(generator).make_plan(images, targets, generator=generator, outputs=1)


IDENTITY = [
    {"type": "cutmix_dense.CutMix", "p": 1.0, "min_visibility": 0.317},
    {"type": "cutmix_dense.CutMix", "p": 1.0, "region": {"type": "MultiBox", "n": 2, "box": {"type": "AreaBox"}}},
    {"type": "cutmix_dense.GridMix", "p": 1.0},
    {"type": "cutmix_dense.CowMix", "p": 1.0, "min_visibility": 0.1013},
    {"type": "cutmix_dense.ClassMix", "p": 1.0},
]


@pytest.mark.parametrize("masks", ["bitmap", "polygon"])
@pytest.mark.parametrize("config", IDENTITY, ids=lambda config: config["type"])
def test_what_leaves_mmdets_pipeline_is_mixed_right(config, masks, pools):
    """Coded pixels through resize (×2), flip, pack, normalise and pad: boxes, masks and map follow the pixels."""
    init_default_scope("mmdet")
    np.random.seed(6)
    outer = [
        config,
        {"type": "Resize", "scale_factor": 2.0, "interpolation": "nearest"},
        {"type": "RandomFlip", "prob": 1.0},
        {"type": "PackDetInputs", "meta_keys": META},
    ]
    dataset = DetMix(CodedDataset(masks=masks), outer)
    preprocessor = mmdet.registry.MODELS.build(
        {
            "type": "DetDataPreprocessor",
            "mean": MEAN,
            "std": STD,
            "pad_size_divisor": 32,
            "pad_mask": True,
            "pad_seg": True,
        }
    )
    foreign = 0
    for index in [0, 1, 2, 3, 4, 0, 2]:
        packed = dataset[index]
        pool = pools[-1]
        data = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        data = preprocessor(data, training=True)
        (sample,) = data["data_samples"]
        height, width = sample.img_shape
        assert (height, width) == tuple(2 * side for side in pool[0]["img"].shape[:2])
        image = data["inputs"][0, :, :height, :width] * torch.tensor(STD)[:, None, None]
        image = (image + torch.tensor(MEAN)[:, None, None]).permute(1, 2, 0).numpy()[::2, ::-1][:, ::2]
        boxes = sample.gt_instances.bboxes.numpy().copy()
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        found = {
            "boxes": boxes / 2,
            "labels": sample.gt_instances.labels,
            "masks": sample.gt_instances.masks.masks[:, :height:2, :width][:, :, ::-1][:, :, ::2],
        }
        semantic = sample.gt_sem_seg.sem_seg[0, :height:2, :width].numpy()[:, ::-1][:, ::2]
        (seed,) = sample.mix_seeds
        assert 0 <= seed < 2**63
        plan = plan_of(config, pool, seed)
        settings = Settings(min_visibility=config.get("min_visibility", 0.1))
        foreign += check(image, found, semantic, pool, plan, 0, settings)
    assert foreign > 100


@pytest.mark.parametrize("name", sorted(set(known_transforms()) - {"RandomMix"}))
def test_every_method_gives_what_the_core_gives(name, pools):
    init_default_scope("mmdet")
    config = {"type": f"cutmix_dense.{name}", "p": 1.0}
    dataset = DetMix(CodedDataset(maps=name != "MixUp"), [config])
    for index in (0, 3):
        results = dataset[index]
        pool = pools[-1]
        assert len(pool) == 1 + getattr(cd, name)().partners
        images = [torch.from_numpy(sample["img"]).permute(2, 0, 1) for sample in pool]
        targets = {"instances": as_targets(pool)}
        if name != "MixUp":
            targets["gt_seg_map"] = [torch.from_numpy(sample["gt_seg_map"]) for sample in pool]
        mix = getattr(cd, name)(p=1.0, semantic_keys=("gt_seg_map",))
        made = mix_single(mix, images, targets, torch.Generator().manual_seed(results["mix_seeds"][0]))
        assert made.mixed
        assert np.array_equal(results["img"], made.image.permute(1, 2, 0).numpy())
        assert results["img"].flags.c_contiguous
        assert results["img_shape"] == results["img"].shape[:2]
        target = made.targets["instances"][0]
        assert torch.equal(results["gt_bboxes"].tensor, target["boxes"])
        assert np.array_equal(results["gt_bboxes_labels"], target["labels"].numpy())
        assert np.array_equal(results["gt_masks"].masks, target["masks"].numpy())
        assert (results["gt_masks"].height, results["gt_masks"].width) == results["img_shape"]
        if name != "MixUp":
            assert np.array_equal(results["gt_seg_map"], made.targets["gt_seg_map"][0].numpy())
        assert not results["gt_ignore_flags"].any()
        assert len(results["gt_ignore_flags"]) == len(target["boxes"])


def test_what_is_to_be_ignored_stays_so(pools):
    """Instances with the flag come along as ignored ones; what fails the filter joins them if asked."""
    init_default_scope("mmdet")
    np.random.seed(1)
    settings = {"p": 1.0, "min_visibility": 0.9, "on_filtered": "ignore"}
    inner = CodedDataset(flags=True)
    for number, sample in enumerate(inner.samples):  # labels that name their instance
        sample["gt_bboxes_labels"] = 10 * number + np.arange(len(sample["gt_bboxes_labels"]))
    dataset = DetMix(inner, [{"type": "cutmix_dense.CutMix", **settings}, {"type": "PackDetInputs", "meta_keys": META}])
    came_in = failed = 0
    for index in [0, 2, 3, 4] * 4:
        packed = dataset[index]["data_samples"]
        pool = pools[-1]
        asides = [
            {
                "boxes": sample["gt_bboxes"].tensor[torch.from_numpy(sample["gt_ignore_flags"])],
                "labels": torch.from_numpy(sample["gt_bboxes_labels"][sample["gt_ignore_flags"]]),
                "masks": torch.from_numpy(sample["gt_masks"].masks[sample["gt_ignore_flags"]]),
            }
            for sample in pool
        ]
        targets = [{**own, "ignored": aside} for own, aside in zip(as_targets(pool), asides)]
        images = [torch.from_numpy(sample["img"]).permute(2, 0, 1) for sample in pool]
        generator = torch.Generator().manual_seed(packed.mix_seeds[0])
        wanted = mix_single(cd.CutMix(**settings), images, targets, generator).targets[0]
        for fields, rows in ((packed.gt_instances, wanted), (packed.ignored_instances, wanted["ignored"])):
            assert isinstance(fields.bboxes, HorizontalBoxes)
            assert torch.equal(fields.bboxes.tensor, rows["boxes"])
            assert torch.equal(fields.labels, rows["labels"])
            assert np.array_equal(fields.masks.masks, rows["masks"].numpy())
        came_in += int((packed.ignored_instances.labels % 10 == 0).sum())
        failed += int((packed.ignored_instances.labels % 10 != 0).sum())
    assert came_in > 5
    assert failed > 5


def test_polygons_come_back_as_bitmaps_and_arrays_as_arrays():
    samples = coded_samples(2, masks="polygon")
    for sample in samples:
        sample["gt_bboxes"] = sample["gt_bboxes"].tensor.numpy()
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 0.0})
    before = copy.deepcopy(samples)
    mixed = mix({**samples[0], "mix_results": samples[1:]})
    assert type(mixed["gt_masks"]).__name__ == "BitmapMasks"
    assert isinstance(mixed["gt_bboxes"], np.ndarray)
    assert np.array_equal(mixed["gt_bboxes"], before[0]["gt_bboxes"])
    assert np.array_equal(mixed["gt_masks"].masks, before[0]["gt_masks"].to_ndarray())
    assert mixed["gt_masks"].masks.dtype == np.uint8, "OpenCV 4 takes no bool"
    assert not np.shares_memory(mixed["img"], samples[0]["img"])
    for sample, was in zip(samples, before):
        assert np.array_equal(sample["img"], was["img"])
        assert np.array_equal(sample["gt_seg_map"], was["gt_seg_map"])


def test_polygons_are_drawn_as_mmdet_draws_them():
    """In windows of their own, with corners on ties of the grid that they are drawn by, in several parts, cut."""
    rng = np.random.default_rng(0)
    for turn in range(60):
        height, width = (int(side) for side in rng.integers(20, 120, 2))
        low, high = (-0.05, 1.05) if turn % 2 else (0.0, 1.0)
        polygons = [
            [
                (rng.uniform(low, high, (rng.integers(3, 9), 2)) * (width, height)).round(turn % 3).reshape(-1)
                for _ in range(rng.integers(1, 3))
            ]
            for _ in range(4)
        ]
        masks = PolygonMasks(polygons, height, width)
        drawn = as_masks(masks)
        assert drawn.dtype == torch.bool
        assert np.array_equal(drawn.numpy(), masks.to_ndarray())


def test_a_cache_needs_no_second_loading():
    """As CachedMosaic: in an ordinary pipeline, partners are samples that came by; an output shares no memory."""
    init_default_scope("mmdet")
    np.random.seed(0)
    mix = mmdet.registry.TRANSFORMS.build(
        {"type": "cutmix_dense.Mosaic", "max_cached_images": 4, "random_pop": False, "size": (32, 48)}
    )
    assert mix.get_indexes([0] * 9) == mix.get_indices([0] * 9) == []
    samples = coded_samples(5)
    first = mix(copy.deepcopy(samples[0]))
    assert first["img"].shape == (32, 48, 3)
    for turn in range(12):
        sample = copy.deepcopy(samples[turn % 5])
        mixed = mix(sample)
        assert len(mix.cache) <= 4
        assert mix.cache[-1] is sample
        assert mixed["img"].shape == (32, 48, 3)
        assert not any(np.shares_memory(mixed["img"], kept["img"]) for kept in mix.cache)
    for kept in mix.cache:
        assert np.array_equal(kept["img"], samples[kept["img_id"]]["img"])


def test_the_seed_is_numpys_and_repeats():
    samples = coded_samples(2)
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    seeds = []
    for _ in range(2):
        np.random.seed(11)
        seeds.append([mix({**samples[0], "mix_results": samples[1:]})["mix_seeds"][0] for _ in range(3)])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3
    twice = mix({**mix({**samples[0], "mix_results": samples[1:]}), "mix_results": samples[1:]})
    assert len(twice["mix_seeds"]) == 2


def test_other_box_types_keep_their_parameters():
    """A box type that isn't upright is judged by its enclosing box, moved with its image and never cut."""
    from mmdet.structures.bbox import register_box, register_box_converter
    from mmdet.structures.bbox.box_type import box_types

    if "test_cxcywh" not in box_types:

        @register_box(name="test_cxcywh")
        class CentreBoxes(HorizontalBoxes):
            pass

        @register_box_converter(CentreBoxes, HorizontalBoxes)
        def convert(boxes):
            centre, side = boxes[..., :2], boxes[..., 2:]
            return torch.cat([centre - side / 2, centre + side / 2], dim=-1)

        def rescale_(self, factor):
            self.tensor = self.tensor * self.tensor.new_tensor(factor).repeat(2)

        def translate_(self, distances):
            self.tensor = self.tensor + self.tensor.new_tensor([*distances, 0, 0])

        CentreBoxes.rescale_, CentreBoxes.translate_ = rescale_, translate_
    kind = box_types["test_cxcywh"]
    samples = coded_samples(2, masks=None)
    samples[1] = coded_samples(3, masks=None)[2]
    upright = [sample["gt_bboxes"].tensor for sample in samples]
    for sample, boxes in zip(samples, upright):
        sample["gt_bboxes"] = kind(torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1))
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.RICAP", "p": 1.0, "min_visibility": 0.5})
    np.random.seed(2)
    kept = 0
    for _ in range(20):
        mixed = mix({**samples[0], "mix_results": [samples[1]] * 3})
        assert isinstance(mixed["gt_bboxes"], kind)
        assert len(mixed["gt_bboxes"]) == len(mixed["gt_bboxes_labels"])
        sides = {tuple(row) for sample in samples for row in sample["gt_bboxes"].tensor[:, 2:].tolist()}
        assert {tuple(row) for row in mixed["gt_bboxes"].tensor[:, 2:].tolist()} <= sides
        kept += len(mixed["gt_bboxes"])
    assert kept > 10


def test_what_leaves_mmsegs_pipeline_is_mixed_right(pools):
    init_default_scope("mmseg")
    np.random.seed(4)
    config = {"type": "cutmix_dense.CutMix", "p": 1.0}
    outer = [config, {"type": "RandomFlip", "prob": 1.0}, {"type": "PackSegInputs", "meta_keys": META}]
    inner = CodedDataset(masks=None, boxes=False)
    dataset = SegMix.__new__(SegMix)  # mmseg takes its own ConcatDataset only; what is tested is the loop over it
    dataset.dataset, dataset._skip_type_keys = inner, None
    dataset._fully_initialized = True
    dataset.pipeline = [mmseg.registry.TRANSFORMS.build(entry) for entry in outer]
    dataset.pipeline_types = [entry["type"] for entry in outer]
    preprocessor = mmseg.registry.MODELS.build(
        {"type": "SegDataPreProcessor", "mean": MEAN, "std": STD, "size": (64, 64), "seg_pad_val": 255}
    )
    foreign = 0
    for index in range(5):
        packed = dataset[index]
        pool = pools[-1]
        data = preprocessor({"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}, True)
        (sample,) = data["data_samples"]
        height, width = pool[0]["img"].shape[:2]
        image = data["inputs"][0, :, :height, :width] * torch.tensor(STD)[:, None, None]
        code = (image + torch.tensor(MEAN)[:, None, None]).permute(1, 2, 0).numpy()[:, ::-1]
        seg = sample.gt_sem_seg.data[0].numpy()
        assert (seg[height:] == 255).all()
        assert (seg[:, width:] == 255).all()
        source, x, y = np.rint(code).astype(int).transpose(2, 0, 1)
        maps = [pool[k]["gt_seg_map"] for k in range(2)]
        wanted = np.array([[maps[source[i, j] - 1][y[i, j], x[i, j]] for j in range(width)] for i in range(height)])
        assert np.array_equal(seg[:height, :width][:, ::-1], wanted)
        foreign += int((source == 2).sum())
    assert foreign > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gt_keypoints": np.zeros((4, 3, 2))}, "gt_keypoints"),
        ({"proposals": np.zeros((4, 4))}, "proposals.*LoadProposals"),
        ({"proposals": HorizontalBoxes(torch.zeros(4, 4))}, "proposals.*LoadProposals"),
        ({"depth": np.zeros((26, 40))}, "depth.*semantic_keys.*image_keys"),
        ({"depth": torch.zeros(1, 26, 40)}, "depth.*semantic_keys.*image_keys"),
        ({"depth": np.zeros((26, 40, 2))}, "depth.*semantic_keys.*image_keys"),
        ({"gt_instances_ids": np.arange(4)}, "gt_instances_ids.*instance_keys.*image_keys"),
        ({"tracks": np.arange(4)}, "tracks.*instance_keys.*image_keys"),
        ({"other_boxes": HorizontalBoxes(torch.zeros(4, 4))}, "other_boxes.*instance_keys.*image_keys"),
        ({"gt_label": 3}, "gt_label.*label of the whole image"),
        ({"gt_panoptic_seg": np.zeros((1, 26, 40))}, "gt_panoptic_seg.*LoadPanopticAnnotations"),
        ({"gt_depth_map": np.zeros((26, 40), np.float32)}, "gt_depth_map must be in the sample and in all"),
        ({"gt_depth_map": np.zeros((13, 20), np.float32)}, r"gt_depth_map must be an array of .*\(26, 40\)"),
        ({"tokens_positive": {0: [[0, 3]]}}, "tokens_positive.*caption.*before RandomSamplingNegPos"),
        ({"phrases": {0: {"phrase": "a dog", "tokens_positive": [[0, 5]]}}}, "phrases.*without mixing"),
        ({"phrase_ids": [0, 1]}, "phrase_ids.*caption"),
        ({"gt_caption": ["a dog"]}, "gt_caption.*caption"),
        ({"text": "a dog. "}, "'text' differs.*before the transforms that make it"),
        ({"custom_entities": True}, "'custom_entities' differs"),
        ({"gt_edge_map": np.zeros((26, 40), np.uint8)}, "gt_edge_map"),
    ],
)
def test_what_would_stay_unmixed_is_refused(change, message):
    samples = coded_samples(2)
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    with pytest.raises(ValueError, match=message):
        mix({**samples[0], **change, "mix_results": samples[1:]})


def test_the_words_of_classes_come_along_where_all_images_have_the_same():
    """As the datasets give them for training on a closed set of classes, in front of RandomSamplingNegPos."""
    samples = coded_samples(2)
    words = {"text": ("person", "dog"), "custom_entities": True, "caption_prompt": None, "stuff_text": ("sky",)}
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.GridMix", "p": 1.0})
    mixed = mix({**samples[0], **words, "mix_results": [{**samples[1], **words, "text": ["person", "dog"]}]})
    assert {key: mixed[key] for key in words} == words
    assert (mixed["img"][..., 0] == 2).any()


def test_loaded_words_of_grounding_are_refused():
    """By MMDetection's own transform."""
    samples = coded_samples(2)
    load = mmdet.registry.TRANSFORMS.build({"type": "mmdet.LoadTextAnnotations"})
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    loaded = [load({**s, "text": {"0": f"dog {n}"}}) for n, s in enumerate(samples)]
    with pytest.raises(ValueError, match="'text' differs"):
        mix({**loaded[0], "mix_results": loaded[1:]})
    phrases = {0: {"phrase": "dog", "tokens_positive": [[0, 3]]}}
    loaded = [load({**s, "text": "dog", "phrases": phrases}) for s in samples]
    with pytest.raises(ValueError, match=r"(tokens_positive|phrases).*LoadTextAnnotations"):
        mix({**loaded[0], "mix_results": loaded[1:]})


@pytest.mark.parametrize("name", ["instance_keys", "semantic_keys", "image_keys"])
def test_one_key_in_place_of_a_list_is_refused(name):
    """Letter by letter it would name nothing, and what it should name would stay unmixed."""
    config = {"type": "cutmix_dense.CutMix", name: "tracks"}
    for registry in (mmdet.registry.TRANSFORMS, mmdet.registry.MODELS):
        with pytest.raises(TypeError, match=rf"{name} must be a .* of keys, got 'tracks'"):
            registry.build(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box_format": "cxcywh"}, "CutMix: box_format has no meaning.*'cxcywh'.*BaseBoxes"),
        ({"normalized": True}, "CutMix: normalized has no meaning.*BaseBoxes"),
        ({"label_keys": ["y"]}, "label_keys has no meaning.*whole images"),
        ({"labels_by": "objects"}, "labels_by has no meaning"),
        ({"labels_getter": None}, "labels_getter has no meaning"),
        ({"num_classes": 4}, "num_classes has no meaning.*never blended"),
        ({"soft_semantic": "probabilities"}, "soft_semantic has no meaning"),
        ({"pairing": "shuffle"}, "pairing has no meaning.*mix_results"),
        ({"instance_weights": True}, "instance_weights has no meaning.*batch_augments"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings, message):
    build, member = mmdet.registry.TRANSFORMS.build, {"type": "CutMix", **settings}
    with pytest.raises(ValueError, match=message):
        build({**member, "type": "cutmix_dense.CutMix"})
    with pytest.raises(ValueError, match=message):
        build({"type": "cutmix_dense.RandomMix", "transforms": [dict(member), member]})
    if {"pairing", "instance_weights"} & set(settings):
        mmdet.registry.MODELS.build({**member, "type": "cutmix_dense.CutMix"})
        return
    with pytest.raises(ValueError, match=message):
        mmdet.registry.MODELS.build({**member, "type": "cutmix_dense.CutMix"})


def unstated_polygons(samples):
    """The first polygon without any part, the second as MMDetection marks one that isn't there."""
    for sample in samples:
        if len(sample["gt_masks"]):
            sample["gt_masks"].masks[0] = []
            sample["gt_masks"].masks[1] = [np.zeros(6)]
    return samples


def test_polygons_without_a_part_state_no_mask():
    """Such an instance is judged and boxed by its box: as if it had come without a mask."""
    samples = unstated_polygons(coded_samples(3, masks="polygon"))
    samples = [samples[0], samples[2]]
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0, "partner_fit": "crop"})
    shrunk = seen = 0
    for seed in range(20):
        np.random.seed(seed)
        results = mix({**copy.deepcopy(samples[0]), "mix_results": copy.deepcopy(samples[1:])})
        images = [torch.from_numpy(sample["img"]).permute(2, 0, 1) for sample in samples]
        targets = as_targets([{**sample, "gt_masks": sample["gt_masks"][2:]} for sample in samples], masks=False)
        for target, sample in zip(targets, samples):
            drawn = torch.from_numpy(sample["gt_masks"][2:].to_ndarray())
            target["masks"] = torch.cat([torch.zeros_like(drawn[:1]).repeat(2, 1, 1), drawn])
            target["has_mask"] = torch.tensor([False, False] + [True] * len(drawn))
        generator = torch.Generator().manual_seed(results["mix_seeds"][0])
        core = cd.CutMix(p=1.0)
        plan = core.make_plan(images, targets, generator=generator, outputs=1)
        ((wanted,),) = core.apply_plan(plan, images, targets)[1:]
        assert torch.equal(results["gt_bboxes"].tensor, wanted["boxes"])
        assert np.array_equal(results["gt_bboxes_labels"], wanted["labels"].numpy())
        assert np.array_equal(results["gt_masks"].masks, wanted["masks"].numpy())
        assert "has_mask" not in results
        bare = ~results["gt_masks"].masks.any(axis=(1, 2))
        seen += int(bare.sum())
        given = {tuple(row) for sample in samples for row in sample["gt_bboxes"].tensor[:2].tolist()}
        shrunk += sum(tuple(row) not in given for row in results["gt_bboxes"].tensor[bare].tolist())
    assert seen > 20
    assert shrunk > 3


@pytest.mark.parametrize("poly2mask", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_an_object_without_a_polygon_stays_an_ignored_region(poly2mask, batched):
    """MMDetection's LoadAnnotations gives it an empty mask and the flag; the region is judged by its box."""
    init_default_scope("mmdet")
    load = mmdet.registry.TRANSFORMS.build({"type": "LoadAnnotations", "with_mask": True, "poly2mask": poly2mask})
    loaded = []
    for number, sample in enumerate(coded_samples(2, masks=None, maps=False)):
        boxes = [[2.0, 2, 12, 10], [4.0, 14, 28, 24]]
        drawn = [[], [[5.0, 15, 25, 15, 25, 23, 5, 23]]]
        instances = [
            {"bbox": box, "bbox_label": number, "ignore_flag": 0, "mask": mask} for box, mask in zip(boxes, drawn)
        ]
        image = {key: sample[key] for key in ("img", "img_shape", "ori_shape", "img_id")}
        image["img"] = image["img"][:26, :30].copy()
        image["img_shape"] = image["ori_shape"] = (26, 30)
        loaded.append(load({**image, "height": 26, "width": 30, "instances": instances}))
        assert loaded[-1]["gt_ignore_flags"].tolist() == [True, False]
    mix = {"type": "cutmix_dense.CutMix", "p": 1.0, "min_visibility": 0.2}
    cut = 0
    for seed in range(20):
        np.random.seed(seed)
        torch.manual_seed(seed)
        if batched:
            pack = mmdet.registry.TRANSFORMS.build({"type": "PackDetInputs", "meta_keys": META})
            rows = [pack(copy.deepcopy(sample)) for sample in loaded]
            images = torch.stack([row["inputs"] for row in rows]).float()
            mixed, after = mmdet.registry.MODELS.build(mix)(images, [row["data_samples"] for row in rows])
            owner, aside = mixed[0, 0].numpy(), after[0].ignored_instances
            found = list(zip(aside.labels.tolist(), aside.bboxes.tensor.tolist()))
        else:
            results = mmdet.registry.TRANSFORMS.build(mix)({**loaded[0], "mix_results": loaded[1:]})
            owner, flags = results["img"][..., 0], results["gt_ignore_flags"]
            assert (np.diff(flags.astype(int)) >= 0).all()
            found = list(zip(results["gt_bboxes_labels"][flags].tolist(), results["gt_bboxes"].tensor[flags].tolist()))
        wanted = []
        for number in range(2):
            rows, columns = np.nonzero(owner[2:10, 2:12] == number + 1)
            if len(rows):  # a region isn't filtered
                box = [2 + columns.min(), 2 + rows.min(), 3 + columns.max(), 3 + rows.max()]
                wanted.append((number, [float(side) for side in box]))
        assert found == wanted
        cut += any(box != [2, 2, 12, 10] for _, box in wanted)
    assert cut > 2


def test_origin_and_shapes_of_a_mixed_sample():
    samples = coded_samples(4)
    for sample in samples:
        sample.update(homography_matrix=np.diag([2.0, 2, 1]), pad_shape=sample["img"].shape, scale_factor=(2.0, 2.0))
    for method, settings in (("CutMix", {"p": 0.0}), ("CutMix", {"p": 1.0}), ("Mosaic", {"p": 1.0, "size": (30, 50)})):
        mix = mmdet.registry.TRANSFORMS.build({"type": f"cutmix_dense.{method}", **settings})
        mixed = mix({**samples[0], "mix_results": samples[1:]})
        assert np.array_equal(mixed["homography_matrix"], np.eye(3)), "later transforms count from the mixed image"
        assert mixed["pad_shape"] == mixed["img"].shape
        assert mixed["img_shape"] == mixed["img"].shape[:2]
        assert mixed["scale_factor"] == (2.0, 2.0)
        assert mixed["img_id"] == 0


def test_mistakes_are_named():
    build = mmdet.registry.TRANSFORMS.build
    with pytest.raises(KeyError, match="mix_results"):
        build({"type": "cutmix_dense.CutMix"})(coded_samples(1)[0])
    with pytest.raises(ValueError, match="max_cached_images"):
        build({"type": "cutmix_dense.Mosaic", "max_cached_images": 3})
    with pytest.raises(ValueError, match="bank"):
        build({"type": "cutmix_dense.CutMix", "pairing": "bank"})
    with pytest.raises(ValueError, match="on_filtered"):
        build({"type": "cutmix_dense.CutMix", "on_filtered": "crowd"})
    samples = coded_samples(2)
    both = [{"type": "CutMix", "p": 1.0}, {"type": "MixUp", "p": 1.0}]
    for soft in ({"type": "cutmix_dense.MixUp"}, {"type": "cutmix_dense.RandomMix", "transforms": both}):
        with pytest.raises(ValueError, match="gt_seg_map.*MixUp"):
            build(soft)({**samples[0], "mix_results": samples[1:]})
    with pytest.raises(ValueError, match="close_last"):
        build({"type": "cutmix_dense.RandomMix", "transforms": both, "total": 4, "close_last": 2})
    marked = [{**sample, "ignore_index": 7} for sample in samples]
    with pytest.raises(ValueError, match="ignore_index must be that of the annotations, 7"):
        build({"type": "cutmix_dense.CutMix"})({**marked[0], "mix_results": marked[1:]})
    raw = {"img": samples[0]["img"], "instances": [{"bbox": [1, 2, 3, 4]}]}
    with pytest.raises(ValueError, match="LoadAnnotations"):
        build({"type": "cutmix_dense.CutMix"})({**raw, "mix_results": [raw]})


def test_a_choice_within_a_wrapper_hands_on_no_partners():
    init_default_scope("mmdet")
    chosen = {"type": "RandomApply", "prob": 1.0, "transforms": [{"type": "cutmix_dense.CutMix"}]}
    mixed = DetMix(CodedDataset(), [chosen])
    with pytest.raises(KeyError, match="not into RandomApply or RandomChoice there.*max_cached_images"):
        mixed[0]
    chosen["transforms"][0] |= {"max_cached_images": 4, "p": 1.0}
    mixed = DetMix(CodedDataset(), [chosen])
    assert [len(mixed[index]["mix_seeds"]) for index in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("change", [lambda image: image[..., :1], lambda image: image.astype(np.float32)])
def test_images_of_other_channels_or_another_dtype_are_named(change):
    first, second = ({"img": np.full((26, 40, 3), value, np.uint8)} for value in (0, 1))
    mix = cutmix_dense.mmengine.TRANSFORMS.build({"type": "cutmix_dense.CutMix"})
    with pytest.raises(ValueError, match=r"img must have the channels and the dtype .* color_type"):
        mix({**first, "mix_results": [{"img": change(second["img"])}]})
    grey = [{"img": value["img"][..., 0]} for value in (first, second)]
    assert mix({**grey[0], "mix_results": [{"img": grey[1]["img"][..., None]}]})["img"].shape == (26, 40)


def test_a_draw_can_be_repeated():
    """As mmcv's TransformBroadcaster asks for, to treat several images alike."""
    from mmcv.transforms.utils import cache_random_params

    samples = coded_samples(2)
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    with cache_random_params(mix):
        pair = [mix({**samples[0], "mix_results": samples[1:]}) for _ in range(2)]
    assert pair[0]["mix_seeds"] == pair[1]["mix_seeds"]
    assert np.array_equal(pair[0]["img"], pair[1]["img"])


def test_ranks_draw_different_seeds(monkeypatch):
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    drawn = []
    for rank in ("0", "1", "0"):
        monkeypatch.setenv("RANK", rank)
        np.random.seed(3)
        drawn.append(mix.draw_seed())
    assert drawn[0] == drawn[2] != drawn[1]


def test_a_mix_travels_to_a_worker():
    mix = mmdet.registry.TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 0.25, "region": {"type": "AreaBox"}})
    again = pickle.loads(pickle.dumps(mix))
    assert type(again) is type(mix)
    assert again.mix.p == 0.25
    assert "AreaBox" in repr(again)


def test_the_copy_paste_preset_keeps_what_mmdets_own_keeps():
    """The same instances pasted (all of them): which base instances stay, and their boxes and masks, are equal."""
    from mmdet.datasets.transforms import CopyPaste

    kept = changed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        pair = []
        for number in range(2):
            sample = coded_samples(1, maps=False)[0]
            n, (height, width) = 6, (60, 80)
            sample["img"] = rng.integers(0, 255, (height, width, 3)).astype(np.uint8)
            drawn = np.zeros((n, height, width), dtype=np.uint8)
            for k in range(n):
                y, x = rng.integers(0, 30), rng.integers(0, 45)
                drawn[k, y : y + rng.integers(5, 30), x : x + rng.integers(5, 35)] = 1
            sample["gt_masks"] = type(sample["gt_masks"])(drawn, height, width)
            sample["gt_bboxes"] = sample["gt_masks"].get_bboxes(dst_type="hbox")
            sample["gt_bboxes_labels"] = rng.integers(0, 5, n) + 10 * number
            sample["gt_ignore_flags"] = np.zeros(n, dtype=bool)
            pair.append(sample)
        theirs = CopyPaste(selected=False)({**copy.deepcopy(pair[0]), "mix_results": [copy.deepcopy(pair[1])]})
        ours = mmdet.registry.TRANSFORMS.build(
            {"type": "cutmix_dense.CopyPaste", "p": 1.0, "instances": "all", "rule": "mmdet_copy_paste"}
        )({**pair[0], "mix_results": [pair[1]]})
        assert np.array_equal(ours["img"], theirs["img"])
        assert np.array_equal(ours["gt_bboxes_labels"], theirs["gt_bboxes_labels"])
        assert np.array_equal(ours["gt_masks"].masks != 0, theirs["gt_masks"].masks != 0)
        kept += len(ours["gt_bboxes"])
        changed += int((ours["gt_bboxes"].tensor != theirs["gt_bboxes"].tensor).any())
    assert kept > 60
    assert changed <= 12
