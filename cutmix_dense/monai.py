"""A MONAI dictionary transform that mixes a batch: images, class maps, boxes and class labels by one plan."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.extras import require
from cutmix_dense.functional import SemanticPair, mix_pixels
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import weighs
from cutmix_dense.randomness import generator_from, rank_seed
from cutmix_dense.transforms import MixTransform, MixUp, RandomMix, SampleBank
from cutmix_dense.transforms.chain import refuse_affine, refuse_chain

require("monai.transforms", "monai", distribution="monai")

from monai.data.box_utils import convert_box_mode, get_boxmode, standardize_empty_box  # noqa: E402
from monai.data.meta_tensor import MetaTensor  # noqa: E402
from monai.transforms.inverse import InvertibleTransform  # noqa: E402
from monai.transforms.transform import MapTransform, Randomizable  # noqa: E402
from monai.utils.misc import ensure_tuple  # noqa: E402
from monai.utils.type_conversion import convert_to_dst_type, convert_to_tensor  # noqa: E402

__all__ = ["MixD", "MixDict", "Mixd"]

Value = Any
"""What a key of a batch holds: a tensor, a ``MetaTensor``, an array, a list of these; or what has no pixels."""

Column = Any
"""The plain tensors of one key: one of the whole batch, or a list of one per image."""

_SEEDS = 2**32 - 1

_STAYS = ("foreground_start_coord", "foreground_end_coord")
"""Keys that MONAI's own transforms add; they describe the base image."""

_STAYS_BY_END = ("_meta_dict", "_transforms")


class Mixd(Randomizable, MapTransform, InvertibleTransform):
    r"""Mixes the batch that a MONAI loader gives, where MONAI's ``CutMixd`` and ``MixUpd`` would.

    Unlike these it moves class ids whole, draws a region for each sample, and counts labels by the voxels that were
    really mixed. It takes the dict of a batch, as ``list_data_collate`` makes it, with tensors (B, C, \*spatial), or a
    list of samples, as ``no_collation`` leaves them, and returns the same form. Axes are MONAI's, in their order. The
    metadata of a ``MetaTensor`` stay the base's.

    Args:
        mix: the method, of layout ``"BCDHW"`` for volumes or ``"BCHW"``. Its ``p`` is the probability of each sample.
            A copy is kept, which closes with the original.
        keys: keys of the images, each (B, C, \*spatial): more than one for several modalities or cameras, which may
            differ in channels and dtype. A method that looks at pixels looks at the first.
        map_keys: keys of class maps: (B, 1, \*spatial) or (B, \*spatial) of class ids, whole numbers in any dtype; or
            (B, K, \*spatial), K > 1, of indicators or probabilities, a channel per class, which may overlap. A method
            that looks at a map looks at the first. Default ``"label"``, unless another argument names that key or there
            is ``box_key``.
        label_keys: keys of image-level labels, (B,) integers (``num_classes`` of the method) or (B, K).
        keep_keys: keys of other tensors and arrays, or of lists and dicts that hold some, which stay the base's; other
            entries stay anyway, as do the coordinates and metadata that MONAI's transforms add.
        allow_missing_keys: whether a batch may lack keys; one of ``keys`` must be there.
        box_key: key of the boxes of instances: a list with a (N, 4) or (N, 6) tensor for each image, in voxels. The
            batch gets ``<box_key>_visibility``, the share of each instance that is left, and ``<box_key>_weight`` where
            the method weighs instances. What is hardly visible is dropped, by the method's ``min_visibility``.
        box_mode: MONAI's mode of the boxes, a name such as ``"cccwhd"``, a class or an instance; default its standard
            mode, xyxy or xyzxyz. x is MONAI's first spatial axis.
        instance_keys: keys of what belongs to the boxes row by row, such as their class labels.

    A call returns a new batch. Hard mixes keep shapes and dtypes; what a mix makes floating point stays floating point:

    - labels are (B, K) probabilities;
    - maps of ids under MixUp are a ``SemanticPair`` (a, b, weight of a), each like the map, or, with its
      ``soft_semantic="probabilities"``, (B, K, \*spatial), as ``DiceCELoss(to_onehot_y=False)`` takes them;
    - maps of several channels under MixUp are blended.

    Where a ``RandomMix`` holds a MixUp, all of its batches have the form of MixUp's.

    Randomness follows MONAI: ``set_random_state`` sets ``self.R``, ``randomize`` draws from it the one seed of a batch;
    each rank and each worker of a loader makes another plan of it.

    Raises:
        ImportError: MONAI isn't installed.
        TypeError: ``mix`` isn't a mixing transform; a key that isn't a string.
        ValueError: a key in two places, a clip layout, boxes with an ``on_filtered`` other than ``"drop"``, MixUps of
            different forms; of the call: a key with a tensor that isn't named, images of different spatial sizes, class
            maps of fractions.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mixd = Mixd(cd.CutMix(p=1.0, layout="BCDHW"), keys=["t1", "t2"], map_keys="label").set_random_state(0)
        >>> volumes = torch.rand(2, 1, 12, 10, 8)
        >>> batch = mixd({"t1": volumes, "t2": volumes.half(), "label": (volumes > 0.5).long()})
        >>> batch["label"].dtype, bool((batch["label"] == (batch["t1"] > 0.5)).all())
        (torch.int64, True)
    """

    def __init__(
        self,
        mix: MixTransform,
        keys: str | Sequence[str] = "image",
        map_keys: str | Sequence[str] | None = None,
        label_keys: str | Sequence[str] = (),
        keep_keys: str | Sequence[str] = (),
        allow_missing_keys: bool = False,
        *,
        box_key: str | None = None,
        box_mode: Any = None,
        instance_keys: str | Sequence[str] = (),
    ) -> None:
        if not isinstance(mix, MixTransform):
            raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
        refuse_chain(mix, "batches of MONAI")
        layouts = {member.layout for member in mix.members}
        if len(layouts) > 1 or "BTCHW" in layouts:
            raise ValueError(f"mix must be of layout 'BCDHW' or 'BCHW', got {' and '.join(map(repr, sorted(layouts)))}")
        named = {
            "keys": _names(keys, "keys"),
            "label_keys": _names(label_keys, "label_keys"),
            "keep_keys": _names(keep_keys, "keep_keys"),
            "box_key": () if box_key is None else _names(box_key, "box_key"),
            "instance_keys": _names(instance_keys, "instance_keys"),
        }
        if map_keys is None:
            map_keys = () if box_key or any("label" in each for each in named.values()) else ("label",)
        named["map_keys"] = _names(map_keys, "map_keys")
        every = [key for each in named.values() for key in each]
        if len(set(every)) < len(every):
            raise ValueError(f"keys must differ, each in one argument alone, got {named}")
        if not named["keys"]:
            raise ValueError("keys must name at least one key of images, got none")
        if instance_keys and box_key is None:
            raise ValueError(f"instance_keys need box_key, the boxes that they belong to, got {instance_keys!r} alone")
        filtered = {member.on_filtered for member in mix.members} - {"drop"}
        if box_key is not None and filtered:
            raise ValueError(
                f"mix must have on_filtered='drop' with box_key, got {filtered.pop()!r}: MONAI's detectors have no "
                "ignored boxes"
            )
        mixed_keys = [key for name, each in named.items() if name != "keep_keys" for key in each]
        MapTransform.__init__(self, mixed_keys, allow_missing_keys)
        self.mix = copy.deepcopy(mix)  # which gets keys below
        self.image_keys, self.map_keys = named["keys"], named["map_keys"]
        self.label_keys, self.keep_keys = named["label_keys"], named["keep_keys"]
        self.box_key, self.instance_keys = box_key, named["instance_keys"]
        self.box_mode = None if box_mode is None else get_boxmode(box_mode)
        self.ndim = 3 if layouts == {"BCDHW"} else 2
        self.seed = 0
        self._soft = _soft_member(self.mix.members)
        for member in self.mix.members:
            member.semantic_keys = tuple(dict.fromkeys((*member.semantic_keys, *self.map_keys)))
            member.label_keys = tuple(dict.fromkeys((*member.label_keys, *self.label_keys)))
            if box_key is not None:
                more = (*self.instance_keys, self._given_key)
                member.instance_keys = tuple(dict.fromkeys((*member.instance_keys, *more)))

    @property
    def closed(self) -> bool:
        """Whether mixing is closed, here and in every copy."""
        return self.mix.closed

    def close(self, closed: bool = True) -> None:
        """Stop mixing (or start again), in every copy and in a loader's workers; batches keep their form."""
        self.mix.close(closed)

    def set_progress(self, step: int) -> None:
        """Say which step begins, to a ``RandomMix`` with ``total`` and ``close_last``.

        Raises:
            TypeError: a method without a schedule.
        """
        if not isinstance(self.mix, RandomMix):
            raise TypeError(f"set_progress needs a RandomMix, got {type(self.mix).__name__}: call close()")
        self.mix.set_progress(step)

    def randomize(self, data: Any = None) -> None:
        """Draw the seed of the next batch."""
        self.seed = int(self.R.randint(_SEEDS, dtype=np.uint32))

    def inverse(self, data: Any) -> Any:
        """Raises NotImplementedError: pixels that were covered are gone, and the partner's have its geometry."""
        raise NotImplementedError(
            "Mixd can't be inverted: covered voxels are gone, and a partner's voxels have the partner's geometry. "
            "Invert predictions of batches that weren't mixed"
        )

    def __call__(self, data: Any) -> Any:
        """The mixed batch, a new dict; of a list of samples, or of lists of samples, a new list."""
        if isinstance(data, Mapping):
            self._check_keys(data)
            columns = {key: data[key] for key in self.key_iterator(data)}
            return {**data, **self._mix(columns)}
        if isinstance(data, (list, tuple)) and data and all(isinstance(item, Mapping) for item in data):
            return self._mix_samples(data)
        if isinstance(data, (list, tuple)) and data and all(isinstance(item, (list, tuple)) for item in data):
            flat = self([sample for part in data for sample in part])
            ends = np.cumsum([len(part) for part in data]).tolist()
            return [flat[start:end] for start, end in zip([0, *ends], ends)]
        raise TypeError(
            f"data must be the dict of a batch or a list of samples, each a dict, got {type(data).__name__}: put Mixd "
            "behind the loader, or into its collate_fn"
        )

    def _mix_samples(self, samples: Sequence[Mapping[Hashable, Value]]) -> list[dict[Hashable, Value]]:
        for sample in samples:
            self._check_keys(sample)
        found = list(self.key_iterator(samples[0]))
        for index, sample in enumerate(samples):
            if differ := set(found).symmetric_difference(key for key in self.keys if key in sample):
                raise KeyError(f"data[{index}] and data[0] must have the same keys to be mixed, one lacks {differ}")
        columns = self._mix({key: [sample[key] for sample in samples] for key in found})
        return [
            {**sample, **{key: values[index] for key, values in columns.items()}}
            for index, sample in enumerate(samples)
        ]

    def _check_keys(self, data: Mapping[Hashable, Value]) -> None:
        named = {*self.keys, *self.keep_keys, *_STAYS}
        unknown = [
            key
            for key, value in data.items()
            if key not in named and not str(key).endswith(_STAYS_BY_END) and _holds_tensors(value)
        ]
        if unknown:
            raise ValueError(
                f"data holds tensors under {unknown}: name them in keys (images), map_keys, label_keys or "
                "instance_keys (mixed) or in keep_keys (they stay the base image's)"
            )

    def _mix(self, columns: dict[Any, Value]) -> dict[Any, Value]:
        """All columns mixed by one plan, each in its form."""
        self.randomize()
        seeds = [rank_seed(self.seed)]
        if (worker := torch.utils.data.get_worker_info()) is not None:  # whose copies of R are equal
            seeds.append(worker.seed)
        generator = generator_from(*seeds)
        rows = (self.box_key, *self.instance_keys)
        plain = {key: _plain(value, key) for key, value in columns.items() if key not in rows}
        images = {key: plain[key] for key in self.image_keys if key in plain}
        self._check_images(images)
        maps = {key: _Map(plain[key], key, self.ndim) for key in self.map_keys if key in plain}
        targets: dict[str, Any] = {key: maps[key].values for key in maps}
        targets |= {key: _stacked(plain[key]) for key in self.label_keys if key in plain}
        if any(each.channels for each in maps.values()):
            refuse_affine(self.mix, "maps with channels")
        if self.box_key in columns:
            targets[self._rows_key] = self._instances(columns, len(next(iter(images.values()))))
        member = self.mix.choose(generator)
        if isinstance(member.pairing, SampleBank):
            mixed = self._mix_with_bank(member, images, targets, generator)
        else:
            mixed = self._mix_by_plan(member, images, targets, maps, generator)
        done: dict[Any, Value] = {}
        for key in mixed:
            if key == self._rows_key:
                done |= self._rows(mixed[key], columns)
            else:
                value = maps[key].finished(mixed[key], self._soft, member.ignore_index) if key in maps else mixed[key]
                by_image = isinstance(value, Tensor) and isinstance(columns[key], (list, tuple))
                done[key] = _converted(list(value) if by_image else value, columns[key])
        return done

    def _mix_by_plan(
        self,
        member: MixTransform,
        images: dict[str, Column],
        targets: dict[str, Any],
        maps: dict[str, _Map],
        generator: torch.Generator,
    ) -> dict[str, Any]:
        first, *others = images
        plan = member.make_plan(images[first], targets, generator=generator)
        whole = {key: value for key, value in targets.items() if key not in maps or not maps[key].channels}
        mixed_images, mixed = member.apply_plan(plan, images[first], whole)
        mixed = {first: mixed_images, **(mixed or {})}
        mixed |= {key: member.mix_images(images[key], plan) for key in others}
        mixed |= {key: _mix_channels(maps[key].values, plan, key) for key in maps if maps[key].channels}
        return mixed

    def _mix_with_bank(
        self, member: MixTransform, images: dict[str, Column], targets: dict[str, Any], generator: torch.Generator
    ) -> dict[str, Any]:
        """Plans over batch and bank are the transform's own, so several images go there as the channels of one."""
        values = list(images.values())
        kinds = {(type(value), (value if isinstance(value, Tensor) else value[0]).dtype) for value in values}
        if len(kinds) > 1:
            raise ValueError(
                f"keys {list(images)} must be of one dtype for a mix with a SampleBank, got "
                f"{sorted(str(dtype) for _, dtype in kinds)}: CastToTyped makes them so"
            )
        whole = isinstance(values[0], Tensor)
        joined = torch.cat(values, dim=1) if whole else [torch.cat(parts) for parts in zip(*values)]
        together, mixed = member(joined, targets, generator=generator)
        counts = [value.shape[1] if whole else value[0].shape[0] for value in values]
        parts = together.split(counts, dim=1) if whole else zip(*(image.split(counts) for image in together))
        return {**dict(zip(images, parts)), **(mixed or {})}

    def _check_images(self, images: dict[str, Column]) -> None:
        if not images:
            raise KeyError(f"data must hold images under one of {self.image_keys}")
        first = next(iter(images))
        size = _sizes(images[first], self.ndim)
        for key, value in images.items():
            whole = isinstance(value, Tensor)
            for image in [value] if whole else value:
                if image.ndim != self.ndim + 1 + whole:
                    layout = self.mix.members[0].layout
                    form = layout if whole else layout[1:]
                    raise ValueError(
                        f"data[{key!r}] must have axes {form} for the mix's layout {layout!r}, got "
                        f"{tuple(image.shape)}: a mix of volumes has layout='BCDHW', one of pictures 'BCHW'; and a "
                        "batch is needed, not a single sample"
                    )
            if _sizes(value, self.ndim) != size:
                raise ValueError(
                    f"data[{key!r}] must have as many images as data[{first!r}], of the same spatial size {size}, got "
                    f"{_sizes(value, self.ndim)}: ResampleToMatchd or Resized makes them fit"
                )

    # -- boxes -----------------------------------------------------------------------------------------------------

    @property
    def _rows_key(self) -> str:
        return f"{self.box_key}_instances"

    @property
    def _given_key(self) -> str:
        return f"{self.box_key}_given"

    def _instances(self, columns: dict[Any, Value], count: int) -> list[dict[str, Tensor]]:
        """Boxes and their fields as the core takes them: a dict per image, corners with the last axis as x."""
        for key in (self.box_key, *self.instance_keys):
            if key in columns and (not isinstance(columns[key], (list, tuple)) or len(columns[key]) != count):
                raise ValueError(
                    f"data[{key!r}] must be a list with a tensor for each of the {count} images, as a mix changes how "
                    "many boxes there are: keep such samples a list (collate_fn=no_collation)"
                )
        dicts = []
        for index in range(count):
            boxes: Any = standardize_empty_box(_tensor(columns[self.box_key][index]), self.ndim)
            if boxes.ndim != 2 or boxes.shape[1] != 2 * self.ndim:
                raise ValueError(
                    f"data[{self.box_key!r}] must hold boxes (N, {2 * self.ndim}), got {tuple(boxes.shape)}"
                )
            boxes = boxes if boxes.is_floating_point() else boxes.float()
            corners: Any = boxes if self.box_mode is None else convert_box_mode(boxes, src_mode=self.box_mode)
            rows = {"boxes": self._flipped(corners), self._given_key: torch.cat([boxes, corners], dim=1)}
            for key in self.instance_keys:
                if key in columns:
                    rows[key] = _tensor(columns[key][index])
            dicts.append(rows)
        return dicts

    def _flipped(self, corners: Tensor) -> Tensor:
        """Corners with their axes in the other order: MONAI counts them from the first, the core from the last."""
        return corners.unflatten(1, (2, self.ndim)).flip(2).flatten(1)

    def _rows(self, dicts: list[dict[str, Tensor]], columns: dict[Any, Value]) -> dict[Any, Value]:
        """What ``_instances`` was made of, from the mixed dicts; boxes that didn't change to the last bit."""
        boxes = []
        for rows in dicts:
            corners = self._flipped(rows["boxes"])
            given, before = rows[self._given_key].to(corners.dtype).chunk(2, dim=1)
            after: Any = corners if self.box_mode is None else convert_box_mode(corners, dst_mode=self.box_mode)
            boxes.append(torch.where((corners == before).all(dim=1, keepdim=True), given, after))
        done: dict[Any, Value] = {self.box_key: _converted(boxes, columns[self.box_key])}
        for key in self.instance_keys:
            if key in columns:
                done[key] = _converted([rows[key] for rows in dicts], columns[key])
        done[f"{self.box_key}_visibility"] = [rows["visibility"] for rows in dicts]
        if "weight" in dicts[0]:
            done[f"{self.box_key}_weight"] = [rows["weight"] for rows in dicts]
        return done


MixD = MixDict = Mixd


class _Map:
    """A class map on its way through a mix.

    Attributes:
        values: what the core mixes: ids without their channel, or channels as they came.
        channels: whether it has a channel per class.
    """

    def __init__(self, column: Column, key: str, ndim: int) -> None:
        whole = isinstance(column, Tensor)
        parts = [column] if whole else column
        axis = int(whole)  # of the channels
        if any(part.ndim - whole not in (ndim, ndim + 1) for part in parts):
            small = all(part.ndim - whole < 2 for part in parts)
            hint = f": labels of whole images go into label_keys={key!r}, with map_keys=()" if small else ""
            raise ValueError(
                f"data[{key!r}] must have shape ({'B, ' * whole}1, *spatial), ({'B, ' * whole}K, *spatial) or "
                f"({'B, ' * whole}*spatial), got {[tuple(part.shape) for part in parts]}{hint}"
            )
        self.one = all(part.ndim - whole == ndim + 1 for part in parts) and parts[0].shape[axis] == 1
        self.channels = not self.one and parts[0].ndim - whole == ndim + 1
        self.axis = axis
        if not self.channels:
            parts = [_ids(part.squeeze(axis) if self.one else part, key) for part in parts]
        self.values: Column = parts[0] if whole else parts

    def finished(self, mixed: Any, soft: MixUp | None, ignore_index: int) -> Any:
        """The mixed map with its channel; in the form of MixUp's where the mix may be one."""
        if isinstance(mixed, list):
            return [self.finished(item, soft, ignore_index) for item in mixed]
        if self.channels:
            return mixed.float() if soft is not None and not mixed.is_floating_point() else mixed
        if soft is not None and isinstance(mixed, Tensor) and not mixed.is_floating_point():
            if soft.soft_semantic == "probabilities":
                return _one_hot(mixed, soft, ignore_index, self.axis)
            mixed = SemanticPair(mixed, mixed, (mixed != ignore_index).float())
        if isinstance(mixed, SemanticPair):
            return SemanticPair(*map(self._with_channel, mixed))
        return mixed if mixed.is_floating_point() else self._with_channel(mixed)

    def _with_channel(self, ids: Tensor) -> Tensor:
        return ids.unsqueeze(self.axis) if self.one else ids


def _soft_member(members: Sequence[MixTransform]) -> MixUp | None:
    """The member that makes maps floating point."""
    soft = [member for member in members if isinstance(member, MixUp)]
    forms = {(member.soft_semantic, member.num_classes) for member in soft}
    if len(forms) > 1:
        raise ValueError(f"mix must have MixUps of one soft_semantic and num_classes, got {sorted(map(str, forms))}")
    return soft[0] if soft else None


def _one_hot(ids: Tensor, soft: MixUp, ignore_index: int, axis: int) -> Tensor:
    """Ids as probabilities of 0 and 1; all 0 where ignored."""
    count = soft.num_classes
    if count is None:
        raise ValueError("num_classes must be given for semantic probabilities, got None")
    known = ids != ignore_index
    whole = torch.where(known, ids.long(), 0)
    if whole.device.type == "cpu" and whole.numel() and not 0 <= int(whole.min()) <= int(whole.max()) < count:
        raise ValueError(f"maps must hold ids in 0 … {count - 1}, got {int(whole.min())} … {int(whole.max())}")
    return torch.nn.functional.one_hot(whole, count).movedim(-1, axis).float() * known.unsqueeze(axis)


def _mix_channels(values: Column, plan: MixPlan, key: str) -> Column:
    """Channels of classes: moved by a hard plan, blended by a soft one; nobody's pixels have no class."""
    soft = weighs(plan)
    parts = [values] if isinstance(values, Tensor) else values
    if (soft or plan.has_fill()) and not all(bool(((part >= 0) & (part <= 1)).all()) for part in parts):
        raise ValueError(f"data[{key!r}] has channels, which must hold indicators or probabilities in [0, 1]")
    if soft:
        parts = [part if part.is_floating_point() else part.float() for part in parts]
    return mix_pixels(parts[0] if isinstance(values, Tensor) else parts, plan, fill=0, interpolation="nearest")


def _names(keys: Any, name: str) -> tuple[str, ...]:
    names: tuple[Any, ...] = ensure_tuple(keys)
    if not all(isinstance(key, str) for key in names):
        raise TypeError(f"{name} must be a key or a sequence of keys, each a string, got {keys!r}")
    return names


def _plain(value: Value, key: str) -> Column:
    """A value as a tensor without metadata, of a list one for each image."""
    whole = not isinstance(value, (list, tuple))
    for part in [value] if whole else value:
        if not isinstance(part, Tensor) and np.asarray(part).dtype.kind not in "biufc":
            raise TypeError(
                f"data[{key!r}] must hold numbers, got {part!r}: encode words as class ids, or name it in keep_keys"
            )
    return _tensor(value) if whole else [_tensor(item) for item in value]


def _tensor(value: Value) -> Tensor:
    """A tensor, an array, a number or rows of numbers as a tensor without metadata, in the memory format it has."""
    if isinstance(value, Tensor):
        return value.as_subclass(Tensor)
    plain: Tensor = convert_to_tensor(np.asarray(value), track_meta=False)
    return plain


def _stacked(column: Column) -> Tensor:
    return column if isinstance(column, Tensor) else torch.stack(column)


def _sizes(column: Column, ndim: int) -> Any:
    if isinstance(column, Tensor):
        return len(column), *column.shape[-ndim:]
    return [tuple(image.shape[-ndim:]) for image in column]


def _converted(value: Any, like: Value) -> Any:
    """Mixed tensors in the class, dtype and metadata of what they were; what is floating point stays so."""
    if isinstance(value, SemanticPair):
        return SemanticPair(*(_converted(part, like) for part in value))
    if isinstance(value, (list, tuple)):
        return [_converted(part, each) for part, each in zip(value, like, strict=True)]
    if not isinstance(like, (Tensor, np.ndarray)):
        return value
    if isinstance(like, np.ndarray):
        kept = value[:0].cpu().numpy().dtype if value.is_floating_point() else like.dtype
        return convert_to_dst_type(value, dst=like, dtype=kept)[0]
    # not by MONAI's conversion, which makes every tensor contiguous: the memory format stays
    dtype = value.dtype if value.is_floating_point() else like.dtype
    plain = value.as_subclass(Tensor).to(like.device, dtype)
    return MetaTensor(plain).copy_meta_from(like) if isinstance(like, MetaTensor) else plain


def _holds_tensors(value: Any) -> bool:
    """Whether there is a tensor or an array in it, however deep."""
    if isinstance(value, Mapping):
        return any(map(_holds_tensors, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_tensors, value))
    return isinstance(value, (Tensor, np.ndarray))


def _ids(maps: Tensor, key: str) -> Tensor:
    """Class ids of a map, whatever dtype they came in."""
    if not maps.is_floating_point():
        return maps
    ids = maps.int()
    if not torch.equal(ids.to(maps.dtype), maps):
        raise ValueError(
            f"data[{key!r}] must hold whole class ids, got fractions; probabilities need a channel per class"
        )
    return ids
