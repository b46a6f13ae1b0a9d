"""Labelled partners of unlabelled images: their annotations join the pseudo-labels and keep their meaning."""

from __future__ import annotations

import pytest
import torch
from semi.boxes import H, W, coded, detections, teacher
from semi.students import Student, detector, seeded

import cutmix_dense as cd
from cutmix_dense import semi
from cutmix_dense.losses import weigh_losses
from cutmix_dense.regions import AreaBox


def test_labelled_partners_bring_their_annotations():
    annotated = [{"boxes": detections(n)["boxes"][:2], "labels": torch.tensor([70 + n, 80 + n])} for n in (3, 4)]
    mix = cd.CutMix(p=1.0, region=AreaBox(area=(0.5, 0.5)))
    step = semi.mixed_detection(
        Student(),
        teacher,
        coded(2),
        mix,
        partners=coded(2, first=2),
        partner_targets=[{**target, "area": torch.ones(2)} for target in annotated],
        weigh=True,
        ignore_above=0.5,
        generator=seeded(1),
    )
    found = 0
    for index, target in enumerate(step.views[0].targets):
        theirs = target["labels"] >= 70
        found += int(theirs.sum())
        assert set(target["labels"][theirs].tolist()) <= {73 + index, 83 + index}
        assert (target["scores"][theirs] == 1).all()
        assert (target["weight"][theirs] == 1).all()
        assert torch.equal(target["weight"][~theirs], target["scores"][~theirs])
        assert "area" not in target
    assert found
    assert len(step.views[0].images) == 2


def test_crowds_and_ignored_objects_of_labelled_partners_stay_what_they_are():
    """Whole partners are pasted, so that all of their objects show, and none of the pseudo-labels."""
    crowd = {
        "boxes": torch.tensor([[2.0, 2, 30, 20], [4, 4, 14, 12]]),
        "labels": torch.tensor([7, 8]),
        "iscrowd": torch.tensor([1, 0], dtype=torch.uint8),
        "visibility": torch.tensor([1.0, 0.5]),
        "ignored": {"boxes": torch.tensor([[20.0, 6, 34, 22]]), "labels": torch.tensor([9]), "area": torch.ones(1)},
    }
    plain = {"boxes": torch.tensor([[3.0, 3, 20, 20]]), "labels": torch.tensor([9])}
    mix = cd.CutMix(p=1.0, region=AreaBox(area=(1.0, 1.0), aspect=(W / H, W / H)))
    options = {"partners": coded(3, first=2), "generator": seeded(1)}
    empty = {"boxes": torch.zeros(0, 4)}
    for ignore_above in (None, 0.5):
        step = semi.mixed_detection(
            Student(),
            teacher,
            coded(3),
            mix,
            partner_targets=[crowd, plain, empty],
            ignore_above=ignore_above,
            **options,
        )
        first, second, third = step.views[0].targets
        assert first["labels"].tolist() == [7, 8]
        assert first["iscrowd"].tolist() == [1, 0]
        assert first["iscrowd"].dtype == torch.uint8
        assert first["visibility"].tolist() == [1.0, 0.5]
        assert first["ignored"]["boxes"].tolist() == crowd["ignored"]["boxes"].tolist()
        assert second["iscrowd"].tolist() == [0]
        assert len(second["ignored"]["boxes"]) == len(third["ignored"]["boxes"]) == len(third["boxes"]) == 0
    half = cd.CutMix(p=1.0, region=AreaBox(area=(0.3, 0.3)))
    step = semi.mixed_detection(Student(), teacher, coded(3), half, partner_targets=[crowd] * 3, **options)
    for target in step.views[0].targets:
        assert target["iscrowd"][target["labels"] >= 10].tolist() == [0] * int((target["labels"] >= 10).sum())


def test_a_weighed_student_leaves_out_the_crowds_of_partners():
    student = weigh_losses(detector("fcos").train(), by="visibility")
    box = torch.tensor([[8.0, 8, 40, 40], [50, 10, 90, 60]])
    annotations = {"boxes": box, "labels": torch.tensor([1, 2])}
    whole = cd.CutMix(p=1.0, region=AreaBox(area=(1.0, 1.0), aspect=(1.5, 1.5)))
    partners = torch.rand(2, 3, 64, 96, generator=seeded())

    def losses(target):
        found = {"boxes": box[:0], "labels": torch.ones(0).long(), "scores": torch.ones(0)}
        targets = {"partners": partners, "partner_targets": [target] * 2}
        return semi.mixed_detection(student, lambda some: [found] * len(some), partners, whole, **targets).losses

    aside = {key: value[:1] for key, value in annotations.items()}
    apart = losses({**aside, "ignored": {"boxes": box[1:]}})
    crowds = losses({**annotations, "iscrowd": torch.tensor([0, 1])})
    stock = losses(annotations)
    for name in ("bbox_regression", "bbox_ctrness"):
        torch.testing.assert_close(crowds[name], apart[name])
        assert not torch.allclose(crowds[name], stock[name])


@pytest.mark.parametrize("lacking", ["masks", "labels", "boxes"])
def test_annotations_of_partners_need_what_the_pseudo_labels_have(lacking):
    masks = torch.ones(1, 1, H, W)
    found = {"boxes": torch.tensor([[4.0, 4, 20, 16]]), "labels": torch.ones(1).long(), "scores": torch.ones(1)}
    good = {"boxes": torch.tensor([[1.0, 1, 30, 20]]), "labels": torch.tensor([1]), "masks": masks[0].bool()}
    bad = {key: value for key, value in good.items() if key != lacking}

    def step(targets):
        see = lambda images: [{**found, "masks": masks}] * len(images)  # noqa: E731
        options = {"partners": torch.rand(2, 3, H, W), "partner_targets": targets}
        return semi.mixed_detection(Student(), see, torch.rand(2, 3, H, W), cd.CutMix(p=1.0), **options)

    remedy = "add it, or leave it out of the teacher's" if lacking == "masks" else "add it$"
    with pytest.raises(ValueError, match=rf"partner_targets\[1\] must have '{lacking}' as .*, got \[.*{remedy}"):
        step([good, bad])
    stated = {**bad, "masks": masks[0].bool() & False, "has_mask": torch.tensor([False])}
    if lacking == "masks":  # judged by its box
        assert any(
            2 in target["labels"] for target in step([{**stated, "labels": torch.tensor([2])}] * 2).views[0].targets
        )
