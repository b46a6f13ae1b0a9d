"""Images whose pixels say who they are, and scores that follow from a pixel alone."""

from __future__ import annotations

import torch

H, W, K = 12, 20, 7


def coded(count: int) -> torch.Tensor:
    """Images of three channels whose pixels hold (id, x, y)."""
    y, x = torch.meshgrid(torch.arange(float(H)), torch.arange(float(W)), indexing="ij")
    return torch.stack([torch.stack([torch.full((H, W), float(i)), x, y]) for i in range(count)])


def scores_of(image: torch.Tensor) -> torch.Tensor:
    """Logits that a pixel's (id, x, y) alone decides: (…, 3, H, W) → (…, K, H, W)."""
    code = (image * torch.tensor([37.0, 5.0, 11.0])[:, None, None]).sum(dim=-3, keepdim=True)
    classes = torch.arange(K, dtype=torch.float32)[:, None, None]
    return 3 * torch.sin(code * (classes + 1) * 0.37)


def valid_of(image: torch.Tensor) -> torch.Tensor:
    return (image.sum(dim=-3) % 5) != 0
