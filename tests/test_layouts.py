"""One body over images, clips and volumes: what every transform makes of coded pixels in each layout."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from volumetric import FRAMES, LAYOUTS, Batch, batch, check_instances, decode, expected_map, size_of

import cutmix_dense as cd
from cutmix_dense import functional as F
from cutmix_dense import regions
from cutmix_dense.functional import broken
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.layered import mix_layered
from cutmix_dense.transforms.pool import Pool

BY_BOXES: dict[str, Any] = {
    "CutMix": cd.CutMix,
    "AreaBox": lambda **common: cd.CutMix(region=regions.AreaBox((0.1, 0.5)), **common),
    "union": lambda **common: cd.CutMix(region=regions.MultiBox(n=3), **common),
    "xor": lambda **common: cd.CutMix(region=regions.MultiBox(n=3, mode="xor"), **common),
    "ObjectBox": lambda **common: cd.CutMix(region=regions.ObjectBox(), **common),
}
MOVING: dict[str, Any] = {
    "PathBox": regions.PathBox(regions.AreaBox((0.1, 0.5))),
    "PathBox of the paper": regions.PathBox(regions.BetaBox()),
    "PathBox of objects": regions.PathBox(regions.ObjectBox()),
    "several PathBoxes": regions.MultiBox(regions.PathBox(), n=3, mode="xor"),
}
BY_BOXES |= {
    name: lambda region=region, **common: cd.CutMix(region=region, **common) for name, region in MOVING.items()
}
BY_MASKS: dict[str, Any] = {
    **BY_BOXES,
    "ResizeMix": lambda **common: cd.ResizeMix(scope=(0.4, 0.9), **common),
    "CowMix": lambda **common: cd.CowMix(sigma=(1.0, 2.0), **common),
    "FMix": cd.FMix,
    "ClassMix": cd.ClassMix,
    "CopyPaste": cd.CopyPaste,
}


def mixed(kind: Any, data: Batch, seed: int, **settings: Any) -> tuple[Any, Any, Any, Any]:
    """Plan, images, targets and report; scaled layers are read pixel by pixel, so that the code can be read off."""
    mix = kind(p=0.8, layout=data.layout, num_classes=5, **settings)
    padded = None if isinstance(data.images, list) else torch.tensor(data.sizes)
    targets = {"objects": data.objects, "semantic": data.maps, "labels": torch.arange(len(data.sizes))}
    plan = mix.make_plan(data.images, targets, sizes=padded, generator=torch.Generator().manual_seed(seed))
    _, out, report = mix.apply_plan(plan, data.images, targets, sizes=padded, return_report=True)
    return plan, F.mix_pixels(data.images, plan, fill=0, interpolation="nearest"), out, report


def check(kind: Any, layout: str, form: str, masks: bool) -> int:
    judged = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        data = batch(rng, layout, form, masks)
        plan, images, out, report = mixed(kind, data, seed, min_visibility=0.3)
        pictures, objects, maps = (data.flat(value) for value in (images, out["objects"], out["semantic"]))
        before, classes = data.flat(data.objects), data.flat(data.maps)
        frames = data.frames
        partners = [row if plan.frames == 1 else [image // frames for image in row] for row in plan.source.tolist()]
        partners = partners[:: plan.frames]  # of the clips: all frames have the same
        assert len(report) == sum(
            len(before[image * frames + t]["labels"])
            for row in partners
            for image in row
            if image >= 0
            for t in range(frames)
        )
        owned = np.zeros((len(partners), 2))
        plan = plan.of_frames(frames)
        for number, picture in enumerate(pictures):
            output, frame = divmod(number, frames)
            canvas = data.sizes[output]
            proof = decode(picture, canvas)
            layers = [image * frames + frame if image >= 0 else -1 for image in partners[output]]
            assert set(np.unique(proof.source)) <= {-1, *layers}, "a pixel of another frame"
            owned[output] += [(proof.source == layer).sum() if layer >= 0 else 0 for layer in layers]
            inner = tuple(slice(0, n) for n in canvas)
            assert np.array_equal(maps[number].numpy()[inner], expected_map(proof, classes, 255))
            home = [bool((plan.scale[number, s] == 1).all() and (plan.shift[number, s] == 0).all()) for s in (0, 1)]
            judged += check_instances(
                objects[number],
                proof,
                before,
                layers,
                min_visibility=0.3,
                carried=None if plan.carry is None else plan.carry[number].tolist(),
                at_home=tuple(home),
            )
        wanted = np.zeros((len(partners), 5))
        for output, row in enumerate(partners):
            for image, share in zip(row, owned[output] / owned[output].sum()):
                wanted[output, image] += share
        np.testing.assert_allclose(out["labels"].numpy(), wanted, atol=1e-6)
    return judged


def refused(kind: Any, method: str, layout: str) -> bool:
    """Whether a method isn't defined for a layout, which it says."""
    if layout == "BTCHW" and method in ("ClassMix", "CopyPaste"):
        message = f"layout of {method} must be one of"
    elif layout != "BTCHW" and method in MOVING:
        message = f"region must stay at its place for layout '{layout}'"
    else:
        return False
    with pytest.raises(ValueError, match=message):
        kind(layout=layout)
    return True


@pytest.mark.parametrize("form", ["tensor", "padded", "list"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", BY_MASKS)
def test_coded_pixels_with_masks(method: str, layout: str, form: str):
    kind = BY_MASKS[method]
    if not refused(kind, method, layout):
        assert check(kind, layout, form, masks=True) > 40


@pytest.mark.parametrize("form", ["tensor", "padded", "list"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", BY_BOXES)
def test_coded_pixels_with_boxes_alone(method: str, layout: str, form: str):
    kind = BY_BOXES[method]
    if not refused(kind, method, layout):
        assert check(kind, layout, form, masks=False) > 40


@pytest.mark.parametrize("method", ["Mosaic", "RICAP", "GridMix", "StripeMix", "SaliencyMix"])
def test_what_is_defined_for_planes_is_refused_for_volumes_and_serves_clips(method: str, generator):
    with pytest.raises(ValueError, match=rf"layout of {method} must be one of \('BCHW', 'BTCHW'\), got 'BCDHW'"):
        getattr(cd, method)(layout="BCDHW")
    clips = torch.arange(4.0).reshape(4, 1, 1, 1, 1).expand(4, FRAMES, 1, 16, 20).clone()
    clips[:, 0, :, 4, 5] += 9  # something salient
    out = getattr(cd, method)(p=1.0, layout="BTCHW")(clips, generator=generator)
    assert out.shape == clips.shape
    assert not torch.equal(out, clips)
    assert torch.equal(out[:, 1], out[:, 2]), "the frames of a clip share their plan"


# ---------------------------------------------------------------------------------------------------------------------
# kernels: the same serve every number of axes


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["CutMix", "xor", "ResizeMix", "CowMix"])
def test_kernels_agree_in_every_layout(method: str, layout: str):
    data = batch(np.random.default_rng(3), layout)
    mix = BY_MASKS[method](p=1.0, layout=layout)
    plan = mix.make_plan(data.images, generator=torch.Generator().manual_seed(1))
    expected = F.mix_pixels(data.images, plan, interpolation="nearest")
    assert torch.equal(mix_gather(data.images, plan, None), expected)
    assert torch.equal(torch.stack(mix_layered(data.images, plan, None, "nearest", framed=True)), expected)
    into = torch.empty_like(data.images)
    assert F.mix_pixels(data.images, plan, interpolation="nearest", out=into) is into
    assert torch.equal(into, expected)
    if plan.unscaled:
        own = data.images.clone()
        assert F.mix_pixels(own, plan, inplace=True) is own
        assert torch.equal(own, expected)


def test_a_resized_volume_is_a_separable_resize(generator):
    volumes = torch.rand(2, 1, 6, 8, 10, generator=generator)
    mix = cd.ResizeMix(scope=(0.5, 0.5), p=1.0, layout="BCDHW")
    plan = mix.make_plan(volumes, generator=generator)
    out, _ = mix.apply_plan(plan, volumes)
    low = plan.shift[0, 1].long().tolist()
    got = out[0, 0][tuple(slice(a, a + n // 2) for a, n in zip(low, (6, 8, 10)))]
    expected = volumes[1]
    for axis in (1, 2, 3):  # one axis after the other through torchvision's two-dimensional filter
        lines = expected.movedim(axis, -1)
        flat = lines.reshape(1, -1, lines.shape[-1])[None]
        size = (flat.shape[-2], flat.shape[-1] // 2)
        small = torch.nn.functional.interpolate(flat, size, mode="bilinear", antialias=True)
        expected = small.reshape(*lines.shape[:-1], -1).movedim(-1, axis)
    torch.testing.assert_close(got, expected[0], atol=1e-5, rtol=0)


def test_volumes_keep_their_memory_format(generator):
    volumes = torch.rand(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d)
    for mix in (cd.CutMix(p=1.0, layout="BCDHW"), cd.FMix(p=1.0, layout="BCDHW"), cd.MixUp(p=1.0, layout="BCDHW")):
        out = mix(volumes, generator=generator)
        assert out.is_contiguous(memory_format=torch.channels_last_3d)


def test_gradients_flow_through_volumes(generator):
    volumes = torch.rand(3, 2, 4, 5, 6, requires_grad=True)
    out = cd.CutMix(p=1.0, layout="BCDHW")(volumes, generator=generator)
    out.sum().backward()
    assert volumes.grad is not None
    assert volumes.grad.sum() == volumes.numel()


# ---------------------------------------------------------------------------------------------------------------------
# soft plans


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mixup_in_every_layout(layout: str, generator):
    data = batch(np.random.default_rng(0), layout)
    mix = cd.MixUp(lam=0.3, p=1.0, layout=layout, num_classes=5)
    images, out = mix(
        data.images, {"objects": data.objects, "semantic": data.maps, "labels": torch.arange(4)}, generator=generator
    )
    other = data.images.roll(1, 0)
    torch.testing.assert_close(images, 0.3 * data.images + 0.7 * other)
    pair = out["semantic"]
    assert torch.equal(pair.a, data.maps)
    assert torch.equal(pair.b, data.maps.roll(1, 0))
    torch.testing.assert_close(pair.weight, torch.full(data.maps.shape, 0.3))
    for number, target in enumerate(data.flat(out["objects"])):
        base, partner = (data.flat(data.objects)[n] for n in (number, (number - data.frames) % (4 * data.frames)))
        assert torch.equal(target["boxes"], torch.cat([base["boxes"], partner["boxes"]]))
        counts = [len(base["labels"]), len(partner["labels"])]
        torch.testing.assert_close(target["weight"], torch.tensor([0.3] * counts[0] + [0.7] * counts[1]))
    torch.testing.assert_close(out["labels"].diagonal(), torch.full((4,), 0.3))
    mix.soft_semantic = "probabilities"
    _, soft = mix(data.images, {"semantic": data.maps}, generator=generator)
    one_hot = torch.nn.functional.one_hot(data.maps, 5).movedim(-1, 1).float()
    torch.testing.assert_close(soft["semantic"], 0.3 * one_hot + 0.7 * one_hot.roll(1, 0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mixup_of_lists(layout: str, generator):
    data = batch(np.random.default_rng(1), layout, "list")
    _, out = cd.MixUp(lam=0.3, p=1.0, layout=layout)(data.images, {"semantic": data.maps}, generator=generator)
    for index, (pair, own) in enumerate(zip(out["semantic"], data.maps)):
        both = [min(a, b) for a, b in zip(data.sizes[index], data.sizes[index - 1])]
        weight = torch.ones(own.shape)
        weight[(..., *(slice(0, n) for n in both))] = 0.3
        assert torch.equal(pair.a, own)
        torch.testing.assert_close(pair.weight, weight)


# ---------------------------------------------------------------------------------------------------------------------
# forms


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_of_a_loader_are_collated(layout: str, generator):
    data = batch(np.random.default_rng(2), layout)
    samples = list(zip(data.images, data.objects))
    mix = cd.CutMix(p=1.0, layout=layout)
    images, out = mix(samples, generator=generator)
    again, same = mix(data.images, data.objects, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images, again)
    assert len(out) == len(same) == 4
    for one, other in zip(data.flat(out), data.flat(same)):
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_seed_repeats_and_inputs_stay(layout: str):
    data = batch(np.random.default_rng(2), layout)
    kept = [frame["boxes"].clone() for frame in data.flat(data.objects)]
    images = data.images.clone()
    outs = [
        cd.CutMix(p=1.0, layout=layout)(data.images, data.objects, generator=torch.Generator().manual_seed(4))
        for _ in range(2)
    ]
    assert torch.equal(outs[0][0], outs[1][0])
    assert torch.equal(images, data.images)
    assert all(torch.equal(a, b["boxes"]) for a, b in zip(kept, data.flat(data.objects)))


def test_a_bank_serves_volumes(generator):
    mix = cd.CutMix(p=1.0, layout="BCDHW", pairing="bank")
    first = batch(np.random.default_rng(5), "BCDHW", "list", count=3)
    second = batch(np.random.default_rng(6), "BCDHW", count=1)
    mix(first.images, {"objects": first.objects, "semantic": first.maps}, generator=generator)
    own = second.images.clone()
    own[:, 0] += 10  # another number than those of the bank
    mixed_images, out = mix(own, {"objects": second.objects, "semantic": second.maps}, generator=generator)
    assert len(mix.pairing) == 4
    proof = decode(mixed_images[0], second.frame)
    (partner,) = set(np.unique(proof.source).tolist()) - {10}
    maps = {10: second.maps[0], partner: first.maps[partner]}
    assert np.array_equal(out["semantic"][0].numpy(), expected_map(proof, maps, 255))
    pool = {10: second.objects[0], partner: dict(first.objects[partner])}
    origin = out["objects"][0]["origin"]
    origin[:, 0] = torch.where(origin[:, 0] == 0, 10, partner)  # in the pool of batch and bank the batch comes first
    room = [n - m for n, m in zip(second.frame, first.sizes[partner])]
    ends = [end for n in room[::-1] for end in (0, n)]
    pool[partner]["masks"] = torch.nn.functional.pad(pool[partner]["masks"], ends)
    assert check_instances(out["objects"][0], proof, pool, [10, partner], min_visibility=0.1) >= 2


def test_padded_boxes_of_volumes(generator):
    volumes = torch.rand(2, 1, *size_of("BCDHW"))
    boxes = torch.tensor([[[1.0, 1, 1, 6, 5, 7], [0, 0, 0, 0, 0, 0]], [[2.0, 0, 3, 12, 7, 9], [0, 1, 0, 3, 4, 5]]])
    valid = torch.tensor([[True, False], [True, True]])
    mix = cd.CutMix(p=1.0, layout="BCDHW")
    plan = mix.make_plan(volumes, generator=generator)
    _, padded = mix.apply_plan(plan, volumes, {"boxes": boxes, "valid": valid})
    assert padded["boxes"].shape == (2, 4, 6)
    lists = [{"boxes": boxes[i][valid[i]], "labels": valid[i][valid[i]].long()} for i in range(2)]
    _, dicts = mix.apply_plan(plan, volumes, lists)
    for row, target in zip(range(2), dicts):
        assert torch.equal(padded["boxes"][row][padded["valid"][row]], target["boxes"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samplers_see_boxes_in_array_order(layout: str):
    data = batch(np.random.default_rng(7), layout)
    seen = Pool.of(data.images, data.objects, layout=layout).objects()
    for index in range(4):
        targets = data.flat(data.objects)[index * data.frames : (index + 1) * data.frames]
        given = torch.cat([target["boxes"] for target in targets])
        low, high = given[:, : data.ndim].flip(1), given[:, data.ndim :].flip(1)
        assert torch.equal(seen.boxes[index][seen.present[index]], torch.cat([low, high], dim=1))


def test_labels_of_clips_count_the_objects_of_all_frames(generator):
    data = batch(np.random.default_rng(8), "BTCHW")
    mix = cd.CutMix(p=1.0, layout="BTCHW", num_classes=4, labels_by="objects", min_visibility=0, min_size=0)
    targets = {"objects": data.objects, "labels": torch.arange(4)}
    plan = mix.make_plan(data.images, targets, generator=generator)
    _, out = mix.apply_plan(plan, data.images, targets)
    for index, clip in enumerate(out["objects"]):
        pixels = torch.zeros(4)
        for frame in clip:
            pixels.index_add_(0, frame["origin"][:, 0] // FRAMES, frame["masks"].flatten(1).sum(1).float())
        torch.testing.assert_close(out["labels"][index], pixels / pixels.sum())


# ---------------------------------------------------------------------------------------------------------------------
# what is refused


def frames(count: int = FRAMES) -> list[dict[str, Any]]:
    return [{"boxes": torch.tensor([[1.0, 1, 4, 4]]), "labels": torch.tensor([1])} for _ in range(count)]


def test_what_clips_refuse():
    clips = torch.zeros(2, FRAMES, 1, 7, 12)
    mix = cd.CutMix(layout="BTCHW")
    with pytest.raises(ValueError, match=r"images must have shape \(B, T, C, H, W\) for layout 'BTCHW'; a batch"):
        mix(clips[0])
    with pytest.raises(ValueError, match=r"images\[1\] has 2, images\[0\] 3"):
        mix([clips[0], clips[1, :2]])
    with pytest.raises(ValueError, match=r"targets\[1\] must hold a dict per frame \(3\), got 2"):
        mix(clips, [frames(), frames(2)])
    with pytest.raises(ValueError, match="targets must be a list of dicts per clip, one per frame; got a dict"):
        mix(clips, frames(2))
    with pytest.raises(ValueError, match="must be a list of dicts per clip, one per frame; got padded boxes"):
        mix(clips, {"boxes": torch.zeros(2, 5, 4)})
    with pytest.raises(ValueError, match=r"targets must have one value per frame \(3\)"):
        mix(clips, torch.zeros(2, 4, 7, 12).long())
    with pytest.raises(ValueError, match="layout 'BTCHW', got a bank"):
        cd.CutMix(layout="BTCHW", pairing="bank")
    with pytest.raises(ValueError, match="transforms must be of one layout"):
        cd.RandomMix([mix, cd.CutMix()])
    with pytest.raises(ValueError, match="layout must be one of"):
        cd.CutMix(layout="BCTHW")


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("method", [cd.CutMix, cd.Affine])
@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([[*frames(2), None], frames()], "[0][2] must be a dict, got None: {} is a frame without objects"),
        ([frames(), [None] * FRAMES], "[1][0] must be a dict, got None: {} is a frame without objects"),
        ([frames(), [*frames(2), 3]], "[1][2] must be a dict, got int"),
        ([frames(), None], "[1] must be a list with a dict per frame, got None"),
        ([frames()[0], frames()], "[0] must be a list with a dict per frame, got dict"),
        ([frames(), []], "[1] must be a list with a dict per frame, got an empty one"),
    ],
)
def test_a_frame_without_a_dict_is_named(targets, words, method, named):
    where = "targets['objects']" if named else "targets"
    with pytest.raises(TypeError, match=f"^{re.escape(where + words)}$"):
        method(layout="BTCHW")(torch.zeros(2, FRAMES, 1, 7, 12), {"objects": targets} if named else targets)


def test_lists_of_lists_beside_the_frames_stay_the_images():
    clips, told = torch.zeros(2, FRAMES, 1, 7, 12), [[None, {"taken": 1}], [None]]
    mixed = cd.CutMix(layout="BTCHW", image_keys=["told"])(clips, {"objects": [frames(), frames()], "told": told})[1]
    assert mixed["told"] == told


CLIP_FRAMES = {
    "NaN": (lambda frame: frame["boxes"].__setitem__((0, 0), math.nan), r"\['boxes'\]\[0\] must be finite"),
    "a missing key": (lambda frame: frame.pop("labels"), " has 1 instances but no 'labels'"),
    "rows": (lambda frame: frame.update(labels=torch.ones(3)), r"\['labels'\] must have one row per instance \(1\)"),
    "masks": (lambda frame: frame.update(masks=torch.ones(1, 3, 3)), r"\['masks'\] must have its image's size"),
    "an unknown key": (lambda frame: frame.update(flow=torch.ones(2, 7, 12)), r" .*'flow': \(B, T, H, W\)"),
    "a float map": (lambda frame: frame.update(semantic=torch.rand(7, 12)), r"\['semantic'\] must hold class ids"),
    "a list": (lambda frame: frame.update(boxes=[1]), r"\['boxes'\] must be a tensor.*, got list"),
}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        (name, method)
        for name in CLIP_FRAMES
        for method in ("CutMix", "Affine", "PathBox", "ObjectBox", "MixUp")
        if (name, method) != ("masks", "Affine")  # which compares the frames of one time
    ],
)
def test_messages_name_clip_and_frame(name: str, method: str, generator):
    change, message = CLIP_FRAMES[name]
    settings = {"PathBox": {"region": regions.PathBox()}, "ObjectBox": {"region": regions.ObjectBox()}}.get(method, {})
    mix = getattr(cd, method if hasattr(cd, method) else "CutMix")(p=1.0, layout="BTCHW", **settings)
    targets = [frames() for _ in range(3)]
    change(targets[1][2])
    clips = torch.rand(3, FRAMES, 1, 7, 12)
    for given, start in ((targets, r"targets\[1\]\[2\]"), ({"objects": targets}, r"targets(\['objects'\])?\[1\]\[2\]")):
        with pytest.raises((TypeError, ValueError), match=f"{start}{message}"):
            mix(clips, given, generator=generator)


def test_warnings_of_boxes_name_clip_and_frame(monkeypatch):
    monkeypatch.setattr(broken, "_warned", False)
    targets = [frames() for _ in range(3)]
    targets[2][1]["boxes"] = torch.tensor([[3.0, 1, 3, 4]])
    with pytest.warns(UserWarning, match=r"targets\[2\]\[1\]\['boxes'\]\[0\] is \[3.0, 1.0, 3.0, 4.0\]"):
        cd.CutMix(p=1.0, layout="BTCHW")(torch.rand(3, FRAMES, 1, 7, 12), targets)


def test_labels_by_objects_name_clip_and_frame():
    targets = [frames() for _ in range(3)]
    targets[1][2]["labels"] = torch.ones(2)
    given = {"labels": torch.tensor([0, 1, 2]), "objects": targets}
    mix = cd.CutMix(p=1.0, layout="BTCHW", labels_by="objects", num_classes=3)
    with pytest.raises(ValueError, match=r"targets\[1\]\[2\]\['labels'\] must have one row"):
        mix(torch.rand(3, FRAMES, 1, 7, 12), given)


def test_a_batch_of_one_clip_is_not_sent_to_a_bank():
    with pytest.warns(UserWarning, match="batch of one clip, .* use larger batches$"):
        cd.CutMix(p=1.0, layout="BTCHW")(torch.rand(1, FRAMES, 1, 7, 12))
    with pytest.warns(UserWarning, match="batch of one image, .*SampleBank"):
        cd.CutMix(p=1.0, layout="BCDHW")(torch.rand(1, 1, *size_of("BCDHW")))


def test_the_hint_for_maps_of_volumes_has_their_axes():
    targets = [{"boxes": torch.tensor([[1.0, 1, 1, 4, 4, 4]]), "flow": torch.rand(3, *size_of("BCDHW"))}] * 2
    with pytest.raises(ValueError, match=r"'flow': \(B, D, H, W\)"):
        cd.CutMix(p=1.0, layout="BCDHW")(torch.rand(2, 1, *size_of("BCDHW")), targets)


def test_what_volumes_refuse():
    volumes = torch.zeros(2, 1, *size_of("BCDHW"))
    mix = cd.CutMix(p=1.0, layout="BCDHW")
    flat = {"boxes": torch.tensor([[1.0, 1, 4, 4]]), "labels": torch.tensor([1])}
    with pytest.raises(ValueError, match=r"targets\[0\]\['boxes'\] must have shape \(N, 6\), got \(1, 4\)"):
        mix(volumes, [flat, flat])
    boxes = tv_tensors.BoundingBoxes(flat["boxes"], format="XYXY", canvas_size=(7, 12))
    with pytest.raises(ValueError, match="must be a plain tensor"):
        mix(volumes, [{**flat, "boxes": boxes}] * 2)
    solid = {"boxes": torch.tensor([[1.0, 1, 1, 4, 4, 4]]), "labels": torch.tensor([1])}
    with pytest.raises(ValueError, match="keypoints are mixed under plans of two axes only"):
        mix(volumes, [{**solid, "keypoints": torch.zeros(1, 2, 3)}] * 2)
    with pytest.raises(ValueError, match=r"targets\[0\]\['masks'\] must have its image's size \(9, 7, 12\)"):
        mix(volumes, [{**solid, "masks": torch.zeros(1, 7, 12, dtype=torch.bool)}] * 2)
    with pytest.raises(ValueError, match=r"images must have shape \(B, C, D, H, W\)"):
        mix(volumes[:, :, 0])
    with pytest.raises(ValueError, match=r"sizes must have shape \(2, 3\)"):
        mix(volumes, sizes=[(7, 12), (7, 12)])
    with pytest.raises(ValueError, match="aspect_law 'uniform' is one of two axes"):
        cd.CutMix(layout="BCDHW", region=regions.AreaBox.unimatch())(volumes)


def test_volumes_without_objects(generator):
    volumes = torch.rand(3, 1, *size_of("BCDHW"))
    empty = [{"boxes": torch.zeros(0, 6), "labels": torch.zeros(0).long()} for _ in range(3)]
    _, out = cd.CutMix(p=1.0, layout="BCDHW")(volumes, empty, generator=generator)
    assert [tuple(target["boxes"].shape) for target in out] == [(0, 6)] * 3
    empty[0]["boxes"] = torch.zeros(0)  # as torch.tensor([]) gives it
    _, out = cd.CutMix(p=1.0, layout="BCDHW")(volumes, empty[:1] * 3, generator=generator)
    assert [tuple(target["boxes"].shape) for target in out] == [(0, 6)] * 3


def test_a_class_per_frame_is_refused():
    with pytest.raises(ValueError, match="a class per frame"):
        cd.CutMix(p=1.0, layout="BTCHW")(torch.rand(2, 3, 3, 8, 10), torch.tensor([[1, 0, 1], [0, 0, 1]]))


def test_a_bank_gives_images_no_volumes():
    bank = cd.SampleBank()
    cd.CutMix(p=1.0, pairing=bank)(torch.rand(2, 3, 8, 10))
    volumes = torch.rand(2, 3, 4, 8, 10)
    assert cd.CutMix(p=1.0, pairing=bank, layout="BCDHW")(volumes).shape == volumes.shape
