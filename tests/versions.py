"""What older versions of torch and torchvision, which the package takes too, can't hold."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

HAS_ROTATED = hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY")
needs_rotated = pytest.mark.skipif(not HAS_ROTATED, reason="this torchvision has no rotated boxes")
needs_uint16 = pytest.mark.skipif(not hasattr(torch, "uint16"), reason="this torch has no uint16")
needs_stand_in = pytest.mark.skipif(
    not hasattr(torch, "uint16"), reason="this torch can't have the stand-in of a device"
)
needs_dispatch = pytest.mark.skipif(
    not hasattr(torch, "uint16"), reason="this torch can't watch operations on tensors that lose their class"
)
