"""What the preprocessor hands to models: moved, resized, mixed, normalised; and nothing of it in evaluation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as TF

import cutmix_dense as cd
import cutmix_dense.training.semi  # registers its models
import cutmix_dense.training.semi_detector
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.randomness import generator_from
from cutmix_dense.training import DenseTrainingDataset, MixPreprocessor, collate
from cutmix_dense.warned import MixWarning


def batch_of(demo, task, layout="coco", count=4, size=None):
    transforms = [] if size is None else [{"type": "Resize", "size": size}]
    dataset = DenseTrainingDataset(str(demo / layout), "train", layout=layout, task=task, transforms=transforms)
    return collate([dataset[i] for i in range(count)])


def test_images_are_normalised_as_torchvision_does(demo):
    batch = batch_of(demo, "detection")
    made = MixPreprocessor()(batch)["images"]
    expected = TF.normalize(
        torch.stack([image.as_subclass(torch.Tensor) for image in batch["images"]]).float() / 255,
        [0.485, 0.456, 0.406],
        [0.229, 0.224, 0.225],
    )
    torch.testing.assert_close(made, expected)
    assert type(made) is torch.Tensor


def test_images_of_different_sizes_stay_a_list(demo):
    batch = batch_of(demo, "detection")
    batch["images"][1] = tv_tensors.Image(batch["images"][1][:, :-8])
    made = MixPreprocessor()(batch)
    assert [tuple(image.shape) for image in made["images"]] == [tuple(image.shape) for image in batch["images"]]
    assert made["targets"][1]["orig_size"] == (40, 64)


def test_a_mix_is_the_transform_with_the_seed_that_is_told(demo):
    batch = batch_of(demo, "instances")
    preprocessor = MixPreprocessor(mix={"type": "CutMix", "p": 1.0}, mean=(0, 0, 0), std=(1, 1, 1))
    torch.manual_seed(4)
    made = preprocessor(batch, training=True)
    generator = generator_from(preprocessor.last_seed)
    images, targets = cd.CutMix(p=1.0)(torch.stack(batch["images"]), batch["targets"], generator=generator)
    torch.testing.assert_close(made["images"], images.as_subclass(torch.Tensor).float() / 255)
    for ours, theirs in zip(made["targets"], targets):
        assert {*theirs, "orig_size"} == set(ours)
        assert torch.equal(ours["boxes"], theirs["boxes"])
        assert torch.equal(ours["masks"], theirs["masks"])
    torch.manual_seed(4)
    assert torch.equal(preprocessor(batch, training=True)["images"], made["images"])
    assert not torch.equal(preprocessor(batch, training=True)["images"], made["images"])


def test_nothing_is_mixed_in_evaluation_or_when_closed(demo):
    batch = batch_of(demo, "detection")
    preprocessor = MixPreprocessor(mix={"type": "CutMix", "p": 1.0})
    plain = MixPreprocessor()(batch)["images"]
    assert torch.equal(preprocessor(batch)["images"], plain)
    assert not torch.equal(preprocessor(batch, training=True)["images"], plain)
    preprocessor.close()
    assert torch.equal(preprocessor(batch, training=True)["images"], plain)


def test_targets_are_resized_in_training_only(demo):
    batch = batch_of(demo, "instances", layout="cityscapes")
    preprocessor = MixPreprocessor(size=(24, 16))
    trained, evaluated = preprocessor(batch, training=True), preprocessor(batch)
    assert trained["images"].shape == evaluated["images"].shape == (4, 3, 24, 16)
    for before, during, after in zip(batch["targets"], trained["targets"], evaluated["targets"]):
        assert torch.equal(after["boxes"], before["boxes"])
        scale = torch.tensor([16 / 64, 24 / 48] * 2)
        torch.testing.assert_close(during["boxes"].as_subclass(torch.Tensor), before["boxes"] * scale)
        assert during["masks"].shape[-2:] == (24, 16)
        torch.testing.assert_close(during["area"], before["area"] / 8)
        assert during["orig_size"] == after["orig_size"] == (48, 64)


def test_the_warning_of_a_batch_of_one_fits_a_training(demo):
    """No bank is advised, which would be refused; and nothing is told of the last batch of an epoch."""
    alone, several = batch_of(demo, "detection", count=1), batch_of(demo, "detection", count=3)
    preprocessor = MixPreprocessor(mix={"type": "CutMix", "p": 1.0})
    with pytest.warns(MixWarning, match="CutMix got a batch of one image, .* stays as it is: use larger batches$"):
        made = preprocessor(alone, training=True)
    assert torch.equal(made["images"], MixPreprocessor()(alone)["images"])
    other = MixPreprocessor(mix={"type": "CutMix", "p": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other(several, training=True)
        made = other(alone, training=True)
    assert torch.equal(made["images"], MixPreprocessor()(alone)["images"])
    assert made["targets"][0]["visibility"].tolist() == [1.0] * len(alone["targets"][0]["boxes"])


def test_labels_become_probabilities():
    batch = {
        "images": [tv_tensors.Image(torch.full((3, 8, 8), value, dtype=torch.uint8)) for value in (0, 255)],
        "targets": [{"image_id": i, "label": torch.tensor(i)} for i in range(2)],
    }
    preprocessor = MixPreprocessor(mix={"type": "CutMix", "p": 1.0, "num_classes": 3}, mean=(0, 0, 0), std=(1, 1, 1))
    made = preprocessor(batch, training=True)
    white = made["images"].mean(dim=(1, 2, 3))
    labels = torch.stack([target["label"] for target in made["targets"]])
    torch.testing.assert_close(labels[:, 1], white)
    torch.testing.assert_close(labels.sum(1), torch.ones(2))
    assert [target["image_id"] for target in made["targets"]] == [0, 1]


def coded(targets=({}, {}, {}, {}), height=48, width=64):
    """A batch whose pixels tell their image; targets have the same map as ``semantic``."""
    values = [torch.full((height, width), index) for index in range(len(targets))]
    return {
        "images": [tv_tensors.Image(value.expand(3, -1, -1).to(torch.uint8)) for value in values],
        "targets": [
            {"image_id": index, "semantic": tv_tensors.Mask(value), **target}
            for index, (value, target) in enumerate(zip(values, targets))
        ],
    }


RAW = {"mean": (0, 0, 0), "std": (1 / 255,) * 3}
"""With these, images come out with the values that they had."""


@pytest.mark.parametrize("name", ["CutMix", "CowMix", "RICAP", "ResizeMix"])
@pytest.mark.parametrize("size", [None, (24, 40)])
def test_maps_beside_the_targets_follow_the_images(name, size):
    batch = coded()
    maps = torch.stack([target["semantic"] for target in batch["targets"]])
    beside = {
        "depth": maps.float() + 0.25,
        "logits": torch.stack([maps, 10.0 * maps], dim=1),
        "ids": [tv_tensors.Mask(each) for each in maps],
    }
    settings = {} if name == "RICAP" else {"p": 1.0}
    preprocessor = MixPreprocessor(mix={"type": name, **settings}, size=size, **RAW)
    made = preprocessor({**batch, **beside}, training=True)
    assert list(made) == ["images", "targets", *beside]
    found = made["images"][:, 0].round()
    assert {found.shape[1:], *(value.shape[-2:] for value in made.values() if torch.is_tensor(value))} == {
        size or (48, 64)
    }
    assert any(len(image.unique()) > 1 for image in found)  # it was mixed
    torch.testing.assert_close(made["depth"], found + 0.25)
    torch.testing.assert_close(made["logits"], torch.stack([found, 10 * found], dim=1))
    assert torch.equal(made["ids"].float(), found)
    assert torch.equal(torch.stack([target["semantic"] for target in made["targets"]]).float(), found)


def test_maps_of_images_of_different_sizes_and_of_an_evaluation():
    batch = coded()
    batch["images"][1] = batch["images"][1][:, :40]
    batch["targets"][1]["semantic"] = batch["targets"][1]["semantic"][:40]
    batch["depth"] = [target["semantic"].as_subclass(torch.Tensor) + 0.5 for target in batch["targets"]]
    made = MixPreprocessor(mix={"type": "CutMix", "p": 1.0}, **RAW)(batch, training=True)
    for image, depth in zip(made["images"], made["depth"], strict=True):
        torch.testing.assert_close(depth, image[0].round() + 0.5)
    evaluated = MixPreprocessor(mix={"type": "CutMix", "p": 1.0}, size=(24, 40), **RAW)(batch)
    assert evaluated["images"].shape == (4, 3, 24, 40)
    assert all(torch.equal(one, other) for one, other in zip(evaluated["depth"], batch["depth"], strict=True))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(4), r"depth must be maps beside .* got tensor of shape \(4,\): what else .* into its target"),
        (torch.zeros(4, 5), "depth must be maps beside the targets"),
        (torch.zeros(3, 48, 64), "for each of the 4 images, got tensor of shape"),
        ([0.0] * 4, "got list of length 4"),
        (None, "got NoneType"),
        (np.zeros((4, 48, 64)), "got array of shape .*: torch.from_numpy makes a tensor of it"),
        (torch.zeros(4, 24, 64), r"depth\[0\] must have its image's size \(48, 64\), got \(24, 64\)"),
    ],
)
def test_no_other_entry_of_a_batch_passes_silently(training, value, words):
    preprocessor = MixPreprocessor(mix={"type": "CutMix", "p": 1.0})
    with pytest.raises((TypeError, ValueError), match=words):
        preprocessor({**coded(), "depth": value}, training=training)


def test_what_is_advised_is_there():
    preprocessor = MixPreprocessor(mix={"type": "CutMix", "p": 1.0}, **RAW)
    batch = coded([{"depth": torch.zeros(48, 64)}] * 4)
    with pytest.raises(ValueError, match=r"goes beside the list, \{'targets': \[...\], 'depth': \(B, H, W\)\}"):
        preprocessor(batch, training=True)
    with pytest.raises(ValueError, match="'class', a label of the whole image: name the image's class 'label', so"):
        preprocessor(coded([{"class": torch.tensor(1)}] * 4), training=True)
    filling = MixPreprocessor(mix={"type": "Mosaic"}, **RAW)
    depth = torch.stack([target["semantic"] for target in coded()["targets"]])
    with pytest.raises(ValueError, match="^depth has no value for .*: give a map of integers, or take a mix that"):
        filling({**coded(), "depth": depth.float()}, training=True)
    made = filling({**coded(), "depth": depth}, training=True)
    owned = made["depth"] < 255
    assert torch.equal(made["depth"][owned].float(), made["images"][:, 0].round()[owned])
    with pytest.raises(ValueError, match="^masks holds instances"):
        preprocessor({**coded(), "masks": depth}, training=True)


def test_a_label_leaves_no_map_of_its_target_unmixed():
    preprocessor = MixPreprocessor(mix={"type": "CutMix", "p": 1.0, "num_classes": 4}, **RAW)
    made = preprocessor(coded([{"label": torch.tensor(index)} for index in range(4)]), training=True)
    for image, target in zip(made["images"], made["targets"], strict=True):
        assert torch.equal(target["semantic"].float(), image[0].round())
        shares = torch.bincount(target["semantic"].flatten().long(), minlength=4) / (48 * 64)
        torch.testing.assert_close(target["label"], shares)
    with pytest.raises(ValueError, match=r"'label' must be in every target or in none; targets\[1\] has none"):
        preprocessor(coded([{"label": torch.tensor(0)}, {}]), training=True)


@pytest.mark.parametrize("made", ["Segmenter", "Classifier", "Detector", "SemiSegmenter", "SemiDetector"])
def test_models_that_know_no_maps_ignore_them(made):
    settings = {
        "Segmenter": {"num_classes": 4},
        "Classifier": {"num_classes": 4},
        "Detector": {"num_classes": 4},
        "SemiSegmenter": {"student": {"num_classes": 4}},
        "SemiDetector": {"student": {"num_classes": 4}},
    }
    torch.manual_seed(0)
    model = MODELS.build({"type": f"cutmix_dense.{made}", **settings[made]}).eval()
    outputs = []
    for more in ({}, {"depth": torch.zeros(4, 48, 64)}):
        data = model.data_preprocessor({**coded(), **more}, training=True)
        assert set(more) == {*data} - {"images", "targets"}
        outputs.append(tree_leaves(model(**data)))
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mix": {"type": "CutMixx"}}, "CutMix"),
        ({"mix": {"type": "BetaBox"}}, "mix must be a mixing transform"),
        ({"mix": {"type": "CutMix", "pairing": "bank"}}, "bank"),
        ({"size": (0, 4)}, "size must be"),
        ({"size": (4,)}, "size must be"),
        ({"size": 160}, r"size must be \(height, width\), both above 0, got 160: write \(160, 160\)"),
    ],
)
def test_mistakes_are_named(settings, words):
    with pytest.raises((ValueError, TypeError), match=words):
        MixPreprocessor(**settings)
