"""Whole transforms on a CUDA device that isn't there: equal to the host, with launches, copies and waits counted.

Kernels are interpreted, which is settled when they are defined: the cases (``simulated/counted.py``) have a process of
their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", minversion="3.3", reason="Triton, which comes with torch for CUDA, isn't installed")

CASES = Path(__file__).parent / "simulated" / "counted.py"


def test_transforms_on_a_simulated_device():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
