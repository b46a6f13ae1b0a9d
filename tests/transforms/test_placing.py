"""Pasted instances that are layers of their own: how many, of which image, where, and how much they may hide."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import volumetric
from test_family_samplers import assert_even, assert_share, assert_uncorrelated, blank, plan_of, seeded
from test_samplers import assert_uniform

import cutmix_dense as cd
from cutmix_dense import functional as F

SIZE = (200, 330)


def targets_of(n: int, boxes: list[list[float]], labels: list[int] | None = None) -> list[dict[str, torch.Tensor]]:
    rows = torch.tensor(boxes).reshape(-1, 4)
    classes = torch.tensor(labels if labels is not None else [1] * len(rows))
    return [{"boxes": rows, "labels": classes} for _ in range(n)]


def pasted_boxes(plan, boxes: list[list[float]]) -> np.ndarray:
    """Where the one box of every image lies on the canvas, (B, K, 4) of y0, x0, y1, x1."""
    x0, y0, x1, y1 = boxes[0]
    scale, shift = plan.scale[:, 1:].double().numpy(), plan.shift[:, 1:].double().numpy()
    ends = scale * np.array([y0, x0]) + shift, scale * np.array([y1, x1]) + shift
    return np.concatenate([np.minimum(*ends), np.maximum(*ends)], axis=2)


def test_random_places_are_uniform_and_independent():
    boxes = [[10.0, 20.0, 40.0, 80.0]] * 2
    mix = cd.CopyPaste(instances="all", place="random", scale=(0.5, 1.5), flip=0.3, flip_pairs=(), p=1.0)
    plan = plan_of(mix, 2000, SIZE, 3, targets=targets_of(2000, boxes))
    assert plan.layers == 3
    placed = pasted_boxes(plan, boxes)
    side = placed[..., 2:] - placed[..., :2]
    assert np.allclose(side / [60, 30], (side / [60, 30])[..., :1], atol=1e-4), "the aspect changed"
    for slot in range(2):
        assert_uniform(side[:, slot, 0] / 60, 0.5, 1.5)
        assert_share(plan.scale[:, 1 + slot, 1].numpy() < 0, 0.3)
        for axis in range(2):
            room = SIZE[axis] - side[:, slot, axis]
            low = placed[:, slot, axis]
            assert (low >= -1e-3).all()
            assert (low <= room + 1e-3).all()
            assert_uniform(low / room, 0, 1, slack=0.02)
            assert_uncorrelated(low / room, side[:, slot, axis])
    share = placed[..., :2] / (np.array(SIZE) - side)
    for first, second in (((0, 0), (0, 1)), ((1, 0), (1, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 1))):
        assert_uncorrelated(share[(slice(None), *first)], share[(slice(None), *second)])


def test_the_same_place_is_that_of_the_own_image():
    boxes = [[10.0, 20.0, 40.0, 80.0]]
    mix = cd.CopyPaste(instances="all", source="self", scale=(0.5, 0.5), p=1.0)
    placed = pasted_boxes(plan_of(mix, 4, SIZE, 3, targets=targets_of(4, boxes)), boxes)
    assert np.abs((placed[..., :2] + placed[..., 2:]) / 2 - [50, 25]).max() <= 0.5


@pytest.mark.parametrize("more", [{}, {"blend": 0.5}, {"overlap": 0.3, "context": 0.1}])
def test_own_instances_are_not_pasted_onto_themselves(more):
    with pytest.raises(ValueError, match=r"place must be 'random' or 'grid' for source='self', got 'same'"):
        cd.CopyPaste(source="self", **more)
    for moved in ({"place": "random"}, {"place": "grid"}, {"flip": 0.5}, {"scale": (0.5, 1.0)}):
        cd.CopyPaste(source="self", **more, **moved)


def test_cells_of_a_grid_are_each_used_once():
    boxes = [[10.0, 20.0, 40.0, 80.0]] * 5
    mix = cd.CopyPaste(instances="all", place="grid", p=1.0)
    placed = pasted_boxes(plan_of(mix, 900, (240, 330), 3, targets=targets_of(900, boxes)), boxes)
    centre = (placed[..., :2] + placed[..., 2:]) / 2 / np.array([80, 110])  # 3 × 3 cells
    assert np.abs(centre % 1 - 0.5).max() < 0.01
    cells = (centre.astype(int) * [3, 1]).sum(axis=2)
    assert all(len(set(row)) == 5 for row in cells.tolist())
    for slot in range(5):
        assert_even(Counter(cells[:, slot].tolist()), range(9))


@pytest.mark.parametrize(
    ("place", "overlap"),
    [("random", 0.0), ("random", 0.3), ("random", 1.0), ("grid", 0.0), ("grid", 0.3), ("same", 0.3)],
)
def test_no_box_is_hidden_more_than_allowed(place: str, overlap: float):
    generator = seeded(5)
    images, targets = torch.zeros(40, 1, 60, 90), []
    for _ in range(40):
        low = torch.rand(6, 2, generator=generator) * torch.tensor([70.0, 40.0])
        boxes = torch.cat([low, low + 5 + torch.rand(6, 2, generator=generator) * 15], dim=1)
        targets.append({"boxes": boxes, "labels": torch.arange(6)})
    mix = cd.CopyPaste(instances=3, place=place, overlap=overlap, p=1.0, min_visibility=0.0, min_size=0.0)
    plan = mix.make_plan(images, targets, generator=generator)
    _, out, report = mix.apply_plan(plan, images, targets, return_report=True)
    seen = torch.cat([target["visibility"] for target in out])
    if overlap < 1:
        assert (seen >= 1 - overlap - 1e-5).all()
    else:
        assert (seen < 0.7).any(), "this place hides nothing anyway"
    assert (plan.carry[:, 1:].any(dim=2).sum(dim=1) == 3).all()
    dropped = [row for row in report.rows() if row["layer"] and row["reason"] == "covered"]
    kept = sum(int((target["origin"][:, 0] != b).sum()) for b, target in enumerate(out))
    assert kept + len(dropped) == 120, "what found no place is reported"
    if overlap == 0:
        assert len(dropped) > 0
        assert kept > 20


def test_context_is_cut_but_no_part_of_the_box():
    boxes = [[100.0, 50.0, 200.0, 130.0]]
    images = torch.arange(300).reshape(300, 1, 1, 1).expand(-1, 1, 200, 330).float()
    mix = cd.CopyPaste(instances=1, context=(0.1, 0.25), p=1.0)
    targets = targets_of(300, boxes)
    plan = mix.make_plan(images, targets, generator=seeded(1))
    owned = plan.owned_pixels()[:, 1].numpy()
    share = ((owned / 8000) ** 0.5 - 1) / 2  # of both sides, up to rounding to whole pixels
    assert share.min() > 0.09
    assert share.max() < 0.27
    assert_uniform(share, 0.1, 0.25, slack=0.08)
    _, out = mix(images[:4], targets[:4], generator=seeded(2))
    assert all(torch.equal(target["boxes"][-1], torch.tensor(boxes[0])) for target in out)


@pytest.mark.parametrize("settings", [{}, {"place": "random"}, {"source": "batch", "place": "grid"}])
def test_ranges_of_numbers_are_uniform(settings: dict):
    boxes = [[10.0 * k, 20.0, 8 + 10.0 * k, 80.0] for k in range(6)]
    mix = cd.CopyPaste(instances=(1, 3), p=1.0, **settings)
    n = 120 if "source" in settings else 1500
    plan = plan_of(mix, n, SIZE, 7, targets=targets_of(n, boxes))
    counts = plan.carry[:, 1:, :6].sum(dim=(1, 2)).tolist()
    assert_even(Counter(counts), [1, 2, 3])


def test_sources():
    boxes = [[10.0, 20.0, 40.0, 80.0]]
    targets = targets_of(30, boxes)
    own = cd.CopyPaste(instances="all", source="self", place="random", p=1.0)
    assert torch.equal(plan_of(own, 30, SIZE, 1, targets).source[:, 1], torch.arange(30))
    alone = own(torch.rand(1, 3, 100, 60), targets[:1], generator=seeded(0))[1][0]
    assert alone["origin"].tolist() == [[0, 0], [0, 0]]
    others = cd.CopyPaste(instances=4, source="batch", place="random", p=1.0)
    source = plan_of(others, 30, SIZE, 1, targets).source
    assert (source[:, 1:] != source[:, :1]).all()
    assert all(len(set(row)) == 5 for row in source.tolist()), "drawn twice"
    assert_even(Counter((source[:, 1:] - source[:, :1]).remainder(30).flatten().tolist()), range(1, 30))
    empty = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}] * 3
    plan = others.make_plan(blank(6, SIZE), [*empty, *targets[:3]], generator=seeded(0), outputs=3)
    assert (plan.source[:, 1:4] >= 3).all(), "backgrounds are bases, images behind them donors"
    assert len(plan) == 3
    behind = others.make_plan(blank(6, SIZE), targets[:6], generator=seeded(0), outputs=3)
    assert (behind.source[:, 1:4] >= 3).all(), "images that are mixed are no donors then"
    none = cd.CopyPaste(instances=2, source="batch", p=0.0).make_plan(blank(30, SIZE), targets, generator=seeded(0))
    assert (none.source[:, 1:] < 0).all()


@pytest.mark.parametrize("settings", [{}, {"place": "random"}, {"source": "batch", "place": "random"}])
def test_classes_are_drawn_by_weight(settings: dict):
    labels = [1] * 6 + [2] * 2 + [5]
    boxes = [[10.0 * k, 20.0, 8 + 10.0 * k, 80.0] for k in range(9)]

    def counts(**given) -> Counter[int]:
        found: Counter[int] = Counter()
        n, rounds = (40, 40) if "source" in settings else (1600, 1)
        for seed in range(rounds):
            mix = cd.CopyPaste(instances=1, p=1.0, **settings, **given)
            carried = plan_of(mix, n, SIZE, seed, targets_of(n, boxes, labels)).carry[:, 1:, :9].any(dim=1)
            found.update(labels[k] for k in carried.int().argmax(dim=1).tolist())
        return found

    for given, shares in [
        ({}, {1: 6 / 9, 2: 2 / 9, 5: 1 / 9}),
        ({"weights": "balanced"}, {1: 1 / 3, 2: 1 / 3, 5: 1 / 3}),
        ({"weights": {1: 1.0, 2: 3.0, 5: 0.0}}, {1: 0.5, 2: 0.5}),
        ({"weights": torch.tensor([0.0, 1.0, 3.0])}, {1: 6 / 13, 2: 6 / 13, 5: 1 / 13}),  # others weigh 1
        ({"weights": cd.class_weights("inverse", {1: 1.0, 2: 0.5, 5: 0.25})}, {1: 6 / 14, 2: 4 / 14, 5: 4 / 14}),
    ]:
        found = counts(**given)
        assert set(found) == set(shares)
        for name, share in shares.items():
            assert_share(np.repeat([1.0, 0.0], [found[name], found.total() - found[name]]), share)


@pytest.mark.parametrize("settings", [{}, {"place": "random"}])
def test_sizes_are_drawn_by_weight(settings: dict):
    boxes = [[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 40.0, 40.0], [0.0, 0.0, 100.0, 100.0]]

    def shares(weights: dict) -> list[float]:
        mix = cd.CopyPaste(instances=1, p=1.0, size_weights=weights, **settings)
        carried = plan_of(mix, 1500, SIZE, 0, targets_of(1500, boxes)).carry[:, 1:, :3].any(dim=1)
        return carried.double().mean(dim=0).tolist()

    assert shares({"small": 0, "medium": 1, "large": 0}) == [0, 1, 0]
    assert shares({"small": 2}) == pytest.approx([0.5, 0.25, 0.25], abs=0.05)
    assert shares({"medium": 0}) == pytest.approx([0.5, 0, 0.5], abs=0.05)
    assert shares({"large": 3}) == pytest.approx([0.2, 0.2, 0.6], abs=0.05)
    assert shares({0: 0, 30: 2, 50: 1}) == pytest.approx([0, 2 / 3, 1 / 3], abs=0.05)


def test_more_wanted_than_weigh():
    mix = cd.CopyPaste(instances=3, p=1.0, weights={1: 1.0, 2: 0.0})
    plan = plan_of(mix, 8, SIZE, 0, targets_of(8, [[0.0, 0, 9, 9]] * 4, [1, 2, 2, 1]))
    assert (plan.carry[:, 1, :4] == torch.tensor([True, False, False, True])).all()


def test_pairs_that_exchange_share_their_draws():
    boxes = [[10.0, 20.0, 40.0, 80.0]]
    mix = cd.CopyPaste(instances="all", place="random", pairing="swap", p=1.0)
    plan = plan_of(mix, 6, SIZE, 0, targets_of(6, boxes))
    assert torch.equal(plan.shift, plan.shift[plan.source[:, 1]])


def test_volumes():
    volumes = torch.rand(3, 1, 9, 14, 20)
    boxes = torch.tensor([[3.0, 2, 1, 9, 8, 5]])  # x0, y0, z0, x1, y1, z1
    targets = [{"boxes": boxes, "labels": torch.tensor([k])} for k in range(3)]
    mix = cd.CopyPaste(instances="all", place="random", p=1.0, layout="BCDHW")
    mixed, out = mix(volumes, targets, generator=seeded(4))
    for b, target in enumerate(out):
        source = int(target["origin"][1, 0])
        x0, y0, z0, x1, y1, z1 = target["boxes"][1].long().tolist()
        assert torch.equal(mixed[b, 0, z0:z1, y0:y1, x0:x1], volumes[source, 0, 1:5, 2:8, 3:9])
        assert [z0, y0, x0] != [1, 2, 3]


def test_the_draws_depend_on_shapes_alone():
    boxes = [[10.0, 20.0, 40.0, 80.0], [50.0, 20.0, 90.0, 80.0]]
    far = [[0.0, 0.0, 300.0, 150.0], [1.0, 2.0, 3.0, 4.0]]
    mix = cd.CopyPaste(instances="all", place="random", overlap=0.2, p=0.5, weights="balanced", blend=(0.3, 0.9))
    states = []
    for rows in (boxes, far):
        generator = seeded(9)
        mix.make_plan(blank(5, SIZE), targets_of(5, rows), generator=generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_instances_without_a_mask_and_broken_ones():
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 3:9, 4:12] = True
    boxes = torch.tensor([[4.0, 3, 12, 9], [20.0, 10, 26, 16]])
    targets = [
        {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks, "has_mask": torch.tensor([True, False])}
    ] * 2
    mix = cd.CopyPaste(instances="all", place="random", p=1.0, boxes="estimate", min_visibility=0.0)
    plan = mix.make_plan(torch.rand(2, 3, 20, 30), targets, generator=seeded(1))
    assert plan.owned_pixels()[:, 2 if plan.carry[0, 2, 1] else 1].tolist()[0] > 0
    assert sorted(plan.owned_pixels()[0, 1:].tolist())[0] <= 48
    inverted = targets_of(2, [[9.0, 3, 4, 9], [1.0, 1, 5, 5]])
    plan = cd.CopyPaste(instances="all", place="random", p=1.0).make_plan(torch.rand(2, 3, 20, 30), inverted)
    assert (plan.source[:, 1:] >= 0).sum(dim=1).tolist() == [1, 1], "a box without area is no layer"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"instances": (3, 1)}, "instances"),
        ({"instances": (0, 0)}, "instances"),
        ({"instances": True}, "instances"),
        ({"source": "bank"}, "source"),
        ({"source": "batch"}, "instances"),
        ({"place": "corner"}, "place"),
        ({"overlap": 1.5}, "overlap"),
        ({"context": -0.1}, "context"),
        ({"context": (0.3, 0.1)}, "context"),
        ({"context": "wide"}, "context"),
        ({"weights": "inverse"}, "class_weights"),
        ({"weights": "rare"}, "weights"),
        ({"weights": {1: -1.0}}, "weights"),
        ({"weights": {}}, "weights"),
        ({"size_weights": {"tiny": 1}}, "size_weights"),
        ({"size_weights": {"small": 1, 50: 2}}, "not both"),
        ({"size_weights": {"small": -1}}, "size_weights"),
    ],
)
def test_settings_that_are_none(settings: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.CopyPaste(**settings)


def test_class_weights_refuse_what_are_no_shares():
    with pytest.raises(ValueError, match="rule"):
        cd.class_weights("balanced", {1: 0.5})
    with pytest.raises(ValueError, match="frequencies"):
        cd.class_weights("inverse", {1: 12.0})
    assert cd.class_weights("inverse", [0.5, 0.0]) == {0: 2.0}
    targets = [{"boxes": torch.tensor([[1.0, 1, 5, 5]])}] * 2
    with pytest.raises(ValueError, match="labels"):
        cd.CopyPaste(weights="balanced", p=1.0)(torch.rand(2, 3, 9, 9), targets)


def test_a_plan_can_be_applied_again():
    boxes = [[3.0, 2.0, 9.0, 8.0], [10.0, 4.0, 18.0, 12.0]]
    images, targets = torch.rand(3, 3, 20, 30), targets_of(3, boxes)
    mix = cd.CopyPaste(instances=2, place="random", overlap=0.5, blend=0.5, p=1.0)
    plan = mix.make_plan(images, targets, generator=seeded(0))
    first, again = mix.apply_plan(plan, images, targets), mix(images, targets, generator=seeded(0))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[0], F.mix_pixels(images, plan, interpolation="antialias"))


VOLUMES = {
    "same": {"source": "batch", "instances": 2},
    "random": {"source": "partner", "instances": (1, 3), "place": "random"},
    "grid": {"source": "batch", "instances": 4, "place": "grid"},
    "self": {"source": "self", "instances": 2, "place": "random"},
    "overlap": {"source": "batch", "instances": 3, "place": "random", "overlap": 0.2},
}


@pytest.mark.parametrize("name", VOLUMES)
def test_in_volumes_every_voxel_proves_where_it_is_from(name: str):
    pasted = hidden = 0
    mix = cd.CopyPaste(**VOLUMES[name], p=1.0, layout="BCDHW", min_visibility=0, min_size=0)
    for seed in range(8):
        pool = volumetric.batch(np.random.default_rng(seed), "BCDHW")
        mixed, after = mix(pool.images, pool.objects, generator=seeded(seed))
        for output, (volume, target) in enumerate(zip(mixed, after)):
            proof = volumetric.decode(volume, pool.frame)
            shift = np.stack(np.indices(pool.frame)) - proof.at
            masks, rows = target["masks"].numpy(), target["origin"].tolist()
            moves = []
            for (number, index), box, mask, label, share in zip(
                rows, target["boxes"], masks, target["labels"], target["visibility"]
            ):
                own = pool.objects[number]
                before = own["masks"][index].numpy()
                assert label == own["labels"][index]
                assert (proof.source[mask] == number).all()
                (by,) = set(map(tuple, shift[:, mask].T.tolist()))  # moved as a whole, and something shows
                moves.append((number, by))
                assert before[tuple(axis[mask] for axis in proof.at)].all()
                untouched = by == (0, 0, 0) and mask.sum() == before.sum()
                assert untouched or box.tolist() == volumetric.tight(mask)
                assert float(share) == pytest.approx(mask.sum() / before.sum())
                is_pasted = (number, by) != (output, (0, 0, 0))
                pasted += is_pasted
                hidden += not is_pasted and share < 1
            for (number, index), (_, by) in zip(rows, moves):
                here = (proof.source == number) & (shift == np.array(by)[:, None, None, None]).all(axis=0)
                before = pool.objects[number]["masks"][index].numpy()
                here[here] = before[tuple(axis[here] for axis in proof.at)]
                # what shows of an instance is in its mask, or in that of one which lies on it and came along likewise
                alike = [mask for mask, move in zip(masks, moves) if move == (number, by)]
                assert not (here & ~np.logical_or.reduce(alike)).any()
            assert name != "same" or {by for _, by in moves} <= {(0, 0, 0)}
            other = (proof.source != output) & (proof.source >= 0)  # what shows of another volume is an instance's
            assert masks.any(axis=0)[other].all()
    assert pasted > 20
    assert hidden > 0 or name == "overlap"


@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_in_volumes_no_box_is_hidden_more_than_allowed(overlap: float):
    mix = cd.CopyPaste(
        source="batch",
        instances=3,
        place="random",
        overlap=overlap,
        p=1.0,
        layout="BCDHW",
        min_visibility=0,
        min_size=0,
    )
    found = 0
    for seed in range(12):
        pool = volumetric.batch(np.random.default_rng(seed), "BCDHW", "tensor", masks=False)
        _, after = mix(pool.images, pool.objects, generator=seeded(seed))
        for output, target in enumerate(after):
            assert (target["visibility"] >= 1 - overlap - 1e-6).all()
            found += int((target["origin"][:, 0] != output).sum())
    assert found > 10


def test_clips_are_refused_by_name():
    with pytest.raises(ValueError, match=r"layout of CopyPaste must be one of .*'BCDHW'.*, got 'BTCHW'"):
        cd.CopyPaste(source="self", place="random", instances=1, layout="BTCHW")


@pytest.mark.parametrize("place", ["random", "grid", "same"])
@pytest.mark.parametrize("source", ["partner", "self", "batch"])
def test_batches_without_objects_stay_as_they_are(source: str, place: str):
    images = torch.rand(3, 3, 40, 50)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    settings = {"size_weights": {"small": 2}, "weights": "balanced", "scale": (0.5, 1.0)}
    mix = cd.CopyPaste(source=source, instances=2, place=place, p=1.0, **settings)
    mixed, targets = mix(images, [nothing, {}, nothing])
    assert torch.equal(mixed, images)
    assert [len(target.get("boxes", ())) for target in targets] == [0, 0, 0]


def test_padded_boxes_are_refused_by_name():
    boxes = {"boxes": torch.rand(2, 3, 4), "labels": torch.ones(2, 3).long(), "valid": torch.ones(2, 3).bool()}
    with pytest.raises(ValueError, match="list of dicts of instances for CopyPaste, got padded boxes"):
        cd.CopyPaste(p=1.0)(torch.rand(2, 3, 40, 50), boxes)
