"""Recipes and windows in MMEngine: built from a config, told the epoch or iteration by a hook; needs MMEngine alone."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("mmengine", reason="needs MMEngine")

from mmengine.structures import BaseDataElement, InstanceData, PixelData
from test_hook import Images, by_epoch, train

import cutmix_dense as cd
from cutmix_dense.mmengine import HOOKS, MODELS, TRANSFORMS

EPOCHS = {"type": "EpochBasedTrainLoop", "max_epochs": 4}
ITERS = {"type": "IterBasedTrainLoop", "max_iters": 8}
HOOK = {"type": "cutmix_dense.MixScheduleHook"}


class Plain(Images):
    """Images without a mix of samples."""

    def __init__(self):
        super().__init__(lambda sample: sample)


def windowed(window, **more):
    inner = {"type": "CutMix", "p": 1.0}
    return {"type": "cutmix_dense.RandomMix", "transforms": [inner], "windows": [window], **more}


def samples(count=4, size=(32, 48)):
    made = []
    for index in range(count):
        sample = BaseDataElement(metainfo={"img_shape": size, "batch_input_shape": size, "pad_shape": size})
        boxes = torch.tensor([[4.0, 4, 20, 16], [22, 8, 44, 28]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([index, index + 10]))
        made.append(sample)
    return made


def test_windows_of_epochs_in_a_model(tmp_path):
    seen = train(
        tmp_path, HOOK, dataset=Plain(), augment=MODELS.build(windowed((1, 3))), loop=EPOCHS, name="epochs-batch"
    )
    assert seen == [False, False, True, True, True, True, False, False]


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_of_epochs_in_a_pipeline(tmp_path, workers):
    mix = TRANSFORMS.build(windowed((1, 3), max_cached_images=6))
    seen = train(tmp_path, HOOK, dataset=Images(mix), loop=EPOCHS, workers=workers, name=f"epochs-sample-{workers}")
    assert seen == [False, False, True, True, True, True, False, False]


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_of_iterations(tmp_path, workers):
    hook = {**HOOK, "by_epoch": False}
    augment = MODELS.build(windowed((2, 5)))
    expected = [False] * 2 + [True] * 3 + [False] * 3
    seen = train(tmp_path, hook, dataset=Plain(), augment=augment, loop=ITERS, workers=workers, name=f"ib-{workers}")
    assert seen == expected
    mix = TRANSFORMS.build(windowed((2, 5), max_cached_images=6))
    seen = train(tmp_path, hook, dataset=Images(mix), loop=ITERS, workers=0, name=f"is-{workers}")
    assert seen == expected


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("switch", "expected"), [(1, [0, 1, 1, 0]), (2, [0, 1, 1, 0]), (3, [0, 1, 1, 0])])
def test_windows_of_a_pipeline_that_is_switched(tmp_path, switch, expected, workers):
    """Before, in and behind the window; in the last epoch of it, too."""
    settings = windowed((1, 3), max_cached_images=6)
    switching = {"type": "Switching", "switch_epoch": switch, "switch_pipeline": [settings]}
    dataset, name = Images(TRANSFORMS.build(settings)), f"switched-{switch}-{workers}"
    seen = train(tmp_path, HOOK, switching, dataset=dataset, loop=EPOCHS, workers=workers, name=name)
    assert by_epoch(seen, 4) == expected


@pytest.mark.parametrize("outer", ["alone", "RandomMix", "list"])
def test_windows_that_only_a_switched_pipeline_has(tmp_path, outer):
    """They need the hook, and are enough for it."""
    settings = windowed((2, 4), max_cached_images=6)
    if outer == "RandomMix":
        inner = {**windowed((2, 4)), "type": "RandomMix"}
        settings = {"type": "cutmix_dense.RandomMix", "transforms": [inner], "max_cached_images": 6}
    pipeline = [settings] if outer != "list" else [{"type": "Steps", "transforms": [settings]}]
    switching = {"type": "Switching", "switch_epoch": 1, "switch_pipeline": pipeline}
    with pytest.raises(ValueError, match="RandomMix has windows.*MixScheduleHook"):
        train(tmp_path, switching, dataset=Plain(), loop=EPOCHS, name=f"only-{outer}")
    if outer != "list":
        seen = train(tmp_path, HOOK, switching, dataset=Plain(), loop=EPOCHS, name=f"both-{outer}")
        assert by_epoch(seen, 4) == [0, 0, 1, 1]
    switching["switch_pipeline"] = [windowed(None, max_cached_images=6) | {"windows": None}]
    with pytest.raises(ValueError, match=r"no mix with windows .* of hooks \(switch_pipeline\)"):
        train(tmp_path, HOOK, switching, dataset=Plain(), loop=EPOCHS, name=f"neither-{outer}")


def test_windows_need_the_hook_and_the_hook_needs_windows(tmp_path):
    idle = {"type": "ParamSchedulerHook"}
    with pytest.raises(ValueError, match="RandomMix has windows.*MixScheduleHook"):
        train(tmp_path, idle, dataset=Plain(), augment=MODELS.build(windowed((1, 3))), loop=EPOCHS, name="no-hook")
    cut = MODELS.build({"type": "cutmix_dense.CutMix"})
    with pytest.raises(ValueError, match="no mix with windows"):
        train(tmp_path, HOOK, dataset=Plain(), augment=cut, loop=EPOCHS, name="no-windows")
    with pytest.raises(ValueError, match="by_epoch=False"):
        train(tmp_path, HOOK, dataset=Plain(), augment=MODELS.build(windowed((1, 3))), loop=ITERS, name="no-epochs")
    assert HOOKS.build(HOOK).by_epoch


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"type": "cutmix_dense.dense_o2o", "epochs": 12}, (32, 48)),
        ({"type": "cutmix_dense.yolox", "size": (40, 56)}, (40, 56)),
        ({"type": "cutmix_dense.yolo26", "model": "s", "size": (40, 56)}, (40, 56)),
        ({"type": "cutmix_dense.lightly", "window": (0, 9), "copyblend_window": (0, 9)}, (32, 48)),
        ({"type": "cutmix_dense.Chain", "transforms": [{"type": "Mosaic"}, {"type": "Affine"}]}, (32, 48)),
    ],
)
def test_recipes_mix_data_samples_as_the_core_does(config, size):
    mix = MODELS.build(config)
    mix.set_progress(5)
    images, mixed, blended = torch.rand(4, 3, 32, 48), 0, 0
    for seed in range(6):
        torch.manual_seed(seed)
        inputs, after = mix(images, samples())
        assert inputs.shape == (4, 3, *size)
        (used,) = after[0].mix_seeds
        targets = [{"boxes": s.gt_instances.bboxes, "labels": s.gt_instances.labels} for s in samples()]
        expected, rows = mix.mix(images, targets, generator=torch.Generator().manual_seed(used))
        torch.testing.assert_close(inputs, expected)
        for sample, row in zip(after, rows):
            assert sample.img_shape == size
            torch.testing.assert_close(sample.gt_instances.bboxes, row["boxes"])
            for key in ("labels", "origin", "visibility"):
                assert torch.equal(sample.gt_instances[key], row[key]), key
            assert ("weight" in sample.gt_instances) == ("weight" in row)
            blended += "weight" in row and bool((row["weight"] < 1).any())
            mixed += len(row["origin"][:, 0].unique()) > 1
    assert mixed > 3
    assert config["type"] != "cutmix_dense.dense_o2o" or blended


def test_maps_of_ids_follow_and_values_are_refused():
    mix = MODELS.build({"type": "cutmix_dense.Chain", "transforms": [{"type": "Mosaic"}, {"type": "Affine"}]})
    given = samples()
    for index, sample in enumerate(given):
        sample.gt_sem_seg = PixelData(data=torch.full((1, 32, 48), index))
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 32, 48)
    inputs, after = mix(images, given)
    for image, sample in zip(inputs, after):
        ids, whole = sample.gt_sem_seg.data[0], image[0] == image[0].round()
        agree = (ids == image[0]) | (ids == 255) | ~whole
        assert agree.float().mean() > 0.97
    deep = samples()
    for sample in deep:
        sample.gt_depth_map = PixelData(data=torch.ones(1, 32, 48))
    with pytest.raises(ValueError, match="gt_depth_map holds values"):
        mix(images, deep)


CUT = {"type": "CutMix", "p": 1.0}


@pytest.mark.parametrize(
    "config",
    [
        *({"type": f"cutmix_dense.{name}"} for name in (*cd.recipes.RECIPES, "Affine")),
        {"type": "cutmix_dense.Chain", "transforms": [CUT]},
        {"type": "cutmix_dense.RandomMix", "transforms": [{"type": "Chain", "transforms": [CUT]}]},
        {"type": "cutmix_dense.RandomMix", "transforms": [{"type": "Affine"}, CUT]},
    ],
)
def test_what_mixes_batches_is_refused_in_a_pipeline_of_samples(config):
    with pytest.raises(ValueError, match=r"mixes batches, not the samples .* model\.data_preprocessor"):
        TRANSFORMS.build(config)


@pytest.mark.parametrize("registry", [TRANSFORMS, MODELS], ids=["samples", "batches"])
@pytest.mark.parametrize("name", ["Cutout", "MaskMix", "TileSwap"])
def test_what_has_no_form_here_is_refused(registry, name):
    with pytest.raises(ValueError, match=f"cutmix_dense.{name} (erases|needs a mask|exchanges tiles)"):
        registry.build({"type": f"cutmix_dense.{name}"})


def test_a_chain_that_is_drawn_mixes_as_the_core_does():
    chains = [{"type": "Chain", "transforms": [{"type": "Mosaic", "p": 1.0}, {"type": "Affine"}]}, CUT]
    mix = MODELS.build({"type": "cutmix_dense.RandomMix", "transforms": chains})
    images = torch.rand(4, 3, 32, 48)
    for seed in range(4):
        torch.manual_seed(seed)
        inputs, after = mix(images, samples())
        targets = [{"boxes": s.gt_instances.bboxes, "labels": s.gt_instances.labels} for s in samples()]
        generator = torch.Generator().manual_seed(after[0].mix_seeds[0])
        expected, rows = mix.mix(images, targets, generator=generator)
        torch.testing.assert_close(inputs, expected)
        assert all(torch.equal(sample.gt_instances.origin, row["origin"]) for sample, row in zip(after, rows))


def test_a_schedule_of_its_own_is_refused():
    with pytest.raises(ValueError, match="close_last"):
        MODELS.build(
            {"type": "cutmix_dense.RandomMix", "transforms": [{"type": "CutMix"}], "total": 5, "close_last": 1}
        )
