"""Names that lists spell in another way than the disk, and what splits are called."""

from __future__ import annotations

import os

import pytest

from cutmix_dense.data.spelling import Folders, Names
from cutmix_dense.data.splits import folders_in, names_of_split


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("Im 0", "Im 0"),
        ("im 0", "Im 0"),
        ("IM%200", "Im 0"),
        ("a%20b", "a%20b"),
        ("a b", None),
        ("x", "x"),
        ("X", "X"),
        ("", None),
        ("e\u0301.png", "\u00e9.png"),  # macOS
        ("E\u0301.PNG", "\u00e9.png"),
    ],
)
def test_names(asked, found):
    assert Names({"Im 0", "a%20b", "x", "X", "\u00e9.png"}).find(asked) == found


def test_names_that_differ_in_capitals_alone_are_left_alone():
    assert Names(["ab", "aB"]).find("AB") is None
    assert Names(["ab", "aB"]).find("aB") == "aB"


def test_folders(tmp_path):
    (tmp_path / "Images" / "sub dir").mkdir(parents=True)
    (tmp_path / "Images" / "sub dir" / "a.JPG").write_bytes(b"")
    folders = Folders(str(tmp_path))
    assert folders.find("images/SUB%20dir/A.jpg") == "Images/sub dir/a.JPG"
    for path in ("images/sub%20dir", "images/b.jpg", "../x", "images/..%2f/a.jpg", "a\0b", ""):
        assert folders.find(path) is None, path


def test_splits(tmp_path):
    assert names_of_split("val") == ("val", "valid", "validation")
    assert names_of_split("validation") == ("validation", "val", "valid")
    assert names_of_split("train") == ("train",)
    for name in ("b", "a", ".hidden"):
        os.mkdir(tmp_path / name)
    (tmp_path / "file").write_text("")
    assert folders_in(tmp_path) == ["a", "b"]
    assert folders_in(tmp_path / "nothing") == []
