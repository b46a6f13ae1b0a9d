"""Banks of cut-outs in a config: what they need of a batch, and that a training resumes with the bank it began with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from cutmix_dense.transforms import MixTransform
from cutmix_dense.transforms.instance_bank import bank_of

_KEY = "cutmix_dense_cut_outs"
"""Name in the message hub, which MMEngine's checkpoints hold."""


def fit_banks(mixes: Iterable[MixTransform], images: Tensor | Sequence[Tensor]) -> None:
    """Move the banks of some methods to the device of a batch, once.

    Raises:
        ValueError: a bank holds pictures of another dtype, such as bytes for a normalised batch.
    """
    for mix in mixes:
        bank = bank_of(mix)
        if bank is None or not len(bank):
            continue
        if bank.dtype != images[0].dtype:
            raise ValueError(
                f"{type(mix).__name__}: source must hold pictures of {images[0].dtype} like the batch, got "
                f"{bank.dtype}: mix before the batch is normalised, augments_before_normalize=[…] of "
                "cutmix_dense.DetDataPreprocessor"
            )
        if bank.device != images[0].device:
            mix.source = bank.to(images[0].device)


def refuse_elements(mix: MixTransform, names: Iterable[str], boxes: Any) -> None:
    """Refuse what cut-outs can't have.

    Args:
        mix: a method.
        names: of maps and the like beside the instances.
        boxes: those of the base; None if there are none.

    Raises:
        ValueError: a bank, and maps of the image, or boxes of a type that isn't upright.
    """
    if bank_of(mix) is None:
        return
    lacking = sorted(names)
    if lacking:
        raise ValueError(
            f"{type(mix).__name__}: source is a bank of cut-outs, which have no {', '.join(lacking)}: leave that out, "
            "or paste from the batch (source='partner')"
        )
    if hasattr(boxes, "convert_to") and not isinstance(boxes.convert_to("hbox"), type(boxes)):
        raise ValueError(
            f"{type(mix).__name__}: source is a bank of cut-outs with upright boxes, got {type(boxes).__name__}"
        )


def check_resumed(mixes: Iterable[MixTransform], hub: Any, resumed: bool) -> None:
    """Note the banks of a training for its checkpoints; a resumed training must have those that it began with.

    Only how many cut-outs a bank holds and its fingerprint are saved, not the pictures.

    Args:
        mixes: the methods of the training, in the order of the config.
        hub: the runner's message hub.
        resumed: whether the hub is that of a checkpoint.

    Raises:
        ValueError: another bank, or none, with both named.
    """
    banks = [bank for mix in mixes if (bank := bank_of(mix)) is not None]
    own = "; ".join(f"{len(bank)} cut-outs {bank.fingerprint}" for bank in banks)
    was = hub.runtime_info.get(_KEY) if resumed else None
    if was and was != own:
        raise ValueError(
            f"source must be the bank that the checkpoint was trained with, {was}, got {own or 'no bank'}: give that "
            "file, or start anew from its weights (load_from, resume=False)"
        )
    if own:
        hub.update_info(_KEY, own)
