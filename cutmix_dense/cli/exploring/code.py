"""The lines to paste: a transform's config written for torch, Albumentations, MMEngine and the command line.

One function writes all of them, so they cannot differ in what they say. What an adapter doesn't take is asked of the
adapter itself, where its framework is installed.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cutmix_dense.build import known_parts
from cutmix_dense.cli.exploring.parameters import common_of, own_of

_LINE = 88
"""What is longer is broken, an argument on each line."""


@dataclass(frozen=True)
class Snippet:
    """Text to copy, and what has to be said about it.

    Attributes:
        text: the lines.
        note: what differs there, or why it can't be used; empty if there is nothing to say.
    """

    text: str
    note: str = ""


def torch_code(config: Mapping[str, Any]) -> Snippet:
    """The transform for a batch of images and targets, in Python."""
    mix = _assign("mix", _call(_stated(config), _python_name))
    return Snippet(f"import cutmix_dense as cd\n\n{mix}\nimages, targets = mix(images, targets)\n")


def albumentations_code(config: Mapping[str, Any], has_maps: bool = False) -> Snippet:
    """The transform for an Albumentations pipeline.

    Args:
        config: the transform's config; every argument that isn't the default, ``p`` always.
        has_maps: whether the data set at hand has semantic maps, which some methods can't mix there.
    """
    stated = _stated(config, p=0.5)  # the adapters' own, whatever the method's
    mix = _assign("mix", _call(stated, lambda name: f"cda.{name}", nested=_dict_text))
    text = (
        "import albumentations as A\n\nimport cutmix_dense.albumentations as cda\n\n"
        f"{mix}\n"
        'boxes = A.BboxParams(format="pascal_voc", label_fields=["labels"])\n'
        "pipeline = A.Compose([mix], bbox_params=boxes)\n"
        "# result = pipeline(image=image, mask=mask, bboxes=bboxes, labels=labels, mix_metadata=partners)\n"
    )

    def build() -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks PyPI for a newer version
        import cutmix_dense.albumentations as cda

        settings = {key: value for key, value in stated.items() if key != "type"}
        getattr(cda, config["type"])(**settings)

    note = _tried("albumentations", build)
    if not note and has_maps and config["type"] == "MixUp":
        note = "A class map can't be blended there: leave `mask` out of the call, or give it as floats."
    return Snippet(text, note)


def mmengine_code(config: Mapping[str, Any], has_maps: bool = False) -> Snippet:
    """The transform for MMDetection's and MMSegmentation's configs, per sample and per batch.

    Args:
        config: see :func:`albumentations_code`.
        has_maps: see there.
    """
    sample = _stated(config)

    def name(kind: str) -> str:
        return f'"cutmix_dense.{kind}"'

    text = (
        'custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)\n\n'
        "# keep one of the two: per sample, in train_pipeline, of a MultiImageMixDataset or with max_cached_images=20\n"
        f"{_assign('per_sample', _dict_call(sample, name))}\n"
        "# or per batch, on the device; mmseg has cutmix_dense.SegDataPreProcessor\n"
        f"{_assign('per_batch', _dict_call(sample, name))}\n"
        "model = dict(\n"
        '    data_preprocessor=dict(type="cutmix_dense.DetDataPreprocessor", augments_before_normalize=[per_batch])\n'
        ")\n"
    )

    def build() -> None:
        from cutmix_dense.mmengine import MODELS, TRANSFORMS
        from cutmix_dense.mmengine.scope import refuse_blends

        made = TRANSFORMS.build(_scoped(sample))
        MODELS.build(_scoped(sample))
        if has_maps:
            refuse_blends(made.mix, ["gt_seg_map"])

    return Snippet(text, _tried("mmengine", build))


def command_line(config: Mapping[str, Any], root: str, words: Mapping[str, str], index: int, seed: int) -> Snippet:
    """The command that draws the very same mix to a file, by ``cutmix-dense browse``.

    Args:
        config: the transform's config.
        root: of the data set; empty for pictures that have none.
        words: further words of the data set, by option: ``{"layout": "voc", "split": "train"}``.
        index: of the sample.
        seed: of partners and plan.
    """
    call = shlex.quote(_call(_stated(config, p=1.0), lambda name: name))  # the tools mix every sample
    options = "".join(f" --{option} {shlex.quote(word)}" for option, word in words.items())
    return Snippet(
        f"cutmix-dense browse {shlex.quote(root or 'path/to/dataset')}{options} \\\n"
        f"    --transform {call} \\\n    --index {index} --seed {seed}\n",
        "" if root else "The command can't open uploaded pictures: give it the folder of your data set.",
    )


# ---------------------------------------------------------------------------------------------------------- expressions


def _stated(config: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """The config's arguments, in the order of the signature; those of `defaults` only where they are no default there.

    Args:
        config: with every argument that isn't the library's default.
        defaults: what an adapter takes for arguments that it has of its own.
    """
    parameters = {each.name: each.default for each in (*own_of(config["type"]), *common_of(config["type"]))}
    values = {**parameters, **{key: value for key, value in config.items() if key != "type"}}
    other = {**parameters, **defaults}
    stated = {name: values[name] for name in parameters if values[name] != other[name]}
    return {"type": config["type"], **stated}


def _python_name(kind: str) -> str:
    return f"cd.regions.{kind}" if kind in known_parts() else f"cd.{kind}"


def _call(
    config: Mapping[str, Any], name: Callable[[str], str], nested: Callable[[Mapping[str, Any]], str] | None = None
) -> str:
    """``name(argument=value, …)``; samplers within are calls, too, or what `nested` makes of them."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return nested(value) if nested else _call(value, name)
        return _literal(value)

    arguments = ", ".join(f"{key}={text(value)}" for key, value in config.items() if key != "type")
    return f"{name(config['type'])}({arguments})"


def _dict_call(config: Mapping[str, Any], name: Callable[[str], str]) -> str:
    """``dict(type=…, …)``, as MMEngine's configs are written; samplers within have no scope."""

    def text(value: Any) -> str:
        return _dict_call(value, lambda kind: f'"{kind}"') if isinstance(value, Mapping) else _literal(value)

    arguments = "".join(f", {key}={text(value)}" for key, value in config.items() if key != "type")
    return f"dict(type={name(config['type'])}{arguments})"


def _dict_text(config: Mapping[str, Any]) -> str:
    """``{"type": …, …}``: plain values, which a saved pipeline holds."""
    items = (f'"{key}": {_dict_text(v) if isinstance(v, Mapping) else _literal(v)}' for key, v in config.items())
    return "{" + ", ".join(items) + "}"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, tuple):
        inner = ", ".join(_literal(item) for item in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def _assign(target: str, expression: str) -> str:
    """``target = expression``, an argument on each line where that is long."""
    line = f"{target} = {expression}"
    if len(line) <= _LINE:
        return line
    head, _, rest = expression.partition("(")
    return f"{target} = {head}(\n" + "".join(f"    {part},\n" for part in _split(rest[:-1])) + ")"


def _split(arguments: str) -> list[str]:
    """Arguments of a call, at the commas that lie in no bracket and no string."""
    parts, depth, quoted, start = [], 0, False, 0
    for place, sign in enumerate(arguments):
        if sign == '"' and arguments[place - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (sign in "([{") - (sign in ")]}")
            if sign == "," and not depth:
                parts.append(arguments[start:place].strip())
                start = place + 1
    return [*parts, arguments[start:].strip()]


# ------------------------------------------------------------------------------------------------------------ adapters


def _scoped(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "type": f"cutmix_dense.{config['type']}"}


def _tried(package: str, build: Callable[[], None]) -> str:
    """What an adapter says against a config; empty if it takes it."""
    if importlib.util.find_spec(package) is None:
        return f"{package} isn't installed here, so these lines were not checked with its adapter."
    try:
        build()
    except (TypeError, ValueError) as error:
        return f"Not there: {error}."
    return ""
