"""A record of seeded mixes of every method, kind of target and form of batch, to compare two versions of the code by.

``python -m tests.recorded write FILE`` before a change, ``python -m tests.recorded compare FILE`` behind it: every case
must give the same bits, keys, dtypes and classes, or raise the same error. The random streams and the last bits of some
operations are those of one version of torch on one machine, so a record is made where it is compared and isn't kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors

import cutmix_dense as cd

Case = tuple[str, Callable[[], Any]]

FORMATS = {
    name: getattr(tv_tensors.BoundingBoxFormat, name, None) for name in ("XYWH", "CXCYWH", "XYXYXYXY", "CXCYWHR")
}

HEIGHT, WIDTH, BATCH = 48, 72, 4
SIZES = torch.tensor([[48, 72], [40, 60], [33, 72], [48, 51]])


# ------------------------------------------------------------------------------------------------------------- batches


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(seed: int, dtype: torch.dtype = torch.uint8, *lead: int, batch: int = BATCH) -> torch.Tensor:
    shape = (batch, *(lead or (3,)), HEIGHT, WIDTH)
    if dtype.is_floating_point:
        return torch.rand(shape, generator=rng(seed)).to(dtype)
    return torch.randint(0, 200, shape, generator=rng(seed)).to(dtype)


def uneven(seed: int, dtype: torch.dtype = torch.uint8) -> list[torch.Tensor]:
    return [image[:, :h, :w].clone() for image, (h, w) in zip(pictures(seed, dtype), SIZES.tolist())]


def boxes(seed: int, count: int, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    draws = torch.rand(count, 4, generator=rng(seed))
    low = draws[:, :2] * torch.tensor([width - 6, height - 6])
    side = 3 + draws[:, 2:] * torch.tensor([width * 0.6, height * 0.6])
    return torch.cat([low, torch.minimum(low + side, torch.tensor([float(width), float(height)]))], dim=1)


def masks_of(rows: torch.Tensor, height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    low, high = rows[:, :2, None, None], rows[:, 2:, None, None]
    centre, radius = (low + high) / 2, ((high - low) / 2).clamp(min=0.5)
    return ((x - centre[:, 0]) / radius[:, 0]) ** 2 + ((y - centre[:, 1]) / radius[:, 1]) ** 2 <= 1


def targets(seed: int, *keys: str, counts: tuple[int, ...] = (4, 0, 7, 2), sizes: Any = None) -> list[dict[str, Any]]:
    """Instances with the keys that are named beside boxes and labels; ``-boxes`` leaves the boxes out."""
    found = []
    for index, count in enumerate(counts):
        height, width = (HEIGHT, WIDTH) if sizes is None else sizes[index].tolist()
        generator, rows = rng(100 * seed + index), boxes(10 * seed + index, count, height, width)
        if "whole" in keys:
            rows = rows.round()
        more = {
            "labels": torch.randint(1, 9, (count,), generator=generator),
            "masks": masks_of(rows, height, width),
            "bytes": masks_of(rows, height, width).to(torch.uint8) * 3,
            "keypoints": torch.rand(count, 5, 3, generator=generator) * torch.tensor([width, height, 2.99]).floor(),
            "points": torch.rand(count, 4, 2, generator=generator) * torch.tensor([width, height]),
            "iscrowd": (torch.rand(count, generator=generator) < 0.3).long(),
            "area": (rows[:, 2:] - rows[:, :2]).prod(dim=1),
            "visibility": torch.rand(count, generator=generator) * 0.5 + 0.5,
            "weight": torch.rand(count, generator=generator),
            "has_mask": torch.rand(count, generator=generator) < 0.6,
            "track_id": torch.arange(count),
            "scores": torch.rand(count, generator=generator).half(),
        }
        target: dict[str, Any] = {"boxes": rows, "labels": more["labels"], "image_id": index}
        for key in keys:
            if key in ("bytes", "points"):
                target["masks" if key == "bytes" else "keypoints"] = more[key]
            elif key in FORMATS:
                target["boxes"] = formatted(rows, key, (height, width))
            elif key == "ignored":
                inner = boxes(seed + 50 + index, 2, height, width)
                target["ignored"] = {"boxes": inner, "labels": torch.zeros(2, dtype=torch.long)}
            elif key == "map":
                target["semantic"] = maps(seed)[index][:height, :width]
            elif key == "-boxes":
                del target["boxes"]
            elif key in more:
                target[key] = more[key]
        if "wrapped" in keys:
            target["boxes"] = tv_tensors.BoundingBoxes(rows, format="XYXY", canvas_size=(height, width))
            target["masks"] = tv_tensors.Mask(more["masks"])
        found.append(target)
    return found


def formatted(rows: torch.Tensor, name: str, size: tuple[int, int]) -> torch.Tensor:
    low, high = rows.chunk(2, dim=1)
    centre, side = (low + high) / 2, high - low
    if name == "XYWH":
        plain = torch.cat([low, side], dim=1)
    elif name == "CXCYWH":
        plain = torch.cat([centre, side], dim=1)
    else:
        angle = torch.arange(len(rows))[:, None] * 17.0
        plain = torch.cat([centre, side / 2, angle], dim=1)
        if name == "XYXYXYXY":
            plain = torch.cat(
                [low[:, :1], low[:, 1:] + 2, high[:, :1], low[:, 1:], high, low[:, :1], high[:, 1:]], dim=1
            )
    return tv_tensors.BoundingBoxes(plain, format=name, canvas_size=size)


def maps(seed: int, dtype: torch.dtype = torch.uint8, batch: int = BATCH) -> torch.Tensor:
    coarse = torch.randint(0, 6, (batch, 1, 6, 8), generator=rng(seed)).float()
    fine = torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH))[:, 0]
    fine[:, :3] = 255
    return fine.to(dtype)


def padded_boxes(seed: int) -> dict[str, torch.Tensor]:
    rows = torch.stack([boxes(seed + index, 6) for index in range(BATCH)])
    valid = torch.rand(BATCH, 6, generator=rng(seed)) < 0.7
    return {"boxes": rows * valid[..., None], "labels": torch.arange(BATCH * 6).reshape(BATCH, 6), "valid": valid}


def panoptic(seed: int) -> list[dict[str, Any]]:
    found = []
    for index, ids in enumerate(maps(seed, torch.int32)):
        ids = torch.where(ids == 255, 0, ids + 1)
        present = [number for number in ids.unique().tolist() if number]
        infos = [{"id": n, "category_id": n % 3, "isthing": n % 3 != 0, "iscrowd": 0, "area": 1} for n in present]
        found.append({"panoptic": ids, "segments_info": infos, "image_id": index})
    return found


def clips(seed: int) -> tuple[torch.Tensor, list[list[dict[str, Any]]]]:
    images = torch.randint(0, 200, (3, 4, 3, HEIGHT, WIDTH), generator=rng(seed)).to(torch.uint8)
    rows = [targets(seed + clip, "track_id", "masks", counts=(2, 3, 2, 1)) for clip in range(3)]
    return images, rows


def volumes(seed: int, masks: bool = False) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    images = torch.rand(3, 2, 12, 20, 26, generator=rng(seed))
    found = []
    for index in range(3):
        draws = torch.rand(3, 6, generator=rng(seed + index))
        low = draws[:, :3] * torch.tensor([16.0, 12, 6])
        high = low + 2 + draws[:, 3:] * torch.tensor([7.0, 5, 3])
        target: dict[str, Any] = {"boxes": torch.cat([low, high], dim=1), "labels": torch.arange(3)}
        if masks:
            z, y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in (12, 20, 26)), indexing="ij")
            at = torch.stack([x, y, z])[None]
            target["masks"] = ((at > low[..., None, None, None]) & (at < high[..., None, None, None])).all(dim=1)
        found.append(target)
    return images, found


# --------------------------------------------------------------------------------------------------------------- cases

METHODS: dict[str, Callable[..., Any]] = {
    "cutmix": lambda **k: cd.CutMix(**{"p": 0.8, **k}),
    "cutmix-swap": lambda **k: cd.CutMix(**{"p": 0.8, "pairing": "swap", **k}),
    "cutmix-area": lambda **k: cd.CutMix(**{"p": 0.8, "region": cd.regions.AreaBox((0.1, 0.5)), **k}),
    "cutmix-xor": lambda **k: cd.CutMix(**{"p": 1.0, "region": cd.regions.MultiBox.french(3), **k}),
    "cutmix-union": lambda **k: cd.CutMix(**{"p": 1.0, "region": cd.regions.MultiBox(cd.regions.AreaBox(), 4), **k}),
    "cutmix-object": lambda **k: cd.CutMix(**{"p": 1.0, "region": cd.regions.ObjectBox(), **k}),
    "cutmix-same": lambda **k: cd.CutMix(**{"p": 1.0, "same_region": True, **k}),
    "resizemix": lambda **k: cd.ResizeMix(**{"p": 0.8, **k}),
    "mosaic": lambda **k: cd.Mosaic(**{"p": 0.9, **k}),
    "mosaic-3x2": lambda **k: cd.Mosaic(**{"grid": (3, 2), "size": (50, 64), **k}),
    "ricap": lambda **k: cd.RICAP(**{"p": 0.9, **k}),
    "gridmix": lambda **k: cd.GridMix(**{"p": 0.9, **k}),
    "checkerboard": lambda **k: cd.GridMix(**{"p": 1.0, "pattern": "checkerboard", **k}),
    "stripemix": lambda **k: cd.StripeMix(**{"p": 0.9, **k}),
    "copypaste": lambda **k: cd.CopyPaste(**{"p": 0.9, **k}),
    "copypaste-scaled": lambda **k: cd.CopyPaste(
        **{"p": 1.0, "scale": (0.4, 1.6), "flip": 0.5, "flip_pairs": [(0, 1)], **k}
    ),
    "copypaste-all": lambda **k: cd.CopyPaste(**{"p": 1.0, "instances": "all", "crowd": True, "feather": 1.5, **k}),
    "classmix": lambda **k: cd.ClassMix(**{"p": 0.9, **k}),
    "cowmix": lambda **k: cd.CowMix(**{"p": 0.9, "sigma": (2.0, 6.0), **k}),
    "fmix": lambda **k: cd.FMix(**{"p": 0.9, **k}),
    "saliencymix": lambda **k: cd.SaliencyMix(**{"p": 0.9, **k}),
    "mixup": lambda **k: cd.MixUp(**{"p": 0.9, "alpha": 1.5, **k}),
    "random": lambda **k: cd.RandomMix([cd.CutMix(p=1.0, **k), cd.Mosaic(**k), cd.StripeMix(p=1.0, **k)]),
}
FREE = {"copypaste", "copypaste-scaled", "copypaste-all", "classmix", "cowmix", "fmix"}
"""Methods whose masks are of any form: boxes alone are estimated under them."""

KINDS: dict[str, Callable[[int], Any]] = {
    "boxes": lambda s: targets(s),
    "fields": lambda s: targets(s, "iscrowd", "area", "visibility", "weight", "track_id", "scores"),
    "masks": lambda s: targets(s, "masks", "area"),
    "bytes": lambda s: targets(s, "bytes", "ignored"),
    "only-masks": lambda s: targets(s, "masks", "-boxes"),
    "some-masks": lambda s: targets(s, "masks", "has_mask"),
    "keypoints": lambda s: targets(s, "keypoints", "masks"),
    "points": lambda s: targets(s, "points"),
    "ignored": lambda s: targets(s, "ignored", "iscrowd"),
    "whole": lambda s: targets(s, "whole", "map"),
    "wrapped": lambda s: targets(s, "wrapped", "map"),
    "xywh": lambda s: targets(s, "XYWH"),
    "rotated": lambda s: targets(s, "CXCYWHR"),
    "corners": lambda s: targets(s, "XYXYXYXY", "masks"),
    "map": maps,
    "map-long": lambda s: maps(s, torch.int64),
    "several": lambda s: {
        "semantic": maps(s),
        "labels": torch.tensor([0, 2, 1, 3]),
        "depth": pictures(s, torch.float32, 1),
    },
    "labels": lambda s: torch.tensor([0, 2, 1, 3]),
    "padded": padded_boxes,
    "panoptic": panoptic,
}
NEEDS = {
    "cutmix-object": {"boxes", "masks", "wrapped", "panoptic", "rotated", "xywh"},
    "classmix": {"map", "map-long", "several", "whole", "wrapped", "panoptic"},
}
INSTANCES = {"boxes", "fields", "masks", "bytes", "only-masks", "some-masks", "keypoints", "points", "ignored", "whole",
             "wrapped", "xywh", "rotated", "corners", "panoptic"}  # fmt: skip


def cases() -> Iterator[Case]:
    """Every case with its name."""
    for method, make in METHODS.items():
        kinds = NEEDS.get(method, INSTANCES if method.startswith("copypaste") else set(KINDS))
        for number, (kind, give) in enumerate(KINDS.items()):
            if kind not in kinds:
                continue
            settings: dict[str, Any] = {"num_classes": 4} if kind in ("labels", "several") else {}
            if method in FREE:
                settings["boxes"] = "estimate"
            if method == "copypaste-scaled" and kind in ("keypoints", "points"):
                settings["flip_pairs"] = [(0, 1)]
            seed = 7 * number + len(method)
            yield f"{method}/{kind}", run(make, settings, pictures(seed), give(seed), seed)
            yield (
                f"{method}/{kind}/report",
                run(make, settings, pictures(seed + 1), give(seed + 1), seed, return_report=True),
            )
    yield from of_images()
    yield from of_settings()
    yield from of_other_layouts()


def of_images() -> Iterator[Case]:
    """Images alone: dtypes, memory orders, lists, padded batches, in place, into a tensor that is given."""
    plain = [method for method in METHODS if method not in NEEDS and not method.startswith("copypaste")]
    for method in plain:
        make = METHODS[method]
        for dtype in (torch.float32, torch.float16, torch.int16, torch.uint16, torch.bool):
            yield f"{method}/image/{dtype}", run(make, {}, pictures(3, torch.uint8).to(dtype), None, 3)
        yield f"{method}/image/last", run(make, {}, pictures(4).contiguous(memory_format=torch.channels_last), None, 4)
        yield f"{method}/image/strided", run(make, {}, pictures(5, torch.uint8, 6)[:, ::2], None, 5)
        yield f"{method}/image/list", run(make, {"fill": 9}, uneven(6), None, 6)
        yield f"{method}/image/float-list", run(make, {"fill": [0.1, 0.2, 0.3]}, uneven(6, torch.float32), None, 7)
        yield f"{method}/image/padded", run(make, {"fill": 7}, pictures(8), None, 8, sizes=SIZES)
        yield f"{method}/image/in-place", run(make, {}, pictures(9), maps(9), 9, inplace=True)
        yield f"{method}/image/one", run(make, {}, pictures(10, batch=1), None, 10)
        yield f"{method}/image/outputs", run(make, {}, pictures(11, batch=6), None, 11, outputs=3)
        size = (BATCH, 3, 50, 64) if method == "mosaic-3x2" else (BATCH, 3, HEIGHT, WIDTH)
        yield f"{method}/image/out", run(make, {}, pictures(12), None, 12, out=torch.zeros(size, dtype=torch.uint8))
        yield f"{method}/image/bilinear", run(make, {"interpolation": "bilinear"}, pictures(13), None, 13)
        yield f"{method}/image/nearest", run(make, {"interpolation": "nearest"}, pictures(13), None, 13)
    for method in METHODS:
        if method not in NEEDS:
            make, free = METHODS[method], {"boxes": "estimate"} if method in FREE else {}
            some = targets(14, "masks", sizes=SIZES)
            yield f"{method}/list/masks", run(make, {"fill": 9, **free}, uneven(14), some, 14)
            whole = targets(15, "masks", "area")
            yield f"{method}/padded/masks", run(make, {"fill": 9, **free}, pictures(15), whole, 15, sizes=SIZES)
            yield f"{method}/tuple", run(make, free, (pictures(16), targets(16)), None, 16)


def of_settings() -> Iterator[Case]:
    """What decides on instances."""
    settings: list[dict[str, Any]] = [
        {"min_visibility": 0.5},
        {"min_visibility": (0.2, 0.8), "min_size": (3, 9)},
        {"on_filtered": "ignore", "min_visibility": 0.6},
        {"on_filtered": "crowd", "min_visibility": 0.6},
        {"boxes_from": "box"},
        {"boxes_from": "mask"},
        {"rule": "ultralytics"},
        {"rule": "mmdet_copy_paste"},
        {"rule": "torchvision"},
        {"instance_weights": True},
        {"rotated": "refit"},
        {"labels_by": "objects", "num_classes": 4},
        {"image_keys": ["labels"]},
        {"box_format": "xywh"},
    ]
    for number, given in enumerate(settings):
        for method in ("cutmix", "mosaic", "resizemix", "copypaste", "cowmix", "mixup", "gridmix"):
            free = {"boxes": "estimate"} if method in FREE else {}
            for kind in ("masks", "ignored", "rotated", "corners", "some-masks", "panoptic", "padded"):
                name = f"{method}/{kind}/" + ",".join(f"{key}={value}" for key, value in given.items())
                seed = 30 + number
                some: Any = KINDS[kind](seed)
                if "labels_by" in given and kind != "padded":
                    some = {"objects": some, "labels": torch.tensor([0, 2, 1, 3])}
                yield name, run(METHODS[method], {**free, **given}, pictures(seed), some, seed)


def of_other_layouts() -> Iterator[Case]:
    """Clips and volumes."""
    for method in ("cutmix", "cutmix-object", "mosaic", "ricap", "stripemix", "resizemix", "cowmix", "fmix", "mixup"):
        images, frames = clips(20)
        given = {"layout": "BTCHW", "boxes": "estimate"}
        yield f"{method}/clips", run(METHODS[method], given, images, frames, 20, return_report=True)
        yield f"{method}/clips/map", run(METHODS[method], given, images, images[:, :, 0].long(), 21)
    moving = {"layout": "BTCHW", "region": cd.regions.PathBox(), "p": 1.0, "num_classes": 3}
    images, frames = clips(22)
    yield "path/clips", run(METHODS["cutmix"], moving, images, frames, 22, return_report=True)
    both = {"maps": images[:, :, 0].long(), "labels": torch.arange(3)}
    yield "path/clips/map", run(METHODS["cutmix"], moving, images, both, 23)
    for method in ("cutmix", "cutmix-area", "cutmix-union", "resizemix", "cowmix", "mixup", "copypaste"):
        for masks in (False, True):
            images, some = volumes(24, masks)
            given = {"layout": "BCDHW", "boxes": "estimate"}
            yield f"{method}/volumes/{masks}", run(METHODS[method], given, images, some, 24, return_report=True)
        yield f"{method}/volumes/map", run(METHODS[method], given, images, (images[:, 0] * 5).long(), 25)


def run(make: Callable[..., Any], settings: Mapping[str, Any], images: Any, some: Any, seed: int, **call: Any) -> Any:
    def mixed() -> Any:
        arguments = (images,) if some is None else (images, some)
        return make(**settings)(*arguments, generator=rng(seed), **call)

    return mixed


# -------------------------------------------------------------------------------------------------------------- record


def digest(value: Any) -> Any:
    """What a value is, without its numbers, and a hash of these."""
    if isinstance(value, torch.Tensor):
        plain = value.as_subclass(torch.Tensor).detach().contiguous()
        flat = plain.flatten().view(torch.uint8) if plain.numel() else plain
        kind = [type(value).__name__, str(plain.dtype), list(plain.shape), list(value.stride())]
        kind += [str(getattr(value, "format", "")), str(getattr(value, "canvas_size", ""))]
        return [*kind, hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:16]]
    if isinstance(value, cd.functional.MixReport):
        return {"report": [digest(getattr(value, name)) for name in ("output", "layer", "source", "instance")]
                + [digest(getattr(value, name)) for name in ("visibility", "outcome", "reason")]}  # fmt: skip
    if isinstance(value, Mapping):
        return {str(key): digest(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(digest, value)]
    return [type(value).__name__, repr(value.item() if isinstance(value, np.generic) else value)]


def record(names: str = "") -> dict[str, str]:
    """The digest of every case whose name holds ``names``."""
    torch.set_num_threads(1)
    found: dict[str, str] = {}
    for name, mixed in cases():
        if names not in name:
            continue
        assert name not in found, name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = json.dumps(digest(mixed()), sort_keys=False)
        except (TypeError, ValueError) as error:
            result = f"{type(error).__name__}: {error}"
        found[name] = result
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["write", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", help="cases whose names hold this")
    arguments = parser.parse_args()
    found = record(arguments.only)
    if arguments.action == "write":
        arguments.file.write_text(json.dumps(found, indent=0))
        failed = sum(not result.startswith(("[", "{")) for result in found.values())
        print(f"{len(found)} mixes written, {failed} of them refusals")
        return 0
    before = {name: result for name, result in json.loads(arguments.file.read_text()).items() if arguments.only in name}
    different = [name for name in {**before, **found} if before.get(name) != found.get(name)]
    for name in different[:20]:
        print(f"{name}\n  before {str(before.get(name))[:600]}\n  now    {str(found.get(name))[:600]}")
    print(f"{len(found)} mixes compared, {len(different)} differ")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
