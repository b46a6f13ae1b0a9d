"""What the command lines share: naming a transform, opening a dataset, and errors without a traceback.

A transform is named as in Python or as a list of settings; both mean the same::

    --transform "CutMix(p=0.5, region=AreaBox(area=(0.2, 0.5)))"
    --transform CutMix p=0.5 region=AreaBox region.area=0.2,0.5

Any public transform of `cutmix_dense` and any public sampler of `cutmix_dense.regions` or `cutmix_dense.masks` can be
named, their presets, too (``region=AreaBox.french()``). Values are numbers, words, True / False / None, tuples
(``0.2,0.5``), or further objects. Nothing is evaluated but that.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cutmix_dense
from cutmix_dense.data import DatasetError, DenseDataset
from cutmix_dense.data.errors import DataWarning, MixError, kind_of
from cutmix_dense.data.pictures import Pixels
from cutmix_dense.data.readers.layouts import READERS, default_split, from_root, layout_of, open_complete, reader_of

if TYPE_CHECKING:
    from cutmix_dense.transforms.layout import Layout

__all__ = [
    "SpecError",
    "UserError",
    "add_dataset_arguments",
    "add_transform_argument",
    "add_verbosity",
    "as_typed",
    "build_transform",
    "check_name",
    "cores",
    "given_options",
    "grouped",
    "method_names",
    "open_from",
    "parse_transform",
    "positive",
    "reporting_errors",
    "transform_for",
]


class UserError(Exception):
    """A mistake in what was typed or in a folder that was named: shown in one line, without a traceback."""


class SpecError(UserError):
    """A transform that cannot be made from what was typed; says what is allowed."""


# ---------------------------------------------------------------------------------------------------------- transforms


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
    words: str | Sequence[str], defaults: dict[str, Any] | None = None, shared: dict[str, Any] | None = None
) -> Any:
    """Make a transform from words as they are typed.

    Args:
        words: ``["CutMix", "alpha=1.0", "region=AreaBox", "region.area=0.2,0.5"]`` or ``"CutMix(alpha=1.0)"``.
        defaults: arguments used where they are not typed and the transform knows them.
        shared: the same, for the transforms inside of it, too.

    Raises:
        SpecError: an unknown name, argument or value; the message says what is allowed.
    """
    tokens = [words] if isinstance(words, str) else list(words)
    transforms, parts = _known()
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

    known: dict[str, Any]
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
    raise SpecError(f"{what}: {ast.unparse(node)!r} is no number, word, tuple or known object")


def _call(node: ast.Call, allowed: dict[str, Any], names: _Names, defaults: dict[str, Any]) -> Any:
    preset = None
    function = node.func
    if isinstance(function, ast.Attribute):
        preset, function = function.attr, function.value
    if not isinstance(function, ast.Name):
        raise SpecError(f"{ast.unparse(node.func)!r} is no known name")
    factory: Any = _lookup(function.id, allowed, "--transform")
    title = function.id
    if preset is not None:
        presets = [name for name, _ in inspect.getmembers(factory, inspect.ismethod) if not name.startswith("_")]
        if preset not in presets:
            raise SpecError(f"{title} has no preset {preset!r}{_hint(preset, presets)}")
        factory, title = getattr(factory, preset), f"{title}.{preset}"
    if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
        raise SpecError(f"{title}: * and ** are not understood")
    positional = [_value(argument, names, title) for argument in node.args]
    keywords = {str(k.arg): _value(k.value, names, f"{title}: {k.arg}") for k in node.keywords}
    return _construct(title, factory, positional, keywords, defaults)


def _lookup(name: str, allowed: dict[str, type], what: str) -> type:
    if name in allowed:
        return allowed[name]
    same = [other for other in allowed if other.lower() == name.lower()]
    hint = f"; did you mean {same[0]}?" if same else _hint(name, sorted(allowed))
    raise SpecError(f"{what}: unknown name {name!r}{hint}")


def _hint(word: str, known: Sequence[str]) -> str:
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
    taken = set(known[: len(positional)])
    filled = {key: value for key, value in defaults.items() if key in known and key not in taken}
    try:
        return factory(*positional, **{**filled, **keywords})
    except (TypeError, ValueError) as error:
        raise SpecError(f"{title}: {str(error).removeprefix(f'{title} ')}") from None


def _fields(value: Any) -> list[str]:
    return _arguments(type(value)) if type(value).__module__.startswith("cutmix_dense") else []


# ------------------------------------------------------------------------------------------------------ argument groups


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
    no_methods = ("FilterRule", "MaskMix", "MixPlan", "MixReport", "MixTransform", "SampleBank")
    return sorted(name for name in cutmix_dense.__all__ if name[0].isupper() and name not in no_methods)


def check_name(words: Sequence[str]) -> None:
    """SpecError unless the first word of ``--transform`` names a transform; said before torch is loaded."""
    name = words[0].strip()
    if "(" in name and "=" not in name.partition("(")[0]:
        name = name.partition("(")[0].partition(".")[0].strip()
    if name:
        _lookup(name, dict.fromkeys(method_names(), object), "--transform")


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
        SpecError: as :func:`build_transform`.
    """
    pairs = getattr(dataset, "flip_pairs", None)
    return build_transform(words, dataset.mix_layout, **({} if pairs is None else {"flip_pairs": pairs}))


def add_dataset_arguments(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """``ROOT``, ``--layout``, ``--split``, the options of all readers; without `needed` the folder may be left out."""
    words = "folder of the dataset (layouts: datasets/README.md)"
    parser.add_argument("root", metavar="ROOT", nargs=None if needed else "?", help=words)
    parser.add_argument("--layout", choices=tuple(READERS), help="found out where the folder has one only")
    parser.add_argument("--split", help="name of the split (default: train, or the only one)")
    parser.add_argument(
        "--pixels",
        choices=Pixels.__args__,  # type: ignore[attr-defined]  # of a Literal
        help="how pictures are read: as they are stored (default), auto (8-bit ones in colour), or rgb alone",
    )
    group = parser.add_argument_group("options of layouts", "paths count from ROOT")
    for name, lines in _options().items():
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, dest=name, nargs="+", metavar=name.upper(), help="; ".join(lines).replace("%", "%%"))


def _options() -> dict[str, list[str]]:
    """The options of all readers, with a line of help from each layout that has them."""
    found: dict[str, dict[str, list[str]]] = {}
    for reader in READERS.values():
        for name, line in reader.options.items():
            found.setdefault(name, {}).setdefault(line, []).append(reader.layout)
    return {name: [f"{', '.join(layouts)}: {line}" for line, layouts in lines.items()] for name, lines in found.items()}


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of layouts that were typed: words, numbers, True or False, or lists of them."""
    given = {name: getattr(arguments, name, None) for name in _options()}
    return {name: _typed(name, words) for name, words in given.items() if words is not None}


def _typed(name: str, words: Sequence[str] | str) -> Any:
    if isinstance(words, str) or name in ("images", "annotations", "task", "label_ids"):
        return words if isinstance(words, str) else " ".join(words)
    if name == "classes":
        return list(words)
    values = []
    for word in words:
        try:
            values.append(ast.literal_eval(word.title() if word.lower() in ("true", "false", "none") else word))
        except (ValueError, SyntaxError):
            values.append(word)
    return values[0] if len(values) == 1 else values


def open_from(arguments: argparse.Namespace, defaults: Mapping[str, Any] | None = None) -> DenseDataset:
    """Open the dataset that the arguments of :func:`add_dataset_arguments` name.

    The name of a transform is checked first; nothing here loads torch.

    Args:
        arguments: what was typed.
        defaults: options of layouts, used where they are not typed and the layout has them.

    Raises:
        UserError: an option, a layout or a split that is not there; names those that are.
        DatasetError: what the reader says.
    """
    check_name(getattr(arguments, "transform", None) or ["CutMix"])
    root, options = Path(arguments.root), given_options(arguments)
    annotations = from_root(root, options.get("annotations"))
    layout = arguments.layout or layout_of(root, annotations)
    reader = reader_of(layout)
    for name in options:
        if name not in reader.options:
            others = ", ".join(each.layout for each in READERS.values() if name in each.options)
            raise UserError(f"--{name.replace('_', '-')} is for {others}; {root} is read as {layout}")
    split = arguments.split or default_split(root, layout, options)
    if arguments.split and not {"images", "annotations"} & set(options):
        splits = reader.find_splits(root)
        aliases = ("val", "valid", "validation")
        if splits and split not in splits and not (split in aliases and set(aliases) & set(splits)):
            raise UserError(f"--split {split}: {root} has {', '.join(splits)}")
    further = {name: value for name, value in (defaults or {}).items() if name in reader.options}
    pixels = getattr(arguments, "pixels", None)
    try:
        return open_complete(root, layout, split, pixels=pixels, **{**further, **options})
    except ValueError as error:
        if type(error) is ValueError:  # an option's value
            raise UserError(str(error)) from None
        raise


def grouped(problems: Iterable[tuple[str, str]], most: int = 5) -> dict[str, str]:
    """A line for each kind of problem: the first in full, and how many are like it.

    Args:
        problems: (file, reason).
        most: so many lines; the last one, of the kind "", says how many kinds there are besides.

    Returns:
        The lines by `kind_of` their reasons.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for file, reason in problems:
        found.setdefault(kind_of(reason), []).append((file, reason))
    lines = {kind: _line(cases) for kind, cases in found.items()}
    if len(lines) <= most + 1:
        return lines
    return {**dict(list(lines.items())[:most]), "": f"and {len(lines) - most:,} other reasons"}


def _line(cases: Sequence[tuple[str, str]]) -> str:
    """What problems of one kind are."""
    file, reason = cases[0][0], as_typed(cases[0][1])
    if len(cases) == 1:
        return f"{file}: {reason}"
    if len({other for _, other in cases}) == 1:
        return f"{len(cases):,} files: {reason}; first: {file}"
    files = len({name for name, _ in cases})
    return f"{file}: {reason} (and {len(cases) - 1:,} more like it{f', in {files:,} files' if files > 1 else ''})"


def positive(least: int = 1) -> Callable[[str], int]:
    """A type for argparse: a whole number of at least `least`."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return number


def cores() -> int:
    """How many processes can work at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --------------------------------------------------------------------------------------------------------------- errors


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """``--traceback``."""
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")


def as_typed(message: str) -> str:
    """A message of the package with its arguments as they are typed here: ``task='voc'`` is ``--task voc``."""
    names = "|".join(
        [*_options(), "layout", "split", "pixels", "to", "copies", "limit", "pool", "quality", "ray", "workers"]
    )

    def flag(match: re.Match[str]) -> str:
        value = match["value"] or ""
        return f"--{match['name'].replace('_', '-')}{' ' * bool(value)}{value[1:-1]}"

    message = re.sub(rf"(?<![\w-])(?P<name>{names})=(?P<value>'[^' ]*'|\"[^\" ]*\")?", flag, message)
    return re.sub(rf"^(?P<name>{names})(?P<value>)(?=:| must\b)", flag, message)


@contextmanager
def reporting_errors(program: str, traceback: bool = False) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr.

    Exit codes: 1 for a failure of the work itself, 2 for a mistake in what was asked for, 130 for Ctrl-C. Warnings of
    data are lines, too.
    """
    others = warnings.showwarning

    def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, DataWarning):
            print(f"{program}: warning: {as_typed(str(message))}", file=sys.stderr)
        else:
            others(message, category, *where, **more)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell  # put back by the block's end
            yield
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except (UserError, DatasetError, MixError, ImportError, FileNotFoundError, PermissionError) as error:
        if traceback:
            raise
        print(f"{program}: error: {as_typed(str(error))}", file=sys.stderr)
        raise SystemExit(1 if isinstance(error, MixError) else 2) from None
