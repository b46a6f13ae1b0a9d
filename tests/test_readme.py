"""The README's Python runs as it stands, top to bottom, in one session; its commands name what exists."""

from __future__ import annotations

import importlib
import re
import shlex

import pytest
import torch
from snippets import ROOT, blocks, missing, run

import cutmix_dense

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


ADAPTERS = {
    "cutmix_dense.albumentations": "albumentations",
    "cutmix_dense.mmengine": "mmengine",
    "cutmix_dense.lightning": "lightning",
}


@pytest.mark.parametrize("module", ADAPTERS)
def test_a_newcomers_path_is_short_and_works(module, tmp_path, monkeypatch):
    """What its framework makes of the configs of MMEngine is told in tests/frameworks."""
    pytest.importorskip(ADAPTERS[module])
    (snippet,) = [block for block in blocks(README, "python") if module in block]
    lines = [line for line in snippet.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert len(lines) <= 15
    monkeypatch.chdir(tmp_path)
    names = {"torch": torch, "cd": cutmix_dense}
    run(snippet, README, 0, names)
    if module == "cutmix_dense.albumentations":
        seen = set()
        for _ in range(20):
            result = names["pipeline"](**names["base"], mix_metadata=[names["partner"]])
            assert len(result["bboxes"]) == len(result["labels"])
            seen |= set(result["labels"])
        assert seen == {"cat", "dog"}
    elif module == "cutmix_dense.lightning":
        assert names["trainer"].current_epoch == 3
        assert names["trainer"].callbacks[0].last_seed is not None
    else:
        assert names["custom_imports"]["imports"] == [module]


def test_the_variant_is_short():
    (variant,) = [snippet for snippet in blocks(README, "python") if "class CornerMix" in snippet]
    assert len(variant.splitlines()) < 30


@pytest.mark.parametrize("text", [README, ROOT / "docs" / "training.md"], ids=lambda path: path.name)
def test_the_commands_name_what_exists(text):
    pytest.importorskip("mmengine")
    commands = "\n".join(blocks(text, "bash"))
    found = re.findall(r"(?:python|-node 8) (tools/(\w+)\.py)([^&\n]*)", commands)
    assert len(found) >= 3
    for script, name, arguments in found:
        assert (ROOT / script).is_file(), script
        assert all((ROOT / config).is_file() for config in re.findall(r"configs/\S+\.py", arguments)), arguments
        importlib.import_module(f"tools.{name}").parser().parse_args(shlex.split(arguments))  # exits if it doesn't know
