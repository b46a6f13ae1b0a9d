"""Affine: turn, scale, shear and shift images and all that belongs to them, as recipes do behind a mosaic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.checks import finite, sides, zoom
from cutmix_dense.functional.affine import AffinePlan, Anchor, laid_out, move_map, move_pixels, move_rows
from cutmix_dense.functional.fields import IMAGE_KEYS, INSTANCE_KEYS, are_dicts
from cutmix_dense.functional.instances import mixed_instances
from cutmix_dense.functional.padded import is_padded, mixed_padded
from cutmix_dense.functional.pixels import default_fill
from cutmix_dense.functional.semantic import has_pair
from cutmix_dense.functional.wrapping import as_plain, rewrap
from cutmix_dense.randomness import call_generator
from cutmix_dense.regions import uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.box_format import output_sizes
from cutmix_dense.transforms.extents import check_extents, check_size
from cutmix_dense.transforms.frames import are_frames, check_frames, frames_named
from cutmix_dense.transforms.layout import Layout, has_frames
from cutmix_dense.transforms.pool import Images, Pool
from cutmix_dense.transforms.targets import TargetMixer


class Affine(MixTransform):
    """Turn, scale, shear and shift every image with its boxes, masks, keypoints and maps of class ids.

    It mixes nothing; detectors' recipes have it behind a mosaic, in a ``Chain``. Pixels,
    masks, boxes and points are moved by torchvision's ``v2.functional.affine``, image by image. Boxes are the upright
    ones round the moved boxes, or round what shows of the moved masks. Instances are judged by the same rules as in a
    mix: ``visibility`` is the share of the moved mask (else of the moved box) that lies on the canvas, times an
    incoming one. Masks are moved on an area that holds all of them, so that what is cut counts. Numbers of instances
    (``area``) change with the scale. All frames of a clip follow one map; padded boxes keep their slots.

    Args:
        degrees: angle ~ U(-degrees, degrees), clockwise.
        translate: shift along each axis ~ U(-translate, translate) of the output's side, rounded to whole pixels.
        scale: factor ~ U(low, high), from 0.01 to 30.
        shear: shear along x and along y ~ U(-shear, shear), degrees.
        size: (height, width) of the output; default the image's own size. Images that aren't moved lie at its origin,
            scaled down where they are larger.
        anchor: ``"center"``: the image's centre goes to the output's, before the shift; ``"corner"``: the corner at
            the origin stays there, as in YOLOX.
        of: within a ``Chain``: which samples may be moved, ``"all"`` or only those that the transform before it mixed.
        p: probability that an image is moved, per sample.
        fill: value of pixels that the moved image doesn't reach; see ``Mosaic``.
        common: arguments of ``MixTransform``; ``interpolation`` is ``"bilinear"`` (also None) or ``"nearest"``.

    Raises:
        ValueError: an argument is out of range; rotated boxes or panoptic targets; ``outputs`` below the number of
            images, since there are no partners.
        TypeError: a map of floating point, which has no value for what the moved image doesn't reach.

    Source: ``RandomAffine`` of torchvision, as DEIM's Mosaic uses it (``engine/data/transforms/mosaic.py``).

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> targets = [{"boxes": torch.tensor([[2.0, 2.0, 6.0, 4.0]]), "labels": torch.tensor([1])}]
        >>> half = cd.Affine(degrees=0, translate=0, scale=(0.5, 0.5))
        >>> half(torch.rand(1, 3, 8, 12), targets)[1][0]["boxes"].tolist()
        [[4.0, 3.0, 6.0, 4.0]]
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BTCHW")
    mixes_panoptic = False

    def __init__(
        self,
        *,
        degrees: float = 10.0,
        translate: float = 0.1,
        scale: tuple[float, float] = (0.5, 1.5),
        shear: float = 0.0,
        size: tuple[int, int] | None = None,
        anchor: Anchor = "center",
        of: Literal["mixed", "all"] = "mixed",
        p: float = 1.0,
        fill: float | Sequence[float] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(p=p, fill=fill, **common)
        for name, value, most in (("degrees", degrees, 180), ("translate", translate, 1), ("shear", shear, 89)):
            if not (finite(value) and 0 <= value <= most):
                raise ValueError(f"{name} must be one number in [0, {most}], got {value!r}")
        if anchor not in get_args(Anchor):
            raise ValueError(f"anchor must be one of {get_args(Anchor)}, got {anchor!r}")
        if of not in ("mixed", "all"):
            raise ValueError(f"of must be 'mixed' or 'all', got {of!r}")
        if self.interpolation == "antialias":
            raise ValueError("interpolation must be 'bilinear' or 'nearest': torchvision's affine has no 'antialias'")
        if self.split == "parts":
            raise ValueError("split must be 'hull': nothing splits an instance here, got 'parts'")
        self.degrees = float(degrees)
        self.translate = float(translate)
        self.scale = zoom(scale, "scale", "1 keeps the size of an image; a size in pixels is size=(height, width)")
        self.shear = float(shear)
        self.size = None if size is None else sides(size, "size", "(height, width) in pixels")
        self.anchor: Anchor = anchor
        self.of: Literal["mixed", "all"] = of

    @property
    def partners(self) -> int:
        """No other image is needed."""
        return 0

    @property
    def bank(self) -> None:
        """No other image is needed, whatever the pairing."""

    def pool_of(self, images: Images, targets: Any = None, sizes: Any = None, outputs: int | None = None) -> Pool:
        """Check the images and targets of a call; ``outputs`` can't leave any out, since nobody is a partner."""
        pool = super().pool_of(images, targets, sizes, outputs)
        if pool.outputs < len(pool):
            raise ValueError(
                f"outputs must be the number of images ({len(pool)}) for an Affine, which takes no partner, got "
                f"{outputs}: leave it out, and give the images to be moved alone"
            )
        return pool

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> AffinePlan:  # type: ignore[override]
        """Draw a map per image: an ``AffinePlan``, which takes the place of a ``MixPlan`` here."""
        count, sizes = pool.outputs, pool.sizes[: pool.outputs].numpy()
        draws = uniform(count, 7, generator).numpy()
        canvas = sizes if self.size is None else np.array([self.size] * count, dtype=np.int64)
        swing = 2 * draws - 1
        return AffinePlan(
            moved=draws[:, 0] < self._chance(pool, np.arange(count)),
            angle=swing[:, 1] * self.degrees,
            scale=self.scale[0] + draws[:, 2] * (self.scale[1] - self.scale[0]),
            shift=np.rint(swing[:, 3:5] * self.translate * canvas),
            shear=swing[:, 5:7] * self.shear,
            sizes=sizes,
            canvas=canvas,
            frame=pool.frame if self.size is None else self.size,
            anchor=self.anchor,
        )

    def make_plan(  # type: ignore[override]
        self,
        images: Images,
        targets: Any = None,
        *,
        sizes: Any = None,
        generator: torch.Generator | None = None,
        outputs: int | None = None,
        p: Any = None,
    ) -> AffinePlan:
        """Draw a map per image without applying it; arguments as for the call."""
        pool = self.pool_of(images, targets, sizes, outputs)
        return self.draw_plan(pool if p is None else pool.with_p(p), call_generator(generator))

    def apply_plan(  # type: ignore[override]
        self, plan: AffinePlan, images: Images, targets: Any = None, *, sizes: Any = None, **options: Any
    ) -> Any:
        """Move by given maps; nothing is drawn. Arguments and result as for the call, always with targets."""
        return self.mix_pool(plan, self.pool_of(images, targets, sizes), **options)

    def mix_batch(  # type: ignore[override]
        self,
        images: Images,
        targets: Any,
        sizes: Any,
        generator: torch.Generator | None,
        *,
        outputs: int | None = None,
        p: Any = None,
        **settings: Any,
    ) -> tuple[tuple[Any, ...], AffinePlan]:
        """The call for images and targets that were read: the result, and the maps behind it."""
        pool = self.pool_of(images, targets, sizes, outputs)
        plan = self.draw_plan(pool if p is None else pool.with_p(p), call_generator(generator))
        return self.mix_pool(plan, pool, **settings), plan

    def mix_pool(
        self,
        plan: AffinePlan,  # type: ignore[override]
        pool: Pool,
        *,
        out: Tensor | None = None,
        inplace: bool = False,
        return_report: bool = False,
        label_keys: Sequence[str | int] = (),
    ) -> Any:
        """Move the images and targets of a pool by given maps."""
        if not isinstance(plan, AffinePlan):
            raise TypeError(f"plan must be an AffinePlan, got a {type(plan).__name__}: apply it by a mix's apply_plan")
        if plan.sizes.tolist() != pool.sizes.tolist():
            raise ValueError(f"plan must be of the sizes {pool.sizes.tolist()}, got one of {plan.sizes.tolist()}")
        crops, areas = plan.crops()
        targets: Any = None
        reports: list[Any] = []
        if pool.targets is not None:
            # the targets lie in what holds all of the moved image, the canvas is cut out of that
            there = replace(
                pool, targets=self._moved(pool.targets, plan, pool, "targets"), sizes=torch.from_numpy(areas)
            )
            keys, by_name = (*self.label_keys, *label_keys), self.labels_getter == "default"
            mixer = TargetMixer(self.rules, keys, self.labels_by, by_name, self.interpolation)
            mixed = mixer.mix(there.targets, crops, there, reports=return_report)
            padded = isinstance(pool.images, Tensor)
            targets, reports = laid_out(pool.targets, mixed.targets, plan, self.rules, padded), mixed.reports
        if return_report and len(reports) != 1:
            raise ValueError(f"return_report needs one list of detection targets, got {len(reports)}")
        images = self.mix_images(pool.images, plan, out=out, inplace=inplace)
        if pool.box_form is not None:
            frames = self.normalized == "frame"
            targets = pool.box_form.from_pixels(targets, output_sizes(images, 2) if frames else crops.canvas)
        return (images, targets, *reports) if return_report else (images, targets)

    def mix_images(  # type: ignore[override]
        self, images: Any, plan: AffinePlan, *, out: Tensor | None = None, inplace: bool = False
    ) -> Any:
        """Move images alone by given maps: those that stay are handled as by a plan."""
        if inplace:
            raise ValueError("inplace can't be used with an affine map: its pixels move; give out= instead")
        canvases: Any = super().mix_images(images, plan.fitted(), out=out)
        fill = default_fill(images[0].dtype) if self.fill is None else self.fill
        read: Any = self.interpolation or "bilinear"
        for index in plan.moved.nonzero()[0].tolist():
            height, width = plan.sizes[index].tolist()
            image = as_plain(images[index])[..., :height, :width]
            if image.dtype == torch.bool or image.is_complex():
                raise TypeError(f"images must hold numbers to be moved, got {image.dtype}")
            frames = image if has_frames(self.layout) else image[None]
            parts = [move_pixels(frame, plan, index, fill, interpolation=read) for frame in frames]
            moved = torch.stack(parts) if has_frames(self.layout) else parts[0]
            if isinstance(canvases, Tensor):
                as_plain(canvases)[index, ..., : moved.shape[-2], : moved.shape[-1]] = moved
            else:
                canvases[index] = rewrap(moved, images[index])
        return canvases

    def _moved(self, value: Any, plan: AffinePlan, pool: Pool, name: str) -> Any:
        """Targets as they lie in what holds all of their moved images; see ``AffinePlan.crops``."""
        if isinstance(value, Mapping):
            if is_padded(value):
                return self._moved_slots(value, plan, pool, name)
            kept = IMAGE_KEYS.union(self.image_keys)
            return {
                key: item if key in kept else self._moved(item, plan, pool, f"{name}[{key!r}]")
                for key, item in value.items()
            }
        if has_pair(value):
            raise TypeError(f"{name} is a SemanticPair, which can't be moved: move before a MixUp, not behind it")
        several = isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.ndim > 0)
        if several and len(value) != len(pool):
            raise ValueError(f"{name} must have one entry per image ({len(pool)}), got {len(value)}")
        if has_frames(self.layout):
            check_frames(value, name)
        if has_frames(self.layout) and are_frames(value):
            for number, clip in enumerate(value):
                if len(clip) != pool.frames:
                    raise ValueError(f"{name}[{number}] must hold a dict per frame ({pool.frames}), got {len(clip)}")
            with frames_named(pool.frames, name):
                check_extents([frame for clip in value for frame in clip], pool, self.rules)
            columns = []
            for time, frame in enumerate(zip(*value)):
                with frames_named(partial(_at, time), name):
                    columns.append(self._moved_rows(frame, plan, "targets"))
            return [list(clip) for clip in zip(*columns)]
        if isinstance(value, (list, tuple)) and value and are_dicts(value):
            check_extents(value, pool, self.rules)
            return self._moved_rows(value, plan, name)
        per_pixel = isinstance(value, Tensor) and value.ndim > 2
        if isinstance(value, (list, tuple)):
            per_pixel = all(isinstance(item, Tensor) and item.ndim > 1 for item in value)
        if not per_pixel:
            return value
        for index, item in enumerate(value):
            check_size(item, pool, index, f"{name}[{index}]")
        return [
            move_map(item, plan, index, self.ignore_index, name) if plan.moved[index] else item
            for index, item in enumerate(value)
        ]

    def _moved_rows(self, value: Sequence[Mapping[str, Any]], plan: AffinePlan, name: str) -> list[Mapping[str, Any]]:
        """Targets of one image each, moved; nothing is cut yet."""
        boxes = [{"boxes": row["boxes"]} if "boxes" in row else {} for row in value]
        mixed_instances(boxes, plan.fitted(), self.rules)  # warns of broken boxes, or refuses them, where they lie
        return [
            move_rows(row, plan, index, self.rules, f"{name}[{index}]") if plan.moved[index] else row
            for index, row in enumerate(value)
        ]

    def _moved_slots(self, value: Mapping[str, Any], plan: AffinePlan, pool: Pool, name: str) -> dict[str, Any]:
        """Padded boxes and the rows of their slots as ``_moved`` moves lists; other entries as in any dict."""
        slots, names = value["boxes"].shape[:2], {"valid", *INSTANCE_KEYS, *self.rules.instance_keys}
        if slots[0] != len(plan.moved):
            raise ValueError(f"{name}['boxes'] must have one entry per image ({len(plan.moved)}), got {slots[0]}")
        rows = {k: as_plain(v) for k, v in value.items() if k in names and torch.is_tensor(v) and v.shape[:2] == slots}
        mixed_padded(rows, plan.fitted(), self.rules)  # warns of broken boxes, or refuses what can't be padded
        images = [
            move_rows(row, plan, index, self.rules, f"{name}[{index}]") if plan.moved[index] else row
            for index, row in enumerate({key: item[i] for key, item in rows.items()} for i in range(slots[0]))
        ]
        rest = self._moved({key: item for key, item in value.items() if key not in rows}, plan, pool, name)
        return {**rest, **{key: torch.stack([image[key] for image in images]) for key in rows}}


def _at(time: int, clip: int) -> tuple[int, int]:
    """The place of a clip's frame, where frames of one time are read together."""
    return clip, time
