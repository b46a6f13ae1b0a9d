"""MMPose's keys through MMEngine's transforms of one sample: people, keypoints and maps go where the pixels go."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip("mmengine")

from posed import POINTS, check_people, placed, posed_samples

from cutmix_dense.mmengine import MODELS, TRANSFORMS


def build(method, **settings):
    return TRANSFORMS.build({"type": f"cutmix_dense.{method}", "p": 1.0, **settings})


def mixed_by(mix, samples, base, partners):
    return mix({**samples[base], "mix_results": [samples[partner] for partner in partners]})


def people(results):
    visible = results["keypoints_visible"]
    return {
        "bbox": results["bbox"],
        "keypoints": results["keypoints"],
        "keypoints_visible": visible[..., 0] if visible.ndim == 3 else visible,
        "category_id": results["category_id"],
    }


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("method", ["CutMix", "GridMix"])
def test_people_follow_their_pixels(method, weights):
    samples = posed_samples()
    if weights:  # as MMPose's KeypointConverter makes them
        for sample in samples:
            factors = np.linspace(0, 1, POINTS, dtype=np.float32) * np.ones_like(sample["keypoints_visible"])
            sample["keypoints_visible"] = np.stack([sample["keypoints_visible"], factors], axis=2)
    before = copy.deepcopy(samples)
    mix = build(method, partner_fit="crop")
    hidden = smaller = foreign = 0
    for seed in range(30):
        np.random.seed(seed)  # noqa: NPY002 - MMEngine's way
        base = seed % 4
        results = mixed_by(mix, samples, base, [(base + 1 + seed % 3) % 4])
        codes = results["category_id"].tolist()
        counts = check_people(placed(results["img"], samples), people(results), samples)
        hidden, smaller = hidden + counts[0], smaller + counts[1]
        foreign += sum(code // 10 != base for code in codes)
        assert results["id"] == [code // 10 * 100 + code % 10 for code in codes]
        assert results["raw_ann_info"] == [{"id": identity} for identity in results["id"]]
        assert results["iscrowd"] == [0] * len(codes)
        assert results["num_keypoints"] == (people(results)["keypoints_visible"] > 0).sum(axis=1).tolist()
        for row, code in enumerate(codes):
            assert results["bbox_score"][row] == samples[code // 10]["bbox_score"][code % 10]
            assert results["area"][row] <= samples[code // 10]["area"][code % 10]
        if weights:
            wanted = np.broadcast_to(np.linspace(0, 1, POINTS, dtype=np.float32), (len(codes), POINTS))
            assert np.array_equal(results["keypoints_visible"][..., 1], wanted)
        for key, value in before[base].items():
            assert type(results[key]) is type(value), key
            assert getattr(results[key], "dtype", None) == getattr(value, "dtype", None), key
    assert foreign > 10
    assert hidden > 20
    assert smaller > 10
    for sample, was in zip(samples, before):
        assert sample.keys() == was.keys()
        assert all(np.array_equal(sample[key], was[key]) for key in ("img", "bbox", "keypoints", "keypoints_visible"))


def test_an_unmixed_sample_stays_and_has_the_same_keys():
    samples = posed_samples()
    for base in (0, 1):
        stays = mixed_by(build("CutMix", p=0.0), samples, base, [2])
        moves = mixed_by(build("CutMix"), samples, base, [2])
        assert stays.keys() == moves.keys() == samples[base].keys() | {"mix_seeds"}
        for key in ("img", "bbox", "bbox_score", "category_id", "area", "keypoints", "keypoints_visible"):
            assert np.array_equal(stays[key], samples[base][key]), key
            assert stays[key].dtype == samples[base][key].dtype
        assert stays["id"] == samples[base]["id"]


def test_scaled_partners_bring_their_points_along():
    samples = posed_samples(2, sizes=[(40, 56), (80, 112)])[:1] + posed_samples(3, sizes=[(80, 112)] * 3)[2:]
    mix = build("CutMix", region={"type": "AreaBox", "area": (1.0, 1.0), "aspect": (1.0, 1.0)})
    results = mixed_by(mix, samples, 0, [1])
    assert results["category_id"].tolist() == [20, 21, 22]
    assert np.allclose(results["keypoints"], samples[1]["keypoints"] / 2, atol=1e-4)
    assert np.allclose(results["bbox"], samples[1]["bbox"] / 2, atol=1e-4)
    assert np.allclose(results["area"], samples[1]["area"] / 4, rtol=1e-5)


def test_mirrored_points_change_sides_by_flip_indices():
    samples = posed_samples(3)
    samples = [samples[0], samples[2]]
    mix = build("CopyPaste", flip=1.0, instances="all", boxes="estimate")
    results = mixed_by(mix, samples, 0, [1])
    pasted = np.nonzero(results["category_id"] >= 20)[0]
    assert len(pasted)
    for row in pasted:
        theirs = samples[1]["keypoints"][results["category_id"][row] - 20][[0, 2, 1, 4, 3, 5]]
        assert np.allclose(results["keypoints"][row], [56, 0] + theirs * [-1, 1], atol=1e-4)
    others = [{**sample, "flip_indices": [5, 1, 2, 4, 3, 0]} for sample in samples]  # of another dataset
    results = mixed_by(mix, others, 0, [1])
    pasted = np.nonzero(results["category_id"] >= 20)[0]
    assert len(pasted)
    for row in pasted:
        theirs = samples[1]["keypoints"][results["category_id"][row] - 20][[5, 1, 2, 4, 3, 0]]
        assert np.allclose(results["keypoints"][row], [56, 0] + theirs * [-1, 1], atol=1e-4)
    for sample in samples:
        sample["keypoints_visible"] = np.stack([sample["keypoints_visible"]] * 2, axis=2)
    with pytest.raises(ValueError, match=r"flip must be 0 for keypoints_visible of \(N, K, 2\)"):
        mixed_by(mix, samples, 0, [1])


def test_points_without_visibility_get_it():
    samples = posed_samples(3)
    for sample in samples:
        del sample["keypoints_visible"], sample["num_keypoints"]
    results = mixed_by(build("CutMix", partner_fit="crop"), samples, 0, [2])
    for sample in samples:
        sample["keypoints_visible"] = np.ones(sample["keypoints"].shape[:2], np.float32)
    assert results["keypoints_visible"].dtype == np.float32
    check_people(placed(results["img"], samples), people(results), samples)


def test_mmcvs_keypoints_have_flags():
    """(N, K, 3), what is hidden (0, 0, 0)."""
    samples = []
    for sample in posed_samples(3):
        flags = 2 * sample["keypoints_visible"][..., None]
        points = np.concatenate([sample["keypoints"], flags], axis=2).astype(np.float32)
        samples.append(
            {
                "img": sample["img"],
                "gt_bboxes": sample["bbox"],
                "gt_bboxes_labels": sample["category_id"],
                "gt_keypoints": points,
            }
        )
    plain = posed_samples(3)
    mix = build("CutMix", partner_fit="crop")
    hidden = 0
    for seed in range(12):
        np.random.seed(seed)  # noqa: NPY002
        results = mixed_by(mix, samples, 0, [2])
        prov = placed(results["img"], samples)
        for code, found in zip(results["gt_bboxes_labels"], results["gt_keypoints"]):
            points = plain[code // 10]["keypoints"][code % 10]
            was = plain[code // 10]["keypoints_visible"][code % 10]
            i, j = np.floor(points[:, 1]).astype(int), np.floor(points[:, 0]).astype(int)
            shows = (prov.source[i, j] == code // 10) & (was > 0)
            wanted = np.where(shows[:, None], np.c_[points, 2 * was], 0).astype(np.float32)
            assert np.array_equal(found[was > 0], wanted[was > 0])
            assert not found[was == 0, 2].any(), "what had no label has none"
            hidden += int((~shows & (was > 0)).sum())
    assert hidden > 10
    samples[0]["gt_keypoints"] = samples[0]["gt_keypoints"][..., :2]
    with pytest.raises(ValueError, match=r"gt_keypoints must be \(N, K, 3\)"):
        mixed_by(mix, samples, 0, [2])


def test_the_mask_of_heatmaps_and_depth_follow_the_pixels():
    samples = posed_samples(3)
    rng = np.random.default_rng(0)
    for sample in samples:
        sample["heatmap_mask"] = rng.random(sample["img"].shape[:2]) < 0.5
        sample["gt_depth_map"] = rng.random(sample["img"].shape[:2]).astype(np.float32)
        sample["invalid_segs"] = [[[1.0, 1, 5, 1, 5, 5]]]
    results = mixed_by(build("CutMix", partner_fit="crop"), samples, 0, [2])
    prov = placed(results["img"], samples)
    assert (prov.source == 2).sum() > 20
    for key in ("heatmap_mask", "gt_depth_map"):
        stack = [sample[key] for sample in samples]
        wanted = [[stack[s][y, x] for s, y, x in zip(*row)] for row in zip(prov.source, prov.y, prov.x)]
        assert np.array_equal(results[key], wanted)
        assert results[key].dtype == samples[0][key].dtype
    assert results["invalid_segs"] == [], "they lie where the base had them"
    large = mixed_by(build("RICAP", partner_fit="crop"), samples, 0, [1, 1, 1])
    bare = large["img"][..., 0] == 0
    assert bare.any()
    assert not large["heatmap_mask"][bare].any()
    assert not large["gt_depth_map"][bare].any()
    with pytest.raises(ValueError, match="heatmap_mask|gt_depth_map"):
        mixed_by(build("MixUp"), samples, 0, [2])


def test_lists_out_of_step_stay_the_bases():
    """MMPose's FilterAnnotations shortens the arrays, and not the lists beside them."""
    samples = posed_samples(3)
    for key in ("bbox", "bbox_score", "category_id", "keypoints", "keypoints_visible", "area"):
        samples[0][key] = samples[0][key][1:]
    results = mixed_by(build("CutMix"), samples, 0, [2])
    assert results["id"] == samples[0]["id"]
    assert results["num_keypoints"] == samples[0]["num_keypoints"]


N = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox_center": np.zeros((N, 2))}, "bbox_center.*before GetBBoxCenterScale.*bottomup"),
        ({"bbox_scale": np.zeros((N, 2))}, "bbox_scale.*before GetBBoxCenterScale"),
        ({"bbox_rotation": np.zeros(N)}, "bbox_rotation.*before GetBBoxCenterScale"),
        ({"transformed_keypoints": np.zeros((N, 6, 2))}, "transformed_keypoints.*one person"),
        ({"heatmaps": np.zeros((6, 10, 14))}, "heatmaps.*before GenerateTarget"),
        ({"heatmap_mask": np.zeros((10, 14), bool)}, r"heatmap_mask must be .*\(40, 56\).*before GenerateTarget"),
        ({"heatmap_mask": [np.zeros((10, 14), bool)]}, r"heatmap_mask must be .*list"),
        ({"keypoint_labels": np.zeros((N, 6, 2))}, "keypoint_labels.*before GenerateTarget"),
        ({"label_mapping_table": {"keypoints": "keypoints"}}, "label_mapping_table.*before GenerateTarget"),
        ({"keypoints_3d": np.zeros((N, 6, 3))}, "keypoints_3d.*in space"),
        ({"invalid_segs": [[[1.0, 1, 5, 1, 5, 5]]]}, "invalid_segs.*BottomupGetHeatmapMask before the mix"),
        ({"bbox": np.zeros((N, 4, 2), np.float32)}, "bbox must be.*bbox_keep_corner=False"),
        ({"area": np.float32(3.0)}, "area.*top-down.*bottomup"),
        ({"category_id": np.array(1)}, "category_id.*top-down.*bottomup"),
        ({"flip_indices": [0, 1, 2, 3, 4, 5]}, "flip_indices must be those of all partners"),
        ({"gt_bboxes": np.zeros((N, 4), np.float32)}, "both 'gt_bboxes' and 'bbox'"),
        ({"gt_keypoints": np.zeros((N, 6, 3), np.float32)}, "both 'gt_keypoints' and 'keypoints'"),
        ({"head_size": np.ones(N)}, "head_size.*instance_keys.*image_keys"),
        ({"parts": np.zeros((40, 56), np.uint8)}, "parts.*semantic_keys.*image_keys"),
        ({"masks": [np.zeros((40, 56), np.uint8)]}, "masks.*instance_keys.*image_keys"),
        ({"names": np.array(["a", "b", "c"])}, "names.*instance_keys.*image_keys"),
    ],
)
def test_what_would_stay_unmixed_is_refused(change, message):
    samples = posed_samples(3)
    for p in (0.0, 1.0):
        with pytest.raises(ValueError, match=message):
            mixed_by(build("CutMix", p=p), [{**samples[0], **change}, samples[2]], 0, [1])
        with pytest.raises(ValueError, match=message):
            mixed_by(build("CutMix", p=p), [samples[2], {**samples[0], **change}], 0, [1])


def test_named_keys_are_taken():
    samples = posed_samples(3)
    samples = [samples[0], samples[2]]
    for sample in samples:
        sample["head_size"] = sample["category_id"] / 7
        sample["parts"] = (sample["img"][..., 1] % 5).astype(np.uint8)
        sample["intrinsics"] = np.eye(3)
    keys = {"instance_keys": ["head_size"], "semantic_keys": ["parts"], "image_keys": ["intrinsics"]}
    results = mixed_by(build("CutMix", **keys), samples, 0, [1])
    assert np.array_equal(results["head_size"], results["category_id"] / 7)
    assert np.array_equal(results["parts"], results["img"][..., 1] % 5)
    assert results["intrinsics"] is samples[0]["intrinsics"]
    for key in ("bbox_center", "proposals", "segmentation", "polygons"):
        with pytest.raises(ValueError, match=f"instance_keys can't name '{key}'"):
            build("CutMix", instance_keys=[key])
    for key, why in (("keypoints", "is mixed"), ("gt_seg_map", "is mixed"), ("heatmaps", "before GenerateTarget")):
        with pytest.raises(ValueError, match=f"image_keys can't name '{key}'.*{why}"):
            build("CutMix", image_keys=[key])
    for key, why in (("gt_sem_seg", "is mixed"), ("gt_instances", "is mixed"), ("proposals", "LoadProposals")):
        with pytest.raises(ValueError, match=f"image_keys can't name '{key}'.*{why}"):
            MODELS.build({"type": "cutmix_dense.CutMix", "image_keys": [key]})
    for sample in samples:
        sample["names"] = [f"person {code}" for code in sample["category_id"]]
    keys["instance_keys"].append("names")
    results = mixed_by(build("CutMix", **keys), samples, 0, [1])
    assert results["names"] == [f"person {code}" for code in results["category_id"]]
    for sample in samples:
        sample["names"] = np.array(sample["names"])
    with pytest.raises(TypeError, match="names must hold numbers, or be a list, got an array of <U"):
        mixed_by(build("CutMix", **keys), samples, 0, [1])


def test_ignored_people_have_no_place():
    with pytest.raises(ValueError, match="on_filtered must be 'drop' for MMPose"):
        mixed_by(build("CutMix", on_filtered="ignore"), posed_samples(3), 0, [2])


def test_the_size_of_the_input_follows_the_canvas():
    samples = posed_samples(4)
    for sample in samples:
        height, width = sample["img"].shape[:2]
        sample["input_size"], sample["img_shape"] = (width, height), (11, 12)  # as MMPose's warps leave them
    results = mixed_by(build("CutMix"), samples, 0, [2])
    assert results["img_shape"] == (40, 56)
    assert results["input_size"] == (56, 40)
    results = mixed_by(build("Mosaic", size=(32, 48)), samples, 0, [2, 3, 2])
    assert results["img_shape"] == (32, 48)
    assert results["input_size"] == (48, 32)
