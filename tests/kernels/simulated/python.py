"""Python with a CUDA device that isn't there: ``python tests/kernels/simulated/python.py SCRIPT`` (or ``-m MODULE``).

What it runs finds one CUDA device (``SimulatedDevice``); so scripts for a card are rehearsed where none is.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"  # before any kernel is defined
ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Run a script or a module with the arguments behind its name."""
    sys.path[:1] = [str(ROOT), str(ROOT / "tests")]
    from kernels.simulated.device import SimulatedDevice

    module = sys.argv[1] == "-m"
    name, sys.argv = sys.argv[1 + module], sys.argv[1 + module :]
    with SimulatedDevice():
        if module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(name, run_name="__main__")


if __name__ == "__main__":
    main()
