"""The README's Python runs as it stands, top to bottom, in one session; its commands name what exists."""

from __future__ import annotations

import re

import torch
from snippets import ROOT, blocks, missing, run

README = ROOT / "README.md"


def test_the_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a training leaves its logs
    images = torch.randint(0, 256, (8, 3, 120, 160), dtype=torch.uint8)
    dataset = [
        (image, {"boxes": torch.tensor([[10.0, 10.0, 60.0, 60.0]]), "labels": torch.tensor([1])}) for image in images
    ]
    names = {"dataset": dataset}
    snippets = blocks(README, "python")
    assert len(snippets) >= 6
    for number, snippet in enumerate(snippets):
        if not missing(snippet):
            run(snippet, README, number, names)
    assert len(next(iter(names["loader"]))) == 2
    assert names["mixed"].shape == (4, 3, 120, 160)


def test_the_variant_is_short():
    (variant,) = [snippet for snippet in blocks(README, "python") if "class CornerMix" in snippet]
    assert len(variant.splitlines()) < 30


def test_the_commands_name_what_exists():
    commands = "\n".join(blocks(README, "bash"))
    for script in re.findall(r"python (\S+\.py)", commands):
        assert (ROOT / script).is_file(), script
