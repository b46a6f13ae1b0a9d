"""Transforms as they are typed on a command line and as they stand in a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cutmix_dense.build import from_config, known_parts, known_transforms
from cutmix_dense.cli.specs import SpecError, _arguments, parse_transform

from .invariants import check_words
from .mutators import HOSTILE
from .surface import FAST, from_hypothesis
from .target import CALLING, Target

NAMES = sorted({**known_transforms(), **known_parts()})
ARGUMENTS = sorted({name for kind in {**known_transforms(), **known_parts()}.values() for name in _arguments(kind)})
NUMBERS = ["0", "1", "-1", "0.5", "2", "7", "1e9", "-inf", "nan", "1/3", "1/0", "9" * 400, "1_0", "0x10", "1j"]
WORDS = [
    "True",
    "None",
    "auto",
    "drop",
    "union",
    "xor",
    "BTCHW",
    "BCDHW",
    "'a'",
    "()",
    "[]",
    "lambda: 0",
    "{}",
    "*",
    "((((",
]
VALUES = st.sampled_from(
    [*NUMBERS, *WORDS, *NAMES, "0.2,0.5", "(0.2, 0.5)", "AreaBox.french()", "AreaBox.__init__", "open"]
)
JUNK = st.text(st.characters(codec="utf-8"), max_size=12)


@st.composite
def typed(draw: Any, depth: int = 2) -> str:
    """A call as in Python."""
    parts = []
    for name in draw(st.lists(st.sampled_from(ARGUMENTS), max_size=4)):
        value = draw(typed(depth - 1)) if depth and draw(st.booleans()) else draw(VALUES)
        parts.append(value if draw(st.integers(0, 7)) == 0 else f"{name}={value}")
    return f"{draw(st.sampled_from(NAMES))}({', '.join(parts)})"


@st.composite
def settings_of(draw: Any) -> list[str]:
    """A name and ``key=value`` words."""
    keys = st.one_of(st.sampled_from(ARGUMENTS), st.sampled_from(ARGUMENTS).map("region.{}".format), JUNK)
    pair = st.tuples(keys, st.one_of(VALUES, JUNK, typed(1))).map("=".join)
    return [draw(st.one_of(st.sampled_from(NAMES), JUNK)), *draw(st.lists(st.one_of(pair, pair, JUNK), max_size=4))]


@st.composite
def configs(draw: Any, depth: int = 2) -> Any:
    """A plain value as it stands in a config."""
    kind = draw(st.integers(0, 5)) if depth else 0
    if kind <= 1:
        numbers = [1, 0.5, 2.0, (0.1, 0.4), (1, 2), "drop", "roll", "bank", True]
        return draw(st.sampled_from([*numbers, *HOSTILE, *NAMES]))
    if kind == 2:
        return draw(st.lists(configs(depth - 1), max_size=3))
    keys = draw(st.lists(st.sampled_from(ARGUMENTS), max_size=3))
    config = {key: draw(configs(depth - 1)) for key in keys}
    if draw(st.integers(0, 9)):
        config["type"] = draw(
            st.sampled_from([*NAMES, "AreaBox.french", "AreaBox.draw", "cutmix_dense.CutMix", 7, None])
        )
    return config


def settings(folder: Path) -> Target:
    """A transform comes out of words and configs, or an error that says what is wrong with them."""

    @FAST
    @given(words=st.one_of(typed(), settings_of()), config=configs())
    def parse(words: Any, config: Any) -> None:
        try:
            made = parse_transform(words)
        except SpecError as error:
            check_words(error)
        else:
            repr(made)
        try:
            from_config(config)
        except CALLING as error:
            check_words(error)

    return from_hypothesis(parse)
