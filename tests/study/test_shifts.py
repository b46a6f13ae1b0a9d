"""Shifted pictures are what their strengths say, and the same in every run."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

from cutmix_dense.study.shifts import Shift, shifts_from

SIZES = [(60, 81), (45, 120)]
KINDS = [("fog", 0.3), ("noise", 0.1), ("blur", 1.5)]


def pictures():
    generator = torch.Generator().manual_seed(0)
    return [
        tv_tensors.Image(torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)) for size in SIZES
    ]


def targets():
    return [{"image_id": i, "semantic": tv_tensors.Mask(torch.full(size, i))} for i, size in enumerate(SIZES)]


@pytest.mark.parametrize(("kind", "strength"), KINDS)
def test_a_shift_changes_pixels_alone_and_the_same_in_every_run(kind, strength):
    images, given = pictures(), targets()
    before = [image.clone() for image in images]
    shifted, found = Shift(kind, strength)(images, given)
    # in another order, in other batches, and whatever torch draws elsewhere
    torch.manual_seed(9)
    (second,), _ = Shift(kind, strength)(images[1:], given[1:])
    (first,), _ = Shift(kind, strength)(images[:1], given[:1])
    assert torch.equal(first, shifted[0])
    assert torch.equal(second, shifted[1])
    for image, copy, result, target, kept in zip(images, before, shifted, given, found):
        assert torch.equal(image, copy)
        assert type(result) is tv_tensors.Image
        assert result.dtype is torch.uint8
        assert result.shape == image.shape
        assert not torch.equal(result, image)
        assert kept == target
        assert kept is not target
        assert kept["semantic"] is target["semantic"]


@pytest.mark.parametrize("kind", ["fog", "noise"])
def test_images_of_other_ids_are_drawn_otherwise(kind):
    image = tv_tensors.Image(torch.full((3, 60, 80), 100, dtype=torch.uint8))
    results = [Shift(kind, 0.3)([image], [{"image_id": name}])[0][0] for name in ("a", "b", "a")]
    assert torch.equal(results[0], results[2])
    assert not torch.equal(results[0], results[1])


@pytest.mark.parametrize("strength", [0.05, 0.2])
def test_noise_has_the_deviation_it_says_in_every_channel(strength):
    image = torch.full((3, 200, 300), 128, dtype=torch.uint8)
    (result,), _ = Shift("noise", strength)([image], [{"image_id": 1}])
    for channel in result.double():
        assert channel.mean().item() == pytest.approx(128, abs=1)
        assert channel.std().item() == pytest.approx(255 * strength, rel=0.02)
    correlation = torch.corrcoef(result.flatten(1).float())
    assert (correlation - torch.eye(3)).abs().max() < 0.02
    rows = result[0].float() - 128  # white: neighbours say nothing of each other
    assert abs(torch.corrcoef(torch.stack([rows[:, 1:].flatten(), rows[:, :-1].flatten()]))[0, 1]) < 0.02


def test_fog_is_a_share_of_white_between_half_and_one_and_a_half_times_its_strength():
    means = []
    for number in range(40):
        black, grey = (torch.full((3, 90, 120), value, dtype=torch.uint8) for value in (0, 100))
        (on_black, on_grey), _ = Shift("fog", 0.4)([black, grey], [{"image_id": number}] * 2)
        share = on_black.double() / 255
        assert torch.equal(on_black[0], on_black[2])
        assert share.min() >= 0.2 - 1 / 255
        assert share.max() <= 0.6 + 1 / 255
        expected = 100 + (255 - 100) * share  # image · (1 - share) + white · share
        assert (on_grey.double() - expected).abs().max() <= 1.01
        assert share[0].diff(dim=1).abs().max() < 0.03  # clouds, no edges
        means.append(share.mean().item())
    assert sum(means) / 40 == pytest.approx(0.4, abs=0.02)
    # another strength is the same fog, thinner
    (thin,), _ = Shift("fog", 0.1)([black], [{"image_id": 39}])
    assert (thin.double() * 4 - on_black.double()).abs().max() <= 3


@pytest.mark.parametrize("strength", [1, 2.5])
def test_blur_is_a_gaussian_of_its_deviation(strength):
    image = torch.zeros(3, 61, 81, dtype=torch.uint8)
    image[:, 20:41, 30:51] = 255
    (result,), _ = Shift("blur", strength)([image], [{"image_id": 1}])
    row = result[0, 30].double() / 255
    step = row[:40].diff()  # the edge at column 30 becomes the Gaussian itself
    place = torch.arange(1, 40).double()
    centre = (step * place).sum() / step.sum()
    assert centre.item() == pytest.approx(29.5 + 0.5, abs=0.05)
    deviation = ((step * (place - centre) ** 2).sum() / step.sum()).sqrt()
    assert deviation.item() == pytest.approx(strength, rel=0.06)
    assert result.double().mean().item() == pytest.approx(image.double().mean().item(), rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rain", 0.5), "kind must be one of"),
        (("fog", 0.0), "strength of fog must be above 0 and below 0.667, got 0.0"),
        (("fog", 0.7), "strength of fog must be above 0 and below 0.667, got 0.7"),
        (("noise", 1.0), "strength of noise must be above 0 and below 1, got 1.0"),
        (("blur", 0), "strength of blur must be above 0, in pixels, got 0"),
        (("blur", float("nan")), "strength of blur must be above 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, told):
    with pytest.raises(ValueError, match=told):
        Shift(*arguments)


def test_pictures_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(C, H, W\), got torch.float32"):
        Shift("fog", 0.3)([torch.zeros(3, 8, 8)], [{"image_id": 1}])
    with pytest.raises(ValueError, match="targets must have an image_id"):
        Shift("noise", 0.3)([torch.zeros(3, 8, 8, dtype=torch.uint8)], [{"boxes": 1}])
    with pytest.raises(ValueError, match=r"larger than 9 pixels for a blur of strength 3, got \(8, 30\)"):
        Shift("blur", 3)([torch.zeros(3, 8, 30, dtype=torch.uint8)], [{"image_id": 1}])


def test_a_study_s_shifts_come_in_a_fixed_order():
    found = shifts_from({"noise": [0.2, 0.1], "fog": (0.3,)})
    assert [(shift.kind, shift.strength) for shift in found] == [("fog", 0.3), ("noise", 0.1), ("noise", 0.2)]
    assert shifts_from({}) == ()
    with pytest.raises(ValueError, match=r"shifts knows fog, noise, blur, got \['rain'\]"):
        shifts_from({"rain": (1,)})
    with pytest.raises(ValueError, match="shifts: fog must be a list of strengths, got 0.3"):
        shifts_from({"fog": 0.3})
