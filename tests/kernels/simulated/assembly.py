"""What became of a kernel: its registers, spills and barriers, and how wide it loads and stores, read from its SASS."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from triton import knobs

__all__ = ["Assembly", "read"]

_WIDTHS = {"128": 16, "64": 8, "U16": 2, "S16": 2, "U8": 1, "S8": 1}


@dataclass(frozen=True)
class Assembly:
    """One kernel as the card would run it.

    Attributes:
        registers: per thread.
        spilled: loads and stores of what didn't fit into registers.
        shared: bytes per block.
        barriers: instructions at which the threads of a block wait for each other.
        instructions: all, each counted once, without the padding behind the end.
        loads: from global memory, by the bytes that each takes.
        stores: to global memory, by the bytes that each writes.
        calls: of subroutines, as some divisions are.
    """

    registers: int
    spilled: int
    shared: int
    barriers: int
    instructions: int
    calls: int
    loads: Counter[int] = field(default_factory=Counter)
    stores: Counter[int] = field(default_factory=Counter)


def read(kernel: Any) -> Assembly:
    """The facts of a compiled kernel, a ``Launch.kernel``."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = _output(knobs.nvidia.cuobjdump.path, "-res-usage", file.name)
        code = _output(knobs.nvidia.nvdisasm.path, "-c", file.name)
    used = {name: int(value) for name, value in re.findall(r"(REG|SHARED):(\d+)", usage)}
    names = [match[1] for line in code.splitlines() if (match := _INSTRUCTION.search(line))]
    while names and names[-1] == "NOP":
        names.pop()
    if names and names[-1] == "BRA":  # the trap behind the end
        names.pop()
    kinds = Counter(name.split(".")[0] for name in names)
    return Assembly(
        registers=used["REG"],
        spilled=kinds["LDL"] + kinds["STL"],
        shared=used["SHARED"],
        barriers=kinds["BAR"],
        instructions=len(names),
        calls=kinds["CALL"],
        loads=Counter(_width(name) for name in names if name.startswith("LDG")),
        stores=Counter(_width(name) for name in names if name.startswith("STG")),
    )


_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")


def _width(name: str) -> int:
    return next((width for part in name.split(".") if (width := _WIDTHS.get(part))), 4)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
