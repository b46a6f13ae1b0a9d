"""Settings of the whole suite: repeatable, one thread (the machines that run it have two cores)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import settings

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("cutmix_dense", deadline=None, derandomize=True)
settings.load_profile("cutmix_dense")


@pytest.fixture(scope="session")
def real():
    """A function that gives the folder of a real dataset, or skips."""

    def folder(name: str) -> Path:
        if not (SHARED / name).is_dir():
            pytest.skip(f"the real dataset {name} is not beside the repository")
        return SHARED / name

    return folder


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
