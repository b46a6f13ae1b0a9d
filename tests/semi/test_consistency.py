"""What counts, how much, and divided by what: against hand-made numbers and the authors' programs."""

from __future__ import annotations

import math

import pytest
import torch
from semi import reference

from cutmix_dense.semi import Consistency, PseudoLabels, pseudo_labels

LN2, LN4 = math.log(2), math.log(4)


def hand_made() -> tuple[torch.Tensor, PseudoLabels]:
    """Four pixels of two classes: sure and valid, unsure and valid, sure and not valid, sure at the threshold."""
    student = torch.tensor([[1 / 2, 1 / 2], [3 / 4, 1 / 4], [1 / 2, 1 / 2], [1 / 4, 3 / 4]]).log().T.reshape(1, 2, 1, 4)
    teacher = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.75, 0.25]]).T.reshape(1, 2, 1, 4)
    valid = torch.tensor([[[True, True, False, True]]])
    return student, pseudo_labels(teacher, valid=valid, is_probability=True)


# cross-entropies: ln 2, ln 4/3 (label 0), –, ln 4; squared: 1/2, 1/8, –, 1/2
# confident at 0.75 (>=): pixels 0, 2, 3; valid: 0, 1, 3; both: 0, 3
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("cross_entropy", 0.75, "pixel", "valid"), (LN2 + LN4) / 3),
        (("cross_entropy", 0.75, "pixel", "all"), (LN2 + LN4) / 4),
        (("cross_entropy", 0.75, "pixel", "confident"), (LN2 + LN4) / 2),
        (("cross_entropy", 0.75, "batch", "valid"), (LN2 + math.log(4 / 3) + LN4) * (2 / 3) / 3),
        (("cross_entropy", 0.75, "batch", "all"), (LN2 + math.log(4 / 3) + LN4) * (3 / 4) / 4),
        (("cross_entropy", 0.0, "pixel", "valid"), (LN2 + math.log(4 / 3) + LN4) / 3),
        (("cross_entropy", 0.76, "pixel", "valid"), LN2 / 3),
        (("squared", 0.75, "pixel", "valid"), (1 / 2 + 1 / 2) / 3),
        (("squared", 0.75, "batch", "all"), (1 / 2 + 1 / 8 + 1 / 2) * (3 / 4) / 4),
        (("soft_cross_entropy", 0.75, "pixel", "valid"), (LN2 + 0.75 * LN4 + 0.25 * math.log(4 / 3)) / 3),
    ],
)
def test_hand_made_numbers(settings, expected):
    student, pseudo = hand_made()
    loss, logs = Consistency(*settings)(student, pseudo)
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert logs["valid"].item() == 0.75
    assert logs["confident"].item() == pytest.approx({0.75: 2 / 3, 0.0: 1.0, 0.76: 1 / 3}[settings[1]])


@pytest.mark.parametrize("seed", range(5))
def test_presets_are_the_published_losses(seed):
    g = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, 3, 4, 5, generator=g, dtype=torch.float64) * 2
    valid = torch.rand(2, 4, 5, generator=g) < 0.7
    pseudo = pseudo_labels(teacher.float(), valid=valid)
    logits = student.float()
    for preset, expected in (
        (Consistency.french(0.7), reference.french(student, teacher, valid, 0.7, per_pixel=False)),
        (Consistency("squared", 0.7, "pixel", "all"), reference.french(student, teacher, valid, 0.7, per_pixel=True)),
        (Consistency.classmix(0.7), reference.classmix(student, teacher, valid, 0.7)),
        (Consistency.unimatch(0.7), reference.unimatch(student, teacher, valid, 0.7)),
    ):
        assert preset(logits, pseudo)[0].item() == pytest.approx(expected, rel=1e-5), preset
    assert (Consistency.french().threshold, Consistency.classmix().threshold) == (0.97, 0.968)
    assert Consistency.unimatch().threshold == 0.95


@pytest.mark.parametrize("denominator", ["valid", "all", "confident"])
@pytest.mark.parametrize("mode", ["pixel", "batch"])
def test_nothing_counts_is_zero_with_a_gradient_of_zero(mode, denominator):
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)
    nothing = pseudo_labels(torch.randn(1, 3, 4, 5), valid=torch.zeros(1, 4, 5, dtype=torch.bool))
    for distance in ("cross_entropy", "squared", "soft_cross_entropy"):
        loss, _ = Consistency(distance, 0.5, mode, denominator)(logits, nothing)
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_unsure_and_invalid_pixels_get_no_gradient():
    student, pseudo = hand_made()
    student = student.clone().requires_grad_()
    Consistency.unimatch(0.75)(student, pseudo)[0].backward()
    assert (student.grad.abs().sum(dim=1)[0, 0] > 0).tolist() == [True, False, False, True]


def test_what_is_refused():
    for wrong in ({"distance": "l1"}, {"threshold_mode": "image"}, {"denominator": "sum"}, {"threshold": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Consistency(**wrong)
    pseudo = pseudo_labels(torch.randn(1, 3, 4, 5), keep_probabilities=False)
    with pytest.raises(ValueError, match="probabilities"):
        Consistency.french()(torch.randn(1, 3, 4, 5), pseudo)
    with pytest.raises(ValueError, match=r"logits.*4, 5"):
        Consistency.unimatch()(torch.randn(1, 3, 5, 4), pseudo)


@pytest.mark.parametrize("preset", [Consistency.unimatch, Consistency.french, Consistency.classmix, Consistency.augseg])
def test_one_logit_is_refused(preset):
    """The softmax over one class is always 1, and its loss always 0; two classes from one logit x are its sigmoid."""
    x = torch.randn(2, 1, 4, 5)
    with pytest.raises(ValueError, match=r"scores must be of 2 or more classes.*\(2, 1, 4, 5\).*zeros_like"):
        pseudo_labels(x)
    both = torch.cat([torch.zeros_like(x), x], dim=1)  # as the message says
    pseudo = pseudo_labels(both)
    torch.testing.assert_close(pseudo.probabilities[:, 1:], x.sigmoid())
    with pytest.raises(ValueError, match=r"logits must be of 2 or more classes.*\(2, 1, 4, 5\).*zeros_like"):
        preset(0.0)(x, pseudo)
    assert preset(0.0)(-both, pseudo)[0] > 0


@pytest.mark.parametrize("distance", ["cross_entropy", "squared", "soft_cross_entropy"])
def test_half_precision_sums_as_float32(distance):
    """300 × 400 pixels of a loss near 10 overflow float16."""
    g = torch.Generator().manual_seed(0)
    logits = (10 * torch.randn(1, 3, 300, 400, generator=g)).half()
    pseudo = pseudo_labels(5 * torch.randn(1, 3, 300, 400, generator=g))
    loss, _ = Consistency(distance, 0.5)(logits, pseudo)
    assert loss.item() == pytest.approx(Consistency(distance, 0.5)(logits.double(), pseudo)[0].item(), rel=1e-5)
