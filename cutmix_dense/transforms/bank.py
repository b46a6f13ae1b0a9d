"""A bank of recent samples, so that batches of one or two images have partners."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence, Set
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision import tv_tensors

from cutmix_dense.arrays.host import HOST, tensor_of
from cutmix_dense.checks import whole
from cutmix_dense.functional.padded import is_padded
from cutmix_dense.functional.wrapping import channels_like, rewrap
from cutmix_dense.transforms.framing import PER_PIXEL, cropped, enlarged, is_per_pixel, maps_enlarged
from cutmix_dense.warned import reworded, warn_caller


class Joined(NamedTuple):
    """A batch followed by the samples of a bank.

    Attributes:
        images: a tensor if the batch is one, in a frame that holds the largest of all images; else a list.
        targets: in the form of the batch.
        sizes: valid size of every image; None for a list.
    """

    images: Any
    targets: Any
    sizes: Any


class SampleBank:
    """The latest samples of earlier batches, kept on their device as partners for later ones.

    Args:
        max_bytes: total size of the stored tensors, >= 1; the oldest samples go first, larger samples aren't stored.
        max_samples: number of samples, >= 1.

    Raises:
        ValueError: a bound is below 1.

    Example:
        >>> import cutmix_dense as cd
        >>> bank = SampleBank(max_samples=8)
        >>> mix = cd.CutMix(region=cd.regions.AreaBox(area=(0.25, 0.25), aspect=(1, 1)), p=1.0, pairing=bank)
        >>> first = mix(torch.zeros(1, 3, 8, 12))  # no partner yet
        >>> mix(torch.ones(1, 3, 8, 12)).mean(), len(bank)
        (tensor(0.7500), 2)
    """

    def __init__(self, max_bytes: int = 256 * 2**20, max_samples: int = 64) -> None:
        self.max_bytes = whole(max_bytes, "max_bytes")
        self.max_samples = whole(max_samples, "max_samples")
        self._samples: deque[tuple[Tensor, Any]] = deque()
        self._warned = False

    def __repr__(self) -> str:
        return f"SampleBank(max_bytes={self.max_bytes}, max_samples={self.max_samples})"

    def __len__(self) -> int:
        """Number of stored samples."""
        return len(self._samples)

    def __bool__(self) -> bool:
        """True, so that an empty bank isn't taken for no bank."""
        return True

    @property
    def nbytes(self) -> int:
        """Bytes of all stored tensors."""
        return sum(_bytes(sample) for sample in self._samples)

    def join(
        self, images: Any, targets: Any, sizes: Any = None, semantic_keys: Sequence[str] = (), ndim: int = 2
    ) -> Joined:
        """The batch, followed by the stored samples that match its channels, dtype, device and form of target.

        Args:
            images: as for the call of a transform.
            targets: as for the call of a transform.
            sizes: as for the call of a transform.
            semantic_keys: further keys of semantic maps.
            ndim: number of spatial axes: 2 for images, 3 for volumes.
        """
        like, per_pixel = _kind(images[0]), PER_PIXEL.union(semantic_keys)
        fits = [_kind(image) == like and _same_form(target, targets, ndim) for image, target in self._samples]
        stored, theirs = ([sample[part] for sample, fit in zip(self._samples, fits) if fit] for part in range(2))
        if not isinstance(images, Tensor):
            return Joined([*images, *stored], _append(targets, theirs, None, per_pixel), None)
        own = tuple(images.shape[-ndim:])
        shown = [tuple(image.shape[-ndim:]) for image in stored]
        frame = tuple(map(max, zip(own, *shown)))
        valid = tensor_of([own] * len(images) if sizes is None else sizes).to(HOST, torch.long)
        more = torch.tensor(shown, dtype=torch.long, device=HOST).reshape(-1, ndim)
        plain = images.as_subclass(Tensor)
        pool = channels_like(torch.stack([enlarged(image, frame) for image in (*plain, *stored)]), plain, ndim)
        if frame != own:
            targets = maps_enlarged(targets, own, frame, per_pixel)
        return Joined(rewrap(pool, images), _append(targets, theirs, frame, per_pixel), torch.cat([valid, more]))

    def push(
        self, images: Any, targets: Any, sizes: Any = None, semantic_keys: Sequence[str] = (), ndim: int = 2
    ) -> None:
        """Store the unmixed samples of a batch; arguments as for ``join``."""
        per_pixel = PER_PIXEL.union(semantic_keys)
        for index in range(len(images)):
            image = images[index]
            frame = tuple(image.shape[-ndim:])
            size = frame if sizes is None else tuple(int(n) for n in sizes[index])
            sample = (cropped(image, size).detach().clone(), _take(targets, index, size, frame, per_pixel))
            if _bytes(sample) <= self.max_bytes:
                self._samples.append(sample)
            elif not self._warned:
                self._warned = True
                warn_caller(
                    f"SampleBank(max_bytes={self.max_bytes}) doesn't hold a sample of {_bytes(sample)} bytes, which is "
                    "no partner for any other: raise max_bytes"
                )
        self._trim()

    def state_dict(self) -> dict[str, Any]:
        """The samples as plain tensors, which ``torch.load`` accepts with ``weights_only=True``."""
        return {"samples": [(_plain(image), _plain(target)) for image, target in self._samples]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``; only the latest samples, if this bank is smaller."""
        self._samples = deque((_restored(image), _restored(target)) for image, target in state["samples"])
        self._trim()

    def _trim(self) -> None:
        """Drop the oldest samples until both bounds hold."""
        while len(self) > self.max_samples or self.nbytes > self.max_bytes:
            self._samples.popleft()


def samples_named(count: int) -> AbstractContextManager[None]:
    """A block whose messages name the samples of a bank, which follow ``count`` images of a batch, as such."""

    def name(found: re.Match[str]) -> str:
        index = int(found[1])
        return found[0] if index < count else f"sample {index - count} of the bank"

    return reworded(partial(re.sub, r"\btargets\[(\d+)\]", name))


def _kind(image: Tensor) -> tuple[Any, ...]:
    """What images that are mixed have in common: axes, channels, dtype and device."""
    return image.ndim, image.shape[0], image.dtype, image.device


def _same_form(stored: Any, targets: Any, ndim: int) -> bool:
    """Whether a stored target has the form of a batch's targets; rows of instances are compared where they are read."""
    if targets is None:
        return True
    if isinstance(targets, Mapping):
        if not isinstance(stored, Mapping) or any(key not in stored for key in targets):
            return False
        return is_padded(targets) or all(_same_form(stored[key], targets[key], ndim) for key in targets)
    one, other = stored, targets[0]
    if one is None or isinstance(one, Mapping) or isinstance(other, Mapping):
        return isinstance(one, Mapping) and isinstance(other, Mapping)
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return isinstance(targets, Tensor) or isinstance(one, Tensor) == isinstance(other, Tensor)
    fixed = one.ndim - ndim if one.ndim >= ndim else one.ndim  # the axes before those of pixels, or all of a label's
    return one.ndim == other.ndim and one.dtype == other.dtype and one.shape[:fixed] == other.shape[:fixed]


def _take(targets: Any, index: int, size: tuple[int, ...], frame: tuple[int, ...], keys: Set[str]) -> Any:
    """The target of one sample, with maps cropped to its valid size."""
    if targets is None:
        return None
    if isinstance(targets, Mapping):
        return {key: _take(value, index, size, frame, keys) for key, value in targets.items()}
    return _copied(targets[index], size, frame, True, keys)


def _copied(value: Any, size: tuple[int, ...], frame: tuple[int, ...], per_pixel: bool, keys: Set[str]) -> Any:
    """A copy of a target or of one entry; per-pixel tensors are cropped."""
    if isinstance(value, Mapping):
        return {key: _copied(entry, size, frame, key in keys, keys) for key, entry in value.items()}
    if not isinstance(value, Tensor):
        return [_copied(entry, size, frame, False, keys) for entry in value] if isinstance(value, list) else value
    framed = is_per_pixel(value, per_pixel) and tuple(value.shape[-len(frame) :]) == frame
    canvas = {"canvas_size": size} if hasattr(value, "canvas_size") else {}
    return rewrap((cropped(value, size) if framed else value).as_subclass(Tensor).detach().clone(), value, **canvas)


def _append(targets: Any, stored: list[Any], frame: tuple[int, ...] | None, keys: Set[str]) -> Any:
    """Targets of the batch, followed by those of the stored samples; ``frame`` is that of a batch in one tensor."""
    if targets is None or not stored:
        return targets
    if isinstance(targets, Mapping):
        if is_padded(targets):
            targets, stored = _even_slots(targets, stored)
        return {key: _append(value, [sample[key] for sample in stored], frame, keys) for key, value in targets.items()}
    if not isinstance(targets, Tensor):
        return [*targets, *(_fitted(sample, frame, True, keys) for sample in stored)]
    rows = [torch.as_tensor(sample, device=targets.device) for sample in stored]
    if frame is not None and tuple(targets.shape[-len(frame) :]) == frame and targets.ndim > len(frame):
        rows = [enlarged(row, frame) for row in rows]
    return rewrap(torch.cat([targets.as_subclass(Tensor), torch.stack(rows)]), targets)


def _even_slots(
    targets: Mapping[str, Any], stored: list[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Padded boxes and those of stored samples with as many slots each; ``valid`` says which were added."""
    count = targets["boxes"].shape[1]
    slots = max(count, *(len(sample["boxes"]) for sample in stored))
    if slots == count == min(len(sample["boxes"]) for sample in stored):
        return dict(targets), [dict(sample) for sample in stored]
    rows = {key for key, value in targets.items() if isinstance(value, Tensor) and value.shape[1:2] == (count,)}

    def filled(sample: Mapping[str, Any], axis: int) -> dict[str, Any]:
        boxes = sample["boxes"]
        every = torch.ones(boxes.shape[: axis + 1], dtype=torch.bool, device=boxes.device)
        given = {"valid": every, **sample}
        more = (0, slots - boxes.shape[axis])
        ends = {key: (0, 0) * (given[key].ndim - axis - 1) + more for key in rows | {"valid"}}
        return {**given, **{key: pad(given[key], end) for key, end in ends.items()}}

    return filled(targets, 1), [filled(sample, 0) for sample in stored]


def _fitted(value: Any, frame: tuple[int, ...] | None, per_pixel: bool, keys: Set[str]) -> Any:
    """A target whose masks and maps have the frame's size, as in a padded batch."""
    if isinstance(value, Mapping):
        return {key: _fitted(entry, frame, key in keys, keys) for key, entry in value.items()}
    return enlarged(value, frame) if frame is not None and is_per_pixel(value, per_pixel) else value


_KIND = "tv_tensor"
"""Key of the class name in the dict that stands for a tv_tensor."""


def _plain(value: Any) -> Any:
    """A sample with tv_tensors as dicts, so that a checkpoint holds no classes."""
    if isinstance(value, tv_tensors.TVTensor):
        written = {_KIND: type(value).__name__, "data": value.as_subclass(Tensor)}
        if hasattr(value, "format"):
            written["format"] = value.format.name
        if hasattr(value, "canvas_size"):
            written["canvas_size"] = tuple(value.canvas_size)
        return written
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _restored(value: Any) -> Any:
    """The sample that ``_plain`` got."""
    if isinstance(value, Mapping) and _KIND in value:
        more = {key: entry for key, entry in value.items() if key not in (_KIND, "data")}
        return getattr(tv_tensors, value[_KIND])(value["data"], **more)
    if isinstance(value, Mapping):
        return {key: _restored(entry) for key, entry in value.items()}
    return [_restored(entry) for entry in value] if isinstance(value, list) else value


def _bytes(sample: Any) -> int:
    """Bytes of all tensors of a sample."""
    if isinstance(sample, Tensor):
        return sample.numel() * sample.element_size()
    if isinstance(sample, Mapping):
        return sum(_bytes(value) for value in sample.values())
    if isinstance(sample, (list, tuple)):
        return sum(_bytes(value) for value in sample)
    return 0
