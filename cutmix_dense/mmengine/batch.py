"""Every method for a batch on its device, in MMDetection's and MMSegmentation's data samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from cutmix_dense.arrays.host import fetched, sent
from cutmix_dense.functional import MixReport, mix_pixels
from cutmix_dense.functional.fields import BEFORE, STATED
from cutmix_dense.functional.wrapping import rewrap
from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.mmengine.cut_outs import fit_banks, refuse_elements
from cutmix_dense.mmengine.elements import (
    IGNORED,
    INSTANCES,
    MIXED_ELEMENTS,
    check_elements,
    fields_of,
    maps_of,
    size_of,
)
from cutmix_dense.mmengine.fields import check_image_keys, check_instance_keys
from cutmix_dense.mmengine.rows import EXTRA_KEYS, as_ignored, name_of, read_rows, written_rows
from cutmix_dense.mmengine.scope import MODELS, WITHOUT_FORM, build, refuse_blends, refuse_names, register_family
from cutmix_dense.mmengine.settings import check_settings
from cutmix_dense.mmengine.structures import boxes_like
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import rank_seed
from cutmix_dense.recipes import RECIPES
from cutmix_dense.transforms import Affine as CoreAffine  # this module has classes of the same names
from cutmix_dense.transforms import Chain as CoreChain
from cutmix_dense.transforms import MixTransform
from cutmix_dense.transforms.chain import mixed_by, renamed, told_apart


class BatchMix(nn.Module, Closable):
    """A method of ``cutmix_dense`` as one of a data preprocessor's ``batch_augments``.

    The whole batch is mixed where it lies: images, ``gt_instances`` (boxes, labels, masks, keypoints and whatever else
    has a row per instance), MMPose's ``gt_instance_labels`` beside them, ``ignored_instances``, ``gt_sem_seg`` and
    further maps of ids, ``gt_depth_map``, and ``gt_fields`` that hold nothing but a ``heatmap_mask``. Regions lie in
    the valid area of padded images (``img_shape``). Shape metainfo follows; all other metainfo stays the base's.
    ``mix_seeds`` gets the 63-bit seed of each mix, drawn from torch's state, which MMEngine seeds, and made another one
    on every rank. Instances gain ``visibility`` and ``origin`` (image of the batch and index there). Masks, and
    MMPose's ``gt_instances``, are numpy arrays on the host; instances that have some are mixed there.

    ``CopyPaste`` takes ``source=dict(type="InstanceBank", file="bank.pt")``, of ``cutmix-dense bank --bgr``; the bank
    is moved to the batch's device. Checkpoints hold its fingerprint, and a training resumes with that bank alone.

    A ``Chain`` or a recipe (``type="cutmix_dense.dense_o2o"``) mixes by several methods behind each other; windows of
    epochs or iterations need ``MixScheduleHook``.

    Args:
        instance_keys: further fields of the instances that follow them unchanged.
        image_keys: further data elements that stay as they are.
        settings: arguments of the method; samplers, rules and nested transforms as dicts with a ``type``. ``fill`` is
            a value of the images as they come; by default what the method fills pictures of their dtype with: 0 in a
            normalised batch, its mean colour.

    In mmdet's ``MultiBranchDataPreprocessor`` every branch would be mixed by a plan of its own, and a student that was
    mixed otherwise than its teacher learns nothing true: samples with ``homography_matrix``, by which boxes go from one
    branch to the other, are refused.

    Warns:
        UserWarning: a batch of one image, which has no partner and stays as it is; once, and not after larger batches,
            where it is the last of an epoch.

    Raises:
        ValueError: an argument out of range or without a meaning here; annotations that can't be mixed, named with the
            reason: heatmaps, what is encoded from keypoints, captions that differ, proposals, unknown fields.

    Example:
        >>> import torch
        >>> from mmengine.structures import BaseDataElement, InstanceData
        >>> from cutmix_dense.mmengine import MODELS
        >>> mix = MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
        >>> samples = [BaseDataElement(metainfo={"img_shape": (40, 60)}) for _ in range(2)]
        >>> for sample in samples:
        ...     sample.gt_instances = InstanceData(bboxes=torch.tensor([[5.0, 5, 20, 30]]), labels=torch.tensor([3]))
        >>> images, samples = mix(torch.rand(2, 3, 40, 60), samples)
        >>> sorted(samples[0].gt_instances.keys())
        ['bboxes', 'labels', 'origin', 'visibility']
    """

    def __init__(self, instance_keys: Sequence[str] = (), image_keys: Sequence[str] = (), **settings: Any) -> None:
        super().__init__()
        check_instance_keys(instance_keys)
        check_image_keys(image_keys, MIXED_ELEMENTS)
        mix = build(type(self).__name__, settings, (*instance_keys, *EXTRA_KEYS))
        check_settings(mix, settings, per_sample=False)
        # no submodule: a model's checkpoint shall not know of it, least of all whether it was closed
        self._mix = (mix,)
        self._chained = any(isinstance(part, CoreChain) for part in mix.modules())
        self.image_keys = tuple(image_keys)
        self._warned = False

    @property
    def mix(self) -> MixTransform:
        """The method of the core."""
        return self._mix[0]

    def forward(self, inputs: Tensor | list[Tensor], data_samples: Any) -> tuple[Any, Any]:
        """Mix a batch.

        Args:
            inputs: (B, C, H, W), or a list of (C, Hi, Wi) before they are padded.
            data_samples: one ``DetDataSample``, ``SegDataSample`` or ``PoseDataSample`` per image, or None; they are
                changed.

        Returns:
            The mixed inputs and the same data samples.
        """
        fit_banks(self.mix.members, inputs)
        seed = rank_seed()
        generator = torch.Generator("cpu").manual_seed(seed)
        samples = list(data_samples or ())
        if samples and len(samples) != len(inputs):
            raise ValueError(f"data_samples must be one per image ({len(inputs)}), got {len(samples)}")
        mixed: Bool[Tensor, " b"] | None = None
        for number, member in enumerate(_drawn(self.mix, generator)):
            inputs, mixed = self._mix_by(member, inputs, samples, generator, mixed, first=number == 0)
        for sample in samples:
            sample.set_metainfo({"mix_seeds": [*sample.metainfo.get("mix_seeds", ()), seed]})
        return inputs, data_samples

    def _mix_by(
        self,
        member: MixTransform,
        inputs: Tensor | list[Tensor],
        samples: list[Any],
        generator: torch.Generator,
        before: Bool[Tensor, " b"] | None,
        *,
        first: bool,
    ) -> tuple[Any, Bool[Tensor, " b"]]:
        """Mix by one method; ``before`` says which images the one before it mixed. Also returns which this one did."""
        check_elements(samples, self.mix, self.image_keys)
        frame = (inputs.shape[-2], inputs.shape[-1]) if isinstance(inputs, Tensor) else None
        sizes = [size_of(sample, frame) for sample in samples] if samples and frame is not None else None
        maps = maps_of(samples, inputs, self.mix, self.image_keys)
        targets: Any = {name: values for name, (values, fill) in maps.items() if fill is None}
        if targets:
            refuse_blends(self.mix, sorted(targets))
        fields = [fields_of(sample) for sample in samples]
        if any(name in elements for elements in fields for name in INSTANCES):
            targets["instances"] = _rows_of(fields)
            if not first:  # where an instance was first, not in what the method before made
                targets["instances"] = renamed(targets["instances"], "origin", BEFORE)
        boxes = (
            value for part in fields for rows in part.values() for key, value in rows.items() if name_of(key) == "boxes"
        )
        refuse_elements(member, maps, next(boxes, None))
        pool = drawn = member.pool_of(inputs, targets, sizes)
        if member.banked:
            drawn, pool = member.joined(pool, sizes, generator)
        plan: Any = member.draw_plan(drawn, generator)
        moves = isinstance(member, CoreAffine)
        if moves and before is not None and member.of == "mixed":
            plan = plan.within(before)
        self._warn_of_one(len(inputs), member)
        mixed, targets, *reports = member.mix_pool(plan, pool, return_report="instances" in targets)
        if reports and first and self._chained:
            targets["instances"] = told_apart(targets["instances"], member, len(inputs))
        elif reports:
            targets["instances"] = renamed(targets["instances"], BEFORE, "origin")
        for name, (values, fill) in maps.items():
            if fill is not None and moves:
                raise ValueError(f"{name} holds values, and an affine map moves maps of class ids only")
            if fill is not None:
                targets[name] = mix_pixels(values, plan, fill=fill, interpolation="nearest")
        for index, sample in enumerate(samples):
            if reports:
                _write_instances(sample, index, fields, targets["instances"][index], reports[0], plan)
            for name in maps:
                element = getattr(sample, name)
                ((key, example),) = element.items()
                value = targets[name][index]
                setattr(sample, name, _like(element, {key: value if isinstance(example, Tensor) else value.numpy()}))
            size = plan.canvas[index].tolist()
            _write_shapes(sample, size, None if sizes is None else sizes[index], inputs, mixed)
        return mixed, torch.from_numpy(plan.moved) if moves else mixed_by(plan)

    def _warn_of_one(self, count: int, member: MixTransform) -> None:
        """Say once that a batch of one image can't be mixed; after larger batches it is the last of an epoch."""
        self._warned = self._warned or count > 1
        if self._warned or member.closed or not member.p or not member.partners:
            return
        self._warned = True
        warnings.warn(
            f"{type(self).__name__} got a batch of one image, which has no partner and stays as it is: use larger "
            "batches, or mix samples in the pipeline (max_cached_images)",
            UserWarning,
            stacklevel=2,
        )


def _drawn(mix: MixTransform, generator: torch.Generator) -> Iterator[MixTransform]:
    """The methods that mix one behind the other, each drawn when the one before it has mixed."""
    member = mix.choose(generator)
    if isinstance(member, CoreChain):
        for stage in member.stages:
            yield from _drawn(stage, generator)
    else:
        yield member


def _rows_of(before: Sequence[dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The instances of every sample as the core takes them, on one device."""
    read = [{name: read_rows(fields) for name, fields in elements.items()} for elements in before]
    rows = [part for elements in read for part in elements.values()]
    devices = {value.device for part in rows for value in part.values() if isinstance(value, Tensor)}
    if len(devices) > 1:  # arrays and masks lie on the host
        _bring_to_host(rows)
    targets = []
    for elements in read:
        aside = elements.pop(IGNORED, {})
        target: dict[str, Any] = {}
        for name, part in elements.items():
            _join(target, part, name)
        some = any(len(value) for value in aside.values())
        targets.append({**target, "ignored": as_ignored(aside)} if some else target)
    return targets


def _join(target: dict[str, Any], part: dict[str, Any], element: str) -> None:
    """Add the rows of an element to those of another one, which may say the same."""
    for key, value in part.items():
        if key in target and not _same(value, target[key]):
            raise ValueError(
                f"gt_instances and {element} hold other {key}: both describe the same instances, in pixels of the image"
            )
        target.setdefault(key, value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and bool((one == other).all())
    return bool(one == other)


def _bring_to_host(rows: Sequence[dict[str, Any]]) -> None:
    """Replace what lies on a device: by one transfer for all values of one form, not one for each image."""
    alike: dict[Any, list[tuple[dict[str, Any], str]]] = {}
    for row in rows:
        for key, value in row.items():
            if isinstance(value, Tensor) and value.device.type != "cpu":
                alike.setdefault((value.dtype, value.device, value.shape[1:]), []).append((row, key))
    for places in alike.values():
        columns = [row[key] for row, key in places]
        for (row, key), column, part in zip(places, columns, fetched(columns)):
            row[key] = rewrap(part, column)


def _write_instances(
    sample: Any,
    index: int,
    before: Sequence[dict[str, dict[str, Any]]],
    target: dict[str, Any],
    report: MixReport,
    plan: MixPlan,
) -> None:
    """Put the mixed instances into a data sample, each field in the form that it had."""
    aside = target.pop("ignored", {})
    target.pop(STATED, None)
    aside.pop(STATED, None)
    count = len(target.get("origin", ()))
    names = [name for name in INSTANCES if name in sample]
    kept: dict[str, dict[str, Any]] = {}
    ignored: dict[str, Any] = {}
    for name in names:
        main = name == names[0]
        examples = {
            key: value
            for elements in reversed(before)
            for key, value in {**(elements.get(IGNORED, {}) if main else {}), **elements.get(name, {})}.items()
        }
        of_boxes = next((key for key in examples if name_of(key) == "boxes"), "")
        sources = [partial(_all_boxes, elements, name, of_boxes) for elements in before]
        boxes_of = partial(_boxes_of, sources=sources, report=report, plan=plan, output=index)
        kept[name] = {}
        for key, value, both in written_rows(examples, target, aside, boxes_of):
            kept[name][key] = value[:count]
            if main and (both or not aside):
                ignored[key] = value[count:]
    told = {name_of(key) for fields in kept.values() for key in fields} | set(EXTRA_KEYS)
    device = next((value.device for value in kept[names[0]].values() if isinstance(value, Tensor)), None)
    for fields, rest in ((kept[names[0]], target), (ignored, aside)):
        for key, value in rest.items():
            if key not in told and isinstance(value, Tensor):
                fields[key] = value if device is None else sent(value, device)
    for name, fields in kept.items():
        setattr(sample, name, _like(getattr(sample, name), fields))
    if IGNORED in sample or (len(report) and names == ["gt_instances"]):
        sample.ignored_instances = _like(sample.get(IGNORED, sample.gt_instances), ignored)


def _boxes_of(
    example: Any, value: Tensor, sources: Sequence[Any], report: MixReport, plan: MixPlan, output: int
) -> Any:
    return boxes_like(example, sources, value, report, plan, output)


def _like(element: Any, fields: dict[str, Any]) -> Any:
    """A data element of the same class and metainfo."""
    return type(element)(metainfo=element.metainfo, **fields)


def _all_boxes(elements: dict[str, dict[str, Any]], name: str, key: str) -> Any:
    """A sample's boxes, ignored ones behind the others."""
    boxes, aside = elements[name][key], elements.get(IGNORED, {}).get(key, ())
    return type(boxes).cat([boxes, aside]) if len(aside) else boxes


def _write_shapes(
    sample: Any,
    size: Sequence[int],
    before: tuple[int, int] | None,
    inputs: Tensor | list[Tensor],
    mixed: Tensor | list[Tensor],
) -> None:
    """Shape metainfo of a mixed sample, as far as it has some."""
    height, width = size
    shapes: dict[str, Any] = {"img_shape": (height, width)}
    if isinstance(inputs, Tensor) and isinstance(mixed, Tensor):
        frame = tuple(mixed.shape[-2:])
        if frame != tuple(inputs.shape[-2:]) or (height, width) != before:
            shapes |= {"batch_input_shape": frame, "pad_shape": frame}
            shapes["padding_size"] = (0, frame[1] - width, 0, frame[0] - height)
    if before is not None and (height, width) != before and "input_size" in sample.metainfo:
        shapes["input_size"] = (height, width) if tuple(sample.input_size) == before else (width, height)
    sample.set_metainfo({key: value for key, value in shapes.items() if key == "img_shape" or key in sample.metainfo})


refuse_names(MODELS, WITHOUT_FORM)
globals().update(register_family(BatchMix, MODELS, {"Affine": CoreAffine, "Chain": CoreChain, **RECIPES}))

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[BatchMix]:
        """The method of that name, for type checkers: what the line above makes they can't see."""
