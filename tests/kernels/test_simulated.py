"""Whole transforms on a CUDA device that isn't there: equal to the host, with launches, copies and waits counted.

Kernels are interpreted, which is settled when they are defined: the cases (``simulated/counted.py``) have a process of
their own.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from in_own_process import assert_passes_interpreted

pytest.importorskip("triton", minversion="3.3", reason="Triton, which comes with torch for CUDA, isn't installed")

CASES = Path(__file__).parent / "simulated" / "counted.py"


def test_transforms_on_a_simulated_device():
    assert_passes_interpreted(CASES)
