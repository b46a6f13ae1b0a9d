"""MixPlan: shares, the owner map, points, moving between devices, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense import MixPlan, semi
from cutmix_dense.functional import mix_instances, mix_pixels
from cutmix_dense.plan.memo import Once
from cutmix_dense.plan.ownership import shared_weights, shows_at
from cutmix_dense.plan.rectangles import cover


def plan_of(rectangles, sizes=((8, 12), (8, 12)), source=((0, 1),), **kwargs):
    return MixPlan.from_rectangles(
        torch.tensor(source), torch.tensor([rectangles]).reshape(1, -1, 4).long(), torch.tensor(sizes), **kwargs
    )


def test_one_rectangle_is_a_grid_of_nine_cells():
    plan = plan_of([[2, 3, 6, 9]])
    assert plan.owner.shape == (1, 3, 3)
    assert plan.owner[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert plan.edges[0].tolist() == [[0, 2, 6, 8]]
    assert plan.edges[1].tolist() == [[0, 3, 9, 12]]
    assert plan.share()[0].tolist() == [1 - 24 / 96, 24 / 96]
    expected = torch.zeros(8, 12)
    expected[2:6, 3:9] = 1
    assert torch.equal(plan.owner_map()[0].float(), expected)


def test_overlap_counts_once_in_a_union_and_never_in_an_xor():
    rectangles = [[0, 0, 4, 6], [2, 3, 6, 9]]
    assert plan_of(rectangles).owned_pixels()[0, 1] == 24 + 24 - 6
    assert plan_of(rectangles, mode="xor").owned_pixels()[0, 1] == 24 + 24 - 12


def test_the_last_rectangle_lies_on_top():
    plan = plan_of([[0, 0, 4, 6], [2, 3, 6, 9]], ((8, 12),) * 3, ((0, 1, 2),), layer=torch.tensor([[1, 2]]))
    owner = plan.owner_map()[0]
    assert owner[3, 4] == 2
    assert owner[0, 0] == 1
    assert owner[7, 11] == 0


def test_no_rectangles_leave_the_base():
    plan = plan_of([])
    assert plan.share()[0].tolist() == [1, 0]


@pytest.mark.parametrize("mode", ["union", "xor"])
@pytest.mark.parametrize(("ndim", "patches"), [(2, 0), (2, 1), (2, 2), (2, 9), (3, 1), (3, 5)])
def test_rectangles_are_painted_on_the_host_as_they_are_covered_on_a_device(ndim, patches, mode, generator):
    sizes = torch.tensor([(8, 12, 5), (6, 13, 7), (9, 7, 6)])[:, :ndim]
    for _ in range(40):
        source = torch.randint(-1, 3, (5, 4), generator=generator)
        source[:, 0] = torch.randint(0, 3, (5,), generator=generator)
        rectangles = torch.randint(-3, 16, (5, patches, 2 * ndim), generator=generator)
        layer = torch.randint(0, 4, (5, patches), generator=generator)
        layer = layer[:, :1].expand(-1, patches) if mode == "xor" else layer
        host = MixPlan.from_rectangles(source, rectangles, sizes, layer=layer, mode=mode)
        device = MixPlan._placed(source, *cover(source, rectangles, sizes, layer, mode))
        host.validate()
        assert torch.equal(host.owner_map(), device.owner_map())
        assert torch.equal(host.share(), device.share())
        for axis, edges in enumerate(host.edges):
            assert edges.shape[1] <= max(2 * patches + 2, 4)
            assert patches < 2 or edges.shape[1] <= host.frame[axis] + 1  # no more cells than pixels


def test_an_absent_layer_shows_nothing():
    plan = plan_of([[2, 3, 6, 9]], source=((0, -1),))
    assert plan.share()[0].tolist() == [1, 0]


def test_a_rectangle_beyond_the_partner_is_fill():
    plan = plan_of([[0, 0, 8, 12]], sizes=((8, 12), (5, 20)))
    assert plan.owned_pixels()[0].tolist() == [0, 60]
    assert plan.has_fill()
    assert (plan.owner_map()[0, 5:] == -1).all()


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("name", ["CutMix", "ResizeMix", "Mosaic", "RICAP", "GridMix", "CowMix", "FMix", "CopyPaste"])
def test_fill_is_what_the_owner_map_leaves_of_the_canvas(name, even, generator):
    sizes = [(40, 60)] * 4 if even else [(40, 60), (24, 60), (40, 36), (50, 70)]
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in sizes]
    targets = [
        {
            "boxes": torch.tensor([[4.0, 4, 20, 20]]),
            "labels": torch.tensor([1]),
            "masks": (torch.arange(h)[:, None] < 20)[None].expand(1, h, w),
        }
        for h, w in sizes
    ]
    mix = getattr(cd, name)(p=0.7)
    found = set()
    for _ in range(12):
        plan = mix.make_plan(images, targets, generator=generator)
        left = [
            bool((owner[:height, :width] < 0).any())
            for owner, (height, width) in zip(plan.owner_map(), plan.canvas.tolist())
        ]
        assert plan.has_fill() == any(left)
        found.add(any(left))
    assert name not in ("Mosaic", "RICAP") or even or True in found


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("name", ["CowMix", "FMix"])
def test_pixels_of_a_map_are_counted_as_its_cells_are(name, even, generator):
    sizes = [(40, 60)] * 4 if even else [(40, 60), (24, 60), (40, 36), (50, 70)]
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in sizes]
    for _ in range(6):
        plan = getattr(cd, name)(p=0.7, boxes="estimate").make_plan(images, generator=generator)
        counted = plan.owned_pixels()
        owner = plan.owner_map()
        expected = torch.stack([(owner == layer).flatten(1).sum(1) for layer in range(plan.layers)], dim=1)
        assert torch.equal(counted, expected.double())


def test_the_map_ends_at_the_canvas():
    plan = plan_of([[1, 1, 2, 2]], sizes=((6, 10), (8, 12)), frame=(8, 12))
    owner = plan.owner_map()[0]
    assert owner.shape == (8, 12)
    assert (owner[6:] == -1).all()
    assert (owner[:, 10:] == -1).all()
    assert (owner[:6, :10] >= 0).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_one_body_serves_two_and_three_axes(ndim, generator):
    sizes = torch.tensor([[5, 7, 9][:ndim]] * 2)
    low = torch.stack([torch.randint(0, n - 1, (4, 3), generator=generator) for n in sizes[0].tolist()], dim=2)
    high = torch.stack([torch.randint(1, n + 1, (4, 3), generator=generator) for n in sizes[0].tolist()], dim=2)
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]] * 4), torch.cat([low, high], dim=2), sizes)
    expected = torch.zeros((4, *sizes[0].tolist()), dtype=torch.bool)
    for output in range(4):
        for patch in range(3):
            expected[(output, *(slice(int(a), int(b)) for a, b in zip(low[output, patch], high[output, patch])))] = True
    assert torch.equal(plan.owner_map() == 1, expected)
    assert torch.equal(plan.owned_pixels()[:, 1], expected.flatten(1).sum(1))


def test_shows_at_agrees_with_the_map(generator):
    plan = plan_of([[2, 3, 6, 9], [0, 8, 3, 12]], sizes=((8, 12), (5, 10)))
    points = torch.rand((200, 2), generator=generator) * torch.tensor([10.0, 14.0]) - 1
    for layer in (0, 1):
        output = torch.zeros(200, dtype=torch.long)
        shows = shows_at(plan, points, output, output + layer)
        for (y, x), seen in zip(points.floor().long().tolist(), shows.tolist()):
            inside = 0 <= y < 8 and 0 <= x < 12
            assert seen == (inside and int(plan.owner_map()[0, y, x]) == layer)


def test_to_the_same_device_is_the_plan_itself():
    plan = plan_of([[2, 3, 6, 9]])
    assert plan.to("cpu") is plan
    moved = plan.to("meta")
    assert moved.device.type == "meta"
    assert moved.unscaled is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": torch.tensor([[0, -2]])}, "source of output 0 must be a pool index or -1"),
        ({"source": torch.tensor([0, 1])}, r"source must have shape \(B, S\)"),
        ({"source": torch.tensor([[0, -1]])}, "owner of output 0 must show only layers that are present"),
        ({"scale": torch.zeros(1, 2, 2)}, "scale of output 0 must be finite and not 0"),
        ({"scale": torch.ones(1, 2, 3)}, r"scale must have shape \(1, 2, 2\)"),
        ({"scale": torch.ones(1, 2, 2, dtype=torch.long)}, "scale must be floating point"),
        ({"shift": torch.full((1, 2, 2), torch.nan)}, "shift of output 0 must be finite"),
        ({"extent": torch.tensor([[[0, 0, 8, 12], [5, 0, 2, 12]]])}, "extent of output 0 must hold 0 <= low <= high"),
        ({"canvas": torch.tensor([[0, 12]])}, "canvas of output 0 must be at least 1"),
        ({"canvas": torch.tensor([[8, 13]])}, "canvas of output 0 must fit the frame"),
        ({"owner": torch.full((1, 3, 3), 2)}, "owner of output 0 must be -1 or a layer below 2"),
        ({"owner": torch.zeros(1, 3, 2, dtype=torch.long)}, r"owner must have shape \(1, 3, 3\)"),
        ({"edges": (torch.tensor([[0, 2, 6, 8]]),)}, "edges must hold one tensor per axis"),
        ({"edges": (torch.tensor([[0, 6, 2, 8]]), torch.tensor([[0, 3, 9, 12]]))}, r"edges\[0\] .* never decrease"),
        ({"edges": (torch.tensor([[1, 2, 6, 8]]), torch.tensor([[0, 3, 9, 12]]))}, r"edges\[0\] .* start at 0"),
        ({"edges": (torch.tensor([[0, 2, 6, 8]]), torch.tensor([[0, 3, 9, 11]]))}, r"edges\[1\] .* end at the canvas"),
        ({"frame": (8,)}, "frame must hold one size per axis"),
        ({"carry": torch.ones(1, 3, 4, dtype=torch.bool)}, r"carry must have shape"),
        ({"owner": torch.zeros(1, 3, 3, dtype=torch.long, device="meta")}, "owner lies on meta, source on cpu"),
    ],
)
def test_what_a_plan_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        replace(plan_of([[2, 3, 6, 9]]), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": torch.tensor([[0, 2]])}, "source must be an index of the 2 sizes"),
        ({"source": torch.tensor([[0.0, 1.0]])}, "source must be whole numbers"),
        ({"source": torch.tensor([[0]])}, "layer must be given"),
        ({"sizes": torch.tensor([[0, 12], [8, 12]])}, "sizes must be at least 1 pixel"),
        ({"sizes": torch.tensor([[8.0, 12.0], [8.0, 12.0]])}, "sizes must be whole numbers"),
        ({"layer": torch.tensor([[1, 1]])}, "layer must have shape"),
        ({"frame": (8, 12, 9)}, "frame must hold one size per axis"),
        ({"frame": (7, 12)}, "frame must hold every canvas"),
        ({"carry": torch.ones(1, 2, 3)}, "carry must be bool"),
        ({"frames": 3}, "frames must divide"),
        ({"frames": 0}, "frames must divide"),
    ],
)
def test_a_maker_refuses_by_name(change, message):
    given = {
        "source": torch.tensor([[0, 1]]),
        "rectangles": torch.tensor([[[2, 3, 6, 9]]]),
        "sizes": torch.tensor([[8, 12], [8, 12]]),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        MixPlan.from_rectangles(given.pop("source"), given.pop("rectangles"), given.pop("sizes"), **given)


def test_a_partner_may_be_larger_than_the_frame():
    plan = plan_of([[2, 3, 6, 9]], sizes=((6, 8), (9, 8)), frame=(6, 8))
    assert plan.owner_map()[0, 2:, 3:].eq(1).all()


def test_a_scaled_plan_cannot_pass_for_an_unscaled_one():
    plan = plan_of([[2, 3, 6, 9]])
    with pytest.raises(ValueError, match="unscaled must be None or False"):
        replace(plan, scale=plan.scale * 2)
    assert not replace(plan, scale=plan.scale * 2, unscaled=None).unscaled


def test_what_from_rectangles_refuses():
    with pytest.raises(ValueError, match="mode must be 'union' or 'xor'"):
        plan_of([[0, 0, 1, 1]], mode="and")
    with pytest.raises(ValueError, match="one layer per output"):
        plan_of(
            [[0, 0, 4, 6], [2, 3, 6, 9]],
            ((8, 12),) * 3,
            ((0, 1, 2),),
            mode="xor",
            layer=torch.tensor([[1, 2]]),
        )
    with pytest.raises(ValueError, match="rectangles must have shape"):
        MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.zeros(1, 1, 3).long(), torch.tensor([[8, 12]] * 2))
    with pytest.raises(ValueError, match="rectangles must be whole numbers"):
        MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.zeros(1, 1, 4), torch.tensor([[8, 12]] * 2))


def test_what_a_plan_keeps_is_found_anew_when_a_weight_is_written_to():
    plan = MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]), torch.tensor([[8, 12], [8, 12]]))
    weights = Once(lambda plan: plan.weight.tolist())
    assert weights.known(plan) is None
    assert weights(plan) == [[0.5, 0.5]]
    assert weights.known(plan) == ([[0.5, 0.5]],)
    plan.weight[0, 1] = 0.25
    assert weights.known(plan) is None
    assert weights(plan) == [[0.5, 0.25]]


def test_boxes_under_weights_that_need_a_gradient():
    sizes, weight = torch.tensor([[8, 12], [8, 12]]), torch.tensor([[0.5, 0.5]], requires_grad=True)
    plan = MixPlan.blend(torch.tensor([[0, 1]]), weight, sizes)
    targets = [{"boxes": torch.tensor([[1.0, 1, 5, 5]]), "labels": torch.tensor([1])}] * 2
    (mixed,) = mix_instances(targets, plan)
    assert mixed["boxes"].tolist() == [[1, 1, 5, 5]] * 2


def test_pixel_weights_may_be_written_to():
    """Not so the ones that are only read, which lie in memory once where they are the same everywhere."""
    plan = MixPlan.blend(
        torch.tensor([[0, 1], [1, -1]]), torch.tensor([[0.7, 0.3], [1.0, 0.5]]), torch.tensor([[6, 8]] * 2)
    )
    weights = plan.pixel_weights()
    weights[0, 0, 1, 1] = 0
    assert weights[0, 0].sum() == pytest.approx(0.7 * 47)
    assert shared_weights(plan).stride()[-2:] == (0, 0)
    assert plan.pixel_weights()[1, :, 0, 0].tolist() == [1, 0]


@pytest.mark.parametrize("layers", [2, 5])
def test_absent_layers_of_a_map_show_the_base(layers):
    generator = torch.Generator().manual_seed(1)
    owner = torch.randint(-1, layers, (6, 9, 11), generator=generator)
    owner[5] = 0
    source = torch.randint(-1, 6, (6, layers), generator=generator)
    source[:, 0] = torch.arange(6)
    given = owner.clone()
    plan = MixPlan.from_map(source, owner, torch.tensor([[9, 11]] * 6))
    assert torch.equal(owner, given), "the caller's"
    expected = [
        [0 if layer >= 0 and source[b, layer] < 0 else layer for layer in row]
        for b in range(6)
        for row in owner[b].tolist()
    ]
    assert plan.owner.flatten(0, 1).tolist() == expected
    assert torch.equal(plan.owner_map(), plan.owner)


@pytest.mark.parametrize("name", ["CutMix", "FMix", "StripeMix"])
@pytest.mark.parametrize("count", [2, 4, 5])
def test_the_way_back(name, count, generator):
    images = torch.rand(count, 3, 14, 23, generator=generator)
    plan = getattr(cd, name)(p=0.7, pairing="swap").make_plan(images, generator=generator)
    mixed = mix_pixels(images, plan)
    assert torch.equal(mix_pixels(mixed, plan.inverse()), images)


def two_tiles(second, shift):
    """Output 0: columns 3 and 4 of image 0, then 0 … 2 of image 1. Output 1: two tiles of images 1 and 0."""
    columns = torch.tensor([[0, 2, 5], [0, second, 5]])
    edges, owner = (torch.tensor([[0, 3], [0, 3]]), columns), torch.tensor([[[0, 1]]] * 2)
    shift = torch.tensor([[[0, 3 - 6], [0, 2]], shift]).float()
    source, sizes = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[3, 5]] * 2)
    return MixPlan.from_grid(source, edges, owner, sizes, scale=torch.ones_like(shift), shift=shift)


def test_the_way_back_of_tiles_that_were_moved():
    images, plan = torch.arange(30).reshape(2, 1, 3, 5), two_tiles(2, [[0, -3], [0, 2]])
    mixed = mix_pixels(images, plan)
    assert mixed[:, 0, 0].tolist() == [[3, 4, 15, 16, 17], [18, 19, 0, 1, 2]]
    assert torch.equal(mix_pixels(mixed, plan.inverse()), images)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(16, 24), (16, 22)])
def test_features_move_as_the_pixels_below_them(stride, size):
    """A convolution of kernel = stride sees the pixels of one tile alone: its features are exchanged as tiles are."""
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    cells = torch.tensor([[0, 4, 12, 16]] * 3), torch.tensor([[0, 8, 12, size[1]]] * 3)
    owner = torch.stack([(torch.arange(9).reshape(3, 3) + image) % 3 for image in range(3)])
    source = torch.tensor([[0, 1, 2]] * 3)
    plan = MixPlan.from_grid(source, cells, owner, torch.tensor([size] * 3))
    weight = torch.rand(5, 3, stride, stride, generator=torch.Generator().manual_seed(1))

    def features(pixels: torch.Tensor) -> torch.Tensor:
        wide = -(-pixels.shape[3] // stride) * stride
        padded = torch.nn.functional.pad(pixels, (0, wide - pixels.shape[3]))
        return torch.nn.functional.conv2d(padded, weight, stride=stride)

    mixed, coarse = mix_pixels(images, plan), plan.at_stride(stride)
    assert not torch.equal(mixed, images)
    assert torch.equal(mix_pixels(features(images), coarse), features(mixed))
    assert torch.equal(mix_pixels(features(mixed), coarse.inverse()), features(images))
    coarse.validate()


def test_features_of_shifted_tiles():
    size, shift = torch.tensor([[8, 12]] * 2), torch.tensor([[[0, 0], [0, 4]]] * 2).float()
    edges = torch.tensor([[0, 8]] * 2), torch.tensor([[0, 4, 12]] * 2)
    source, owner = torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 1]]] * 2)
    plan = MixPlan.from_grid(source, edges, owner, size, scale=torch.ones_like(shift), shift=shift)
    images = torch.arange(2 * 96).reshape(2, 1, 8, 12)
    pooled = images[..., ::4, ::4]
    assert torch.equal(mix_pixels(pooled, plan.at_stride(4)), mix_pixels(images, plan)[..., ::4, ::4])


@pytest.mark.parametrize(
    ("make", "stride", "reason"),
    [
        (lambda: two_tiles(2, [[0, -3], [0, 2]]), 2, r"shift must be multiples of the stride 2, got \[-3\]"),
        (lambda: two_tiles(2, [[0, -3], [0, 2]]).inverse(), 2, "before inverse"),
        (lambda: cd.ResizeMix(p=1.0).make_plan(torch.zeros(2, 1, 8, 12)), 2, "unscaled"),
        (lambda: two_tiles(2, [[0, -3], [0, 2]]), 0, "stride must be"),
        (
            lambda: MixPlan.from_rectangles(
                torch.tensor([[0, 1]]), torch.tensor([[[0, 3, 8, 8]]]), torch.tensor([[8, 12]] * 2)
            ),
            4,
            r"edges\[1\] must be multiples of the stride 4, got \[3\]",
        ),
    ],
)
def test_plans_without_a_coarser_one(make, stride, reason):
    with pytest.raises(ValueError, match=reason):
        make().at_stride(stride)


def test_tiles_that_repeat_pixels_have_no_way_back():
    plan = two_tiles(3, [[0, 0], [0, 0]])
    assert mix_pixels(torch.arange(30).reshape(2, 1, 3, 5), plan)[1, 0, 0].tolist() == [15, 16, 17, 3, 4]
    with pytest.raises(ValueError, match="it loses or repeats"):
        plan.inverse()


@pytest.mark.parametrize(
    ("mix", "reason"),
    [
        (cd.CutMix(p=1.0), "every pixel once"),
        (cd.MixUp(p=1.0), "hard plan"),
        (cd.ResizeMix(p=1.0), "unscaled"),
        (semi.Cutout(), "fill"),
    ],
)
def test_plans_without_a_way_back(mix, reason):
    plan = mix.make_plan(torch.rand(3, 3, 20, 30), generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match=reason):
        plan.inverse()


def test_a_plan_without_outputs_owns_nothing():
    none = torch.zeros((0, 2), dtype=torch.int64)
    plan = MixPlan.from_rectangles(none, torch.zeros((0, 1, 4), dtype=torch.int64), torch.tensor([[8, 8]]))
    assert plan.share().shape == plan.owned_pixels().shape == (0, 2)
    assert not plan.has_fill()


def test_owned_pixels_are_contiguous():
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 0, 4, 4]]] * 2), torch.tensor([[8, 8], [8, 8]])
    )
    assert plan.share().view(-1).tolist() == [0.75, 0.25, 0.75, 0.25]
