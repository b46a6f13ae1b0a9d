"""The one-command demo: everything is there, every link leads somewhere, and the page says what happened."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from cutmix_dense.cli import demo, demo_drawing, demo_page
from cutmix_dense.data.demo import CITYSCAPES_NAMES, CLASSES
from cutmix_dense.data.mixed_sample import open_complete


class Reader(HTMLParser):
    """Collects links, pictures and text, and checks that what is opened is closed."""

    optional = frozenset({"p", "li", "tr", "td", "th", "thead", "tbody", "meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.links, self.pictures, self.text, self.stack = [], [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "a":
            self.links.append(found["href"])
        if tag == "img":
            self.pictures.append(found["src"])
        if tag not in self.optional:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.optional:
            assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_demo_makes_a_page_whose_links_lead_somewhere(tmp_path, capsys, monkeypatch):
    arguments = ["--out", str(tmp_path / "demo"), "--images", "8", "--workers", "0"]
    assert demo.main(arguments) == 0
    page = tmp_path / "demo" / "index.html"
    assert str(page) in capsys.readouterr().out
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert reader.stack == []
    assert len(reader.pictures) >= 8
    for link in {*reader.links, *reader.pictures}:
        assert not re.match(r"[a-z]+:|/", link), f"{link} is not relative"
        assert (page.parent / link).exists(), link
    for picture in reader.pictures:
        with Image.open(page.parent / picture) as image:
            assert min(image.size) > 300
    text = "".join(reader.text)
    for word in ("kept", "shrunk", "dropped", "COCO", "PASCAL VOC", "Cityscapes", "fully visible"):
        assert word in text
    for shape, name in CITYSCAPES_NAMES.items():  # the shapes' other names are explained
        assert (f"a {shape} is “{name}”" in text) == (shape in CLASSES)
    for layout in demo_drawing.LAYOUTS:
        assert len(open_complete(page.parent / "mixed" / layout, layout)) == 8

    # Once more, all is there already. The pictures take the time: this time they are left out.
    monkeypatch.setattr(demo_drawing.Page, "write", lambda self, advance: None)
    assert demo.main(arguments) == 0
    with pytest.raises(SystemExit) as end:
        demo.main([*arguments, "--seed", "1"])
    assert end.value.code == 2
    assert "--overwrite" in capsys.readouterr().err
    assert demo.main([*arguments, "--seed", "1", "--overwrite"]) == 0


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_of_other_things_is_left_as_it_is(tmp_path, capsys, hashes, overwrite):
    (tmp_path / "index.html").write_text("mine")
    before = hashes(tmp_path)
    for out, told in (
        (tmp_path, "is not empty and holds no demo; name a new folder"),
        (tmp_path / "index.html", "file"),
    ):
        with pytest.raises(SystemExit) as end:
            demo.main(["--out", str(out), "--images", "8", *overwrite])
        assert end.value.code == 2
        assert f"demo: error: --out {out}: is" in (error := capsys.readouterr().err)
        assert told in error
    assert hashes(tmp_path) == before


def test_every_outcome_has_its_words():
    for side in ("base", "partner"):
        for outcome in ("kept", "shrunk", "dropped", "ignored"):
            for reason in ("", *demo_page.REASONS):
                assert demo_page.explain(demo_page.InstanceRow("a0", "disc", (1, 2, 3), side, outcome, reason, 0.5))


def test_names_cannot_break_the_page():
    row = demo_page.InstanceRow("a0", "<script>alert(1)</script>", (1, 2, 3), "base", "kept", "", float("nan"))
    page = demo_page.render(
        title="<b>",
        facts=[("1", "<i>")],
        tallies=[demo_page.Tally("<u>", "", {"kept": 1})],
        samples=[demo_page.Sample("<s>", [demo_page.Picture("a'b.png", "<q>")], [row])],
        sections=[],
        folders=[("x", "<em>")],
        commands=[("<tt>", "a && b")],
        transform="CutMix()",
    )
    for tag in ("<script>", "<i>", "<u>", "<s>", "<q>", "<em>", "<tt>", "a'b"):
        assert tag not in page


def test_reasons_of_the_core_are_known():
    from cutmix_dense.functional.report import Reason

    assert {reason.text for reason in Reason} - {""} <= set(demo_page.REASONS)
