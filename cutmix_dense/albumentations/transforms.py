"""One Albumentations transform per method of the core; this file knows how Albumentations calls, saves and replays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from cutmix_dense import transforms
from cutmix_dense.albumentations.mixing import mix
from cutmix_dense.albumentations.samples import KINDS, Layout
from cutmix_dense.build import from_config
from cutmix_dense.extras import require

require("albumentations", "albumentations")

import albumentations as A  # noqa: E402

__all__ = [
    "RICAP",
    "CarveMix",
    "ClassMix",
    "CopyPaste",
    "CowMix",
    "CutMix",
    "FMix",
    "GridMix",
    "MixTransform",
    "MixUp",
    "Mosaic",
    "RandomMix",
    "ResizeMix",
    "SaliencyMix",
    "StripeMix",
    "close",
]

_Targets = A.core.type_definitions.Targets
_MEANINGLESS = {
    "pairing": "the partners come with the call",
    "instance_keys": "label fields follow their boxes",
    "image_keys": "what isn't a target stays the image's",
    "semantic_keys": "additional_targets of Compose name further maps",
    "label_keys": "there are no labels of whole images",
    "num_classes": "there are no labels of whole images",
    "labels_by": "there are no labels of whole images",
    "soft_semantic": "class maps can't be blended here",
    "instance_weights": "a label field 'weight' gets them",
    "layout": "one image is mixed with each call",
    "labels_getter": "there are no labels of whole images",
    "box_format": "bbox_params of Compose say it",
    "normalized": "bbox_params of Compose say it",
}
"""Arguments of the core that say nothing here, and why."""


def _signature(init: Callable[..., Any], core: type) -> inspect.Signature:
    """The adapter's arguments, then the core's, for ``help``."""
    own = [each for each in inspect.signature(init).parameters.values() if each.name != "self"]
    names = {each.name for each in own} | set(_MEANINGLESS)
    found = dict(inspect.signature(core).parameters)
    keyword = inspect.Parameter.KEYWORD_ONLY
    theirs = [
        each.replace(kind=keyword)
        for name, each in found.items()
        if name not in names | {"self"} and each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    return inspect.Signature([*own[:-1], *theirs])


class MixTransform(A.DualTransform):
    """Base of the mixing transforms for Albumentations: an image and partners in, the mixed image out.

    Partners come with the call as ``A.Mosaic`` takes them, a list of dicts under ``metadata_key``: ``image`` and, as
    far as the call has them, ``mask``, ``masks``, ``bboxes``, ``keypoints``, their label fields and additional targets,
    boxes and keypoints in the formats of ``Compose``. An image without objects may lack theirs; with no partner the
    image stays unmixed. Without ``Compose`` images and maps alone can be mixed.

    Args:
        p: probability that the transform is applied, in [0, 1]; the core is always called with 1.
        metadata_key: argument of the call that holds the partners.
        source: where partners come from instead: a map-style dataset of such dicts, or a callable ``source(rng)`` that
            gives one, ``rng`` a ``numpy.random.Generator``. A pipeline with a source can't be saved.
        mask_index_field: label field of boxes that holds the index of each one's mask in ``masks``, if ``bbox_params``
            names it; needed where a transform drops boxes, since Albumentations keeps their masks. Comes out as
            0 … N-1.
        fill_mask: value of pixels that nobody owns, one or one per channel, in maps that aren't class maps.
        arguments: those of the method of the core, as plain values: samplers of regions and masks as
            ``{"type": "AreaBox", "area": [0.1, 0.4]}``; objects are taken, too, but can't be saved.

    What becomes of each target:
        ``mask`` of whole numbers (H, W) or (H, W, 1) is a class map, what nobody owns becomes ``ignore_index``; any
        other is mixed value by value. ``masks`` are the masks of ``bboxes``, in order; none are an empty list. Label
        fields follow their boxes; ``area``, ``iscrowd``, ``visibility`` and ``weight`` are kept up to date if they hold
        numbers. A keypoint stays if its image shows at its pixel; where ``remove_invisible`` is off all stay, and a
        label field ``keypoints_visible`` becomes 0 for those that don't show.

    Raises:
        TypeError: an argument that the method doesn't have or that says nothing here.
        ValueError: an argument out of range.
    """

    _targets = (_Targets.IMAGE, _Targets.MASK, _Targets.BBOXES, _Targets.KEYPOINTS)
    core: ClassVar[type]
    """The method of the core."""
    _saved_as: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "core" in cls.__dict__:
            cls.__signature__ = _signature(MixTransform.__init__, cls.core)

    def __init__(
        self,
        *,
        p: float = 0.5,
        metadata_key: str = "mix_metadata",
        source: Any = None,
        mask_index_field: str = "mask_index",
        fill_mask: float | Sequence[float] = 0.0,
        **arguments: Any,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must lie in [0, 1], got {p!r}")
        is_dataset = hasattr(source, "__getitem__") and hasattr(source, "__len__")
        if source is not None and not is_dataset and not callable(source):
            raise TypeError(f"source must be a dataset or a callable, got {type(source).__name__}")
        super().__init__(p=p)
        self.metadata_key = metadata_key
        self.source = source
        self.mask_index_field = mask_index_field
        self.fill_mask = fill_mask
        self.arguments = arguments
        self.method = self._method(arguments)

    def _method(self, arguments: Mapping[str, Any]) -> Any:
        name = type(self).__name__
        for key in _MEANINGLESS.keys() & arguments.keys():
            raise TypeError(f"{name}: {key} says nothing in Albumentations: {_MEANINGLESS[key]}")
        settings = from_config(dict(arguments))
        if not issubclass(self.core, transforms.RandomMix):  # whose transforms have their own
            settings["p"] = 1.0
        try:
            method = self.core(**settings)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        for member in method.members:
            if member.on_filtered == "ignore":
                raise ValueError(f"{name}: on_filtered must be 'drop', or 'crowd' with a label field 'iscrowd'")
            if not isinstance(member.pairing, str):
                raise ValueError(f"{name}: pairing with a bank isn't possible, {_MEANINGLESS['pairing']}")
        return method

    # ------------------------------------------------------------------ the call

    @property
    def targets_as_params(self) -> list[str]:
        """Arguments of the call that must be there: the partners, unless a source gives them."""
        return [self.metadata_key] if self.source is None else []

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        """What can be mixed; all of it at once, in ``apply_with_params``."""
        return {kind: self.apply for kind in KINDS}  # noqa: C420  fromkeys has no type for it

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Which partners, none once mixing is closed, and the one number that everything else follows from.

        Returns:
            ``partners``: indices into the metadata or the dataset, or seeds for the callable; ``seed``: 63 bits, for
            the ``torch.Generator`` of the core.
        """
        wanted = self.method.partners
        if self.source is None:
            count = len(self._metadata(data))
            partners = list(range(count)) if count <= wanted else self.py_random.sample(range(count), wanted)
        elif hasattr(self.source, "__getitem__"):
            count = len(self.source)
            partners = self.py_random.sample(range(count), min(count, wanted))
        else:
            partners = [self.py_random.getrandbits(63) for _ in range(wanted)]
        seed = self.py_random.getrandbits(63)
        return {"partners": [] if self.method.closed else partners, "seed": seed}

    def apply_with_params(self, params: dict[str, Any], *args: Any, **data: Any) -> dict[str, Any]:
        """Mix by parameters that exist; nothing is drawn.

        Raises:
            TypeError, ValueError: a target or a partner that can't be mixed, named.
        """
        layout = Layout(data, self._additional_targets, self.processors, self.mask_index_field)
        base = layout.base()
        partners = [layout.partner(item, where, base) for where, item in self._partners(params["partners"], data)]
        return {**data, **mix(self.method, layout, base, partners, params["seed"], self.fill_mask)}

    def _metadata(self, data: Mapping[str, Any]) -> Sequence[Any]:
        given = data.get(self.metadata_key)
        if not isinstance(given, (list, tuple)):
            raise TypeError(f"{self.metadata_key} must be a list of dicts, got {type(given).__name__}")
        return given

    def _partners(self, partners: Sequence[int], data: Mapping[str, Any]) -> list[tuple[str, Any]]:
        if self.source is None:
            given = self._metadata(data) if partners else []
            if partners and max(partners) >= len(given):
                raise ValueError(
                    f"{self.metadata_key} must hold {max(partners) + 1} partners to replay, got {len(given)}"
                )
            return [(f"{self.metadata_key}[{index}]", given[index]) for index in partners]
        if hasattr(self.source, "__getitem__"):
            return [(f"source[{index}]", self.source[index]) for index in partners]
        return [
            (f"sample {place} of source", self.source(np.random.default_rng(n))) for place, n in enumerate(partners)
        ]

    # ------------------------------------------------------------------ closing

    @property
    def closed(self) -> bool:
        """Whether mixing is closed, here and in every copy."""
        return self.method.closed

    def close(self, closed: bool = True) -> None:
        """Stop mixing (or start again): samples stay themselves, no partner is read from ``source``.

        Copies and loader workers obey, as with ``cutmix_dense.CutMix.close``; a pipeline that was saved and loaded is
        another one. What a replay has recorded is mixed still.
        """
        self.method.close(closed)

    # ------------------------------------------------------------------ saving

    def get_transform_init_args(self) -> dict[str, Any]:
        """All arguments but ``p``, as they were given."""
        common = ("metadata_key", "source", "mask_index_field", "fill_mask")
        return {**{name: getattr(self, name) for name in common}, **self.arguments}

    def to_dict_private(self) -> dict[str, Any]:
        """The transform as plain values, for ``A.to_dict`` and ``A.save``.

        Raises:
            ValueError: an argument that isn't plain, named.
        """
        return self._saved({name: _plain(value, name) for name, value in self.get_transform_init_args().items()})

    def get_dict_with_id(self) -> dict[str, Any]:
        """The same for a replay, which stays in memory and may hold any object."""
        return {**self._saved(self.get_transform_init_args()), "id": id(self)}

    def _saved(self, arguments: dict[str, Any]) -> dict[str, Any]:
        named = {self._saved_as.get(name, name): value for name, value in arguments.items()}
        return {"__class_fullname__": self.get_class_fullname(), **self.get_base_init_args(), **named}


class CutMix(MixTransform):
    """A region of the partner (Yun 2019): ``cutmix_dense.CutMix``."""

    core = transforms.CutMix


class ResizeMix(MixTransform):
    """The whole partner, made small (Qin 2020): ``cutmix_dense.ResizeMix``."""

    core = transforms.ResizeMix


class Mosaic(MixTransform):
    """Rows × columns of images: ``cutmix_dense.Mosaic``; unless given, ``fill`` is 114 in bytes, 0 in float images."""

    core = transforms.Mosaic


class RICAP(MixTransform):
    """Four crops round a point (Takahashi 2018): ``cutmix_dense.RICAP``."""

    core = transforms.RICAP


class GridMix(MixTransform):
    """Windows in a grid or a checkerboard (Baek 2021): ``cutmix_dense.GridMix``."""

    core = transforms.GridMix


class StripeMix(MixTransform):
    """Stripes of the image and the partner: ``cutmix_dense.StripeMix``."""

    core = transforms.StripeMix


class CopyPaste(MixTransform):
    """The partner's instances by their masks or boxes (Ghiasi 2021): ``cutmix_dense.CopyPaste``."""

    core = transforms.CopyPaste


class CarveMix(MixTransform):
    """The partner's lesion, shrunk or grown, as ``mask`` says (Zhang 2021): ``cutmix_dense.CarveMix``."""

    core = transforms.CarveMix


class ClassMix(MixTransform):
    """Half of the partner's classes, as ``mask`` says (Olsson 2021): ``cutmix_dense.ClassMix``."""

    core = transforms.ClassMix


class CowMix(MixTransform):
    """Thresholded blurred noise (French 2020): ``cutmix_dense.CowMix``."""

    core = transforms.CowMix


class FMix(MixTransform):
    """Low-frequency blobs (Harris 2020): ``cutmix_dense.FMix``."""

    core = transforms.FMix


class SaliencyMix(MixTransform):
    """A region round the partner's saliency peak (Uddin 2021): ``cutmix_dense.SaliencyMix``."""

    core = transforms.SaliencyMix


class MixUp(MixTransform):
    """A weighted mean, boxes united (Zhang 2018): ``cutmix_dense.MixUp``; a label field ``weight`` gets the weights."""

    core = transforms.MixUp


class RandomMix(MixTransform):
    """One of several by weight: ``cutmix_dense.RandomMix``; ``transforms`` are the core's, each with its own ``p``."""

    core = transforms.RandomMix
    _saved_as: ClassVar[dict[str, str]] = {"transforms": "members"}  # the former would be taken for Compose's own

    def __init__(self, *, transforms: Sequence[Any] = (), members: Sequence[Any] = (), **arguments: Any) -> None:
        super().__init__(transforms=transforms or members, **arguments)

    def set_progress(self, step: int) -> None:
        """Say which step begins, to workers too; see ``cutmix_dense.RandomMix.set_progress``."""
        self.method.set_progress(step)


def close(pipeline: A.BasicTransform | A.BaseCompose, closed: bool = True) -> int:
    """Stop (or start again) every mix of this package in a pipeline, however deep; the number of them.

    ```python
    close(loader.dataset.transform)  # before the last epochs; persistent workers obey
    ```

    Args:
        pipeline: an ``A.Compose``, ``A.OneOf`` and so on, or a transform.
        closed: whether they are to be closed.

    Raises:
        TypeError: something else than a pipeline of Albumentations.
        ValueError: a pipeline without such a mix.
    """
    if not isinstance(pipeline, (A.BasicTransform, A.BaseCompose)):
        raise TypeError(f"pipeline must be a transform or a composition of Albumentations, got {pipeline!r}")
    found = list(_mixes(pipeline))
    for each in found:
        each.close(closed)
    if not found:
        raise ValueError("pipeline holds no transform of cutmix_dense.albumentations, so there is nothing to close")
    return len(found)


def _mixes(pipeline: Any) -> Iterator[MixTransform]:
    if isinstance(pipeline, MixTransform):
        yield pipeline
    for step in pipeline.transforms if isinstance(pipeline, A.BaseCompose) else ():
        yield from _mixes(step)


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    hint = "partners of a saved pipeline come with the call" if name == "source" else "give it as a dict with 'type'"
    raise ValueError(f"{name} can't be saved, it is a {type(value).__name__}: {hint}")
