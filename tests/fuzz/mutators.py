"""Edits that keep the form of a file, so that what is hostile in it reaches the code behind the parser."""

from __future__ import annotations

import copy
import json
import random
import struct
import zlib
from typing import Any
from xml.etree import ElementTree

HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, -1e308, 5e-324),
    *(float("nan"), float("inf"), float("-inf"), "", "0", "nan", "../../x", "/etc/passwd", "a\0b", "\ud800", "é" * 300),
    *([], {}, [[]], [None], {"size": [12, 16], "counts": "\x7f"}, [[1e308, 1, 2, 3, 4, 5]], [[0, 0, 1e9, 0, 0, 1e9]]),
    *(
        {"size": [12, 16], "counts": [-5, 197]},
        {"size": [12, 16], "counts": [192]},
        [1, 2, 3, 4],
        "C:\\x",
        ".",
        "..\\x",
    ),
]
"""Values that a field may hold in a hostile file."""
WORDS = [
    "nan",
    "inf",
    "-inf",
    "1e308",
    "1e18",
    "-1",
    "0",
    "1",
    "9" * 400,
    "ship",
    "tank",
    ":",
    "gsd:",
    "é",
    "\0",
    "\u2028",
]
"""Words that a text file may hold."""


def _places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    stack = [node]
    while stack:
        here = stack.pop()
        keys = here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()
        for key in list(keys):
            found.append((here, key))
            stack.append(here[key])
    return found


def edit_json(data: bytes, most: int, seed: int) -> bytes:
    """Change, remove, move or double some values of a JSON file; bytes that are no JSON come back as they are."""
    draw = random.Random(seed)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return data
    for _ in range(draw.randint(1, 3)):
        places = _places(content, [])
        if not places:
            return data
        holder, key = draw.choice(places)
        kind = draw.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other, place = draw.choice(places)
            holder[key] = copy.deepcopy(other[place]) if place in (other if isinstance(other, dict) else ()) else None
        elif kind == 2 and isinstance(holder, list):
            holder.insert(draw.randint(0, len(holder)), copy.deepcopy(holder[key]))
        elif kind == 3 and type(holder[key]) in (int, float):
            holder[key] = holder[key] + draw.choice([-1, 1, 7, 1000, -1000])
        else:
            holder[key] = copy.deepcopy(draw.choice(HOSTILE))
    changed = json.dumps(content).encode()
    return changed if len(changed) <= most else data


def edit_xml(data: bytes, most: int, seed: int) -> bytes:
    """Change, remove or double elements of an XML file, or put something before it."""
    draw = random.Random(seed)
    try:
        tree = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return data
    for _ in range(draw.randint(1, 3)):
        parent = draw.choice(list(tree.iter()))
        kind = draw.randrange(5)
        if kind == 0 and len(parent):
            parent.remove(draw.choice(list(parent)))
        elif kind == 1 and len(parent):
            parent.append(copy.deepcopy(draw.choice(list(parent))))
        elif kind == 2:
            parent.tag = draw.choice(["object", "bndbox", "name", "size", "annotation", "part", "filename"])
        else:
            text = str(draw.choice(HOSTILE))
            parent.text = "".join(letter for letter in text if letter.isprintable() and letter < "\ud800")
    prolog = (
        b"" if draw.random() < 0.9 else draw.choice([b'<!DOCTYPE a [<!ENTITY b "c">]>', b"\xef\xbb\xbf", b"<!-- -->"])
    )
    changed = prolog + ElementTree.tostring(tree)
    return changed if len(changed) <= most else data


def edit_words(data: bytes, most: int, seed: int) -> bytes:
    """Change, remove or double words and lines of a text."""
    draw = random.Random(seed)
    lines = [line.split(" ") for line in data.decode("utf-8", "replace").split("\n")]
    for _ in range(draw.randint(1, 4)):
        line = draw.choice(lines)
        at = draw.randrange(len(line)) if line else 0
        kind = draw.randrange(4)
        if kind == 0:
            lines.append(list(line))
        elif kind == 1 and line:
            del line[at]
        elif kind == 2:
            line.insert(at, draw.choice(WORDS))
        elif line:
            line[at] = draw.choice(WORDS)
    changed = "\n".join(" ".join(line) for line in lines).encode()
    return changed if len(changed) <= most else data


def edit_png(data: bytes, most: int, seed: int) -> bytes:
    """Change header, length, order or content of the chunks of a PNG, with right check sums."""
    if data[:4] != b"\x89PNG":
        return data
    draw = random.Random(seed)
    chunks, at = [], 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks.append((kind, data[at + 8 : at + 8 + min(length, len(data))]))
        at += length + 12
    if not chunks:
        return data
    at = draw.randrange(len(chunks))
    kind, body = chunks[at]
    action = draw.randrange(5)
    if action == 0:
        del chunks[at]
    elif action == 1:
        chunks.insert(draw.randint(0, len(chunks)), chunks[at])
    elif action == 2 and chunks[0][0] == b"IHDR" and len(chunks[0][1]) == 13:
        header = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        place = draw.randrange(7)
        header[place] = draw.choice([0, 1, 2, 3, 4, 8, 16, 255, 12, 60000, 2**31 - 1, 2**32 - 1])
        chunks[0] = (b"IHDR", struct.pack(">IIBBBBB", *header[:2], *(value % 256 for value in header[2:])))
    elif action == 3 and kind == b"IDAT":
        try:
            pixels = bytearray(zlib.decompressobj().decompress(body, 1 << 20))
            if pixels:
                pixels[draw.randrange(len(pixels))] = draw.randrange(256)
                chunks[at] = (kind, zlib.compress(bytes(pixels)))
        except zlib.error:
            pass
    elif body:
        changed = bytearray(body)
        changed[draw.randrange(len(changed))] = draw.randrange(256)
        chunks[at] = (kind, bytes(changed))
    parts = [data[:8]]
    for kind, body in chunks:
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    changed = b"".join(parts)
    return changed if len(changed) <= most else data


def behind_a_byte(edit: Any) -> Any:
    """The same edit for inputs whose first byte is a choice."""

    def change(data: bytes, most: int, seed: int) -> bytes:
        if seed % 8 == 0 or not data:
            return bytes([seed // 8 % 256]) + data[1:]
        return data[:1] + edit(data[1:], most - 1, seed)

    return change
