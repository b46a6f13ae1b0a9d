"""The Triton kernels, interpreted on the CPU, against the reference paths.

Whether a kernel is compiled or interpreted is settled when it is defined, for the whole process. So that the rest of
the suite isn't disturbed, the cases (``interpreted.py``) run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", minversion="3.0")  # torch 2.4 and newer; without it the device path is plain torch

CASES = Path(__file__).with_name("interpreted.py")


def test_the_kernels_interpreted():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
