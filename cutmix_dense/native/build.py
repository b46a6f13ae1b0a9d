"""Compile the C files beside this one into one library: ``python cutmix_dense/native/build.py``.

``pip install`` does the same through ``hatch_build.py``. It needs a C compiler and nothing else; this file imports only
the standard library, so that it runs before the package is installed.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent

LIBRARY = HERE / ("cutmix_dense_native" + {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so"))
"""Where the library lies."""

# -ffp-contract=off: a product and a sum are rounded one by one, as torch does it, on every processor.
_FLAGS = ["-std=c99", "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-Wall", "-Wextra", "-shared"]


def digest() -> str:
    """A short hash of all C files, which the library states: one of other sources isn't used."""
    found = hashlib.sha256()
    for path in sorted([*HERE.glob("*.c"), *HERE.glob("*.h")]):
        found.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()[:16]


def _compiler() -> list[str] | None:
    """The compiler that ``CC`` names, that Python was built with, or that the path has; None without any."""
    given = os.environ.get("CC")
    for name in [given] if given else [sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]:
        command = shlex.split(name or "")
        if command and shutil.which(command[0]):
            return command
    return None


def build(*flags: str, library: Path = LIBRARY) -> str:
    """Compile the library; an older one is replaced only by one that compiled.

    Args:
        flags: further flags of the compiler.
        library: where it is written.

    Returns:
        "" where it worked, else why it didn't.
    """
    compiler = _compiler()
    if compiler is None:
        return "no C compiler was found"
    new = library.with_name(f"{library.name}.{os.getpid()}")
    position = [] if sys.platform == "win32" else ["-fPIC"]
    own = [*_FLAGS, *position, *shlex.split(os.environ.get("ARCHFLAGS", "")), *flags]
    command = [*compiler, *own, f'-DSOURCES="{digest()}"', "-o", str(new), *map(str, sorted(HERE.glob("*.c")))]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            return f"{compiler[0]} failed: {made.stderr.strip()}"
        new.replace(library)
    except OSError as error:
        return f"{compiler[0]} failed: {error}"
    finally:
        new.unlink(missing_ok=True)
    return ""


if __name__ == "__main__":
    problem = build(*sys.argv[1:])
    sys.exit(problem or print(LIBRARY))
