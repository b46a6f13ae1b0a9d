"""RandomMix: windows of steps for its transforms, plans of its own, and that it is a transform like the others."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import cutmix_dense as cd

IMAGES = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 20, 30)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scheduled(**more: Any) -> cd.RandomMix:
    """Stripes in steps 1 and 2, a blend from 2 on."""
    return cd.RandomMix([cd.StripeMix(p=1.0), cd.MixUp(p=1.0, lam=0.5)], windows=[(1, 3), (2, None)], **more)


def kinds(mix: cd.RandomMix, step: int) -> set[str]:
    """What happens to batches of a step: values between two images' are a blend's."""
    mix.set_progress(step)
    found = set()
    for seed in range(16):
        mixed = mix(IMAGES, generator=seeded(seed))
        if torch.equal(mixed, IMAGES):
            found.add("unmixed")
        else:
            found.add("blend" if (mixed % 1).any() else "stripes")
    return found


def test_transforms_are_drawn_in_their_windows():
    mix = scheduled()
    assert [kinds(mix, step) for step in range(5)] == [
        {"unmixed"},
        {"stripes"},
        {"stripes", "blend"},
        {"blend"},
        {"blend"},
    ]
    closing = scheduled(total=5, close_last=1)
    assert kinds(closing, 3) == {"blend"}
    assert kinds(closing, 4) == {"unmixed"}
    assert kinds(closing, 1) == {"stripes"}


def test_some_batches_stay_unmixed():
    mix = cd.RandomMix([cd.StripeMix(p=1.0), cd.MixUp(p=1.0, lam=0.5)], [0.5, 0.25], windows=[(0, 1), None], idle=0.25)
    for step, shares in enumerate(([0.5, 0.25, 0.25], [0.0, 0.5, 0.5])):
        mix.set_progress(step)
        drawn = [mix.choose(seeded(seed)) for seed in range(800)]
        found = [sum(type(one) is kind and not one.closed for one in drawn) / 800 for kind in (cd.StripeMix, cd.MixUp)]
        found.append(sum(one.closed for one in drawn) / 800)
        assert found == pytest.approx(shares, abs=0.06)
    with pytest.raises(ValueError, match="idle"):
        cd.RandomMix([cd.CutMix()], idle=-1)


def test_the_step_survives_copies_and_checkpoints():
    mix = scheduled()
    mix.set_progress(3)
    for twin in (copy.deepcopy(mix), pickle.loads(pickle.dumps(mix))):
        assert kinds(twin, 3) == {"blend"}
        mix.set_progress(1)
        assert twin._step.get() == 1  # the twin follows
        mix.set_progress(3)
    other = scheduled()
    other.load_state_dict(mix.state_dict())
    assert other._step.get() == 3


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_step_reaches_workers_that_run(start):
    mix = cd.RandomMix([cd.MixUp(p=1.0, lam=0.5, num_classes=2)], windows=[(1, 2)])
    data = TensorDataset(IMAGES, torch.zeros(4, dtype=torch.long))
    loader = DataLoader(
        data,
        4,
        collate_fn=mix,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=start,
        prefetch_factor=1,
    )
    seen = []
    for step in range(3):
        mix.set_progress(step)
        (batch,) = [images for images, _ in loader]
        seen.append(bool((batch % 1).any()))
    assert seen == [False, True, False]


def test_an_unmixed_batch_has_the_form_of_a_mixed_one():
    mix = scheduled()
    targets = [{"boxes": torch.tensor([[1.0, 1, 9, 9]]), "labels": torch.tensor([1])} for _ in range(4)]
    _, unmixed = mix(IMAGES, targets, generator=seeded(0))
    mix.set_progress(3)
    _, mixed = mix(IMAGES, targets, generator=seeded(0))
    assert [set(target) for target in unmixed] == [set(target) for target in mixed]


def test_it_is_a_transform_with_plans():
    mix = cd.RandomMix([cd.CutMix(p=1.0), cd.Mosaic(fill=0.25), cd.MixUp(p=1.0)])
    assert isinstance(mix, cd.MixTransform)
    images = torch.rand(4, 3, 20, 30)
    made = set()
    for seed in range(12):
        plan = mix.make_plan(images, generator=seeded(seed))
        made.add((plan.layers, plan.weight is not None))
        assert torch.equal(mix.apply_plan(plan, images)[0], mix(images, generator=seeded(seed)))
    assert made == {(2, False), (4, False), (2, True)}


def test_a_plan_from_elsewhere_is_applied_only_if_all_would_do_the_same():
    images = torch.rand(3, 3, 20, 30)
    plan = cd.CutMix(p=1.0).make_plan(images, generator=seeded(1))
    alike = cd.RandomMix([cd.CutMix(), cd.StripeMix()])
    assert torch.equal(alike.apply_plan(plan, images)[0], cd.functional.mix_pixels(images, plan))
    other = cd.RandomMix([cd.CutMix(), cd.StripeMix(min_visibility=0.5)])
    with pytest.raises(ValueError, match="differ in rules"):
        other.apply_plan(plan, images)


def test_one_within_another():
    inner = cd.RandomMix([cd.StripeMix(p=1.0)], windows=[(2, None)])
    mix = cd.RandomMix([cd.MixUp(p=1.0, lam=0.5), inner])
    assert [type(member).__name__ for member in mix.members] == ["MixUp", "StripeMix"]
    assert kinds(mix, 0) == {"blend", "unmixed"}
    assert kinds(mix, 2) == {"blend", "stripes"}
    mix.close()
    assert inner.closed


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([(0, 1)], "one per transform"),
        ([(3, 1), None], "start <= stop"),
        ([(-1, 1), None], "0 <="),
        ([5, None], "must be"),
        ([(True, 3), None], r"start <= stop or None, got \(True, 3\)"),
        ([(0, np.True_), None], "must be"),
        ([(0, 2.5), None], "must be"),
        ([(0, "3"), None], "must be"),
        ([(0, 1, 2), None], "must be"),
        ([(0,), None], "must be"),
        (["03", None], "must be"),
    ],
)
def test_windows_that_are_refused(windows, message):
    with pytest.raises(ValueError, match=message):
        cd.RandomMix([cd.CutMix(), cd.MixUp()], windows=windows)


@pytest.mark.parametrize("number", [np.int64, np.uint8, float, torch.tensor])
def test_windows_take_whole_numbers_of_any_kind(number):
    mix = cd.RandomMix([cd.MixUp(p=1.0, lam=0.5)], windows=[[number(2), number(3)]], total=4)
    assert mix.windows == [(2, 3)]
    assert [kinds(mix, step) for step in range(4)] == [{"unmixed"}, {"unmixed"}, {"blend"}, {"unmixed"}]
    assert cd.RandomMix([cd.MixUp()], windows=np.array([[2, 3]])).windows == [(2, 3)]
