"""Settings of a config as they are typed: the words of ``--cfg-options``.

``KEY=VALUE``, where a value is a number, True, False, None, a list (``[a, b]`` or ``a,b``), a tuple (``(48, 64)``), a
dict (``dict(type=CutMix, p=0.5)`` or ``{type: CutMix, p: 0.5}``), or else a text as it stands, blanks included. Quotes
keep a text from being read as anything else: ``'1,2'``. Numbers, lists and tuples are read as MMEngine reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cutmix_dense.cli.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_CONTAINER = re.compile(r"dict\s*\(|[(\[{]")
_NOTHING = object()


def check_words(words: Sequence[str]) -> None:
    """Refuse words that aren't ``KEY=VALUE``, as those of a value with blanks that wasn't quoted."""
    for word in words:
        key, sign, _ = word.partition("=")
        if not sign or not key.strip():
            raise UserError(
                f"--cfg-options must be KEY=VALUE, got {word!r}; a value with blanks needs quotes round KEY=VALUE"
            )


def typed_options(words: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` words as keys and values; of a key that comes twice the last.

    Raises:
        UserError: a word without ``=``, a value that can't be read.
    """
    check_words(words)
    options = {}
    for word in words:
        key, _, value = word.partition("=")
        try:
            options[key.strip()] = read_value(value)
        except ValueError as error:
            raise UserError(f"--cfg-options {key.strip()}: {error}") from error
    return options


def read_value(text: str) -> Any:
    """The value that a text means.

    Args:
        text: what stands behind the first ``=``.

    Raises:
        ValueError: brackets that don't close each other; a dict with something else than names and values, or with a
            name twice.

    Example:
        >>> read_value("[traffic sign, car]"), read_value("(48, 64)"), read_value("/data/my set")
        (['traffic sign', 'car'], (48, 64), '/data/my set')
        >>> read_value("[dict(type='TensorboardVisBackend')]")
        [{'type': 'TensorboardVisBackend'}]
    """
    text = text.strip()
    if text[:1] in ("'", '"') and _end_of_quote(text, 0) == len(text) - 1:
        return _unquoted(text)
    begin = _CONTAINER.match(text)
    if begin and _end_of_bracket(text) == len(text) - 1:
        return _container(begin[0], text[begin.end() : -1])
    return _items(text) if "," in text else _scalar(text)


def merge_options(config: Config, options: Mapping[str, Any]) -> None:
    """Change a config as MMEngine does: a dict changes the keys that it names, or the whole with ``_delete_=True``.

    A dict also takes the place of what is no dict, such as None.

    Raises:
        UserError: a key that doesn't fit the config.
    """
    for key, value in options.items():
        for begin, rest in _beginnings(key):
            if isinstance(there := _found(config, begin), (type(None), bool, int, float, str)):
                raise UserError(
                    f"--cfg-options {key} doesn't fit the config, where {begin} is {there!r}: write "
                    f'"{begin}=dict({rest}=…)"'
                )
        try:
            config.merge_from_dict({key: _replacing(value, _found(config, key))}, allow_list_keys=True)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"--cfg-options {key} doesn't fit the config: {error}") from error


def _beginnings(key: str) -> Iterator[tuple[str, str]]:
    """Each beginning of a dotted key, and the step behind it."""
    steps = key.split(".")
    return ((".".join(steps[:count]), steps[count]) for count in range(1, len(steps)))


def _container(begin: str, inside: str) -> Any:
    """A list, a tuple or a dict by its first bracket and what stands between it and the last."""
    if begin == "[":
        return _items(inside)
    if begin == "(":
        return tuple(_items(inside))
    found: dict[Any, Any] = {}
    for part in _split(inside, ","):
        name, value = _named(part, begin)
        if name in found:
            raise ValueError(f"a dict must have each name once, got {name!r} twice")
        found[name] = read_value(value)
    return found


def _named(part: str, begin: str) -> tuple[Any, str]:
    """Name and value of an entry of a dict: ``name=value`` in ``dict(…)``, ``name: value`` in braces."""
    name, *values = _split(part, ":", 1) if begin == "{" else part.split("=", 1)
    if begin == "{" and values:
        key = read_value(name)
        if key is None or isinstance(key, (str, int, float)):
            return key, values[0]
    elif values and name.strip().isidentifier():
        return name.strip(), values[0]
    form = "{name: value}" if begin == "{" else "dict(name=value)"
    raise ValueError(f"a dict must be {form}, got {part.strip()!r} in it; quotes round a text keep it as it is")


def _items(text: str) -> list[Any]:
    return [read_value(part) for part in _split(text, ",")]


def _scalar(text: str) -> Any:
    """A number, True, False, None, or the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), None if text == "None" else text)


def _unquoted(text: str) -> str:
    """What stands between quotes; a backslash counts only before a quote, as paths of Windows have others."""
    return re.sub(r"\\(['\"])", r"\1", text[1:-1])


def _split(text: str, separator: str, most: int = -1) -> list[str]:
    """The parts between separators outside of brackets and quotes, without an empty last one."""
    parts: list[str] = []
    start = 0
    for place, char, depth in _outside(text):
        if char == separator and not depth and len(parts) != most:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]] if text[start:].strip() else parts


def _end_of_bracket(text: str) -> int:
    """The position that closes the first bracket of a text."""
    return next(place for place, char, depth in _outside(text) if char in _CLOSING.values() and not depth)


def _outside(text: str) -> Iterator[tuple[int, str, int]]:
    """Position and character of what stands outside of quotes, and how many brackets are open round it.

    A quote counts only where a value can begin, so an apostrophe within a word is a letter like others.
    """
    wrong = f"brackets must close each other, got {text!r}; quotes round a text keep it as it is"
    closing: list[str] = []
    begins, place = True, 0
    while place < len(text):
        char = text[place]
        end = _end_of_quote(text, place) if begins and char in "'\"" else None
        if end is not None:
            place, begins = end + 1, False
            continue
        if char in _CLOSING.values() and (not closing or closing.pop() != char):
            raise ValueError(wrong)
        yield place, char, len(closing)
        if char in _CLOSING:
            closing.append(_CLOSING[char])
        begins = char in "([{,:=" or (begins and char.isspace())
        place += 1
    if closing:
        raise ValueError(wrong)


def _end_of_quote(text: str, start: int) -> int | None:
    """The position of the quote that closes the one at ``start``, behind which a value can end; None for none."""
    for found in re.finditer(r"\\.|['\"]", text[start + 1 :]):
        place = start + 1 + found.start()
        if found[0] == text[start] and (text[place + 1 :].strip() or ",")[0] in ",:)]}":
            return place
    return None


def _found(config: Any, key: str) -> Any:
    """What a config has under a dotted key."""
    for step in key.split("."):
        if isinstance(config, (list, tuple)):
            config = config[int(step)] if step.isdigit() and int(step) < len(config) else _NOTHING
        elif hasattr(config, "get"):
            config = config.get(step, _NOTHING)
        else:
            return _NOTHING
    return config


def _replacing(value: Any, there: Any) -> Any:
    """A value whose dicts are marked where they take the place of something else, which MMEngine refuses unmarked."""
    if not isinstance(value, dict) or there is _NOTHING:
        return value
    if not isinstance(there, Mapping):
        return {**value, "_delete_": True}
    return {key: _replacing(inner, there.get(key, _NOTHING)) for key, inner in value.items()}
