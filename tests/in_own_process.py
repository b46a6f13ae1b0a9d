"""Cases whose Triton kernels are interpreted, which is settled for a whole process when they are defined."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["assert_passes_interpreted"]


def assert_passes_interpreted(cases: Path) -> None:
    """Run a file of tests in a process of its own, with its kernels interpreted; show what it printed if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(cases)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
