"""UniMatch V2's two views and complementary dropout, against the authors' program written plainly."""

from __future__ import annotations

import pytest
import torch
from semi.answers import coded, scores_of, valid_of
from torch.nn import functional as F

import cutmix_dense as cd
from cutmix_dense import semi

UNIMATCH = cd.CutMix(region=cd.regions.AreaBox.unimatch(), p=0.5, pairing="flip")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strong_of(images: torch.Tensor) -> list[torch.Tensor]:
    return [images + 0.25, images * 1.5]


def student_of(images: torch.Tensor) -> torch.Tensor:
    return torch.tanh(scores_of(images / 9))


@pytest.mark.parametrize("threshold", [0.0, 0.8])
def test_the_loss_is_that_of_the_authors(threshold):
    """``unimatch_v2.py``, lines 170 to 202, from the boxes that were drawn."""
    images, strong = coded(4), strong_of(coded(4))
    valid = valid_of(images)
    loss_of = semi.Consistency.unimatch(threshold)
    step = semi.mixed_views(
        student_of, scores_of, images, UNIMATCH, strong, valid=valid, consistency=loss_of, generator=seeded(3)
    )
    confidence, labels = scores_of(images).softmax(1).max(1)
    ignored = torch.where(valid, 0, 255)
    losses, areas = [], []
    for view, picture in zip(step.views, strong, strict=True):
        box = view.plan.owner_map() == 1
        areas.append(box.float().mean())
        mixed = torch.where(box[:, None], picture.flip(0), picture)
        assert torch.equal(view.images, mixed)
        label, sure, ignore = (torch.where(box, one.flip(0), one) for one in (labels, confidence, ignored))
        loss = F.cross_entropy(student_of(mixed), label, reduction="none") * ((sure >= threshold) & (ignore != 255))
        losses.append(loss.sum() / (ignore != 255).sum())
    assert torch.allclose(step.loss, (losses[0] + losses[1]) / 2, rtol=1e-5)
    assert [view.loss.item() for view in step.views] == pytest.approx([loss.item() for loss in losses], rel=1e-5)
    assert step.logs["mixed"].item() == pytest.approx(sum(areas).item() / 2, rel=1e-5)
    assert not torch.equal(*(view.plan.owner_map() for view in step.views)), "every view has a plan of its own"


def test_the_students_batch_is_all_views_and_the_teacher_is_asked_once():
    seen = {"student": [], "teacher": []}

    def student(images):
        seen["student"].append(images)
        return student_of(images)

    def teacher(images):
        seen["teacher"].append(images)
        return scores_of(images)

    step = semi.mixed_views(student, teacher, coded(3), UNIMATCH, strong_of(coded(3)), generator=seeded())
    assert torch.equal(seen["student"][0], torch.cat([view.images for view in step.views]))
    assert [len(images) for images in seen["student"]] == [6]
    assert torch.equal(seen["teacher"][0], coded(3))
    assert len(seen["teacher"]) == 1


def test_the_published_teacher():
    """``unimatch_v2.py``, line 221: min(1 − 1 / (iters + 1), 0.996), for parameters and buffers."""
    model = torch.nn.BatchNorm2d(2)
    teacher = semi.MeanTeacher(model, decay=0.996)
    weight, mean = model.weight.detach().clone(), model.running_mean.clone()
    for iters in range(400):
        with torch.no_grad():
            model.weight.add_(0.01)
            model.running_mean.sub_(0.02)
        ratio = min(1 - 1 / (iters + 1), 0.996)
        weight = weight * ratio + model.weight.detach() * (1 - ratio)
        mean = mean * ratio + model.running_mean * (1 - ratio)
        teacher.update(model)
    assert torch.allclose(teacher.module.weight, weight, rtol=1e-4)
    assert torch.allclose(teacher.module.running_mean, mean, rtol=1e-4)


@pytest.mark.parametrize(("shape", "dim"), [((8, 64, 3, 4), 1), ((8, 5, 64), -1)])
@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_what_one_view_drops_the_other_keeps(shape, dim, kept):
    """``dpt.py``, lines 151 to 161: 0 or 2, and their complement; ``int(bs // 2 * 0.5)`` images keep all."""
    dropped = semi.complementary_dropout(torch.ones(shape), dim=dim, kept=kept, generator=seeded(1))
    first, second = dropped.movedim(dim, 1).flatten(2).chunk(2)
    assert (first == first[..., :1]).all(), "one factor for all places of a channel"
    assert torch.equal(first + second, torch.full_like(first, 2.0))
    whole = (first == 1).flatten(1).all(1)
    assert int(whole.sum()) == int(4 * kept)
    assert set(first[~whole].unique().tolist()) <= {0.0, 2.0}


def test_dropout_is_drawn_for_every_image_and_channel():
    factors = semi.complementary_dropout(torch.ones(400, 100), kept=0.5, generator=seeded(2))[:200]
    whole = (factors == 1).all(1)
    assert int(whole.sum()) == 100
    assert (whole.nonzero()[:, 0].float().mean() - 99.5).abs() < 25
    share = (factors[~whole] == 2).float()
    assert (share.mean() - 0.5).abs() < 0.02
    assert (share.mean(0) - 0.5).abs().max() < 0.25
    assert (share.mean(1) - 0.5).abs().max() < 0.25


def test_layers_drop_the_same_channels():
    layers = [torch.rand(4, 6, 2, 3), torch.rand(4, 6, 1, 1)]
    dropped = semi.complementary_dropout(layers, kept=0.0, generator=seeded())
    assert isinstance(dropped, list)
    gone = [(after == 0).flatten(2).all(2) for after in dropped]
    assert torch.equal(*gone)
    assert isinstance(semi.complementary_dropout(tuple(layers)), tuple)


def test_probabilities_come_from_the_teacher():
    sure = torch.tensor([9.0, 0.0, 9.0, 0.0]).reshape(4, 1, 1, 1) * torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    mix = cd.CutMix(region=cd.regions.AreaBox(area=(0.3, 0.3)), p=0.0)
    options = {"p": lambda pseudo: (semi.certainty(pseudo) > 0.5).float(), "generator": seeded()}

    def teacher(images):
        return sure.expand(-1, -1, *images.shape[2:])

    step = semi.mixed_views(teacher, teacher, coded(4), mix, [coded(4)], **options)
    one = semi.mixed_consistency(teacher, teacher, coded(4), mix, **options)
    for plan in (step.views[0].plan, one.plan):
        assert (plan.owner_map() == 1).flatten(1).any(1).tolist() == [True, False, True, False]
    given = semi.mixed_consistency(teacher, teacher, coded(4), mix, p=torch.tensor([0.0, 1, 0, 1]), generator=seeded())
    assert (given.plan.owner_map() == 1).flatten(1).any(1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("wrong", [[], coded(2), [coded(3)]])
def test_views_that_are_refused(wrong):
    with pytest.raises(ValueError, match="strong"):
        semi.mixed_views(scores_of, scores_of, coded(2), UNIMATCH, wrong)


@pytest.mark.parametrize(
    ("features", "options"),
    [(torch.ones(3, 4), {}), ([torch.ones(4, 4), torch.ones(4, 5)], {}), (torch.ones(4, 4), {"kept": 1.5})],
)
def test_features_that_are_refused(features, options):
    with pytest.raises(ValueError, match="features|kept"):
        semi.complementary_dropout(features, **options)
