"""Chain: transforms behind each other, an affine map for what was mixed, one origin for all of them."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import torch
from oracle import coded_pool
from torch.utils.data import DataLoader, TensorDataset

import cutmix_dense as cd
from cutmix_dense.regions import AreaBox

IMAGES = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 20, 30)
SIZES = [(60, 84)] * 5


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coded_targets(shape: tuple[int, int], count: int) -> list[dict[str, torch.Tensor]]:
    """Four rectangles per image, as boxes and masks."""
    targets = []
    for index in range(count):
        boxes = torch.tensor([[4, 6, 30, 22], [40, 8, 80, 26], [10, 30, 28, 56], [44, 34, 74, 58]]) + index % 2
        masks = torch.zeros(4, *shape, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist()):
            mask[y0:y1, x0:x1] = True
        targets.append({"boxes": boxes.float(), "labels": 4 * index + torch.arange(4), "masks": masks})
    return targets


def mosaic_chain(**more: object) -> cd.Chain:
    mosaic = cd.Mosaic(size=(60, 84), expand=2, scale=(0.5, 0.5), p=0.6, interpolation="nearest", fill=0, **more)
    affine = cd.Affine(size=(60, 84), translate=0.2, interpolation="nearest", fill=0, min_visibility=0.2, **more)
    return cd.Chain([mosaic, affine])


def test_masks_and_boxes_agree_with_the_pixels_behind_a_mosaic_and_an_affine_map():
    images = torch.stack(coded_pool(SIZES)).double()
    chain, seen, alone = mosaic_chain(), 0, 0
    for seed in range(12):
        targets = coded_targets((60, 84), 5)
        mixed, after = chain(images, targets, generator=seeded(seed))
        assert mixed.shape == images.shape
        for output, (image, target) in enumerate(zip(mixed, after)):
            number, x, y = image.long()
            alone += torch.equal(image, images[output])
            assert (target["visibility"] >= 0.2).all()
            for row, (source, place) in enumerate(target["origin"].tolist()):
                assert target["labels"][row] == 4 * source + place
                x0, y0, x1, y1 = targets[source]["boxes"][place].long()
                shows = (number == source + 1) & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
                mask = target["masks"][row]
                # several cells may show one image: the mask is in one of them
                assert (mask & ~shows).sum() <= 4
                rows, columns = mask.nonzero().T
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert target["boxes"][row].tolist() == [float(side) for side in box]
                seen += 1
            # and no pixel of an object without an instance that was kept or judged too small
            kept = target["masks"].any(dim=0) if len(target["masks"]) else torch.zeros_like(number, dtype=torch.bool)
            whole = torch.zeros_like(kept)
            for source in range(5):
                for x0, y0, x1, y1 in targets[source]["boxes"].long().tolist():
                    whole |= (number == source + 1) & (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
            assert (whole & ~kept).sum() <= 0.2 * 40 * 24 * 9  # what fails the rule is a sliver each
    assert seen > 200
    assert 0 < alone < 60


def test_an_affine_map_moves_only_what_was_mixed_before_it():
    chain = cd.Chain([cd.CutMix(p=0.5), cd.Affine(degrees=0, translate=0, scale=(0.5, 0.5), fill=9)])
    mixed = chain(IMAGES, generator=seeded(0))
    plan = chain.stages[0].make_plan(IMAGES, generator=seeded(0))
    moved = (mixed == 9).flatten(1).any(dim=1)
    assert torch.equal(moved, (plan.source[:, 1:] >= 0).any(dim=1))
    assert 0 < moved.sum() < 4
    every = cd.Chain([cd.CutMix(p=0.5), cd.Affine(degrees=0, translate=0, scale=(0.5, 0.5), fill=9, of="all")])
    assert (every(IMAGES, generator=seeded(0)) == 9).flatten(1).any(dim=1).all()
    first = cd.Chain([cd.Affine(scale=(0.5, 0.5), fill=9), cd.CutMix(p=0.0)])
    assert (first(IMAGES) == 9).flatten(1).any(dim=1).all()


def test_it_is_the_same_as_its_transforms_one_by_one():
    targets = coded_targets((60, 84), 4)
    images = torch.rand(4, 3, 60, 84)
    first, second = cd.CutMix(p=1.0), cd.MixUp(p=1.0)
    mixed, after = cd.Chain([first, second])(images, targets, generator=seeded(5))
    generator = seeded(5)
    one, between = first(images, targets, generator=generator)
    between = [{key: value for key, value in row.items() if key != "origin"} for row in between]
    two, last = second(one, between, generator=generator)
    assert torch.equal(mixed, two)
    for got, row in zip(after, last):
        assert set(got) == set(row)
        assert all(torch.equal(got[key], row[key]) for key in row if key != "origin")


def test_weights_and_visibility_of_all_mixes_are_multiplied():
    targets = [{"boxes": torch.tensor([[2.0, 2, 12, 12]]), "labels": torch.tensor([k])} for k in range(4)]
    chain = cd.Chain([cd.MixUp(lam=0.6, p=1.0), cd.MixUp(lam=0.7, p=1.0)])
    _, after = chain(IMAGES, targets)
    assert after[0]["origin"].tolist() == [[0, 0], [3, 0], [3, 0], [2, 0]]
    torch.testing.assert_close(after[0]["weight"], torch.tensor([0.42, 0.28, 0.18, 0.12]))


def test_ignored_instances_and_clips_keep_their_origin():
    targets = [
        {"boxes": torch.tensor([[2.0, 2, 12, 12]]), "ignored": {"boxes": torch.tensor([[13.0, 3, 20, 9]])}}
        for _ in range(4)
    ]
    _, after = cd.Chain([cd.MixUp(p=1.0), cd.MixUp(p=1.0)])(IMAGES, targets)
    assert after[0]["ignored"]["origin"].tolist() == [[0, 0], [3, 0], [3, 0], [2, 0]]
    assert all("origin_before" not in part for part in (after[0], after[0]["ignored"]))
    clips = torch.rand(3, 2, 3, 20, 30)
    frames = [[{"boxes": torch.tensor([[2.0, 2, 12, 12]]), "track_id": torch.tensor([1])}] * 2 for _ in range(3)]
    blends = [cd.MixUp(p=1.0, layout="BTCHW"), cd.MixUp(p=1.0, layout="BTCHW")]
    _, after = cd.Chain(blends)(clips, frames)
    assert after[0][1]["origin"].tolist() == [[1, 0], [5, 0], [5, 0], [3, 0]]


def test_merged_stuff_has_the_origins_of_all_parts():
    images = torch.rand(2, 3, 20, 30)
    stuff = {"id": 1, "category_id": 7, "isthing": False}
    targets = [{"panoptic": torch.ones(20, 30).int(), "segments_info": [stuff]} for _ in range(2)]
    idle, mix = cd.CutMix(p=0.0), cd.CutMix(p=1.0, region=AreaBox((0.3, 0.5)))
    for chain, parts in (
        (mix, [[0, 0], [1, 0]]),
        (cd.Chain([idle, mix]), [[0, 0], [1, 0]]),
        (cd.Chain([mix, idle]), [[0, 0], [1, 0]]),
        (cd.Chain([mix, mix]), [[0, 0], [1, 0], [1, 0], [0, 0]]),
    ):
        _, (mixed, _) = chain(images, targets, generator=seeded(0))
        (segment,) = mixed["segments_info"]
        assert segment["origin"] == parts
        assert "origin_before" not in segment


def test_clips_are_moved_where_they_were_mixed():
    clips = torch.arange(4.0).reshape(4, 1, 1, 1, 1).expand(4, 2, 3, 20, 30)
    box = {"boxes": torch.tensor([[4.0, 4, 16, 12]]), "labels": torch.tensor([1])}
    cut = cd.CutMix(p=0.5, region=cd.regions.AreaBox(area=(0.2, 0.3)), layout="BTCHW")
    half = cd.Affine(degrees=0, translate=0, scale=(0.5, 0.5), fill=9, layout="BTCHW", min_visibility=0)
    mixed, after = cd.Chain([cut, half])(clips, [[box, box] for _ in range(4)], generator=seeded(0))
    moved = (mixed == 9).flatten(2).any(dim=2)
    assert torch.equal(moved[:, 0], moved[:, 1])
    assert 0 < moved[:, 0].sum() < 4
    for number, clip in enumerate(after):
        for t, frame in enumerate(clip):
            assert set(frame["origin"][:, 0].tolist()) <= {2 * source + t for source in range(4)}
            if not moved[number, t]:
                assert torch.equal(frame["boxes"], box["boxes"])
            else:  # half of it, round the centre
                assert (frame["boxes"][:, 2] - frame["boxes"][:, 0] <= 6).all()
                assert (frame["boxes"] >= 5).all()


def test_every_form_of_a_batch_comes_back():
    chain = mosaic_chain(num_classes=3)
    images, maps, labels = (
        torch.rand(4, 3, 60, 84),
        torch.zeros(4, 60, 84, dtype=torch.long),
        torch.tensor([0, 1, 2, 0]),
    )
    batch = {"image": images, "mask": maps, "label": labels}
    mixed = chain(batch, generator=seeded(1))
    assert set(mixed) == set(batch)
    assert mixed["image"].shape == images.shape
    assert mixed["mask"].shape == maps.shape
    assert mixed["label"].shape == (4, 3)
    pairs = chain([(image, label) for image, label in zip(images, labels)], generator=seeded(1))
    assert torch.equal(pairs[0], mixed["image"])
    assert torch.equal(pairs[1], mixed["label"])
    several = chain(list(images), generator=seeded(1))
    assert torch.equal(torch.stack(several), mixed["image"])
    out = torch.empty(4, 3, 60, 84)
    assert chain(images, generator=seeded(1), out=out).data_ptr() == out.data_ptr()
    assert torch.equal(out, mixed["image"])
    assert chain(images, generator=seeded(2)).shape == images.shape


def test_padded_batches_stay_within_their_valid_areas():
    sizes = [(40, 60), (33, 50), (44, 41), (30, 64)]
    images = torch.full((4, 1, 44, 64), -7.0)
    for image, (height, width) in zip(images, sizes):
        image[:, :height, :width] = 1
    chain = cd.Chain([cd.Mosaic(fill=0), cd.Affine(fill=0), cd.CutMix(p=1.0)])
    mixed = chain(images, sizes=torch.tensor(sizes), generator=seeded(0))
    for image, (height, width) in zip(mixed, sizes):
        assert (image[:, height:] == -7).all()
        assert (image[:, :, width:] == -7).all()
        assert (image[:, :height, :width] >= 0).all()


def test_windows_and_closing_reach_all():
    inner = cd.RandomMix([cd.MixUp(lam=0.5, p=1.0)], windows=[(1, 3)])
    chain = cd.Chain([cd.RandomMix([cd.StripeMix(p=1.0)], windows=[(2, 4)]), inner])
    assert chain.scheduled
    assert not cd.Chain([cd.CutMix()]).scheduled
    assert cd.RandomMix([chain]).scheduled
    found = []
    for step in range(5):
        chain.set_progress(step)
        mixed = chain(IMAGES, generator=seeded(step))
        found.append((bool((mixed != IMAGES).any()), bool((mixed % 1 == 0.5).any())))
    assert found == [(False, False), (True, True), (True, True), (True, False), (False, False)]
    chain.set_progress(2)
    chain.close()
    assert all(member.closed for member in chain.members)
    assert torch.equal(chain(IMAGES), IMAGES)


def test_what_it_says_of_all():
    closing = cd.RandomMix([cd.MixUp()], total=9, close_last=2)
    chain = cd.Chain([cd.Mosaic(size=(40, 60), expand=2), cd.Affine(size=(20, 30)), closing])
    assert (chain.size, chain.partners, chain.close_last, chain.scheduled) == ((20, 30), 3, 0, True)
    assert cd.Chain([closing]).close_last == 2
    assert chain(torch.rand(4, 3, 40, 60)).shape == (4, 3, 20, 30)


def test_one_of_several_chains_within_a_window():
    halves = cd.Chain([cd.StripeMix(p=1.0), cd.Affine(degrees=0, translate=0, scale=(0.5, 0.5), fill=9)])
    mix = cd.RandomMix([halves, cd.MixUp(lam=0.5, p=1.0)], windows=[(0, 2), (1, 2)], idle=1.0)
    kinds = []
    for step in range(3):
        mix.set_progress(step)
        kinds.append(set())
        for seed in range(24):
            mixed = mix(IMAGES, generator=seeded(seed))
            moved, blended = bool((mixed == 9).any()), bool((mixed % 1 != 0).any())
            kinds[-1].add("chain" if moved else "blend" if blended else "none")
    assert kinds == [{"chain", "none"}, {"chain", "blend", "none"}, {"none"}]


def test_copies_checkpoints_and_pickles_share_the_schedule():
    def made() -> cd.Chain:
        return cd.Chain([cd.RandomMix([cd.MixUp(lam=0.5, p=1.0)], windows=[(3, None)])])

    chain = made()
    for twin in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        chain.set_progress(0)
        assert torch.equal(twin(IMAGES), IMAGES)
        chain.set_progress(3)
        assert (twin(IMAGES) % 1 != 0).any()
    other = made()
    other.load_state_dict(chain.state_dict())
    assert (other(IMAGES) % 1 != 0).any()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_the_step_reaches_workers_that_run(start):
    chain = cd.Chain([cd.RandomMix([cd.MixUp(p=1.0, lam=0.5, num_classes=2)], windows=[(1, 2)])])
    loader = DataLoader(
        TensorDataset(IMAGES, torch.zeros(4, dtype=torch.long)),
        4,
        collate_fn=chain,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context=start,
        prefetch_factor=1,
    )
    seen = []
    for step in range(3):
        chain.set_progress(step)
        (batch,) = [images for images, _ in loader]
        seen.append(bool((batch % 1).any()))
    assert seen == [False, True, False]


def test_a_bank_within():
    chain = cd.Chain([cd.CutMix(p=1.0, pairing=cd.SampleBank()), cd.MixUp(p=1.0, pairing="bank")])
    targets = [{"boxes": torch.tensor([[2.0, 2, 12, 12]]), "labels": torch.tensor([1])}]
    for _ in range(3):
        _, (after,) = chain(IMAGES[:1], targets)
    assert len(after["labels"]) > 1


@pytest.mark.parametrize("masks", [False, True])
def test_a_bank_of_cut_outs_behind_a_mix(masks):
    bank = cd.InstanceBank()
    white = {"boxes": torch.tensor([[4.0, 6, 12, 14]]), "labels": torch.tensor([9])}
    bank.add([torch.full((3, 20, 30), 99.0)], [white])
    box, mask = torch.tensor([[2.0, 3, 12, 13]]), torch.zeros(1, 20, 30, dtype=torch.bool)
    mask[:, 3:13, 2:12] = True
    target = {"boxes": box, "labels": torch.tensor([1]), **({"masks": mask} if masks else {})}
    targets = [target] * 4
    paste = cd.CopyPaste(source=bank, instances=1, place="random", p=1.0, min_visibility=0)
    mixed, after = cd.Chain([cd.MixUp(lam=0.5, p=1.0), paste])(IMAGES, targets, generator=seeded(0))
    for image, target in zip(mixed, after):
        row = int((target["labels"] == 9).nonzero())
        assert target["origin"][row].tolist() == [-1, -1]
        assert (target["origin"][target["labels"] != 9] >= 0).all()
        x0, y0, x1, y1 = target["boxes"][row].int().tolist()
        shows = torch.zeros(20, 30, dtype=torch.bool)
        shows[y0:y1, x0:x1] = True
        assert torch.equal((image == 99).all(dim=0), shows)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("wrap", [lambda mix: mix, lambda mix: cd.RandomMix([mix])], ids=["alone", "drawn"])
def test_cut_outs_have_no_origin_wherever_their_bank_stands(wrap, named):
    bank = cd.InstanceBank()
    bank.add(
        [torch.full((3, 20, 30), 99.0)], [{"boxes": torch.tensor([[4.0, 6, 12, 14]]), "labels": torch.tensor([9])}]
    )
    rows = [{"boxes": torch.tensor([[2.0, 3, 12, 13]]), "labels": torch.tensor([1])}] * 4
    paste = wrap(cd.CopyPaste(source=bank, instances=1, place="random", p=1.0, min_visibility=0))
    for stages in ([paste, cd.CutMix(p=0.0)], [cd.CutMix(p=0.0), paste]):
        _, after = cd.Chain(stages)(IMAGES, {"instances": rows} if named else rows, generator=seeded(0))
        for number, target in enumerate(after["instances"] if named else after):
            assert dict(zip(target["labels"].tolist(), target["origin"].tolist())) == {1: [number, 0], 9: [-1, -1]}


def test_what_is_refused():
    with pytest.raises(TypeError, match="mixing transforms"):
        cd.Chain([torch.nn.Identity()])
    with pytest.raises(ValueError, match="box_format"):
        cd.Chain([cd.CutMix(), cd.MixUp(box_format="xywh")])
    chain = cd.Chain([cd.CutMix(), cd.MixUp()])
    for name in ("inplace", "return_report", "outputs"):
        with pytest.raises(ValueError, match=name):
            chain(IMAGES, **{name: True})
    with pytest.raises(TypeError, match="no argument 'size'"):
        chain(IMAGES, size=3)
    plan = cd.CutMix().make_plan(IMAGES)
    for ask in (lambda: chain.make_plan(IMAGES), lambda: chain.apply_plan(plan, IMAGES)):
        with pytest.raises(ValueError, match="no plan of its own"):
            ask()


@pytest.mark.parametrize("behind", [cd.CutMix(p=1.0), cd.MixUp(p=1.0)], ids=["CutMix", "MixUp"])
@pytest.mark.parametrize("count", [3, 4])
def test_maps_that_a_mixup_has_paired_are_refused_by_name(behind, count):
    images, maps = torch.rand(count, 3, 20, 30), torch.zeros(count, 20, 30).long()
    chain = cd.Chain([cd.MixUp(p=1.0), behind])
    for given, name in (
        (maps, "targets"),
        ([*maps], "targets"),
        ({"mask": maps}, "targets['mask']"),
        ([{"semantic": each} for each in maps], "targets[0]['semantic']"),
    ):
        with pytest.raises(TypeError, match=f"^{re.escape(name)} is a SemanticPair") as told:
            chain(images, given)
        assert 'soft_semantic="probabilities", num_classes=K' in str(told.value)
    soft = cd.Chain([cd.MixUp(p=1.0, soft_semantic="probabilities", num_classes=2), cd.CutMix(p=1.0)])
    assert soft(images, maps)[1].shape == (count, 2, 20, 30)


def test_transforms_behind_each_other_share_no_bank():
    bank = cd.SampleBank(max_samples=3)
    first, second = cd.Mosaic(pairing=bank), cd.MixUp(pairing=bank)
    for stages in (
        [first, second],
        [first, cd.Affine(), cd.RandomMix([cd.CutMix(), second])],
        [cd.Chain([first, cd.StripeMix()]), second],
        [cd.RandomMix([cd.CutMix(), cd.RandomMix([first])]), cd.Cutout(pairing=bank)],
    ):
        with pytest.raises(ValueError, match=r"the same SampleBank\(.*max_samples=3\).*a SampleBank of its own"):
            cd.Chain(stages)
    cd.Chain([cd.RandomMix([first, second]), cd.Affine(pairing=bank)])  # of two a batch meets one; no partner is taken
    cd.Chain([cd.CutMix(pairing="bank"), cd.MixUp(pairing="bank")])


def test_each_transform_keeps_what_it_got_in_its_own_bank():
    banks = cd.SampleBank(), cd.SampleBank()
    chain = cd.Chain([cd.StripeMix(p=1.0, pairing=banks[0]), cd.MixUp(p=1.0, lam=0.5, pairing=banks[1])])
    for value in range(6):
        target = {"boxes": torch.tensor([[1.0, 1, 9, 9]]), "labels": torch.tensor([value])}
        chain(torch.full((1, 3, 20, 30), 2.0**value), [target], generator=seeded(value))
    pure, mixed = ([image.unique().tolist() for image, _ in bank._samples] for bank in banks)
    assert pure == [[2.0**value] for value in range(6)]
    assert all(set(values) <= {2.0**value for value in range(6)} for values in mixed)  # stripes, and no blend
    assert sum(len(values) == 2 for values in mixed) == 5


@pytest.mark.parametrize("within", [lambda chain: chain, lambda chain: cd.RandomMix([chain])])
def test_a_chain_that_ends_with_an_affine_map_is_a_stage(within):
    turn = {"degrees": 0, "translate": 0, "scale": (0.5, 0.5), "fill": 9}
    flat = cd.Chain([cd.StripeMix(p=0.5), cd.Affine(**turn), cd.Affine(**turn), cd.StripeMix(p=1.0)])
    nested = cd.Chain([within(cd.Chain(flat.stages[:2])), *flat.stages[2:]])
    changed = 0
    for seed in range(6):
        expected = flat(IMAGES, generator=seeded(seed))
        if within(flat) is flat:
            assert torch.equal(nested(IMAGES, generator=seeded(seed)), expected)
        mixed = nested(IMAGES, generator=seeded(seed))
        assert mixed.shape == IMAGES.shape
        changed += bool((mixed == 9).any())
    assert changed > 2
