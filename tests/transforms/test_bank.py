"""SampleBank: bounds, checkpoint, forms of batches, what is refused."""

from __future__ import annotations

import copy
import io
import warnings

import pytest
import torch
from oracle import clone, coded_pool, same

import cutmix_dense as cd
from cutmix_dense.warned import MixWarning

SIZE = (12, 17)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(value: float, size: tuple[int, int] = SIZE, n: int = 1):
    images = torch.full((n, 3, *size), float(value))
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, 2:8, 3:9] = True
    target = {"boxes": torch.tensor([[3.0, 2, 9, 8]]), "labels": torch.tensor([int(value)]), "masks": mask}
    return images, [copy.deepcopy(target) for _ in range(n)]


def test_a_batch_of_one_finds_partners():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    images, targets = sample(1)
    out, _ = mix(images, targets, generator=seeded(0))
    assert torch.equal(out, images), "the bank was empty"
    out, mixed = mix(*sample(2), generator=seeded(1))
    assert set(out.unique().tolist()) <= {1.0, 2.0}
    assert len(out) == len(mixed) == 1
    seen = set()
    for k in range(3, 30):
        out, _ = mix(*sample(k), generator=seeded(k))
        others = set(out.unique().tolist()) - {float(k)}
        assert len(others) <= 1
        assert all(v < k for v in others), "a partner that wasn't seen before"
        seen |= others
    assert len(seen) > 8


def test_the_bank_holds_unmixed_samples():
    bank = cd.SampleBank()
    mix = cd.MixUp(p=1.0, lam=0.5, pairing=bank)
    for k in range(4):
        mix(*sample(k), generator=seeded(k))
    images, targets = bank.join(*sample(9))[:2]
    assert [float(i.unique()) for i in images] == [9, 0, 1, 2, 3]
    assert [t["labels"].item() for t in targets] == [9, 0, 1, 2, 3]
    assert all("weight" not in t for t in targets)


@pytest.mark.parametrize("bank", [cd.SampleBank(), cd.InstanceBank()])
def test_an_empty_bank_is_a_bank(bank):
    assert len(bank) == 0
    assert bank


def test_named_bank():
    mix = cd.CutMix(p=1.0, pairing="bank")
    mix(*sample(1), generator=seeded(0))
    outs = [mix(*sample(2), generator=seeded(s))[0] for s in range(4)]
    assert any(1.0 in out.unique().tolist() for out in outs)


def test_bounded_in_samples():
    bank = cd.SampleBank(max_samples=3)
    for k in range(6):
        bank.push(*sample(k))
        assert len(bank) == min(k + 1, 3)
    assert [float(i.unique()) for i in bank.join(*sample(9)).images] == [9, 3, 4, 5]


def test_bounded_in_bytes():
    one = cd.SampleBank()
    images, targets = sample(1)
    one.push(images, targets)
    exact = images[0].numel() * 4 + sum(v.numel() * v.element_size() for v in targets[0].values())
    assert one.nbytes == exact
    bank = cd.SampleBank(max_bytes=2 * exact + exact // 2)
    for k in range(5):
        bank.push(*sample(k))
        assert bank.nbytes <= bank.max_bytes
    assert len(bank) == 2
    assert [float(i.unique()) for i in bank.join(*sample(9)).images] == [9, 3, 4]
    bank.push(*sample(7, size=(60, 80)))  # larger than the bank: not stored, and nothing goes for it
    assert len(bank) == 2
    assert bank.nbytes <= bank.max_bytes


def test_memory_is_what_it_says():
    """A view into a batch would keep the whole batch alive."""
    bank = cd.SampleBank()
    images, targets = sample(1, n=8)
    bank.push(images, {"instances": targets, "semantic": torch.zeros(8, *SIZE, dtype=torch.long)})
    for tensor in _tensors(bank.state_dict()):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def _tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [t for v in values for t in _tensors(v)]


def test_what_the_caller_does_later_does_not_reach_the_bank():
    bank = cd.SampleBank()
    images, targets = sample(1)
    maps = torch.zeros(1, *SIZE, dtype=torch.long)
    bank.push(images, {"instances": targets, "semantic": maps, "labels": torch.tensor([4])})
    kept = clone(bank.state_dict()["samples"])
    images.zero_()
    maps.fill_(7)
    for value in targets[0].values():
        value.zero_()
    assert same(kept, bank.state_dict()["samples"]), "the bank shares memory with the batch"


def test_a_checkpoint_restores_the_next_result():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    for k in range(5):
        mix(*sample(k), generator=seeded(k))
    buffer = io.BytesIO()
    torch.save(mix.state_dict(), buffer)
    buffer.seek(0)
    twin = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    twin.load_state_dict(torch.load(buffer, weights_only=False))
    for k in (6, 7):
        one, two = mix(*sample(k), generator=seeded(k)), twin(*sample(k), generator=seeded(k))
        assert torch.equal(one[0], two[0])
        assert same(one[1], two[1])


def test_a_checkpoint_stays_as_it_was_saved():
    bank = cd.SampleBank(max_samples=2)
    bank.push(*sample(1))
    state = bank.state_dict()
    bank.push(*sample(2))
    bank.push(*sample(3))
    other = cd.SampleBank(max_samples=2)
    other.load_state_dict(state)
    assert [float(i.unique()) for i in other.join(*sample(9)).images] == [9, 1]


def test_a_smaller_bank_keeps_its_bounds_when_restored():
    bank = cd.SampleBank()
    for k in range(5):
        bank.push(*sample(k))
    small = cd.SampleBank(max_samples=2)
    small.load_state_dict(bank.state_dict())
    assert len(small) <= 2


def test_state_of_a_random_mix():
    def make() -> cd.RandomMix:
        return cd.RandomMix([cd.CutMix(p=1.0, pairing=cd.SampleBank()), cd.MixUp(p=1.0)])

    mix, twin = make(), make()
    for k in range(6):
        mix(*sample(k), generator=seeded(k))
    twin.load_state_dict(mix.state_dict())
    one, two = mix(*sample(8), generator=seeded(1)), twin(*sample(8), generator=seeded(1))
    assert torch.equal(one[0], two[0])


def test_masks_of_a_padded_batch_keep_their_frame():
    """What the bank holds doesn't change the form of the result."""
    frame, valid = (20, 30), torch.tensor([[20, 25], [14, 30]])
    images = coded_pool([(20, 25), (14, 30)], frame)
    targets = [
        {"boxes": torch.tensor([[1.0, 1, 9, 9]]), "labels": torch.tensor([1]), "masks": torch.ones(1, *frame) > 0}
        for _ in range(2)
    ]
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    for seed in range(3):
        out, mixed = mix(images, targets, sizes=valid, generator=seeded(seed))
        assert out.shape == (2, 3, *frame)
        assert [tuple(t["masks"].shape[1:]) for t in mixed] == [frame, frame], f"call {seed}"


def test_lists_of_changing_sizes():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    for k in range(6):
        size = (10 + k, 20 - k)
        images, targets = sample(k, size)
        out, mixed = mix(list(images), targets, generator=seeded(k))
        assert tuple(out[0].shape[-2:]) == size
        assert all(tuple(t["masks"].shape[1:]) == size for t in mixed)


def test_batches_of_changing_sizes():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    for k in range(6):
        size = (10 + k, 20 - k)
        out, mixed = mix(*sample(k, size), generator=seeded(k))
        assert tuple(out.shape[-2:]) == size
        assert all(tuple(t["masks"].shape[1:]) == size for t in mixed)
        assert not ((out != k) & (out >= k)).any()


def test_other_channels_and_dtypes_are_no_partners():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    mix(torch.zeros(1, 3, *SIZE))
    images = torch.ones(1, 1, *SIZE)
    assert torch.equal(mix(images), images)
    images = torch.ones(1, 3, *SIZE, dtype=torch.uint8)
    assert torch.equal(mix(images), images)


def test_several_partners_from_the_bank():
    bank = cd.SampleBank()
    for k in range(1, 9):
        bank.push(*sample(k))
    seen = set()
    for seed in range(8):
        out, _ = cd.Mosaic(pairing=bank, fill=0)(*sample(20), generator=seeded(seed))
        seen |= set(out.unique().tolist())
    assert len(seen & set(range(1, 9))) >= 6


@pytest.mark.parametrize(("arguments", "name"), [({"max_bytes": 0}, "max_bytes"), ({"max_samples": 0}, "max_samples")])
def test_bad_arguments(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.SampleBank(**arguments)


def test_what_a_bank_can_not_do():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    images, targets = sample(1)
    with pytest.raises(ValueError, match="bank"):
        mix.make_plan(images, targets)
    with pytest.raises(ValueError, match="inplace"):
        mix(images, targets, inplace=True)


def test_targets_that_come_and_go():
    """Samples stored without targets are no partners for a batch that has some, or are refused by name."""
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank())
    mix(torch.zeros(1, 3, *SIZE))
    images, targets = sample(1)
    complaint = ""
    try:
        mix(images, {"instances": targets}, generator=seeded(0))
    except (ValueError, TypeError) as error:
        complaint = str(error)
    assert not complaint or "bank" in complaint, complaint


def test_dicts_in_lists_are_copied():
    bank = cd.SampleBank()
    info = [{"id": 1, "category_id": 3, "isthing": 1}]
    maps = torch.ones(8, 10, dtype=torch.long)
    targets = [{"panoptic": maps, "segments_info": list(info)} for _ in range(2)]
    cd.CutMix(p=1.0, pairing=bank)(torch.rand(2, 3, 8, 10), targets)
    info[0]["category_id"] = 99
    assert all(row["category_id"] == 3 for _, target in bank.state_dict()["samples"] for row in target["segments_info"])


def test_samples_too_large_for_the_bank_are_told_of_once():
    mix = cd.CutMix(p=1.0, pairing=cd.SampleBank(max_bytes=100))
    with pytest.warns(MixWarning, match=r"max_bytes=100\) doesn't hold a sample of 18432 bytes"):
        mix(torch.rand(1, 3, 32, 48))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mix(torch.rand(1, 3, 32, 48))


@pytest.mark.parametrize(
    ("stored", "targets"),
    [
        (torch.full((1, *SIZE), 300), torch.ones(1, *SIZE, dtype=torch.uint8)),  # 300 would become 44
        (torch.full((1, *SIZE), 0.7), torch.ones(1, *SIZE, dtype=torch.long)),
        (torch.ones(1, 1, *SIZE).long(), torch.ones(1, *SIZE).long()),
        (torch.tensor([1]), torch.tensor([[0.0, 1.0, 0.0]])),
        ({"a": torch.ones(1, *SIZE).long()}, {"a": torch.ones(1, *SIZE).byte()}),
        ([torch.ones(*SIZE).long()], [{"boxes": torch.tensor([[3.0, 2, 9, 8]]), "labels": torch.tensor([1])}]),
    ],
)
def test_targets_of_another_form_are_no_partners(stored, targets):
    mix = cd.CutMix(p=1.0, pairing="bank", num_classes=3, region=cd.regions.AreaBox(area=(0.5, 0.5)))
    mix(torch.zeros(1, 3, *SIZE), stored)
    mixed, result = mix(torch.ones(1, 3, *SIZE), targets)
    assert (mixed == 1).all()
    if isinstance(targets, torch.Tensor) and targets.ndim > 2:
        assert torch.equal(result, targets)
    mixed, _ = mix(torch.full((1, 3, *SIZE), 2.0), targets, generator=seeded(0))
    assert (mixed == 1).any(), "a sample of the same form is one"
