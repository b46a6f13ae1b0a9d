"""Base of the mixing transforms: check the inputs, draw a plan, apply it to everything."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar, TypeVar, get_args

import torch
from torch import Tensor
from torchvision.transforms import v2

from cutmix_dense.arrays.compiling import untraced
from cutmix_dense.checks import share
from cutmix_dense.functional.pixel_checks import check_out
from cutmix_dense.functional.pixels import Interpolation, few_launches, mix_images
from cutmix_dense.functional.rules import RULE_NAMES, TargetRules, rules_of, takes_rules
from cutmix_dense.pairing import PAIRINGS
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import TellsItsRank, call_generator
from cutmix_dense.switch import Switch
from cutmix_dense.transforms.bank import SampleBank, samples_named
from cutmix_dense.transforms.box_format import BoxForm, BoxFormat, Normalized, output_sizes
from cutmix_dense.transforms.drawing import DrawsPartners
from cutmix_dense.transforms.extents import check_drawn_for
from cutmix_dense.transforms.forms import LabelsGetter, read_form
from cutmix_dense.transforms.framing import PER_PIXEL, cropped, maps_cropped
from cutmix_dense.transforms.layout import LAYOUTS, Layout, has_frames
from cutmix_dense.transforms.pool import Images, Pool
from cutmix_dense.transforms.settings import NamedSettings, key_names
from cutmix_dense.transforms.targets import LabelsBy, MixedTargets, TargetMixer
from cutmix_dense.transforms.without_panoptic import refuse_panoptic

_Images = TypeVar("_Images", bound=Images)


class MixTransform(NamedSettings, DrawsPartners, TellsItsRank, v2.Transform, ABC):
    """Base of the mixing transforms: a batch in, the mixed batch out.

    Use it where torchvision's ``v2.CutMix`` goes: on a batch after collate, on any device; as ``collate_fn``; inside
    ``v2.Compose``. All settings are given by name. A subclass stores its own settings under their names and draws its
    plan in ``draw_plan``.

    Args:
        p: probability that an image is mixed, per sample, in [0, 1].
            The methods default to 0.5, so that half of the images stay as they are; Mosaic to 1.0, as in YOLO, and
            ClassMix and Cutout to 1.0, as in their papers, where every unlabelled image is mixed or cut.
        pairing: a name of ``cutmix_dense.pairing``, or a ``SampleBank`` to pair with any image of the batch or of the
            bank, which keeps the latest ones.
        fill: value of image pixels without an owner, one number or one per channel. None: grey for unsigned integers
            (114 of 255, at the same place in wider ranges), 0 for other dtypes.
        label_keys: further keys of image-level labels in a dict of targets, names or numbers.
        labels_by: whether image-level labels count by all ``"pixels"`` of a source, or by those of its visible
            ``"objects"``.
        interpolation: how scaled images are read: ``"antialias"`` (also None), ``"bilinear"`` or ``"nearest"``. Images
            of any integer or floating dtype are scaled and blended as numbers; maps of ids never are.
        layout: axes of a batch: ``"BCHW"`` for images, ``"BTCHW"`` for clips, ``"BCDHW"`` for volumes.
        box_format: format of plain tensors of boxes, in and out: ``"xyxy"``, ``"xywh"`` or ``"cxcywh"``.
            ``tv_tensors.BoundingBoxes`` carry their own.
        normalized: unit of those boxes: pixels (False), the valid size of their image (True, as in DETR and RF-DETR),
            or the padded frame (``"frame"``, as the processors of Hugging Face pad them).
        labels_getter: how image-level labels are found, as in torchvision's v2.CutMix: a callable from the batch to its
            tensor of labels; ``"default"``: by ``label_keys``, the usual names, and any key with "label" in it; None:
            by ``label_keys`` and the usual names.
        rules: how targets are judged and returned: any field of ``functional.TargetRules``, such as
            ``min_visibility``, ``min_size``, ``on_filtered``, ``instance_keys``, ``ignore_index``, ``num_classes``.

    For clips of T frames, one plan of two axes serves all frames, unless the region moves (``regions.PathBox``): then
    every frame has its own. Semantic maps are (B, T, H, W). Instances are a list per clip of T dicts, one per frame, as
    in video instance segmentation (``boxes``, ``labels``, ``masks``, ``track_id`` …); they are judged frame by frame,
    so a track may lose a frame and keeps its id in the others. If two clips share a ``track_id``, the partner's track
    gets a new one, so an id is one object of the output. ``origin`` and the report count frames: clip · T + frame.

    For volumes, the plan has three axes. Maps are (B, D, H, W), instance masks (N, D, H, W), boxes plain tensors (N, 6)
    of (x0, y0, z0, x1, y1, z1), and ``sizes`` (B, 3), depths first. ``area`` is a volume; a box has three sides.

    Raises:
        ValueError: an argument is out of range (the message names it), or the method isn't defined for the layout.

    Example:
        >>> import cutmix_dense as cd
        >>> class Halves(MixTransform):  # the partner's left half
        ...     def draw_plan(self, pool, generator):
        ...         half = torch.tensor([[[0, 0, pool.frame[0], pool.frame[1] // 2]]] * len(pool))
        ...         return cd.MixPlan.from_rectangles(self.draw_pairs(pool, generator)[0], half, pool.sizes)
        >>> Halves()(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(-1, -1, 1, 4)).flatten(1).tolist()
        [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """

    layouts: ClassVar[tuple[Layout, ...]] = LAYOUTS
    """Layouts for which the method is defined."""

    @takes_rules
    def __init__(
        self,
        *,
        p: float = 1.0,
        pairing: str | SampleBank = "roll",
        fill: float | Sequence[float] | None = 0,
        interpolation: Interpolation | None = None,
        label_keys: Sequence[str | int] = (),
        labels_by: LabelsBy = "pixels",
        labels_getter: LabelsGetter = "default",
        layout: Layout = "BCHW",
        box_format: BoxFormat = "xyxy",
        normalized: Normalized = False,
        **rules: Any,
    ) -> None:
        super().__init__()
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {LAYOUTS}, got {layout!r}")
        if layout not in self.layouts:
            raise ValueError(f"layout of {type(self).__name__} must be one of {self.layouts}, got {layout!r}")
        if pairing == "bank":
            pairing = SampleBank()
        if not isinstance(pairing, SampleBank) and pairing not in [*PAIRINGS]:
            raise ValueError(f"pairing must be one of {sorted([*PAIRINGS, 'bank'])} or a SampleBank, got {pairing!r}")
        if isinstance(pairing, SampleBank) and has_frames(layout):
            raise ValueError(f"pairing must be a name of {sorted(PAIRINGS)} for layout {layout!r}, got a bank")
        if labels_by not in get_args(LabelsBy):
            raise ValueError(f"labels_by must be one of {get_args(LabelsBy)}, got {labels_by!r}")
        if interpolation is not None and interpolation not in get_args(Interpolation):
            raise ValueError(f"interpolation must be one of {get_args(Interpolation)} or None, got {interpolation!r}")
        if labels_getter is not None and labels_getter != "default" and not callable(labels_getter):
            raise ValueError(f"labels_getter must be 'default', a callable or None, got {labels_getter!r}")
        BoxForm(box_format, normalized)  # refuses a wrong format at once
        if isinstance(fill, (str, dict)):
            raise TypeError(f"fill must be a number, one number per channel, or None, got {fill!r}")
        self.p = share(p, "p")
        self.pairing = pairing
        self.fill = fill
        self.interpolation: Interpolation | None = interpolation
        self.label_keys = key_names(label_keys, "label_keys")
        self.labels_by: LabelsBy = labels_by
        self.labels_getter = labels_getter
        self.layout: Layout = layout
        self.box_format: BoxFormat = box_format
        self.normalized: Normalized = normalized
        given = TargetRules.of(rules, type(self).__name__)
        for name in RULE_NAMES:
            setattr(self, name, getattr(given, name))
        self._switch, self._warned = Switch(), Switch()

    def pool_of(self, images: Images, targets: Any = None, sizes: Any = None, outputs: int | None = None) -> Pool:
        """Check the images and targets of a call, with boxes as xyxy pixels; arguments as for the call."""
        if not self.mixes_panoptic:
            refuse_panoptic(self, targets)
        return Pool.of(images, targets, sizes, outputs, self.layout, BoxForm(self.box_format, self.normalized))

    @property
    def rules(self) -> TargetRules:
        """How targets are judged and returned, from the current settings."""
        return rules_of(self)

    feather: float = 0.0
    """Softness of borders in mixed images, pixels; set by methods that soften."""

    size: tuple[int, int] | None = None
    """(height, width) of the outputs; None: the base's own size."""

    @property
    def members(self) -> list[MixTransform]:
        """The transforms that may mix a batch: itself (``RandomMix`` and ``Chain`` have several)."""
        return [self]

    def choose(self, generator: torch.Generator) -> MixTransform:
        """The transform that mixes the next batch: itself (``RandomMix`` draws one)."""
        return self

    @abstractmethod
    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """The plan for a pool; every random number comes from ``generator``."""

    def make_plan(
        self,
        images: Images,
        targets: Any = None,
        *,
        sizes: Any = None,
        generator: torch.Generator | None = None,
        outputs: int | None = None,
        p: Any = None,
    ) -> MixPlan:
        """Draw a plan without applying it; arguments as for the call."""
        if self.banked:
            raise ValueError("pairing with a bank draws plans over batch and bank: call the transform itself")
        pool = self.pool_of(images, targets, sizes, outputs)
        pool = pool if p is None else pool.with_p(p)
        plan = self.draw_plan(pool, call_generator(generator))
        self._warn_of_one(pool, plan)
        return plan

    def apply_plan(
        self,
        plan: MixPlan,
        images: Images,
        targets: Any = None,
        *,
        sizes: Any = None,
        out: Tensor | None = None,
        inplace: bool = False,
        return_report: bool = False,
    ) -> Any:
        """Mix by a given plan; nothing is drawn. Arguments and result as for the call, always with targets.

        Raises:
            TypeError, ValueError: as for the call; an image is larger than the plan was drawn for.
        """
        pool = self.pool_of(images, targets, sizes)
        check_drawn_for(plan, pool)
        return self.mix_pool(plan, pool, out=out, inplace=inplace, return_report=return_report)

    def mix_pool(
        self,
        plan: MixPlan,
        pool: Pool,
        *,
        out: Tensor | None = None,
        inplace: bool = False,
        return_report: bool = False,
        label_keys: Sequence[str | int] = (),
    ) -> Any:
        """``apply_plan`` for the result of ``pool_of``; ``label_keys`` adds keys of image-level labels."""
        if plan.frames not in (1, pool.frames):
            raise ValueError(f"plan must be of {pool.frames} frames or of whole clips, got one of {plan.frames} frames")
        # everything that can fail comes before the first write into an input
        mixed, images = MixedTargets(), pool.images
        if out is not None and pool.shown is not None and isinstance(images, Tensor):
            check_out(cropped(images, pool.shown), replace(plan, frame=pool.shown), out)
        with few_launches(None if pool.targets is None else pool.images):
            if pool.targets is not None:
                keys, by_name = (*self.label_keys, *label_keys), self.labels_getter == "default"
                mixer = TargetMixer(self.rules, keys, self.labels_by, by_name, self.interpolation)
                mixed = mixer.mix(pool.targets, plan, pool, inplace, return_report)
            if return_report and len(mixed.reports) != 1:
                raise ValueError(f"return_report needs one list of detection targets, got {len(mixed.reports)}")
            mixed_images: Any = self.mix_images(images, plan, out=out if pool.shown is None else None, inplace=inplace)
        mixed.write()
        if pool.shown is not None:
            mixed.targets = maps_cropped(mixed.targets, pool.frame, pool.shown, PER_PIXEL.union(self.semantic_keys))
            mixed_images = cropped(mixed_images, pool.shown)
            mixed_images = mixed_images.clone() if out is None else out.copy_(mixed_images)
        if pool.box_form is not None:
            frames = self.normalized == "frame"
            unit = output_sizes(mixed_images, pool.ndim) if frames else plan.canvas[:: plan.frames].cpu()
            mixed.targets = pool.box_form.from_pixels(mixed.targets, unit)
        return (mixed_images, mixed.targets, *mixed.reports) if return_report else (mixed_images, mixed.targets)

    def mix_images(
        self, images: _Images, plan: MixPlan, *, out: Tensor | None = None, inplace: bool = False
    ) -> _Images:
        """Mix images alone by a given plan, with the method's fill, interpolation and feather."""
        settings: Any = {"fill": self.fill, "interpolation": self.interpolation, "feather": self.feather}
        return mix_images(images, plan, **settings, out=out, inplace=inplace)

    def forward(
        self,
        *inputs: Any,
        sizes: Any = None,
        generator: torch.Generator | None = None,
        out: Tensor | None = None,
        inplace: bool = False,
        outputs: int | None = None,
        p: Any = None,
        return_report: bool = False,
    ) -> Any:
        """Mix a batch.

        Args:
            inputs: images; images and targets, as two arguments, a tuple or a list; a dict of a batch with its images
                under ``image`` or a similar key; or a list of samples, as ``collate_fn`` gets it, each (image, target)
                or a dict; see ``forms.read_form``. Images are (B, C, H, W) or a list of (C, Hi, Wi). Targets are a list
                of dicts, a (B, H, W) map, (B,) or (B, K) labels, or a dict of those. For clips and volumes see
                ``layout``.
            sizes: (B, 2) valid heights and widths of a padded batch; (B, 3) for volumes.
            generator: a CPU generator that makes the call repeatable; default a private one, seeded from torch's global
                generator, rank and worker, so that ``torch.manual_seed`` repeats the call.
            out: tensor for the mixed images.
            inplace: write mixed images and per-pixel maps into the inputs; targets of instances are always new.
            outputs: mix only this many of the images; those behind them are their partners, in order.
            p: probability that each mixed image is mixed, (B,), instead of the transform's ``p``: by a teacher's
                confidence, say. Exchanging pairs use that of their first image. A tensor on a device is waited for.
            return_report: also return a ``MixReport``; needs detection targets.

        Returns:
            The batch in its form, samples collated: the images alone if they came alone, else (images, targets) or a
            dict; then the report, if asked for.

        Raises:
            TypeError: an input is of an unknown kind.
            ValueError: inputs don't fit each other, or their meaning is unknown; the message names them.
        """
        form = read_form(inputs, self.layout, self.labels_getter)
        settings: Any = {"out": out, "inplace": inplace, "return_report": return_report, "label_keys": form.label_keys}
        result, _ = self.mix_batch(form.images, form.targets, sizes, generator, outputs=outputs, p=p, **settings)
        return form.returned(*result)

    def mix_batch(
        self,
        images: Images,
        targets: Any,
        sizes: Any,
        generator: torch.Generator | None,
        *,
        outputs: int | None = None,
        inplace: bool = False,
        p: Any = None,
        **settings: Any,
    ) -> tuple[tuple[Any, ...], MixPlan]:
        """The call for images and targets that were read: the result of ``mix_pool``, and the plan behind it."""
        if self.banked and outputs is not None:
            raise ValueError("outputs can't be used with a bank, which holds the partners")
        if self.banked and inplace:
            raise ValueError("inplace can't be used with a bank, whose images are no part of the batch")
        generator, own, bank = call_generator(generator), self.pool_of(images, targets, sizes, outputs), self.bank
        with nullcontext() if bank is None else samples_named(len(own)):
            pool, mixed = self.joined(own, sizes, generator) if self.banked else (own, own)
            plan = untraced(self.draw_plan, pool if p is None else pool.with_p(p), generator)
            result = self.mix_pool(plan, mixed, inplace=inplace, **settings)
        if bank is not None:  # which stores boxes in pixels
            bank.push(images, own.targets, sizes, self.semantic_keys, own.ndim)
        elif not self.banked:
            self._warn_of_one(pool, plan)
        return result, plan

    def get_extra_state(self) -> dict[str, Any]:
        """State for checkpoints: the bank's samples, and whether mixing is closed (1: by hand, 2: by a schedule)."""
        return {"closed": self._switch.get(), "bank": None if self.bank is None else self.bank.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of ``get_extra_state``."""
        self._switch.set(state["closed"])
        if self.bank is not None and state["bank"] is not None:
            self.bank.load_state_dict(state["bank"])

    def extra_repr(self) -> str:
        """The method's own settings, and the common ones that differ from their defaults."""
        own = inspect.signature(type(self).__init__).parameters
        common = inspect.signature(MixTransform.__init__).parameters
        names = [name for name in own if hasattr(self, name) and getattr(self, name) is not None]
        names += [name for name in common if name not in own and getattr(self, name, None) != common[name].default]
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names if name != "self")
