"""Random plans, right and wrong, through every function that applies one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from cutmix_dense import functional
from cutmix_dense.plan import MixPlan

from .invariants import check_mixed
from .surface import FAST, from_hypothesis, instances
from .target import CALLING, Target


@st.composite
def made_plans(draw: Any, pool: int, sizes: torch.Tensor) -> dict[str, Any]:
    """The fields of a plan."""
    hostile = draw(st.booleans())
    outputs, layers = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    top, height, width = draw(st.integers(0, 9)), draw(st.integers(1, 10)), draw(st.integers(1, 10))
    grid = [draw(st.integers(1, 4)) for _ in range(2)]
    noise = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))

    def whole(low: int, high: int, shape: Any) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=noise)

    source = whole(-1, pool, (outputs, layers))
    source[:, 0] = source[:, 0].clamp(min=0)
    edges = []
    for cells, side in zip(grid, (height, width)):
        inner = whole(0, side + 1, (outputs, cells + 1)).sort(dim=1).values
        inner[:, 0], inner[:, -1] = 0, side
        edges.append(inner)
    owner = whole(-1, layers, (outputs, *grid))
    present = torch.gather(source >= 0, 1, owner.clamp(min=0).flatten(1)).reshape(owner.shape)
    owner = torch.where(present, owner, -1)
    scales = torch.tensor([1.0, 1.0, 0.5, 2.0, -1.0, 0.3, 7.7, 1e-3, -1e3])
    scale = scales[whole(0, draw(st.sampled_from([1, 9])), (outputs, layers, 2))]
    shift = (whole(-6, 7, (outputs, layers, 2)) / draw(st.sampled_from([1, 3]))).float()
    reach = sizes[source.clamp(min=0)]
    extent = torch.cat([(reach * 0).clamp(max=top), reach], dim=2)
    fields: dict[str, Any] = {
        "source": source,
        "scale": scale,
        "shift": shift,
        "extent": extent,
        "canvas": torch.tensor([[height, width]]).repeat(outputs, 1),
        "edges": tuple(edges),
        "owner": owner,
        "frame": (height, width),
    }
    if draw(st.integers(0, 3)) == 0:
        fields["carry"] = whole(0, 2, (outputs, layers, draw(st.integers(0, 4)))).bool()
    if hostile:
        name = draw(st.sampled_from(sorted(fields)))
        value = fields[name]
        if isinstance(value, torch.Tensor) and value.numel():
            odd = [-2, -1, 0, 1, 2, 5, 99, 10**9, -(10**9), 2**40]
            changed = value.clone()
            if value.is_floating_point():
                odd += [float("nan"), float("inf"), 1e-30, 1e30, -1e-9]
            changed.view(-1)[draw(st.integers(0, value.numel() - 1))] = draw(st.sampled_from(odd))
            shapes = [
                changed[:-1],
                changed[..., :-1],
                changed[None],
                changed.float(),
                changed.long(),
                changed.to(torch.int8),
            ]
            fields[name] = draw(st.sampled_from([*shapes, changed, changed, changed, changed]))
        else:
            odd = [(), value[:1], (*value, value[0])]
            fields[name] = draw(st.sampled_from([*odd, (0, 0), (-1, 4), (10**7, 2)] if name == "frame" else odd))
    return fields


@st.composite
def cases(draw: Any) -> tuple[Any, Any, Any]:
    """Images, targets and the fields of a plan over them."""
    count = draw(st.integers(1, 3))
    side = st.integers(1, 10)
    sizes = [(draw(side), draw(side)) for _ in range(count)]
    keys = frozenset({"boxes", "labels", *draw(st.lists(st.sampled_from(["masks", "area", "keypoints"]), max_size=2))})
    targets = [draw(instances(size, keys, False)) for size in sizes]
    images = [torch.rand(3, *size) for size in sizes]
    return images, targets, draw(made_plans(count, torch.tensor(sizes)))


def plans(folder: Path) -> Target:
    """Plans are refused, or applied to everything; shares are shares."""

    @FAST
    @given(case=cases(), smooth=st.booleans())
    def apply(case: Any, smooth: bool) -> None:
        images, targets, fields = case
        if max(fields["frame"], default=0) > 10**4:
            return  # as large as asked for
        try:
            plan = MixPlan(**fields)
        except CALLING:
            return
        share = plan.share()
        assert bool(((share >= 0) & (share <= 1 + 1e-9)).all()), share
        assert bool((share.sum(dim=1) <= 1 + 1e-9).all()), share
        mixed = each(
            lambda: functional.mix_pixels(images, plan, fill=0, interpolation="bilinear" if smooth else "nearest")
        )
        maps = [(image[0] * 9).to(torch.uint8) for image in images]
        semantic = each(lambda: functional.mix_semantic(maps, plan))
        if mixed is not None:
            assert all(bool(image.isfinite().all()) for image in mixed)
        if semantic is not None:
            known = {255, *(int(value) for one in maps for value in one.unique())}
            assert {int(value) for one in semantic for value in one.unique()} <= known, "a class was invented"
        result = each(lambda: functional.mix_instances(targets, plan, boxes="estimate"))
        if result is not None and mixed is not None:
            check_mixed(mixed, result[0] if isinstance(result, tuple) else result)
        each(lambda: functional.mix_labels(torch.arange(len(images)), plan, num_classes=4))

    return from_hypothesis(apply)


def each(call: Any) -> Any:
    """The result of a call, None where it refuses its arguments."""
    try:
        return call()
    except CALLING:
        return None
