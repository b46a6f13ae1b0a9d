"""Mix targets of any known form by one plan; anything else is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.host import sent, tensor_of
from cutmix_dense.functional import MixReport, Outcome, TargetRules, mix_labels, mix_pixels, mix_semantic, object_pixels
from cutmix_dense.functional.fields import (
    COORDINATES,
    IGNORED,
    IMAGE_KEYS,
    INSTANCE_KEYS,
    LABEL_KEYS,
    RAW_ANNOTATIONS,
    SEMANTIC_KEYS,
    are_dicts,
    count_instances,
    is_annotations,
)
from cutmix_dense.functional.instances import mixed_instances
from cutmix_dense.functional.padded import is_padded, mixed_padded
from cutmix_dense.functional.pixel_checks import check_inplace
from cutmix_dense.functional.pixels import Interpolation
from cutmix_dense.functional.reading import row_keys
from cutmix_dense.functional.segments import PANOPTIC_KEYS
from cutmix_dense.functional.semantic import mix_maps, refuse_pair
from cutmix_dense.functional.transfer import rows_of
from cutmix_dense.functional.wrapping import numpy_remedy
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import weighs
from cutmix_dense.transforms.extents import check_extents, check_size
from cutmix_dense.transforms.frames import are_frames, check_frames, detection_targets, frames_named
from cutmix_dense.transforms.pool import Pool
from cutmix_dense.transforms.tracks import KEY, check_tracks, separate_tracks

LabelsBy = Literal["pixels", "objects"]
"""Whether image-level labels count by all pixels of a source, or by those of its visible objects."""

_IDS = {
    f"targets[{key!r}]"
    for key in ("mask", "label", "labels", "seg", "segmentation", "target", "annotation", "depth", "disparity")
}
"""Maps of floats that are never averaged: class ids, as some loaders give them, and depths, which have holes."""


@dataclass
class MixedTargets:
    """Targets after a mix.

    Attributes:
        targets: the mixed targets, in their original form.
        wanted: whether reports are wanted.
        reports: if wanted, one per list of instances.
        pending: writes into per-pixel inputs, delayed until nothing can fail any more.
    """

    targets: Any = None
    wanted: bool = False
    reports: list[MixReport] = field(default_factory=list)
    pending: list[Callable[[], Any]] = field(default_factory=list)

    def write(self) -> None:
        """Do the pending writes."""
        for action in self.pending:
            action()


@dataclass(frozen=True)
class TargetMixer:
    """Mix targets by a plan, with the settings of a ``MixTransform`` that concern them."""

    rules: TargetRules = field(default_factory=TargetRules)
    label_keys: tuple[str | int, ...] = ()
    labels_by: LabelsBy = "pixels"
    labels_by_name: bool = True
    interpolation: Interpolation | None = None

    def mix(
        self, targets: Any, plan: MixPlan, pool: Pool, inplace: bool = False, reports: bool = False
    ) -> MixedTargets:
        """Mix targets, and return them in their form.

        Args:
            targets: None; a list of dicts; a dict of padded boxes (B, N, 4), ``valid`` (B, N) and further rows per
                slot; a (B, H, W) map or another per-pixel tensor, or a list of them; (B,) or (B, K) labels; or a dict
                of those. For clips, a list of dicts per clip; for axes see ``MixTransform``.
            plan: who owns each output pixel.
            pool: the images that they belong to.
            inplace: write per-pixel tensors into themselves: they are checked here, and written by ``write``.
            reports: whether to report what happened to instances.

        Raises:
            TypeError: a target is of an unknown kind.
            ValueError: a size or a count doesn't fit; see ``cutmix_dense.functional``.
        """
        mixed = MixedTargets(wanted=reports)
        mixed.targets = self._mix("targets", targets, plan, pool, inplace, mixed)
        return mixed

    def _mix(self, name: str, value: Any, plan: MixPlan, pool: Pool, inplace: bool, mixed: MixedTargets) -> Any:
        if value is None:
            return None
        refuse_pair(value, name)
        if not isinstance(value, (Tensor, list, tuple)):
            if is_padded(value):
                if pool.clips:
                    raise ValueError(f"{name} must be a list of dicts per clip, one per frame; got padded boxes")
                return self._mix_padded(value, plan, pool, inplace, mixed)
            if isinstance(value, Mapping):
                return {key: self._mix_entry(key, item, plan, pool, inplace, mixed) for key, item in value.items()}
            got = f"{type(value).__name__}{numpy_remedy(value)}"
            raise TypeError(f"{name} must be a tensor, a list or a dict, got {got}")
        if len(value) != len(pool):
            raise ValueError(f"{name} must have one entry per image ({len(pool)}), got {len(value)}")
        if isinstance(value, Tensor):
            return self._mix_tensor(name, value, plan, pool, inplace, mixed)
        if pool.clips and are_frames(value):
            return self._mix_frames(name, value, plan, pool, mixed)
        if are_dicts(value):
            if pool.clips:
                raise ValueError(f"{name} must be a list of dicts per clip, one per frame; got a dict per clip")
            return self._mix_instances(value, plan, pool, mixed)
        if all(isinstance(item, Tensor) and item.ndim >= 2 for item in value):
            return self._mix_list(name, list(value), plan, pool)
        if all(isinstance(item, (int, np.integer)) or (isinstance(item, Tensor) and item.ndim == 0) for item in value):
            return self._mix_labels(
                tensor_of([int(item) if isinstance(item, np.integer) else item for item in value]), plan, pool
            )
        if any(is_annotations(item) for item in value):
            raise TypeError(f"{name} hold {RAW_ANNOTATIONS}")
        kinds = sorted({type(item).__name__ for item in value})
        remedy = "; the target of an image without objects is {}" if any(item is None for item in value) else ""
        remedy += next(filter(None, map(numpy_remedy, value)), "")
        if any(hasattr(item, "metainfo") for item in value):
            remedy = ": data samples of MMEngine have their own classes, see cutmix_dense.mmengine.batch"
        raise TypeError(f"{name} must be a list of dicts, of maps or of classes, got a list of {kinds}{remedy}")

    def _mix_entry(
        self, key: str | int, value: Any, plan: MixPlan, pool: Pool, inplace: bool, mixed: MixedTargets
    ) -> Any:
        if key in IMAGE_KEYS or key in self.rules.image_keys:
            if not isinstance(value, (Tensor, list, tuple)) or (isinstance(value, Tensor) and value.ndim == 0):
                raise TypeError(f"targets[{key!r}] must have one entry per image, got {type(value).__name__}")
            if len(value) != len(pool):
                raise ValueError(f"targets[{key!r}] must have one entry per image ({len(pool)}), got {len(value)}")
            base = plan.bases
            return value[sent(base, value.device)] if isinstance(value, Tensor) else [value[i] for i in base.tolist()]
        labels = {*LABEL_KEYS, *self.label_keys}
        if self.labels_by_name and isinstance(key, str) and "label" in key.lower() and key not in INSTANCE_KEYS:
            labels |= {key}
        if key in PANOPTIC_KEYS and key not in (*labels, *self.rules.semantic_keys):
            raise ValueError(
                f"targets[{key!r}] is of a panoptic map, which needs {' and '.join(map(repr, PANOPTIC_KEYS))}: give a "
                "list of dicts, one per image, with both; or a dict of a batch with both beside the images, the second "
                "a list of lists"
            )
        if key in INSTANCE_KEYS and key not in labels:
            maps = (
                ", or, if it is a map per image, name it 'mask'" if key == "masks" and isinstance(value, Tensor) else ""
            )
            raise ValueError(f"targets[{key!r}] holds instances: give a list of dicts, one per image{maps}")
        if key in COORDINATES:
            raise ValueError(f"targets[{key!r}] holds coordinates: give a list of dicts with 'boxes', one per image")
        if key == "pixel_mask":
            raise ValueError(
                "targets['pixel_mask'] says which part of a padded image is picture: give that as sizes=, and name the "
                "key in image_keys"
            )
        if pool.clips:
            check_frames(value, f"targets[{key!r}]")
        flat = isinstance(value, Tensor) and value.ndim <= 2
        rows = isinstance(value, (list, tuple)) and not (pool.clips and are_frames(value))
        numbers = rows and not all(
            isinstance(item, Mapping) or (isinstance(item, Tensor) and item.ndim >= 2) for item in value
        )
        if (flat or numbers) and key not in labels:
            raise ValueError(
                f"targets[{key!r}] is of unknown meaning: name it in label_keys (class "
                "labels, mixed) or in image_keys (it stays the base image's)"
            )
        if key in SEMANTIC_KEYS.union(self.rules.semantic_keys) and _floats(value):
            raise TypeError(f"targets[{key!r}] must hold integer class ids, got floating point")
        return self._mix(f"targets[{key!r}]", value, plan, pool, inplace, mixed)

    def _mix_instances(
        self, targets: Sequence[Mapping[str, Any]], plan: MixPlan, pool: Pool, mixed: MixedTargets
    ) -> list[dict[str, Any]]:
        check_extents(targets, pool, self.rules)
        here, device = rows_of(pool.host_rows, targets, self.rules)
        padded = isinstance(pool.images, Tensor)
        result = mixed_instances(here, plan, self.rules, padded, mixed.wanted, device, pool.frames)
        dicts: list[dict[str, Any]] = result[0] if mixed.wanted else result
        if mixed.wanted:
            mixed.reports.append(result[1])
        return dicts

    def _mix_frames(
        self, name: str, clips: Sequence[Sequence[Mapping[str, Any]]], plan: MixPlan, pool: Pool, mixed: MixedTargets
    ) -> list[list[dict[str, Any]]]:
        """Mix instances of clips frame by frame; ids of tracks and segments are unique within a clip."""
        for index, clip in enumerate(clips):
            if len(clip) != pool.frames:
                raise ValueError(f"{name}[{index}] must hold a dict per frame ({pool.frames}), got {len(clip)}")
        frames = [frame for clip in clips for frame in clip]
        tracked = KEY in row_keys(self.rules) and any(
            KEY in part for frame in frames for part in (frame, frame.get(IGNORED) or {})
        )
        if tracked:
            check_tracks(clips, plan.layers, name)
        inner = MixedTargets(wanted=mixed.wanted or tracked)
        with frames_named(pool.frames, name):
            dicts = self._mix_instances(frames, plan.of_frames(pool.frames), pool, inner)
        if mixed.wanted:
            mixed.reports += inner.reports
        outputs = [dicts[start : start + pool.frames] for start in range(0, len(dicts), pool.frames)]
        if tracked:
            report = inner.reports[0]
            apart = report.outcome.numpy() == int(Outcome.IGNORED)
            if self.rules.on_filtered == "crowd":  # those that fail stay among the others
                counts = np.array([count_instances(frame, name) for frame in frames])
                apart &= report.instance.numpy() >= counts[report.source.numpy()]
            separate_tracks(outputs, report, apart)
        return outputs

    def _mix_padded(
        self, value: Mapping[str, Any], plan: MixPlan, pool: Pool, inplace: bool, mixed: MixedTargets
    ) -> dict[str, Any]:
        """Mix padded boxes and the rows of their slots; other entries as in any dict."""
        slots, names = value["boxes"].shape[:2], {"valid", *INSTANCE_KEYS, *self.rules.instance_keys}
        if slots[0] != len(pool):
            raise ValueError(f"boxes must have one entry per image ({len(pool)}), got {slots[0]}")
        rows, others = {}, {}
        for key in value:
            item = value[key]
            if key in names and isinstance(item, Tensor) and item.shape[:2] == slots:
                rows[key] = item
            else:
                others[key] = self._mix_entry(key, item, plan, pool, inplace, mixed)
        return {**others, **mixed_padded(rows, plan, self.rules)}

    def _mix_tensor(
        self, name: str, value: Tensor, plan: MixPlan, pool: Pool, inplace: bool, mixed: MixedTargets
    ) -> Any:  # a SemanticPair, too
        if isinstance(value, tv_tensors.TVTensor) and not isinstance(value, (tv_tensors.Mask, tv_tensors.Image)):
            raise TypeError(f"{name} must be a list of dicts for {type(value).__name__}, got the bare tensor")
        if value.ndim <= 2:
            return self._mix_labels(value, plan, pool)
        if tuple(value.shape[-pool.ndim :]) != tuple(pool.frame):
            raise ValueError(f"{name} must have the images' size {tuple(pool.frame)}, got {tuple(value.shape)}")
        if pool.clips and value.shape[1] != pool.frames:
            raise ValueError(f"{name} must have one value per frame ({pool.frames}), got {tuple(value.shape)}")
        if _is_map(value, value.ndim - 1, pool):
            if plan.weight is not None:
                return self._mix_maps(value, plan)
            apply = partial(mix_semantic, value, plan, ignore_index=self.rules.ignore_index)
        elif weighs(plan) and not value.is_floating_point():
            raise TypeError(f"{name} must be floating point to be blended, got {value.dtype} (ids can't be averaged)")
        elif plan.has_fill():
            raise _no_fill(name)
        else:
            apply = partial(mix_pixels, value, plan, interpolation=self._reading(value, name))
        if not inplace:
            return apply()
        check_inplace(value, plan)
        mixed.pending.append(partial(apply, inplace=True))
        return value

    def _mix_maps(self, maps: Any, plan: MixPlan) -> Any:
        return mix_maps(
            maps,
            plan,
            ignore_index=self.rules.ignore_index,
            soft=self.rules.soft_semantic,
            num_classes=self.rules.num_classes,
        )

    def _mix_labels(self, labels: Tensor, plan: MixPlan, pool: Pool) -> Tensor:
        weight = None
        if pool.clips and labels.ndim == 2 and not labels.is_floating_point() and labels.shape[1] == pool.frames:
            raise ValueError(
                f"labels must be one class (B,) or probabilities (B, K) per clip, got integers {tuple(labels.shape)}, "
                "which look like a class per frame"
            )
        if self.labels_by == "objects":
            dicts = detection_targets(pool.targets)
            if dicts is None:
                raise ValueError("labels_by 'objects' needs detection targets beside the labels, got none")
            names = ("instance_keys", "image_keys", "semantic_keys")
            keys: Any = {name: getattr(self.rules, name) for name in names}
            with frames_named(pool.frames) if pool.clips else nullcontext():
                weight = object_pixels(dicts, plan.of_frames(pool.frames), **keys)
            if plan.frames == 1:  # its outputs are clips
                weight = weight.unflatten(0, (-1, pool.frames)).sum(dim=1)
        return mix_labels(labels, plan, self.rules.num_classes, weight=weight)

    def _mix_list(self, name: str, values: list[Tensor], plan: MixPlan, pool: Pool) -> Any:
        for index, value in enumerate(values):
            check_size(value, pool, index, f"{name}[{index}]")
            if pool.clips and (value.ndim < 3 or len(value) != pool.frames):
                raise ValueError(
                    f"{name}[{index}] must have one value per frame ({pool.frames}), got {tuple(value.shape)}"
                )
        if _is_map(values[0], values[0].ndim, pool):
            return self._mix_maps(values, plan)
        if weighs(plan) and not values[0].is_floating_point():
            raise TypeError(
                f"{name} must be floating point to be blended, got {values[0].dtype} (ids can't be averaged)"
            )
        if plan.has_fill():
            raise _no_fill(name)
        return mix_pixels(values, plan, interpolation=self._reading(values[0], name))

    def _reading(self, value: Tensor, name: str) -> Interpolation:
        """How scaled layers of a map are read: nearest if it holds ids, by its dtype or name, or the images are so."""
        nearest = not value.is_floating_point() or name in _IDS or self.interpolation == "nearest"
        return "nearest" if nearest else "bilinear"


def _is_map(value: Tensor, dims: int, pool: Pool) -> bool:
    """Whether a tensor holds one integer id per pixel (for clips, per frame too); a channel axis of 1 is allowed."""
    least = pool.ndim + pool.clips
    channels = value.shape[-pool.ndim - 1] if dims > least else 1
    return not value.is_floating_point() and dims - least in (0, 1) and channels == 1


def _floats(value: Any) -> bool:
    """Whether a tensor, or the first of a list, is floating point."""
    first = (
        value if isinstance(value, Tensor) else next(iter(value), None) if isinstance(value, (list, tuple)) else None
    )
    return isinstance(first, Tensor) and first.is_floating_point()


def _no_fill(name: str) -> ValueError:
    return ValueError(f"{name} has no value for pixels without an owner: mix it with functional.mix_pixels and a fill")
