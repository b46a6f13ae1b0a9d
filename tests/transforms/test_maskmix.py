"""CowMix and FMix: refused arguments, images of different sizes, one plan for everything."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import masks


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"proportion": 0.0}, "proportion"),
        ({"proportion": 1.0}, "proportion"),
        ({"proportion": (0.6, 0.4)}, "proportion"),
        ({"sigma": (0.0, 4.0)}, "sigma"),
        ({"sigma": (5.0, 4.0)}, "sigma"),
    ],
)
def test_bad_arguments_of_cowmix(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.CowMix(**arguments)


@pytest.mark.parametrize("alpha", [0.0, -1.0])
def test_bad_alpha_of_fmix(alpha: float):
    with pytest.raises(ValueError, match="alpha"):
        cd.FMix(alpha=alpha)


@pytest.mark.parametrize("mix", [cd.CowMix(p=1.0, sigma=(1.0, 2.0), proportion=0.5), cd.FMix(p=1.0, alpha=100.0)])
def test_the_share_is_of_the_area_in_common(mix):
    sizes = [(30, 40), (20, 12), (14, 60), (33, 21)]
    images = [torch.zeros(1, *s) for s in sizes]
    shares = []
    for seed in range(15):
        plan = mix.make_plan(images, generator=torch.Generator().manual_seed(seed))
        for b in range(4):
            (h, w), (ph, pw) = sizes[b], sizes[int(plan.source[b, 1])]
            common = (min(h, ph), min(w, pw))
            owner = plan.owner_map()[b] == 1
            assert owner.sum() == owner[: common[0], : common[1]].sum()
            shares.append(owner.sum().item() / (common[0] * common[1]))
    assert abs(sum(shares) / len(shares) - 0.5) < 0.06


def test_tiny_images():
    for mix in (cd.CowMix(p=1.0), cd.FMix(p=1.0)):
        out = mix(torch.rand(3, 1, 1, 2), generator=torch.Generator().manual_seed(0))
        assert out.isfinite().all()


def count_masks(transform, monkeypatch) -> list[int]:
    """How many masks are made at a time from now on."""
    kind, made = type(transform.sampler()), []
    place = kind.place
    monkeypatch.setattr(
        kind, "place", lambda self, d, sizes, frame: made.append(len(sizes)) or place(self, d, sizes, frame)
    )
    return made


@pytest.mark.parametrize("mix", [cd.CowMix, cd.FMix])
def test_masks_are_made_for_mixed_images_alone(mix, monkeypatch):
    transform = mix(p=0.5)
    made = count_masks(transform, monkeypatch)
    generator = torch.Generator().manual_seed(3)
    plan = transform.make_plan(torch.zeros(12, 1, 20, 30), generator=generator)
    mixed = plan.source[:, 1] >= 0
    assert 0 < mixed.sum() < 12
    assert made == [mixed.sum()]
    assert ((plan.owner_map() == 1).flatten(1).any(dim=1) == mixed).all()
    closed = mix(p=0.0).make_plan(torch.zeros(4, 1, 20, 30))
    assert made == [mixed.sum()], "nothing is to be mixed"
    assert (closed.owner_map() == 0).all()


@pytest.mark.parametrize("mix", [cd.CowMix, cd.FMix])
def test_pairs_that_exchange_share_their_mask(mix, monkeypatch):
    transform = mix(p=1.0, pairing="swap")
    made = count_masks(transform, monkeypatch)
    plan = transform.make_plan(torch.zeros(9, 1, 20, 30), generator=torch.Generator().manual_seed(1))
    owner, mates = plan.owner_map(), plan.source[:, 1].tolist()
    assert made == [4]
    assert mates.count(-1) == 1
    for one, mate in enumerate(mates):
        assert torch.equal(owner[one], owner[mate]) if mate >= 0 else (owner[one] == 0).all()
    distinct = {owner[one].numpy().tobytes() for one, mate in enumerate(mates) if mate > one}
    assert len(distinct) == 4, "every pair has a mask of its own"


@pytest.mark.parametrize("decay", [-60.0, 0.0, 60.0, 400.0])
def test_fmix_has_its_share_at_any_decay(decay: float):
    plan = cd.FMix(p=1.0, alpha=100.0, decay=decay).make_plan(
        torch.zeros(4, 1, 33, 40), generator=torch.Generator().manual_seed(0)
    )
    assert plan.share()[:, 1].numpy() == pytest.approx(0.5, abs=0.2)
    assert plan.owned_pixels().sum(dim=1).tolist() == [33 * 40] * 4


@pytest.mark.parametrize(
    ("mask", "method"),
    [
        (masks.CowMask(sigma=(2.0, 5.0)), cd.CowMix(sigma=(2.0, 5.0), p=0.7)),
        (masks.FourierMask(), cd.FMix(p=0.7)),
        (masks.ClassMask(), cd.ClassMix(p=0.7)),
    ],
)
def test_a_sampler_by_itself_mixes_as_its_method_does(mask, method):
    images, maps = torch.rand(4, 3, 20, 30), torch.randint(0, 5, (4, 20, 30))
    mixed = [
        mix(images, maps, generator=torch.Generator().manual_seed(3)) for mix in (cd.MaskMix(mask=mask, p=0.7), method)
    ]
    assert torch.equal(mixed[0][0], mixed[1][0])
    assert torch.equal(mixed[0][1], mixed[1][1])
    assert not torch.equal(mixed[0][0], images)


def test_a_sampler_of_ones_own():
    class LeftHalf(masks.MapMask):
        def draw(self, batch, generator=None):
            return torch.rand(batch, 1, generator=generator, dtype=torch.float64)

        def place(self, draws, maps):
            return (maps >= 0) & (torch.arange(maps.shape[2]) < maps.shape[2] // 2)

    images, maps = torch.rand(3, 3, 20, 30), torch.randint(0, 5, (3, 20, 30))
    mixed, _ = cd.MaskMix(mask=LeftHalf(), p=1.0)(images, maps)
    assert torch.equal(mixed[..., 15:], images[..., 15:])
    assert torch.equal(mixed[..., :15], images.roll(1, 0)[..., :15])


def test_what_is_no_mask_is_refused():
    with pytest.raises(TypeError, match="mask must be a sampler"):
        cd.MaskMix(mask=cd.regions.AreaBox())
    with pytest.raises(ValueError, match="must not look at maps"):
        cd.MaskMix(mask=masks.ClassMask(), layout="BTCHW")


class _Placing(cd.masks.MapMask):
    def __init__(self, masks: torch.Tensor) -> None:
        self.masks = masks

    def draw(self, batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(batch, 0)

    def place(self, draws: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return self.masks


@pytest.mark.parametrize("masks", [torch.full((2, 4, 6), 2, dtype=torch.uint8), torch.ones(2, 4, 5).bool()])
def test_a_sampler_that_places_no_masks_is_named(masks: torch.Tensor):
    mix = cd.MaskMix(mask=_Placing(masks), p=1.0)
    with pytest.raises(ValueError, match=r"_Placing must place bool masks of shape \(2, 4, 6\), got torch"):
        mix(torch.rand(2, 3, 4, 6), torch.zeros(2, 4, 6).long())
