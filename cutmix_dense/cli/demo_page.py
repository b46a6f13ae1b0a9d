"""The page that the demo ends with: plain HTML beside its pictures, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cutmix_dense.data.outcomes import LEFT_OUT, named
from cutmix_dense.functional.segments import segments_as_instances
from cutmix_dense.visualization import class_colors, source_letters

if TYPE_CHECKING:
    from cutmix_dense.data.mixed_sample import MixedSample

REASONS = {
    "covered": "wholly covered by the region",
    "low visibility": "too little of it is visible",
    "too small": "too thin to be a box",
    "elongated": "too long and thin to be a box",
    "outside": "outside of the picture",
    "broken box": "its box was broken in the file",
    "empty mask": "its mask was empty in the file",
    "not carried": "not pasted",
    "not finite": "its box is not a number",
}


@dataclass(frozen=True)
class InstanceRow:
    """What happened to one instance: a line of a sample's table."""

    tag: str
    name: str
    color: tuple[int, int, int]
    side: str
    outcome: str
    reason: str
    visibility: float


@dataclass(frozen=True)
class Picture:
    """A picture file under the page's folder."""

    path: str
    caption: str


@dataclass(frozen=True)
class Sample:
    """One mixed sample: base, partner, mixed, and its table."""

    title: str
    pictures: Sequence[Picture]
    instances: Sequence[InstanceRow]


@dataclass(frozen=True)
class Tally:
    """A bar of the overview: how many instances had each outcome."""

    title: str
    detail: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Section:
    """A heading, a few words, and sheets."""

    title: str
    text: str
    pictures: Sequence[Picture]


def instance_rows(made: MixedSample, classes: Sequence[str]) -> list[InstanceRow]:
    """What became of every instance that could be in a mixed sample, tagged as ``mix_row`` tags the pictures.

    Args:
        made: the sample.
        classes: names of the labels; of segments those of their categories.
    """
    colors = class_colors(classes)
    letters = source_letters(made.plan, 0)
    targets = [segments_as_instances(target) for target in made.targets]
    rows = []
    for row in made.rows:
        label = int(targets[row["source"]]["labels"][row["instance"]])
        rows.append(
            InstanceRow(
                tag=f"{letters.get(row['source'], '?')}{row['instance']}",
                name=classes[label],
                color=colors[label],
                side="base" if row["layer"] == 0 else "partner",
                outcome=row["outcome"],
                reason=row["reason"],
                visibility=row["visibility"],
            )
        )
    return rows


def outcome_of(side: str, outcome: str, reason: str) -> str:
    """The outcome as the page names it: what a partner does not bring along is left out, not dropped."""
    return named(side, outcome, reason)[1]


def explain(row: InstanceRow) -> str:
    """Why an instance had its outcome, in words."""
    outcome = outcome_of(row.side, row.outcome, row.reason)
    if outcome == LEFT_OUT:
        return "lies outside the region, so it isn't pasted"
    if outcome == "kept":
        return "fully visible" if row.side == "base" else "pasted whole"
    if outcome == "shrunk":
        return "the box now encloses the visible part"
    why = REASONS.get(row.reason, row.reason) or "not said"
    return f"{why}; a loss can ignore it" if outcome == "ignored" else why


def render(
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    tallies: Sequence[Tally],
    samples: Sequence[Sample],
    sections: Sequence[Section],
    folders: Sequence[tuple[str, str]],
    commands: Sequence[tuple[str, str]],
    transform: str,
) -> str:
    """The page as HTML.

    Args:
        title: of the page.
        facts: (number, what it counts), shown large at the top.
        tallies: the overview's bars.
        samples: the samples with their tables.
        sections: sheets below them.
        folders: (path, what lies there).
        commands: (what for, command line).
        transform: how the mixing was set, as Python.
    """
    body = [
        "<header><div class=wrap>",
        f"<h1>{escape(title)}</h1>",
        "<p class=lead>A region of one picture is replaced by the same region of another. <b>One plan</b> cuts the "
        "pixels and their boxes, instance masks and semantic maps. Boxes are refitted to the visible part. Instances "
        "with too little visible are set aside, and the report says why.</p>",
        "<ul class=facts>",
        *(f"<li><b>{escape(number)}</b>{escape(what)}</li>" for number, what in facts),
        "</ul></div></header><main class=wrap>",
        "<section><h2>What happened to the boxes</h2>",
        f"<p>All samples of the three copies on disk, made by <code>{escape(transform)}</code>."
        f"{_agreement(tallies)}</p>",
        *(_bar(tally) for tally in tallies),
        _key(),
        "</section>",
        "<section><h2>Sample by sample</h2>",
        "<p>Dark pixels are not used, and the dashed line is the border of the region. A percentage is the visible "
        "share of an instance. <b>a0, a1 …</b> belong to the base, <b>b0, b1 …</b> to the partner. The samples were "
        "chosen for variety. Click a picture to enlarge it.</p>",
        *(_sample(sample) for sample in samples),
        "</section>",
        *(_section(section) for section in sections),
        "<section><h2>On your disk</h2><table class=plain>",
        *(
            f"<tr><td><a href='{escape(path)}'><code>{escape(path)}</code></a><td>{escape(what)}"
            for path, what in folders
        ),
        "</table></section>",
        "<section><h2>With your own data</h2>",
        *(f"<p>{escape(what)}</p><pre>{escape(command)}</pre>" for what, command in commands),
        "</section></main>",
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def save(page: str, path: Path) -> None:
    """Write the page."""
    path.write_text(page, encoding="utf-8")


_OUTCOMES = ("kept", "shrunk", "ignored", "dropped", LEFT_OUT)
_MEANINGS = {
    "kept": "untouched, bit for bit",
    "shrunk": "partly covered or cut, box refitted",
    "ignored": "under 10 % visible: moved to the ignored instances",
    "dropped": "not visible at all",
    LEFT_OUT: "part of the partner outside the region",
}


def _class(outcome: str) -> str:
    return outcome.replace(" ", "-")


def _bar(tally: Tally) -> str:
    total = sum(tally.counts.values()) or 1
    parts = []
    for outcome in _OUTCOMES:
        count = tally.counts.get(outcome, 0)
        if count:
            share = 100 * count / total
            label = f"{count:,}" if share > 5 else ""
            parts.append(
                f"<span class='{_class(outcome)}' style='width:{share:.3f}%' "
                f"title='{count:,} {outcome} ({share:.1f} %)'>{label}</span>"
            )
    return (
        f"<div class=tally><div class=name><b>{escape(tally.title)}</b><br><small>{escape(tally.detail)}</small></div>"
        f"<div class=bar>{''.join(parts)}</div></div>"
    )


def _agreement(tallies: Sequence[Tally]) -> str:
    if len({tuple(sorted(tally.counts.items())) for tally in tallies}) > 1:
        return ""
    return " The scenes and the seed are the same, so the three layouts must agree, and do."


def _key() -> str:
    return (
        "<p class=key>"
        + " ".join(
            f"<span><i class='{_class(outcome)}'></i><b>{outcome}</b> {meaning}</span>"
            for outcome, meaning in _MEANINGS.items()
        )
        + "</p>"
    )


def _figure(picture: Picture) -> str:
    path = escape(picture.path)
    return (
        f"<figure><a href='{path}'><img src='{path}' alt='{escape(picture.caption)}' loading=lazy></a>"
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _sample(sample: Sample) -> str:
    return (
        f"<article><h3>{escape(sample.title)}</h3><div class=three>{''.join(map(_figure, sample.pictures))}</div>"
        f"{instance_table(sample.instances)}</article>"
    )


def instance_table(instances: Sequence[InstanceRow]) -> str:
    """The table of what became of the instances, as HTML; what a partner left behind is a note below it."""
    there = [row for row in instances if outcome_of(row.side, row.outcome, row.reason) != LEFT_OUT]
    behind = [row for row in instances if row not in there]
    rows = "".join(_row(row) for row in there)
    note = ""
    if behind:
        names = ", ".join(f"{row.tag} {row.name}" for row in behind)
        note = f"<p class=note>Left out, because they lie outside of the region: {escape(names)}.</p>"
    return (
        "<table class=instances><thead><tr><th><th>class<th>of the<th>visible<th>what happened<th>why</thead>"
        f"<tbody>{rows}</tbody></table>{note}"
    )


def _row(row: InstanceRow) -> str:
    outcome = outcome_of(row.side, row.outcome, row.reason)
    share = max(0.0, min(1.0, row.visibility))  # NaN, of a broken box, becomes 0
    percent = f"{100 * share:.0f} %" if share in (0.0, 1.0) else f"{100 * share:.1f} %"
    color = "#%02x%02x%02x" % row.color  # noqa: UP031
    return (
        f"<tr><td><span class=tag style='background:{color}'>{escape(row.tag)}</span><td>{escape(row.name)}"
        f"<td>{row.side}<td class=share>"
        f"<span class=meter><span style='width:{100 * share:.1f}%'></span></span> {percent}"
        f"<td><span class='badge {_class(outcome)}'>{outcome}</span><td>{escape(explain(row))}"
    )


def _section(section: Section) -> str:
    figures = "".join(_figure(picture) for picture in section.pictures)
    words = f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>"
    return f"<section>{words}<div class=one>{figures}</div></section>"


_STYLE = """
:root{--ink:#1b2130;--soft:#5d6779;--line:#e3e6ec;--paper:#f7f8fb;--card:#fff;--kept:#2f9e6e;--shrunk:#2f7fe0;
--ignored:#e0a020;--dropped:#d9544d;--left:#b9c0cc;--track:#e8ebf1;--code:#e9edf4;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf3;--soft:#a3adbf;--line:#333b4b;--paper:#12161f;--card:#1b212d;
--left:#5b6473;--track:#2a3140;--code:#2a3140}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.wrap{max-width:1180px;margin:0 auto;padding:0 24px}
header{background:linear-gradient(120deg,#18233c,#27456f 60%,#2c6a7b);color:#fff;padding:44px 0 34px}
h1{font-size:34px;line-height:1.2;margin:0 0 12px}
h2{font-size:24px;margin:46px 0 8px}
h3{font-size:16px;margin:0 0 12px;color:var(--soft);font-weight:600}
.lead{max-width:52em;margin:0;color:#dbe6f2}
.facts{list-style:none;display:flex;flex-wrap:wrap;gap:12px 40px;padding:0;margin:26px 0 0}
.facts li{color:#b9cbdd;font-size:14px}
.facts b{display:block;font-size:28px;line-height:1.2;color:#fff}
article{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px;margin:20px 0;
box-shadow:0 1px 3px #1b21300d}
.three{display:grid;grid-template-columns:repeat(3,1fr);gap:12px}
.one{display:grid;gap:18px}
figure{margin:0}
img{width:100%;height:auto;display:block;border-radius:8px}
.one img{border:1px solid var(--line)}
figcaption{font-size:13px;color:var(--soft);margin-top:5px}
table{border-collapse:collapse;width:100%;margin-top:16px;font-size:14px}
th{text-align:left;font-weight:600;color:var(--soft);border-bottom:2px solid var(--line);padding:6px 10px 6px 0}
td{border-bottom:1px solid var(--line);padding:5px 10px 5px 0;vertical-align:middle}
tbody tr:last-child td{border-bottom:0}
.tag{display:inline-block;min-width:34px;text-align:center;border-radius:5px;color:#10141c;font-weight:600;
padding:0 6px}
.badge{color:#fff;border-radius:20px;padding:1px 11px 2px;font-size:13px;font-weight:600;white-space:nowrap}
.meter{display:inline-block;width:90px;height:8px;border-radius:4px;background:var(--track);overflow:hidden;margin-right:6px;
vertical-align:1px}
.meter span{display:block;height:100%;background:#6b7a93}
.share{white-space:nowrap}
.tally{display:flex;align-items:center;gap:16px;margin:12px 0}
.tally .name{width:170px;flex:none;line-height:1.3}
small{color:var(--soft)}
.bar{display:flex;flex:1;height:30px;border-radius:7px;overflow:hidden;background:var(--track)}
.bar span{color:#fff;font-size:13px;font-weight:600;text-align:center;line-height:30px;overflow:hidden}
.kept{background:var(--kept)}.shrunk{background:var(--shrunk)}.ignored{background:var(--ignored)}
.dropped{background:var(--dropped)}.left-out{background:var(--left)}
.key{display:flex;flex-wrap:wrap;gap:4px 22px;font-size:13px;color:var(--soft);margin:12px 0 0}
.key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.key b{color:var(--ink)}
.note{font-size:13px;color:var(--soft);margin:10px 0 0}
code{font-size:.92em;background:var(--code);border-radius:4px;padding:1px 5px}
pre{background:#18233c;color:#dfe8f3;border-radius:8px;padding:12px 16px;overflow-x:auto;font-size:14px;
margin:6px 0 16px}
.plain{background:var(--card);border:1px solid var(--line);border-radius:12px;border-collapse:separate;border-spacing:0}
.plain td{padding:8px 16px}
a{color:inherit}
main{padding-bottom:60px}
@media(max-width:760px){.three{grid-template-columns:1fr}
.tally{display:block}.tally .name{width:auto;margin-bottom:4px}.wrap{padding:0 14px}article{padding:14px}
.meter{display:none}.instances th:nth-child(3),.instances td:nth-child(3){display:none}.instances{font-size:13px}
.plain td{display:block;border:0;overflow-wrap:anywhere}}
"""
