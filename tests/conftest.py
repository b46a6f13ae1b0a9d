"""Settings of the whole suite: repeatable, one thread (the machines that run it have two cores)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

settings.register_profile("cutmix_dense", deadline=None, derandomize=True)
settings.load_profile("cutmix_dense")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)
