"""Networks train a few steps on mixed volumes and clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.video import r3d_18

import cutmix_dense as cd


def steps(net: nn.Module, batches: Any, loss_of: Any, rate: float, count: int) -> list[float]:
    optimiser = torch.optim.Adam(net.parameters(), rate)
    losses = []
    for _ in range(count):
        loss = loss_of(*batches())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    return losses


@pytest.mark.parametrize("method", ["CutMix", "ResizeMix", "FMix", "CarveMix"])
def test_a_network_learns_to_segment_volumes(method: str, generator):
    if method == "CarveMix":
        pytest.importorskip("scipy")
    volumes, maps = torch.zeros(4, 1, 12, 16, 20), torch.zeros(4, 12, 16, 20, dtype=torch.long)
    for index in range(4):
        maps[index, 2 + index : 7 + index, 3:10, 2 + 2 * index : 10 + 2 * index] = 1
        maps[index, 0] = 255  # unlabelled
        volumes[index] = (maps[index] == 1) + 0.3 * torch.randn(12, 16, 20, generator=generator)
    mix = getattr(cd, method)(p=0.7, layout="BCDHW")
    net = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 2, 3, padding=1))

    def loss_of(images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        assert set(targets.unique().tolist()) <= {0, 1, 255}
        return nn.functional.cross_entropy(net(images), targets, ignore_index=255)

    losses = steps(net, lambda: mix(volumes, maps, generator=generator), loss_of, 2e-2, 12)
    assert np.mean(losses[-3:]) < 0.8 * losses[0]


@pytest.mark.parametrize("region", [None, cd.regions.PathBox()])
def test_torchvisions_video_classifier_trains_on_clips(region: Any, generator):
    clips = torch.rand(4, 4, 3, 16, 16, generator=generator)  # (B, T, C, H, W)
    clips[2:] += torch.linspace(0, 1, 4).reshape(4, 1, 1, 1)  # two of them grow brighter
    labels = torch.tensor([0, 0, 1, 1])
    mix = cd.CutMix(region=region, p=1.0, layout="BTCHW", num_classes=2, pairing="shuffle")
    net = r3d_18(weights=None, num_classes=2)

    def loss_of(mixed: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))
        return nn.functional.cross_entropy(net(mixed.transpose(1, 2)), targets)  # which takes (B, C, T, H, W)

    losses = steps(net, lambda: mix(clips, labels, generator=generator), loss_of, 1e-3, 6)
    assert losses[-1] < losses[0]


def test_cuboids_of_clips_for_classifiers(generator):
    """A clip taken as a volume (B, C, T, H, W): the region is cut in time as well."""
    clips = torch.arange(4.0).reshape(4, 1, 1, 1, 1).expand(4, 3, 10, 12, 14).clone()
    out, labels = cd.CutMix(p=1.0, layout="BCDHW", num_classes=4)(clips, torch.arange(4), generator=generator)
    for index in range(4):
        foreign = (out[index, 0] != index).float()
        torch.testing.assert_close(float(labels[index, index]), 1 - float(foreign.mean()))
    per_frame = (out[:, 0] != torch.arange(4.0).reshape(4, 1, 1, 1)).float().mean((2, 3))
    assert (per_frame.amin(dim=1) < per_frame.amax(dim=1)).any(), "some frames are cut, others not"
