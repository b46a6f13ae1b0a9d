"""Coded pixels for images, clips and volumes alike: one oracle over two and three axes.

Every picture of a pool (an image, a frame of a clip, a volume) is coded: its pixels hold its number + 1 and their
coordinates. After a mix each pixel proves where it came from; plain numpy over those proofs says what every target must
be. Nothing of the library is used for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LAYOUTS = ("BCHW", "BTCHW", "BCDHW")
FRAMES = 3
SIDES = (9, 7, 12)
"""Depth, height, width: no two alike."""


def size_of(layout: str) -> tuple[int, ...]:
    return SIDES if layout == "BCDHW" else SIDES[1:]


def coded(number: int, size: tuple[int, ...]) -> torch.Tensor:
    """(1 + D, *size): number + 1, then the coordinates in array order."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"))
    return torch.from_numpy(np.concatenate([np.full((1, *size), number + 1), grid])).float()


@dataclass
class Batch:
    """Coded pictures in a layout. ``pictures`` runs over them one by one: frames of clips count on."""

    layout: str
    images: Any
    objects: list[Any]
    maps: Any
    sizes: list[tuple[int, ...]]
    frame: tuple[int, ...]

    @property
    def ndim(self) -> int:
        return len(self.frame)

    @property
    def frames(self) -> int:
        return FRAMES if self.layout == "BTCHW" else 1

    def flat(self, value: Any) -> list[Any]:
        """One entry per picture of anything that has one per sample."""
        return [frame for clip in value for frame in clip] if self.layout == "BTCHW" else list(value)


def random_mask(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """A blob with ragged edges within a random block."""
    low = [int(rng.integers(0, n - 1)) for n in size]
    high = [int(rng.integers(a + 1, n + 1)) for a, n in zip(low, size)]
    mask = np.zeros(size, dtype=bool)
    block = tuple(slice(a, b) for a, b in zip(low, high))
    mask[block] = rng.random(mask[block].shape) < 0.7
    mask[tuple(low)] = True
    return mask


def random_box(rng: np.random.Generator, size: tuple[int, ...]) -> list[float]:
    """Fractional ends, x first."""
    ends = [sorted(rng.uniform(0, n, 2).tolist()) for n in size]
    return [low for low, _ in ends][::-1] + [min(high + 0.05, n) for (_, high), n in zip(ends, size)][::-1]


def tight(mask: np.ndarray) -> list[float]:
    """The box round a mask, x first; zeros for nothing."""
    at = mask.nonzero()
    if not len(at[0]):
        return [0.0] * 2 * mask.ndim
    return [float(a.min()) for a in at][::-1] + [float(a.max() + 1) for a in at][::-1]


def batch(rng: np.random.Generator, layout: str, form: str = "tensor", masks: bool = True, count: int = 4) -> Batch:
    """A batch in one of three forms: a tensor, a padded tensor, or a list of samples of different sizes."""
    frame = size_of(layout)
    sizes = [frame if form == "tensor" else tuple(int(rng.integers(n - 3, n + 1)) for n in frame) for _ in range(count)]
    images, objects, maps = [], [], []
    frames = FRAMES if layout == "BTCHW" else 1
    for sample, size in enumerate(sizes):
        pictures, targets, classes = [], [], []
        for number in range(sample * frames, (sample + 1) * frames):
            present = int(rng.integers(0, 4)) if number else 2
            blobs = [random_mask(rng, size) for _ in range(present)]
            boxes = [tight(blob) if masks else random_box(rng, size) for blob in blobs]
            target = {
                "boxes": torch.tensor(boxes, dtype=torch.float64).reshape(-1, 2 * len(size)),
                "labels": torch.from_numpy(rng.integers(1, 9, present)),
                "track_id": torch.arange(present) + 100 * sample,
            }
            semantic = torch.from_numpy(rng.integers(0, 5, size))
            picture = coded(number, size)
            if form == "padded":
                pad = [end for n, most in zip(size[::-1], frame[::-1]) for end in (0, most - n)]
                picture = torch.nn.functional.pad(picture, pad)
                semantic = torch.nn.functional.pad(semantic, pad, value=77)
            if masks:
                stack = torch.from_numpy(np.stack(blobs) if blobs else np.zeros((0, *size), dtype=bool))
                target["masks"] = torch.nn.functional.pad(stack, pad) if form == "padded" else stack
            pictures.append(picture)
            targets.append(target)
            classes.append(semantic)
        images.append(torch.stack(pictures) if layout == "BTCHW" else pictures[0])
        objects.append(targets if layout == "BTCHW" else targets[0])
        maps.append(torch.stack(classes) if layout == "BTCHW" else classes[0])
    if form == "list":
        return Batch(layout, images, objects, maps, sizes, frame)
    return Batch(layout, torch.stack(images), objects, torch.stack(maps), sizes, frame)


@dataclass
class Proof:
    """Where every pixel of an output came from: picture number (−1 is fill) and coordinates (D, *size)."""

    source: np.ndarray
    at: np.ndarray


def decode(picture: torch.Tensor, canvas: tuple[int, ...]) -> Proof:
    """Read the proof off a mixed picture, within its canvas."""
    code = picture.numpy()[(slice(None), *(slice(0, n) for n in canvas))]
    whole = np.rint(code).astype(np.int64)
    assert np.array_equal(whole, code), "a coded pixel was blended"
    return Proof(whole[0] - 1, whole[1:])


def expected_map(proof: Proof, maps: Any, ignore_index: int) -> np.ndarray:
    out = np.full(proof.source.shape, ignore_index)
    for number in np.unique(proof.source[proof.source >= 0]):
        here = proof.source == number
        out[here] = maps[number].numpy()[tuple(axis[here] for axis in proof.at)]
    return out


def visible_part(proof: Proof, number: int, box: list[float]) -> tuple[float, list[float]]:
    """Area (volume) of a box that shows, and the tight box round it, of a picture that lies at its own place."""
    ndim = proof.source.ndim
    shown = proof.source == number
    low, high = box[:ndim][::-1], box[ndim:][::-1]
    overlap = np.ones(shown.shape)
    for axis, length in enumerate(shown.shape):
        pixel = np.arange(length)
        part = np.clip(np.minimum(high[axis], pixel + 1) - np.maximum(low[axis], pixel), 0, None)
        overlap = overlap * part.reshape([-1 if axis == other else 1 for other in range(ndim)])
    overlap = overlap * shown
    if not (overlap > 0).any():
        return 0.0, [0.0] * 2 * ndim
    at = (overlap > 0).nonzero()
    first = [max(a, float(b.min())) for a, b in zip(low, at)]
    last = [min(a, float(b.max() + 1)) for a, b in zip(high, at)]
    return float(overlap.sum()), first[::-1] + last[::-1]


def check_instances(
    got: dict[str, Any],
    proof: Proof,
    pool: Any,
    layers: list[int],
    *,
    min_visibility: float,
    carried: Any = None,
    at_home: tuple[bool, ...] = (True, True),
) -> int:
    """Compare one output's instances with what its pixels prove; returns how many were judged.

    Args:
        got: the mixed target.
        proof: of the output.
        pool: targets of all pictures, by their number.
        layers: picture number of each layer, −1 for none.
        min_visibility: the filter's threshold; sides must reach one pixel.
        carried: per layer, which instances come along; None: all.
        at_home: which layers are unscaled and at their own place.
    """
    row, judged = 0, 0
    canvas = tuple(slice(0, n) for n in proof.source.shape)
    ndim = proof.source.ndim
    for layer, number in enumerate(layers):
        if number < 0:
            continue
        target = pool[number]
        for index in range(len(target["labels"])):
            judged += 1
            if carried is not None and not carried[layer][index]:
                continue
            before = target["boxes"][index].tolist()
            if "masks" in target:
                mask = target["masks"][index].numpy()
                shown = np.zeros(proof.source.shape, dtype=bool)
                here = proof.source == number
                shown[here] = mask[tuple(axis[here] for axis in proof.at)]
                visible, box = float(shown.sum()), tight(shown)
                whole = float(mask.sum()) if at_home[layer] else None
            else:
                visible, box = visible_part(proof, number, before)
                whole = float(np.prod([b - a for a, b in zip(before[:ndim], before[ndim:])]))
                shown = None
            untouched = at_home[layer] and whole is not None and np.isclose(visible, whole, rtol=1e-12)
            if untouched:
                box = before
            share = None if whole is None else visible / whole
            sides = [b - a for a, b in zip(box[:ndim], box[ndim:])]
            if visible == 0 or (not untouched and (min(sides) < 1 or (share is not None and share < min_visibility))):
                continue
            assert got["origin"][row].tolist() == [number, index], (row, got["origin"], number, index)
            assert got["labels"][row] == target["labels"][index]
            assert got["track_id"][row] == target["track_id"][index]
            np.testing.assert_allclose(got["boxes"][row].numpy(), box, rtol=0, atol=1e-9)
            if share is not None:
                np.testing.assert_allclose(float(got["visibility"][row]), share, atol=1e-6)
            if shown is not None:
                now = got["masks"][row].numpy()
                assert np.array_equal(now[canvas], shown)
                assert now.sum() == shown.sum(), "something beyond the canvas"
            row += 1
    assert row == len(got["labels"]), "an instance too many"
    return judged
