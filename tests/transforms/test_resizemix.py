"""ResizeMix: what is its own, and the edge cases that every method must stand."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from oracle import clone, coded_pool, same

import cutmix_dense as cd

SIZE = (22, 35)
METHODS: dict[str, Any] = {
    "ResizeMix": cd.ResizeMix(p=1.0),
    "Mosaic": cd.Mosaic(),
    "Mosaic3x3": cd.Mosaic(grid=(3, 3)),
    "RICAP": cd.RICAP(p=1.0),
    "GridMix": cd.GridMix(p=1.0),
    "Checkerboard": cd.GridMix(p=1.0, pattern="checkerboard"),
    "StripeMix": cd.StripeMix(p=1.0),
    "CopyPaste": cd.CopyPaste(p=1.0),
    "ClassMix": cd.ClassMix(),
    "CowMix": cd.CowMix(p=1.0),
    "FMix": cd.FMix(p=1.0),
    "SaliencyMix": cd.SaliencyMix(p=1.0),
    "MixUp": cd.MixUp(p=1.0),
    "RandomMix": cd.RandomMix([cd.CutMix(p=1.0), cd.StripeMix(p=1.0)]),
}
SINGLE = [name for name in METHODS if "Mosaic" not in name and name != "RICAP"]


def batch(n: int, objects: bool = True) -> tuple[torch.Tensor, dict[str, Any]]:
    images = torch.stack(coded_pool([SIZE] * n))  # type: ignore[arg-type]
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 2:9, 3:12] = masks[1, 10:20, 15:30] = True
    boxes = torch.tensor([[3.0, 2, 12, 9], [15, 10, 30, 20]])
    targets = []
    for k in range(n):
        rows = slice(0, 2 if objects else 0)
        target = {"boxes": boxes[rows].clone(), "labels": torch.tensor([1 + k, 9])[rows], "masks": masks[rows].clone()}
        targets.append(target)
    semantic = torch.randint(0, 5, (n, *SIZE), generator=torch.Generator().manual_seed(3))
    semantic[:, :, :4] = 255
    return images, {"instances": targets, "semantic": semantic}


def call(mix: Any, images: Any, targets: Any, seed: int = 0) -> Any:
    return mix(images, targets, generator=torch.Generator().manual_seed(seed))


def assert_unmixed(before: Any, after: Any, soft: bool = False) -> None:
    images, targets = before
    out_images, out = after
    assert torch.equal(out_images, images)
    for was, now in zip(targets["instances"], out["instances"], strict=True):
        for key, value in was.items():
            assert torch.equal(now[key], value), key
        assert (now["visibility"] == 1).all()
        assert not soft or (now["weight"] == 1).all()
    semantic = out["semantic"]
    if soft:
        assert torch.equal(semantic.a, targets["semantic"])
        assert torch.equal(semantic.weight, (targets["semantic"] != 255).to(semantic.weight.dtype))
    else:
        assert torch.equal(semantic, targets["semantic"])


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_image_stays_unmixed(name: str):
    before = batch(1)
    assert_unmixed(before, call(METHODS[name], *before), soft=name == "MixUp")


@pytest.mark.parametrize("name", ["Mosaic", "Mosaic3x3", "RICAP"])
def test_methods_of_several_images_leave_a_single_one_alone(name: str):
    images, targets = batch(1)
    out, mixed = call(METHODS[name], images, targets)
    assert torch.equal(out, images)
    assert mixed["instances"][0]["origin"].tolist() == [[0, i] for i in range(len(targets["instances"][0]["boxes"]))]


@pytest.mark.parametrize("name", ["Mosaic", "Mosaic3x3", "RICAP"])
def test_methods_short_of_partners_repeat_images_with_other_crops(name: str):
    images, targets = batch(2)
    plan = METHODS[name].make_plan(images, targets, generator=torch.Generator().manual_seed(0))
    for output, row in enumerate(plan.source.tolist()):
        assert set(row) == {0, 1}
        assert row.count(output) > 1, "the image itself once more"
        crops = [tuple(plan.shift[output, s].tolist()) for s, image in enumerate(row) if image == output]
        assert len(set(crops)) == len(crops)


@pytest.mark.parametrize("name", METHODS)
def test_odd_batches_and_no_objects(name: str):
    for n in (3, 5):
        images, targets = batch(n)
        targets["instances"][1] = {k: v[:0] for k, v in targets["instances"][1].items()}
        targets["instances"][2] = {}
        out, mixed = call(METHODS[name], images, targets)
        assert out.shape == images.shape
        assert len(mixed["instances"]) == n
        images, targets = batch(n, objects=False)
        out, mixed = call(METHODS[name], images, targets)
        assert all(t["boxes"].shape == (0, 4) and t["masks"].shape == (0, *SIZE) for t in mixed["instances"])


@pytest.mark.parametrize("name", SINGLE)
def test_swap_leaves_the_last_of_an_odd_batch(name: str):
    mix = copy.deepcopy(METHODS[name])
    for member in mix.members if name == "RandomMix" else [mix]:
        member.pairing = "swap"
    images, targets = batch(5)
    out, mixed = call(mix, images, targets)
    assert torch.equal(out[4], images[4])
    assert mixed["instances"][4]["origin"].tolist() == [[4, 0], [4, 1]]


@pytest.mark.parametrize("name", METHODS)
def test_close_leaves_everything_as_it_was(name: str):
    mix = copy.deepcopy(METHODS[name])
    mix.close()
    before = batch(4)
    assert_unmixed(before, call(mix, *before), soft=name == "MixUp")
    mix.close(False)
    assert any(not torch.equal(call(mix, *before, seed=s)[0], before[0]) for s in range(3))


@pytest.mark.parametrize("name", METHODS)
def test_inputs_stay_as_they_were_and_a_seed_repeats(name: str):
    before = batch(4)
    kept = clone(list(before))
    first, again, other = (call(METHODS[name], *before, seed=s) for s in (1, 1, 2))
    assert same(kept, list(before))
    assert torch.equal(first[0], again[0])
    assert same(first[1]["instances"], again[1]["instances"])
    assert not torch.equal(first[0], other[0])
    for target, was in zip(first[1]["instances"], before[1]["instances"], strict=True):
        for key, value in target.items():  # writing into the result doesn't reach the input
            if key in was and len(value):
                assert value.data_ptr() != was[key].data_ptr(), f"{key} is shared with the input"


@pytest.mark.parametrize("name", METHODS)
def test_pickle_and_repr(name: str):
    mix = METHODS[name]
    before = batch(4)
    twin = pickle.loads(pickle.dumps(mix))
    one, two = call(mix, *before, seed=5), call(twin, *before, seed=5)
    assert torch.equal(one[0], two[0])
    assert same(one[1]["instances"], two[1]["instances"])
    assert repr(twin) == repr(mix)
    assert type(mix).__name__ in repr(mix)
    assert "p=" in repr(mix)


@pytest.mark.parametrize("name", METHODS)
def test_no_class_id_is_invented(name: str):
    """Ids far apart: a blend or a smooth resize would land between them."""
    images, targets = batch(4)
    ids = torch.tensor([0, 7, 90, 200, 255])
    targets["semantic"] = ids[targets["semantic"] % 5]
    for seed in range(3):
        _, mixed = call(METHODS[name], images, targets, seed)
        semantic = mixed["semantic"]
        for one in (semantic.a, semantic.b) if name == "MixUp" else (semantic,):
            assert set(one.unique().tolist()) <= set(ids.tolist())
            assert one.dtype == targets["semantic"].dtype


@pytest.mark.parametrize("name", METHODS)
def test_images_alone(name: str):
    images, _ = batch(4)
    if name in ("CopyPaste", "ClassMix"):
        with pytest.raises(ValueError):
            METHODS[name](images)
    else:
        out = METHODS[name](images)
        assert isinstance(out, torch.Tensor)
        assert out.shape == images.shape


@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_missing(name: str):
    """One image without a map: refused, never mixed half."""
    images, targets = batch(3)
    rows = [dict(t, semantic=m) for t, m in zip(targets["instances"], targets["semantic"], strict=True)]
    call(METHODS[name], images, rows)
    del rows[1]["semantic"]
    with pytest.raises(ValueError, match="semantic"):
        call(METHODS[name], images, rows)


@pytest.mark.parametrize("scope", [(0.0, 0.5), (0.5, 0.2), (0.5, 1.2), (-0.1, 0.5)])
def test_bad_scope(scope: tuple[float, float]):
    with pytest.raises(ValueError, match="scope"):
        cd.ResizeMix(scope=scope)


def test_objects_of_the_partner_are_never_cut():
    images, targets = batch(4)
    mix = cd.ResizeMix(p=1.0, min_visibility=0.0, min_size=0.0)
    for seed in range(5):
        _, out = call(mix, images, targets["instances"], seed)
        for b, target in enumerate(out):
            boxes_only = target["visibility"][target["origin"][:, 0] != b]
            torch.testing.assert_close(boxes_only, torch.ones_like(boxes_only))


def test_small_images_keep_a_region():
    images = torch.stack(coded_pool([(3, 5)] * 4))  # type: ignore[arg-type]
    plan = cd.ResizeMix(p=1.0).make_plan(images, generator=torch.Generator().manual_seed(0))
    assert (plan.share()[:, 1] > 0).all()
