"""The plan of a study: read, recorded with its day, and what it decides."""

from __future__ import annotations

import datetime
import json
import re
from dataclasses import replace

import pytest

from cutmix_dense.study.decision import decisions, seeds_to_run
from cutmix_dense.study.folders import StudyFolder
from cutmix_dense.study.plan_record import read_plans, record_plan
from cutmix_dense.study.report import markdown
from cutmix_dense.study.report_plan import sentence
from cutmix_dense.study.settings import StudyError, load_study
from cutmix_dense.study.tables import Finished

METRIC = "semantic/mIoU"
PLAN = """
seeds = tuple(range({seeds}))
plan = dict(written="2026-11-29", smallest=2.0, compare=("cutmix", "worse", "same"), note="by the pilot")
"""
NOISE = (0.0, 1.0, -1.0, 0.5, -0.5, 0.25, -0.25, 0.75)


@pytest.fixture
def planned(make_study):
    """A function that gives what a planned study has so far: its differences by variant, a list over seeds."""

    def make(seeds=8, **differences):
        study = load_study(make_study(more=PLAN.format(seeds=seeds)))
        results = {name: {} for name in study.variants}
        for name, values in differences.items():
            for seed, value in enumerate(values):
                for variant, metric in (("baseline", 30.0 + seed), (name, 30.0 + seed + value)):
                    entry = {"variant": variant, "seed": seed, "metrics": {METRIC: metric}, "classes": [], "curve": []}
                    entry |= {"occlusion": [], "versions": {}, "step": "epoch", "losses": []}
                    results[variant][seed] = entry
        return Finished(study, {}, results, None, {})

    return make


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("dict(smallest=1.0)", "plan needs written"),
        ("dict(written='2026-11-29')", "plan needs smallest"),
        ("dict(written='today', smallest=1.0)", "plan.written must be a day as YYYY-MM-DD, got 'today'"),
        ("dict(written='2026-11-29', smallest=0)", "plan.smallest must be above 0 points, got 0"),
        ("dict(written='2026-11-29', smallest=1.0, power=1)", "plan.power must lie between 0 and 1"),
        ("dict(written='2026-11-29', smallest=1.0, pilot=1)", "plan.pilot must be a whole number from 2 to the 3"),
        ("dict(written='2026-11-29', smallest=1.0, compare=('baseline',))", "plan.compare must name different"),
        ("dict(written='2026-11-29', smallest=1.0, seeds=3)", "plan knows written, smallest"),
    ],
)
def test_a_plan_that_says_nothing_is_refused(make_study, plan, told):
    with pytest.raises(StudyError, match=told.split("(")[0]):
        load_study(make_study(more=f"plan = {plan}"))


def test_all_variants_are_compared_unless_some_are_named(make_study):
    study = load_study(make_study(more="plan = dict(written='2026-11-29', smallest=1.0)"))
    assert study.plan.compare == ("cutmix", "worse", "same")
    assert load_study(make_study()).plan is None


def test_a_plan_is_recorded_before_the_first_run_and_changes_are_told(make_study, tmp_path):
    text = "plan = dict(written='2026-11-29', smallest={})"
    folder = StudyFolder(load_study(make_study(more=text.format(1.0))), tmp_path / "out", {})
    record_plan(folder, datetime.date(2026, 11, 29))
    record_plan(folder, datetime.date(2026, 11, 30))
    assert [(one["recorded"], one["finished"]) for one in read_plans(folder.out)] == [("2026-11-29", 0)]
    run = folder.run("cutmix", 0)
    run.folder.mkdir(parents=True)
    run.write("result", {"config_hash": run.hash, "measuring": run.measuring})
    folder = StudyFolder(load_study(make_study(more=text.format(9.0))), tmp_path / "out", {})
    record_plan(folder, datetime.date(2026, 12, 1))
    assert [one["plan"]["smallest"] for one in read_plans(folder.out)] == [1.0, 9.0]
    lines = markdown(
        Finished(folder.study, {}, {n: {} for n in folder.study.variants}, None, {}), (), read_plans(folder.out)
    )
    assert "Recorded on 2026-11-29, before the first run. **Changed** on 2026-12-01, when 1 run was finished." in lines


def test_a_study_without_a_plan_records_none(make_study, tmp_path):
    record_plan(StudyFolder(load_study(make_study()), tmp_path / "out", {}))
    assert not (tmp_path / "out" / "plan.json").exists()


def test_the_pilot_says_how_many_seeds_there_are(planned):
    assert seeds_to_run(planned()) == (0, 1, 2)
    assert seeds_to_run(planned(cutmix=NOISE[:3], worse=NOISE[:3])) == (0, 1, 2)  # one isn't finished
    equal = [1.0, 1.0, 1.0]
    assert seeds_to_run(planned(cutmix=equal, worse=equal, same=equal)) == (0, 1, 2)
    # a deviation of 1 for an effect of 2, at 5% / 3: six seeds
    found = planned(cutmix=NOISE[:3], worse=equal, same=equal)
    assert seeds_to_run(found) == tuple(range(6))
    # later results change nothing, and the study's own seeds are the most
    later = planned(cutmix=[*NOISE[:3], 90.0, -90.0], worse=equal, same=equal)
    assert seeds_to_run(later) == tuple(range(6))
    assert seeds_to_run(planned(5, cutmix=[0.0, 40.0, -40.0], worse=equal, same=equal)) == tuple(range(5))


def test_verdicts(planned):
    found = planned(
        cutmix=[5 + value for value in NOISE],
        worse=[-5 + value for value in NOISE],
        same=[10 * value for value in NOISE],
    )
    assert [(one.variant, one.verdict) for one in decisions(found)] == [
        ("cutmix", "better"),
        ("worse", "worse"),
        ("same", "undecided"),
    ]
    small = planned(cutmix=NOISE, worse=NOISE, same=[0.0] * 8)
    assert {one.verdict for one in decisions(small)} == {"no effect that matters"}
    assert decisions(planned(cutmix=[3.0]))[0].verdict == "undecided"


def test_holm_may_leave_undecided_what_an_interval_alone_would_not(planned):
    """The interval of one comparison excludes 0 by a little, which three comparisons don't allow."""
    close = [2.2 * (0.9 + value) for value in NOISE]
    found = decisions(planned(cutmix=close, worse=NOISE, same=NOISE))[0]
    assert found.difference.low > 0
    assert found.p_value > found.difference.p_value
    assert decisions(planned(cutmix=[v + 0.9 for v in NOISE], worse=NOISE, same=NOISE))[0].p_value < 0.05


def test_the_report_states_the_plan_and_a_sentence_for_each_comparison(planned):
    text = markdown(planned(cutmix=[5 + v for v in NOISE], worse=[-5 + v for v in NOISE], same=[9 * v for v in NOISE]))
    assert text.index("## Decided beforehand") < text.index("## Result")
    assert "the smallest effect that matters is 2 points" in text
    assert "- by the pilot" in text
    assert "of which this study has 8: what stays undecided needs more" in text
    row = r"\| cutmix \| \+5.09 \| \+4.54 … \+5.65 \| \+4.\d\d … \+5.\d\d \| < 0.001 \| yes \| \*\*better\*\* \|"
    assert re.search(row, text)
    assert "- **cutmix** raises semantic/mIoU by 5.1 points over baseline (95%: +4.5 … +5.7, 8 seeds)." in text
    assert "- **same** is undecided: +0.8 points of semantic/mIoU (95%: -4.2 … +5.9, 8 seeds)" in text


def test_sentences_of_few_seeds(planned):
    (one,) = decisions(planned(cutmix=[3.0]))
    assert sentence(one, METRIC, "baseline", title="BCCD") == (
        "BCCD: **cutmix** is undecided: +3.0 points of semantic/mIoU (1 seed)."
    )


def test_the_record_is_plain_json(make_study, tmp_path):
    folder = StudyFolder(load_study(make_study(more=PLAN.format(seeds=4))), tmp_path / "out", {})
    record_plan(folder)
    assert json.loads((folder.out / "plan.json").read_text())[0]["plan"]["compare"] == ["cutmix", "worse", "same"]


@pytest.mark.parametrize("lacking", [0, 2])
def test_only_seeds_that_the_plan_asks_for_are_missing(planned, lacking):
    """The pilot's three: all differences are far from 0 and alike."""
    alike = [9.0, 9.1, 8.9]
    found = planned(cutmix=alike, worse=alike, same=alike)
    states = {f"{name}/seed-{seed}": "missing" for name in found.study.variants for seed in range(3, 8)}
    states |= {f"same/seed-{seed}": "interrupted" for seed in range(3 - lacking, 3)}
    text = markdown(replace(found, states=states))
    assert "- seeds: 0, 1, 2; runs of one seed" in text
    assert ("Incomplete" in text) == bool(lacking)
    assert not lacking or "**Incomplete**: 2 of 13 runs are missing: same seeds 1, 2 (interrupted).\n" in text
