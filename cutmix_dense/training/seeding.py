"""Randomness that depends on (seed, epoch, sample) and (seed, rank, iteration) and on nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from torch.utils.data import Sampler

from cutmix_dense.mmengine.scope import DATA_SAMPLERS, HOOKS
from cutmix_dense.randomness import generator_from, seed_from


def seed_everything(*parts: int | str) -> None:
    """Seed torch (all devices), numpy and random by a hash of ``parts``."""
    seed = seed_from(*parts)
    torch.manual_seed(seed)
    _seed_numpy_and_random(seed)


@contextmanager
def random_state(*parts: int | str) -> Iterator[None]:
    """Have torch's CPU generator, numpy and random seeded by ``parts`` inside, and as before afterwards."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - others draw from it
    seed = seed_from(*parts)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach into the devices' generators too
    _seed_numpy_and_random(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def _seed_numpy_and_random(seed: int) -> None:
    np.random.seed(seed % 2**32)  # noqa: NPY002 - transforms of others draw from the global state
    random.seed(seed)


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index): what a sample's random steps need to know travels with its index.

    Ranks take every ``world size``-th entry of one common order, which is shuffled from (seed, epoch).

    Args:
        dataset: what is sampled; its ``set_seed``, where it has one, is told the seed.
        shuffle: False for evaluation: the dataset's own order.
        seed: of the order; the Runner gives its own, ``SeedHook`` again once a resumed one is known.
        round_up: repeat entries at the end so that all ranks have equally many; MMEngine's metrics expect that and
            drop the repeated ones.
        infinite: go on with the next epoch, for iteration-based loops.
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
        infinite: bool = False,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("dataset must have at least one sample, got none")
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.round_up = round_up
        self.infinite = infinite
        self.epoch = 0
        self.seed = 0
        self.set_seed(0 if seed is None else seed)

    def set_seed(self, seed: int) -> None:
        """Seed the order, and the dataset's random steps."""
        self.seed = int(seed)
        if hasattr(self.dataset, "set_seed"):
            self.dataset.set_seed(self.seed)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins; loops call it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        while True:
            yield from ((epoch, index) for index in self._order(epoch))
            if not self.infinite:
                return
            epoch += 1

    def __len__(self) -> int:
        if self.round_up:
            return -(-len(self.dataset) // self.world_size)
        return len(range(self.rank, len(self.dataset), self.world_size))

    def _order(self, epoch: int) -> list[int]:
        count = len(self.dataset)
        if self.shuffle:
            order = torch.randperm(count, generator=generator_from("order", self.seed, epoch)).tolist()
        else:
            order = list(range(count))
        if self.round_up:
            total = len(self) * self.world_size
            order = (order * -(-total // count))[:total]
        return order[self.rank :: self.world_size]


@HOOKS.register_module()
class SeedHook(Hook):
    """Seeds torch, numpy and random from (seed, rank, iteration) before every iteration.

    Dropout, proposal sampling and the plans of ``MixPreprocessor`` then depend on nothing that a checkpoint would have
    to keep (MMEngine's keep no random state), and differ from rank to rank. The seed is the Runner's, a resumed one
    too; sampler and dataset are told it before the training.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        """Tell the sampler the seed."""
        loader = runner.train_dataloader
        for sampler in (loader.sampler, getattr(loader.batch_sampler, "sampler", None)):
            if isinstance(sampler, EpochSampler):
                sampler.set_seed(runner.seed)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the iteration."""
        seed_everything("iteration", runner.seed, runner.rank, runner.iter)
