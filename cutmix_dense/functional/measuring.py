"""What a plan shows of the instances in a list of targets, measured by masks or boxes, whichever tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from cutmix_dense.arrays.blocks import Block
from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.arrays.host import HOST, Column, as_column, as_tensor, sent
from cutmix_dense.functional.boxes import visible_boxes
from cutmix_dense.functional.broken import GivenBoxes, check_boxes, check_keypoints, sizes_of
from cutmix_dense.functional.cut_stack import layers_of
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.fields import STATED
from cutmix_dense.functional.masks import LayerMasks, mask_sizes, mix_masks
from cutmix_dense.functional.measured import Measured, identity_of
from cutmix_dense.functional.parts import split_parts
from cutmix_dense.functional.report import Reason
from cutmix_dense.functional.rotated import refitted_to_masks, visible_rotated
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.table import FieldTable
from cutmix_dense.functional.verdict import Verdict, fetched_verdict, judge
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.moving import outline_of
from cutmix_dense.plan.ownership import carried_by


@dataclass(frozen=True)
class Judged:
    """The entries of a mix, measured and judged.

    Attributes:
        plan: who owns each output pixel, where the targets lie.
        measured: what shows of each, where the targets lie.
        found: the verdict on each, where the targets lie.
        verdict: the same on the host.
        same_box: whose box stays bit by bit, where the targets lie.
        masks: what shows of the masks of each (output, layer); None without masks.
        mask_sizes: size of each output's masks.
        stated: on the host, which entries state a mask; None where all do.
        entries: the rows; more than were given where instances are split.
        pieces: what shows of the masks of parts, by row.
    """

    plan: MixPlan
    entries: Entries
    measured: Measured
    found: Verdict
    verdict: Verdict
    same_box: Bool[Column, " e"]
    masks: dict[tuple[int, int], LayerMasks] | None
    mask_sizes: list[tuple[int, ...]]
    stated: Bool[np.ndarray, " e"] | None
    pieces: Mapping[int, tuple[Block, np.ndarray]]

    @property
    def guessed(self) -> Bool[np.ndarray, " e"]:
        """Which entries are told by their box alone, and show in part."""
        if self.stated is None:
            return np.zeros(len(self.verdict.reason), dtype=bool)
        guessed: np.ndarray = ~self.stated & ~self.verdict.complete & self.verdict.shows
        return guessed


def judge_instances(
    table: FieldTable, plan: MixPlan, entries: Entries, rules: TargetRules, padded: bool | None = None
) -> Judged:
    """Measure and judge every entry.

    Args:
        table: the targets.
        plan: who owns each output pixel.
        entries: the rows of the plan's layers.
        rules: how they are judged.
        padded: whether the images are one padded tensor; see ``mask_sizes``.

    Raises:
        ValueError: coordinates that aren't finite; boxes that are broken as a whole; masks that don't fit; instances
            with neither boxes nor masks, also single ones that state no mask.
    """
    work = _Work(table, plan, entries, rules)
    by_box, given = work.by_box()
    masks, sizes = work.masks(padded)
    if by_box is None and masks is None and len(entries):
        raise ValueError(f"targets with instances need 'boxes' or 'masks', got only {sorted(table.instances)}")
    measured = work.combined(by_box, masks)
    before = None
    if "visibility" in table.instances:
        before = as_column(table.flat("visibility").float(), work.device)[work.flat]
    empty = None if masks is None else (measured.whole == 0) & (True if work.stated is None else work.stated)

    def judged(measured: Measured, empty: Column | None) -> Verdict:
        rows = (work.output, work.layer)
        return judge(measured, rules.filter, *rows, before=before, carried=work.carried, empty=empty)

    found = judged(measured, empty)
    more = [column for column in (work.stated, given) if column is not None]
    verdict, others = fetched_verdict(found, *more)  # the one transfer
    stated = None if work.stated is None else others.pop(0) > 0
    given = None if given is None else others[0]
    work.refuse(verdict, stated, given)
    spared = None if empty is None else work.spared(verdict)
    if spared is not None:
        assert empty is not None
        measured = measured._replace(untouched=measured.untouched | spared)
        found = judged(measured, empty & ~spared)
        verdict, _ = fetched_verdict(found)
    same_box, pieces = work.same_box(measured, by_box), {}
    if rules.split == "parts":
        work.refuse_parts()
        parts = split_parts(plan, entries, measured, masks if work.by_mask else None, stated)
        entries, measured, pieces = parts.entries, parts.measured, parts.masks
        row = as_column(parts.row, work.device)
        again = [None if column is None else column[row] for column in (before, work.carried, empty)]
        names = dict(zip(("before", "carried", "empty"), again))
        found = judge(measured, rules.filter, work.output[row], work.layer[row], **names)
        verdict, _ = fetched_verdict(found)
        same_box, stated = same_box[row], None if stated is None else stated[parts.row]
    return Judged(work.plan, entries, measured, found, verdict, same_box, masks, sizes, stated, pieces)


_REASONS = len(Reason)


class _Work:
    """The entries of a mix while they are measured: columns where the targets lie."""

    def __init__(self, table: FieldTable, plan: MixPlan, entries: Entries, rules: TargetRules) -> None:
        self.table, self.entries, self.rules = table, entries, rules
        self.device, self.form = table.device, table.rotated
        self.by_mask = "masks" in table.instances and rules.boxes_from != "box"
        cut = table.cut is not None and self.by_mask  # who owns what was asked where the masks lie
        self.drawn, self.plan = plan, outline_of(plan) if cut else plan.to(self.device)
        columns = [entries.output, entries.layer, entries.flat]
        if self.device.type != "cpu":
            columns = [as_column(column, self.device) for column in columns]
        self.output, self.layer, self.flat = columns
        self.xp: Any = np if self.device.type == "cpu" else torch
        self.stated = self._stated()
        self.carried: Column | None = None
        if plan.carry is not None:
            at = (as_tensor(self.output), as_tensor(self.layer), as_tensor(as_column(entries.position, self.device)))
            self.carried = as_column(carried_by(self.plan, *at), self.device) | as_column(entries.ignored, self.device)

    def _stated(self) -> Bool[Column, " e"] | None:
        """Whether each entry states its mask; None where all are known to."""
        if STATED not in self.table.instances:
            return None
        stated = self.table.flat(STATED)
        if self.device.type == "cpu" and bool(stated.all()):
            return None
        return as_column(stated, self.device)[self.flat]

    def by_box(self) -> tuple[Measured | None, Float[Column, "e c"] | None]:
        """What the boxes measure, and the boxes unchanged; None and None without boxes."""
        if "boxes" not in self.table.instances:
            return None, None
        covered = not self.by_mask or self.stated is not None
        if self.form is None:
            given = as_column(self.table.flat_boxes(), self.device)[self.flat]
            return visible_boxes(given, self.plan, self.output, self.layer, covered=covered), given
        given = self.table.flat_rotated().numpy()[self.entries.flat]
        wanted = self.rules.rotated == "refit"
        refit: Any = wanted and not self.by_mask
        if self.stated is not None:
            refit = wanted & (refit | ~_on_host(self.stated))
        where = (self.drawn, self.entries.output, self.entries.layer)
        seen = visible_rotated(given, self.form, *where, covered=covered, refit=refit)
        return Measured(*(_moved(np.asarray(column), self.device) for column in seen)), _moved(given, self.device)

    def masks(self, padded: bool | None) -> tuple[dict[tuple[int, int], LayerMasks] | None, list[tuple[int, ...]]]:
        """What shows of the masks of each layer, and the size of each output's masks."""
        if "masks" not in self.table.instances:
            if self.rules.boxes_from == "mask":
                raise ValueError("boxes_from 'mask' needs targets with 'masks', got none")
            return None, []
        stacks = [None if value is None else as_plain(value) for value in self.table.instances["masks"]]
        sizes = mask_sizes(stacks, self.drawn, padded)
        if self.table.cut is not None:
            return layers_of(self.table.cut, self.drawn, stacks), sizes
        stated = None if self.stated is None else self.table.instances[STATED]
        carried = self.carried if self.xp is np else None
        return mix_masks(stacks, self.drawn, sizes, carried, stated), sizes

    def combined(self, by_box: Measured | None, masks: dict[tuple[int, int], LayerMasks] | None) -> Measured:
        """Masks tell what shows where there are some; boxes, or the masks again, where it is."""
        xp, stated, by_mask = self.xp, self.stated, self.by_mask
        if masks is None:
            if by_box is not None:
                return by_box
            nothing = _joined([], self.device)
            return Measured(nothing, nothing, None, None, nothing > 0)
        cuts = list(masks.values())
        visible = _joined([cut.visible for cut in cuts], self.device)
        whole = _joined([cut.whole for cut in cuts], self.device)
        untouched = identity_of(self.plan, self.output, self.layer) & (visible == whole) & (visible > 0)
        if by_box is None:
            boxes = _joined([cut.boxes for cut in cuts], self.device, 2 * self.plan.ndim)
            return Measured(visible, whole, boxes, None, untouched)
        if stated is not None:  # rows without a mask: as if there were none at all
            visible, whole = xp.where(stated, visible, by_box.visible), xp.where(stated, whole, by_box.whole)
            untouched = xp.where(stated, untouched, by_box.untouched)
        boxes = by_box.boxes
        if by_mask and self.form is None:
            boxes = _joined([cut.boxes for cut in cuts], self.device, 2 * self.plan.ndim)
            if stated is not None:
                boxes = xp.where(stated[:, None], boxes, by_box.boxes)
        elif by_mask and self.rules.rotated == "refit":
            changed = _on_host((visible > 0) & (visible < whole) & (True if stated is None else stated))
            corners = as_tensor(boxes).to("cpu", torch.float64).numpy()
            boxes = _moved(refitted_to_masks(corners, masks, changed, self.entries), self.device)
        return by_box._replace(visible=visible, whole=whole, boxes=boxes, untouched=untouched)

    def same_box(self, measured: Measured, by_box: Measured | None) -> Bool[Column, " e"]:
        """Whose box stays bit by bit: of what is untouched; where rotated boxes are kept, of what isn't moved."""
        if self.form is not None and self.rules.rotated == "keep":  # the whole object's box, wherever it is cut
            return identity_of(self.plan, self.output, self.layer)
        if self.by_mask or by_box is None:
            return measured.untouched
        return by_box.untouched | (measured.untouched & (measured.whole == 0))

    def refuse_parts(self) -> None:
        """Raise ValueError for targets whose instances can't be split."""
        if self.form is not None:
            raise ValueError(f"split must be 'hull' for boxes of the rotated format {self.form.name}, got 'parts'")
        if "keypoints" in self.table.instances:
            raise ValueError("split must be 'hull' for targets with keypoints, which belong to the whole, got 'parts'")

    def refuse(
        self, verdict: Verdict, stated: Bool[np.ndarray, " e"] | None, given: Float[np.ndarray, "e c"] | None
    ) -> None:
        """Raise ValueError for what can't be judged; warn of a few broken boxes. All on the host."""
        entries, table, reason = self.entries, self.table, verdict.reason
        some = np.bincount(reason, minlength=_REASONS).tolist()
        if some[Reason.NOT_FINITE]:
            row = (reason == Reason.NOT_FINITE).argmax()
            image, position = int(entries.image[row]), int(entries.position[row])
            raise ValueError(f"targets[{image}]['boxes'][{position}] must be finite, got a NaN or infinite coordinate")
        bad = some[Reason.BROKEN_BOX] or some[Reason.OUTSIDE]
        if given is not None and (bad or np.maximum.reduce(given, axis=None, initial=0) < 2):  # as seldom
            broken, outside = reason == Reason.BROKEN_BOX, reason == Reason.OUTSIDE
            sizes, whole = sizes_of(self.drawn)
            size, outside = sizes[entries.image], outside & whole[entries.image]
            counts = ~entries.ignored & (reason != Reason.NOT_CARRIED)
            form = getattr(table.example("boxes"), "format", None)
            plain = self.form is None and (form is None or form.name == "XYXY")
            check_boxes(GivenBoxes(given, entries.image, entries.position, size, broken, outside, counts, plain))
        if "keypoints" in table.instances:
            self.refuse_keypoints()
        missing = [key for key in ("boxes", "masks") if key not in table.instances]
        if missing and stated is not None and not stated.all():
            row = int(np.flatnonzero(~stated)[0])
            name = f"targets[{int(entries.image[row])}]['{STATED}'][{int(entries.position[row])}]"
            need = (
                "'boxes', which such rows are judged by" if "boxes" in missing else "'masks', whose rows it describes"
            )
            raise ValueError(f"{name} is False, which needs {need}; got no '{missing[0]}'")

    def refuse_keypoints(self) -> None:
        """Raise ValueError for keypoints in another unit than pixels, or with another number of flags."""
        points = self.table.flat("keypoints")
        if "keypoints_visible" in self.table.instances:
            flags = self.table.flat("keypoints_visible")
            if flags.shape[1:2] != points.shape[1:2]:
                raise ValueError(
                    f"keypoints_visible must have shape (N, {points.shape[1]}), a flag per keypoint, got rows of shape "
                    f"{tuple(flags.shape[1:])}"
                )
        if points.device.type == "cpu" and points.ndim == 3 and len(points):
            longest = int(self.drawn.facts.extent.max())
            check_keypoints(as_plain(points).detach().to(torch.float64).numpy(), longest)

    def spared(self, verdict: Verdict) -> Bool[Column, " e"] | None:
        """Which instances whose mask holds no pixel nothing touched; None for none.

        Their box tells, or without boxes the valid part of their image. Rare, and thus looked at on the host, once the
        verdict is there.
        """
        entries, table = self.entries, self.table
        rows = (verdict.reason == Reason.EMPTY_MASK).nonzero()[0]
        if not len(rows):
            return None
        host = self.drawn.to(HOST)
        rows = rows[identity_of(host, entries.output[rows], entries.layer[rows])]
        if not len(rows):  # as where tiny masks were scaled
            return None
        at = (host, entries.output[rows], entries.layer[rows])
        if self.form is not None:
            whole = visible_rotated(table.flat_rotated().numpy()[entries.flat[rows]], self.form, *at).untouched
        else:
            if "boxes" in table.instances:
                given = table.flat_boxes().detach().to("cpu", torch.float64).numpy()[entries.flat[rows]]
            else:
                valid = host.facts.extent[at[1], at[2]].reshape(len(rows), 2, host.ndim)
                given = valid[..., ::-1].reshape(len(rows), -1).astype(np.float64)
            whole = visible_boxes(given, *at).untouched
        if not whole.any():
            return None
        spared = np.zeros(len(entries), dtype=bool)
        spared[rows[whole]] = True
        return as_column(spared, self.device)


def _on_host(column: Column) -> np.ndarray:
    """A column, or a tensor, as an array."""
    return as_tensor(column).to("cpu").numpy()


def _moved(values: Shaped[np.ndarray, "..."], device: torch.device) -> Column:
    """An array as a column of the device, floating point in its exact dtype."""
    if device.type == "cpu":
        return values
    return sent(values, device, exact_dtype(device) if values.dtype.kind == "f" else None)


def _joined(parts: Sequence[Tensor], device: torch.device, *row: int) -> Column:
    """The rows of all parts in one column, in the exact dtype of the device."""
    joined = torch.cat([*parts]).to(exact_dtype(device)) if parts else None
    return as_column(torch.zeros((0, *row), dtype=exact_dtype(device)) if joined is None else joined, device)
