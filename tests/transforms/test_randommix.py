"""RandomMix: one form for all batches, refused arguments."""

from __future__ import annotations

import pickle

import pytest
import torch

import cutmix_dense as cd


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def targets() -> list[dict]:
    return [{"boxes": torch.tensor([[1.0, 1, 9, 9]]), "labels": torch.tensor([1])} for _ in range(3)]


def test_instances_carry_weight_whatever_is_drawn():
    mix = cd.RandomMix([cd.MixUp(p=1.0), cd.StripeMix(p=1.0), cd.CutMix(p=0.0)])
    for seed in range(12):
        _, out = mix(torch.zeros(3, 1, 12, 15), targets(), generator=seeded(seed))
        assert all("weight" in t and len(t["weight"]) == len(t["boxes"]) for t in out)
    plain = cd.RandomMix([cd.StripeMix(p=1.0), cd.CutMix(p=1.0)])
    _, out = plain(torch.zeros(3, 1, 12, 15), targets(), generator=seeded(0))
    assert all("weight" not in t for t in out)


def test_the_arguments_reach_the_transform():
    mix = cd.RandomMix([cd.CutMix(p=1.0)])
    images = torch.rand(3, 1, 12, 15)
    out = torch.empty_like(images)
    sizes = torch.tensor([[12, 15], [8, 10], [9, 9]])
    result, _, report = mix(images, targets(), sizes=sizes, out=out, return_report=True, generator=seeded(0))
    assert result.data_ptr() == out.data_ptr()
    assert len(report) >= 3


def test_the_schedule_survives_a_pickle():
    mix = cd.RandomMix([cd.MixUp(p=1.0, lam=0.5)], total=4, close_last=2)
    mix.set_progress(3)
    twin = pickle.loads(pickle.dumps(mix))
    images = torch.rand(3, 1, 6, 7)
    assert torch.equal(twin(images, generator=seeded(0)), images)


def test_without_a_generator_calls_differ():
    mix = cd.RandomMix([cd.MixUp(p=1.0), cd.CutMix(p=1.0)])
    images = torch.rand(3, 1, 12, 15)
    outs = [mix(images) for _ in range(4)]
    assert any(not torch.equal(outs[0], out) for out in outs[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        {"transforms": [cd.CutMix()], "weights": [1.0, 2.0]},
        {"transforms": [cd.CutMix()], "weights": [0.0]},
        {"transforms": [cd.CutMix()], "weights": [-1.0]},
        {"transforms": [cd.CutMix()], "weights": [float("nan")]},
        {"transforms": [cd.CutMix()], "close_last": 2},
        {"transforms": [cd.CutMix()], "total": 3, "close_last": 4},
        {"transforms": [cd.CutMix()], "total": 3, "close_last": -1},
    ],
)
def test_bad_values(arguments: dict):
    with pytest.raises(ValueError):
        cd.RandomMix(**arguments)


@pytest.mark.parametrize("transforms", [[], [torch.nn.Identity()], [cd.CutMix]])
def test_bad_transforms(transforms: list):
    with pytest.raises(TypeError, match="transforms"):
        cd.RandomMix(transforms)
