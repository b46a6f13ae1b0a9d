"""A bank of cut-outs: single instances of a data set, of a folder or of a generator, pasted onto any batch."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST
from cutmix_dense.checks import finite, listed, whole
from cutmix_dense.functional.fields import are_dicts
from cutmix_dense.functional.wrapping import numpy_remedy, rewrap
from cutmix_dense.regions import uniform
from cutmix_dense.transforms.cut_instances import Cutter
from cutmix_dense.transforms.cutout_sheets import BankedBatch, completed, fitted, joined, sheets, wanted_keys
from cutmix_dense.transforms.pasted import with_tensors
from cutmix_dense.warned import warn_caller

_MISSING: Any = object()
"""Stands for what isn't there."""


class InstanceBank:
    """Cut-outs of single instances, with their masks or boxes, for ``CopyPaste(source=bank)``.

    Args:
        max_bytes: total size of the stored tensors, at least 1, default 256 MB. With the first cut-out for which there
            is no room the bank is ``full`` and takes no more, smaller ones neither: offer instances in random order,
            as ``cutmix-dense bank`` does.
        margin: how much of the picture round a box is kept on every side, as a share of the box's length, default
            0.25; at least as much as the ``context`` to paste.
        file: what ``save`` wrote, for configs: the bank has its cut-outs, its two bounds and its classes.
        classes: names of the classes, a sequence by label, where they are known. A mixed copy checks them against its
            data set's.

    Raises:
        TypeError: ``classes`` is one text.
        ValueError: an argument is out of range, or given beside ``file``; a file that ``save`` didn't write.

    Example:
        >>> import cutmix_dense as cd
        >>> target = {"boxes": torch.tensor([[2.0, 1.0, 6.0, 5.0]]), "labels": torch.tensor([3])}
        >>> bank = cd.InstanceBank()
        >>> bank.add([torch.rand(3, 8, 12)], [target]), dict(bank.counts)
        (1, {3: 1})
        >>> paste = cd.CopyPaste(source=bank, instances=2, place="random", p=1.0)
        >>> _, mixed = paste(torch.rand(1, 3, 16, 24), [target])
        >>> mixed[0]["labels"].tolist()[-2:]
        [3, 3]
    """

    def __init__(
        self,
        max_bytes: int | None = None,
        margin: float | None = None,
        *,
        file: str | Path | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        if file is not None and (max_bytes is not None or margin is not None or classes):
            given = f"{classes!r}, {max_bytes!r} and {margin!r}"
            raise ValueError(f"classes, max_bytes and margin are those of the file, got {given}")
        max_bytes, margin = 256 * 2**20 if max_bytes is None else max_bytes, 0.25 if margin is None else margin
        if not (finite(margin) and 0 <= margin <= 10):
            raise ValueError(f"margin must lie in [0, 10] of a box's side, got {margin!r}")
        self.max_bytes, self.margin = whole(max_bytes, "max_bytes"), float(margin)
        self.classes = tuple(listed(classes, "classes", "a sequence of names"))
        self.nbytes = 0
        self._waiting = 0  # bytes of the first cut-out for which there was no room
        self._warned = False
        self._cutter = Cutter()
        self._cuts: list[tuple[Tensor, dict[str, Tensor]]] = []
        self._fingerprint = ""
        if file is not None:
            self._read(file, HOST)

    def __repr__(self) -> str:
        return f"InstanceBank(instances={len(self)}, bytes={self.nbytes}, max_bytes={self.max_bytes})"

    def __len__(self) -> int:
        """Number of cut-outs."""
        return len(self._cuts)

    def __bool__(self) -> bool:
        """True, so that an empty bank isn't taken for no bank."""
        return True

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A cut-out: its picture (C, h, w), and a target of one instance there."""
        return self._cuts[row]

    @property
    def counts(self) -> Counter[int]:
        """Number of cut-outs of each class."""
        return Counter(int(target["labels"][0]) for _, target in self._cuts)

    @property
    def full(self) -> bool:
        """Whether a cut-out was offered for which there is no room; ``add`` takes no more then."""
        return 0 < self._waiting > self.max_bytes - self.nbytes

    @property
    def dtype(self) -> torch.dtype | None:
        """Type of the pictures; None without any."""
        return self._cuts[0][0].dtype if self._cuts else None

    @property
    def device(self) -> torch.device | None:
        """Where the pictures lie; None without any."""
        return self._cuts[0][0].device if self._cuts else None

    @property
    def fingerprint(self) -> str:
        """What tells banks apart, 64 digits: the SHA-256 of all cut-outs in their order, on any device."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            for image, target in self._cuts:
                for key, value in (("", image), *sorted(target.items())):
                    plain = value.detach().to(HOST).contiguous()
                    digest.update(f"{key} {plain.dtype} {tuple(plain.shape)}".encode())
                    digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def add(self, images: Iterable[Tensor], targets: Iterable[Mapping[str, Any]]) -> int:
        """Cut all instances out of some images, crowds excepted, until the bank is full.

        Args:
            images: (C, H, W) each.
            targets: of each a dict with ``labels`` or ``class_labels``, and ``boxes`` (xyxy, pixels) or ``masks``; the
                other rows of tensors follow their instance, keypoints excepted.

        Returns:
            The number of cut-outs that were stored.

        Warns:
            UserWarning: a box without area or outside of its image, once per process; a cut-out larger than
                ``max_bytes``, once per bank. Both are left out.

        Raises:
            TypeError: images that aren't tensors, targets that aren't dicts of tensors.
            ValueError: a target lacks what is needed, or has it in another number or size; NaN; boxes that are broken
                as a whole, as those of a mix are (of the last 32 images, in whatever calls); an image that isn't
                (C, H, W); more images than targets, or fewer. After an error the bank holds what it held before.
        """
        if isinstance(targets, Mapping):
            raise TypeError(
                f"targets must be dicts, one for each image, got one dict of {sorted(map(str, targets))}: give a list, "
                "with the valid rows of each image where they are a padded batch"
            )
        if isinstance(images, Tensor) and images.ndim != 4:
            raise ValueError(f"images must be (C, H, W) each, or one (B, C, H, W), got {tuple(images.shape)}")
        if isinstance(images, Sized) and isinstance(targets, Sized) and len(images) != len(targets):
            raise ValueError(f"targets must be one for each image ({len(images)}), got {len(targets)}")
        before, nbytes = len(self), self.nbytes
        try:
            self._cut_all(images, targets)
        except BaseException:  # a second try with the remedy in it doesn't store twice
            del self._cuts[before:]
            self.nbytes, self._fingerprint = nbytes, ""
            raise
        return len(self) - before

    def _cut_all(self, images: Iterable[Tensor], targets: Iterable[Mapping[str, Any]]) -> None:
        """Cut images until the bank is full; what was cut before an error stays."""
        for index, (image, target) in enumerate(zip_longest(images, targets, fillvalue=_MISSING)):
            if self.full:
                break
            if image is _MISSING or target is _MISSING:
                given, more = ("targets", "images")[:: 1 if target is _MISSING else -1]
                raise ValueError(f"targets must be one for each image, got {index} {given} and more {more}")
            for cut in self._cutter.cut(image, target, self.margin, index):
                if not self._take(cut):
                    break

    def _take(self, cut: tuple[Tensor, dict[str, Tensor]]) -> bool:
        """Store a cut-out if there is room; whether there may be for another."""
        size = sum(value.numel() * value.element_size() for value in (cut[0], *cut[1].values()))
        if size > self.max_bytes:
            if not self._warned:
                self._warned = True
                warn_caller(
                    f"InstanceBank(max_bytes={self.max_bytes}) doesn't hold a cut-out of {size} bytes, which is left "
                    "out, and so are further ones: raise max_bytes"
                )
            return True
        if self.nbytes + size > self.max_bytes:
            self._waiting = size
            return False
        self._cuts.append(cut)
        self.nbytes += size
        self._fingerprint = ""
        return True

    def map(self, change: Callable[[Tensor], Tensor]) -> InstanceBank:
        """A bank with every picture changed, such as converted and normalised like those of the batches.

        Args:
            change: from (C, h, w) to a picture of the same size; all of one dtype and number of channels.

        Raises:
            TypeError: ``change`` gives something else than a tensor.
            ValueError: ``change`` gives another size, or pictures of several dtypes or numbers of channels.
        """
        changed = [change(image) for image, _ in self._cuts]
        for (image, _), made in zip(self._cuts, changed):
            if not isinstance(made, Tensor):
                raise TypeError(f"change must give a tensor (C, h, w), got {type(made).__name__}{numpy_remedy(made)}")
            if made.ndim != 3 or made.shape[1:] != image.shape[1:]:
                was, got = tuple(image.shape), tuple(made.shape)
                raise ValueError(
                    f"change must keep the size of a picture, on which its box and mask lie, got {got} of {was}: "
                    "CopyPaste(scale=…) pastes at another size"
                )
            if (made.dtype, len(made)) != (changed[0].dtype, len(changed[0])):
                first, other = (f"{each.dtype} of {len(each)} channels" for each in (changed[0], made))
                raise ValueError(f"change must give pictures of one dtype and channels, got {first} and {other}")
        return self._like([(made.as_subclass(Tensor), target) for made, (_, target) in zip(changed, self._cuts)])

    def to(self, device: torch.device | str) -> InstanceBank:
        """A bank on another device."""
        moved = [
            (image.to(device), {key: value.to(device) for key, value in target.items()}) for image, target in self._cuts
        ]
        bank = self._like(moved)
        bank._fingerprint = self._fingerprint
        return bank

    def state_dict(self) -> dict[str, Any]:
        """The cut-outs as plain tensors, which ``torch.load`` accepts with ``weights_only=True``."""
        more: dict[str, Any] = {"classes": list(self.classes)} if self.classes else {}
        more |= {"waiting": self._waiting} if self.full else {}
        return {"max_bytes": self.max_bytes, "margin": self.margin, "cuts": list(self._cuts), **more}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``."""
        self.max_bytes, self.margin = state["max_bytes"], state["margin"]
        self.classes = tuple(state.get("classes", ()))
        self._waiting = state.get("waiting", 0)
        self._cuts = [(image, dict(target)) for image, target in state["cuts"]]
        self._fingerprint = ""
        self.nbytes = self._like(self._cuts).nbytes

    def save(self, path: str | Path) -> None:
        """Write the bank to a file, in a folder that is there."""
        with Path(path).open("wb") as file:  # torch raises no OSError where that fails
            torch.save(self.state_dict(), file)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> InstanceBank:
        """Read a bank from a file that ``save`` wrote; no code in it is run."""
        bank = cls()
        bank._read(path, device)
        return bank

    def _read(self, path: str | Path, device: torch.device | str) -> None:
        """Take what a file holds; ValueError for one that ``save`` didn't write."""
        try:
            self.load_state_dict(torch.load(path, map_location=device, weights_only=True))
        except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError, TypeError) as error:
            raise ValueError(
                f"file must be one that InstanceBank.save or `cutmix-dense bank` wrote, got {str(path)!r}: "
                f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
            ) from error

    # ------------------------------------------------------------------------------------------------ for CopyPaste

    def picked(
        self, count: int, weights: Float[np.ndarray, " n"] | None, generator: torch.Generator
    ) -> Int[np.ndarray, " count"]:
        """Draw cut-outs with replacement, by weight; none where all weigh 0."""
        draws = uniform(1, count, generator)[0].numpy()
        shares = np.ones(len(self)) if weights is None else weights
        if not shares.any():
            return np.zeros(0, dtype=np.int64)
        edges = np.cumsum(shares) / shares.sum()
        return np.minimum(np.searchsorted(edges, draws, side="right"), len(self) - 1)

    def targets(self) -> list[dict[str, Tensor]]:
        """The target of every cut-out."""
        return [target for _, target in self._cuts]

    def join(self, images: Any, targets: Any, sizes: Any, rows: Int[np.ndarray, " n"]) -> BankedBatch:
        """A batch, followed by some cut-outs: each a picture, or, behind a tensor, several on a sheet.

        Args:
            images: (B, C, H, W) or a list of (C, Hi, Wi).
            targets: a list of dicts of instances.
            sizes: valid sizes of a padded batch.
            rows: which cut-outs; those that are larger than a sheet are scaled into it.

        Raises:
            ValueError: cut-outs of another dtype, device or number of channels, or targets that cut-outs can't have.
        """
        if not are_dicts(targets):
            raise ValueError("targets must be a list of dicts of instances for a bank of cut-outs, which has no others")
        like = images[0]
        targets = with_tensors(targets)
        wanted = wanted_keys(targets)
        parts = [(image, completed(target, wanted)) for image, target in map(self._cuts.__getitem__, rows.tolist())]
        for image, _ in parts:
            if (image.dtype, image.device, image.shape[0]) != (like.dtype, like.device, like.shape[0]):
                raise ValueError(
                    f"source must hold pictures like the batch's, {like.dtype} of {like.shape[0]} channels on "
                    f"{like.device}, got {image.dtype} of {image.shape[0]} on {image.device}: use bank.map or bank.to"
                )
        if not isinstance(images, Tensor):
            cut = [(image, fitted(target, wanted, image.shape[-2:])) for image, target in parts]
            return joined([*images, *(image for image, _ in cut)], targets, [target for _, target in cut], None)
        made = sheets(parts, images, wanted)
        pool = torch.cat([images.as_subclass(Tensor), *(sheet.image[None] for sheet in made)])
        frame = list(images.shape[-2:])
        own = torch.tensor([frame] * len(images), device=HOST) if sizes is None else torch.as_tensor(sizes).to(HOST)
        valid = torch.cat([own.long(), torch.tensor([frame] * len(made), device=HOST).reshape(-1, 2)])
        batch = joined(rewrap(pool, images), targets, [sheet.target for sheet in made], valid)
        return batch._replace(shrunk=[np.ones(0)] * len(images) + [sheet.shrunk for sheet in made])

    def _like(self, cuts: list[tuple[Tensor, dict[str, Tensor]]]) -> InstanceBank:
        """A bank of other cut-outs with the same settings."""
        bank = InstanceBank(self.max_bytes, self.margin, classes=self.classes)
        bank._cuts = cuts
        bank.nbytes = sum(v.numel() * v.element_size() for image, t in cuts for v in (image, *t.values()))
        return bank


def bank_of(transform: Any) -> InstanceBank | None:
    """The bank that a transform pastes from; None if it has none."""
    source = getattr(transform, "source", None)
    return source if isinstance(source, InstanceBank) else None
