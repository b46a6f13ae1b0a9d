"""What of an instance's further fields a mix leaves true, and what of them JSON can hold."""

from __future__ import annotations

from collections import Counter

from cutmix_dense.data.details import STATED, finite_fields, still_true

NAN, INF = float("nan"), float("inf")


def test_what_stands_beside_coordinates_stays():
    details = {
        STATED: {"bbox": [1, 2, 3, 4]},
        "attributes": {"occluded": True, "levels": [1, 2], "name": "x", "deep": {"at": [[3, 4]], "why": "y"}},
        "places": {"from": [1, 2], "to": [3, 4]},
        "nothing": {},
        "one": [5],
        "parts": [{"name": "head", "box": [1, 2, 3, 4]}],
        "score": 0.5,
    }
    lost: Counter[str] = Counter()
    kept = still_true(details, untouched=False, same_layout=True, lost=lost)
    assert kept == {
        "attributes": {"occluded": True, "name": "x", "deep": {"why": "y"}},
        "nothing": {},
        "one": [5],
    }
    gone = ["attributes.levels", "attributes.deep.at", "places.from", "places.to", "parts", "score"]
    assert lost == {f"{path} of instances that were changed": 1 for path in gone}
    assert details["attributes"]["levels"] == [1, 2]  # the dataset's own are as they were
    assert still_true(details, untouched=True, same_layout=True, lost=Counter()) == details
    lost.clear()
    assert still_true({"a": NAN, "b": 1}, untouched=True, same_layout=False, lost=lost) == {"b": 1}
    assert lost == {"NaN in a": 1}


def test_numbers_that_json_has_no_word_for_cost_their_key_alone():
    fields = {"a": NAN, "b": 1.5, "c": {"d": -INF, "e": "x"}, "f": [1.0, NAN], "g": [{"h": INF}, 3], "i": [[0.5], {}]}
    lost: Counter[str] = Counter()
    assert finite_fields(fields, lost) == {"b": 1.5, "c": {"e": "x"}, "i": [[0.5], {}]}
    assert lost == {"NaN in a": 1, "NaN in c.d": 1, "NaN in f": 1, "NaN in g": 1}
    assert finite_fields({"a": NAN}, lost, "categories.") == {}
    assert lost["NaN in categories.a"] == 1
