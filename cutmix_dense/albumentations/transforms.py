"""One Albumentations transform per method of the core; this file knows how Albumentations calls, saves and replays."""

from __future__ import annotations

import difflib
import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import albumentations as A
import numpy as np
from torch.utils.data import get_worker_info

from cutmix_dense import transforms
from cutmix_dense.albumentations.mixing import Demands, mix
from cutmix_dense.albumentations.samples import KINDS, Layout, Samples
from cutmix_dense.build import from_config
from cutmix_dense.setting_names import peer_hint
from cutmix_dense.transforms.chain import refuse_affine, refuse_chain
from cutmix_dense.transforms.fit import PartnerFit, check_partner_fit
from cutmix_dense.warned import warn_caller

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
_FLAGS = {0: "nearest", 6: "nearest", 1: "bilinear", 5: "bilinear", 3: "antialias"}
"""What OpenCV's flags of interpolation are called in the core: NEAREST, …_EXACT, LINEAR, …_EXACT, AREA."""


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
    far as the call has them, ``mask``, ``masks``, ``bboxes``, ``keypoints``, stacks (``images``, ``volume``,
    ``volumes``, ``mask3d``, ``masks3d``), their label fields and additional targets, boxes and keypoints in the
    formats of ``Compose``. An image without objects may lack theirs; with no partner the
    image stays unmixed, with one warning. Without ``Compose`` images and maps alone can be mixed.

    Args:
        p: probability that the transform is applied, in [0, 1]; the core is always called with 1.
        metadata_key: argument of the call that holds the partners.
        source: where partners come from instead: a map-style dataset of such dicts, or a callable ``source(rng)`` that
            gives one, ``rng`` a ``numpy.random.Generator``. A pipeline with a source can't be saved.
        mask_index_field: label field of boxes that holds the index of each one's mask in ``masks``, if ``bbox_params``
            names it; needed where a transform drops boxes, since Albumentations keeps their masks. Comes out as
            0 … N-1.
        fill_mask: value of pixels that nobody owns, in maps: an id of class maps, a number (or one per channel) of
            others. None: ``ignore_index`` in class maps, unless it was not stated and 255 occurs in them, where it may
            be a class; 0 in others.
        partner_fit: how a partner of another size than the image's is mixed: ``"resize"``, scaled into the image's size
            with its aspect kept (``Mosaic`` and ``ResizeMix`` scale by their own rule); ``"crop"``, at its own scale
            from its top left corner; ``"random_crop"``, a random window.
        partner_transform: what each partner goes through first, since it hasn't been through the transforms before this
            one: an ``A.Compose`` whose boxes and keypoints have the pipeline's formats, seeded anew for each partner;
            or a callable that takes the partner's dict and gives another, whose own draws no replay repeats.
        mask_interpolation: ``cv2.INTER_NEAREST``, as other transforms take it: maps and masks of scaled partners are
            read at the nearest pixel, always.
        strict: whether an argument that the method doesn't have raises; else it warns, as in ``A.Mosaic``.
        arguments: those of the method of the core, as plain values: samplers of regions and masks as
            ``{"type": "AreaBox", "area": [0.1, 0.4]}``; objects are taken, too, but can't be saved. ``interpolation``
            may be a flag of OpenCV, ``cv2.INTER_NEAREST``, ``INTER_LINEAR`` or ``INTER_AREA`` (antialiased).

    What becomes of each target:
        ``mask`` of whole numbers (H, W) or (H, W, 1) is a class map; any other is mixed value by value. ``masks`` are
        the masks of ``bboxes``, in order; none are an empty list. Without ``bboxes`` each is a map of its own, mixed
        with that of the same place among a partner's, which must be as many. One plan serves all slices of stacks.
        Label fields follow their boxes; ``area``, ``iscrowd``, ``visibility`` and ``weight`` are kept up to date if
        they hold numbers. A keypoint stays if its image shows at its pixel; where ``remove_invisible`` is off all
        stay, and a label field ``keypoints_visible`` becomes 0 for those that don't show.

    Raises:
        TypeError: an argument of the core that says nothing here, or of a wrong type.
        ValueError: an argument out of range; one that the method doesn't have, under ``strict``; a
            source without a sample, when a partner is drawn.
    """

    _targets = (
        _Targets.IMAGE,
        _Targets.MASK,
        _Targets.BBOXES,
        _Targets.KEYPOINTS,
        _Targets.VOLUME,
        _Targets.MASK3D,
    )
    core: ClassVar[type]
    """The method of the core."""
    _saved_as: ClassVar[dict[str, str]] = {}
    _warned = False

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
        fill_mask: float | Sequence[float] | None = None,
        partner_fit: PartnerFit = "resize",
        partner_transform: Any = None,
        mask_interpolation: int = 0,
        strict: bool = False,
        **arguments: Any,
    ) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must lie in [0, 1], got {p!r}")
        if _FLAGS.get(mask_interpolation) != "nearest":
            raise ValueError(
                f"mask_interpolation must be cv2.INTER_NEAREST (0), got {mask_interpolation!r}: ids of maps don't "
                "average, and masks stay 0 or 1"
            )
        is_dataset = hasattr(source, "__getitem__") and hasattr(source, "__len__") and not isinstance(source, str)
        if source is not None and not is_dataset and not callable(source):
            raise TypeError(f"source must be a dataset or a callable, got {type(source).__name__}")
        if not is_dataset:
            _check_callable(source)
        check_partner_fit(partner_fit)
        invalid = self._invalid(arguments, strict)
        super().__init__(p=p)
        self.invalid_args = invalid  # for a Compose(strict=True), which refuses them
        self.metadata_key = metadata_key
        self.source = source
        self.mask_index_field = mask_index_field
        self.fill_mask = fill_mask
        self.partner_fit: PartnerFit = partner_fit
        self.partner_transform = _partner_transform(partner_transform)
        self.arguments = {name: value for name, value in arguments.items() if name not in invalid}
        self.method = self._method(self.arguments)
        self._demands = Demands.of(self.method, self._ignore_stated())

    def _invalid(self, arguments: Mapping[str, Any], strict: bool) -> list[str]:
        """Names of arguments that the method doesn't have: warned of or raised, in Albumentations' words."""
        known = {*inspect.signature(self.core).parameters, *_MEANINGLESS}
        invalid = [name for name in arguments if name not in known]
        if not invalid:
            return []
        name = type(self).__name__
        offered = inspect.signature(type(self)).parameters
        peers = {wrong: hint for wrong in invalid if (hint := peer_hint(wrong, offered))}
        unknown = [wrong for wrong in invalid if wrong not in peers]
        near = [close[0] for wrong in unknown if (close := difflib.get_close_matches(wrong, offered, n=1))]
        hint = f": did you mean {', '.join(map(repr, near))}?" if near else ""
        hint += "".join(f"; {wrong}: {said}" for wrong, said in peers.items())
        message = f"Argument(s) '{', '.join(invalid)}' are not valid for transform {name}{hint}"
        if strict:
            raise ValueError(message)
        warnings.warn(message, UserWarning, stacklevel=3 if type(self).__init__ is MixTransform.__init__ else 4)
        return invalid

    def _ignore_stated(self) -> list[bool]:
        """For every member of the method, whether its ``ignore_index`` was given."""
        members = self.method.members
        given = self.arguments.get("transforms") or [self.arguments]
        if len(given) != len(members):
            given = [None] * len(members)
        default = inspect.signature(transforms.MixTransform).parameters["ignore_index"].default
        return [
            (isinstance(one, Mapping) and "ignore_index" in one) or member.ignore_index != default
            for one, member in zip(given, members)
        ]

    def _method(self, arguments: Mapping[str, Any]) -> Any:
        name = type(self).__name__
        for key in _MEANINGLESS.keys() & arguments.keys():
            raise TypeError(f"{name}: {key} says nothing in Albumentations: {_MEANINGLESS[key]}")
        settings = from_config(_named_readings(dict(arguments)))
        if not issubclass(self.core, transforms.RandomMix):  # whose transforms have their own
            settings["p"] = 1.0
        try:
            method = self.core(**settings)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        refuse_chain(method, "samples of Albumentations")
        refuse_affine(method, "samples of Albumentations")
        for member in method.members:
            if member.on_filtered == "ignore":
                raise ValueError(f"{name}: on_filtered must be 'drop', or 'crowd' with a label field 'iscrowd'")
            if not isinstance(member.pairing, str):
                raise ValueError(f"{name}: pairing with a bank isn't possible, {_MEANINGLESS['pairing']}")
            if member.banked and member is not method:
                raise ValueError(f"{name}: source can't be a bank within {name}: A.OneOf may hold a CopyPaste of one")
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
        """Which partners, none once mixing is closed, and the numbers that everything else follows from.

        Returns:
            ``partners``: indices into the metadata or the dataset, or seeds for the callable; ``seed``: 63 bits, for
            the ``torch.Generator`` of the core; ``partner_seeds``: one per partner, if ``partner_transform`` is a
            Compose.
        """
        draws = self._draws()
        partners = self._drawn_partners(data, draws)
        seed = draws.getrandbits(63)
        drawn = {"partners": [] if self.method.closed else partners, "seed": seed}
        if self.partner_transform is not None and isinstance(self.partner_transform, A.Compose):
            drawn["partner_seeds"] = [draws.getrandbits(32) for _ in partners]
        return drawn

    def _drawn_partners(self, data: Mapping[str, Any], draws: random.Random) -> list[int]:
        """Indices into the metadata or the dataset, or seeds for the callable."""
        wanted = self.method.partners
        if self.source is None:
            count = len(self._metadata(data))
            if not count and wanted and not self.method.closed and not self._warned:
                self._warned = True
                warn_caller(
                    f"{type(self).__name__} got no partner in {self.metadata_key!r}, so the image stays as it is"
                )
            return list(range(count)) if count <= wanted else draws.sample(range(count), wanted)
        if hasattr(self.source, "__getitem__"):
            count = len(self.source)
            if not count and wanted and not self.method.closed:
                raise ValueError(f"source must hold at least one partner, got an empty {type(self.source).__name__}")
            return draws.sample(range(count), min(count, wanted))
        return [draws.getrandbits(63) for _ in range(wanted)]

    def _draws(self) -> random.Random:
        """The transform's own generator; in a worker of a loader one for this call that only this worker has.

        Workers are copies of the pipeline: in Albumentations 2.0.8 all of them draw the same numbers, and those that
        are started anew for an epoch draw them again. The loader's seed, which ``torch.manual_seed`` repeats, tells
        workers and epochs apart.
        """
        worker = get_worker_info()
        return self.py_random if worker is None else random.Random(f"{self.py_random.getrandbits(64)} {worker.seed}")

    def apply_with_params(self, params: dict[str, Any], *args: Any, **data: Any) -> dict[str, Any]:
        """Mix by parameters that exist; nothing is drawn.

        Raises:
            TypeError, ValueError: a target or a partner that can't be mixed, named.
        """
        layout = Layout(data, self._additional_targets, self.processors, self.mask_index_field)
        given = self._partners(params["partners"], data)
        if self.partner_transform is not None:
            seeds = params.get("partner_seeds", [0] * len(given))
            given = [(where, self._changed(where, item, seed)) for (where, item), seed in zip(given, seeds)]
        settings = (self.method, self._demands, layout, layout.read(given))
        see = partial(self._seen, given=given)
        return {**data, **mix(*settings, params["seed"], self.fill_mask, self.partner_fit, see)}

    def _seen(self, samples: Samples, targets: Any, given: Sequence[tuple[str, Any]]) -> Any:
        """What the plan is drawn from: the boxes and masks of all samples."""
        return targets

    def _changed(self, where: str, item: Any, seed: int) -> Any:
        """A partner as ``partner_transform`` gives it."""
        if not isinstance(item, Mapping):
            raise TypeError(f"{where} must be a dict with 'image', got {type(item).__name__}")
        if not isinstance(self.partner_transform, A.Compose):
            return self.partner_transform(dict(item))
        for kind, own in self.processors.items():
            theirs = self.partner_transform.processors.get(kind)
            given = item.get(kind)
            if given is None or not len(given):
                continue
            if theirs is None or theirs.params.format != own.params.format:
                name = "bbox_params" if kind == "bboxes" else "keypoint_params"
                found = "none" if theirs is None else f"format {theirs.params.format!r}"
                raise ValueError(
                    f"partner_transform must have {name} of format {own.params.format!r}, like the pipeline that it "
                    f"serves, got {found}"
                )
        self.partner_transform.set_random_seed(seed)
        try:
            return self.partner_transform(**item)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where} in partner_transform: {error}") from error

    def _metadata(self, data: Mapping[str, Any]) -> Sequence[Any]:
        given = data.get(self.metadata_key)
        if not isinstance(given, (list, tuple)):
            raise TypeError(f"{self.metadata_key} must be a list of dicts, got {type(given).__name__}")
        return given

    def _partners(self, partners: Sequence[int], data: Mapping[str, Any]) -> list[tuple[str, Any]]:
        if self.source is None:
            given = self._metadata(data) if partners else []
            try:
                return [(f"{self.metadata_key}[{index}]", given[index]) for index in partners]
            except IndexError:
                wanted = max(partners) + 1
                raise ValueError(
                    f"{self.metadata_key} must hold {wanted} partners to replay, got {len(given)}"
                ) from None
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
        common = ("metadata_key", "source", "mask_index_field", "fill_mask", "partner_fit", "partner_transform")
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
        for each in transforms or members:
            if isinstance(each, A.BasicTransform):
                name = type(each).__name__
                raise TypeError(
                    f'RandomMix takes methods of the core, cutmix_dense.{name}(…) or {{"type": "{name}"}}, got {each!r}'
                    ": for transforms of Albumentations there is A.OneOf"
                )
        super().__init__(transforms=transforms or members, **arguments)

    def set_progress(self, step: int) -> None:
        """Say which step begins, to workers too; see ``cutmix_dense.RandomMix.set_progress``."""
        self.method.set_progress(step)


def close(pipeline: A.BasicTransform | A.BaseCompose, closed: bool = True) -> int:
    """Stop (or start again) every mix of this package in a pipeline, however deep; the number of them.

    Persistent workers of a loader obey: call it on the pipeline of the loader's dataset before the last epochs.

    Args:
        pipeline: an ``A.Compose``, ``A.OneOf`` and so on, or a transform.
        closed: whether they are to be closed.

    Raises:
        TypeError: something else than a pipeline of Albumentations.
        ValueError: a pipeline without such a mix.

    Example:
        >>> import albumentations as A, numpy as np
        >>> pipeline = A.Compose([A.OneOf([StripeMix(p=1.0)], p=1.0)])
        >>> black, white = np.zeros((20, 30, 3), np.uint8), np.full((20, 30, 3), 255, np.uint8)
        >>> mixed = pipeline(image=black, mix_metadata=[{"image": white}])["image"]
        >>> close(pipeline)
        1
        >>> same = pipeline(image=black, mix_metadata=[{"image": white}])["image"]
        >>> bool(mixed.any()), bool(same.any())
        (True, False)
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
        yield from _mixes(pipeline.partner_transform)
    for step in pipeline.transforms if isinstance(pipeline, A.BaseCompose) else ():
        yield from _mixes(step)


def _check_callable(source: Any) -> None:
    """Raise TypeError for a source that can't be called with a generator alone; None is none."""
    if source is None:
        return
    try:
        signature = inspect.signature(source)
    except (TypeError, ValueError):  # of some that are written in C nobody knows
        return
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(
            "source must take one argument, the numpy.random.Generator that it draws with, as source(rng), got a "
            f"callable with the signature {signature}: write lambda rng: … or name the argument"
        ) from None


def _partner_transform(given: Any) -> Any:
    """A Compose, also from the plain values of a saved one, or a callable; None.

    Raises:
        TypeError: something else; a transform without Compose, which would leave boxes in other units.
    """
    if isinstance(given, Mapping):
        given = A.from_dict(dict(given))
    if isinstance(given, (A.BasicTransform, A.BaseCompose)) and not isinstance(given, A.Compose):
        raise TypeError(
            f"partner_transform must be an A.Compose, which knows the formats of boxes, got {type(given).__name__}: "
            "give A.Compose([…], bbox_params=…)"
        )
    if given is not None and not callable(given):
        raise TypeError(f"partner_transform must be an A.Compose or a callable, got {type(given).__name__}")
    return given


def _named_readings(value: Any) -> Any:
    """Plain arguments with OpenCV's flags of ``interpolation`` in the core's words, those of members too.

    Raises:
        ValueError: a flag that the core has nothing like.
    """
    if isinstance(value, (list, tuple)):
        return type(value)(map(_named_readings, value))
    if not isinstance(value, Mapping):
        return value
    named = {key: _named_readings(item) for key, item in value.items()}
    flag = named.get("interpolation")
    if isinstance(flag, int) and not isinstance(flag, bool):
        if flag not in _FLAGS:
            raise ValueError(
                "interpolation must be cv2.INTER_NEAREST (0), INTER_LINEAR (1) or INTER_AREA (3), antialiased, "
                f"got {flag}"
            )
        named["interpolation"] = _FLAGS[flag]
    return named


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, A.Compose):
        return A.to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, name) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    hints = {"source": "partners of a saved pipeline come with the call", "partner_transform": "give an A.Compose"}
    hint = hints.get(name, "give it as a dict with 'type'")
    if isinstance(value, transforms.InstanceBank):
        hint = 'give {"type": "InstanceBank", "file": …} of a bank that was saved'
    raise ValueError(f"{name} can't be saved, it is a {type(value).__name__}: {hint}")
