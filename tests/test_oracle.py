"""Ten thousand random mixes, each judged by what its own pixels prove (see oracle.py)."""

from __future__ import annotations

import pytest
import torch
from oracle import REGIONS, Counts, check_case, mix_by_functions, mix_by_transform, random_case, run_chunk, same

CHUNKS = 20
PAIRS = 510


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_enough_pairs_are_judged():
    assert CHUNKS * PAIRS >= 10_000


@pytest.mark.parametrize("seed", range(CHUNKS))
def test_mixes_are_what_their_pixels_prove(seed: int):
    counts = run_chunk(seed, PAIRS)
    assert_varied(counts)


def assert_varied(counts: Counts) -> None:
    """The shares the cases must have, counted on what was really mixed."""
    assert counts.pairs >= PAIRS
    assert counts.mixed >= 0.75 * counts.pairs
    assert counts.several_patches >= 0.30 * counts.pairs
    assert counts.mixed_sizes >= 0.30 * counts.pairs
    assert counts.border >= 0.20 * counts.pairs
    assert counts.with_masks >= 0.30 * counts.pairs
    assert counts.without_masks >= 0.30 * counts.pairs
    assert counts.near < 0.01 * counts.instances
    assert set(counts.regions) == {name for name, _ in REGIONS}
    assert set(counts.pairings) == {"roll", "shuffle", "swap"}
    assert min(counts.sides) == 5
    assert max(counts.sides) > 50
    for outcome in ("kept", "untouched", "dropped", "ignored", "crowd", "broken"):
        assert counts.outcomes[outcome] >= 3, counts.outcomes
    assert min(counts.unstated["kept"], counts.unstated["dropped"]) >= 10, counts.unstated
    assert min(counts.empty["kept"], counts.empty["dropped"]) >= 3, counts.empty


@pytest.mark.parametrize("name", [name for name, _ in REGIONS])
def test_both_surfaces_agree(name: str):
    """One call of the transform, and make_plan followed by the functions, give the same bits."""
    import numpy as np

    rng = np.random.default_rng(99)
    for _ in range(5):
        case = random_case(rng, name)
        one, two = mix_by_transform(case), mix_by_functions(case)
        assert same(one.images, two.images)
        assert same(one.targets, two.targets)
        assert same(one.semantic, two.semantic)
        torch.testing.assert_close(one.labels, two.labels, check_dtype=False)
        assert one.report.counts() == two.report.counts()
        check_case(case, one, Counts())
