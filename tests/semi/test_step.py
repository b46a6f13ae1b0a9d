"""The step: the teacher sees whole images, the student mixed ones, and both by one plan."""

from __future__ import annotations

import pytest
import torch
from semi.answers import H, K, W, coded, scores_of
from torch import nn

import cutmix_dense as cd
from cutmix_dense.semi import Consistency, Cutout, MeanTeacher, mixed_consistency

ALL = Consistency(threshold=0.0)
MIXES = [
    None,
    cd.CutMix(region=cd.regions.AreaBox.french(), p=1.0),
    cd.ClassMix(),
    cd.CowMix(p=1.0, sigma=(2.0, 4.0)),
    Cutout(),
]


class Watching(nn.Module):
    """Answers by the pixels' codes and keeps what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.seen.append(images)
        self.learns = torch.is_grad_enabled()
        return {"out": scores_of(images) * self.scale}


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: type(mix).__name__)
@pytest.mark.parametrize("partnered", [False, True])
def test_the_student_is_asked_for_what_the_teacher_said_of_those_very_pixels(mix, partnered, generator):
    images = coded(5)
    student, teacher = Watching(), Watching()
    images, partners = (images[:2], images[2:4]) if partnered else (images[:4], None)
    result = mixed_consistency(student, teacher, images, mix, partners=partners, consistency=ALL, generator=generator)
    whole = images if partners is None else torch.cat([images, partners])
    assert len(teacher.seen) == len(student.seen) == 1
    assert (student.learns, teacher.learns) == (True, False)
    assert torch.equal(teacher.seen[0], whole)
    assert len(result.images) == len(images)
    assert torch.equal(student.seen[0], result.images)
    assert torch.equal(result.images, images) == (mix is None)
    valid = result.pseudo.valid
    assert torch.equal(result.pseudo.labels[valid], scores_of(result.images).argmax(dim=1)[valid])
    assert valid.all() == (not isinstance(mix, Cutout))
    if partnered and mix is not None and not isinstance(mix, Cutout):
        assert torch.equal(result.plan.source, torch.tensor([[0, 2], [1, 3]]))
        assert set(result.images[0, 0].unique().tolist()) == {0, 2}
    moved = (result.images[:, 0] != images[:, 0]) | ~valid
    if mix is not None:
        assert result.logs["mixed"].item() == pytest.approx(moved.float().mean().item(), abs=0.02)
    result.loss.backward()
    assert student.scale.grad is not None
    assert teacher.scale.grad is None


@pytest.mark.parametrize("mix", MIXES[1:], ids=lambda mix: type(mix).__name__)
def test_one_image_per_gpu(mix, generator):
    """Alone it stays unmixed (but for Cutout); an explicit partner mixes it."""
    one, other = coded(2).split(1)
    alone = mixed_consistency(Watching(), Watching(), one, mix, consistency=ALL, generator=generator)
    assert (alone.logs["mixed"].item() > 0.2) == isinstance(mix, Cutout)
    assert len(alone.images) == 1
    paired = mixed_consistency(Watching(), Watching(), one, mix, partners=other, consistency=ALL, generator=generator)
    assert 0.1 < paired.logs["mixed"].item() < 0.9
    assert paired.images.shape == one.shape


def test_labelled_partners_bring_their_labels(generator):
    images = coded(4)
    labels = torch.full((2, *images.shape[2:]), K - 1)
    labels[:, :, ::4] = 255
    teacher = Watching()
    result = mixed_consistency(
        Watching(), teacher, images[:2], MIXES[1], partners=images[2:], partner_labels=labels, generator=generator
    )
    assert torch.equal(teacher.seen[0], images[:2]), "the teacher needs no labelled image"
    pasted = result.plan.owner_map() == 1
    x = torch.arange(images.shape[3]).expand_as(pasted)
    assert torch.equal(result.pseudo.labels[pasted], torch.where(x % 4 == 0, 255, K - 1)[pasted])
    assert torch.equal(result.pseudo.valid[pasted], (x % 4 != 0)[pasted])
    assert result.pseudo.confidence[pasted & (x % 4 != 0)].eq(1).all()
    assert torch.equal(result.pseudo.labels[~pasted], scores_of(images[:2]).argmax(dim=1)[~pasted])


def test_strong_views_are_for_the_student_alone(generator):
    images = coded(4)
    student, teacher = Watching(), Watching()
    result = mixed_consistency(
        student,
        teacher,
        images[:2],
        MIXES[1],
        partners=images[2:],
        strong=images[:2] + 100,
        strong_partners=images[2:] + 100,
        generator=generator,
    )
    assert torch.equal(teacher.seen[0], images)
    assert student.seen[0].min() >= 100
    assert torch.equal(result.pseudo.labels, scores_of(result.images - 100).argmax(dim=1))


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: type(mix).__name__)
def test_padding_and_unseen_pixels_never_count(mix, generator):
    """Corrupting what isn't valid changes nothing: sizes and ``valid`` cut the padding out, wherever it goes."""
    images = coded(4)
    sizes = torch.tensor([[12, 15], [9, 20], [10, 18], [12, 20]])
    valid = torch.ones(4, 12, 20, dtype=torch.bool)
    valid[:, 2:4] = False
    hidden = torch.ones(4, 12, 20, dtype=torch.bool)
    for keep, (h, w) in zip(hidden, sizes.tolist()):
        keep[:h, :w] = False
    losses = []
    for noise in (0.0, 50.0):
        seed = torch.Generator().manual_seed(3)
        noisy = images + noise * hidden[:, None]
        # the student answers the same whatever it sees: only the pseudo-labels could leak
        result = mixed_consistency(
            lambda x: torch.linspace(-1, 1, K)[None, :, None, None].expand(len(x), K, *x.shape[2:]).contiguous(),
            Watching(),
            noisy,
            mix,
            valid=valid,
            sizes=sizes,
            consistency=ALL,
            generator=seed,
        )
        losses.append(result.loss.item())
        assert not result.pseudo.valid[:, 2:4].any()
        assert 0.3 < result.logs["valid"].item() < 0.9
    assert losses[0] == losses[1] > 0


def test_a_real_teacher_gets_no_gradient_and_the_loss_falls(generator):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))
    teacher = MeanTeacher(student, 0.9)
    images = torch.randn(4, 3, 16, 24)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    losses = []
    for _ in range(15):
        result = mixed_consistency(student, teacher, images, MIXES[1], consistency=ALL, generator=generator)
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        losses.append(result.loss.item())
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    teacher.update(student)
    assert torch.equal(teacher.module[0].weight, student[0].weight)


def test_several_methods_and_one_seed(generator):
    mix = cd.RandomMix([MIXES[1], MIXES[2]])
    images = coded(4)
    results = [
        mixed_consistency(Watching(), Watching(), images, mix, generator=torch.Generator().manual_seed(s)).images
        for s in (0, 0, 1)
    ]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"partner_labels": torch.zeros(2, H, W)},
            rf"labels must be integer .* \(2, {H}, {W}\), got torch.float32 .*ToTensor",
        ),
        (
            {"partner_labels": torch.zeros(2, 1, H, W).long()},
            r"labels must be .*got torch.int64 \(2, 1, 12, 20\): .*squeeze",
        ),
        (
            {"partner_labels": torch.zeros(2, H // 2, W).long()},
            r"labels must be .*got torch.int64 \(2, 6, 20\): resize",
        ),
        (
            {"partner_labels": torch.full((2, H, W), K)},
            rf"labels must hold class ids in 0 … {K - 1}, .*\(255\), got {K}",
        ),
        ({"partners": coded(2)[..., :-1]}, r"partners must be of the images' size \(3, 12, 20\), got \(3, 12, 19\)"),
        ({"strong_partners": coded(2)[:, :, 1:]}, r"strong_partners must be of the images' size .*got \(3, 11, 20\)"),
    ],
)
def test_labels_and_sizes_of_partners_are_checked(change, reason):
    options = {"partners": coded(2), "partner_labels": torch.zeros(2, H, W).long(), **change}
    with pytest.raises(ValueError, match=reason):
        mixed_consistency(Watching(), Watching(), coded(2), MIXES[1], **options)


def test_ids_of_partners_where_they_are_not_valid_do_not_matter(generator):
    images, valid = coded(4), torch.ones(4, H, W, dtype=torch.bool)
    labels = torch.zeros(2, H, W, dtype=torch.uint8)
    labels[:, 2:4], valid[2:, 2:4] = K + 1, False
    mix = cd.CutMix(region=cd.regions.AreaBox(area=(1.0, 1.0), aspect=(W / H, W / H)), p=1.0, ignore_index=-100)
    options = {"partners": images[2:], "partner_labels": labels, "valid": valid, "ignore_index": -100}
    result = mixed_consistency(Watching(), Watching(), images[:2], mix, generator=generator, **options)
    assert torch.equal(result.pseudo.labels, torch.where(valid[2:], 0, -100)), "-100 doesn't fit uint8"


def test_what_is_refused():
    images, model = coded(2), Watching()
    cutmix = MIXES[1]
    for mix in (cd.Chain([cutmix]), cd.RandomMix([cd.Chain([cutmix])])):
        with pytest.raises(ValueError, match="one transform for pseudo-labels of maps.* got a Chain"):
            mixed_consistency(model, model, images, mix)
    with pytest.raises(ValueError, match="without an Affine for pseudo-labels of maps"):
        mixed_consistency(model, model, images, cd.RandomMix([cutmix, cd.Affine()], weights=[1, 0]))
    with pytest.raises(ValueError, match="bank"):
        mixed_consistency(model, model, images, cd.CutMix(pairing="bank"))
    with pytest.raises(ValueError, match="ignore_index"):
        mixed_consistency(model, model, images, cutmix, ignore_index=250)
    with pytest.raises(ValueError, match="partner_labels"):
        mixed_consistency(model, model, images, cutmix, partner_labels=torch.zeros(2, 12, 20))
    with pytest.raises(ValueError, match="strong"):
        mixed_consistency(model, model, images, cutmix, strong=images[:1])
    with pytest.raises(ValueError, match="logits"):
        mixed_consistency(model, lambda x: x[..., ::2], images, cutmix)
    with pytest.raises(TypeError, match="logits"):
        mixed_consistency(model, lambda x: [x], images, cutmix)
    with pytest.raises(ValueError, match="soft plan"):
        mixed_consistency(model, model, images, cd.MixUp(p=1.0))
