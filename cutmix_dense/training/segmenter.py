"""Semantic segmentation: a small U-Net, or any segmentation network of torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model, list_models, segmentation
from torchvision.ops import Conv2dNormActivation

from cutmix_dense.checks import whole
from cutmix_dense.functional.semantic import SemanticPair
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.training.names import check_name
from cutmix_dense.training.preprocessor import data_sample


class SmallUNet(nn.Module):
    """A U-Net (Ronneberger 2015) of a few thin levels, with batch norm.

    Args:
        num_classes: K.
        widths: channels of the levels, from fine to coarse.
        stride: of the first convolution; 2 makes everything four times cheaper and borders coarser.
    """

    def __init__(self, num_classes: int, widths: Sequence[int] = (16, 32, 64, 96), stride: int = 1) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        before = 3
        for level, width in enumerate(widths):
            self.down.append(
                nn.Sequential(
                    Conv2dNormActivation(before, width, stride=stride if level == 0 else 2),
                    Conv2dNormActivation(width, width),
                )
            )
            before = width
        self.up = nn.ModuleList(
            Conv2dNormActivation(coarse + fine, fine) for fine, coarse in zip(widths[-2::-1], widths[:0:-1])
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)
        self.to(memory_format=torch.channels_last)  # a fifth faster on a CPU

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h w"]:
        """Logits at the images' size."""
        levels = []
        x = images
        for block in self.down:
            x = block(x)
            levels.append(x)
        for block, fine in zip(self.up, levels[-2::-1]):
            x = F.interpolate(x, size=fine.shape[-2:], mode="nearest")
            x = block(torch.cat([x, fine], dim=1))
        return _resized(self.head(x), tuple(images.shape[-2:]))


@MODELS.register_module()
class Segmenter(BaseModel):
    """A segmentation network under MMEngine.

    Args:
        num_classes: K.
        network: ``dict(type="SmallUNet", widths=(16, 32, 64))``, or ``dict(type=<name>)`` of a network in
            ``torchvision.models.segmentation`` with further arguments of its builder. Without ``weights`` and
            ``weights_backbone`` nothing is downloaded.
        ignore_index: id of pixels that don't count.
        class_weight: (K,) weights of the classes in the loss.
        aux_weight: weight of the loss of a torchvision network's auxiliary head.
        data_preprocessor: see ``MixPreprocessor``.
        confidence: predictions also have ``"confidence"``, the probability of the predicted class, which
            ``SemanticCalibration`` reads. It costs an exponential of every score.

    Raises:
        ValueError: an unknown network, fewer than two classes, or an ``ignore_index`` that is one of them.
    """

    def __init__(
        self,
        num_classes: int,
        network: Mapping[str, Any] | None = None,
        ignore_index: int = 255,
        class_weight: Sequence[float] | None = None,
        aux_weight: float = 0.5,
        data_preprocessor: Any = None,
        confidence: bool = False,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or {"type": "cutmix_dense.MixPreprocessor"})
        if whole(num_classes, "num_classes") < 2:
            raise ValueError(
                f"num_classes must be at least 2, as the softmax of one class is always 1; got {num_classes}: one kind "
                "of object makes two classes, with the background"
            )
        if ignore_index in range(num_classes):
            raise ValueError(
                f"ignore_index must be no class, so outside of 0 … {num_classes - 1}, got {ignore_index}: give -1, and "
                "maps that have it"
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.confidence = confidence
        self.aux_weight = aux_weight
        settings = dict(network or {"type": "SmallUNet"})
        name = settings.pop("type")
        if name == "SmallUNet":
            self.network: nn.Module = SmallUNet(num_classes, **settings)
        else:
            check_name(name, ("SmallUNet", *list_models(module=segmentation)))
            settings = {"weights": None, "weights_backbone": None, "num_classes": num_classes, **settings}
            self.network = get_model(name, **settings)
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer("class_weight", weight, persistent=False)

    def forward(
        self, images: Any, targets: list[dict[str, Any]] | None = None, mode: str = "tensor", **others: Any
    ) -> Any:
        """Logits (``"tensor"``), a dict of losses (``"loss"``) or data samples (``"predict"``).

        What else a batch holds isn't read.
        """
        if not isinstance(images, Tensor):
            raise ValueError("images must be of one size: give MixPreprocessor(size=...) or crop in the dataset")
        if mode == "predict":
            return self.predict(self.logits(images), targets or [{} for _ in images])
        if mode != "loss":
            return self.logits(images)
        maps = [target["semantic"] for target in targets or []]
        output = self.network(images)
        losses = {"loss_semantic": self.loss(scores_of(output), maps)}
        if isinstance(output, Mapping) and "aux" in output:
            losses["loss_aux"] = self.aux_weight * self.loss(output["aux"], maps)
        return losses

    def logits(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h w"]:
        """Class scores at the images' size."""
        return scores_of(self.network(images))

    def loss(self, logits: Float[Tensor, "b k h w"], maps: Sequence[Any]) -> Float[Tensor, ""]:
        """See ``semantic_loss``."""
        return semantic_loss(logits, maps, self.ignore_index, self.class_weight)

    def predict(self, logits: Float[Tensor, "b k h w"], targets: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Data samples with ``prediction["semantic"]`` (H, W) at the size of the target's map.

        It is uint8, and int32 for more than 256 classes.

        With ``confidence=True`` also ``prediction["confidence"]`` (H, W) float32, the softmax of the resized logits.
        """
        samples = []
        for scores, target in zip(logits, targets):
            size = target["semantic"].shape if "semantic" in target else target.get("orig_size", scores.shape[-2:])
            resized = _resized(scores[None], (int(size[-2]), int(size[-1])))[0]
            prediction = {"semantic": resized.argmax(0).to(torch.uint8 if len(scores) <= 256 else torch.int32)}
            if self.confidence:
                prediction["confidence"] = resized.float().softmax(0).amax(0)
            samples.append(data_sample(target, prediction))
        return samples


def scores_of(output: Any) -> Float[Tensor, "b k h w"]:
    """The class scores in what a network gives: itself, or ``"out"`` of the dict of torchvision's networks."""
    return output["out"] if isinstance(output, Mapping) else output


def semantic_loss(
    logits: Float[Tensor, "b k h w"],
    maps: Sequence[Any],
    ignore_index: int = 255,
    class_weight: Float[Tensor, " k"] | None = None,
) -> Float[Tensor, ""]:
    """Cross entropy, averaged over the pixels of the batch that count.

    Args:
        logits: class scores.
        maps: per image (H, W) of class ids; or what a soft mix makes of it: (K, H, W) probabilities, all 0 where
            nothing is known, or a ``SemanticPair``.
        ignore_index: id of pixels that don't count.
        class_weight: weights of the classes.

    Raises:
        ValueError: maps of another size than the logits.
    """
    first = maps[0].a if isinstance(maps[0], SemanticPair) else maps[0]
    if tuple(first.shape[-2:]) != tuple(logits.shape[-2:]):
        raise ValueError(f"maps must be of the logits' size {tuple(logits.shape[-2:])}, got {tuple(first.shape[-2:])}")
    if isinstance(maps[0], SemanticPair):
        a, b = (torch.stack([getattr(pair, name) for pair in maps]).long() for name in ("a", "b"))
        share = torch.stack([pair.weight for pair in maps])
        both = (
            F.cross_entropy(logits, ids, class_weight, ignore_index=ignore_index, reduction="none") for ids in (a, b)
        )
        total = sum(part * weight for part, weight in zip(both, (share, 1 - share)))
        counted = (a != ignore_index) | (b != ignore_index)
        return total.sum() / counted.sum().clamp(min=1)  # type: ignore[union-attr]
    stacked = torch.stack([item.as_subclass(Tensor) for item in maps])
    if stacked.is_floating_point():
        total = F.cross_entropy(logits, stacked, class_weight, reduction="sum")
        return total / (stacked.sum(dim=1) > 0).sum().clamp(min=1)
    total = F.cross_entropy(logits, stacked.long(), class_weight, ignore_index=ignore_index, reduction="sum")
    return total / (stacked != ignore_index).sum().clamp(min=1)  # a batch of ignored pixels only is 0, not NaN


def _resized(scores: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)
