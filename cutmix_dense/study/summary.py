"""One page about several studies: a sentence for each primary comparison, and a forest plot of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cutmix_dense.data.files import write_atomic
from cutmix_dense.study.decision import decisions
from cutmix_dense.study.plots import draw_forest
from cutmix_dense.study.report_plan import sentence
from cutmix_dense.study.tables import Finished

FOREST = "forest.png"
"""File name of the plot."""


def write_summary(studies: Sequence[Finished], out: Path) -> Path:
    """Write ``summary.md`` and the forest plot into a folder; returns the page's path.

    Args:
        studies: what each study has so far. Reports are linked as ``<study's name>/report.md``.
        out: the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawn = draw_forest([one for one in studies if one.study.plan is not None], out / FOREST)
    if not drawn:  # of an earlier summary
        (out / FOREST).unlink(missing_ok=True)
    path = out / "summary.md"
    write_atomic(path, summary_page(studies, drawn).encode())
    return path


def summary_page(studies: Sequence[Finished], drawn: bool = False) -> str:
    """The page's text: findings by what they show, then what isn't decided.

    Args:
        studies: what each study has so far.
        drawn: whether the forest plot lies beside the page.
    """
    found: dict[str, list[str]] = {"better": [], "worse": [], "no effect that matters": [], "undecided": []}
    for finished in studies:
        study = finished.study
        title = f"[{study.title}]({study.name}/report.md)"
        for one in decisions(finished):
            found[one.verdict].append(f"- {sentence(one, study.metric, study.baseline, title=title)}")
    heads = {
        "better": "What helps",
        "worse": "What harms",
        "no effect that matters": "What changes nothing that matters",
        "undecided": "What isn't decided",
    }
    lines = ["# What the studies show", ""]
    lines += [
        "Each study was planned before its first run: the comparisons, the smallest effect that matters, the number "
        "of seeds. Differences are paired by seed, intervals are 95%, and a verdict holds for all primary comparisons "
        "of its study together (Holm). Final checkpoints count, never the best ones.",
        "",
    ]
    if drawn:
        lines += [f"![difference to the baseline in every primary comparison, with 95% intervals]({FOREST})", ""]
    for verdict, head in heads.items():
        if found[verdict]:
            lines += [f"## {head}", "", *found[verdict], ""]
    unplanned = [finished.study for finished in studies if finished.study.plan is None]
    if unplanned:
        listed = ", ".join(f"[{study.title}]({study.name}/report.md)" for study in unplanned)
        lines += ["## Explored without a plan", "", f"These decide nothing: {listed}.", ""]
    return "\n".join(lines).rstrip() + "\n"
