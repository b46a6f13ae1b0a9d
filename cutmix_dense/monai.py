"""A MONAI dictionary transform that mixes a batch: images, class maps and class labels by one plan."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.extras import require
from cutmix_dense.randomness import generator_from, rank_seed
from cutmix_dense.transforms import MixTransform, RandomMix

require("monai.transforms", "monai", distribution="monai")

from monai.transforms.transform import MapTransform, Randomizable  # noqa: E402
from monai.utils.type_conversion import convert_to_dst_type, convert_to_tensor  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MixD", "MixDict", "Mixd"]

Value = Any
"""What a key of a batch holds: a tensor, a ``MetaTensor``, an array; or what has no pixels."""

_SEEDS = 2**32 - 1


class Mixd(Randomizable, MapTransform):
    """Mixes the batch that a MONAI loader gives, a dict of (B, C, *spatial) tensors, where MONAI's ``CutMixd`` would.

    Unlike that one it moves class ids whole, draws a region for each sample, and counts labels by the voxels that were
    really mixed. Metadata of a ``MetaTensor`` stay the base's; a mixed batch can't be inverted.

    Args:
        mix: the method, of layout ``"BCDHW"`` for volumes or ``"BCHW"``; MONAI's axes in their order. Its ``p`` is the
            probability of each sample. A copy is kept.
        image_key: key of the images (B, C, *spatial).
        map_keys: keys of class maps (B, 1, *spatial) or (B, *spatial), of whole numbers in any dtype, which is kept;
            more than one if the method looks at a map: the first.
        label_keys: keys of class labels, (B,) integers (``num_classes`` of the method) or (B, K).
        keep_keys: keys of other tensors and arrays, or of lists and dicts that hold some, which stay the base's; other
            entries stay anyway.
        allow_missing_keys: whether a batch may lack a key of a map or of labels.

    Randomness follows MONAI: ``set_random_state`` sets ``self.R``, ``randomize`` draws from it the one seed of a batch;
    each rank makes another plan of it. A worker process doesn't seed what is called in its ``collate_fn``: mix in the
    loop, on the device.

    Raises:
        ImportError: MONAI isn't installed.
        TypeError: ``mix`` isn't a mixing transform.
        ValueError: a key in two places, a clip layout; of the call: a key with a tensor that isn't named, class maps of
            fractions.
    """

    def __init__(
        self,
        mix: MixTransform | RandomMix,
        image_key: Hashable = "image",
        map_keys: Sequence[str] = ("label",),
        label_keys: Sequence[str] = (),
        keep_keys: Sequence[str] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        if not isinstance(mix, (MixTransform, RandomMix)):
            raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
        layouts = {member.layout for member in mix.members}
        if "BTCHW" in layouts:
            raise ValueError("mix must be of layout 'BCDHW' or 'BCHW', got 'BTCHW'")
        keys = (image_key, *map_keys, *label_keys, *keep_keys)
        if len(set(keys)) < len(keys):
            raise ValueError(f"image_key, map_keys, label_keys and keep_keys must differ, got {keys}")
        MapTransform.__init__(self, (image_key, *map_keys, *label_keys), allow_missing_keys)
        self.mix = copy.deepcopy(mix)  # which gets keys below
        self.image_key = image_key
        self.map_keys = tuple(map_keys)
        self.label_keys = tuple(label_keys)
        self.keep_keys = tuple(keep_keys)
        self.seed = 0
        for member in self.mix.members:
            member.semantic_keys = tuple(dict.fromkeys((*member.semantic_keys, *self.map_keys)))
            member.label_keys = tuple(dict.fromkeys((*member.label_keys, *self.label_keys)))

    def randomize(self, data: Any = None) -> None:
        """Draw the seed of the next batch."""
        self.seed = int(self.R.randint(_SEEDS, dtype=np.uint32))

    def __call__(self, data: Mapping[Hashable, Value]) -> dict[Hashable, Value]:
        """The mixed batch, a new dict."""
        batch = dict(data)
        named = {self.image_key, *self.map_keys, *self.label_keys, *self.keep_keys}
        unknown = [key for key, value in batch.items() if key not in named and _holds_tensors(value)]
        if unknown:
            raise ValueError(
                f"data holds tensors under {unknown}: name them in map_keys or label_keys (mixed) or in keep_keys "
                "(they stay the base image's)"
            )
        self.randomize()
        found = list(self.key_iterator(batch))
        plain = {key: convert_to_tensor(batch[key], track_meta=False) for key in found}
        targets = {key: value for key, value in plain.items() if key != self.image_key}
        for key in self.map_keys:
            if key in targets:
                targets[key] = _ids(targets[key], key)
        images, mixed = self.mix(plain[self.image_key], targets, generator=generator_from(rank_seed(self.seed)))
        for key, value in {self.image_key: images, **mixed}.items():
            dtype = value.dtype if key in self.label_keys else plain[key].dtype
            batch[key] = convert_to_dst_type(value, dst=batch[key], dtype=_dtype_of(dtype, batch[key]))[0]
        return batch


MixD = MixDict = Mixd


def _holds_tensors(value: Any) -> bool:
    """Whether there is a tensor or an array in it, however deep."""
    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_tensors, value))
    return isinstance(value, (Tensor, np.ndarray))


def _ids(maps: Tensor, key: str) -> Tensor:
    """Class ids of a map, whatever dtype they came in."""
    if not maps.is_floating_point():
        return maps
    ids = maps.long()
    if not torch.equal(ids.to(maps.dtype), maps):
        raise ValueError(f"data[{key!r}] must hold whole class ids, got fractions")
    return ids


def _dtype_of(dtype: torch.dtype, like: Tensor | NDArray[Any]) -> Any:
    """The dtype in the words of ``like``: torch's, or numpy's for an array."""
    return dtype if isinstance(like, Tensor) else torch.empty(0, dtype=dtype, device="cpu").numpy().dtype
