"""How a report writes numbers, tables and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cutmix_dense.study.statistics import Difference, Spread
from cutmix_dense.study.tables import Finished


def called(finished: Finished, name: str) -> str:
    """A variant's name as tables say it."""
    return f"**{name}** (baseline)" if name == finished.study.baseline else name


def mean(summary: Spread | None) -> str:
    """Mean ± deviation, a dash without any."""
    if summary is None:
        return "–"
    return f"{summary.mean:.2f}" + ("" if summary.sd is None else f" ± {summary.sd:.2f}")


def told(difference: Difference | None) -> list[str]:
    """Cells for a difference: mean, interval, won and lost, verdict."""
    if difference is None:
        return ["", "", "", ""]
    ends = "–" if difference.low is None else f"{difference.low:+.2f} … {difference.high:+.2f}"
    return [f"{difference.mean:+.2f}", ends, f"{difference.wins} / {difference.losses}", difference.verdict]


def interval(difference: Difference | None) -> str:
    """A difference with its interval, bold where that excludes 0; a dash without any."""
    if difference is None:
        return "–"
    if difference.low is None:
        return f"{difference.mean:+.2f}"
    text = f"{difference.mean:+.2f} ({difference.low:+.2f} … {difference.high:+.2f})"
    return text if difference.verdict == "not significant" else f"**{text}**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    line = ["---", *(["---:"] * (len(head) - 1))] if len(head) > 2 else ["---"] * len(head)
    return [f"| {' | '.join(cells)} |" for cells in (head, line, *rows)] + [""]


def image(images: Sequence[str], name: str, alternative: str) -> list[str]:
    """The lines of a picture, none if it isn't among ``images``."""
    return [f"![{alternative}]({name})", ""] if name in images else []
