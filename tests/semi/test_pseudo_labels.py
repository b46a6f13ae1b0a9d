"""Pseudo-labels go where their pixels go: labels, confidence, validity, probabilities, by one plan."""

from __future__ import annotations

import pytest
import torch
from semi.answers import H, W, coded, scores_of, valid_of

import cutmix_dense as cd
from cutmix_dense.semi import Cutout, given_labels, mix_pseudo, pseudo_labels

METHODS = [
    cd.CutMix(region=cd.regions.AreaBox.french(), p=1.0),
    cd.CutMix(region=cd.regions.MultiBox.french(), p=0.7, pairing="swap"),
    cd.ClassMix(),
    cd.CowMix(p=1.0, sigma=(2.0, 4.0)),
    cd.FMix(p=1.0),
    cd.ResizeMix(),
    cd.Mosaic(p=1.0),
    cd.GridMix(p=1.0),
    Cutout(),
]


@pytest.mark.parametrize("mix", METHODS, ids=lambda mix: type(mix).__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_pixel_by_pixel_with_the_images(mix, seed):
    images = coded(4)
    pseudo = pseudo_labels(scores_of(images), valid=valid_of(images))
    plan = mix.make_plan(images, pseudo.labels, generator=torch.Generator().manual_seed(seed))
    mixed = mix_pseudo(pseudo, plan)
    # a scaled image must be read at whole source pixels, else its codes would be averages
    shown = cd.functional.mix_pixels(images, plan, fill=-1.0, interpolation="nearest")
    owned = (shown >= 0).all(dim=1)
    assert bool((shown != images).any()), "nothing was mixed"
    expected = pseudo_labels(scores_of(shown), valid=valid_of(shown) & owned)
    assert torch.equal(mixed.labels, expected.labels)
    assert torch.equal(mixed.valid, expected.valid)
    assert torch.equal(mixed.confidence, torch.where(owned, expected.confidence, 0))
    assert torch.equal(mixed.probabilities, torch.where(owned[:, None], expected.probabilities, 0))
    assert bool((~owned).any()) >= isinstance(mix, Cutout)
    assert torch.equal(mixed.labels == 255, ~mixed.valid)


def test_labels_confidence_and_validity():
    scores = torch.tensor([[[[0.0, 3.0]], [[2.0, 1.0]]]])  # (1, 2, 1, 2)
    pseudo = pseudo_labels(scores)
    assert pseudo.labels.tolist() == [[[1, 0]]]
    assert torch.allclose(pseudo.confidence, torch.tensor([[[2.0, 2.0]]]).sigmoid())
    assert pseudo.valid.all()
    unseen = pseudo_labels(scores, valid=torch.tensor([[[True, False]]]), ignore_index=250)
    assert unseen.labels.tolist() == [[[1, 250]]]
    assert torch.equal(unseen.confidence, pseudo.confidence), "confidence is what the teacher said, valid or not"
    same = pseudo_labels(scores.softmax(dim=1), is_probability=True)
    assert torch.equal(same.probabilities, pseudo.probabilities)


def test_padding_is_not_valid():
    pseudo = pseudo_labels(torch.randn(2, 3, 5, 8), sizes=torch.tensor([[5, 6], [3, 8]]))
    expected = torch.zeros(2, 5, 8, dtype=torch.bool)
    expected[0, :5, :6] = True
    expected[1, :3, :8] = True
    assert torch.equal(pseudo.valid, expected)
    assert torch.equal(pseudo.labels == 255, ~expected)


def test_given_labels():
    labels = torch.tensor([[[0, 2, 255]]], dtype=torch.uint8)
    truth = given_labels(labels, 3)
    assert truth.labels.tolist() == [[[0, 2, 255]]]
    assert truth.confidence.tolist() == [[[1, 1, 0]]]
    assert truth.valid.tolist() == [[[True, True, False]]]
    assert truth.probabilities[0, :, 0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.zeros(1, 2, 3), r"got torch.float32 \(1, 2, 3\): .*ToTensor"),
        (torch.zeros(1, 1, 2, 3).long(), r"of shape \(B, H, W\), got torch.int64 \(1, 1, 2, 3\): .*squeeze"),
        (torch.zeros(2, 3).long(), "one map per image"),
        (torch.tensor([[[0, 3]]]), r"0 … 2.*or ignore_index \(255\), got 3: map"),
        (torch.tensor([[[0, -1]]]), "got -1"),
    ],
)
def test_given_labels_are_ids_of_the_classes(labels, reason):
    with pytest.raises(ValueError, match=f"labels must .*{reason}"):
        given_labels(labels, 3)


def test_no_gradient_leads_back():
    scores = torch.randn(1, 3, 4, 5, requires_grad=True)
    pseudo = pseudo_labels(scores)
    assert not pseudo.confidence.requires_grad
    assert not pseudo.probabilities.requires_grad


@pytest.mark.parametrize("probability", [0.0, 0.6, 1.0])
def test_cutout_erases_what_cutmix_would_paste(probability):
    """From the same generator, the same regions of the same images: only the paste differs."""
    images, region = coded(5), cd.regions.AreaBox(area=(0.1, 0.5))
    for seed in range(5):
        ours = Cutout(region=region, p=probability).make_plan(images, generator=torch.Generator().manual_seed(seed))
        theirs = cd.CutMix(region=region, p=probability).make_plan(
            images, generator=torch.Generator().manual_seed(seed)
        )
        assert torch.equal(ours.owner_map() == -1, theirs.owner_map() == 1)
        assert ours.layers == 1
        assert torch.equal(ours.source[:, 0], torch.arange(5))
    assert (ours.owner_map() == -1).any() == (probability > 0)


def test_cutout_needs_no_partner_and_erases_annotations_too():
    image = coded(1)
    mixed, maps = Cutout(fill=-7.0)(image, torch.ones(1, H, W, dtype=torch.long))
    erased = (mixed == -7).all(dim=1)
    assert 0.4 < erased.float().mean() < 0.6
    assert torch.equal(maps == 255, erased)


def test_what_is_refused():
    with pytest.raises(ValueError, match="scores"):
        pseudo_labels(torch.zeros(1, 4, 5))
    with pytest.raises(ValueError, match="valid"):
        pseudo_labels(torch.randn(1, 3, 4, 5), valid=torch.ones(1, 5, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="sizes"):
        pseudo_labels(torch.randn(1, 3, 4, 5), sizes=torch.tensor([4, 5]))
    with pytest.raises(ValueError, match="ignore_index"):
        pseudo_labels(torch.randn(1, 3, 4, 5), ignore_index=2)
    images = coded(2)
    blend = cd.MixUp(p=1.0).make_plan(images)
    with pytest.raises(ValueError, match="soft plan"):
        mix_pseudo(pseudo_labels(scores_of(images)), blend)
    with pytest.raises(TypeError, match="region"):
        Cutout(region=0.5)
    with pytest.raises(ValueError, match="objects"):
        Cutout(region=cd.regions.ObjectBox())
