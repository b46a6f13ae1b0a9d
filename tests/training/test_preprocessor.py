"""What the preprocessor hands to models: moved, resized, mixed, normalised; and nothing of it in evaluation."""

from __future__ import annotations

import warnings

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as TF

import cutmix_dense as cd
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
