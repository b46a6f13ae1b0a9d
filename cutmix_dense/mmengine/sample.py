"""Every method for one sample of a pipeline, in the keys of MMDetection and MMSegmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.arrays import to_array, to_tensor
from cutmix_dense.checks import whole
from cutmix_dense.functional import mix_pixels
from cutmix_dense.mmengine.cut_outs import fit_banks, refuse_elements
from cutmix_dense.mmengine.fields import check_image_keys, check_instance_keys, check_key_list
from cutmix_dense.mmengine.results import (
    CLASS_MAPS,
    FLAGS,
    MIXED_KEYS,
    VALUE_MAPS,
    check_pose_method,
    check_results,
    check_value_map,
    flip_pairs_of,
    instance_columns,
)
from cutmix_dense.mmengine.rows import EXTRA_KEYS, name_of, read_rows, split_rows, written_rows
from cutmix_dense.mmengine.scope import (
    TRANSFORMS,
    WITHOUT_FORM,
    build,
    refuse_blends,
    refuse_names,
    register_family,
)
from cutmix_dense.mmengine.settings import check_settings
from cutmix_dense.mmengine.structures import boxes_like
from cutmix_dense.randomness import rank_seed
from cutmix_dense.recipes import RECIPES
from cutmix_dense.transforms import Affine, Chain
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


_BATCH = (
    "mixes batches, not the samples of a pipeline: write it into augments_before_normalize=[…] of "
    "cutmix_dense.DetDataPreprocessor or batch_augments=[…] of cutmix_dense.SegDataPreProcessor, in "
    "model.data_preprocessor"
)


class SampleMix(BaseTransform):
    """A method of ``cutmix_dense`` as a transform of one sample: it is mixed with its ``mix_results``.

    Inside ``MultiImageMixDataset`` (mmdet's and mmseg's) the partners are drawn from the wrapped dataset. With
    ``max_cached_images`` it stands in an ordinary pipeline and takes its partners from the samples that came by last,
    so that a mix needs no second loading and decoding, as ``CachedMosaic`` does. ``CopyPaste`` needs no partner if its
    ``source`` is ``"self"``, or ``dict(type="InstanceBank", file="bank.pt")``, of ``cutmix-dense bank --bgr``.

    Args:
        max_cached_images: size of the cache, 0 for none; else more than the method's partners (1; Mosaic 3).
        random_pop: whether a full cache drops a sample at random, or else the oldest one.
        instance_keys: further keys with one row per instance, which follow it unchanged.
        semantic_keys: further keys of maps of class ids (H, W).
        image_keys: further keys that hold arrays and stay the base image's.
        partner_fit: how a partner of another size than the sample's is mixed, since ``mix_results`` come without the
            transforms before this one: ``"resize"``, scaled into the sample's size with its aspect kept (``Mosaic`` and
            ``ResizeMix`` scale by their own rule); ``"crop"``, from its top left corner; ``"random_crop"``.
        settings: arguments of the method; samplers and rules as dicts with a ``type``.

    These keys are mixed:

    - ``img``; ``img_shape``, and ``pad_shape`` and ``input_size`` where there are some, follow it;
    - MMDetection's ``gt_bboxes`` (any box type, or an array), ``gt_bboxes_labels``, ``gt_ignore_flags``, ``gt_masks``
      (polygons become bitmaps; one without any part states no mask), and MMCV's ``gt_keypoints`` (N, K, 3);
    - MMPose's ``bbox``, ``bbox_score``, ``category_id``, ``area``, ``keypoints`` and ``keypoints_visible`` of a
      bottom-up dataset, with its lists ``id``, ``iscrowd``, ``num_keypoints`` and ``raw_ann_info`` as long as they have
      an item per instance. A keypoint that another image hides becomes invisible. ``flip_indices`` serve as
      ``flip_pairs`` where the method has none;
    - the maps ``gt_seg_map``, ``gt_edge_map``, ``gt_depth_map`` and ``heatmap_mask``.

    ``mix_seeds`` gets the 63-bit seed of each mix of the sample, drawn from numpy's state, which MMEngine seeds.
    ``homography_matrix`` starts anew: the mixed image is the one that later transforms count from. All else stays the
    base's, such as ``img_path``, ``ori_shape``, ``scale_factor`` and the records of the annotation file
    (``instances``). Instances with ``gt_ignore_flags`` stand behind the others, with those that fail the filter under
    ``on_filtered="ignore"``.

    Raises:
        ValueError: an argument out of range or without a meaning here; annotations that can't be mixed, named with the
            reason: what is made from the geometry (heatmaps, ``bbox_center``), captions, proposals, unknown arrays.
        KeyError: no ``mix_results``, where there is no cache.

    Example:
        >>> import numpy as np
        >>> from cutmix_dense.mmengine import TRANSFORMS
        >>> mix = TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
        >>> points = np.array([[[8.0, 9.0], [15.0, 25.0]]], np.float32)
        >>> people = {"bbox": np.array([[5, 5, 20, 30]], np.float32), "keypoints": points}
        >>> black, white = ({"img": np.full((40, 60, 3), value, np.uint8), **people} for value in (0, 255))
        >>> mixed = mix({**black, "mix_results": [white]})
        >>> mixed["keypoints"].shape[1:], mixed["keypoints_visible"].shape[1:], mixed["bbox"].shape[1:]
        ((2, 2), (2,), (4,))
    """

    def __init__(
        self,
        max_cached_images: int = 0,
        random_pop: bool = True,
        instance_keys: Sequence[str] = (),
        partner_fit: PartnerFit = "resize",
        semantic_keys: Sequence[str] = (),
        image_keys: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        check_partner_fit(partner_fit)
        check_instance_keys(instance_keys)
        check_image_keys(image_keys, MIXED_KEYS)
        check_key_list("semantic_keys", semantic_keys)
        self.mix = build(type(self).__name__, settings, (*instance_keys, *EXTRA_KEYS))
        of_batches = [type(part).__name__ for part in self.mix.modules() if isinstance(part, (Affine, Chain))]
        if of_batches:
            raise ValueError(f"{type(self).__name__} has a transform {of_batches[0]}, which {_BATCH}")
        check_settings(self.mix, settings, per_sample=True)
        for member in self.mix.members:
            member.semantic_keys = (*member.semantic_keys, *semantic_keys)
        self.max_cached_images = whole(max_cached_images, "max_cached_images", None)
        if self.max_cached_images and self.max_cached_images <= self.mix.partners:
            raise ValueError(f"max_cached_images must be 0 or above {self.mix.partners}, got {max_cached_images!r}")
        self.random_pop = random_pop
        self.partner_fit: PartnerFit = partner_fit
        self.instance_keys = tuple(instance_keys)
        self.image_keys = tuple(image_keys)
        self._class_maps = (*CLASS_MAPS, *semantic_keys)
        self._unpaired = [member for member in self.mix.members if member.flip_pairs is None]
        self.cache: list[dict[str, Any]] = []

    def close(self, closed: bool = True, *, by_schedule: bool = False) -> None:
        """Stop mixing (or start again), in copies and loader workers too; see ``MixTransform.close``."""
        self.mix.close(closed, by_schedule=by_schedule)

    @property
    def scheduled(self) -> bool:
        """Whether ``MixScheduleHook`` must say which epoch or iteration begins: whether there are windows."""
        return self.mix.scheduled

    def set_progress(self, step: int) -> None:
        """Say which step of the training begins, in copies and loader workers too."""
        self.mix.set_progress(step)

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
        columns = instance_columns(samples, self.instance_keys)
        check_results(samples, columns, (*self._class_maps, *VALUE_MAPS), self.image_keys)
        self._check_method(samples, columns)
        images = [sample["img"] for sample in samples]
        images = [to_tensor(image if image.ndim == 3 else image[..., None]) for image in images]
        fit_banks(self.mix.members, images)
        generator = torch.Generator("cpu").manual_seed(seed)
        targets = self._targets(samples, columns)
        made = mix_single(self.mix, images, targets, generator, partner_fit=self.partner_fit)
        mixed = {key: value for key, value in results.items() if key != "mix_results"}
        mixed["mix_seeds"] = [*results.get("mix_seeds", ()), seed]
        mixed["img"] = to_array(made.image).reshape(*made.image.shape[1:], *results["img"].shape[2:])
        mixed |= _shapes(results, mixed["img"])
        for key, (value, *_) in made.targets.items():
            mixed |= self._results(samples, columns, value, made) if key == "instances" else {key: to_array(value)}
        for key, fill in VALUE_MAPS.items():
            if any(key in sample for sample in samples):
                maps = [to_tensor(_map(sample, key)) for sample in samples]
                (value,) = mix_pixels(maps, made.plan, fill=fill, interpolation="nearest")
                mixed[key] = to_array(value)
        return mixed

    def _check_method(self, samples: list[dict[str, Any]], columns: Sequence[str]) -> None:
        """Refuse what the method can't mix, and maps whose ignored id is another than the method's."""
        maps = [key for key in self._class_maps if any(key in sample for sample in samples)]
        of_boxes = next((samples[0].get(key) for key in columns if name_of(key) == "boxes"), None)
        for member in self.mix.members:
            refuse_elements(member, [*maps, *(key for key in VALUE_MAPS if key in samples[0])], of_boxes)
        if maps:
            refuse_blends(self.mix, maps)
        for key in VALUE_MAPS:
            if any(key in sample for sample in samples):
                check_value_map(self.mix, key, samples)
        if "keypoints" in columns or "bbox" in columns:
            check_pose_method(self.mix, samples)
        for member in self.mix.members:
            for sample in samples if maps else ():
                given = sample.get("ignore_index", member.ignore_index)
                if given != member.ignore_index:
                    raise ValueError(
                        f"ignore_index must be that of the annotations, {given}, since pixels without owner get it; "
                        f"got {member.ignore_index}"
                    )
        for member in self._unpaired if "keypoints" in columns else ():
            member.flip_pairs = flip_pairs_of(samples)

    def _given(self, results: dict[str, Any]) -> list[dict[str, Any]]:
        if "mix_results" not in results and not self.mix.partners:
            return []
        if "mix_results" not in results:
            raise KeyError(
                "results hold no 'mix_results': put the transform into the pipeline of a MultiImageMixDataset, and not "
                "into RandomApply or RandomChoice there, which hand on no partners; or set max_cached_images"
            )
        return results["mix_results"]

    def _from_cache(self, results: dict[str, Any]) -> list[dict[str, Any]]:
        self.cache.append(results)
        if len(self.cache) > self.max_cached_images:
            self.cache.pop(int(np.random.randint(len(self.cache) - 1)) if self.random_pop else 0)  # noqa: NPY002
        return [self.cache[index] for index in self.draw_cached()]

    def _targets(self, samples: list[dict[str, Any]], columns: Sequence[str]) -> dict[str, Any]:
        """The samples' annotations as the core takes them."""
        targets: dict[str, Any] = {}
        for key in self._class_maps:
            if any(key in sample for sample in samples):
                targets[key] = [to_tensor(_map(sample, key)) for sample in samples]
        if columns:
            targets["instances"] = [_instances(sample, columns) for sample in samples]
        return targets

    def _results(
        self, samples: list[dict[str, Any]], columns: Sequence[str], target: dict[str, Any], made: SingleMix
    ) -> dict[str, Any]:
        """The mixed instances under the framework's keys, ignored ones behind the others."""
        report = made.report
        assert report is not None
        aside = target.get("ignored", {})
        examples = {key: next(sample[key] for sample in samples if key in sample) for key in columns}
        of_boxes = next((key for key in columns if name_of(key) == "boxes"), "")
        sources = [partial(_in_order, sample, of_boxes) for sample in samples]

        def boxes_of(example: Any, value: Tensor) -> Any:
            return boxes_like(example, sources, value, report, made.plan, 0)

        mixed = {key: value for key, value, _ in written_rows(examples, target, aside, boxes_of)}
        visible = mixed.get("keypoints_visible")
        if visible is None and "keypoints" in columns and "keypoints_visible" in target:  # which tells what is hidden
            parts = [part["keypoints_visible"] for part in (target, aside) if "keypoints_visible" in part]
            visible = mixed["keypoints_visible"] = torch.cat(parts).numpy().astype(np.float32)
        if visible is not None and "num_keypoints" in mixed:
            shows = visible[..., 0] if visible.ndim == 3 else visible
            mixed["num_keypoints"] = (shows > 0).sum(axis=1).tolist()
        counts = [len(target["origin"]), len(aside.get("origin", ()))] if "origin" in target else [0, 0]
        if counts[1] or any(FLAGS in sample for sample in samples):
            mixed[FLAGS] = np.repeat([False, True], counts)
        return mixed

    def __repr__(self) -> str:
        """The method with its settings."""
        return f"{self.mix!r}"[:-1] + f", max_cached_images={self.max_cached_images})"


def _instances(sample: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """A sample's instances as the core takes them.

    Raises:
        ValueError: another number of flags than of rows.
    """
    fields = {key: sample[key] for key in columns if key in sample}
    rows = read_rows(fields)
    if FLAGS not in sample:
        return rows
    flags = np.asarray(sample[FLAGS], dtype=bool)
    for key, value in fields.items():
        if len(value) != len(flags):
            raise ValueError(f"{FLAGS} must have a row for each of {key}'s {len(value)}, got {len(flags)}")
    return split_rows(rows, flags)


def _in_order(sample: Mapping[str, Any], key: str) -> Any:
    """A sample's boxes, ignored ones behind the others."""
    boxes = sample[key]
    return boxes[np.argsort(np.asarray(sample[FLAGS], dtype=bool), kind="stable")] if FLAGS in sample else boxes


def _map(sample: Mapping[str, Any], key: str) -> np.ndarray:
    if key not in sample:
        raise ValueError(f"{key} must be in the sample and in all its partners, or in none of them")
    return sample[key]


def _shapes(results: Mapping[str, Any], image: np.ndarray) -> dict[str, Any]:
    """What the results say of the image's size and origin, as far as they do."""
    size, before = tuple(image.shape[:2]), tuple(results["img"].shape[:2])
    shapes: dict[str, Any] = {"img_shape": size}
    if "pad_shape" in results and size != before:
        shapes["pad_shape"] = image.shape
    if "input_size" in results and size != before:  # (w, h) behind most of MMPose's transforms, (h, w) behind some
        shapes["input_size"] = size if tuple(results["input_size"]) == before else size[::-1]
    if "homography_matrix" in results:
        shapes["homography_matrix"] = np.eye(3, dtype=np.float32)
    if results.get("invalid_segs"):  # heatmap_mask says it by now
        shapes["invalid_segs"] = []
    return shapes


refuse_names(
    TRANSFORMS,
    {
        "Affine": f"{_BATCH}. In a pipeline, MMDetection has RandomAffine",
        "Chain": f"{_BATCH}; or write its transforms behind each other here",
        **dict.fromkeys(RECIPES, _BATCH),
        **WITHOUT_FORM,
    },
)
globals().update(register_family(SampleMix, TRANSFORMS))  # under their names, so that loader workers can unpickle them

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[SampleMix]:
        """The method of that name, for type checkers: what the line above makes they can't see."""
