"""What the command lines share: arguments of data sets, opening one, and lines about what can't be read."""

from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cutmix_dense.cli.errors import UserError, as_typed
from cutmix_dense.cli.specs import (
    check_words,
)
from cutmix_dense.data import DenseDataset
from cutmix_dense.data.errors import kind_of
from cutmix_dense.data.pictures import Pixels
from cutmix_dense.data.readers.layouts import READERS, default_split, from_root, layout_of, open_complete, reader_of


def add_dataset_arguments(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """``ROOT``, ``--layout``, ``--split``, the options of all readers; without `needed` the folder may be left out."""
    words = "folder of the dataset (layouts: datasets/README.md)"
    parser.add_argument("root", metavar="ROOT", nargs=None if needed else "?", help=words)
    parser.add_argument("--layout", choices=tuple(READERS), help="layout of the folder (default: detected)")
    parser.add_argument("--split", help="name of the split (default: train, or the only one)")
    parser.add_argument(
        "--pixels",
        choices=Pixels.__args__,  # type: ignore[attr-defined]  # of a Literal
        help="how pictures are read: stored (unchanged, default), auto (8-bit pictures as RGB), or rgb (8 bits only)",
    )
    group = parser.add_argument_group("options of layouts", "paths are relative to ROOT")
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


def option_names() -> tuple[str, ...]:
    """The arguments that are options of layouts."""
    return tuple(_options())


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of layouts that were typed: words, numbers, True or False, or lists of them."""
    given = {name: getattr(arguments, name, None) for name in option_names()}
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

    The words of a transform are checked first, as far as they can be without torch, which nothing here loads.

    Args:
        arguments: what was typed.
        defaults: options of layouts, used where they are not typed and the layout has them.

    Raises:
        UserError: an option, a layout or a split that is not there; names those that are.
        DatasetError: what the reader says.
    """
    check_words(getattr(arguments, "transform", None) or ["CutMix"])
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
        known = {*splits, *reader.stated_splits(root)}
        if splits and split not in known and not (split in aliases and set(aliases) & set(splits)):
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


def counted(number: int, what: str) -> str:
    """A number and what it counts: ``1 sample``, ``2 samples``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def positive(least: int = 1, most: int | None = None) -> Callable[[str], int]:
    """A type for argparse: a whole number of at least `least`, and at most `most`."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if value < least or (most is not None and value > most):
            allowed = f"be at least {least}" if most is None else f"lie in {least}..{most}"
            raise argparse.ArgumentTypeError(f"must {allowed}, got {value}")
        return value

    return number


def within(least: float, most: float) -> Callable[[str], float]:
    """A type for argparse: a number in [least, most]."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, got {text!r}") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must lie in [{least:g}, {most:g}], got {text}")
        return value

    return number


def cores() -> int:
    """How many processes can work at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
