"""Regions that move over the frames of clips: their laws, and that one plan of single frames serves everything."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from test_samplers import assert_uniform
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense import functional as F
from cutmix_dense import regions
from cutmix_dense.build import from_config
from cutmix_dense.cli.specs import SpecError, build_transform
from cutmix_dense.semi import Cutout

SIZE = (60, 90)


def path(area: tuple[float, float] = (0.1, 0.4)) -> regions.PathBox:
    return regions.PathBox(regions.AreaBox(area))


def way(region: Any, batch: int, frames: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """(B, T, P, 4) rectangles of one size of images."""
    draws = region.draw(batch, torch.Generator().manual_seed(seed))
    return region.place_frames(draws, torch.tensor([size]).expand(batch, 2), frames).numpy()


def moving(**settings: Any) -> cd.CutMix:
    return cd.CutMix(**{"region": path(), "p": 1.0, "layout": "BTCHW", **settings})


def clips_of(count: int, frames: int, size: tuple[int, int] = (12, 17)) -> torch.Tensor:
    """(B, T, 2, H, W): the number of the clip and that of the frame."""
    clip = torch.arange(float(count)).reshape(-1, 1, 1, 1).expand(-1, frames, *size)
    frame = torch.arange(float(frames)).reshape(1, -1, 1, 1).expand(count, -1, *size)
    return torch.stack([clip, frame], dim=2)


# ---------------------------------------------------------------------------------------------------------------------
# the law of the path


@pytest.mark.parametrize("box", [regions.AreaBox((0.1, 0.4)), regions.BetaBox(), regions.AreaBox.french(0.3)])
def test_the_size_stays_and_the_area_is_not_left(box: Any):
    boxes = way(regions.PathBox(box), 3000, 7)[:, :, 0]
    side = boxes[..., 2:] - boxes[..., :2]
    assert (side == side[:, :1]).all()
    assert (boxes[..., :2] >= 0).all()
    assert (boxes[..., 2:] <= SIZE).all()
    first = box.place(box.draw(3000, torch.Generator().manual_seed(0)), torch.tensor([SIZE]).expand(3000, 2))
    assert np.array_equal(boxes[:, 0], first[:, 0].numpy()), "the first frame's is the box that is drawn"


def test_start_and_end_are_uniform_and_independent():
    boxes = way(path(), 20_000, 5, size=(300, 480))[:, :, 0]
    room = np.array((300, 480)) - (boxes[:, 0, 2:] - boxes[:, 0, :2])
    start, end = ((boxes[:, frame, :2] + 0.5) / (room + 1) for frame in (0, -1))
    for axis in (0, 1):
        assert_uniform(start[:, axis], 0, 1, slack=0.01)
        assert_uniform(end[:, axis], 0, 1, slack=0.01)
    for a, b in ((start[:, 0], end[:, 0]), (start[:, 1], end[:, 1]), (end[:, 0], end[:, 1])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(len(a))


def test_the_end_is_uniform_for_the_papers_box_too():
    boxes = way(regions.PathBox(regions.BetaBox()), 20_000, 2, size=(300, 480))[:, -1, 0]
    room = np.array((300, 480)) - (boxes[:, 2:] - boxes[:, :2])
    for axis in (0, 1):
        assert_uniform((boxes[:, axis] + 0.5) / (room[:, axis] + 1), 0, 1, slack=0.01)


@pytest.mark.parametrize("frames", [2, 3, 8])
def test_the_way_is_straight_at_constant_speed(frames: int):
    corner = way(path(), 500, frames)[:, :, 0, :2].astype(float)
    exact = corner[:, :1] + (corner[:, -1:] - corner[:, :1]) * np.linspace(0, 1, frames)[:, None]
    assert np.abs(corner - exact).max() <= 0.5
    assert (np.abs(corner[:, -1] - corner[:, 0]).sum(axis=1) > 0).mean() > 0.95, "they move"


def test_a_clip_of_one_frame_has_the_first():
    assert np.array_equal(way(path(), 50, 1)[:, 0], way(path(), 50, 9)[:, 0])


def test_several_boxes_go_ways_of_their_own():
    boxes = way(regions.MultiBox(path(), n=2), 4000, 4, size=(300, 480))
    assert boxes.shape == (4000, 4, 2, 4)
    steps = (boxes[:, -1] - boxes[:, 0])[..., 0].astype(float)
    assert abs(np.corrcoef(steps[:, 0], steps[:, 1])[0, 1]) < 4 / np.sqrt(len(steps))


def test_a_sampler_that_stays_is_the_same_in_every_frame():
    boxes = way(regions.MultiBox(regions.AreaBox(), n=2), 20, 3)
    assert boxes.shape == (20, 3, 2, 4)
    assert (boxes == boxes[:, :1]).all()


def test_samples_differ_and_a_seed_repeats():
    one, again, other = (way(path(), 64, 4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert len({row.tobytes() for row in one}) == 64


# ---------------------------------------------------------------------------------------------------------------------
# the plan of single frames


def test_frames_of_a_clip_have_regions_of_their_own(generator):
    clips = clips_of(3, 6, SIZE)
    mix = moving(num_classes=3)
    plan = mix.make_plan(clips, generator=generator)
    assert (len(plan), plan.frames) == (18, 6)
    assert plan.bases.tolist() == [0, 1, 2]
    assert "frames=6" in repr(plan)
    mixed, labels = mix.apply_plan(plan, clips, torch.arange(3))
    assert torch.equal(mixed[:, :, 1], clips[:, :, 1]), "frame t shows frames t alone"
    foreign = mixed[:, :, 0] != clips[:, :, 0]
    places = foreign.flatten(2)
    assert (places[:, 0] != places[:, -1]).any(dim=1).all(), "the region moves"
    share = foreign.flatten(1).double().mean(dim=1)
    torch.testing.assert_close(plan.share()[:, 1], share)
    torch.testing.assert_close(labels.diagonal().double(), 1 - share)
    assert (foreign.flatten(2).sum(dim=2) == foreign[:, :1].flatten(2).sum(dim=2)).all(), "and keeps its size"
    assert torch.equal(F.mix_pixels(clips, plan), mixed)
    flat = F.mix_pixels(clips.flatten(0, 1), plan.of_frames(6))
    assert torch.equal(flat.unflatten(0, (3, 6)), mixed)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("pairing", ["roll", "shuffle", "swap"])
def test_odd_batches(count: int, pairing: str, generator):
    clips = clips_of(count, 4)
    targets = [[{"boxes": torch.tensor([[2.0, 2, 9, 9]]), "labels": torch.tensor([1])}] * 4 for _ in range(count)]
    mixed, out, report = moving(pairing=pairing)(clips, targets, generator=generator, return_report=True)
    partners = (mixed[:, :, 0] != clips[:, :, 0]).flatten(1).any(dim=1)
    expected = {("roll", 3): 3, ("shuffle", 3): 3, ("swap", 3): 2}.get((pairing, count), 0)
    assert int(partners.sum()) <= expected
    assert count == 1 or partners.any()
    assert len(out) == count
    assert len(report) == 4 * (count + (expected if count > 1 else 0))
    if count == 1:
        assert all(frame["visibility"].tolist() == [1.0] for frame in out[0])


def test_pairs_that_swap_exchange_the_same_region(generator):
    clips = clips_of(2, 5)
    mixed = moving(pairing="swap")(clips, generator=generator)
    assert torch.equal(mixed[0] + mixed[1], clips[0] + clips[1])
    assert not torch.equal(mixed, clips)


def test_one_path_for_the_whole_batch(generator):
    clips = clips_of(4, 5)
    foreign = moving(same_region=True)(clips, generator=generator)[:, :, 0] != clips[:, :, 0]
    assert (foreign == foreign[:1]).all()
    assert (foreign[:, 0] != foreign[:, -1]).any()


def test_clips_of_one_frame_are_as_images(generator):
    clips = clips_of(3, 1)
    region = regions.AreaBox((0.1, 0.4))
    plan = moving().make_plan(clips, generator=generator)
    assert plan.frames == 1
    assert F.mix_pixels(clips, plan).shape == clips.shape
    box = path().place_frames(path().draw(3, torch.Generator().manual_seed(0)), torch.tensor([SIZE] * 3), 1)
    draws = path().draw(3, torch.Generator().manual_seed(0))[:, :-3]
    assert torch.equal(box[:, 0], region.place(draws, torch.tensor([SIZE] * 3)))


def test_a_track_keeps_its_id_and_may_lose_frames():
    region = path((0.3, 0.3))
    lost = kept = 0
    for seed in range(8):
        clips = torch.zeros(2, 8, 1, *SIZE)
        frame = {"boxes": torch.tensor([[40.0, 20, 60, 40]]), "labels": torch.tensor([1])}
        tracks = [[{**frame, "track_id": torch.tensor([number])} for _ in range(8)] for number in (4, 9)]
        generator = torch.Generator().manual_seed(seed)
        _, out = moving(region=region, min_visibility=0.5)(clips, tracks, generator=generator)
        for number, clip in zip((4, 9), out):
            for time, target in enumerate(clip):
                assert (target["origin"][:, 0] % 8 == time).all(), "from the same time"
                own = target["origin"][:, 0] // 8 == (number == 9)
                assert (target["track_id"] == torch.where(own, number, 13 - number)).all()
            present = [bool((target["track_id"] == number).any()) for target in clip]
            kept, lost = kept + sum(present), lost + 8 - sum(present)
    assert kept > 0
    assert lost > 0


def test_maps_labels_and_image_keys_together(generator):
    clips = clips_of(3, 4)
    maps = clips[:, :, 0].long() + 10
    confidence = clips[:, :, :1] / 4
    mix = moving(image_keys=("name",))
    mixed, out = mix(
        clips,
        {"semantic": maps, "confidence": confidence, "labels": torch.eye(3), "name": ["a", "b", "c"]},
        generator=generator,
    )
    assert torch.equal(out["semantic"], mixed[:, :, 0].long() + 10)
    assert torch.equal(out["confidence"], mixed[:, :, :1] / 4)
    assert out["name"] == ["a", "b", "c"]
    for index in range(3):
        share = [(mixed[index, :, 0] == number).float().mean() for number in range(3)]
        torch.testing.assert_close(out["labels"][index], torch.stack(share))


@pytest.mark.parametrize("form", ["tensor", "list"])
def test_pairs_and_probabilities_of_maps(form: str, generator):
    """A hard plan is a blend of weights 0 and 1, frame by frame."""
    clips = clips_of(3, 4)
    plan = moving().make_plan(clips, generator=generator)
    maps: Any = clips[:, :, 0].long()
    expected = F.mix_semantic(maps, plan)
    given = maps if form == "tensor" else list(maps)
    pairs = F.mix_semantic_pair(given, plan)
    for index in range(3):
        a, b, weight = (part[index] for part in pairs) if form == "tensor" else pairs[index]
        assert torch.equal(torch.where(weight > 0, a, b), expected[index])
        assert set(weight.unique().tolist()) <= {0.0, 1.0}
    soft = F.mix_semantic_soft(given, plan, num_classes=3)
    for index in range(3):
        assert torch.equal(soft[index].argmax(dim=0), expected[index])


def test_labels_by_objects_count_all_frames(generator):
    clips = torch.zeros(3, 4, 1, 12, 17)
    frame = {"boxes": torch.tensor([[2.0, 2, 10, 9]]), "labels": torch.tensor([1])}
    mix = moving(num_classes=3, labels_by="objects", min_visibility=0, min_size=0)
    objects = [[dict(frame) for _ in range(4)] for _ in range(3)]
    _, out = mix(clips, {"objects": objects, "labels": torch.arange(3)}, generator=generator)
    for index, clip in enumerate(out["objects"]):
        pixels = torch.zeros(3)
        for target in clip:
            pixels.index_add_(0, target["origin"][:, 0] // 4, 8 * 7 * target["visibility"])
        torch.testing.assert_close(out["labels"][index], pixels / pixels.sum())


def test_panoptic_maps_in_the_frames(generator):
    clips = clips_of(2, 4)
    ids = torch.ones(12, 17, dtype=torch.int64)
    infos = [{"id": 1, "category_id": 3, "isthing": False, "iscrowd": 0}]
    frames = [[{"panoptic": ids, "segments_info": infos} for _ in range(4)] for _ in range(2)]
    _, out = moving()(clips, frames, generator=generator)
    assert all(len(target["segments_info"]) == 1 for clip in out for target in clip), "stuff is merged in every frame"


# ---------------------------------------------------------------------------------------------------------------------
# forms of pixels


def test_into_the_clips_themselves_and_into_another_tensor(generator):
    clips = clips_of(3, 4)
    plan = moving().make_plan(clips, generator=generator)
    expected = F.mix_pixels(clips, plan)
    into = torch.empty_like(clips)
    assert F.mix_pixels(clips, plan, out=into) is into
    assert torch.equal(into, expected)
    own = clips.clone()
    assert F.mix_pixels(own, plan, inplace=True) is own
    assert torch.equal(own, expected)
    maps = clips[:, :, 0].long()
    mixed, out = moving().apply_plan(plan, clips.clone(), maps.clone(), inplace=True)
    assert torch.equal(mixed, expected)
    assert torch.equal(out, expected[:, :, 0].long())


@pytest.mark.parametrize("how", ["out", "inplace"])
def test_frames_that_are_no_view_of_their_clips(how: str, generator):
    """As (B, C, T, H, W) clips turned round for the mix are: their two first axes don't make one."""
    clips = clips_of(3, 4)
    plan = moving().make_plan(clips, generator=generator)
    expected = F.mix_pixels(clips, plan)
    turned = clips.transpose(1, 2).contiguous().transpose(1, 2)
    if how == "inplace":
        assert F.mix_pixels(turned, plan, inplace=True) is turned
        assert torch.equal(turned, expected)
    else:
        into = torch.empty_like(turned)
        assert into.stride() == turned.stride()
        assert F.mix_pixels(clips, plan, out=into) is into
        assert torch.equal(into, expected)


def test_lists_videos_and_gradients(generator):
    clips = clips_of(3, 4)
    plan = moving().make_plan(clips, generator=generator)
    expected = F.mix_pixels(clips, plan)
    assert torch.equal(torch.stack(F.mix_pixels(list(clips), plan)), expected)
    assert isinstance(F.mix_pixels(tv_tensors.Video(clips), plan), tv_tensors.Video)
    videos = F.mix_pixels([tv_tensors.Video(clip) for clip in clips], plan)
    assert all(isinstance(video, tv_tensors.Video) for video in videos)
    leaf = clips.clone().requires_grad_()
    F.mix_pixels(leaf, plan).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.sum() == leaf.numel()
    with pytest.raises(ValueError, match="leaf tensor"):
        F.mix_pixels(clips.clone().requires_grad_(), plan, inplace=True)


def test_inputs_stay_as_they_are(generator):
    clips = clips_of(3, 4)
    before = clips.clone()
    moving()(clips, generator=generator)
    assert torch.equal(clips, before)


# ---------------------------------------------------------------------------------------------------------------------
# as a part of a configuration


def test_config_command_line_pickle_and_repr(generator):
    config = {"type": "CutMix", "p": 1.0, "layout": "BTCHW", "region": {"type": "PathBox", "box": {"type": "BetaBox"}}}
    made = from_config(json.loads(json.dumps(config)))
    typed = build_transform(["CutMix", "region=PathBox", "region.box=BetaBox"], "BTCHW")
    python = build_transform(["CutMix(region=PathBox(box=BetaBox()))"], "BTCHW")
    assert made.region == typed.region == python.region == regions.PathBox(regions.BetaBox())
    assert "region=PathBox(box=BetaBox(alpha=1.0, beta=None))" in repr(made)
    clips = clips_of(3, 4)
    outs = [
        mix(clips, generator=torch.Generator().manual_seed(3))
        for mix in (made, pickle.loads(pickle.dumps(made)), copy.deepcopy(made))
    ]
    assert all(torch.equal(out, outs[0]) for out in outs)
    plan = made.make_plan(clips, generator=generator)
    again = pickle.loads(pickle.dumps(plan))
    assert again.frames == 4
    assert torch.equal(F.mix_pixels(clips, again), F.mix_pixels(clips, plan))
    with pytest.raises(SpecError, match="region must stay at its place for layout 'BCHW'"):
        build_transform(["CutMix", "region=PathBox"])


def test_one_of_several_methods(generator):
    mix = cd.RandomMix([moving(), cd.MixUp(p=1.0, layout="BTCHW"), cd.CutMix(p=1.0, layout="BTCHW")])
    clips = clips_of(3, 4)
    for _ in range(6):
        assert mix(clips, generator=generator).shape == clips.shape


def test_partners_behind_the_outputs(generator):
    clips = clips_of(4, 3)
    mixed = moving()(clips, generator=generator, outputs=2)
    assert mixed.shape == (2, 3, 2, 12, 17)
    assert {int(number) for number in mixed[0, :, 0].unique()} == {0, 2}


# ---------------------------------------------------------------------------------------------------------------------
# what is refused


def test_what_is_refused(generator):
    with pytest.raises(TypeError, match="box must be a region sampler"):
        regions.PathBox(0.3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="box must not move itself"):
        regions.PathBox(regions.PathBox())
    with pytest.raises(ValueError, match=r"box must draw one rectangle.*use MultiBox\(PathBox\(\), n\)"):
        regions.PathBox(regions.MultiBox())
    with pytest.raises(ValueError, match="region must stay at its place"):
        Cutout(region=regions.PathBox(), layout="BTCHW")
    clips = clips_of(3, 4)
    plan = moving().make_plan(clips, generator=generator)
    with pytest.raises(ValueError, match="plan must be of 3 frames or of whole clips, got one of 4"):
        moving().apply_plan(plan, clips[:, :3])
    with pytest.raises(ValueError, match=r"pool must hold clips of the plan's 4 frames, got a clip of shape \(3,"):
        F.mix_pixels(clips[:, :3], plan)
    with pytest.raises(ValueError, match=r"out must be a tensor of shape \(3, 4, 2, 12, 17\)"):
        F.mix_pixels(clips, plan, out=torch.empty(3, 5, 2, 12, 17))
    with pytest.raises(TypeError, match="pool must be a tensor or a list of tensors"):
        F.mix_pixels("clips", plan)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="count must be the plan's number of frames, 4, got 5"):
        plan.of_frames(5)
    with pytest.raises(ValueError, match="labels must hold 3 rows"):
        F.mix_labels(torch.eye(2), plan)
    flat = plan.of_frames(4)
    fields = {name: getattr(flat, name) for name in ("source", "scale", "shift", "extent", "canvas", "edges", "owner")}
    with pytest.raises(ValueError, match="frames must divide the 12 outputs into clips, got 5"):
        cd.MixPlan(**fields, frame=flat.frame, frames=5)


class TwoBoxes(regions.RegionSampler):
    """One of someone's own, which nobody knows to draw two rectangles."""

    def draw(self, batch: int, generator: Any = None, ndim: int = 2) -> torch.Tensor:
        return torch.zeros(batch, 1, dtype=torch.float64)

    def place(self, draws: Any, sizes: torch.Tensor, base: Any = None, partner: Any = None) -> torch.Tensor:
        return torch.cat([torch.zeros_like(sizes), sizes], dim=1)[:, None].expand(-1, 2, -1)


def test_two_rectangles_have_no_path():
    with pytest.raises(ValueError, match="box must draw one rectangle, got 2 from"):
        moving(region=regions.PathBox(TwoBoxes()))(clips_of(2, 3))
