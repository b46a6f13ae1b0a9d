"""The sampler, the per-sample random state, and the hook that seeds iterations."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cutmix_dense.training import DenseTrainingDataset, EpochSampler, SeedHook, collate, random_state

TRANSFORMS = [
    {"type": "RandomHorizontalFlip", "p": 0.5},
    {"type": "RandomApply", "transforms": [{"type": "ColorJitter", "brightness": 0.5}], "p": 0.5},
    {"type": "RandomResizedCrop", "size": (32, 40), "scale": (0.3, 1.0)},
]


def as_rank(sampler, rank, world):
    sampler.rank, sampler.world_size = rank, world
    return sampler


def test_an_epoch_has_every_index_once_and_another_order_the_next_time():
    sampler = EpochSampler(range(23), seed=3)
    first = list(sampler)
    assert {epoch for epoch, _ in first} == {0}
    assert sorted(index for _, index in first) == list(range(23))
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert {epoch for epoch, _ in second} == {1}
    assert [index for _, index in second] != [index for _, index in first]
    assert list(EpochSampler(range(23), seed=4)) != first
    assert list(EpochSampler(range(5), shuffle=False)) == [(0, index) for index in range(5)]


@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize(("count", "world"), [(23, 4), (8, 4), (2, 5)])
def test_ranks_share_an_epoch(count, world, round_up):
    parts = [as_rank(EpochSampler(range(count), seed=1, round_up=round_up), rank, world) for rank in range(world)]
    lists = [[index for _, index in part] for part in parts]
    assert [len(part) for part in parts] == [len(part) for part in lists]
    together = [index for part in lists for index in part]
    assert set(together) == set(range(count))
    if round_up:
        assert len({len(part) for part in lists}) == 1
        interleaved = [part[i] for i in range(len(lists[0])) for part in lists][:count]
        assert sorted(interleaved) == list(range(count))  # what MMEngine's metrics keep has no sample twice
    else:
        assert sorted(together) == list(range(count))


def test_an_infinite_sampler_goes_through_the_epochs():
    walk = iter(EpochSampler(range(4), seed=2, infinite=True))
    taken = [next(walk) for _ in range(12)]
    assert [epoch for epoch, _ in taken] == [0] * 4 + [1] * 4 + [2] * 4
    single = EpochSampler(range(4), seed=2)
    single.set_epoch(2)
    assert taken[8:] == list(single)


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        EpochSampler([])


def test_samples_depend_on_seed_epoch_and_index_alone(demo):
    dataset = DenseTrainingDataset(
        str(demo / "coco"), "train", layout="coco", task="detection", transforms=TRANSFORMS, seed=7
    )
    other = DenseTrainingDataset(
        str(demo / "coco"), "train", layout="coco", task="detection", transforms=TRANSFORMS, seed=7, cache=True
    )
    forward = {key: dataset[key] for key in [(0, 3), (1, 3), (0, 4)]}
    torch.manual_seed(99)
    for key in [(0, 4), (1, 3), (0, 3), (0, 3)]:
        torch.testing.assert_close(other[key]["image"], forward[key]["image"], rtol=0, atol=0)
        torch.testing.assert_close(other[key]["target"]["boxes"], forward[key]["target"]["boxes"], rtol=0, atol=0)
    assert not torch.equal(forward[0, 3]["image"], forward[1, 3]["image"])
    torch.testing.assert_close(dataset[3]["image"], forward[0, 3]["image"], rtol=0, atol=0)
    dataset.set_seed(8)
    assert not torch.equal(dataset[0, 3]["image"], forward[0, 3]["image"])


def test_the_number_of_workers_changes_nothing(demo):
    batches = []
    for workers in (0, 1, 3):
        dataset = DenseTrainingDataset(
            str(demo / "coco"), "train", layout="coco", task="detection", transforms=TRANSFORMS
        )
        sampler = EpochSampler(dataset, seed=5)
        sampler.set_epoch(2)
        torch.manual_seed(workers)
        loader = DataLoader(dataset, batch_size=5, sampler=sampler, num_workers=workers, collate_fn=collate)
        batches.append([image for batch in loader for image in batch["images"]])
    for images in batches[1:]:
        assert len(images) == len(batches[0])
        assert all(map(torch.equal, images, batches[0]))


def test_the_random_state_comes_back():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    expected = torch.rand(2).tolist(), np.random.rand(2).tolist(), [random.random() for _ in range(2)]  # noqa: NPY002
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    drawn = torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002
    assert drawn == (expected[0][0], expected[1][0], expected[2][0])
    inside = []
    for _ in range(2):
        with random_state("test", 5):
            inside.append((torch.rand(1).item(), np.random.rand(), random.random()))  # noqa: NPY002
    assert inside[0] == inside[1]
    with pytest.raises(KeyError), random_state("test", 6):
        raise KeyError
    assert (torch.rand(1).tolist(), np.random.rand(1).tolist()) == ([expected[0][1]], [expected[1][1]])  # noqa: NPY002
    assert random.random() == expected[2][1]


def test_iterations_are_seeded_by_seed_rank_and_number():
    def draws(seed, rank, iteration):
        runner = SimpleNamespace(seed=seed, rank=rank, iter=iteration)
        SeedHook().before_train_iter(runner, 0)
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002

    first = draws(0, 0, 10)
    torch.rand(3)
    assert draws(0, 0, 10) == first
    for other in [(1, 0, 10), (0, 1, 10), (0, 0, 11)]:
        assert all(a != b for a, b in zip(draws(*other), first))


def test_the_hook_tells_sampler_and_dataset_the_seed_of_a_resumed_training():
    told = []

    class Told(list):
        def set_seed(self, seed):
            told.append(seed)

    dataset = Told(range(4))
    sampler = EpochSampler(dataset, seed=1)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler)
    SeedHook().before_train(SimpleNamespace(train_dataloader=loader, seed=6))
    assert sampler.seed == 6
    assert told[0] == 1
    assert told[-1] == 6
