"""Closing reaches every copy: workers that live on, deep copies, pickled ones; and checkpoints keep it."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2

import cutmix_dense as cd

COUNT, SIZE = 8, (12, 18)


def source(index: int) -> torch.Tensor:
    """Image ``index``, whose pixels all hold the same, 20 more than those of the image before."""
    return torch.full((3, *SIZE), 20 * (index + 1), dtype=torch.uint8)


class Images(Dataset):
    """Plain images for a ``collate_fn`` that mixes."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return source(index), 0


class Mixed(Images):
    """Images that a transform of the dataset has mixed with their neighbour."""

    def __init__(self, mix) -> None:
        self.mix = mix

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pair = torch.stack([source(index), source((index + 1) % COUNT)])
        return self.mix(pair)[0], 0


class Composed:
    """A ``collate_fn`` whose mix lies within ``v2.Compose``, after collate."""

    def __init__(self, mix) -> None:
        self.steps = v2.Compose([v2.ToDtype(torch.uint8), v2.Compose([mix])])

    def __call__(self, samples):
        return self.steps(*default_collate(samples))


def mixed_images(loader: DataLoader) -> list[bool]:
    """Which images of one epoch, in order, differ from their source."""
    rows = [row for images, _ in loader for row in images]
    assert len(rows) == COUNT
    return [not torch.equal(row, source(index)) for index, row in enumerate(rows)]


def collating(mix):
    return {"dataset": Images(), "collate_fn": mix}


def composed(mix):
    return {"dataset": Images(), "collate_fn": Composed(mix)}


def in_a_dataset(mix):
    return {"dataset": Mixed(mix)}


def in_a_copied_dataset(mix):
    return {"dataset": copy.deepcopy(Mixed(mix))}


def in_a_pickled_dataset(mix):
    return {"dataset": pickle.loads(pickle.dumps(Mixed(mix)))}


PLACES = [collating, composed, in_a_dataset, in_a_copied_dataset, in_a_pickled_dataset]


def persistent(parts: dict, start: str) -> DataLoader:
    return DataLoader(**parts, batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context=start)


def halves(**options) -> cd.MixTransform:
    """Mixes every image: half of its rows are its partner's."""
    return cd.StripeMix(p=1.0, **options)


WAYS = [("fork", place) for place in PLACES]
WAYS += [("spawn", collating), ("spawn", in_a_copied_dataset), ("forkserver", composed)]


@pytest.mark.parametrize(("start", "place"), WAYS, ids=lambda value: getattr(value, "__name__", value))
def test_persistent_workers_obey(start, place):
    mix = halves(num_classes=2)
    loader = persistent(place(mix), start)
    assert all(mixed_images(loader))
    mix.close()
    assert not any(mixed_images(loader))
    mix.close(False)
    assert all(mixed_images(loader))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_schedule_of_randommix_reaches_persistent_workers(start):
    mix = cd.RandomMix([halves(num_classes=2), cd.MixUp(p=1.0, lam=0.5, num_classes=2)], total=3, close_last=1)
    loader = persistent(collating(mix), start)
    seen = []
    for epoch in range(3):
        mix.set_progress(epoch)
        seen.append(mixed_images(loader))
    assert all(seen[0])
    assert all(seen[1])
    assert not any(seen[2])


def test_closing_a_copy_closes_the_original_and_another_transform_stays_open():
    mix, other = halves(), halves()
    for twin in (copy.copy(mix), copy.deepcopy(mix), pickle.loads(pickle.dumps(mix))):
        twin.close()
        assert mix.closed
        mix.close(False)
        assert not twin.closed
    mix.close()
    assert not other.closed
    batch = torch.stack([source(0), source(1)])
    assert torch.equal(mix(batch), batch)
    assert not torch.equal(other(batch), batch)


@pytest.mark.parametrize("wrap", [lambda mix: mix, lambda mix: cd.Chain([mix]), lambda mix: cd.RandomMix([mix])])
def test_a_schedule_opens_only_what_it_has_closed(wrap):
    mix = halves()
    whole = wrap(mix)
    for copied in (copy.copy, copy.deepcopy, lambda mix: pickle.loads(pickle.dumps(mix))):
        whole.close(by_schedule=True)
        assert mix.closed
        copied(whole).close(False, by_schedule=True)  # whichever copy and whichever schedule says it
        assert not mix.closed
    mix.close()
    for closed in (True, False):
        whole.close(closed, by_schedule=True)
        assert mix.closed
    whole.close(by_schedule=True)
    mix.close(False)
    assert not mix.closed


def mixes(mix: cd.MixTransform) -> bool:
    """Whether one of several batches comes back mixed."""
    batch = torch.stack([source(0), source(1)])
    return any(not torch.equal(mix(batch, generator=torch.Generator().manual_seed(seed)), batch) for seed in range(6))


def told(whole: cd.MixTransform, steps, *watched: cd.MixTransform) -> list[list[bool]]:
    """Which of the watched transforms mix in each step of the whole."""
    found = []
    for step in steps:
        whole.set_progress(step)
        found.append([mixes(mix) for mix in watched])
    return found


def test_closing_by_hand_outlasts_a_schedule_of_ones_own():
    one, other = halves(), cd.MixUp(p=1.0, lam=0.5)
    mix = cd.RandomMix([one, other], total=4, close_last=1)
    one.close()
    assert told(mix, (0, 3, 0), mix) == [[True], [False], [True]]
    assert (one.closed, other.closed) == (True, False)
    other.close()
    assert told(mix, (0, 3, 0), mix) == [[False], [False], [False]]
    mix.set_progress(3)
    mix.close(False)  # by hand, until a schedule says otherwise
    assert mixes(mix)
    assert told(mix, (3, 0), mix) == [[False], [True]]


def test_a_schedule_within_another_keeps_its_own_end():
    inner = cd.RandomMix([halves()], total=10, close_last=6)
    outer = cd.RandomMix([inner, cd.StripeMix(p=1.0)], weights=[1, 0], total=20, close_last=2)
    expected = [[True, True], [False, False], [False, False], [False, False], [True, True]]
    assert told(outer, (3, 4, 9, 18, 0), inner, outer) == expected
    late = cd.RandomMix([halves()], total=20, close_last=2)
    early = cd.RandomMix([late], total=10, close_last=6)
    assert told(early, (3, 4, 19), late, early) == [[True, True], [True, False], [False, False]]
    assert [late.closed, early.closed] == [True, True]


@pytest.mark.parametrize("within", [cd.Chain, cd.RandomMix])
def test_a_transform_of_two_schedules_obeys_each_in_its_place(within):
    shared = halves()
    first, second = (cd.RandomMix([shared], total=10, close_last=last) for last in (5, 1))
    expected = [[True, True], [False, True], [False, False], [True, True]]
    assert told(within([first, second]), (4, 6, 9, 4), first, second) == expected
    assert mixes(shared)


def test_a_schedule_from_outside_does_not_undo_ones_own():
    mix = cd.Chain([cd.RandomMix([halves()], total=10, close_last=5), cd.RandomMix([halves()], total=10)])
    first, second = mix.stages
    seen = []
    for step, closed in ((3, False), (6, False), (9, True), (3, False)):
        mix.set_progress(step)
        mix.close(closed, by_schedule=True)  # as callbacks do
        seen.append([mixes(first), mixes(second)])
    assert seen == [[True, True], [False, True], [False, False], [True, True]]


def test_a_chain_that_is_over_keeps_its_form():
    fit = cd.Affine(degrees=0, translate=0, scale=(1, 1), size=(20, 30), of="all")
    mix = cd.RandomMix([cd.Chain([cd.RandomMix([cd.Chain([fit, halves()])])])], total=4, close_last=1)
    batch = torch.stack([source(0), source(1)])
    mix.set_progress(2)
    assert not torch.equal(mix(batch)[:, :, :12, :18], batch)
    mix.set_progress(3)
    over = mix(batch)
    assert over.shape[-2:] == (20, 30)
    assert torch.equal(over[:, :, :12, :18], batch)


def test_a_deep_copy_of_a_module_has_its_own_settings():
    mix = cd.RandomMix([halves(), cd.MixUp()])
    twin = copy.deepcopy(mix)
    twin.members[0].p = 0.25
    assert mix.members[0].p == 1.0
    twin.close()
    assert mix.closed


def test_a_pickle_whose_transform_is_gone_keeps_its_state():
    mix = halves()
    mix.close()
    data = pickle.dumps(mix)
    del mix
    twin = pickle.loads(data)
    assert twin.closed
    twin.close(False)
    assert pickle.loads(data) is not twin
    assert not pickle.loads(data).closed


def test_another_process_gets_a_switch_of_its_own(tmp_path):
    mix = halves()
    mix.close()
    file = tmp_path / "mix.pt"
    torch.save(mix, file)
    code = (
        "import sys, torch\n"
        "mix = torch.load(sys.argv[1], weights_only=False)\n"
        "was = mix.closed\n"
        "mix.close(False)\n"
        "print(was, mix.closed)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
    assert mix.closed


def test_state_dicts_keep_it_and_loading_one_reaches_copies():
    mix = cd.RandomMix([halves(), cd.MixUp()], total=4, close_last=1)
    mix.set_progress(3)
    file = io.BytesIO()
    torch.save(mix.state_dict(), file)
    fresh = cd.RandomMix([halves(), cd.MixUp()], total=4, close_last=1)
    twin = copy.deepcopy(fresh)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert fresh.closed
    assert twin.closed


def child(mix, told, answer) -> None:
    told.wait(60)
    mix.members[0].close(False)
    answer.put([member.closed for member in mix.members])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_process_can_turn_its_parents_switch(start):
    context = multiprocessing.get_context(start)
    mix = cd.RandomMix([halves(), cd.MixUp()])
    told, answer = context.Event(), context.SimpleQueue()
    process = context.Process(target=child, args=(mix, told, answer))
    process.start()
    mix.close()
    told.set()
    assert answer.get() == [False, True]
    process.join()
    assert [member.closed for member in mix.members] == [False, True]


def test_thousands_of_transforms_need_no_thousands_of_files():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        kept = [halves() for _ in range(2000)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    kept[7].close()
    assert [index for index, mix in enumerate(kept) if mix.closed] == [7]


def test_compiled_code_sees_it_change():
    torch._dynamo.reset()
    mix = halves()
    batch = torch.stack([source(0), source(1)])
    compiled = torch.compile(lambda x: mix(x), backend="eager")
    assert not torch.equal(compiled(batch), batch)
    mix.close()
    assert torch.equal(compiled(batch), batch)
    mix.close(False)
    assert not torch.equal(compiled(batch), batch)
