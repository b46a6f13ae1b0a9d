"""Batches as Ultralytics' trainers hold them, of coded images, and what must become of them in a mix."""

from __future__ import annotations

import math

import numpy as np
import torch
from oracle import (
    Record,
    Settings,
    attribute,
    carried_instances,
    coded_image,
    decode,
    drawn_cells,
    expect_instances,
    stated_layers,
)

HEIGHT, WIDTH = 64, 96
RATIO = 4
CENTRE = RATIO // 2


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coded_batch(
    counts=(3, 2, 0, 4, 3), *, masks="overlap", points=3, seed=0, dtype=torch.float32, mask_dtype=torch.float32
) -> dict:
    """A batch of coded images; ``cls`` numbers the instances of the whole batch, so that a row says which it was.

    Boxes lie on sixteenths of a pixel and end within the outermost pixels of their masks, as polygons do. The masks
    are blocks with a corner left out; the last instance of the last image is too small to have one.
    """
    rng = np.random.default_rng(seed)
    h, w = HEIGHT // RATIO, WIDTH // RATIO
    images = torch.stack([coded_image(number, HEIGHT, WIDTH) for number in range(len(counts))]).to(dtype)
    boxes, drawn, owners = [], [], []
    for image, count in enumerate(counts):
        found = []
        for _ in range(count):
            high, wide = rng.integers(3, 9), rng.integers(3, 12)
            y, x = rng.integers(0, h - high + 1), rng.integers(0, w - wide + 1)
            mask = np.zeros((h, w), dtype=bool)
            mask[y : y + high, x : x + wide] = True
            mask[y + high - 1, x + wide - 1] = False
            inner = rng.integers(0, 4 * 16, 4) / 16  # of a mask's pixel, in image pixels
            box = [x * 4 + inner[0], y * 4 + inner[1], (x + wide) * 4 - inner[2], (y + high) * 4 - inner[3]]
            found.append((mask.sum(), box, mask))
        found.sort(key=lambda one: -one[0])  # large ones first, as Ultralytics sorts them
        boxes += [box for _, box, _ in found]
        drawn += [mask for *_, mask in found]
        owners += [image] * count
    n = len(owners)
    if n:
        drawn[-1][:] = False
    corners = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    unit = torch.tensor([WIDTH, HEIGHT] * 2, dtype=torch.float64)
    centred = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1) / unit
    batch = {
        "img": images,
        "cls": torch.arange(n, dtype=torch.float32)[:, None],
        "bboxes": centred.float(),
        "batch_idx": torch.tensor(owners, dtype=torch.float32),
        "im_file": tuple(f"{number}.png" for number in range(len(counts))),
        "ori_shape": tuple((HEIGHT, WIDTH) for _ in counts),
        "resized_shape": tuple((HEIGHT, WIDTH) for _ in counts),
        "ratio_pad": tuple(((1.0, 1.0), (0, 0)) for _ in counts),
    }
    if masks == "overlap":
        index = torch.zeros(len(counts), h, w)
        for number, (owner, mask) in enumerate(zip(owners, drawn)):
            index[owner][torch.from_numpy(mask)] = number - owners.index(owner) + 1
        batch["masks"] = index.to(mask_dtype)
        of_image = [[n for n, owner in enumerate(owners) if owner == image] for image in range(len(counts))]
        batch["sem_masks"] = torch.stack([
            torch.tensor([*rows, rows[-1] if rows else 0], dtype=torch.float32)[(index[image].long() - 1)]
            for image, rows in enumerate(of_image)
        ])  # fmt: skip
    elif masks == "rows":
        batch["masks"] = torch.from_numpy(np.array(drawn).reshape(-1, h, w)).to(mask_dtype)
    if points:
        low, size = corners[:, None, :2] - 3, corners[:, None, 2:] - corners[:, None, :2] + 6
        places = low + torch.from_numpy(rng.random((n, 5, 2))) * size
        places = (places * 16).round() / 16 / unit[:2]
        flags = torch.from_numpy(rng.integers(0, 3, (n, 5, 1))).double()
        labelled = torch.cat([places, flags], dim=2) * (flags > 0)
        batch["keypoints"] = labelled[..., :3].float() if points == 3 else places.float()
    return batch


def row_masks(batch: dict) -> np.ndarray:
    """The mask of every row at the reduced size, read off the batch."""
    masks, owners = batch["masks"], batch["batch_idx"].long()
    if len(masks) == len(owners) and masks.max() <= 1:
        return masks.numpy() != 0
    places = [int((owners[:n] == owner).sum()) for n, owner in enumerate(owners)]
    return np.array([(masks[owner] == place + 1).numpy() for owner, place in zip(owners, places)])


def snapped(pixels: torch.Tensor) -> torch.Tensor:
    """Sixteenths of a pixel and borders of the image without the rounding of their shares."""
    near = (pixels * 16).round() / 16
    return torch.where((pixels - near).abs() < 1e-4, near, pixels)


def unit_of(batch: dict) -> torch.Tensor:
    """Width, height, width, height."""
    return torch.tensor([batch["img"].shape[3], batch["img"].shape[2]] * 2, dtype=torch.float64)


def as_targets(batch: dict) -> list[dict]:
    """The batch as the core and the oracle take it: corners in pixels, masks at full size within their boxes."""
    unit = unit_of(batch)
    centred = batch["bboxes"].double() * unit
    corners = snapped(torch.cat([centred[:, :2] - centred[:, 2:] / 2, centred[:, :2] + centred[:, 2:] / 2], dim=1))
    full = None
    if "masks" in batch:
        full = row_masks(batch).repeat(RATIO, axis=1).repeat(RATIO, axis=2)
        stated = full.any(axis=(1, 2))
        for mask, (x0, y0, x1, y1) in zip(full, corners.tolist()):
            mask[: math.floor(y0)] = mask[math.ceil(y1) :] = mask[:, : math.floor(x0)] = mask[:, math.ceil(x1) :] = (
                False
            )
    targets = []
    for image in range(len(batch["img"])):
        own = batch["batch_idx"] == image
        target = {"boxes": corners[own], "labels": batch["cls"][own, 0]}
        if full is not None:
            target["masks"] = torch.from_numpy(full[own.numpy()])
            target["has_mask"] = torch.from_numpy(stated[own.numpy()])
        if "keypoints" in batch:
            points = batch["keypoints"][own].double().clone()
            points[..., :2] = snapped(points[..., :2] * unit[:2])
            target["keypoints"] = points
        targets.append(target)
    return targets


def rows_of(batch: dict, output: int) -> np.ndarray:
    return np.flatnonzero(batch["batch_idx"].numpy() == output)


def check(batch: dict, mixed: dict, mix, seed: int, settings: Settings, chosen: bool = True) -> int:
    """Hold a mixed batch against what its pixels prove; returns how many pixels came from another image.

    Where the batch isn't ``chosen`` an output with an instance that meets a threshold exactly isn't judged.
    """
    targets = as_targets(batch)
    size = (batch["img"].shape[2], batch["img"].shape[3])
    plan = mix.make_plan(batch["img"], targets, generator=generator(seed))
    sizes = [size] * len(targets)
    quarter = None if "masks" not in batch else row_masks(batch)
    starts = [int((batch["batch_idx"] < image).sum()) for image in range(len(targets))]
    foreign = 0
    for output in range(len(targets)):
        prov = decode(mixed["img"][output], size, sizes)
        foreign += int((prov.source != output).sum())
        layers = stated_layers(plan, output)
        shown = attribute(prov, layers, drawn_cells(plan, output))
        records = expect_instances(
            prov, layers, targets, sizes, settings, shown=shown, dyadic=True, carried=carried_instances(plan, output)
        )
        if any(record.near for record in records):
            assert not chosen, "choose another seed: a threshold is met exactly"
            continue
        kept = [record for record in records if record.outcome == "kept"]
        rows = rows_of(mixed, output)
        assert mixed["cls"][rows, 0].tolist() == [starts[r.source] + r.index for r in kept]
        check_boxes(batch, mixed, rows, kept, starts)
        if "keypoints" in batch:
            check_points(batch, mixed, rows, kept, starts)
        if quarter is not None:
            at = (slice(CENTRE, None, RATIO),) * 2
            source, y, x, layer = prov.source[at], prov.y[at] // RATIO, prov.x[at] // RATIO, shown[at]
            masks = np.zeros((len(kept), *source.shape), dtype=bool)
            for mask, record in zip(masks, kept):
                here = layer == record.layer
                mask[here] = quarter[starts[record.source] + record.index][y[here], x[here]]
            if len(mixed["masks"]) == len(targets):
                numbered = sum((number + 1) * mask for number, mask in enumerate(masks)) if kept else 0 * source
                assert np.array_equal(mixed["masks"][output].numpy(), numbered)
            else:
                assert np.array_equal(mixed["masks"][rows].numpy() != 0, masks)
            if "sem_masks" in batch:
                classes = batch["sem_masks"].numpy()[np.maximum(source, 0), y, x]
                assert np.array_equal(mixed["sem_masks"][output].numpy(), np.where(source < 0, 0, classes))
                for mask, row in zip(masks, rows) if masks.sum(axis=0).max(initial=0) < 2 else ():
                    assert (mixed["sem_masks"][output].numpy()[mask] == mixed["cls"][row, 0].item()).all()
    return foreign


def check_boxes(batch: dict, mixed: dict, rows: np.ndarray, kept: list[Record], starts: list[int]) -> None:
    for row, record in zip(rows, kept):
        was = batch["bboxes"][starts[record.source] + record.index]
        if record.untouched:
            assert torch.equal(mixed["bboxes"][row], was)
            continue
        x, y, w, h = (mixed["bboxes"][row].double() * unit_of(batch)).tolist()
        assert np.allclose([x - w / 2, y - h / 2, x + w / 2, y + h / 2], record.box, atol=1e-3)


def check_points(batch: dict, mixed: dict, rows: np.ndarray, kept: list[Record], starts: list[int]) -> None:
    for row, record in zip(rows, kept):
        was = batch["keypoints"][starts[record.source] + record.index]
        for point, old, wanted, on in zip(mixed["keypoints"][row], was, record.keypoints, record.keypoints_on):
            if record.untouched and on != "other":
                assert torch.equal(point, old)
                continue
            hidden = wanted[2] == 0 if len(old) == 3 else on != "own"
            pixels = np.array(wanted[:2]) * (not hidden) / unit_of(batch)[:2].numpy()
            assert np.allclose(point[:2], pixels, atol=1e-5)
            if len(old) == 3:
                assert point[2] == (0 if hidden else old[2])


def same(one: dict, other: dict) -> None:
    assert list(one) == list(other)
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert (value.dtype, value.shape) == (other[key].dtype, other[key].shape), key
            assert torch.equal(value, other[key]), key
        else:
            assert value == other[key], key
