"""CopyPaste for Albumentations: instances of partners, of the image itself or of a bank; classes by a label field."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from albumentations.core.bbox_utils import convert_bboxes_from_albumentations
from torch import Tensor

from cutmix_dense import transforms
from cutmix_dense.albumentations.rows import Rows
from cutmix_dense.albumentations.samples import Samples
from cutmix_dense.albumentations.transforms import MixTransform
from cutmix_dense.build import from_config
from cutmix_dense.transforms.cutout_sheets import area_of, joined

_COUNTS = {"iscrowd": 0, "visibility": 1.0, "weight": 1.0}
"""Label fields that the core knows, and what a cut-out has there."""


class CopyPaste(MixTransform):
    """Instances by their masks or boxes (Ghiasi 2021): ``cutmix_dense.CopyPaste``.

    Keypoints are the image's, not an instance's: those come along that lie on a pasted pixel. A replay pastes the same
    instances at the same places; of a bank it needs the one that was drawn from.

    Args:
        source: None or ``"partner"``: the partners of the call; a dataset or a callable that gives partners;
            ``"self"``: the image's own instances; a bank of cut-outs, an ``InstanceBank`` or, so that the pipeline can
            be saved, ``{"type": "InstanceBank", "file": "bank.pt"}``. The last two need no partner.
        weights: how often each class is drawn: ``"balanced"``, or a mapping from what the label field holds.
        label_field: the label field of boxes that holds the class; None: the only one, those apart that the core knows
            (``area``, ``iscrowd`` …) and ``mask_index_field``.
        names: what the label field holds for each class id of the bank; default the id.
        arguments: as for every mix here.

    Raises:
        TypeError: ``source`` is something else.
        ValueError: another argument of wrong kind; a call whose class field isn't clear; class maps in a call for a
            bank, whose cut-outs have none.

    Example:
        >>> import albumentations as A
        >>> image = np.zeros((40, 60, 3), np.uint8)
        >>> image[10:20, 10:25] = 255
        >>> paste = CopyPaste(source="self", instances=1, place="random", overlap=0, p=1.0)
        >>> pipeline = A.Compose([paste], bbox_params=A.BboxParams("pascal_voc", label_fields=["labels"]), seed=1)
        >>> out = pipeline(image=image, bboxes=[[10, 10, 25, 20]], labels=["cat"])
        >>> out["labels"], int((out["image"][..., 0] == 255).sum())
        (['cat', 'cat'], 300)
    """

    core = transforms.CopyPaste

    def __init__(
        self,
        *,
        source: Any = None,
        weights: Any = None,
        label_field: str | None = None,
        names: Mapping[Any, Any] | Sequence[Any] | None = None,
        **arguments: Any,
    ) -> None:
        source = None if isinstance(source, str) and source == "partner" else source
        if isinstance(source, str) and source != "self":
            raise TypeError(
                f"source must be 'self', a bank, a dataset or a callable here, got {source!r}: partners come with the "
                "call, or are given by a dataset"
            )
        made = from_config(source) if isinstance(source, Mapping) else source
        self.bank = made if isinstance(made, transforms.InstanceBank) else None
        own = self._without_partner = source == "self" or self.bank is not None
        if isinstance(source, Mapping) and self.bank is None:
            raise TypeError(f"source must be of type InstanceBank where it is a dict, got {source!r}")
        if weights is not None and weights != "balanced" and not isinstance(weights, Mapping):
            raise ValueError(
                f"weights must be None, 'balanced', or a mapping from what the label field holds, got {weights!r}"
            )
        pairs = names.items() if isinstance(names, Mapping) else enumerate(names or ())
        self._names = {str(key): value for key, value in pairs}
        self._classes = {str(key): index for index, key in enumerate(weights)} if isinstance(weights, Mapping) else {}
        self._given = {"source": source, "weights": weights, "label_field": label_field, "names": names}
        self._settings = {"source": (self.bank or source) if own else "partner", "weights": self._table(weights)}
        self.label_field = label_field
        super().__init__(source=None if own else source, **arguments)

    def _table(self, weights: Any) -> Any:
        """The core's weights: by class id of the bank, or by place in ``weights``."""
        if not isinstance(weights, Mapping):
            return weights
        if self.bank is None:
            return dict(enumerate(weights.values()))
        by_name = {str(key): value for key, value in weights.items()}
        ids = {label: str(self._names.get(str(label), label)) for label in self.bank.counts}
        known = {*ids.values(), *map(str, self._names.values())}
        unknown = [key for key in weights if str(key) not in known and (self._names or not str(key).isdecimal())]
        if unknown:
            raise ValueError(
                f"weights must be by what the label field holds, one of {sorted(known)}, got {unknown!r}"
                + ("" if self._names else ": names= says which class of the bank has which name")
            )
        return {label: by_name[name] for label, name in ids.items() if name in by_name} or None

    def _method(self, arguments: Mapping[str, Any]) -> Any:
        return super()._method({**arguments, **self._settings})

    # ------------------------------------------------------------------ the call

    @property
    def targets_as_params(self) -> list[str]:
        """Arguments of the call that must be there: the partners, unless none is needed or a source gives them."""
        return [] if self._without_partner else super().targets_as_params

    def _drawn_partners(self, data: Mapping[str, Any], draws: random.Random) -> list[int]:
        if not self._without_partner:
            return super()._drawn_partners(data, draws)
        generator = torch.Generator("cpu").manual_seed(draws.getrandbits(63))
        return [] if self.bank is None else self.method.picked(1, generator).tolist()

    def _partners(self, partners: Sequence[int], data: Mapping[str, Any]) -> list[tuple[str, Any]]:
        if self.bank is None:
            return [] if self._without_partner else super()._partners(partners, data)
        if partners and max(partners) >= len(self.bank):
            raise ValueError(f"source must hold {max(partners) + 1} cut-outs to replay, got {len(self.bank)}")
        return [(f"cut-out {row} of source", self._cut_out(row, data)) for row in partners]

    def _cut_out(self, row: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """A cut-out of the bank as a partner of the call, in its formats."""
        assert self.bank is not None
        image, target = self.bank[row]
        size = image.shape[1:]
        found: dict[str, Any] = {"image": np.ascontiguousarray(image.cpu().movedim(0, -1).numpy())}
        if "masks" in target:
            found["masks"] = _masks_like(data.get("masks"), target["masks"].cpu().numpy() != 0)
        processor = self.processors.get("bboxes")
        if processor is None:
            return found
        sides = np.array([size[1], size[0]] * 2, dtype=np.float64)
        boxes = np.clip(target["boxes"].cpu().numpy() / sides, 0, 1)
        form, shape = processor.params.format, {"height": size[0], "width": size[1]}
        normalised = form == "albumentations"
        found["bboxes"] = boxes if normalised else convert_bboxes_from_albumentations(boxes, form, shape)
        label = int(target["labels"][0])
        fields = processor.params.label_fields or ()
        known = {**_COUNTS, "area": float(area_of(target)[0])}
        for field in fields:
            if field == self.mask_index_field:
                found[field] = [0]
            elif field == self._class_field(fields):
                found[field] = [self._names.get(str(label), label)]
            elif field in target:
                found[field] = target[field].cpu().numpy()
            elif field in known:
                found[field] = [known[field]]
        return found

    def _class_field(self, fields: Sequence[str]) -> str:
        """The label field that holds the class.

        Raises:
            ValueError: there are several, or none.
        """
        if self.label_field is not None:
            if self.label_field not in fields:
                raise ValueError(f"label_field must be one of bbox_params, {list(fields)}, got {self.label_field!r}")
            return self.label_field
        others = [field for field in fields if field not in (self.mask_index_field, "area", *_COUNTS)]
        if len(others) != 1:
            raise ValueError(f"label_field must say which label field of bbox_params holds the class, one of {others}")
        return others[0]

    def _seen(self, samples: Samples, targets: Any, given: Sequence[tuple[str, Any]]) -> Any:
        """With classes where they are weighed, and with the masks of cut-outs where the image has none."""
        if not targets:
            return targets
        seen = [dict(target) for target in targets]
        if self.method.weights is not None and self.bank is None:
            assert samples.boxes is not None
            for target, classes in zip(seen, self._class_ids(samples.boxes)):
                target["labels"] = classes
        if self.bank is None or samples.masks is not None:
            return seen
        for target, (_, item) in zip(seen[1:], given):
            masks = item.get("masks")
            if masks is not None and len(masks) == len(target["boxes"]):
                target["masks"] = torch.from_numpy(np.stack(masks) != 0)
            target["labels"] = torch.zeros(len(target["boxes"]), dtype=torch.long)
        return joined(None, seen[:1], seen[1:], None).targets

    def _class_ids(self, boxes: Rows) -> Sequence[Tensor]:
        """Place in ``weights`` of every box's class, sample by sample; the classes themselves where all count alike."""
        field = self._class_field(boxes.fields)
        column = boxes.column(field)
        values = boxes.values[:, column] if column is not None else np.zeros(0)
        if self._classes:
            words = {} if boxes.numeric(field) or column is None else boxes.known[field].encoder.inverse_classes_
            names = [words.get(int(value), int(value) if value == int(value) else value) for value in values]
            values = np.array([self._classes.get(str(name), -1) for name in names], dtype=np.int64)
        return torch.from_numpy(values.astype(np.int64)).split_with_sizes(boxes.counts)

    # ------------------------------------------------------------------ saving

    def get_transform_init_args(self) -> dict[str, Any]:
        """All arguments but ``p``, as they were given."""
        return {**super().get_transform_init_args(), **self._given}


def _masks_like(given: Any, masks: np.ndarray) -> list[np.ndarray]:
    """Masks with the dtype and the number of those of a call."""
    like = np.asarray(given[0]) if given is not None and len(given) else np.zeros(1, np.uint8)
    number = max([np.asarray(mask).max() for mask in given], default=1) if given is not None and len(given) else 1
    return [mask.astype(like.dtype) * like.dtype.type(number or 1) for mask in masks]
