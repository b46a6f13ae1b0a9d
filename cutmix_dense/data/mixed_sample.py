"""One mixed sample of a dataset: its partners, its plan and what came out, decided by (seed, copy, index) alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from cutmix_dense.data.cut_outs import banks_of
from cutmix_dense.data.errors import SampleError
from cutmix_dense.data.pictures import tiff_bands
from cutmix_dense.data.readers import DenseDataset
from cutmix_dense.data.readers.layouts import open_complete
from cutmix_dense.data.readers.youtube_vis import even_frames
from cutmix_dense.functional.broken import REMEDY
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import generator_from
from cutmix_dense.transforms import CutMix, RandomMix
from cutmix_dense.transforms.single import mix_single

__all__ = [
    "MixedSample",
    "alike",
    "load_partners",
    "mix_sample",
    "name_of",
    "never_mixes",
    "open_complete",
    "relative_path",
]

_OTHERS = 1000
"""So many pictures of another kind than the base are read in search of a partner."""


def load_partners(
    dataset: Dataset[Any] | DenseDataset,
    index: int,
    count: int,
    generator: torch.Generator,
    length: int | None = None,
    unfit: Callable[[int, Any], str] = lambda candidate, image: "",
) -> tuple[list[int], list[tuple[Any, Any]], list[SampleError]]:
    """Choose and read `count` other samples; one that can't be used is replaced by the next that the generator draws.

    Args:
        dataset: map-style, raising SampleError for what cannot be read.
        index: the base, which is no partner of itself.
        count: how many partners; fewer are given where the dataset has no more.
        generator: makes the choice.
        length: choose among the first `length` samples only.
        unfit: says of an index and its image why it can't be a partner, or "". The search ends with the thousandth
            of these.

    Returns:
        Indices and samples of the partners, and what went wrong on the way.
    """
    total = len(dataset) if length is None else length  # type: ignore[arg-type]
    chosen: list[int] = []
    samples: list[tuple[Any, Any]] = []
    errors: list[SampleError] = []
    tried = {index}
    others = 0
    while len(chosen) < count and len(tried) < total and others < _OTHERS:
        candidate = int(torch.randint(total, (1,), generator=generator))
        if candidate in tried:
            continue
        tried.add(candidate)
        try:
            sample = dataset[candidate]
        except SampleError as error:
            errors.append(error)
            continue
        reason = unfit(candidate, sample[0])
        if reason:
            others += 1
            errors.append(SampleError(dataset.image_path(candidate), reason))  # type: ignore[union-attr]
        else:
            samples.append(sample)
            chosen.append(candidate)
    return chosen, samples, errors


def never_mixes(transform: Any) -> bool:
    """Whether a transform leaves every sample as it is: p is 0 or it is closed; of several, each that is drawn."""
    if isinstance(transform, RandomMix):
        return all(never_mixes(member) for member, weight in zip(transform.members, transform.weights) if weight > 0)
    return bool(getattr(transform, "closed", False)) or getattr(transform, "p", None) == 0


@dataclass(frozen=True)
class MixedSample:
    """One sample of a mixed copy, with all that it was made from.

    Attributes:
        indices: of base and partners in the dataset, the base first.
        images: the pool of the mix, in that order; behind the base, cut-outs where they come from a bank.
        targets: their targets.
        plan: the plan, of one output; under a region that moves over a clip, of one per frame.
        image: the mixed image, clip or volume.
        target: its target; of a clip a list, a target per frame.
        rows: what became of every instance that could be in it, as `MixReport.rows` says.
        replaced: partners that could not be read, or are another kind of picture than the base.
    """

    indices: list[int]
    images: list[Any]
    targets: list[Any]
    plan: MixPlan
    image: Any
    target: Any
    rows: list[dict[str, Any]]
    replaced: list[SampleError]

    @property
    def mixed(self) -> bool:
        """Whether it shows anything besides its base."""
        return bool(self.plan.share()[0, 0] < 1)

    @property
    def shown(self) -> list[int]:
        """Places in `indices` of the base and of the partners that show."""
        frames = self.plan.frames
        seen = set((self.plan.source[self.plan.owned_pixels() > 0] // frames).tolist())
        return [place for place in range(len(self.indices)) if place == 0 or place in seen]

    @property
    def cut_outs(self) -> int:
        """How many images of the pool are cut-outs of a bank, not pictures of the dataset."""
        return len(self.images) - len(self.indices)


def mix_sample(
    dataset: DenseDataset,
    transform: Any,
    index: int,
    *,
    copy: int = 0,
    seed: int = 0,
    pool: int | None = None,
    length: int | None = None,
    base: tuple[Tensor, Any] | None = None,
) -> MixedSample:
    """Make the sample that a mixed copy holds for an image; (seed, copy, index) decide everything.

    Under a transform that never mixes the sample is the base as it was read, and no partner is read.

    Args:
        dataset: map-style, raising SampleError for what cannot be read.
        transform: a transform of this package.
        index: the base.
        copy: number of the copy.
        seed: of partners and plan.
        pool: images per mix, the base among them; default: as many as the transform takes.
        length: partners are among the first `length` samples only.
        base: the base, where it was read already.

    Raises:
        SampleError: the base cannot be read, it is to be mixed and no partner can be had, or the images cannot be
            mixed.
    """
    image, target = dataset[index] if base is None else base
    if never_mixes(transform):
        return _unmixed(dataset, index, image, target)
    count = transform.partners + 1 if pool is None else pool
    total = len(dataset) if length is None else length
    chosen, samples, replaced = load_partners(
        dataset,
        index,
        count - 1,
        generator_from("partners", seed, copy, index),
        total,
        lambda partner, other: _kind(other, image) or _other_bands(dataset, (partner, other), (index, image)),
    )
    if count > 1 and total > 1 and not chosen:
        try:  # the draw is the same with the base in the partners' place
            standing_in = mix_single(
                transform, [image] * count, [target] * count, generator_from("mix", seed, copy, index), report=False
            )
        except ValueError:
            standing_in = None
        if standing_in is None or standing_in.mixed:
            raise _no_partner(dataset, index, replaced)
        return _unmixed(dataset, index, image, target, replaced)
    images, targets = [image, *(sample[0] for sample in samples)], [target, *(sample[1] for sample in samples)]
    names = [name_of(dataset, partner) for partner in (index, *chosen)]
    images, targets = _of_one_length(images, targets)
    images = alike(images, names)
    try:
        single = mix_single(transform, images, targets, generator_from("mix", seed, copy, index))
    except ValueError as error:
        # Data that a reader lets pass and a mix cannot: the sample is left out and its images are named.
        others = ", ".join(names[1:]) or ("cut-outs" if banks_of(transform) else "nothing")
        told = str(error)
        if told.endswith(REMEDY):  # is a program's
            told = f"{told.removesuffix(REMEDY)}correct them in the data set"
            told += ", or give box_format=" if "box_format" in dataset.options else ""
        raise SampleError(dataset.image_path(index), f"cannot be mixed with {others}: {told}") from error
    assert single.report is not None
    rows = list(single.report.rows())
    if single.pool.cut_outs:  # the partners, which another method of several may take, weren't looked at
        chosen, images, targets = [], list(single.pool.images), list(single.pool.targets)
    return MixedSample([index, *chosen], images, targets, single.plan, single.image, single.targets[0], rows, replaced)


def _unmixed(
    dataset: DenseDataset, index: int, image: Any, target: Any, replaced: Sequence[SampleError] = ()
) -> MixedSample:
    """The base alone, as it was read: nothing of it is judged."""
    plan = CutMix(p=0.0, layout=dataset.mix_layout).make_plan([image])
    frames, rows = [], []
    for number, frame in enumerate(target if isinstance(target, list) else [target]):
        whole = dict(frame)
        if "labels" in frame:
            length = len(frame["labels"])
            whole["visibility"] = torch.ones(length, dtype=torch.float32)
            whole["origin"] = torch.tensor([[number, i] for i in range(length)], dtype=torch.int64).reshape(length, 2)
        segments = [
            {**info, "visibility": 1.0, "origin": [[number, i]]}
            for i, info in enumerate(frame.get("segments_info", ()))
        ]
        if segments:
            whole["segments_info"] = segments
        row = {"output": number, "layer": 0, "source": number, "visibility": 1.0, "outcome": "kept", "reason": ""}
        rows += [{**row, "instance": i} for i in range(len(frame.get("labels", segments)))]
        frames.append(whole)
    shown = frames if isinstance(target, list) else frames[0]
    return MixedSample([index], [image], [target], plan, image, shown, rows, list(replaced))


def _kind(image: Tensor, base: Tensor) -> str:
    """Why a picture doesn't go with its base, or ""; see `alike`."""
    bands = {image.shape[0], base.shape[0]}
    if image.ndim != 3 or base.ndim != 3 or (image.dtype == base.dtype and (len(bands) == 1 or bands <= {1, 2, 3, 4})):
        return ""
    told = f"is another kind of picture than its base: {_bands(image)}, not {_bands(base)}"
    return f"{told}; give each kind a folder of its own"


def _other_bands(dataset: DenseDataset, partner: tuple[int, Tensor], base: tuple[int, Tensor]) -> str:
    """Why the further bands of a partner don't go with those of its base, or "".

    An opaque alpha can be added to a picture that has none; an infrared band can't be made up, nor be mixed with alpha.
    """
    kinds = []
    for index, image in (partner, base):
        further = image.ndim == 3 and image.shape[0] in (2, 4)
        bands = tiff_bands(dataset.image_path(index)) if further else None
        alpha = bands is None or bands in ("alpha", "premultiplied")
        kinds.append("" if not further else "alpha" if alpha else "other")
    if kinds[0] == kinds[1] or "other" not in kinds:
        return ""
    told = f"{_bands(partner[1])}, not {_bands(base[1])}"
    return (
        f"is another kind of picture than its base: {told}, and a last band that isn't alpha goes only with its like; "
        "give each kind a folder of its own"
    )


def _bands(image: Tensor) -> str:
    return f"{image.shape[0]} band{'s' * (image.shape[0] > 1)} of {str(image.dtype)[6:]}"


def _no_partner(dataset: DenseDataset, index: int, replaced: Sequence[SampleError]) -> SampleError:
    """What is wrong with a sample that is to be mixed and has nothing to be mixed with."""
    first = replaced[0]
    reason = f"no other image can be its partner; the first: {relative_path(dataset, first.path)}: {first.reason}"
    return SampleError(dataset.image_path(index), reason)


def _of_one_length(images: list[Any], targets: list[Any]) -> tuple[list[Any], list[Any]]:
    """Clips with as many frames as the first, the others' at even distances; pictures and volumes as they are."""
    count = len(images[0])
    for k in range(1, len(images)):
        if isinstance(targets[k], list) and len(images[k]) != count:
            chosen = even_frames(len(images[k]), count)
            images[k] = tv_tensors.wrap(images[k].as_subclass(Tensor)[chosen], like=images[k])
            targets[k] = [targets[k][frame] for frame in chosen]
    return images, targets


def alike(images: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    """Pictures of one number of bands: grey becomes RGB beside colours, and an opaque alpha is added beside alpha.

    Args:
        images: of one dataset; clips and volumes are left as they are.
        names: of the images, for the message.

    Raises:
        ValueError: types of numbers that differ, or bands that don't become alike; names two of the images.
    """
    kinds = [(image.dtype, image.shape[0]) for image in images]
    if len(set(kinds)) == 1 or any(image.ndim != 3 for image in images):
        return list(images)
    bands = {count for _, count in kinds}
    if len({dtype for dtype, _ in kinds}) > 1 or not bands <= {1, 2, 3, 4}:
        other = next(number for number, kind in enumerate(kinds) if kind != kinds[0])
        told = [f"{names[at]} has {kinds[at][1]} bands of {str(kinds[at][0])[6:]}" for at in (0, other)]
        raise ValueError(f"{' and '.join(told)}; give pictures of each kind a folder of their own")
    wanted = 4 if 4 in bands or {2, 3} <= bands else max(bands)
    return [image if image.shape[0] == wanted else _widened(image, wanted) for image in images]


def _widened(image: Tensor, wanted: int) -> Tensor:
    """A picture with further bands: grey three times, and an opaque alpha."""
    plain = image.as_subclass(Tensor)
    grey, alpha = plain.shape[0] <= 2, plain.shape[0] in (2, 4)
    colours = plain[:1].expand(3, -1, -1) if grey and wanted >= 3 else plain[: 1 if grey else 3]
    opaque = 1 if plain.is_floating_point() else torch.iinfo(plain.dtype).max
    last = plain[-1:] if alpha else torch.full_like(plain[:1], opaque)
    whole = torch.cat([colours, last]) if wanted in (2, 4) else colours
    return tv_tensors.Image(whole) if isinstance(image, tv_tensors.Image) else whole


def name_of(dataset: DenseDataset, index: int) -> str:
    """The image's path under the dataset's folder."""
    try:
        return relative_path(dataset, dataset.image_path(index))
    except SampleError:
        return f"sample {index}"


def relative_path(dataset: DenseDataset, path: Path) -> str:
    """A file's path under the dataset's folder, with forward slashes."""
    base, full = os.path.abspath(dataset.root), os.path.abspath(path)
    return Path(os.path.relpath(full, base)).as_posix() if full.startswith(base + os.sep) else path.name
