"""The panoptic maps of a pool: measured, judged segment by segment, and painted with new ids."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from cutmix_dense.arrays.blocks import block_of, spatial
from cutmix_dense.arrays.broadcast import along
from cutmix_dense.arrays.host import HOST, sent
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.fields import BEFORE, IGNORED
from cutmix_dense.functional.measured import Measured, identity_of
from cutmix_dense.functional.report import MixReport, Outcome
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.segment_ids import Groups, grouped, new_ids
from cutmix_dense.functional.segments import INFO_KEY, MAP_KEY, Info, Part, coded
from cutmix_dense.functional.semantic import mix_semantic
from cutmix_dense.functional.verdict import judge, outcomes_of, report_of
from cutmix_dense.functional.wrapping import as_plain, rewrap
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import copies_of
from cutmix_dense.plan.ownership import carried_by, of_ids


class MixedPanoptic(NamedTuple):
    """Panoptic maps after a mix.

    Attributes:
        maps: (B, *frame), or a list of canvas-sized maps; 0 is void.
        segments: for each output the segments in its map, layer by layer, the base's first.
        ignored_maps: maps of the ignored segments, which are void in ``maps``; None if none can be ignored.
        ignored_segments: for each output its ignored segments; None if none can be ignored.
        report: what happened to each input segment.
    """

    maps: Any
    segments: list[list[Info]]
    ignored_maps: Any
    ignored_segments: list[list[Info]] | None
    report: MixReport


@dataclass(frozen=True)
class _Layout:
    """The segments of all outputs of a plan, where they lie, and how much of each is visible.

    Attributes:
        entries: one per (output, layer, segment).
        maps: for each output, 1 + the index of each pixel's entry within its output; 0 for void.
        measured: pixels and boxes of every entry; on the host.
    """

    entries: Entries
    maps: list[Integer[Tensor, "*_canvas"]]
    measured: Measured


@dataclass(frozen=True)
class SegmentPool:
    """The panoptic maps of a pool.

    Attributes:
        codes: int32 maps of 1 + the index of each pixel's segment, 0 for void; one tensor if the input is one.
        infos: for each image its segments, then its ignored ones.
        counts: number of segments of each image, ignored ones not counted.
        like: a map with the dtype and class of the input.
        names: how messages name each map.
        has_ignored: whether some target holds ignored segments (perhaps zero of them).
    """

    codes: Tensor | list[Tensor]
    infos: list[list[Info]]
    counts: list[int]
    like: Tensor
    names: Sequence[str]
    has_ignored: bool = False

    @classmethod
    def of(
        cls, parts: Sequence[Part], aside: Sequence[Part | None] | None = None, like: Tensor | None = None
    ) -> SegmentPool:
        """Check and read all images; ``like`` is the tensor of all maps, if there is one."""
        infos, codes, counts = [], [], []
        if not parts:
            raise ValueError("maps must hold at least one map, got none")
        first = parts[0].ids
        for part, other in zip(parts, aside or [None] * len(parts)):
            rows, code = coded(part)
            if part.ids.dtype != first.dtype or part.ids.device != first.device:
                raise ValueError(
                    f"{part.map_name} is {part.ids.dtype} on {part.ids.device}, {parts[0].map_name} {first.dtype} on "
                    f"{first.device}: one dtype and device are needed"
                )
            counts.append(len(rows))
            if other is not None:
                more, ignored = coded(other)
                if ignored.shape != code.shape:
                    raise ValueError(
                        f"{other.map_name} must have the size of {part.map_name} {tuple(code.shape)}, "
                        f"got {tuple(ignored.shape)}"
                    )
                code = torch.where((code == 0) & (ignored > 0), ignored + len(rows), code)
                rows = [*rows, *more]
            infos.append(rows)
            codes.append(code)
        return cls(
            codes=codes if like is None else torch.stack(codes),
            infos=infos,
            counts=counts,
            like=parts[0].ids if like is None else like,
            names=[part.map_name for part in parts],
            has_ignored=any(other is not None for other in aside or ()),
        )

    def mix(self, plan: MixPlan, rules: TargetRules, frames: int = 1) -> MixedPanoptic:
        """Mix the maps and their segments; see ``mix_panoptic``. Every ``frames`` outputs are a clip."""
        on_filtered = rules.on_filtered
        layout = self._laid_out(plan)
        entries, measured = layout.entries, layout.measured
        infos = self._infos_of(entries)
        at = map(torch.from_numpy, (entries.output, entries.layer, entries.position))
        before = np.array([float(info.get("visibility", 1.0)) for info in infos])
        verdict = judge(
            measured,
            rules.filter,
            entries.output,
            entries.layer,
            before=before.astype(np.float32),
            carried=carried_by(plan.to(HOST), *at).numpy() | entries.ignored,
            empty=measured.whole == 0,
            exempt=np.array([not info["isthing"] for info in infos], dtype=bool),
        )
        outcome = outcomes_of(verdict, entries.ignored, on_filtered)
        aside = outcome == Outcome.IGNORED.value
        if on_filtered == "crowd":
            aside &= entries.ignored
        crowded = (outcome == Outcome.IGNORED.value) & ~aside

        with np.errstate(divide="ignore", invalid="ignore"):
            uncut = measured.whole / before  # area before earlier mixes, too
        chosen = _Chosen(self, layout, infos, uncut, aside, crowded)
        shows = outcome != Outcome.DROPPED.value
        rows_of = [np.flatnonzero(entries.output == number) for number in range(len(plan))]
        groups = [grouped(rows[shows[rows]], entries, infos, aside) for rows in rows_of]
        clips = [groups[start : start + frames] for start in range(0, len(groups), frames)]
        ids = [own for clip in clips for own in new_ids(clip, entries, infos)]
        maps: list[Tensor] = []
        ignored_maps: list[Tensor] = []
        segments: list[list[Info]] = []
        ignored_segments: list[list[Info]] = []
        for number, rows in enumerate(rows_of):
            numbers, shown, ignored = chosen.rows_of(rows, groups[number], ids[number])
            segments.append(shown)
            ignored_segments.append(ignored)
            for into, part in ((maps, ~aside), (ignored_maps, aside)):
                table = torch.tensor([0, *(numbers * part[rows]).tolist()], dtype=self.like.dtype, device=HOST)
                into.append(sent(table, self.like.device)[layout.maps[number]])
        separate = self.has_ignored or on_filtered == "ignore"
        return MixedPanoptic(
            self._as_given(maps),
            segments,
            self._as_given(ignored_maps) if separate else None,
            ignored_segments if separate else None,
            report_of(entries, verdict, outcome),
        )

    def mix_into(
        self, targets: Sequence[dict[str, Any]], plan: MixPlan, rules: TargetRules, frames: int = 1
    ) -> MixReport:
        """Mix, and add the result to the targets of the outputs."""
        mixed = self.mix(plan, rules, frames)
        for output, target in enumerate(targets):
            target[MAP_KEY], target[INFO_KEY] = mixed.maps[output], mixed.segments[output]
            if mixed.ignored_segments is not None:
                aside = {MAP_KEY: mixed.ignored_maps[output], INFO_KEY: mixed.ignored_segments[output]}
                target.setdefault(IGNORED, {}).update(aside)
        return mixed.report

    def thing_pixels(self, plan: MixPlan) -> Float[Tensor, "b s"]:
        """Number of visible pixels of things in each layer."""
        layout = self._laid_out(plan)
        entries = layout.entries
        things = [bool(info["isthing"]) for info in self._infos_of(entries)]
        counted = layout.measured.visible * np.array(things, dtype=bool)
        slots = np.bincount(entries.output * plan.layers + entries.layer, counted, minlength=plan.source.numel())
        return torch.from_numpy(slots).reshape(len(plan), plan.layers)

    def _infos_of(self, entries: Entries) -> list[Info]:
        """The segment of each entry."""
        return [self.infos[image][row] for image, row in zip(entries.image.tolist(), entries.position.tolist())]

    def _as_given(self, maps: list[Tensor]) -> Any:
        """Maps in the class of the input; one tensor if the input is one."""
        if isinstance(self.codes, Tensor):
            return rewrap(torch.stack(maps) if maps else as_plain(self.like)[:0], self.like)
        return [rewrap(value, self.like) for value in maps]

    def _laid_out(self, plan: MixPlan) -> _Layout:
        """Lay out and measure the segments of every output."""
        if plan.weight is not None:
            raise ValueError(
                f"{MAP_KEY!r} maps hold ids of segments, which don't blend under a soft plan: give one without "
                "weights, or 'masks' and 'labels' instead of the maps, as panoptic_targets makes them"
            )
        plan = of_ids(plan)
        source = plan.facts.source
        if source.max(initial=-1) >= len(self.infos):
            raise ValueError(f"maps must hold {source.max() + 1} images for this plan, got {len(self.infos)}")
        for index, code in enumerate(self.codes):
            if code.ndim != plan.ndim:
                size = tuple(code.shape)
                raise ValueError(f"{self.names[index]} must have {plan.ndim} dimensions, got {size}")
        ignored = [len(infos) - count for infos, count in zip(self.infos, self.counts)]
        entries = Entries.of(self.counts, ignored, source)
        mixed = mix_semantic(self.codes, plan, ignore_index=0)
        owner = sent(plan.owner_map(), self.like.device)
        slots = np.bincount(entries.output * plan.layers + entries.layer, minlength=source.size)
        per_layer = slots.reshape(source.shape)
        first = sent(per_layer.cumsum(axis=1) - per_layer, self.like.device)
        maps, shown, wholes = [], [], []
        cache: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        for output, code in enumerate(mixed):
            layer = owner[output][spatial(block_of(code.shape))].long()
            # the base's padding beyond the canvas is no part of the picture
            within = (code > 0) & (layer >= 0)
            maps.append(torch.where(within, first[output][layer.clamp(min=0)] + code, 0))
            shown.append(_measured(maps[-1], int(per_layer[output].sum())))
            wholes += [
                self._whole(plan, output, at, image, cache)
                for at, image in enumerate(source[output].tolist())
                if image >= 0
            ]
        nothing = (np.zeros(0), np.zeros((0, 2 * plan.ndim)))
        visible, boxes = (np.concatenate(column) for column in zip(nothing, *shown))
        whole, whole_boxes = (np.concatenate(column) for column in zip(nothing, *wholes))
        identity = identity_of(plan.to(HOST), entries.output, entries.layer)
        untouched = identity & (visible == whole) & (visible > 0)
        return _Layout(entries, maps, Measured(visible, whole, boxes, whole_boxes, untouched))

    def _whole(
        self,
        plan: MixPlan,
        output: int,
        layer: int,
        image: int,
        cache: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]],
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n ends"]]:
        """Pixels and box of every segment of an image as mapped by a layer, before anything is cut."""
        ndim, count = plan.ndim, len(self.infos[image])
        extent = plan.facts.extent[output, layer].tolist()
        part = self.codes[image][spatial(slice(a, b) for a, b in zip(extent[:ndim], extent[ndim:]))]
        key = (image, *extent)
        if key not in cache:  # an image may serve several outputs
            cache[key] = _measured(part, count)
        area, boxes = cache[key]
        if not plan.unscaled:
            copies = torch.ones((), dtype=torch.long, device=part.device)
            for axis in range(ndim):
                copies = copies * along(sent(copies_of(plan, output, layer, axis), part.device), axis, ndim)
            total = torch.zeros(count + 1, dtype=torch.long, device=part.device)
            area = total.index_add_(0, part.flatten().long(), copies.flatten())[1:].cpu().numpy().astype(np.float64)
        scale, shift, low = (
            np.array(values[::-1], dtype=np.float64)  # x first
            for values in (plan.scale[output, layer].tolist(), plan.shift[output, layer].tolist(), extent[:ndim])
        )
        ends = [scale * (boxes[:, half] + low) + shift for half in (slice(0, ndim), slice(ndim, None))]
        return area, np.concatenate([np.minimum(*ends), np.maximum(*ends)], axis=1)


@dataclass(frozen=True)
class _Chosen:
    """Which entries of a plan are returned, and as what."""

    pool: SegmentPool
    layout: _Layout
    infos: list[Info]
    uncut: Float[np.ndarray, " e"]
    aside: Bool[np.ndarray, " e"]
    crowded: Bool[np.ndarray, " e"]

    def rows_of(
        self, rows: Int[np.ndarray, " n"], groups: Groups, ids: Mapping[Hashable, int]
    ) -> tuple[Int[np.ndarray, " n"], list[Info], list[Info]]:
        """New ids of the entries of an output (0: not shown), its segments, and its ignored ones."""
        entries, measured = self.layout.entries, self.layout.measured
        numbers = np.zeros(len(rows), dtype=np.int64)
        segments: list[Info] = []
        ignored_segments: list[Info] = []
        for key, members in groups.items():
            first = members[0]
            info = dict(self.infos[first])
            number = ids[key]
            if number > torch.iinfo(self.pool.like.dtype).max:
                raise ValueError(f"'{MAP_KEY}' maps of {self.pool.like.dtype} can't hold the new id {number}")
            numbers[np.searchsorted(rows, members)] = number
            visible, boxes = measured.visible[members].sum(), measured.boxes
            assert boxes is not None
            half = boxes.shape[1] // 2
            low, high = boxes[members, :half].min(axis=0), boxes[members, half:].max(axis=0)
            origin = [
                [image, row - self.pool.counts[image] if ignored else row]
                for image, row, ignored in zip(
                    *(part[members].tolist() for part in (entries.image, entries.position, entries.ignored))
                )
            ]
            if any(BEFORE in self.infos[row] for row in members):
                info[BEFORE] = [
                    part for row, own in zip(members, origin) for part in self.infos[row].get(BEFORE, [own])
                ]
            info.update(
                id=number,
                iscrowd=1 if self.crowded[first] else info["iscrowd"],
                area=int(visible),
                bbox=[int(value) for value in (*low, *(high - low))],
                visibility=min(float(visible / self.uncut[members].sum()), 1.0),
                origin=origin,
            )
            (ignored_segments if self.aside[first] else segments).append(info)
        return numbers, segments, ignored_segments


def _measured(index: Int[Tensor, "*size"], count: int) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n ends"]]:
    """Pixels and tight box (lows then highs, x first) of the numbers 1 … ``count`` in a map; zeros if absent."""
    ndim = index.ndim
    if not index.numel():
        return np.zeros(count), np.zeros((count, 2 * ndim))
    lows, highs = [], []
    for axis in reversed(range(ndim)):
        length = index.shape[axis]
        position = torch.arange(length, device=index.device)
        place = index.long() * length + along(position, axis, ndim)
        # pixels of each number in each line; far smaller than one mask per number
        lines = torch.bincount(place.flatten(), minlength=(count + 1) * length).reshape(-1, length)[1:]
        lows.append(torch.where(lines > 0, position, length).amin(dim=1))
        highs.append(torch.where(lines > 0, position + 1, 0).amax(dim=1))
    area = lines.sum(dim=1)
    facts = torch.stack([area, *lows, *highs], dim=1).cpu().numpy().astype(np.float64)
    facts[facts[:, 0] == 0] = 0
    return facts[:, 0], facts[:, 1:]
