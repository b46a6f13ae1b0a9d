"""How sure a teacher is, and AugSeg's two mixes, against the authors' programs written plainly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from semi.answers import H, K, W, coded, scores_of
from torch.nn import functional as F

import cutmix_dense as cd
from cutmix_dense import semi


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_certainty_is_augsegs_confidence():
    """``train_semi.py``, lines 331 to 335."""
    scores = 2 * torch.randn(3, K, 5, 6, generator=seeded())
    probabilities = scores.softmax(1)
    entropy = -(probabilities * torch.log(probabilities + 1e-10)).sum(1) / np.log(K)
    theirs = ((1.0 - entropy) * probabilities.max(1)[0]).mean(dim=[1, 2])
    assert torch.allclose(semi.certainty(semi.pseudo_labels(scores)), theirs, atol=1e-6)
    valid = torch.zeros(3, 5, 6, dtype=torch.bool)
    valid[0, 2:] = True
    part = semi.certainty(semi.pseudo_labels(scores, valid=valid))
    assert torch.allclose(part[0], ((1.0 - entropy) * probabilities.max(1)[0])[0, 2:].mean(), atol=1e-6)
    assert part[1:].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="probabilities"):
        semi.certainty(semi.pseudo_labels(scores, keep_probabilities=False))


def plain_iou(said: list[int], true: list[int], classes: int, background: int | None) -> float:
    """``meanIOU`` of ``loss_helper.py``, lines 317 to 344, with class weights."""
    total = weights = 0.0
    for one in range(classes):
        both = sum(a == b == one for a, b in zip(said, true))
        either = sum(one in (a, b) for a, b in zip(said, true))
        count = 0 if one == background else true.count(one)
        weights += count
        total += count * both / either if either else 0.0
    return total / weights if weights else 0.0


@pytest.mark.parametrize("background", [0, None])
def test_agreement_is_imas_hardness(background):
    """``loss_helper.py``, lines 398 to 419: (IoU · share of sure pixels, both ways) / 2."""
    student, teacher = 2 * torch.randn(2, 4, 3, 5, 6, generator=seeded(1))
    teacher[0] = student[0]
    teacher[3, 0] += 50  # nothing but background
    student[3, 0] += 50
    found = semi.agreement(student, teacher, threshold=0.6, background=background)
    for index in range(4):
        (ours, said), (theirs, true) = (x[index].softmax(0).max(0) for x in (student, teacher))
        said, true = said.flatten().tolist(), true.flatten().tolist()
        first = plain_iou(said, true, 3, background) * float((theirs >= 0.6).float().mean())
        second = plain_iou(true, said, 3, background) * float((ours >= 0.6).float().mean())
        assert float(found[index]) == pytest.approx((first + second) / 2, abs=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        semi.agreement(student, teacher[:2])


def stated_boxes(plan) -> torch.Tensor:
    return plan.owner_map() == 1


class Recorded(cd.CutMix):
    """Keeps its last plan."""

    def draw_plan(self, pool, generator):
        self.plan = super().draw_plan(pool, generator)
        return self.plan


@pytest.mark.parametrize("seed", range(3))
def test_two_mixes_as_augseg_does_them(seed):
    """``augs_ALIA.py``, lines 59 to 79, from the boxes and orders that were drawn."""
    images, labelled = coded(4), coded(3) + torch.tensor([50.0, 0, 0]).reshape(3, 1, 1)
    labels = (labelled[:, 0].long() + labelled[:, 1].long()) % K
    inject, mix = Recorded(region=cd.regions.BetaBox(8.0, 2.0)), Recorded(region=cd.regions.BetaBox(4.0), p=1.0)
    step = semi.adaptive_consistency(
        scores_of, lambda x: scores_of(x) / 8, images, labelled, labels, inject=inject, mix=mix, generator=seeded(seed)
    )
    probabilities = (scores_of(images) / 8).softmax(1)
    confidence, classes = probabilities.max(1)
    drawn = (stated_boxes(inject.plan), stated_boxes(mix.plan))
    number = step.images[:, 0].round()
    assert torch.equal(step.images[:, 1:], images[:, 1:]), "all pixels stay at their place"
    assert torch.equal(number[~drawn[1]], images[:, 0][~drawn[1]]), "labelled pixels come by the second paste alone"
    for i in range(4):
        for y, x in drawn[1][i].nonzero().tolist():
            n = int(number[i, y, x])
            label, sure = int(step.pseudo.labels[i, y, x]), float(step.pseudo.confidence[i, y, x])
            if n >= 50:
                assert drawn[0][:, y, x].any(), "within a box of the first paste"
                assert (label, sure) == (int(labels[n - 50, y, x]), 1.0)
            else:
                assert (label, sure) == (int(classes[n, y, x]), pytest.approx(float(confidence[n, y, x])))
    loss = F.cross_entropy(scores_of(step.images), step.pseudo.labels, reduction="none")
    expected = (loss * (step.pseudo.confidence >= 0.95)).mean()  # loss_helper.py, lines 312 to 315
    assert torch.allclose(step.loss, expected, rtol=1e-5)
    assert step.logs["injected"].item() == pytest.approx(float(drawn[0].float().mean()), abs=1e-6)


def test_unsure_images_get_labelled_pixels():
    """``augs_ALIA.py``, line 60: with the probability 1 − confidence."""
    sure = torch.linspace(0, 12, 8).repeat(50)

    def teacher(images):
        return torch.stack([sure, -sure], 1).reshape(400, 2, 1, 1).expand(-1, -1, *images.shape[2:])

    images, inject = torch.zeros(400, 1, 8, 8), Recorded(region=cd.regions.AreaBox(area=(0.5, 0.5)))
    semi.adaptive_consistency(
        teacher, teacher, images, images[:2], torch.zeros(2, 8, 8).long(), inject=inject, generator=seeded(4)
    )
    rate = (inject.plan.source[:, 1] >= 0).float().reshape(50, 8).mean(0)
    certain = semi.certainty(semi.pseudo_labels(teacher(images)))[:8]
    assert (rate - (1 - certain)).abs().max() < 4 * 0.5 / math.sqrt(50)
    assert rate[0] == 1.0
    assert rate[-1] == 0.0


def test_the_published_figures():
    """``augs_ALIA.py``, lines 55 and 56: Beta(8, 2) and Beta(4, 4); ``config_semi.yaml``, line 52: 0.95."""
    consistency = semi.Consistency.augseg()
    assert (consistency.threshold, consistency.distance, consistency.denominator) == (0.95, "cross_entropy", "all")
    g = seeded(5)
    images, labels = torch.zeros(600, 1, 64, 64), torch.zeros(600, 64, 64).long()
    step = semi.adaptive_consistency(
        lambda x: x.expand(-1, 2, -1, -1), lambda x: x.expand(-1, 2, -1, -1), images, images, labels, generator=g
    )

    def area(alpha: float, beta: float) -> float:
        box = cd.regions.BetaBox(alpha, beta)
        rows = box.place(box.draw(4000, seeded(6)), torch.tensor([[64, 64]] * 4000))[:, 0]
        return float(((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])).float().mean() / 64**2)

    assert step.logs["injected"].item() == pytest.approx(area(8, 2), abs=0.02)
    assert float((step.plan.owner_map() == 1).float().mean()) == pytest.approx(area(4, 4), abs=0.02)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"threshold": 95}, r"threshold must be a probability in \[0, 1\], not in percent, got 95"),
        ({"threshold": float("nan")}, "threshold must be"),
        ({"background": 255}, r"background must be a class in 0 … 3, or None for none, got 255"),
        ({"background": -1}, "background must be .* got -1"),
    ],
)
def test_settings_of_agreement_are_checked(options, reason):
    logits = torch.rand(2, 4, 8, 8)
    with pytest.raises(ValueError, match=reason):
        semi.agreement(logits, logits, **options)
    with pytest.raises(ValueError, match="2 or more classes"):
        semi.agreement(logits[:, :1], logits[:, :1])


def test_what_is_refused():
    images, labels = coded(2), torch.zeros(2, H, W).long()
    for labelled, theirs in ((images[:, :, :5], labels), (images[:0], labels[:0]), (images, labels[:1])):
        with pytest.raises(ValueError, match="labelled must be"):
            semi.adaptive_consistency(scores_of, scores_of, images, labelled, theirs)
    for theirs, reason in (
        (labels / 255, "integer class ids .*got torch.float32"),
        (labels[:, None], "squeeze"),
        (labels[:, ::2, ::2], r"of shape \(2, 12, 20\), got torch.int64 \(2, 6, 10\): resize"),
        (labels + 7, "hold class ids in 0 … 6, .* got 7"),
    ):
        with pytest.raises(ValueError, match=f"^labels must .*{reason}"):
            semi.adaptive_consistency(scores_of, scores_of, images, images, theirs)
    with pytest.raises(ValueError, match="ignore_index"):
        semi.adaptive_consistency(scores_of, scores_of, images, images, labels, mix=cd.CutMix(ignore_index=250))
    with pytest.raises(ValueError, match="bank"):
        semi.adaptive_consistency(
            scores_of, scores_of, images, images, labels, inject=cd.CutMix(pairing=cd.SampleBank())
        )
