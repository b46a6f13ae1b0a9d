"""A small RT-DETR of Hugging Face's library that takes and gives what torchvision's detectors do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_convert, clip_boxes_to_image

from cutmix_dense.checks import whole
from cutmix_dense.extras import require

_STRIDE = 32
"""Pixels per step of the coarsest features, which divides the sides of a batch."""


class QueryDetector(nn.Module):
    """A detector of Hugging Face's library behind the interface of torchvision's.

    Args:
        model: takes ``pixel_values`` and ``labels``, such as ``RTDetrForObjectDetection``; its classes are those of
            ``forward`` without the background.
        processor: turns its outputs into detections, such as ``RTDetrImageProcessor``.
    """

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__()
        self.model = model
        self.processor = processor

    def forward(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """The losses by their names in training, else for each image its detections.

        Args:
            images: (3, H, W), normalised, of any sizes; they are padded with zeros to one size.
            targets: ``boxes`` (n, 4), xyxy pixels, and ``labels``, 0 for the background; needed in training.

        Returns:
            In training the weighed parts of the loss. Else ``boxes``, ``labels`` and ``scores`` of every query.

        Raises:
            ValueError: training without targets.
        """
        height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
        height, width = (-(-side // _STRIDE) * _STRIDE for side in (height, width))
        pixels = torch.stack(
            [F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2])) for image in images]
        )
        if self.training:
            if targets is None:
                raise ValueError("targets must be given in training, got None")
            size = pixels.new_tensor([width, height, width, height])
            labels = [
                {
                    "class_labels": target["labels"] - 1,
                    "boxes": box_convert(target["boxes"].to(size), "xyxy", "cxcywh") / size,
                }
                for target in targets
            ]
            losses: dict[str, Tensor] = self.model(pixel_values=pixels, labels=labels).loss_dict
            return losses
        sizes = [(height, width)] * len(images)
        found = self.processor.post_process_object_detection(
            self.model(pixel_values=pixels), threshold=0.0, target_sizes=sizes
        )
        return [
            {
                "boxes": clip_boxes_to_image(entry["boxes"], tuple(image.shape[-2:])),
                "labels": entry["labels"] + 1,
                "scores": entry["scores"],
            }
            for entry, image in zip(found, images)
        ]


def small_rtdetr(
    num_classes: int,
    widths: Sequence[int] = (16, 32, 48, 64),
    channels: int = 64,
    queries: int = 60,
    layers: int = 2,
    **settings: Any,
) -> QueryDetector:
    """The RT-DETR (Zhao 2024) of Hugging Face's library, thin, for small images and one core; random weights.

    Args:
        num_classes: with the background.
        widths: channels of the backbone's four stages; the last three feed the encoder, at strides 8, 16 and 32.
        channels: of the encoder and the decoder; a multiple of 4, its heads.
        queries: how many objects are found at most.
        layers: of the decoder.
        settings: of ``transformers.RTDetrConfig``.

    Raises:
        ValueError: ``widths`` aren't four, ``channels`` isn't a multiple of 4, or a setting is unknown.
        ImportError: transformers isn't installed.
    """
    if len(widths) != 4:
        raise ValueError(f"widths must be those of four stages, got {len(widths)}: {tuple(widths)}")
    if whole(channels, "channels") % 4:
        raise ValueError(f"channels must be a multiple of 4, the attention heads, got {channels}")
    library = require("transformers", "huggingface")
    known = library.RTDetrConfig()
    for name in settings:  # which the library would take without a word
        if not hasattr(known, name):
            raise ValueError(f"unknown setting {name!r} of RTDetrConfig, see transformers' documentation")
    backbone = library.RTDetrResNetConfig(
        embedding_size=widths[0],
        hidden_sizes=list(widths),
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = library.RTDetrConfig(
        **{
            "backbone_config": backbone,
            "freeze_backbone_batch_norms": False,  # statistics of nothing yet
            "num_labels": num_classes - 1,
            "encoder_in_channels": list(widths[1:]),
            "encoder_hidden_dim": channels,
            "encoder_ffn_dim": 2 * channels,
            "encoder_attention_heads": 4,
            "hidden_expansion": 0.5,
            "d_model": channels,
            "decoder_in_channels": [channels] * 3,
            "decoder_ffn_dim": 2 * channels,
            "decoder_attention_heads": 4,
            "decoder_layers": whole(layers, "layers"),
            "num_queries": whole(queries, "queries"),
            "num_denoising": queries,
            **settings,
        }
    )
    return QueryDetector(library.RTDetrForObjectDetection(config), library.RTDetrImageProcessor())
