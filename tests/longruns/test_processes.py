"""The same seed mixes alike in every process; workers and their starts differ where they should, and only there."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import cutmix_dense as cd
from cutmix_dense.build import known_parts

from .batches import METHODS, batch, digest, mixed


@pytest.mark.parametrize("threads", [1, 3])
def test_seeds_mix_alike_in_other_processes_and_at_any_number_of_threads(threads):
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, (str(Path(cd.__file__).parents[1]), os.environ.get("PYTHONPATH")))),
    }
    script = Path(__file__).with_name("batches.py")
    done = subprocess.run(
        [sys.executable, script, str(threads)], env=environment, capture_output=True, text=True, check=True
    )
    told = dict(line.split(" ", 1)[::-1] for line in done.stdout.splitlines())
    fresh = pickle.loads(pickle.dumps(METHODS))  # a bank remembers what other tests mixed
    assert list(told) == list(METHODS)
    for name in METHODS:
        if name != "with a bank":
            assert told[name] == digest(mixed(name, 5)), name
    bank = fresh["with a bank"]
    bank.pairing = cd.SampleBank(max_bytes=2**20, max_samples=16)
    generator = torch.Generator().manual_seed(5)
    assert told["with a bank"] == digest(bank(*batch(5, boxes=20, size=(96, 128)), generator=generator))


@pytest.mark.parametrize("name", [name for name in METHODS if name != "with a bank"])
def test_every_method_can_be_pickled_and_mixes_alike(name):
    twin = pickle.loads(pickle.dumps(METHODS[name]))
    assert repr(twin) == repr(METHODS[name])
    images, targets = batch(3, boxes=12)
    results = [mix(images, targets, generator=torch.Generator().manual_seed(1)) for mix in (METHODS[name], twin)]
    assert digest(results[0]) == digest(results[1])


def test_every_sampler_and_rule_can_be_pickled():
    for name, part in known_parts().items():
        try:
            made = part()
        except TypeError:
            continue  # it has arguments that nobody else knows
        assert repr(pickle.loads(pickle.dumps(made))) == repr(made), name


class Samples(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        images, targets = batch(index, boxes=10, count=1)
        return images[0], targets[0]


def epochs(context: str | None, workers: int, count: int = 2) -> list[list[str]]:
    """Digests of all batches of some epochs, mixed in the loader's workers."""
    torch.manual_seed(11)
    loader = DataLoader(
        Samples(),
        batch_size=4,
        collate_fn=cd.CutMix(p=1.0),
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context=context,
    )
    return [[digest(parts) for parts in loader] for _ in range(count)]


def test_workers_that_are_forked_and_spawned_mix_alike():
    forked, spawned = epochs("fork", 2), epochs("spawn", 2)
    assert forked == spawned
    assert forked == epochs("fork", 2)  # the seed of torch decides
    first, second = forked
    assert not set(first) & set(second)  # the second epoch is mixed anew
    assert len(set(first)) == len(first)


def test_workers_draw_different_plans():
    class Same(Samples):
        def __getitem__(self, index):
            return super().__getitem__(index % 4)

    torch.manual_seed(11)
    loader = DataLoader(
        Same(), batch_size=4, collate_fn=cd.CutMix(p=1.0), num_workers=3, multiprocessing_context="fork"
    )
    assert len({digest(parts) for parts in loader}) == 6  # the same four images, six times
