"""The plots of a report: curves, paired differences, occlusion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cutmix_dense.extras import require
from cutmix_dense.study.decision import decisions
from cutmix_dense.study.tables import Finished, Pick

# Okabe and Ito's palette, which the colour-blind can tell apart; black is the baseline's
_COLORS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7A5195")
_MARKERS = "osD^vPX*"
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
_BINS = 40


def draw_curves(finished: Finished, path: Path) -> bool:
    """Validation metric and training loss over time, seeds thin and their mean thick; False without curves."""
    if not any(result["curve"] for result in finished.all_results):
        return False
    figure, (left, right) = _figure(1, 2, (11, 4.4))
    for number, name in enumerate(finished.compared):
        runs = list(finished.results[name].values())
        for axis, key in ((left, "curve"), (right, "losses")):
            curves = [_thinned(run[key]) for run in runs if run[key]]
            for steps, values in curves:
                axis.plot(steps, values, **_style(number), linewidth=0.7, alpha=0.35)
            if curves:
                mean = _mean_curve(curves)
                mark = {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 4} if key == "curve" else {}
                axis.plot(*mean, **_style(number), **mark, linewidth=2, label=name)
    step = finished.all_results[0]["step"]
    left.set(title="validation", xlabel=step, ylabel=f"{finished.study.metric} (%)")
    right.set(title="training loss", xlabel="iteration", ylabel="loss")
    left.set_ylim(bottom=0)
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
    left.legend(fontsize=9)
    return _save(figure, path)


def draw_differences(finished: Finished, path: Path) -> bool:
    """A point per seed, the mean and its 95% interval, per variant; False without a pair."""
    found = [(name, finished.difference(name, finished.study.metric)) for name in finished.others]
    rows = [(name, difference) for name, difference in found if difference is not None]
    if not rows:
        return False
    figure, (axis,) = _figure(1, 1, (8, 1.5 + 0.55 * len(rows)))
    for place, (name, difference) in enumerate(rows):
        color = _COLORS[(finished.compared.index(name)) % len(_COLORS)]
        if difference.half_width is not None:
            axis.errorbar(difference.mean, place, xerr=difference.half_width, color=color, linewidth=2, capsize=5)
        axis.plot(difference.mean, place, "D", color=color, markersize=8)
        seeds = list(difference.values.values())
        axis.plot(seeds, [place + 0.22] * len(seeds), "o", color=color, markersize=5, markerfacecolor="none")
    axis.axvline(0, color="#555555", linewidth=1, linestyle="--")
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    metric, baseline = finished.study.metric, finished.study.baseline
    axis.set_xlabel(f"{metric} less that of {baseline}, same seed (points)\n◆ mean and 95% interval, ○ seeds")
    return _save(figure, path)


def draw_occlusion(finished: Finished, path: Path) -> bool:
    """The metric as more of the images is filled, mean and deviation over seeds; False where it isn't measured."""
    conditions = finished.conditions()
    kinds = list(dict.fromkeys(kind for kind, _ in conditions))
    if not kinds or not any(result["occlusion"] for result in finished.all_results):
        return False
    figure, axes = _figure(1, len(kinds), (5.5 * len(kinds), 4.4), sharey=True)
    for axis, kind in zip(axes, kinds):
        shares = [share for of, share in conditions if of == kind]
        picks: list[str | Pick] = [finished.study.metric, *(finished.occluded(kind, share) for share in shares)]
        for number, name in enumerate(finished.compared):
            summaries = [finished.spread(name, pick) for pick in picks]
            points = [(100 * x, s.mean, s.sd or 0.0) for x, s in zip((0.0, *shares), summaries) if s is not None]
            if points:
                place, mean, deviation = zip(*points)
                # side by side, so that bars don't cover each other
                offset = 0.35 * (number - (len(finished.compared) - 1) / 2)
                at = [x + offset for x in place]
                mark = _MARKERS[number % len(_MARKERS)]
                axis.errorbar(at, mean, deviation, **_style(number), marker=mark, markersize=5, capsize=3, label=name)
        axis.set(title=f"{kind} occlusion", xlabel="filled share of the image (%)")
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel(f"{finished.study.metric} (%), mean ± sd")
    axes[0].legend(fontsize=9)
    return _save(figure, path)


def draw_forest(studies: Sequence[Finished], path: Path) -> bool:
    """The primary comparisons of several planned studies, one below the other; False without any."""
    groups = [(finished.study, found) for finished in studies if (found := decisions(finished))]
    if not groups:
        return False
    figure, (axis,) = _figure(1, 1, (9, 1.4 + 0.42 * sum(1 + len(found) for _, found in groups)))
    place, labels = 0, []
    for order, (study, found) in enumerate(groups, 1):
        color = _COLORS[order % len(_COLORS)]
        axis.text(0.005, place, f"{study.title}, {study.metric}", transform=axis.get_yaxis_transform())
        smallest = found[0].plan.smallest
        axis.fill_betweenx([place + 0.5, place + len(found) + 0.5], -smallest, smallest, color="#dddddd", zorder=0)
        for number, one in enumerate(found, place + 1):
            if one.difference.half_width is not None:
                axis.errorbar(one.difference.mean, number, xerr=one.difference.half_width, color=color, capsize=4)
            filled = color if one.verdict in ("better", "worse") else "white"
            axis.plot(one.difference.mean, number, "D", color=color, markersize=7, markerfacecolor=filled)
            labels.append((number, f"{one.variant} ({len(one.difference.values)} seeds)"))
        place += len(found) + 1
    axis.axvline(0, color="#555555", linewidth=1, linestyle="--")
    axis.set_yticks(*zip(*labels))
    axis.set_ylim(place - 0.4, -0.6)
    axis.set_xlabel(
        "difference to the baseline, same seed (points), with its 95% interval\n"
        "◆ better or worse, ◇ neither; grey: less than the smallest effect that matters"
    )
    return _save(figure, path)


PLOTS: dict[str, Callable[[Finished, Path], bool]] = {
    "curves.png": draw_curves,
    "differences.png": draw_differences,
    "occlusion.png": draw_occlusion,
}
"""File name of every plot, and what draws it."""


def _figure(rows: int, columns: int, size: tuple[float, float], sharey: bool = False) -> tuple[Any, Sequence[Any]]:
    # no pyplot: it keeps figures and needs a display's backend
    figure = require("matplotlib.figure", "train").Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel()
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _style(number: int) -> dict[str, Any]:
    return {"color": _COLORS[number % len(_COLORS)], "linestyle": _DASHES[number % len(_DASHES)]}


def _save(figure: Any, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return True


def _thinned(curve: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values; of long curves the means of neighbours."""
    points = np.asarray(curve, dtype=float)
    size = -(-len(points) // _BINS)
    groups = [points[i : i + size].mean(axis=0) for i in range(0, len(points), size)]
    steps, values = np.stack(groups).T
    return steps, values


def _mean_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The mean over the steps that all curves reach."""
    last = min(steps[-1] for steps, _ in curves)
    grid = np.unique(np.concatenate([steps for steps, _ in curves]))
    grid = grid[grid <= last]
    return grid, np.mean([np.interp(grid, steps, values) for steps, values in curves], axis=0)
