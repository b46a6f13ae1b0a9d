"""Every method for one sample of a pipeline, in the keys of MMDetection and MMSegmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.arrays import to_array, to_tensor
from cutmix_dense.mmengine.scope import TRANSFORMS, build, refuse_blends, register_family
from cutmix_dense.mmengine.structures import as_boxes, as_masks, as_tensor, boxes_like, masks_like, rows_of
from cutmix_dense.randomness import rank_seed
from cutmix_dense.transforms.fit import PartnerFit, check_partner_fit
from cutmix_dense.transforms.single import SingleMix, mix_single

try:  # mmcv's pipelines may ask a transform to repeat its draw
    from mmcv.transforms import BaseTransform
    from mmcv.transforms.utils import cache_randomness
except ImportError:  # MMEngine alone: nothing asks for that
    BaseTransform = object

    def cache_randomness(method: Any) -> Any:
        """The method as it is."""
        return method


__all__ = ["SampleMix"]

_FLAGS = "gt_ignore_flags"
_MAPS = ("gt_seg_map", "gt_edge_map")


class SampleMix(BaseTransform):
    """A method of ``cutmix_dense`` as a transform of one sample: it is mixed with its ``mix_results``.

    Inside ``MultiImageMixDataset`` (mmdet's and mmseg's) the partners are drawn from the wrapped dataset. With
    ``max_cached_images`` it stands in an ordinary pipeline and takes its partners from the samples that came by last,
    so that a mix needs no second loading and decoding, as ``CachedMosaic`` does.

    Args:
        max_cached_images: size of the cache, 0 for none; else more than the method's partners (1; Mosaic 3).
        random_pop: whether a full cache drops a sample at random, or else the oldest one.
        instance_keys: further keys with one row per instance.
        partner_fit: how a partner of another size than the sample's is mixed, since ``mix_results`` come without the
            transforms before this one: ``"resize"``, scaled into the sample's size with its aspect kept (``Mosaic`` and
            ``ResizeMix`` scale by their own rule); ``"crop"``, from its top left corner; ``"random_crop"``.
        settings: arguments of the method; samplers and rules as dicts with a ``type``.

    Keys: ``img``, ``img_shape``, ``gt_bboxes`` (any box type, or an array), ``gt_bboxes_labels``, ``gt_ignore_flags``,
    ``gt_masks`` (polygons become bitmaps), ``gt_seg_map``, ``gt_edge_map``, ``mix_results``. ``mix_seeds`` gets the
    63-bit seed of each mix of the sample, drawn from numpy's state, which MMEngine seeds; what else the sample holds
    stays the base's. Instances with ``gt_ignore_flags`` stand behind the others, with those that fail the filter under
    ``on_filtered="ignore"``.

    Raises:
        ValueError: an argument out of range; annotations that can't be mixed, named.
        KeyError: no ``mix_results``, where there is no cache.
    """

    def __init__(
        self,
        max_cached_images: int = 0,
        random_pop: bool = True,
        instance_keys: Sequence[str] = (),
        partner_fit: PartnerFit = "resize",
        **settings: Any,
    ) -> None:
        check_partner_fit(partner_fit)
        self.mix = build(type(self).__name__, settings, instance_keys)
        if max_cached_images and max_cached_images <= self.mix.partners:
            raise ValueError(f"max_cached_images must be 0 or above {self.mix.partners}, got {max_cached_images!r}")
        self.max_cached_images = max_cached_images
        self.random_pop = random_pop
        self.partner_fit: PartnerFit = partner_fit
        self._rows = {"gt_bboxes": "boxes", "gt_bboxes_labels": "labels", "gt_masks": "masks"}
        self._rows |= {key: key for key in instance_keys}
        self.cache: list[dict[str, Any]] = []

    def close(self, closed: bool = True) -> None:
        """Stop mixing (or start again), in copies and loader workers too."""
        self.mix.close(closed)

    def get_indexes(self, dataset: Any) -> list[int]:
        """Partners for mmdet's ``MultiImageMixDataset``: none if there is a cache."""
        count = 0 if self.max_cached_images else self.mix.partners
        return [int(np.random.randint(len(dataset))) for _ in range(count)]  # noqa: NPY002 – the framework's state

    get_indices = get_indexes
    """Partners for mmseg's ``MultiImageMixDataset``."""

    @cache_randomness
    def draw_seed(self) -> int:
        """An integer of 63 bits from numpy's global state, which MMEngine seeds in every worker; ranks get others."""
        return rank_seed(int(np.random.randint(2**63 - 1, dtype=np.int64)))  # noqa: NPY002

    @cache_randomness
    def draw_cached(self) -> list[int]:
        """Which samples of the cache become partners; the sample itself is its last."""
        if len(self.cache) == 1:
            return []
        return np.random.randint(len(self.cache) - 1, size=self.mix.partners).tolist()  # noqa: NPY002

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mix a sample; a new dict."""
        return self.transform(results)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Mix a sample; a new dict, the given one is left alone."""
        partners = self._from_cache(results) if self.max_cached_images else self._given(results)
        seed = self.draw_seed()
        samples = [results, *partners]
        for sample in samples:
            _refuse_unknown(sample, {*self._rows, *_MAPS, _FLAGS})
        self._check_maps(samples)
        images = [sample["img"] for sample in samples]
        images = [to_tensor(image if image.ndim == 3 else image[..., None]) for image in images]
        generator = torch.Generator("cpu").manual_seed(seed)
        made = mix_single(self.mix, images, self._targets(samples), generator, partner_fit=self.partner_fit)
        mixed = {key: value for key, value in results.items() if key != "mix_results"}
        mixed["mix_seeds"] = [*results.get("mix_seeds", ()), seed]
        mixed["img"] = to_array(made.image).reshape(*made.image.shape[1:], *results["img"].shape[2:])
        mixed["img_shape"] = tuple(mixed["img"].shape[:2])
        if "pad_shape" in mixed and mixed["img_shape"] != results["img"].shape[:2]:
            mixed["pad_shape"] = mixed["img"].shape
        for key, (value, *_) in made.targets.items():
            mixed.update(self._results(samples, value, made) if key == "instances" else {key: to_array(value)})
        return mixed

    def _check_maps(self, samples: list[dict[str, Any]]) -> None:
        """Refuse maps that a method can't mix, or whose ignored id is another than the method's."""
        maps = [key for key in _MAPS if key in samples[0]]
        if maps:
            refuse_blends(self.mix, maps)
        for member in self.mix.members:
            for sample in samples if maps else ():
                given = sample.get("ignore_index", member.ignore_index)
                if given != member.ignore_index:
                    raise ValueError(
                        f"ignore_index must be that of the annotations, {given}, since pixels without owner get it; "
                        f"got {member.ignore_index}"
                    )

    def _given(self, results: dict[str, Any]) -> list[dict[str, Any]]:
        if "mix_results" not in results:
            raise KeyError(
                "results hold no 'mix_results': put the transform into the pipeline of a MultiImageMixDataset, or set "
                "max_cached_images"
            )
        return results["mix_results"]

    def _from_cache(self, results: dict[str, Any]) -> list[dict[str, Any]]:
        self.cache.append(results)
        if len(self.cache) > self.max_cached_images:
            self.cache.pop(int(np.random.randint(len(self.cache) - 1)) if self.random_pop else 0)  # noqa: NPY002
        return [self.cache[index] for index in self.draw_cached()]

    def _targets(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """The samples' annotations as the core takes them."""
        targets: dict[str, Any] = {}
        for key in _MAPS:
            if any(key in sample for sample in samples):
                targets[key] = [to_tensor(_map(sample, key)) for sample in samples]
        if any(key in sample for sample in samples for key in self._rows):
            targets["instances"] = [self._instances(sample) for sample in samples]
        return targets

    def _instances(self, sample: dict[str, Any]) -> dict[str, Any]:
        row = {}
        for key, name in self._rows.items():
            if key in sample:
                row[name] = _READ.get(key, as_tensor)(sample[key])
        flags = _flags(sample)
        if not flags.any():
            return row
        aside = torch.from_numpy(flags)
        for key, name in self._rows.items():
            if name in row and len(row[name]) != len(aside):
                raise ValueError(f"{_FLAGS} must have a row for each of {key}'s {len(row[name])}, got {len(aside)}")
        own = {name: rows_of(value, ~aside) for name, value in row.items()}
        return {**own, "ignored": {name: rows_of(value, aside) for name, value in row.items()}}

    def _results(self, samples: list[dict[str, Any]], target: dict[str, Any], made: SingleMix) -> dict[str, Any]:
        """The mixed instances under the framework's keys, ignored ones behind the others."""
        assert made.report is not None
        aside = target.get("ignored", {})
        mixed: dict[str, Any] = {}
        for key, name in self._rows.items():
            if name not in target:
                continue
            value = torch.cat([target[name], aside[name]]) if name in aside else target[name]
            example = next(sample[key] for sample in samples if key in sample)
            if key == "gt_bboxes":
                sources = [partial(_in_order, sample) for sample in samples]
                mixed[key] = boxes_like(example, sources, value, made.report, made.plan, 0)
            elif key == "gt_masks":
                mixed[key] = masks_like(example, value)
            else:
                mixed[key] = value if isinstance(example, Tensor) else value.numpy()
        counts = [len(target["origin"]), len(aside.get("origin", ()))] if "origin" in target else [0, 0]
        if counts[1] or any(_FLAGS in sample for sample in samples):
            mixed[_FLAGS] = np.repeat([False, True], counts)
        return mixed

    def __repr__(self) -> str:
        """The method with its settings."""
        return f"{self.mix!r}"[:-1] + f", max_cached_images={self.max_cached_images})"


_READ = {"gt_bboxes": as_boxes, "gt_masks": as_masks}


def _flags(sample: Mapping[str, Any]) -> np.ndarray:
    """Which instances are to be ignored."""
    return np.asarray(sample.get(_FLAGS, ()), dtype=bool)


def _in_order(sample: Mapping[str, Any]) -> Any:
    """A sample's boxes, ignored ones behind the others."""
    boxes, aside = sample["gt_bboxes"], _flags(sample)
    return boxes[np.argsort(aside, kind="stable")] if len(aside) else boxes


def _map(sample: Mapping[str, Any], key: str) -> np.ndarray:
    if key not in sample:
        raise ValueError(f"{key} must be in the sample and in all its partners, or in none of them")
    return sample[key]


def _refuse_unknown(sample: Mapping[str, Any], known: Set[str]) -> None:
    """Raise for what belongs to pixels or instances and would stay unmixed, and for what is no sample."""
    image = sample.get("img") if isinstance(sample, Mapping) else None
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
        given = f"an array of {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise TypeError(f"img must be an array (H, W) or (H, W, C) in the sample and in all its partners, got {given}")
    size = tuple(image.shape[:2])
    for key, value in sample.items():
        shape = tuple(value.shape) if isinstance(value, (np.ndarray, Tensor)) else ()
        per_pixel = len(shape) >= 2 and size in (shape[:2], shape[-2:])
        if key not in known and key != "img" and (per_pixel or key.startswith("gt_") or key in _REFUSED):
            raise ValueError(
                f"results hold {key!r}, which can't be mixed: leave it out of the pipeline, or name it in "
                "instance_keys if it has one row per instance"
            )
    if sample.get("instances") and not any(key.startswith("gt_") for key in sample):
        raise ValueError("results hold annotations that are not loaded yet: put the mix behind LoadAnnotations")
    if sample.get("seg_map_path") and "gt_seg_map" not in sample and not any(key in sample for key in known):
        raise ValueError("results hold a seg_map_path that is not loaded yet: put the mix behind LoadAnnotations")


_REFUSED = ("proposals", "proposals_scores")


globals().update(register_family(SampleMix, TRANSFORMS))  # under their names, so that loader workers can unpickle them
