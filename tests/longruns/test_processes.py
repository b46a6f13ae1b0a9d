"""The same seed mixes alike in every process; workers and their starts differ where they should, and only there."""

from __future__ import annotations

import json
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


def script(name: str, *words: object, **environment: str) -> subprocess.Popen[str]:
    """Start a script of this folder."""
    path = os.pathsep.join(filter(None, (str(Path(cd.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, str(Path(__file__).with_name(name)), *map(str, words)]
    inherited = {key: value for key, value in os.environ.items() if key != "RANK"}
    return subprocess.Popen(
        command, env={**inherited, "PYTHONPATH": path, **environment}, stdout=subprocess.PIPE, text=True
    )


def output_of(process: subprocess.Popen[str]) -> str:
    """What a script has printed, once it has ended well."""
    with process:
        printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return printed


@pytest.mark.parametrize("threads", [1, 3])
def test_seeds_mix_alike_in_other_processes_and_at_any_number_of_threads(threads):
    printed = output_of(script("batches.py", threads, PYTHONHASHSEED=str(threads)))
    told = dict(line.split(" ", 1)[::-1] for line in printed.splitlines())
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_ranks_that_are_seeded_alike_draw_different_plans(tmp_path):
    """In the processes of the ranks and in their loaders' workers, however they start; no launcher has set RANK."""
    processes = [script("ranks.py", rank, tmp_path / "group") for rank in range(2)]
    ours, theirs = (json.loads(output_of(process)) for process in processes)
    assert list(ours) == [*METHODS, "workers by fork", "workers by spawn"]
    for name in ours:
        digests = [*ours[name], *theirs[name]]
        assert len(set(digests)) == len(digests) >= 4, name


def test_a_rank_goes_along_to_new_processes_only():
    assert "_rank" not in cd.CutMix().__getstate__()
    twin = pickle.loads(pickle.dumps(cd.CutMix()))
    assert vars(twin).keys() == vars(cd.CutMix()).keys()
