"""Transforms as they are typed: ``--transform`` and its words.

A transform is named as in Python or as a list of settings; both mean the same::

    --transform "CutMix(p=0.5, region=AreaBox(area=(0.2, 0.5)))"
    --transform CutMix p=0.5 region=AreaBox region.area=0.2,0.5

Any public transform of `cutmix_dense` and any public sampler of `cutmix_dense.regions` or `cutmix_dense.masks` can be
named, and so can their presets (``region=AreaBox.french()``). Values are numbers, words, True / False / None, tuples
(``0.2,0.5``), dicts (``{small: 2}``), or further objects; a bank of cut-outs is its file (``source=bank.pt``). Nothing
else is evaluated.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cutmix_dense
from cutmix_dense.cli.errors import UserError
from cutmix_dense.cli.sketches import Sketch, sketches_of_parts, sketches_of_transforms
from cutmix_dense.setting_names import peer_hint

if TYPE_CHECKING:
    from cutmix_dense.data import DenseDataset
    from cutmix_dense.transforms.layout import Layout

_BANK = ".pt"
"""End of the name of a file with a bank of cut-outs."""

_APART = {
    "Affine": "it maps pictures and mixes nothing",
    "Chain": "it applies several transforms to a batch, each in its own window of a training",
    "MaskMix": "it needs a mask; CowMix and FMix have theirs",
    **dict.fromkeys(
        ("dense_o2o", "lightly", "yolo26", "yolox"),
        "it is a recipe, a chain for batches, whose methods change with the epochs of a training",
    ),
}
"""Public transforms and recipes that can't be named here, and why."""

_NUMBERS: dict[str, tuple[str, Any]] = {
    "float": ("a number", (int, float)),
    "int": ("a whole number", (int, float)),
    "bool": ("true or false", (bool, int)),
    "tuple": ("numbers with commas between them", (tuple, list)),
    "None": ("none", type(None)),
}
"""Kinds of arguments that are checked here: what to type, and what that becomes. Transforms compare their numbers."""

_EXAMPLES = {"Sequence[MixTransform]": "[CutMix(), MixUp()]", "RegionSampler": "AreaBox()"}
"""What to type for a needed argument, by its annotation."""


class SpecError(UserError):
    """A transform that cannot be made from what was typed; says what is allowed."""


def family(layout: Layout = "BCHW") -> dict[str, Any]:
    """Every public method with its default settings, by name; CutMix first.

    Args:
        layout: what the samples are. A method that isn't defined for it is there, too, as it is for images: whoever
            shows the family says so.
    """
    kinds: dict[str, Any] = dict(_known()[0])
    del kinds["RandomMix"], kinds["Cutout"]  # one takes other methods, the other no partner
    return {
        name: build_transform([name], layout if layout in kinds[name].layouts else "BCHW")
        for name in sorted(kinds, key=lambda name: (name != "CutMix", name))
    }


def _known() -> tuple[dict[str, type], dict[str, type]]:
    """Transforms and samplers by name; loads torch, which `--help` and a look at a folder don't need."""
    from cutmix_dense.build import known_parts, known_transforms
    from cutmix_dense.transforms import Cutout

    return {**known_transforms(), "Cutout": Cutout}, known_parts()


def parse_transform(
    words: str | Sequence[str],
    defaults: dict[str, Any] | None = None,
    shared: dict[str, Any] | None = None,
    known: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
) -> Any:
    """Make a transform from words as they are typed.

    Args:
        words: ``["CutMix", "alpha=1.0", "region=AreaBox", "region.area=0.2,0.5"]`` or ``"CutMix(alpha=1.0)"``.
        defaults: arguments used where they are not typed and the transform knows them.
        shared: the same, for the transforms inside of it, too.
        known: transforms and parts by name; default: those of the package.

    Raises:
        SpecError: an unknown name, argument or value; the message says what is allowed.
    """
    tokens = [words] if isinstance(words, str) else list(words)
    transforms, parts = known or _known()
    names = _Names({**transforms, **parts}, shared or {})
    defaults = {**names.shared, **(defaults or {})}
    if not tokens or not tokens[0].strip():
        raise SpecError(f"--transform needs a name: {', '.join(sorted(transforms))}")
    if "(" in tokens[0] and "=" not in tokens[0].partition("(")[0]:
        node = _expression(" ".join(tokens), "--transform")
        if not isinstance(node, ast.Call):
            raise SpecError(f"--transform must be one transform with its arguments, got {' '.join(tokens)!r}")
        return _call(node, transforms, names, defaults)
    factory = _lookup(tokens[0], transforms, "--transform")
    return _construct(tokens[0], factory, *_settings(tokens[1:], tokens[0], names), defaults)


@dataclass(frozen=True)
class _Names:
    """What may be named inside of a transform, and the arguments that all of it take where they are not typed."""

    known: Mapping[str, Any]
    shared: dict[str, Any]


def _settings(tokens: Sequence[str], owner: str, names: _Names) -> tuple[list[Any], dict[str, Any]]:
    """Keyword arguments from ``key=value`` words; ``a.b=value`` sets argument b of the object that a names."""
    own: dict[str, str] = {}
    nested: dict[str, list[str]] = {}
    for token in tokens:
        key, sign, value = token.partition("=")
        if not sign or not key.strip():
            raise SpecError(f"{owner}: expected key=value, got {token!r}")
        head, dot, rest = key.strip().partition(".")
        if dot:
            nested.setdefault(head, []).append(f"{rest}={value}")
        elif head in own:
            raise SpecError(f"{owner}: {head} is given twice")
        else:
            own[head] = value
    result: dict[str, Any] = {}
    for key, value in own.items():
        if key in nested:
            name = value.strip()
            factory = _lookup(name, names.known, f"{owner}: {key}")
            result[key] = _construct(name, factory, *_settings(nested.pop(key), name, names), names.shared)
        else:
            result[key] = _value(_expression(value, f"{owner}: {key}"), names, f"{owner}: {key}")
    if nested:
        head, inner = next(iter(nested.items()))
        raise SpecError(f"{owner}: {head}.{inner[0]} needs {head}=<name> as well")
    return [], result


def _expression(text: str, what: str) -> ast.expr:
    if text.strip().endswith(_BANK) and not text.strip().endswith(("'", '"')):
        return ast.Constant(text.strip())  # of a file, whatever its folders are called
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        if text.replace("-", "").replace("_", "").replace("/", "").replace(".", "").isalnum():
            return ast.Constant(text.strip())  # a word that is no Python name
        raise SpecError(f"{what}: cannot read {text!r}") from None


def _value(node: ast.expr, names: _Names, what: str) -> Any:
    """The value of a literal, a word, or a call of a known class. Nothing else is evaluated."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        if node.id in names.known:
            return _construct(node.id, names.known[node.id], [], {}, names.shared)
        if node.id.lower() in ("true", "false", "none"):
            return {"true": True, "false": False, "none": None}[node.id.lower()]
        if node.id in ("BCHW", "BTCHW", "BCDHW"):
            return node.id
        if node.id in ("inf", "nan"):
            return float(node.id)
        if node.id[:1].isupper():
            _lookup(node.id, names.known, what)
        return node.id
    if isinstance(node, (ast.Tuple, ast.List)):
        items = [_value(item, names, what) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return _dict([(key, value) for key, value in zip(node.keys, node.values) if key is not None], names, what)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _value(node.operand, names, what)
        if isinstance(number, (int, float)):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):  # aspects are written 1/3
        above, below = _value(node.left, names, what), _value(node.right, names, what)
        if isinstance(above, (int, float)) and isinstance(below, (int, float)) and below:
            return above / below
    if isinstance(node, ast.Call):
        return _call(node, names.known, names, names.shared)
    if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(_BANK):
        return ast.unparse(node)
    raise SpecError(f"{what}: {ast.unparse(node)!r} is no number, word, tuple, dict or known object")


def _dict(items: Sequence[tuple[ast.expr, ast.expr]], names: _Names, what: str) -> dict[Any, Any]:
    """A dict whose keys are words or numbers."""
    keys = [_value(key, names, what) for key, _ in items]
    for (node, _), key in zip(items, keys):
        if not isinstance(key, (str, int, float)):
            raise SpecError(f"{what}: a key must be a word or a number, got {ast.unparse(node)!r}")
    return {key: _value(value, names, what) for key, (_, value) in zip(keys, items)}


def _call(node: ast.Call, allowed: Mapping[str, Any], names: _Names, defaults: dict[str, Any]) -> Any:
    preset = None
    function = node.func
    if isinstance(function, ast.Attribute):
        preset, function = function.attr, function.value
    if not isinstance(function, ast.Name):
        raise SpecError(f"{ast.unparse(node.func)!r} is no known name")
    if (function.id, preset, node.args) == ("dict", None, []) and all(each.arg for each in node.keywords):
        return _dict([(ast.Constant(each.arg), each.value) for each in node.keywords], names, "dict")
    factory: Any = _lookup(function.id, allowed, "--transform")
    title = function.id
    if preset is not None:
        presets = _presets(factory)
        if preset not in presets:
            raise SpecError(f"{title} has no preset {preset!r}{_hint(preset, sorted(presets))}")
        factory, title = presets[preset], f"{title}.{preset}"
    if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
        raise SpecError(f"{title}: * and ** are not understood")
    positional = [_value(argument, names, title) for argument in node.args]
    keywords = {str(k.arg): _value(k.value, names, f"{title}: {k.arg}") for k in node.keywords}
    return _construct(title, factory, positional, keywords, defaults)


def _presets(factory: Any) -> dict[str, Any]:
    """The presets of a class by name."""
    if isinstance(factory, Sketch):
        return dict(factory.presets)
    return {name: made for name, made in inspect.getmembers(factory, inspect.ismethod) if not name.startswith("_")}


def _lookup(name: str, allowed: Mapping[str, Any], what: str) -> Any:
    if name in allowed:
        return allowed[name]
    if name in _APART:
        raise SpecError(f"{what}: {name} can't be named here: {_APART[name]}; known: {', '.join(sorted(allowed))}")
    same = [other for other in allowed if other.lower() == name.lower()]
    hint = f"; did you mean {same[0]}?" if same else _hint(name, sorted(allowed))
    raise SpecError(f"{what}: unknown name {name!r}{hint}")


def _hint(word: str, known: Sequence[str]) -> str:
    if peer := peer_hint(word, known):
        return f"; {peer}"
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    listed = f"known: {', '.join(known)}" if known else "there is none"
    return f"; did you mean {close[0]!r}? ({listed})" if close else f"; {listed}"


def _arguments(factory: Callable[..., Any]) -> list[str]:
    """Names of all arguments; transforms know those of their bases."""
    parameters = inspect.signature(factory).parameters.values()
    return [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]


def _construct(
    title: str, factory: Callable[..., Any], positional: list[Any], keywords: dict[str, Any], defaults: dict[str, Any]
) -> Any:
    known = _arguments(factory)
    for key in keywords:
        if key not in known:
            inside = [name for name, value in keywords.items() if key in _fields(value)]
            nested = f"; did you mean {inside[0]}.{key}=?" if inside else _hint(key, known)
            raise SpecError(f"{title} has no argument {key!r}{nested}")
    given = {**dict(zip(known, positional)), **keywords}
    _check_values(title, factory, given)
    taken = set(known[: len(positional)])
    filled = {key: value for key, value in defaults.items() if key in known and key not in taken}
    try:
        source = keywords.get("source")
        if isinstance(source, str) and source.endswith(_BANK):
            if not Path(source).is_file():
                raise SpecError(f"{title}: source: there is no file {source}; cutmix-dense bank makes one")
            if not isinstance(factory, Sketch):
                keywords = {**keywords, "source": cutmix_dense.InstanceBank(file=source)}
        return factory(*positional, **{**filled, **keywords})
    except (TypeError, ValueError, OSError) as error:
        said = str(error).removeprefix(f"{title} ")
        raise SpecError(f"{title}: {_blaming(factory, positional, filled, keywords, said)}") from None


def _blaming(
    factory: Callable[..., Any], positional: list[Any], filled: dict[str, Any], keywords: dict[str, Any], said: str
) -> str:
    """What a class says against its arguments; where it names none that was typed, the one without which it works."""
    if any(re.search(rf"\b{key}\b", said) for key in keywords):
        return said
    for key, value in keywords.items():
        others = {name: other for name, other in keywords.items() if name != key}
        try:
            factory(*positional, **{**filled, **others})
        except (TypeError, ValueError, OSError):
            continue
        takes = inspect.signature(factory).parameters[key].annotation
        return f"{key} can't be {_typed(value)}, it takes {takes} ({said})"
    return said


def _check_values(title: str, factory: Any, given: Mapping[str, Any]) -> None:
    """SpecError for an argument that is needed and not given, or that must be of numbers and isn't."""
    parameters = inspect.signature(factory).parameters.values()
    for each in parameters:
        variable = each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        if each.default is each.empty and each.name not in given and not variable:
            example = _EXAMPLES.get(str(each.annotation))
            told = f', as in "{title}({each.name}={example})"' if example else ""
            raise SpecError(f"{title} needs the argument {each.name}{told}")
        wanted = _wanted(str(each.annotation))
        if each.name not in given or not wanted:
            continue
        value = given[each.name]
        members = value if isinstance(value, (tuple, list)) else ()
        fits = isinstance(value, tuple(_NUMBERS[kind][1] for kind in wanted))
        if not fits or any(not isinstance(member, (int, float)) for member in members):
            allowed = " or ".join(_NUMBERS[kind][0] for kind in wanted)
            raise SpecError(f"{title}: {each.name} must be {allowed}, got {_typed(value)}")


def _wanted(annotation: str) -> list[str]:
    """The kinds of `_NUMBERS` that an argument may be; none if it may be something else, too."""
    kinds = re.sub(r"\[[^]]*\]", "", annotation).split(" | ")
    return kinds if set(re.findall(r"\w+", annotation)) <= _NUMBERS.keys() else []


def _typed(value: Any) -> str:
    """A value as it is typed."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _fields(value: Any) -> list[str]:
    kind = value if isinstance(value, Sketch) else type(value)
    return _arguments(kind) if kind is value or kind.__module__.startswith("cutmix_dense") else []


def add_transform_argument(parser: argparse.ArgumentParser) -> None:
    """``--transform NAME key=value ...``."""
    parser.add_argument(
        "--transform",
        nargs="+",
        default=["CutMix"],
        metavar=("NAME", "KEY=VALUE"),
        help="a transform and its arguments: CutMix p=0.5 region=AreaBox region.area=0.2,0.5, or, as in Python, "
        '"CutMix(p=0.5, region=AreaBox.french())". p is 1 here unless it is given. '
        f"Transforms: {', '.join(method_names())}; samplers are those of cutmix_dense.regions and cutmix_dense.masks",
    )


def method_names() -> list[str]:
    """The public transforms, by the names of the package alone."""
    banks_and_rules = ("FilterRule", "InstanceBank", "MixPlan", "MixReport", "SampleBank")
    no_methods = (*banks_and_rules, "Affine", "Chain", "MaskMix", "MixTransform")
    return sorted(name for name in cutmix_dense.__all__ if name[0].isupper() and name not in no_methods)


def check_words(words: Sequence[str]) -> None:
    """Check ``--transform`` as far as can be without torch: names, arguments, and which of them must be numbers.

    Raises:
        SpecError: as :func:`parse_transform`.
    """
    parse_transform(words, known=(sketches_of_transforms(method_names()), sketches_of_parts()))


def build_transform(words: Sequence[str], layout: Layout = "BCHW", **shared: Any) -> Any:
    """The transform of ``--transform``; mixes every sample unless ``p`` is typed.

    Args:
        words: see :func:`parse_transform`.
        layout: of the samples, where it isn't typed.
        shared: further arguments of all transforms, where they aren't typed.

    Raises:
        SpecError: as :func:`parse_transform`; a method that isn't defined for the layout.
    """
    return parse_transform(words, {"p": 1.0}, {**shared, **({} if layout == "BCHW" else {"layout": layout})})


def transform_for(dataset: DenseDataset, words: Sequence[str]) -> Any:
    """The transform of ``--transform``, for the samples of a data set: images, clips or volumes, their keypoints.

    Raises:
        SpecError: as :func:`build_transform`; a bank of cut-outs whose classes aren't the data set's.
    """
    from cutmix_dense.data.cut_outs import check_banks

    pairs = getattr(dataset, "flip_pairs", None)
    transform = build_transform(words, dataset.mix_layout, **({} if pairs is None else {"flip_pairs": pairs}))
    try:
        check_banks(dataset, transform)
    except ValueError as error:
        raise SpecError(str(error)) from None
    return transform
