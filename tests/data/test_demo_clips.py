"""The demo set's clips: a thing's mask is what a recolouring of that thing changes, and nothing else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cutmix_dense.data.demo import scenes
from cutmix_dense.data.demo.clips import draw_clip
from cutmix_dense.data.demo.scenes import Thing, lay_things


@pytest.mark.parametrize("number", [0, 3])
def test_masks_are_the_pixels_that_a_recolouring_changes(monkeypatch, number):
    seed, size, frames = [7, 1, number], (120, 160), 5
    truth = draw_clip(seed, size, frames)
    paint, white, black = scenes.paint_thing, np.ones((3, 1, 1), np.float32), np.zeros((3, 1, 1), np.float32)
    square = np.ones((3, 3), np.uint8)

    def frames_with_one_in(track, shade):
        def painted(rng, canvas, thing, lively, light, grain):
            return paint(rng, canvas, thing, [shade] * len(lively) if thing.group == track else lively, light, grain)

        monkeypatch.setattr(scenes, "paint_thing", painted)
        return draw_clip(seed, size, frames)

    compared = partly_hidden = 0
    for track in range(len(truth.labels)):
        light, dark = frames_with_one_in(track, white), frames_with_one_in(track, black)
        np.testing.assert_array_equal(light.masks, truth.masks)  # colours move nothing
        for frame in range(frames):
            changed = (light.frames[frame] != dark.frames[frame]).any(-1)
            mask = truth.masks[frame, track].astype(np.uint8)
            core = cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0
            assert changed[core].all(), (track, frame)
            # beside the mask, only an edge's pixels may have a share of the thing, shining through what is before it
            owner = (np.arange(1, len(truth.labels) + 1).reshape(-1, 1, 1) * truth.masks[frame]).sum(0).astype(np.uint8)
            edges = cv2.dilate(owner, square) != cv2.erode(owner, square)
            assert not (changed & (mask == 0) & ~edges).any(), (track, frame)
            compared += int(core.sum())
        seen = truth.masks[:, track].sum((1, 2))
        partly_hidden += bool(0 < seen.min() < 0.7 * seen.max())
    assert compared > 1000
    assert partly_hidden


def test_a_clip_goes_on_when_a_thing_has_left_it():
    """In this clip, the first of "train" for the seed 119, a thing leaves the frame wholly."""
    clip = draw_clip([119, 1, 0], (180, 280), 8)
    gone = ~clip.masks.any((2, 3))
    assert gone.any()
    assert not gone.all(0).any()  # it was there before


@pytest.mark.parametrize(("x", "y"), [(-90, 20), (-18, 20), (100, 20), (30, -400), (30, 62)])
def test_nothing_is_laid_of_a_thing_outside(x, y):
    canvas, light = np.full((3, 48, 64), 0.5, np.float32), (0.0, -1.0)
    paints = [np.zeros((3, 1, 1), np.float32)] * 3
    thing = Thing(kind=0, x=x, y=y, radius=8.0, turn=0.0, form=0.5, group=0)
    owner, whole = lay_things(
        lambda thing: np.random.default_rng(0), canvas, [thing], paints, light, np.ones((48, 64), np.float32)
    )
    assert (owner == 1).all()
    assert whole.tolist() == [0]
    assert (canvas == 0.5).all()
