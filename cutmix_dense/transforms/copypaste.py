"""CopyPaste: instances of other images on top of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from cutmix_dense.checks import finite, interval, share, zoom
from cutmix_dense.functional.fields import count_instances
from cutmix_dense.functional.segments import segments_as_instances
from cutmix_dense.functional.transfer import bring_rows
from cutmix_dense.plan import MixPlan
from cutmix_dense.switch import Switch
from cutmix_dense.transforms.bank import SampleBank
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.frames import detection_targets, has_padded
from cutmix_dense.transforms.instance_bank import InstanceBank, bank_of
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.paste_draws import SOURCES, DrawsPasted, Source
from cutmix_dense.transforms.paste_number import checked_number
from cutmix_dense.transforms.paste_weights import size_bounds, weight_table
from cutmix_dense.transforms.pasted import check_rows, may_be_pasted, with_tensors
from cutmix_dense.transforms.placing import Place
from cutmix_dense.transforms.pool import Pool
from cutmix_dense.warned import warn_caller

_INSTANCES = {"boxes", "masks"}
"""The keys of a target that say that it has instances."""


class CopyPaste(DrawsPasted, MixTransform):
    """Paste instances of the partner by their masks, or by their boxes if they have none (see ``has_mask``).

    A partner that is scaled or has another size is placed at random: within the image if it fits, else so that it
    covers the image. Base instances shrink where they are covered, and are filtered. Instances that aren't pasted don't
    come along, though their pixels may show on a pasted one. With panoptic maps alone, things are pasted. If only some
    instances have masks, a base instance without one that is partly covered needs ``boxes="estimate"``.

    With ``place``, ``overlap``, ``context`` or another ``source`` every instance is a layer of its own, with its own
    size, flip and opacity. One that is larger than the canvas is made to fit. What finds no place is left out: reports
    say that it was covered.

    Args:
        instances: how many: ``"random"`` (at least one), ``"all"``, a number, a range (least, most) that it is drawn
            from, or a fraction in (0, 1), rounded up.
        source: whose instances: of the ``"partner"``, of the image it``"self"``, or of any other image of the
            ``"batch"`` (of those behind ``outputs=``, if there are some), or of an ``InstanceBank``.
        place: where an instance goes: ``"same"``, where it is in its image (an image's own only with ``scale`` or
            ``flip``; not for a bank, whose cut-outs have no image); anywhere (``"random"``); or in a cell of a
            ``"grid"`` of its own, which has a cell for each.
        overlap: the most of any box on the image, pasted ones included, that pasted ones may hide together, in [0, 1].
            10 random places are tried, or every cell of a grid.
        context: how much wider than its box an instance without a mask is cut on every side, as a share of the box's
            length; a number, or a range that it is drawn from. The box stays that of the instance.
        weights: how often each class is drawn: a mapping or sequence by class id (others weigh 1), see
            ``class_weights``; or ``"balanced"``: each class at hand equally often.
        size_weights: how often each size is drawn: a mapping from ``"small"``, ``"medium"``, ``"large"`` (COCO's;
            others weigh 1); or from sides of a square of the same area, pixels: each weight counts from its side on, up
            to the next.
        crowd: whether to paste instances with ``iscrowd``.
        scale: the partner is scaled by a factor ~ U(low, high), from 0.01 to 30.
        flip: probability that the partner is mirrored left to right; keypoints then need ``flip_pairs``.
        feather: softness of the pasted edges in the image, sigma in pixels.
        blend: how much of what is pasted shows over the base: ``"hard"`` (all), a number in (0, 1], or a range that an
            opacity is drawn from per sample. Below 1 nothing of the base is hidden, so its instances stay as they are;
            pasted ones come whole with their opacity as ``weight``, the base's with 1. Maps of ids show what is pasted
            where the opacity is at least 0.5.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range, or targets lack instances.

    Source: Ghiasi et al., Simple Copy-Paste (2021), which jitters both images by 0.1–2.0 beforehand; DEIM's CopyBlend
    (Huang et al. 2025) for ``source="batch", instances=3, place="random", blend=0.5, context=(0.1, 0.25)``.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> boxes = torch.tensor([[[1.0, 1.0, 5.0, 4.0]], [[6.0, 2.0, 9.0, 7.0]]])
        >>> targets = [{"boxes": box, "labels": torch.tensor([1])} for box in boxes]
        >>> _, mixed = cd.CopyPaste(instances="all", p=1.0)(torch.rand(2, 3, 8, 12), targets)
        >>> mixed[0]["boxes"].tolist()  # its own, and its partner's
        [[1.0, 1.0, 5.0, 4.0], [6.0, 2.0, 9.0, 7.0]]
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BCDHW")

    def __init__(
        self,
        *,
        instances: Literal["random", "all"] | int | float | tuple[int, int] = "random",
        source: Source = "partner",
        place: Place = "same",
        overlap: float = 1.0,
        context: float | tuple[float, float] = 0.0,
        weights: Literal["balanced"] | Mapping[int, float] | Sequence[float] | Tensor | None = None,
        size_weights: Mapping[str | float, float] | None = None,
        crowd: bool = False,
        scale: tuple[float, float] = (1.0, 1.0),
        flip: float = 0.0,
        feather: float = 0.0,
        blend: Literal["hard"] | float | tuple[float, float] = "hard",
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        self._warned_of_none = Switch()
        self.instances = checked_number(instances)
        if not isinstance(source, InstanceBank) and source not in SOURCES:
            raise ValueError(f"source must be one of {SOURCES} or an InstanceBank, got {source!r}")
        if isinstance(source, InstanceBank) and (isinstance(self.pairing, SampleBank) or self.layout != "BCHW"):
            what = f"layout {self.layout!r}" if self.layout != "BCHW" else "a pairing with a SampleBank"
            raise ValueError(f"source must be one of {SOURCES} for {what}, got an InstanceBank")
        if source not in ("partner", "self") and not isinstance(self.instances, (int, tuple)):
            raise ValueError(f"instances must be a number or a range of them for this source, got {instances!r}")
        if place not in get_args(Place):
            raise ValueError(f"place must be one of {get_args(Place)}, got {place!r}")
        overlap, flip = share(overlap, "overlap"), share(flip, "flip")
        if not (finite(feather) and feather >= 0):
            raise ValueError(f"feather must be at least 0 pixels, got {feather!r}")
        scale = zoom(scale, "scale", "1 keeps the size of what is pasted")
        if source == "self" and place == "same" and scale == (1.0, 1.0) and flip == 0:
            raise ValueError(
                "place must be 'random' or 'grid' for source='self', got 'same', where an image's instances would lie "
                "on themselves (unless scale or flip change them)"
            )
        if isinstance(source, InstanceBank) and place == "same":
            raise ValueError(
                "place must be 'random' or 'grid' for an InstanceBank, got 'same': its cut-outs no longer lie in the "
                "images that they were cut from"
            )
        self.source = source
        self.place: Place = place
        self.overlap = float(overlap)
        self.context = _context(context)
        self.weights = weight_table(weights)
        size_bounds(size_weights)
        self.size_weights = None if size_weights is None else dict(size_weights)
        self.crowd = crowd
        self.scale = scale
        self.flip = float(flip)
        self.feather = float(feather)
        self.blend = _opacities(blend)
        self.instance_weights |= self.blend != "hard"  # which RandomMix then asks of its other members, too

    @classmethod
    def torchvision(cls, **common: Any) -> CopyPaste:
        """Filter as torchvision's reference ``SimpleCopyPaste``: keep whatever shows more than one line of pixels.

        Only the filter is torchvision's; ``instances`` still says what is pasted.
        """
        return cls(**{"rule": "torchvision", "p": 1.0, "crowd": True, **common})

    @classmethod
    def mmdet(cls, **common: Any) -> CopyPaste:
        """Filter as MMDetection's ``CopyPaste``.

        Base instances stay if their box moved by at most 10 pixels or more than 300 pixels of their mask show. Only the
        filter is MMDetection's; ``instances`` still says what is pasted.
        """
        return cls(**{"rule": "mmdet_copy_paste", "p": 1.0, "crowd": True, **common})

    @property
    def partners(self) -> int:
        """Number of other images that an output is mixed with: none for a bank, or an image's own instances."""
        return 1 if self.source in ("partner", "batch") else 0

    def get_extra_state(self) -> dict[str, Any]:
        """State for checkpoints; of a bank of cut-outs how many it holds and its fingerprint, not the pictures."""
        bank = bank_of(self)
        known = None if bank is None else {"instances": len(bank), "fingerprint": bank.fingerprint}
        return {**super().get_extra_state(), "cut_outs": known}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of ``get_extra_state``.

        Raises:
            ValueError: another bank of cut-outs than that of the checkpoint.
        """
        was = state.get("cut_outs")
        own = self.get_extra_state()["cut_outs"]
        if was is not None and was != own:
            held = "no bank" if own is None else f"{own['instances']} cut-outs of fingerprint {own['fingerprint']}"
            raise ValueError(
                f"source must be the bank that the checkpoint was trained with, {was['instances']} cut-outs of "
                f"fingerprint {was['fingerprint']}, got {held}: load that bank, or drop 'cut_outs' from the state to "
                "go on with another one"
            )
        super().set_extra_state(state)

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw the instances to paste, and their places."""
        targets = detection_targets(pool.targets)
        if targets is None:
            got = "padded boxes, which name no instance to paste" if has_padded(pool.targets) else "none"
            raise ValueError(f"targets must be a list of dicts of instances for CopyPaste, got {got}")
        here = bring_rows(pool.host_rows, targets, self.rules)
        pool = pool if here is targets else replace(pool, targets=here)
        targets = [segments_as_instances(target) for target in with_tensors(here)]
        if self.flip > 0 and self.flip_pairs is None and any(target.get("keypoints") is not None for target in targets):
            raise ValueError("flip_pairs must be given for keypoints when flip is above 0, got None (may be empty)")
        counts = [count_instances(target, "targets") for target in targets]
        check_rows(targets, counts)
        if not (any(counts) or self.banked or any(target.keys() & _INSTANCES for target in targets)):
            self._warn_of_none()
        may = may_be_pasted(targets, counts, self.crowd)
        own_layers = (self.source, self.place, self.overlap, self.context) != ("partner", "same", 1.0, (0.0, 0.0))
        return (self.draw_layers if own_layers else self.draw_together)(pool, targets, may, generator)

    def _warn_of_none(self) -> None:
        """Warn once that no target of a batch has instances."""
        if not (self._warned_of_none or self.closed or self.p == 0):
            self._warned_of_none.set(True)
            warn_caller(
                "CopyPaste got targets without 'boxes' or 'masks', so it pastes nothing: give instances, or use "
                "cutmix_dense.ClassMix, which pastes classes of maps"
            )


def _opacities(blend: Any) -> Literal["hard"] | tuple[float, float]:
    """A ``blend`` as "hard" or a range.

    Raises:
        ValueError: it is neither, nor a number in (0, 1].
    """
    if blend == "hard":
        return "hard"
    single = isinstance(blend, (int, float)) and not isinstance(blend, bool)
    if (single and not 0 < blend <= 1) or isinstance(blend, (str, bool)):
        raise ValueError(f"blend must be 'hard', an opacity in (0, 1] or a range (low, high) of them, got {blend!r}")
    return interval((blend, blend) if single else blend, "blend", 1)


def _context(context: Any) -> tuple[float, float]:
    """A ``context`` as a range.

    Raises:
        ValueError: it is neither a share of at least 0 nor an ordered pair of them.
    """
    ends = context if isinstance(context, (tuple, list)) else (context, context)
    if len(ends) != 2 or not all(isinstance(end, (int, float)) and finite(end) for end in ends):
        raise ValueError(f"context must be a share of a box's side or a range (low, high) of them, got {context!r}")
    if not 0 <= ends[0] <= ends[1]:
        raise ValueError(f"context must be at least 0 and ordered, got {context!r}")
    return float(ends[0]), float(ends[1])
