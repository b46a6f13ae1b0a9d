"""Every method for a batch on its device, in MMDetection's and MMSegmentation's data samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmengine.structures import PixelData
from torch import Tensor, nn

from cutmix_dense.arrays.host import fetched, sent
from cutmix_dense.functional import MixReport
from cutmix_dense.functional.wrapping import rewrap
from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.mmengine.scope import MODELS, build, refuse_blends, register_family
from cutmix_dense.mmengine.structures import as_boxes, as_masks, as_tensor, boxes_like, masks_like
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import rank_seed
from cutmix_dense.transforms import MixTransform, RandomMix

__all__ = ["BatchMix"]


class BatchMix(nn.Module, Closable):
    """A method of ``cutmix_dense`` as one of a data preprocessor's ``batch_augments``.

    The whole batch is mixed where it lies: images, ``gt_instances`` (boxes, labels, masks and whatever else has a row
    per instance), ``ignored_instances``, ``gt_sem_seg`` and further maps of ids. Regions lie in the valid area of
    padded images (``img_shape``). Shape metainfo follows; ``mix_seeds`` gets the 63-bit seed of each mix, drawn from
    torch's state, which MMEngine seeds, and made another one on every rank. Instances gain ``visibility`` and
    ``origin`` (image of the batch and index there). Masks are numpy arrays on the host, as mmdet has them; instances
    that have some are mixed there.

    Args:
        instance_keys: further fields of the instances that follow them unchanged.
        settings: arguments of the method; samplers, rules and nested transforms as dicts with a ``type``. ``fill`` is
            a value of the images as they come; 0 unless given: the mean colour of a normalised batch, else black.

    In mmdet's ``MultiBranchDataPreprocessor`` every branch is mixed by a plan of its own: give the augments to the
    preprocessor of supervised branches only, since a student mixed otherwise than its teacher learns nothing true.

    Raises:
        ValueError: an argument out of range; annotations that can't be mixed, named.
    """

    def __init__(self, instance_keys: Sequence[str] = (), **settings: Any) -> None:
        super().__init__()
        # no submodule: a model's checkpoint shall not know of it, least of all whether it was closed
        self._mix = (build(type(self).__name__, _with_fill(settings), instance_keys),)

    @property
    def mix(self) -> MixTransform | RandomMix:
        """The method of the core."""
        return self._mix[0]

    def close(self, closed: bool = True) -> None:
        """Stop mixing, or start again."""
        self.mix.close(closed)

    def forward(self, inputs: Tensor | list[Tensor], data_samples: Any) -> tuple[Any, Any]:
        """Mix a batch.

        Args:
            inputs: (B, C, H, W), or a list of (C, Hi, Wi) before they are padded.
            data_samples: one ``DetDataSample`` or ``SegDataSample`` per image, or None; they are changed.

        Returns:
            The mixed inputs and the same data samples.
        """
        seed = rank_seed()
        generator = torch.Generator("cpu").manual_seed(seed)
        samples = list(data_samples or ())
        sizes = [_shape(sample) for sample in samples] if samples and isinstance(inputs, Tensor) else None
        targets = _targets(samples, inputs)
        maps = sorted(set(targets) - {"instances"})
        if maps:
            refuse_blends(self.mix, maps)
        member = self.mix.choose(generator)
        plan = member.make_plan(inputs, targets, sizes=sizes, generator=generator)
        mixed, targets, *reports = member.apply_plan(
            plan, inputs, targets, sizes=sizes, return_report="instances" in targets
        )
        before = [_instances_of(sample) for sample in samples]
        for index, sample in enumerate(samples):
            if reports:
                _write_instances(sample, index, before, targets["instances"][index], reports[0], plan)
            for key in maps:
                element = getattr(sample, key)
                setattr(sample, key, _like(element, {_field(sample, key): targets[key][index]}))
            _write_shapes(sample, plan.canvas[index].tolist(), inputs, mixed)
            sample.set_metainfo({"mix_seeds": [*sample.metainfo.get("mix_seeds", ()), seed]})
        return mixed, data_samples


_NAMES = {"bboxes": "boxes"}
_READ = {"bboxes": as_boxes, "masks": as_masks}
_KNOWN = ("gt_instances", "ignored_instances")


def _with_fill(settings: dict[str, Any]) -> dict[str, Any]:
    if "transforms" not in settings:
        return {"fill": 0, **settings}
    members = [{"fill": 0, **member} if isinstance(member, dict) else member for member in settings["transforms"]]
    return {**settings, "transforms": members}


def _targets(samples: Sequence[Any], inputs: Tensor | list[Tensor]) -> dict[str, Any]:
    """The samples' annotations as the core takes them, maps under their own names."""
    targets: dict[str, Any] = {}
    names = dict.fromkeys(name for sample in samples for name in sample.keys())  # noqa: SIM118 – no mapping
    for name in names:
        if name != "ignored_instances" and not all(name in sample for sample in samples):
            raise ValueError(f"{name} must be in every data sample or in none")
        if name in _KNOWN:
            continue
        maps = [getattr(getattr(sample, name), _field(sample, name)) for sample in samples]
        same = all(value.shape == maps[0].shape for value in maps)
        stacked = same and isinstance(inputs, Tensor) and maps[0].shape[-2:] == inputs.shape[-2:]
        targets[name] = torch.stack(maps) if stacked else maps
    if "gt_instances" in names:
        rows = [_instances_of(sample) for sample in samples]
        targets["instances"] = [_as_target(row, aside) for row, aside in rows]
        if any("masks" in row for row, _ in rows):  # which lie on the host
            _bring_to_host(targets["instances"])
    return targets


def _field(sample: Any, name: str) -> str:
    """Under which name a data element of a sample holds its map of ids.

    Raises:
        ValueError: an element that isn't a map of ids.
    """
    element = getattr(sample, name)
    fields = [(key, value) for key, value in element.items()] if isinstance(element, PixelData) else []
    if len(fields) != 1 or fields[0][1].is_floating_point() or name == "gt_panoptic_seg":
        raise ValueError(f"data samples hold {name!r}, which can't be mixed: leave it out of the pipeline")
    return fields[0][0]


def _instances_of(sample: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a sample's instances, and of those to be ignored."""
    if "gt_instances" not in sample:
        return {}, {}
    return dict(sample.gt_instances.items()), dict(sample.get("ignored_instances", sample.gt_instances[:0]).items())


def _as_target(row: dict[str, Any], aside: dict[str, Any]) -> dict[str, Any]:
    def tensors(fields: dict[str, Any]) -> dict[str, Any]:
        return {_NAMES.get(key, key): _READ.get(key, as_tensor)(value) for key, value in fields.items()}

    some = any(len(value) for value in aside.values())
    return {**tensors(row), "ignored": tensors(aside)} if some else tensors(row)


def _bring_to_host(targets: Sequence[dict[str, Any]]) -> None:
    """Replace what lies on a device: by one transfer for all values of one form, not one for each image."""
    alike: dict[Any, list[tuple[dict[str, Any], str]]] = {}
    for row in (row for target in targets for row in (target, target.get("ignored", {}))):
        for key, value in row.items():
            if key != "ignored" and value.device.type != "cpu":
                alike.setdefault((value.dtype, value.device, value.shape[1:]), []).append((row, key))
    for places in alike.values():
        columns = [row[key] for row, key in places]
        for (row, key), column, part in zip(places, columns, fetched(columns)):
            row[key] = rewrap(part, column)


def _write_instances(
    sample: Any, index: int, before: Sequence[Any], target: dict[str, Any], report: MixReport, plan: MixPlan
) -> None:
    """Put the mixed instances into a data sample, each field in the form that it had."""
    aside = target.pop("ignored", {})
    examples = {key: value for row, ignored in reversed(before) for key, value in {**ignored, **row}.items()}
    kept: dict[str, Any] = {}
    ignored: dict[str, Any] = {}
    count = len(target.get("origin", ()))
    for key, example in examples.items():
        name = _NAMES.get(key, key)
        if name not in target:
            continue
        value = torch.cat([target.pop(name), *([aside.pop(name)] if name in aside else [])])
        if key == "bboxes":
            sources = [partial(_all_boxes, *fields) for fields in before]
            value = boxes_like(example, sources, value, report, plan, index)
        elif key == "masks":
            value = masks_like(example, value)
        if hasattr(example, "device"):
            value = sent(value, torch.device(example.device))
        kept[key], ignored[key] = value[:count], value[count:]
    device = kept["labels"].device if "labels" in kept else None
    element = sample.gt_instances
    for fields, rest in ((kept, target), (ignored, aside)):
        fields |= {key: _moved(value, device) for key, value in rest.items() if isinstance(value, Tensor)}
    sample.gt_instances = _like(element, kept)
    if "ignored_instances" in sample or len(report):
        sample.ignored_instances = _like(sample.get("ignored_instances", element), ignored)


def _moved(value: Tensor, device: torch.device | None) -> Tensor:
    return value if device is None else sent(value, device)


def _like(element: Any, fields: dict[str, Any]) -> Any:
    """A data element of the same class and metainfo."""
    return type(element)(metainfo=element.metainfo, **fields)


def _all_boxes(row: dict[str, Any], aside: dict[str, Any]) -> Any:
    """A sample's boxes, ignored ones behind the others."""
    boxes = row["bboxes"]
    return boxes if not len(aside.get("bboxes", ())) else type(boxes).cat([boxes, aside["bboxes"]])


def _shape(sample: Any) -> tuple[int, int]:
    """The valid size of a padded image."""
    if "img_shape" not in sample.metainfo:
        raise ValueError(
            "data samples need 'img_shape' in their metainfo: name it in meta_keys of the packing transform"
        )
    return tuple(sample.img_shape[:2])


def _write_shapes(sample: Any, size: list[int], before: Tensor | list[Tensor], after: Tensor | list[Tensor]) -> None:
    """Shape metainfo of a mixed sample, as far as it has some."""
    height, width = size
    shapes: dict[str, Any] = {"img_shape": (height, width)}
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        frame = tuple(after.shape[-2:])
        if frame != tuple(before.shape[-2:]) or (height, width) != _shape(sample):
            shapes |= {"batch_input_shape": frame, "pad_shape": frame}
            shapes["padding_size"] = (0, frame[1] - width, 0, frame[0] - height)
    sample.set_metainfo({key: value for key, value in shapes.items() if key == "img_shape" or key in sample.metainfo})


globals().update(register_family(BatchMix, MODELS))
