"""The Triton kernels, interpreted on the CPU, against the reference paths.

Whether a kernel is compiled or interpreted is settled when it is defined, for the whole process. So that the rest of
the suite isn't disturbed, the cases (``interpreted.py``) run in a process of their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from in_own_process import assert_passes_interpreted

pytest.importorskip("triton", minversion="3.0")  # torch 2.4 and newer; without it the device path is plain torch

CASES = Path(__file__).with_name("interpreted.py")


def test_the_kernels_interpreted():
    assert_passes_interpreted(CASES)
