"""The data preprocessor of our models: move, resize, mix, normalise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from cutmix_dense.build import from_config
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.randomness import generator_from, rank_seed
from cutmix_dense.training.held_mix import HoldsMix
from cutmix_dense.training.sample_transforms import build_transforms
from cutmix_dense.transforms import SampleBank


@MODELS.register_module()
class MixPreprocessor(BaseDataPreprocessor, HoldsMix):
    """Moves a batch to the device, mixes it in training, and normalises.

    In: ``{"images": [uint8 (3, Hi, Wi), ...], "targets": [dict, ...]}``. Out: the same dict with float images, one
    tensor (B, 3, H, W) where they are of one size, else a list; targets have ``orig_size`` (H, W), the size before any
    resizing here. All plans of a batch come from one generator, seeded by ``rank_seed()``: torch's global state, as
    ``SeedHook`` sets it, and the rank. ``last_seed`` repeats them.

    Args:
        mix: a mixing transform, or a dict that describes one (``dict(type="CutMix", p=0.5)``); None: no mixing.
        mean: per channel, of values in 0 … 1; default ImageNet's.
        std: likewise.
        size: (H, W) that images get. In training the targets get it too, and the mix sees the resized batch; in
            evaluation targets stay as they are, and models bring their predictions back to ``orig_size``.

    Raises:
        TypeError: ``mix`` isn't a mixing transform.
        ValueError: what it says of its arguments; pairing with a bank; a size that isn't two numbers above 0.
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
        for image, target in zip(images, targets):
            target["orig_size"] = tuple(image.shape[-2:])
        if self.size is not None:
            for i, image in enumerate(images):
                if tuple(image.shape[-2:]) != self.size:
                    images[i], targets[i] = self._resize(image, targets[i], training)
        batch: Tensor | list[Tensor] = images
        if len({image.shape for image in images}) == 1:
            batch = torch.stack(images)
        if training and self.mix is not None:
            batch, targets = self.mix_batch(batch, targets)
        whole = self.normalize(batch) if isinstance(batch, Tensor) else [self.normalize(image) for image in batch]
        return {"images": whole, "targets": targets}

    def mix_batch(
        self, images: Tensor | list[Tensor], targets: list[dict[str, Any]]
    ) -> tuple[Tensor | list[Tensor], list[dict[str, Any]]]:
        """Images and targets mixed by plans that are drawn now; image-level labels become probabilities."""
        assert self.mix is not None
        self.last_seed = rank_seed()
        generator = generator_from(self.last_seed)
        sizes = [target.pop("orig_size") for target in targets]
        with self.mixing(len(images)):
            if targets and "label" in targets[0]:
                images, labels = self.mix(
                    images, torch.stack([target["label"] for target in targets]), generator=generator
                )
                mixed = [{**target, "label": label} for target, label in zip(targets, labels)]
            else:
                images, mixed = self.mix(images, targets, generator=generator)
        return images, [{**target, "orig_size": size} for target, size in zip(mixed, sizes)]

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (…, 3, H, W) as floating point with the mean 0 and the deviation 1."""
        return (images.as_subclass(Tensor).float() / 255 - self.mean) / self.std

    def _resize(self, image: Tensor, target: dict[str, Any], training: bool) -> tuple[Tensor, dict[str, Any]]:
        assert self._resizing is not None
        made = self._resizing({"image": image, "target": target if training else {}})
        return made["image"], made["target"] if training else target


def data_sample(target: dict[str, Any], prediction: dict[str, Tensor]) -> dict[str, Any]:
    """What models return and metrics read: ``image_id``, ``prediction`` and ``target``, on the CPU."""
    prediction, target = (
        {key: value.cpu() if isinstance(value, Tensor) else value for key, value in entry.items()}
        for entry in (prediction, target)
    )
    return {"image_id": target.get("image_id"), "prediction": prediction, "target": target}
