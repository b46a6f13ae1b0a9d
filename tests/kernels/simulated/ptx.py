"""PTX executed on the host: what was compiled for a card computes real numbers, one thread after the other.

Threads run alone, which suits kernels in which none waits for another: a barrier or a shuffle is refused. Loads and
stores trap where the card would (misaligned, or outside of the tensors that the kernel was given).
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from kernels.simulated.card import Launch
from torch import Tensor

__all__ = ["COMPILER", "execute"]

COMPILER = shutil.which("g++")

_BITS = {
    "pred": "uint8_t",
    "b16": "uint16_t",
    "b32": "uint32_t",
    "b64": "uint64_t",
    "f32": "uint32_t",
    "f64": "uint64_t",
}
_BANKS = {"p": "pred", "rs": "b16", "r": "b32", "rd": "b64", "f": "f32", "fd": "f64"}
_SPECIAL = {"%tid.x": "tid", "%ctaid.x": "bx", "%ctaid.y": "by", "%ctaid.z": "0u", "%ntid.x": "THREADS"}
_COMPARED = {
    "eq": "==",
    "ne": "!=",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "lo": "<",
    "ls": "<=",
    "hi": ">",
    "hs": ">=",
}
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "rem": "%", "and": "&", "or": "|", "xor": "^"}

_HEAD = r"""
#include <cmath>
#include <cstdint>
#include <cstring>
using u8 = uint8_t; using u16 = uint16_t; using u32 = uint32_t; using u64 = uint64_t;
using s8 = int8_t; using s16 = int16_t; using s32 = int32_t; using s64 = int64_t;
using b8 = u8; using b16 = u16; using b32 = u32; using b64 = u64; using pred = u8;
using f32 = float; using f64 = double;
template <class To, class From> static To bits(From from) { To to; memcpy(&to, &from, sizeof to); return to; }
template <class T> static T shifted_left(T a, u32 by) { return by < 8 * sizeof(T) ? (T)(a << by) : (T)0; }
template <class T> static T shifted_right(T a, u32 by) {
    return by < 8 * sizeof(T) ? (T)(a >> by) : (T)(a < 0 ? -1 : 0);
}
template <class T> static T whole(f64 x) { /* as cvt: clamped, NaN is 0 */
    const f64 low = (f64)(T)((T)-1 < 0 ? (T)1 << (8 * sizeof(T) - 1) : 0);
    const f64 high = ldexp(1.0, 8 * sizeof(T) - ((T)-1 < 0));
    return x != x ? 0 : x <= low ? (T)low : x >= high ? (T)~(T)low : (T)x;
}
static u64 *ranges; static s64 spans; static s64 executed; static s64 written;
static bool inside(u64 at, u32 size) {
    if (at % size) return false;
    for (s64 i = 0; i < spans; i++) if (at >= ranges[2 * i] && at + size <= ranges[2 * i + 1]) return true;
    return false;
}
"""

_FOOT = r"""
extern "C" s64 run(u64 *P, s64 across, s64 down, u64 *given, s64 count, s64 *counts) {
    ranges = given; spans = count; executed = written = 0; s64 fault = 0;
    for (s64 y = 0; y < down && !fault; y++)
        for (s64 x = 0; x < across && !fault; x++)
            for (u32 t = 0; t < THREADS && !fault; t++) fault = thread(P, t, (u32)x, (u32)y);
    counts[0] = executed; counts[1] = written;
    return fault;
}
"""


def execute(launch: Launch) -> tuple[int, int]:
    """Run one launch on the tensors it was given, which lie on the host.

    Returns:
        How many instructions its threads executed, and how many bytes they wrote.

    Raises:
        RuntimeError: a thread loaded or stored where it must not; the message names the line.
        NotImplementedError: the kernel holds an instruction that isn't known here.
    """
    numbers, spans = [], []
    for value, kind in zip(launch.arguments, launch.kinds):
        if isinstance(value, Tensor):
            start = value.untyped_storage().data_ptr()
            numbers.append(value.data_ptr())
            spans += [start, start + value.untyped_storage().nbytes()]
        elif kind in ("fp32", "fp64"):
            numbers.append(int.from_bytes(struct.pack("<f" if kind == "fp32" else "<d", value), "little"))
        else:
            numbers.append(int(value) % 2**64)
    library = _library(launch.kernel.asm["ptx"])
    numbers += [0, 0]  # scratch memory, which nothing asks for
    counts = (ctypes.c_int64 * 2)()
    across, down, *_ = (*launch.grid, 1)
    fault = library.run(
        (ctypes.c_uint64 * len(numbers))(*numbers),
        ctypes.c_int64(across),
        ctypes.c_int64(down),
        (ctypes.c_uint64 * len(spans))(*spans),
        ctypes.c_int64(len(spans) // 2),
        counts,
    )
    if fault:
        raise RuntimeError(f"a thread got out of its memory or out of step at line {fault} of the PTX")
    return counts[0], counts[1]


def _library(ptx: str) -> Any:
    code = _translated(ptx)
    folder = Path(tempfile.gettempdir()) / "cutmix_dense_ptx"
    folder.mkdir(exist_ok=True)
    path = folder / f"{hashlib.sha256(code.encode()).hexdigest()[:24]}.so"
    if not path.exists():
        source = path.with_suffix(".cpp")
        source.write_text(code)
        made = path.with_suffix(".new")
        flags = ["-O1", "-w", "-std=c++17", "-ffp-contract=off", "-shared", "-fPIC"]
        subprocess.run([str(COMPILER), *flags, str(source), "-o", str(made)], check=True)
        made.replace(path)
    library = ctypes.CDLL(str(path))
    library.run.restype = ctypes.c_int64
    return library


def _translated(ptx: str) -> str:
    """A function of one thread in C++, from the only kernel of some PTX."""
    threads = re.search(r"\.reqntid (\d+)", ptx)
    assert threads is not None
    body = [f"#define THREADS {threads[1]}u", _HEAD, "static s64 thread(u64 *P, u32 tid, u32 bx, u32 by) {"]
    begun = False
    for number, line in enumerate(ptx.splitlines(), 1):
        text = line.split("//")[0].strip()
        if not begun:
            begun = text == "{"
            continue
        if text == "}":
            break
        body += _statement(text, number)
    return "\n".join([*body, "return 0; }", _FOOT])


def _statement(text: str, number: int) -> list[str]:
    """One line of PTX: a label, registers, or an instruction, which may be guarded."""
    if not text or text.startswith((".loc", ".pragma", ".file", ".section")):
        return []
    if label := re.fullmatch(r"(\$\w+):", text):
        return [f"{label[1].replace('$', 'L')}:;"]
    if registers := re.fullmatch(r"\.reg \.(\w+)\s+%(\w+?)<(\d+)>;", text):
        return [f"{_BITS[registers[1]]} {registers[2]}[{registers[3]}] = {{}};"]
    found = re.fullmatch(r"(?:@(!?)%(p)(\d+)\s+)?([\w.:]+)\s*(.*?);", text)
    if found is None:
        raise NotImplementedError(text)
    guard = f"if ({found[1]}{found[2]}[{found[3]}]) " if found[2] else ""
    return [f"executed++; {guard}{{ {_action(found[4].split('.'), _operands(found[5]), number)} }}"]


def _operands(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^{]*})", text) if part.strip()]


def _register(name: str) -> str:
    found = re.fullmatch(r"%([a-z]+)(\d+)", name)
    if found is None:
        raise NotImplementedError(name)
    return f"{found[1]}[{found[2]}]"


def _value(operand: str, kind: str) -> str:
    """An operand as a C++ expression of a PTX type."""
    if operand in _SPECIAL:
        return _SPECIAL[operand]
    if argument := re.search(r"_param_(\d+)$", operand):
        return f"(({kind})(u64)&P[{argument[1]}])"
    if operand.startswith(("0f", "0d")):
        size = 32 if operand[1] == "f" else 64
        return f"bits<f{size}>((u{size})0x{operand[2:]}ull)"
    if not operand.startswith("%"):
        return f"(({kind}){operand}ll)"
    register = _register(operand)
    return f"bits<{kind}>({register})" if kind in ("f32", "f64") else f"(({kind}){register})"


def _set(target: str, kind: str, value: str) -> str:
    """Write a register; narrow numbers are extended by their sign."""
    register = _register(target)
    bank = _BANKS[register.split("[")[0]]
    if kind in ("f32", "f64"):
        return f"{register} = bits<{_BITS[bank]}>(({kind})({value}));"
    return f"{register} = ({_BITS[bank]})({kind})({value});"


def _action(op: list[str], operands: list[str], number: int) -> str:
    """One instruction in C++."""
    name, kind = op[0], op[-1]
    target, given = operands[0] if operands else "", operands[1:]
    values = [] if name in ("ld", "st", "bra", "ret", "mov") else [_value(one, kind) for one in given if "[" not in one]
    floating = kind in ("f32", "f64")
    unsigned = "u" + kind[1:]
    if name in ("bra", "ret"):
        return "return 0;" if name == "ret" else f"goto {target.replace('$', 'L')};"
    if name in ("ld", "st"):
        return _access(op, target, operands[-1] if name == "st" else given[0], number)
    if name == "mov":
        return _moved(target, given[0], kind)
    if name in ("mul", "mad") and not floating:
        return _set(target, *_product(op, given))
    if name == "fma":
        return _set(target, kind, f"fma{'f' if kind == 'f32' else ''}({', '.join(values)})")
    if name in _INFIX:
        wraps = name in ("add", "sub") and not floating
        a, b = (f"({unsigned}){value}" if wraps else value for value in values)
        return _set(target, kind, f"{a} {_INFIX[name]} {b}")
    if name in ("min", "max"):
        if floating:
            return _set(target, kind, f"f{name}({values[0]}, {values[1]})")
        return _set(
            target, kind, f"{values[0]} {'<' if name == 'min' else '>'} {values[1]} ? {values[0]} : {values[1]}"
        )
    if name in ("neg", "not", "abs"):
        if name == "abs":
            return _set(
                target, kind, f"fabs({values[0]})" if floating else f"{values[0]} < 0 ? -{values[0]} : {values[0]}"
            )
        sign = "-" if name == "neg" else "!" if kind == "pred" else "~"
        return _set(target, kind, f"{sign}{values[0]}")
    if name in ("shl", "shr"):
        side, exact = ("left", unsigned) if name == "shl" else ("right", kind.replace("b", "u"))
        return _set(target, exact, f"shifted_{side}<{exact}>({_value(given[0], exact)}, {_value(given[1], 'u32')})")
    if name == "bfe":
        a, start, count = (_value(one, "u32") for one in given)
        return _set(target, "u32", f"shifted_right<u32>({a}, {start}) & (shifted_left<u32>(1, {count}) - 1)")
    if name == "setp":
        return _set(target, "pred", _comparison(op, given))
    if name == "selp":
        return _set(target, kind, f"{_value(given[2], 'pred')} ? {values[0]} : {values[1]}")
    if name == "cvt":
        return _set(target, op[-2], _converted(op, given[0]))
    raise NotImplementedError(".".join(op))


def _moved(target: str, given: str, kind: str) -> str:
    """A register from another, from several that it is made of, or several from the one that is made of them."""
    whole = kind.replace("b", "u")
    if target.startswith("{"):
        names = _operands(target.strip("{} "))
        size = int(kind[1:]) // len(names)
        parts = [_set(name, f"u{size}", f"whole >> {size * at}") for at, name in enumerate(names) if name != "_"]
        return " ".join([f"const {whole} whole = {_value(given, whole)};", *parts])
    if given.startswith("{"):
        names = _operands(given.strip("{} "))
        size = int(kind[1:]) // len(names)
        joined = [f"(({whole}){_value(name, f'u{size}')} << {size * at})" for at, name in enumerate(names)]
        return _set(target, whole, " | ".join(joined))
    return _set(target, kind, _value(given, kind))


def _product(op: list[str], given: list[str]) -> tuple[str, str]:
    """Type and value of a whole product, with what ``mad`` adds."""
    kind = op[-1]
    a, b = (_value(one, kind) for one in given[:2])
    signed, size = kind[0], int(kind[1:])
    if "wide" in op:
        kind = f"{signed}{2 * size}"
        value = f"({kind}){a} * ({kind}){b}"
    elif "hi" in op:
        value = f"(({signed}{2 * size}){a} * ({signed}{2 * size}){b}) >> {size}"
    else:
        value = f"(u{size}){a} * (u{size}){b}"
    return kind, value if op[0] == "mul" else f"(u{kind[1:]})({value}) + (u{kind[1:]}){_value(given[2], kind)}"


def _comparison(op: list[str], given: list[str]) -> str:
    kind = op[-1]
    how = op[1]
    unordered = how.endswith("u") and how[:-1] in _COMPARED and kind in ("f32", "f64")
    a, b = (_value(one, kind) for one in given[:2])
    how = how[:-1] if unordered else how
    if how in ("num", "nan"):
        found = f"({a} != {a} || {b} != {b})"
        found = found if how == "nan" else f"!{found}"
    else:
        found = f"({a} {_COMPARED[how]} {b})"
        if how == "ne" and not unordered and kind in ("f32", "f64"):
            found = f"({found} && {a} == {a} && {b} == {b})"
        if unordered:
            found = f"({found} || {a} != {a} || {b} != {b})"
    if len(given) > 2:
        joint = {"and": "&&", "or": "||", "xor": "!="}[op[2]]
        found = f"({found} {joint} {_value(given[2], 'pred')})"
    return found


def _converted(op: list[str], given: str) -> str:
    to, kind = op[-2:]
    value = _value(given, kind)
    rounding = {"rni": "nearbyint", "rmi": "floor", "rpi": "ceil", "rzi": "trunc"}
    found = next((rounding[part] for part in op if part in rounding), None)
    if found:
        value = f"{found}((f64){value})"
    return f"whole<{to}>({value})" if kind[0] == "f" and to[0] != "f" else value


def _access(op: list[str], target: str, other: str, number: int) -> str:
    """A load or a store; a kernel's own arguments are ``P``."""
    loads = op[0] == "ld"
    place, registers = (other, target) if loads else (target, other)
    kind = op[-1]
    found = re.fullmatch(r"\[\s*(\S+?)\s*(?:\+\s*(-?\d+))?\s*\]", place)
    assert found is not None
    if "global" not in op and "param" not in op:
        raise NotImplementedError(".".join(op))
    names = [name.strip() for name in registers.strip("{} ").split(",")]
    size = int(kind[1:]) // 8
    bits = f"u{8 * size}"
    parts = [f"u64 at = {_value(found[1], 'u64')} + ({found[2] or 0}ll);"]
    if "global" in op:
        parts.append(f"if (!inside(at, {size * len(names)})) return {number};")
    for index, name in enumerate(names):
        spot = f"(char *)at + {size * index}"
        if loads:
            parts.append(f"{{ {bits} x; memcpy(&x, {spot}, {size}); {_set(name, bits, 'x')} }}")
        else:
            parts.append(f"{{ {bits} x = ({bits}){_value(name, bits)}; memcpy({spot}, &x, {size}); }}")
    if not loads:
        parts.append(f"written += {size * len(names)};")
    return " ".join(parts)
