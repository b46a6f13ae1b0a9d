"""``torch.manual_seed`` repeats a call, as elsewhere in torch; workers and ranks that are seeded alike differ."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import cutmix_dense as cd
from cutmix_dense import semi
from cutmix_dense.randomness import call_generator, rank_seed

MIXES = [
    cd.CutMix(p=1.0),
    cd.Mosaic(p=1.0),
    cd.CowMix(p=1.0),
    cd.MixUp(p=1.0),
    cd.RandomMix([cd.CutMix(p=1.0), cd.ResizeMix(p=1.0)]),
]


def images() -> torch.Tensor:
    return torch.arange(6 * 3 * 20 * 30).reshape(6, 3, 20, 30).float()


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: type(mix).__name__)
def test_a_seed_of_torch_repeats_calls_and_consecutive_calls_differ(mix):
    def calls(seed: int) -> list[torch.Tensor]:
        torch.manual_seed(seed)
        return [mix(images()) for _ in range(3)]

    first, again, other = calls(1), calls(1), calls(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[1], first[2])
    assert not torch.equal(first[0], other[0])


def test_make_plan_and_the_call_draw_alike():
    mix = cd.CutMix(p=1.0)
    torch.manual_seed(5)
    plan = mix.make_plan(images())
    torch.manual_seed(5)
    assert torch.equal(mix(images()), mix.apply_plan(plan, images())[0])


def test_a_call_draws_one_number_of_torchs_generator_and_nothing_else():
    torch.manual_seed(5)
    torch.randint(2**63 - 1, ())
    expected = torch.rand(4)
    torch.manual_seed(5)
    others = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    cd.CutMix(p=1.0)(images())
    assert torch.equal(torch.rand(4), expected)
    assert random.getstate() == others[0]
    assert (np.random.get_state()[1] == others[1]).all()  # noqa: NPY002


def test_a_saved_state_of_torch_goes_on_with_the_same_plans():
    mix = cd.CutMix(p=1.0)
    mix(images())
    state = torch.get_rng_state()
    expected = mix(images())
    assert not torch.equal(mix(images()), expected)
    torch.set_rng_state(state)
    assert torch.equal(mix(images()), expected)


def test_ranks_that_are_seeded_alike_differ(monkeypatch):
    def drawn(rank: int) -> tuple[torch.Tensor, int, int]:
        monkeypatch.setenv("RANK", str(rank))
        torch.manual_seed(3)
        return cd.CutMix(p=1.0)(images()), call_generator().initial_seed(), rank_seed()

    ours, again, theirs = drawn(0), drawn(0), drawn(1)
    assert torch.equal(ours[0], again[0])
    assert ours[1:] == again[1:]
    assert not torch.equal(ours[0], theirs[0])
    assert ours[1] != theirs[1]
    assert ours[2] != theirs[2]


class Rows(Dataset):
    """The same image again and again, so that only plans differ."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return images()[index % 6], 0


def reseeded(worker: int) -> None:
    torch.manual_seed(0)


def epoch(workers: int, **options) -> list[torch.Tensor]:
    torch.manual_seed(11)
    mix = cd.CutMix(p=1.0, num_classes=2)
    start = {"multiprocessing_context": "fork"} if workers else {}
    return [x for x, _ in DataLoader(Rows(), 6, collate_fn=mix, num_workers=workers, **start, **options)]


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_repeat_by_the_seed(workers):
    first, again = epoch(workers), epoch(workers)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert len({x.numpy().tobytes() for x in first}) == len(first) == 4


def test_workers_that_are_seeded_alike_differ():
    batches = epoch(2, worker_init_fn=reseeded)
    assert not torch.equal(batches[0], batches[1])


def test_consistency_repeats_by_the_seed():
    model = torch.nn.Conv2d(3, 4, 1)

    def seen() -> torch.Tensor:
        torch.manual_seed(4)
        return semi.mixed_consistency(model, model, images() / 1e4, cd.CutMix(p=1.0)).images

    assert torch.equal(seen(), seen())


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_calls_follow_the_seed(backend):
    torch._dynamo.reset()
    mix = cd.CutMix(p=1.0)
    compiled = torch.compile(lambda x: mix(x) * 2, backend=backend)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = mix(images()) * 2
        torch.manual_seed(seed)
        assert torch.equal(compiled(images()), expected)
