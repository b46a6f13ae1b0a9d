"""Image classification by any network of torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import get_model

from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.training.preprocessor import data_sample


@MODELS.register_module()
class Classifier(BaseModel):
    """A classification network under MMEngine.

    Args:
        num_classes: K.
        network: ``dict(type=<name>)`` of a network in ``torchvision.models`` with further arguments of its builder.
        small_images: ResNets only: a 3 × 3 first convolution and no pooling after it, as for CIFAR (He 2016, 4.2).
        label_smoothing: of the cross entropy.
        data_preprocessor: see ``MixPreprocessor``; a mix needs ``num_classes``.

    Raises:
        ValueError: ``small_images`` for a network that has no such beginning.
    """

    def __init__(
        self,
        num_classes: int,
        network: Mapping[str, Any] | None = None,
        small_images: bool = False,
        label_smoothing: float = 0.0,
        data_preprocessor: Any = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or {"type": "cutmix_dense.MixPreprocessor"})
        settings = dict(network or {"type": "resnet18"})
        name = settings.pop("type")
        self.num_classes = num_classes
        self.network = get_model(name, **{"weights": None, "num_classes": num_classes, **settings})
        self.label_smoothing = label_smoothing
        if small_images:
            if not hasattr(self.network, "maxpool"):
                raise ValueError(f"small_images is for ResNets, got {name!r}")
            self.network.conv1 = nn.Conv2d(3, self.network.conv1.out_channels, 3, padding=1, bias=False)
            self.network.maxpool = nn.Identity()

    def forward(
        self, images: Any, targets: list[dict[str, Any]] | None = None, mode: str = "tensor", **others: Any
    ) -> Any:
        """Logits (``"tensor"``), a dict of losses (``"loss"``) or data samples (``"predict"``).

        Labels are classes or, as a mix leaves them, probabilities (K,). What else a batch holds isn't read.
        """
        if not isinstance(images, Tensor):
            raise ValueError("images must be of one size: give MixPreprocessor(size=...) or crop in the dataset")
        logits = self.network(images)
        if mode == "tensor":
            return logits
        if mode == "loss":
            labels = torch.stack([target["label"] for target in targets or []])
            return {"loss_class": F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)}
        scores = logits.softmax(dim=1)
        return [data_sample(target, {"scores": row}) for row, target in zip(scores, targets or [{} for _ in scores])]
