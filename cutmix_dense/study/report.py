"""The report of a study: Markdown, CSV and plots, from whatever runs are finished."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cutmix_dense.data.files import write_atomic
from cutmix_dense.study import forms, plots
from cutmix_dense.study.decision import decisions, seeds_to_run
from cutmix_dense.study.pictures import PICTURE, draw_pictures
from cutmix_dense.study.plan_record import read_plans
from cutmix_dense.study.published import RESULTS, RUNS, write_runs
from cutmix_dense.study.report_plan import plan_lines, primary_rows, sentence
from cutmix_dense.study.report_shifts import reliability_lines, shift_lines
from cutmix_dense.study.tables import Finished, results_csv, seconds_per_step, summary_csv

_ROOT = Path(__file__).resolve().parents[2]


def write_report(finished: Finished, out: Path, publish: Path | None = None) -> Path:
    """Write ``report.md``, ``results.csv``, ``summary.csv``, ``runs.json`` and the plots.

    What can't be drawn yet is left out. The picture of predictions needs the folders of the first seed's runs: where
    these are published runs, the published picture stays.

    Args:
        finished: the runs.
        out: folder of the study.
        publish: a second folder for the report; the comparison picture goes there only if the study says that its
            data's pixels may be published.

    Returns:
        The report's path.
    """
    written = [name for name, draw in plots.PLOTS.items() if draw(finished, out / name)]
    for name in set(plots.PLOTS) - set(written):  # of an earlier report
        (out / name).unlink(missing_ok=True)
    picture = draw_pictures(finished, out)
    tables = {RESULTS: results_csv(finished), "summary.csv": summary_csv(finished)}
    for name, text in tables.items():
        write_atomic(out / name, text.encode())
    shown = [*written, PICTURE] if picture else written
    plans = read_plans(out)
    roots = {key: Path(str(finished.options[key])).name for key in finished.study.data_keys if key in finished.options}
    write_runs(finished.every_result, plans, {**_portable_options(finished), **roots}, out)
    write_atomic(out / "report.md", markdown(finished, shown, plans).encode())
    if publish is not None:
        publish.mkdir(parents=True, exist_ok=True)
        pixels, there = finished.study.publish_pixels, (publish / PICTURE).is_file()
        stays = pixels and there and not picture and finished.first_seed_published
        for name in plots.PLOTS if stays else (*plots.PLOTS, PICTURE):
            (publish / name).unlink(missing_ok=True)
        for name in (*tables, RUNS, *(shown if pixels else written)):
            shutil.copyfile(out / name, publish / name)
        shown = [*written, PICTURE] if stays or (picture and pixels) else written
        write_atomic(publish / "report.md", markdown(finished, shown, plans).encode())
    return (publish or out) / "report.md"


def markdown(finished: Finished, images: Sequence[str] = (), plans: Sequence[Mapping[str, Any]] = ()) -> str:
    """The report's text: the same for the same runs, and free of paths and names of the machine.

    Args:
        finished: the runs.
        images: file names beside the report that it may show.
        plans: what the study's folder says of its plan, as ``read_plans`` gives it.
    """
    study = finished.study
    lines = [f"# {study.title}", ""]
    lines += _incomplete(finished)
    for note in study.notes:
        lines += [note, ""]
    lines += _setting(finished)
    lines += plan_lines(finished, plans)
    if finished.all_results:
        lines += _main_table(finished)
        lines += forms.image(images, "differences.png", "difference to the baseline of every seed, with 95% intervals")
        lines += _significance(finished)
        lines += _per_class(finished)
        lines += reliability_lines(finished)
        lines += _robustness(finished, images)
        lines += shift_lines(finished)
        if "curves.png" in images:
            lines += ["## Training curves", ""]
            lines += [
                "Thin lines are seeds, thick lines their means. Losses of mixed and plain batches don't compare.",
                "",
            ]
            lines += forms.image(images, "curves.png", "validation metric and training loss")
        if PICTURE in images:
            lines += ["## Predictions", "", f"Validation images, seed {study.seeds[0]}; not chosen, evenly spaced.", ""]
            lines += forms.image(images, PICTURE, "ground truth and predictions of every variant")
    lines += _reproduce(finished)
    return "\n".join(lines).rstrip() + "\n"


def _incomplete(finished: Finished) -> list[str]:
    asked = seeds_to_run(finished)
    total = len(finished.study.variants) * len(asked) + 1
    alike: dict[tuple[str, str], list[str]] = {}
    for name, state in finished.states.items():
        variant, _, seed = name.partition("/seed-")
        if not seed or int(seed) in asked:
            alike.setdefault((variant, state), []).append(seed)
    missing = sum(map(len, alike.values()))
    if not missing:
        return []
    if missing == total:
        return ["**Not run.** No run of this study is finished.", ""]
    listed = "; ".join(f"{variant}{_seeds(seeds)} ({state})" for (variant, state), seeds in alike.items())
    reasons = " `cutmix-dense study status` says why runs failed." if "failed" in finished.states.values() else ""
    return [f"**Incomplete**: {missing} of {total} runs are missing: {listed}.{reasons}", ""]


def _seeds(seeds: list[str]) -> str:
    """Seeds in words; the untrained model has none."""
    return f" seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" if seeds[0] else ""


def _setting(finished: Finished) -> list[str]:
    study = finished.study
    seeds = ", ".join(map(str, seeds_to_run(finished)))
    lines = [
        f"- metric: `{study.metric}` in percent on the validation set, of the **last** checkpoint (never the best)"
    ]
    lines += [f"- seeds: {seeds}; runs of one seed share initial weights, so differences are paired by seed"]
    changed = "; changed by the options under *To reproduce*" if _typed(finished) else ""
    lines += [f"- budget: {study.budget}{changed}"] if study.budget else []
    minutes = [result["cpu_seconds"] / 60 for result in finished.all_results if result.get("cpu_seconds")]
    if minutes:
        lines += [f"- processor time: {sum(minutes) / len(minutes):.1f} minutes per run, {sum(minutes):.0f} in all"]
    lines += [
        "",
        *forms.table(
            ["variant", "what it is"],
            [[forms.called(finished, v), study.variants[v].note or "–"] for v in finished.compared],
        ),
    ]
    return lines


def _main_table(finished: Finished) -> list[str]:
    study = finished.study
    lines = ["## Result", ""]
    rows = []
    for name in finished.compared:
        summary = finished.spread(name, study.metric)
        difference = None if name == study.baseline else finished.difference(name, study.metric)
        count = str(summary.n) if summary else "0"
        rows.append(
            [forms.called(finished, name), forms.mean(summary), count, *forms.told(difference), _cost(finished, name)]
        )
    untrained = finished.untrained_metric()
    rows.append(["*untrained*", "–" if untrained is None else f"{untrained:.2f}", "1", "", "", "", "", ""])
    head = ["variant", f"{study.metric}, mean ± sd", "seeds", "difference", "95% interval", "won / lost", "verdict"]
    head.append(f"training, CPU s per {finished.all_results[0]['step']}")
    lines += forms.table(head, rows)
    lines += [finished.counts()[1], ""]
    seeds = sorted({seed for runs in finished.results.values() for seed in runs})
    rows = []
    for name in finished.compared:
        values = finished.by_seed(name, study.metric)
        rows.append([forms.called(finished, name), *(f"{values[s]:.2f}" if s in values else "–" for s in seeds)])
    return lines + forms.table(["variant", *(f"seed {seed}" for seed in seeds)], rows)


def _cost(finished: Finished, name: str) -> str:
    """Processor time of training a step, and how many times the baseline's that is."""
    seconds, baseline = (finished.spread(variant, seconds_per_step) for variant in (name, finished.study.baseline))
    if seconds is None:
        return "–"
    times = f" ({seconds.mean / baseline.mean:.2f}×)" if baseline and name != finished.study.baseline else ""
    return f"{seconds.mean:.3g}{times}"


def _significance(finished: Finished) -> list[str]:
    primary = decisions(finished)
    if primary:
        study = finished.study
        lines = ["## What can be said", "", *forms.table(*primary_rows(finished))]
        return lines + [f"- {sentence(one, study.metric, study.baseline)}" for one in primary] + [""]
    verdicts: dict[str, list[str]] = {"better": [], "worse": [], "not significant": [], "too few seeds": []}
    for name in finished.others:
        difference = finished.difference(name, finished.study.metric)
        if difference is not None:
            verdicts[difference.verdict].append(name)
    lines = ["## What can be said", ""]
    said = {
        "better": "better than the baseline, the 95% interval excludes 0",
        "worse": "worse than the baseline, the 95% interval excludes 0",
        "not significant": "not significant: the 95% interval holds 0, so neither a gain nor a loss is shown",
        "too few seeds": "nothing: an interval needs two seeds at least",
    }
    lines += [f"- **{', '.join(names)}**: {said[verdict]}" for verdict, names in verdicts.items() if names]
    compared = sum(map(len, verdicts.values()))
    if compared > 1:
        lines += [
            f"- The {compared} intervals are not corrected for being {compared}: one in twenty excludes 0 by chance."
        ]
    sizes = {len(runs) for runs in finished.results.values()}
    if sizes and max(sizes) < 5:
        lines += ["- With so few seeds an interval is wide, and a small effect of either sign stays unseen."]
    return [*lines, ""]


def _per_class(finished: Finished) -> list[str]:
    classes = finished.classes()
    if not classes:
        return []
    start = finished.study.per_class
    lines = ["## Per class", "", f"Mean ± sd of `{start.rstrip('/')}`:", ""]
    rows = [[name, *(forms.mean(finished.spread(v, start + name)) for v in finished.compared)] for name in classes]
    lines += forms.table(["class", *finished.compared], rows)
    lines += [
        "Paired difference to the baseline, with its 95% interval (many intervals: some exclude 0 by chance):",
        "",
    ]
    rows = [
        [name, *(forms.interval(finished.difference(v, start + name)) for v in finished.others)] for name in classes
    ]
    return lines + forms.table(["class", *finished.others], rows)


def _robustness(finished: Finished, images: Sequence[str]) -> list[str]:
    conditions = finished.conditions()
    if not conditions:
        return []
    lines = ["## Robustness to occlusion", ""]
    lines += [
        "Validation images with a centred box filled with grey (centre), or with everything but a centred box filled "
        "(boundary), as in the CutMix paper; the share is that of the image's area. What can't be seen is taken out of "
        "the targets, boxes enclose what is visible, and instances that show less than half count neither "
        "way: columns ask for different things, so compare within one. A variant that was trained on regions filled "
        "with a plain colour has seen something like it. "
        "Mean ± sd:",
        "",
    ]
    heads = [f"{kind} {share:.0%}" for kind, share in conditions]
    picks = [finished.occluded(*condition) for condition in conditions]
    metric = finished.study.metric
    rows = [
        [
            forms.called(finished, v),
            forms.mean(finished.spread(v, metric)),
            *(forms.mean(finished.spread(v, pick)) for pick in picks),
        ]
        for v in finished.compared
    ]
    lines += forms.table(["variant", "none", *heads], rows)
    lines += ["Paired difference to the baseline, with its 95% interval:", ""]
    rows = [
        [
            v,
            forms.interval(finished.difference(v, metric)),
            *(forms.interval(finished.difference(v, pick)) for pick in picks),
        ]
        for v in finished.others
    ]
    return (
        lines
        + forms.table(["variant", "none", *heads], rows)
        + forms.image(images, "occlusion.png", "metric under occlusion")
    )


def _reproduce(finished: Finished) -> list[str]:
    study = finished.study
    path = study.path.resolve()
    config = path.relative_to(_ROOT).as_posix() if path.is_relative_to(_ROOT) else path.name
    out = f"runs/studies/{study.name}"
    words = ["--data-root DATA"] if study.data_keys else []
    told = _typed(finished)
    words += ["--cfg-options", *told] if told else []
    lines = ["## To reproduce", "", "```", f"cutmix-dense study run {config} --out {out} {' '.join(words)}".rstrip()]
    lines += [f"cutmix-dense study report {config} --out {out}", "```", ""]
    versions: dict[str, set[str]] = {}
    for result in finished.all_results:
        for name, version in result["versions"].items():
            versions.setdefault(name, set()).add(version)
    if versions:
        told = [f"{name} {' and '.join(sorted(found))}" for name, found in versions.items()]
        lines += [f"Versions: {', '.join(told)}.", ""]
    return [*lines, "`results.csv` has every run's metrics, `summary.csv` every figure of the tables."]


def _typed(finished: Finished) -> list[str]:
    """The options of the command line as they were typed, but for folders of this machine."""
    return [f"{key}={value}" for key, value in _portable_options(finished).items()]


def _portable_options(finished: Finished) -> dict[str, Any]:
    """The options of the command line, but for folders of this machine."""
    options = sorted(finished.options.items())
    options = [(key, value) for key, value in options if key not in finished.study.data_keys]
    return {key: value for key, value in options if not Path(str(value)).is_absolute()}
