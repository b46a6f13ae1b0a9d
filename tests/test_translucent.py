"""Layers with an opacity, in plain loops: pixels are weighed, nothing of the base is hidden, ids stay whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from oracle import (
    Layer,
    Provenance,
    clone,
    close,
    compare_instances,
    expect_instances,
    same,
)
from test_family_oracle import CLASSES, Batch, cropped, random_batch, random_settings

import cutmix_dense as cd
from cutmix_dense import MixPlan
from cutmix_dense import functional as F
from cutmix_dense.functional.pixels import mix_images
from cutmix_dense.kernels.translucent import blended
from cutmix_dense.plan.ownership import base_alone, opaque


def random_plan(rng: np.random.Generator, batch: Batch, carry: bool, free_form: bool) -> tuple[MixPlan, np.ndarray]:
    """Up to three pasted layers of one or two rectangles each, unscaled, and the owner of every pixel by a loop."""
    count, layers = len(batch.sizes), int(rng.integers(2, 5))
    sizes = torch.tensor(batch.sizes)
    frame = batch.frame or tuple(sizes.amax(0).tolist())
    source = torch.from_numpy(rng.integers(-1, count, (count, layers)))
    source[:, 0] = torch.arange(count)
    opacity = torch.from_numpy(rng.choice([0.25, 0.5, 0.75, 1.0], (count, layers)).astype(np.float32))
    opacity[:, 0] = 1
    shift = torch.zeros(count, layers, 2)
    shift[:, 1:] = torch.from_numpy(rng.integers(-6, 7, (count, layers - 1, 2)).astype(np.float32))
    patches = 2 * (layers - 1)
    rectangles, layer = torch.zeros(count, patches, 4, dtype=torch.long), torch.zeros(count, patches, dtype=torch.long)
    owner = np.full((count, *frame), -1)
    for b in range(count):
        owner[b, : sizes[b, 0], : sizes[b, 1]] = 0
        for p in range(patches):
            layer[b, p] = s = p // 2 + 1
            if source[b, s] < 0:
                continue
            ends = []
            for axis in range(2):  # within the layer's reach on the canvas
                low = max(0, int(shift[b, s, axis]))
                high = min(int(sizes[b, axis]), int(sizes[source[b, s], axis] + shift[b, s, axis]))
                ends.append(sorted(rng.integers(low, max(low, high) + 1, 2).tolist()))
            rectangles[b, p] = torch.tensor([ends[0][0], ends[1][0], ends[0][1], ends[1][1]])
            owner[b, slice(*ends[0]), slice(*ends[1])] = s
    placed = {"shift": shift, "opacity": opacity}
    if carry:
        placed["carry"] = torch.from_numpy(rng.random((count, layers, 4)) < 0.7)
        placed["carry"][:, 0] = True
    if free_form:
        return MixPlan.from_map(source, torch.from_numpy(owner).clamp(min=0), sizes, **placed), owner
    return MixPlan.from_rectangles(source, rectangles, sizes, layer=layer, frame=frame, **placed), owner


def judge(rng: np.random.Generator, batch: Batch, plan: MixPlan, owners: np.ndarray, masks: bool) -> None:
    """Hold images, instances, maps, labels and shares of a mix against loops over its pixels."""
    settings, targets, opacity = random_settings(rng), batch.targets, plan.opacity.double().numpy()
    before = clone((batch.images, batch.targets))
    mixed = mix_images(batch.images, plan, fill=0)
    rules = settings.kwargs()
    out = F.mix_instances(targets, plan, padded=batch.frame is not None, boxes="estimate", **rules)
    maps, semantic = F.mix_semantic(batch.semantic, plan), cropped(batch.semantic, batch.sizes)
    labels, share = F.mix_labels(batch.labels, plan, CLASSES).numpy(), plan.share().numpy()
    weights = plan.pixel_weights().numpy()
    assert same((batch.images, batch.targets), before)
    assert not plan.has_fill()
    for b, (height, width) in enumerate(batch.sizes):
        owner = owners[b, :height, :width]
        counts, wanted = np.zeros((plan.layers, height, width)), np.zeros((3, height, width))
        ids = np.zeros((height, width), dtype=np.int64)
        rows, columns = np.zeros((2, plan.layers, height, width), dtype=np.int64)
        for s in range(plan.layers):
            dy, dx = plan.shift[b, s].long().tolist()
            rows[s], columns[s] = np.mgrid[0:height, 0:width] - np.array([dy, dx]).reshape(2, 1, 1)
        for i in range(height):
            for j in range(width):
                s = owner[i, j]
                counts[s, i, j] += opacity[b, s]
                counts[0, i, j] += 1 - opacity[b, s]
                for layer in {0, s}:
                    image = batch.images[int(plan.source[b, layer])]
                    pixel = image[:, rows[layer, i, j], columns[layer, i, j]].double().numpy()
                    wanted[:, i, j] += counts[layer, i, j] * pixel
                told = s if opacity[b, s] >= 0.5 else 0
                ids[i, j] = semantic[int(plan.source[b, told])][rows[told, i, j], columns[told, i, j]]
        whole = batch.images[0].dtype == torch.uint8
        got = mixed[b].double().numpy()[:, :height, :width]
        assert np.abs(got - wanted).max() <= (0.501 if whole else 1e-4)
        if batch.frame is not None:
            assert torch.equal(mixed[b][:, height:], batch.images[b][:, height:]), "padding"
        close(weights[b, :, :height, :width], counts, "weights", atol=1e-6)
        close(share[b], counts.mean((1, 2)), "share", atol=1e-6)
        expected = np.zeros(CLASSES)
        for s in range(plan.layers):
            if plan.source[b, s] >= 0:
                expected[int(batch.labels[plan.source[b, s]])] += counts[s].mean()
        close(labels[b], expected, "labels", atol=1e-6)
        assert np.array_equal(maps[b].numpy()[:height, :width], ids), "map"
        records = []
        for s in range(plan.layers):
            source = int(plan.source[b, s])
            if source < 0:
                continue
            hidden = (owner > 0) & (opacity[b, owner] == 1) if s == 0 else owner != s
            size = batch.sizes[source]
            layer = Layer(source, shift=tuple(plan.shift[b, s].tolist()), extent=(0, 0, *size))
            carried = None if plan.carry is None else {k for k in range(50) if k >= 4 or plan.carry[b, s, k]}
            prov = Provenance(np.where(hidden, -1, source), rows[s], columns[s])
            alone = [None] * s + [layer]
            shown = np.where(hidden, -1, s)
            records += expect_instances(
                prov, alone, targets, batch.sizes, settings, shown=shown, carried=[None] * s + [carried]
            )
        compare_instances(
            out[b], records, targets, settings, base=b, canvas=(height, width), keys=batch.keys, weights=opacity[b]
        )  # fmt: skip
    if batch.frame is not None:  # as on a device, where whole batches are weighed
        there = blended(*(mix_images(batch.images, one, fill=0) for one in (opaque(plan), base_alone(plan))), plan)
        inner = plan.owner_map()[:, None] >= 0
        assert torch.equal(torch.where(inner, there, 0), torch.where(inner, mixed, 0))


@pytest.mark.parametrize("free_form", [False, True])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("shape", ["uniform", "list", "padded"])
def test_layers_of_any_opacity(shape: str, masks: bool, free_form: bool):
    rng = np.random.default_rng([len(shape), masks, free_form])
    for round_ in range(8):
        dtype = torch.uint8 if round_ % 2 else torch.float32
        batch = random_batch(rng, shape, masks, 3, dtype=dtype)
        plan, owner = random_plan(rng, batch, carry=round_ % 4 > 1, free_form=free_form)
        judge(rng, batch, plan, owner, masks)


def small_plan(value: float, /, **changed) -> MixPlan:
    box, sizes = torch.tensor([[[0, 0, 2, 2]]]), torch.tensor([[2, 4], [2, 4]])
    given = {"opacity": torch.tensor([[1.0, value]]), **changed}
    return MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes, **given)


def test_slots_weigh_as_lists_do():
    plan = small_plan(0.25)
    mixed = F.mix_padded({"boxes": torch.tensor([[[0.0, 0.0, 3.0, 2.0]], [[0.0, 0.0, 4.0, 2.0]]])}, plan)
    assert mixed["boxes"].tolist() == [[[0, 0, 3, 2], [0, 0, 2, 2]]]
    assert mixed["visibility"].tolist() == [[1.0, 0.5]]
    assert mixed["weight"].tolist() == [[1.0, 0.25]]


@pytest.mark.parametrize("opacity", [0.25, 0.5])
def test_panoptic_maps_stay_whole(opacity: float):
    segments = [[{"id": 1 + k, "category_id": 3, "isthing": True}] for k in range(2)]
    maps = torch.stack([torch.full((2, 4), 1 + k) for k in range(2)])
    mixed = F.mix_panoptic(maps, segments, small_plan(opacity))
    assert mixed.maps[0].tolist() == [[1, 1, 1, 1] if opacity < 0.5 else [2, 2, 1, 1]] * 2


def test_keypoints_of_the_base_show_below():
    points = torch.tensor([[[0.5, 0.5, 2.0], [3.5, 1.5, 2.0]]])
    targets = [
        {"boxes": torch.tensor([[0.0, 0.0, 4.0, 2.0]]), "labels": torch.tensor([k]), "keypoints": points}
        for k in range(2)
    ]
    for opacity, base in ((0.25, [2.0, 2.0]), (1.0, [0.0, 2.0])):
        out = F.mix_instances(targets, small_plan(opacity))[0]
        assert out["keypoints"][0, :, 2].tolist() == base
        assert out["keypoints"][1, :, 2].tolist() == [2.0, 0.0]


def test_parts_of_the_base_are_those_that_opaque_layers_leave():
    box, sizes = torch.tensor([[[0, 2, 4, 4], [0, 6, 4, 8]]]), torch.tensor([[4, 10]] * 3)
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1, 2]]), box, sizes, layer=torch.tensor([[1, 2]]), opacity=torch.tensor([[1.0, 0.5, 1.0]])
    )
    target = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 4.0]]), "labels": torch.tensor([1])}
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    out = F.mix_instances([target, none, none], plan, split="parts")[0]
    assert out["boxes"].tolist() == [[0, 0, 6, 4], [8, 0, 10, 4]]


def test_rotated_boxes_are_hidden_by_opaque_layers_only():
    from torchvision import tv_tensors

    if not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"):
        pytest.skip("this torchvision has no rotated boxes")
    corners = tv_tensors.BoundingBoxes([[0.0, 0, 4, 0, 4, 2, 0, 2]], format="XYXYXYXY", canvas_size=(2, 4))
    targets = [{"boxes": corners, "labels": torch.tensor([k])} for k in range(2)]
    assert F.mix_instances(targets, small_plan(0.5))[0]["visibility"].tolist() == [1.0, 0.5]
    assert F.mix_instances(targets, small_plan(1.0))[0]["visibility"].tolist() == [0.5, 0.5]


def test_gradients_flow_by_opacity():
    pool = torch.zeros(2, 1, 2, 4, requires_grad=True)
    F.mix_pixels(pool, small_plan(0.25)).sum().backward()
    assert pool.grad[:, 0, 0].tolist() == [[0.75, 0.75, 1.0, 1.0], [0.25, 0.25, 0.0, 0.0]]


@pytest.mark.parametrize("name", ["int16", "uint16", "int64", "float16", "bfloat16"])
def test_pictures_of_other_numbers(name: str):
    dtype = getattr(torch, name, None)
    if dtype is None:
        pytest.skip(f"this torch has no {name}")
    pool = torch.tensor([[[[100, 3, 5, 7]] * 2], [[[200, 0, 0, 0]] * 2]]).to(dtype)
    plan = small_plan(0.25)
    given = [mix_images(pool, plan)[0], mix_images([*pool], plan)[0]]
    given += [blended(mix_images(pool, opaque(plan)), mix_images(pool, base_alone(plan)), plan)[0]]
    for mixed in given:
        first = 2.25 if dtype.is_floating_point else 2
        assert mixed.double().tolist() == [[[125, first, 5, 7]] * 2]


def test_results_go_where_they_are_wanted():
    pool = torch.rand(2, 1, 2, 4)
    plan = small_plan(0.25)
    wanted = F.mix_pixels(pool, plan)
    out = torch.empty(1, 1, 2, 4)
    assert F.mix_pixels(pool, plan, out=out) is out
    assert torch.equal(out, wanted)
    both = MixPlan.from_rectangles(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 0, 2, 2]]] * 2), torch.tensor([[2, 4]] * 2),
        opacity=torch.tensor([[1.0, 0.25]] * 2),
    )  # fmt: skip
    wanted = F.mix_pixels(pool, both)
    assert F.mix_pixels(pool, both, inplace=True) is pool
    assert torch.equal(pool, wanted)


def test_borders_are_softened_too():
    pool = torch.stack([torch.zeros(1, 8, 16), torch.ones(1, 8, 16)])
    box, sizes = torch.tensor([[[0, 4, 8, 12]]]), torch.tensor([[8, 16], [8, 16]])
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes, opacity=torch.tensor([[1.0, 0.5]]))
    row = F.mix_pixels(pool, plan, feather=0.8)[0, 0, 4]
    assert row[8] == pytest.approx(0.5, abs=1e-3)
    assert row[0] == pytest.approx(0, abs=1e-3)
    assert 0.05 < row[3] < row[4] < 0.45


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"opacity": torch.tensor([[1.0, 0.0]])}, "opacity"),
        ({"opacity": torch.tensor([[1.0, 1.5]])}, "opacity"),
        ({"opacity": torch.tensor([[0.5, 0.5]])}, "opacity"),
        ({"opacity": torch.tensor([[1, 1]])}, "opacity"),
        ({"opacity": torch.tensor([1.0, 0.5])}, "opacity"),
        ({"shift": torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])}, "extent"),
        ({"shift": torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])}, "base"),
    ],
)
def test_what_opacities_may_be(changed: dict, name: str):
    with pytest.raises(ValueError, match=name):
        small_plan(0.5, **changed)


def test_what_blends_has_no_inverse_and_takes_no_ids():
    plan = small_plan(0.5)
    with pytest.raises(ValueError, match="blends"):
        plan.inverse()
    with pytest.raises(TypeError, match="average"):
        F.mix_pixels(torch.zeros(2, 2, 4, dtype=torch.int16), plan)
    with pytest.raises(ValueError, match="soft plan"):
        replace(plan, weight=torch.ones(1, 2), owner=torch.zeros_like(plan.owner))


def test_sections_and_devices_keep_opacities():
    box, sizes = torch.tensor([[[0, 0, 0, 2, 2, 2]]]), torch.tensor([[4, 3, 5], [4, 3, 5]])
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes, opacity=torch.tensor([[1.0, 0.25]]))
    pool = torch.rand(2, 1, 4, 3, 5)
    mixed = F.mix_pixels(pool, plan)
    assert torch.allclose(mixed[0, 0, :2, :2, :2], 0.75 * pool[0, 0, :2, :2, :2] + 0.25 * pool[1, 0, :2, :2, :2])
    for depth in range(4):
        section = plan.section(0, depth)
        assert torch.equal(F.mix_pixels(pool[:, :, depth], section), mixed[:, :, depth])
    assert plan.to("meta").opacity.shape == (1, 2)
    frames = small_plan(0.25).of_frames(3)
    assert frames.opacity.tolist() == [[1.0, 0.25]] * 3


@pytest.mark.parametrize("blend", [0.5, (0.4, 0.6), "hard"])
@pytest.mark.parametrize("masks", [True, False])
def test_copy_paste_draws_an_opacity_per_sample(blend, masks: bool):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(64, 1, 12, 16)
    targets = []
    for _ in range(64):
        stack = torch.zeros(1, 12, 16, dtype=torch.bool)
        stack[0, 2:9, 3:11] = True
        target = {"boxes": torch.tensor([[3.0, 2.0, 11.0, 9.0]]), "labels": torch.tensor([1])}
        targets.append({**target, "masks": stack} if masks else target)
    mix = cd.CopyPaste(instances="all", blend=blend, p=1.0)
    plan = mix.make_plan(images, targets, generator=generator)
    if blend == "hard":
        assert plan.opacity is None
        return
    low, high = (0.5, 0.5) if blend == 0.5 else blend
    drawn = plan.opacity[:, 1]
    assert (drawn >= low).all()
    assert (drawn <= high).all()
    assert len(drawn.unique()) == (1 if low == high else 64)
    assert (plan.opacity[:, 0] == 1).all()
    _, out = mix.apply_plan(plan, images, targets)
    for target, opacity in zip(out, drawn):
        assert torch.equal(target["weight"], torch.stack([torch.ones(()), opacity]))
        assert target["visibility"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("blend", [0, 1.5, "soft", (0.6, 0.4), (0.0, 0.5), True, None])
def test_blends_that_are_none(blend):
    with pytest.raises(ValueError, match="blend"):
        cd.CopyPaste(blend=blend)


def test_all_members_of_a_random_mix_weigh():
    boxes = {"boxes": torch.tensor([[1.0, 1.0, 5.0, 4.0]]), "labels": torch.tensor([1])}
    mix = cd.RandomMix([cd.CutMix(p=1.0), cd.CopyPaste(blend=0.5, p=1.0)], weights=[1.0, 0.0])
    assert mix(torch.rand(2, 3, 8, 12), [boxes, boxes])[1][0]["weight"].unique().tolist() == [1.0]


def test_compiled_graphs_weigh_alike():
    torch._dynamo.reset()
    pool, plan = torch.rand(2, 3, 2, 4), small_plan(0.25)
    found = torch.compile(lambda images: F.mix_pixels(images, plan), backend="eager")(pool)
    torch.testing.assert_close(found, F.mix_pixels(pool, plan), atol=1e-6, rtol=0)
