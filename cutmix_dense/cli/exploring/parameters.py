"""What every method can be set to: found from signatures, type hints and docstrings, with ranges for the sliders.

The ranges are the page's own, a part of what the library takes: wide enough to see what an argument does. What is set
becomes a plain config, the arguments that differ from the library's defaults only, which ``build.from_config`` builds
and :mod:`cutmix_dense.cli.exploring.code` writes down.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import cutmix_dense as cd
from cutmix_dense.build import known_parts, known_transforms
from cutmix_dense.functional.filters import RULES
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.regions import MultiBox, RegionSampler

Kind = Literal["number", "pair", "switch", "choice", "words", "part"]

COMMON = "common"
"""Where the settings lie that all methods share."""

RANGES: dict[str, tuple[float, float, float]] = {
    "alpha": (0.05, 4, 0.05),
    "area": (0.01, 1, 0.01),
    "aspect": (0.1, 10, 0.05),
    "beta": (0.05, 4, 0.05),
    "candidates": (2, 128, 1),
    "context": (0, 1, 0.05),
    "cut_area": (0.05, 1, 0.05),
    "decay": (0.5, 6, 0.1),
    "expand": (1, 3, 0.25),
    "feather": (0, 16, 0.5),
    "fill": (0, 255, 1),
    "flip": (0, 1, 0.05),
    "grid": (1, 4, 1),
    "jitter": (0, 0.95, 0.05),
    "lam": (0, 1, 0.01),
    "margin": (0, 1, 0.05),
    "min_size": (0, 64, 0.5),
    "min_visibility": (0, 1, 0.01),
    "n": (1, 12, 1),
    "n_holes": (1, 16, 1),
    "n_stripes": (1, 16, 1),
    "overlap": (0, 1, 0.05),
    "p": (0, 1, 0.05),
    "proportion": (0.05, 0.95, 0.05),
    "scale": (0.1, 3, 0.05),
    "scope": (0.05, 1, 0.05),
    "side": (0, 1, 0.05),
    "sigma": (1, 64, 0.5),
    "size": (64, 1024, 16),
    "weight": (0.05, 1, 0.01),
}
"""Least, most and step of the sliders, by the argument's name."""

ENDS: dict[str, tuple[str, str]] = {
    "min_visibility": ("base", "pasted"),
    "min_size": ("base", "pasted"),
    "grid": ("rows", "columns"),
    "size": ("height", "width"),
}
"""What the two numbers of a pair are, where they are not the ends of a range."""

SUGGESTED: dict[str, tuple[str, ...]] = {
    "blend": ("hard", "0.5", "(0.4, 0.6)"),
    "instances": ("random", "all", "1", "2", "3", "0.5"),
    "source": ("partner", "self", "batch"),
    "weights": ("balanced",),
}
"""Words to choose from, where others can be typed, too."""

LEFT_OUT: dict[str, str] = {
    "pairing": "the page shows one mix, whose partners the seed draws",
    "same_region": "says how the samples of a batch differ, the page shows one",
    "same_weight": "says how the samples of a batch differ, the page shows one",
    "num_classes": "for labels of whole images, which no data set here has",
    "labels_by": "for labels of whole images, which no data set here has",
    "label_keys": "for labels of whole images, which no data set here has",
    "instance_keys": "the targets of the readers have known keys only",
    "image_keys": "the targets of the readers have known keys only",
    "semantic_keys": "the targets of the readers have known keys only",
    "ignore_index": "the readers' maps have 255",
    "max_classes": "an upper bound of the ids, 256 holds for every map of a reader",
    "flip_pairs": "for keypoints, which no data set here has",
    "labels_getter": "for labels of whole images, which no data set here has",
    "box_format": "the readers give corners in pixels",
    "normalized": "the readers give corners in pixels",
    "instance_weights": "adds a key to the targets, nothing to see",
    "soft_semantic": "the form of a blended map; both show the same",
    "layout": "the data set determines it",
}
"""Arguments without a control, and why."""

HELP: dict[str, str] = {
    "aspect": "height / width of the region, relative to the image's; not set: whatever fits the image",
    "boxes": "boxes without masks under a free-form mask: refused, or estimated from the pixels inside",
    "boxes_from": "what a changed box encloses: the visible mask where there is one (auto), the box's visible part, or "
    "the mask",
    "fill": "value of pixels that no image covers, 0 to 255",
    "min_size": "least side of a changed box, pixels",
    "min_visibility": "least visible share of a changed instance; below it, the instance is dropped",
    "on_filtered": "what happens to a visible instance below the thresholds: dropped, moved to target['ignored'], or "
    "marked as a crowd",
    "p": "probability that a sample is mixed; 1 always mixes",
    "region": "where the region comes from: the paper's box of λ (none), or another sampler",
    "rotated": "what a changed rotated box becomes",
    "rule": "another library's rule instead of the two thresholds",
}
"""Short help in place of the docstring's, where that speaks of more than the page has."""


@dataclass(frozen=True)
class Parameter:
    """One argument of a method or a sampler, and how it is set.

    Attributes:
        name: of the argument.
        kind: "number", "pair" of numbers, "switch", "choice" of words, free "words", or "part": another object.
        default: the library's; ``dataclasses.MISSING`` never occurs, a part's factory is called.
        help: one sentence.
        whole: numbers are integers.
        optional: None is allowed; the page has a switch for it.
        single: a pair of two equal numbers is given as one.
        choices: of words, or names of classes.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    whole: bool = False
    optional: bool = False
    single: bool = False
    choices: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[float, float, float]:
        """Least, most and step of its sliders."""
        return RANGES[self.name]

    @property
    def ends(self) -> tuple[str, str]:
        """What the two numbers of a pair are."""
        return ENDS.get(self.name, ("low", "high"))

    @property
    def start(self) -> Any:
        """What the page shows first: the default, or for None something in the middle; every sample is mixed."""
        if self.name == "p":
            return 1.0
        if self.default is None and self.kind in ("number", "pair"):
            low, high, step = self.range
            middle = low + round((high - low) / 2 / step) * step
            return (middle, middle) if self.kind == "pair" else middle
        if self.kind == "pair":
            return tuple(round(each, 4) for each in _two(self.default))
        return self.default


def methods() -> list[str]:
    """The methods by name, CutMix first; RandomMix, which only chooses among them, is left out."""
    names = [name for name, kind in known_transforms().items() if kind is not cd.RandomMix]
    return sorted(names, key=lambda name: (name != "CutMix", name.lower()))


def summary_of(name: str) -> str:
    """The first line of the docstring of a method or a sampler."""
    return _plain((inspect.getdoc(_known(name)) or "").partition("\n")[0])


@cache
def own_of(name: str) -> tuple[Parameter, ...]:
    """The settings of a method or a sampler that are its own."""
    kind = _known(name)
    declared = [p for p in inspect.signature(kind.__init__).parameters if p != "p" and p not in LEFT_OUT]  # type: ignore[misc]
    return tuple(_parameter(kind, p) for p in declared if p in _arguments(kind))


@cache
def common_of(name: str) -> tuple[Parameter, ...]:
    """The settings of a method that all methods have, with this one's defaults; none that it declares as its own."""
    kind, own = _known(name), {parameter.name for parameter in own_of(name)}
    shared = inspect.signature(cd.MixTransform).parameters
    return tuple(_parameter(kind, p) for p in shared if p not in LEFT_OUT and p not in own)


def combine(parameter: Parameter, raw: Sequence[Any]) -> Any:
    """The argument's value, from those of the controls that set it.

    Args:
        parameter: the argument.
        raw: the values in order: a switch first if it is optional, then one or two numbers, a word or a bool.

    Raises:
        ValueError: a number is missing; the message names the argument.
    """
    values = list(raw)
    if parameter.optional and parameter.kind in ("number", "pair") and not values.pop(0):
        return None
    if parameter.kind in ("number", "pair"):
        if any(value is None for value in values):
            raise ValueError(f"{parameter.name} must be a number, got nothing")
        numbers = [_number(parameter, value, place) for place, value in enumerate(values)]
        if parameter.kind == "number":
            return numbers[0]
        return numbers[0] if parameter.single and numbers[0] == numbers[1] else tuple(numbers)
    (value,) = values
    if parameter.kind == "words":
        return _read(value, parameter)
    if parameter.kind in ("choice", "part"):
        return None if value in ("", "none", None) else value
    return bool(value)


def config_of(name: str, settings: Mapping[str, Mapping[str, Any]], place: str | None = None) -> dict[str, Any]:
    """A method or sampler as a plain config: its ``type`` and the arguments that differ from the library's defaults.

    Args:
        name: of the method.
        settings: values by place and argument: ``{"CutMix": {"alpha": 0.5, "region": "AreaBox"}, "common": {"p": 1.0},
            "CutMix.region.AreaBox": {"area": (0.1, 0.4)}}``. What is not there is the default.
        place: where its own values lie; default its name.
    """
    place = name if place is None else place
    known = [(parameter, settings.get(place, {})) for parameter in own_of(name)]
    if place == name:
        known += [(parameter, settings.get(COMMON, {})) for parameter in common_of(name)]
    config: dict[str, Any] = {"type": name}
    for parameter, values in known:
        value = values.get(parameter.name, parameter.default)
        if parameter.kind == "part" and isinstance(value, str):
            value = config_of(value, settings, f"{place}.{parameter.name}.{value}")
            default = parameter.default
            if default is not None and value == {"type": type(default).__name__}:
                continue
        if value != parameter.default:
            config[parameter.name] = value
    return config


# ---------------------------------------------------------------------------------------------------------- signatures


def _known(name: str) -> type:
    return {**known_parts(), **known_transforms()}[name]


def _arguments(kind: type) -> dict[str, inspect.Parameter]:
    """Every named argument, the shared ones of a method among them."""
    return {
        name: each for name, each in inspect.signature(kind).parameters.items() if each.kind is not each.VAR_KEYWORD
    }


def _parameter(kind: type, name: str) -> Parameter:
    hints = {
        **typing.get_type_hints(TargetRules),
        **typing.get_type_hints(cd.MixTransform.__init__),
        **typing.get_type_hints(kind.__init__),  # type: ignore[misc]
    }
    hint, default = hints[name], _default(kind, name)
    if name == "rule":  # a preset's name; a rule of one's own is for code
        return Parameter(name, "choice", default, _help(kind, name), optional=True, choices=tuple(RULES))
    if name == "fill":  # one value for all channels, though one per channel is allowed
        return Parameter(name, "number", default, _help(kind, name), whole=True, optional=default is None)
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    optional = types.NoneType in options
    options = tuple(option for option in options if option is not types.NoneType)
    shape: dict[str, Any] = {"default": default, "help": _help(kind, name), "optional": optional}
    pairs = [option for option in options if option in (tuple[float, float], tuple[int, int])]
    if pairs and len(options) <= 2:
        whole = pairs[0] == tuple[int, int]
        return Parameter(name, "pair", whole=whole, single=len(options) == 2, **shape)
    if len(options) == 1:
        (only,) = options
        if only in (int, float):
            return Parameter(name, "number", whole=only is int, **shape)
        if only is bool:
            return Parameter(name, "switch", **shape)
        if typing.get_origin(only) is Literal:
            return Parameter(name, "choice", choices=typing.get_args(only), **shape)
        if inspect.isclass(only) and issubclass(only, RegionSampler):
            names = tuple(
                part
                for part, sampler in known_parts().items()
                if issubclass(sampler, only)
                and not (kind is MultiBox and sampler is MultiBox)  # boxes of boxes …
                and sampler.moves is not True  # those of clips, the page shows one picture
            )
            return Parameter(name, "part", choices=names, **shape)
    return Parameter(name, "words", choices=SUGGESTED.get(name, ()), **shape)


def _default(kind: type, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        field = next(field for field in dataclasses.fields(kind) if field.name == name)
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
    return _arguments(kind)[name].default


def _help(kind: type, name: str) -> str:
    """One sentence on an argument: ours, else the first of the docstring's, without its markup."""
    if name in HELP:
        return HELP[name]
    for holder in (kind, cd.MixTransform, TargetRules):
        text = inspect.getdoc(holder) or ""
        found = re.search(rf"^    {name}: (.*(?:\n        .*)*)", text, flags=re.MULTILINE)
        if found:
            text = re.sub(r"\s+", " ", found.group(1))
            return _plain(re.split(r"\. (?=[A-Z0-9])", text)[0])
    return ""


def _plain(text: str) -> str:
    return re.sub(r"`+", "", text).rstrip(".")


# --------------------------------------------------------------------------------------------------------------- values


def _two(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _number(parameter: Parameter, value: Any, place: int) -> float | int:
    """A slider's value without what its steps add up to; the default itself where it stands on that."""
    default = parameter.default[place] if isinstance(parameter.default, tuple) else parameter.default
    if isinstance(default, (int, float)) and abs(value - default) < 1e-4:
        return default
    return int(value) if parameter.whole else round(float(value), 4)


def _read(text: str | None, parameter: Parameter) -> Any:
    """A value that was typed: a number, a tuple of numbers, a word; the default where nothing was, or "none"."""
    words = "" if text is None else str(text).strip()
    if words.lower() in ("", "none"):
        return parameter.default
    try:
        value = ast.literal_eval(words)
    except (SyntaxError, ValueError):
        return words
    # words that may be left out are lists, CarveMix's `classes` and `spacing`: one number is a list of one
    return (value,) if parameter.optional and isinstance(value, (int, float)) else value
