"""What MkDocs does with the repository's own pages: they lie outside of docs/, and link to files of the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Put included files in, and mend links: those within docs/ stay, those to other files become plain text."""
    here = posixpath.dirname(page.file.src_uri)
    markdown = _mended(markdown, posixpath.join("docs", here), here)
    return INCLUDE.sub(lambda found: _mended((ROOT / found[1]).read_text(encoding="utf-8"), "", here), markdown)


def _mended(markdown: str, folder: str, page_folder: str) -> str:
    """Links of a file in `folder` of the repository, as a page in `page_folder` of docs/ must have them."""

    def link(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, hash_, anchor = target.partition("#")
        full = posixpath.normpath(posixpath.join(folder, path))
        if not full.startswith("docs/") or not (ROOT / full).is_file():
            return text
        return f"{mark}[{text}]({posixpath.relpath(full[len('docs/') :], page_folder or '.')}{hash_}{anchor})"

    return LINK.sub(link, markdown)
