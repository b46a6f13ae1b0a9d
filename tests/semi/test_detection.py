"""A teacher's boxes follow their pixels; what counts, what is ignored, and how losses are weighed."""

from __future__ import annotations

import pytest
import torch
from semi.boxes import H, W, agrees, coded, detections, teacher
from semi.students import Student, detector, seeded

import cutmix_dense as cd
from cutmix_dense import semi
from cutmix_dense.losses import weigh_losses
from cutmix_dense.regions import AreaBox, MultiBox

METHODS = [
    cd.CutMix(p=1.0, region=AreaBox(area=(0.2, 0.5))),
    cd.CutMix(p=0.7, region=MultiBox(AreaBox(area=(0.05, 0.2)), 3), pairing="shuffle"),
    cd.GridMix(p=1.0),
    cd.StripeMix(p=1.0),
    cd.Cutout(region=MultiBox.mixpl(), min_visibility=0.3),
    semi.TileSwap(tiles=(2, 3), group=3),
    cd.RandomMix([cd.CutMix(p=1.0), cd.StripeMix(p=1.0)]),
]


@pytest.mark.parametrize("mix", METHODS, ids=lambda mix: type(mix).__name__)
@pytest.mark.parametrize("form", ["tensor", "list"])
@pytest.mark.parametrize("seed", range(4))
def test_the_teachers_boxes_follow_their_pixels(mix, form, seed):
    images = coded(5) if form == "tensor" else list(coded(5))
    student = Student()
    step = semi.mixed_detection(student, teacher, images, mix, threshold=0.55, generator=seeded(seed))
    (view,) = step.views
    least = mix.members[0].min_visibility
    for image, target in zip(view.images, view.targets, strict=True):
        agrees(image, target, list(range(1, 6)), least, 0.55)
    assert student.seen[0][1] is view.targets
    changed = [not torch.equal(mixed, image) for mixed, image in zip(view.images, images, strict=True)]
    assert any(changed)
    assert float(step.logs["pseudo"]) == 4.0  # scores 0.6, 0.7, 0.8 and 0.9 of 0.5 … 0.9
    assert float(step.logs["boxes"]) == pytest.approx(sum(len(t["boxes"]) for t in view.targets) / 5)


def test_a_mosaic_and_a_blend_carry_the_boxes():
    blend = semi.mixed_detection(Student(), teacher, coded(4), cd.MixUp(p=1.0, lam=0.5), generator=seeded())
    for index, target in enumerate(blend.views[0].targets):
        partner = (index - 1) % 4
        both = [d["boxes"][d["scores"] > 0.7] for d in (detections(index + 1), detections(partner + 1))]
        assert torch.equal(target["boxes"], torch.cat(both))
        assert target["weight"].tolist() == [0.5] * len(target["boxes"])
    mosaic = semi.mixed_detection(Student(), teacher, coded(4), cd.Mosaic(size=(H, W)), generator=seeded())
    assert {int(label) // 10 for target in mosaic.views[0].targets for label in target["labels"]} > {1, 2}


def test_a_bank_brings_earlier_images_with_their_pseudo_labels():
    mix = cd.CutMix(p=1.0, region=AreaBox(area=(0.3, 0.5)), pairing=cd.SampleBank(max_samples=4))
    for first in range(0, 12, 2):
        step = semi.mixed_detection(Student(), teacher, coded(2, first=first), mix, generator=seeded(first))
        for image, target in zip(step.views[0].images, step.views[0].targets, strict=True):
            agrees(image, target, list(range(1, first + 3)), threshold=0.7)
    assert {int(value) for value in step.views[0].images[:, 0].unique()} - {11, 12}, "nothing of earlier steps is shown"


def test_strong_views_are_for_the_student_alone():
    images = coded(3)
    strong = images + 1000.0
    step = semi.mixed_detection(Student(), teacher, images, None, strong=strong)
    assert torch.equal(step.views[0].images, strong)
    for number, target in enumerate(step.views[0].targets, 1):
        assert torch.equal(target["boxes"], detections(number)["boxes"][3:])


def test_losses_are_weighed_and_summed():
    class Two:
        def views(self, images, targets, *, generator=None):
            return [semi.DetectionView(images, targets), semi.DetectionView(images[:1], targets[:1], 0.5)]

    step = semi.mixed_detection(Student(), teacher, coded(2), Two(), loss_weights={"loss_box_reg": 0.0})
    assert {name: loss.item() for name, loss in step.losses.items()} == {"loss_classifier": 3.0, "loss_box_reg": 0.0}
    assert step.loss.item() == 3.0
    assert step.loss.requires_grad


def test_views_without_boxes_count_nothing():
    """As ``semi_base.py``: ``unsup_weight`` is 0 where a batch has no instance; an empty image beside others counts."""
    step = semi.mixed_detection(Student(), teacher, coded(2), None, threshold=0.95)
    assert step.loss.item() == 0.0
    assert step.loss.requires_grad, "all ranks have a graph"
    assert float(step.logs["boxes"]) == 0.0
    some = semi.mixed_detection(Student(), teacher, coded(2), None, threshold=0.85)
    assert some.loss.item() == 5.0


@pytest.mark.parametrize("case", ["no box", "weight 0"])
def test_losses_that_do_not_count_are_0_even_if_they_are_nan(case):
    """A mean over no box is nan, and so is its gradient; other parameters keep theirs."""
    box, other = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(()))

    def student(images, targets):
        return {"loss_box": (box * 0).sum() / (box * 0).sum(), "loss_other": other * 2}  # masked mean of nothing

    options = {"threshold": 0.95} if case == "no box" else {"loss_weights": {"loss_box": 0.0}}
    step = semi.mixed_detection(student, teacher, coded(2), None, **options)
    assert step.losses["loss_box"].item() == 0.0
    assert step.loss.item() == (0.0 if case == "no box" else 2.0)
    (step.loss + box.sum() + other).backward()
    assert box.grad.tolist() == [1.0] * 3
    assert other.grad.item() == (1.0 if case == "no box" else 3.0)


def test_thresholds_of_classes_and_ignored_boxes():
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 5, 5], [0, 0, 6, 6], [0, 0, 7, 7], [3, 3, 3, 9], [1, 1, 2, 2]])
    found = {
        "boxes": boxes.requires_grad_(),
        "labels": torch.tensor([0, 1, 2, 2, 1, 1]),
        "scores": torch.tensor([0.99, 0.7, 0.45, 0.2, 0.9, 0.8]),
    }
    (target,) = semi.pseudo_boxes([found], threshold=[0.5, 0.7, 0.4], ignore_above=0.1, background=0, weigh=True)
    assert target["boxes"].tolist() == [[0, 0, 6, 6], [1, 1, 2, 2]], "0.7 isn't greater than 0.7"
    assert target["ignored"]["boxes"].tolist() == [[0, 0, 5, 5], [0, 0, 7, 7]]
    assert target["weight"].tolist() == pytest.approx([0.45, 0.8])
    assert not target["boxes"].requires_grad
    (all_classes,) = semi.pseudo_boxes([found], threshold=0.5)
    assert all_classes["labels"].tolist() == [0, 1, 1]
    assert set(all_classes) == {"boxes", "labels", "scores"}


def test_the_threshold_of_the_background_does_not_bound_ignore_above():
    boxes = torch.tensor([[0.0, 0, 4, 4], [1, 1, 5, 5]])
    found = [{"boxes": boxes, "labels": torch.tensor([0, 1]), "scores": torch.tensor([0.6, 0.6])}]
    options = {"threshold": [0.0, 0.7, 0.5], "ignore_above": 0.3}
    (target,) = semi.pseudo_boxes(found, **options, background=0)
    assert target["ignored"]["boxes"].tolist() == [[1, 1, 5, 5]]
    assert len(target["boxes"]) == 0
    with pytest.raises(ValueError, match=r"least threshold, 0 \(that of label 0\), got 0.3"):
        semi.pseudo_boxes(found, **options)
    with pytest.raises(ValueError, match=r"least threshold, 0.5 \(that of label 2\), got 0.6: lower it"):
        semi.pseudo_boxes(found, **{**options, "ignore_above": 0.6}, background=0)
    with pytest.raises(ValueError, match=r"least threshold, 0.5, got 0.6"):
        semi.pseudo_boxes(found, threshold=0.5, ignore_above=0.6)


def test_masks_and_keypoints_of_a_teacher():
    masks = torch.rand(3, 1, 6, 8, generator=seeded())
    found = {
        **{key: value[:3] for key, value in detections(1).items()},
        "masks": masks,
        "keypoints": torch.rand(3, 4, 3),
        "keypoints_scores": torch.rand(3, 4),
    }
    (target,) = semi.pseudo_boxes([found], threshold=0.55)
    assert torch.equal(target["masks"], masks[1:, 0] > 0.5)
    assert torch.equal(target["keypoints"], found["keypoints"][1:])
    assert "keypoints_scores" not in target


def test_ignored_boxes_follow_their_pixels():
    images = coded(4)
    mix = cd.CutMix(p=1.0, region=AreaBox(area=(0.4, 0.4)))
    step = semi.mixed_detection(Student(), teacher, images, mix, threshold=0.75, ignore_above=0.55, generator=seeded(3))
    seen = 0
    for image, target in zip(step.views[0].images, step.views[0].targets, strict=True):
        for box, origin in zip(target["ignored"]["boxes"], target["ignored"]["origin"], strict=True):
            seen += 1
            x0, y0, x1, y1 = box.int().tolist()
            assert (image[0, y0:y1, x0:x1] == float(origin[0]) + 1).any()
    assert seen > 4


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"threshold": 1.2}, ValueError, "threshold must lie"),
        ({"threshold": [0.7] * 3}, ValueError, "an entry for each label"),
        ({"ignore_above": 0.8}, ValueError, "ignore_above"),
        ({"mix": cd.regions.BetaBox()}, TypeError, "mix must be"),
        ({"partners": coded(2)}, ValueError, "come together"),
        ({"partners": coded(2), "partner_targets": [{}]}, ValueError, "one per partner"),
        (
            {"mix": cd.Chain([cd.CutMix()]), "partners": coded(2), "partner_targets": [{"boxes": 0}] * 2},
            ValueError,
            "mix must be one transform for partners.* got a Chain",
        ),
        (
            {"mix": cd.Affine(), "partners": coded(2), "partner_targets": [{"boxes": 0}] * 2},
            ValueError,
            "mix must be without an Affine for partners",
        ),
        ({"strong": coded(3)}, ValueError, "strong"),
        ({"loss_weights": {"loss_mask": 1.0}}, ValueError, r"loss_weights.*loss_mask"),
        ({"teacher": lambda images: {"boxes": 0}}, TypeError, "teacher"),
        ({"student": lambda images, targets: [1.0]}, TypeError, "in training mode"),
        ({"mix": semi.MixPL(), "partners": coded(2), "partner_targets": [{"boxes": 0}] * 2}, ValueError, "MixPL"),
    ],
)
def test_what_is_refused(change, error, reason):
    given = {"student": Student(), "teacher": teacher, "images": coded(2), "mix": None, **change}
    if "partner_targets" in change and len(change["partner_targets"]) == 2:
        given["partner_targets"] = semi.pseudo_boxes(teacher(list(coded(2))))
    with pytest.raises(error, match=reason):
        semi.mixed_detection(**given)


# ---------------------------------------------------------------------------------------------------------------------
# torchvision's own detectors


@pytest.mark.parametrize("kind", ["fcos", "fasterrcnn"])
def test_a_step_of_torchvisions_detectors(kind):
    """Losses, gradients of the student alone, an averaged teacher, and batches without any box."""
    student = detector(kind)
    average = semi.MeanTeacher(student, decay=0.5)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)
    images = torch.rand(2, 3, 64, 96, generator=seeded())
    labelled = [{"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}] * 2
    student.train()
    mix = cd.CutMix(p=1.0)
    boxes = 0
    for threshold in (0.0, 1.0):
        step = semi.mixed_detection(student, average, images, mix, threshold=threshold, generator=seeded())
        boxes += int(step.logs["boxes"])
        supervised = sum(student(list(images), labelled).values())
        optimizer.zero_grad()
        (supervised + 2.0 * step.loss).backward()
        assert (step.loss > 0) == (threshold == 0.0)
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in student.parameters())
        assert all(p.grad is None for p in average.parameters())
        optimizer.step()
        average.update(student)
    assert boxes
    assert average.step == 2
    assert not average.module.training
    if kind == "fasterrcnn":  # Unbiased Teacher, trainer.py, line 572
        part = semi.mixed_detection(
            student, average, images, mix, threshold=0.0, loss_weights={"loss_box_reg": 0.0, "loss_rpn_box_reg": 0.0}
        )
        assert part.losses["loss_box_reg"].item() == part.losses["loss_rpn_box_reg"].item() == 0.0
        assert part.losses["loss_classifier"].item() > 0
    with pytest.raises(TypeError, match="in training mode"):
        semi.mixed_detection(student.eval(), average, images, mix, threshold=0.0)


@pytest.mark.parametrize("kind", ["fcos", "fasterrcnn"])
def test_scores_weigh_the_losses_of_a_weighed_student(kind):
    """``losses.weigh_losses`` reads the targets of the step; a teacher that is its copy stays a detector of its own."""
    student = detector(kind).train()
    average = semi.MeanTeacher(student)
    weigh_losses(student, by="weight")
    copied = semi.MeanTeacher(student)
    images = list(torch.rand(2, 3, 64, 96, generator=seeded()))
    with torch.no_grad():
        before = copied(images)
        for parameter in student.parameters():
            parameter.add_(0.05)
        after = copied(images)
    assert all(torch.equal(a["scores"], b["scores"]) for a, b in zip(before, after, strict=True))

    box = torch.tensor([[8.0, 8, 40, 40], [50, 10, 90, 60]])

    def sure(score):
        return lambda pictures: [
            {"boxes": box, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.9, score])} for _ in pictures
        ]

    def losses(score, **more):
        torch.manual_seed(0)  # R-CNNs draw the anchors that they look at
        step = semi.mixed_detection(student, sure(score), images, None, threshold=0.1, **more)
        return {name: loss.item() for name, loss in step.losses.items()}

    name = "bbox_regression" if kind == "fcos" else "loss_rpn_box_reg"
    with pytest.raises(KeyError, match="weight"):
        losses(0.9)
    assert losses(0.9, weigh=True)[name] != losses(0.2, weigh=True)[name]
    assert average.step == 0
