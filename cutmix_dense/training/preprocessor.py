"""The data preprocessor of our models: move, resize, mix, normalise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.build import from_config
from cutmix_dense.functional.row_values import shape_of
from cutmix_dense.functional.wrapping import as_plain, numpy_remedy, rewrap
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.randomness import generator_from, rank_seed
from cutmix_dense.training.held_mix import HoldsMix
from cutmix_dense.training.sample_transforms import build_transforms
from cutmix_dense.transforms import SampleBank
from cutmix_dense.warned import reworded

Together = Tensor | list[Tensor]
"""A tensor of a batch, or a list of them where they are of several sizes."""

_REMEDIES = {
    "give labels as one (B,) or (B, K) tensor beside the list of dicts, so that they are mixed,": (
        "name the image's class 'label', so that it is mixed,"
    ),
    "mix it with functional.mix_pixels and a fill": "give a map of integers, or take a mix that fills nothing",
}
"""What a call of a transform is advised, and the preprocessor's way to the same."""


@MODELS.register_module()
class MixPreprocessor(BaseDataPreprocessor, HoldsMix):
    """Moves a batch to the device, mixes it in training, and normalises.

    In: ``{"images": [uint8 (3, Hi, Wi), ...], "targets": [dict, ...]}``. Out: the same dict with float images, one
    tensor (B, 3, H, W) where they are of one size, else a list; targets have ``orig_size`` (H, W), the size before any
    resizing here. Further entries of a batch are maps beside the targets, such as depths: (B, H, W), (B, C, H, W) or a
    list with one per image. They are resized and mixed as the targets' maps are, and handed out under their keys, one
    tensor where they are of one size, else a list. All plans of a batch come from one generator, seeded by
    ``rank_seed()``: torch's global state, as ``SeedHook`` sets it, and the rank. ``last_seed`` repeats them.

    Args:
        mix: a mixing transform, or a dict that describes one (``dict(type="CutMix", p=0.5)``); None: no mixing.
        mean: per channel, of values in 0 … 1; default ImageNet's.
        std: likewise.
        size: (H, W) that images get. In training targets and maps get it too, and the mix sees the resized batch; in
            evaluation targets and maps stay as they are, and models bring their predictions back to ``orig_size``.

    Raises:
        TypeError: ``mix`` isn't a mixing transform; (on a call) an entry of the batch that isn't a map for each image.
        ValueError: what it says of its arguments; pairing with a bank; a size that isn't two numbers above 0; (on a
            call) a map that isn't of its image's size; a key that the mix doesn't know.
    """

    def __init__(
        self,
        mix: Any = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        built = from_config(mix)
        self.hold(built)
        if size is not None and (not isinstance(size, Sequence) or len(size) != 2 or min(size) < 1):
            square = f": write ({size}, {size}) for a square" if isinstance(size, int) and size > 0 else ""
            raise ValueError(f"size must be (height, width), both above 0, got {size!r}{square}")
        if built is not None and any(isinstance(member.pairing, SampleBank) for member in built.members):
            raise ValueError("mix can't pair with a bank here: MMEngine's checkpoints would not contain it")
        self.size = None if size is None else (int(size[0]), int(size[1]))
        resize = {"type": "Resize", "size": self.size, "antialias": True}
        self._resizing = None if size is None else build_transforms([resize])
        self.last_seed: int | None = None
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """The batch as models take it; see the class."""
        data = self.cast_data(data)
        images, targets = list(data["images"]), [dict(target) for target in data["targets"]]
        maps = {key: _maps(key, data[key], images) for key in data if key not in ("images", "targets")}
        for image, target in zip(images, targets):
            target["orig_size"] = tuple(image.shape[-2:])
        if self.size is not None:
            for i, image in enumerate(images):
                if tuple(image.shape[-2:]) != self.size:
                    images[i], targets[i], own = self._resize(
                        image, targets[i], {key: values[i] for key, values in maps.items()}, training
                    )
                    for key, value in own.items():
                        maps[key][i] = value
        batch, beside = _together(images), {key: _together(values) for key, values in maps.items()}
        if training and self.mix is not None:
            batch, targets, beside = self.mix_batch(batch, targets, beside)
        whole = self.normalize(batch) if isinstance(batch, Tensor) else [self.normalize(image) for image in batch]
        return {"images": whole, "targets": targets, **beside}

    def mix_batch(
        self, images: Together, targets: list[dict[str, Any]], maps: Mapping[str, Together] | None = None
    ) -> tuple[Together, list[dict[str, Any]], dict[str, Together]]:
        """Images, targets and the maps beside them, mixed by plans that are drawn now.

        Image-level labels become probabilities.
        """
        assert self.mix is not None
        self.last_seed = rank_seed()
        sizes = [target.pop("orig_size") for target in targets]
        given: Any = {"targets": targets, **(maps or {})}
        if labelled := any("label" in target for target in targets):
            if missing := [index for index, target in enumerate(targets) if "label" not in target]:
                raise ValueError(f"'label' must be in every target or in none; targets[{missing[0]}] has none")
            given["label"] = torch.stack([target.pop("label") for target in targets])
        with reworded(_as_of_a_batch), self.mixing(len(images)):
            images, mixed = self.mix(images, given, generator=generator_from(self.last_seed))
        if labelled:
            for target, label in zip(mixed["targets"], mixed.pop("label")):
                target["label"] = label
        return images, [{**target, "orig_size": size} for target, size in zip(mixed.pop("targets"), sizes)], mixed

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (…, 3, H, W) as floating point with the mean 0 and the deviation 1."""
        return (images.as_subclass(Tensor).float() / 255 - self.mean) / self.std

    def _resize(
        self, image: Tensor, target: dict[str, Any], maps: dict[str, Tensor], training: bool
    ) -> tuple[Tensor, dict[str, Any], dict[str, Tensor]]:
        assert self._resizing is not None
        beside = {key: tv_tensors.Mask(as_plain(value)) for key, value in maps.items()}
        made = self._resizing({"image": image, **({"target": target, "maps": beside} if training else {})})
        if not training:
            return made["image"], target, maps
        return made["image"], made["target"], {key: rewrap(made["maps"][key], like=maps[key]) for key in maps}


def _maps(key: str, value: Any, images: Sequence[Tensor]) -> list[Tensor]:
    """An entry of a batch beside its images and targets: a map for each image."""
    several = value.ndim > 0 if isinstance(value, Tensor) else isinstance(value, (list, tuple))
    values = list(value) if several else []
    if len(values) != len(images) or not all(isinstance(each, Tensor) and each.ndim in (2, 3) for each in values):
        remedy = numpy_remedy(next(iter(values), value)) or ": what else belongs to an image goes into its target"
        raise TypeError(
            f"{key} must be maps beside the targets, (B, H, W), (B, C, H, W) or a list with one for each of the "
            f"{len(images)} images, got {shape_of(value)}{remedy}"
        )
    for index, (each, image) in enumerate(zip(values, images)):
        if each.shape[-2:] != image.shape[-2:]:
            size, found = tuple(image.shape[-2:]), tuple(each.shape[-2:])
            raise ValueError(f"{key}[{index}] must have its image's size {size}, got {found}: resize both alike")
    return values


def _together(values: list[Tensor]) -> Together:
    return torch.stack(values) if len({value.shape for value in values}) == 1 else values


def _as_of_a_batch(message: str) -> str:
    """A message about the targets of a call as one about the entries of a batch."""
    for remedy, ours in _REMEDIES.items():
        message = message.replace(remedy, ours)
    return re.sub(r"\btargets\['(\w+)'\]", r"\1", message)


def data_sample(target: dict[str, Any], prediction: dict[str, Tensor]) -> dict[str, Any]:
    """What models return and metrics read: ``image_id``, ``prediction`` and ``target``, on the CPU."""
    prediction, target = (
        {key: value.cpu() if isinstance(value, Tensor) else value for key, value in entry.items()}
        for entry in (prediction, target)
    )
    return {"image_id": target.get("image_id"), "prediction": prediction, "target": target}
