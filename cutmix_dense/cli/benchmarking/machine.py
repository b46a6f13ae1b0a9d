"""What a run was measured on: processor, caches, device and versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from cutmix_dense import backends

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "triton",
    "albumentations",
    "opencv-python-headless",
    "opencv-python",
    "mmengine",
    "mmcv",
    "mmdet",
    "kornia",
    "monai",
    "ultralytics",
)
"""Distributions whose versions are written down."""

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_ASSUMED = 32 * 2**20


def last_level_cache(device: torch.device | str = "cpu") -> int:
    """Bytes of the last cache before the device's memory; 32 MiB where the system doesn't tell."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)) or _ASSUMED
    sizes = [_bytes(path.read_text()) for path in _CACHES.glob("index*/size")]
    return max(sizes, default=0) or _from_lscpu() or _ASSUMED


def describe(device: torch.device | str) -> dict[str, Any]:
    """Machine and versions as plain values."""
    device = torch.device(device)
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "last_level_cache_mib": round(last_level_cache("cpu") / 2**20, 1),
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "device": device.type,
        "backend": backends().host,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts["gpu"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        facts["gpu_cache_mib"] = round(last_level_cache(device) / 2**20, 1)
        facts["cuda"] = torch.version.cuda
    facts["versions"] = {name: version for name in PACKAGES if (version := _version(name))}
    return facts


def _bytes(text: str) -> int:
    text = text.strip()
    unit = {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
    digits = text.rstrip("KMG")
    return int(digits) * unit if digits.isdigit() else 0


def _from_lscpu() -> int:
    try:
        text = subprocess.run(["lscpu", "-B", "-C=ALL-SIZE"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return max((int(word) for word in text.split() if word.isdigit()), default=0)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
