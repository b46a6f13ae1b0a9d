"""Open a page on which you choose pictures, a method and its settings, see the mix, and copy the code.

    cutmix-dense explore
    cutmix-dense explore /data/VOC2012 --split val --open
    cutmix-dense explore path/to/coco --port 8000

Without a folder the page shows the demo set, which is drawn the first time. On the page you can open other folders, or
your own pictures. Only this machine can open the page, and it loads nothing from the internet.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
import sys
import tempfile
from pathlib import Path

from cutmix_dense.cli.common import add_dataset_arguments, open_from, positive
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors
from cutmix_dense.extras import require


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("explore", __doc__)
    add_dataset_arguments(result, needed=False)
    result.add_argument(
        "--cache", type=Path, default=Path("runs/explore"), help="folder of the demo set (default: runs/explore)"
    )
    result.add_argument(
        "--port", type=positive(1, 65535), help="port of the page (default: the first free one from 7860)"
    )
    result.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve at (default: 127.0.0.1, this machine only); at any other address, others "
        "can open every data set on this machine",
    )
    result.add_argument("--open", action="store_true", help="open a browser")
    add_verbosity(result)
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    with reporting_errors("explore", arguments.traceback), tempfile.TemporaryDirectory(prefix="explore-") as uploads:
        _check_host(arguments.host)
        opened = None if arguments.root is None else open_from(arguments, {"label_ids": "train"})
        if importlib.util.find_spec("gradio") is None:
            require("gradio", "explore")  # says what to install, before torch is loaded
        print("Preparing the page …", flush=True)
        os.environ["GRADIO_TEMP_DIR"] = str(Path(uploads) / "gradio")  # what is uploaded goes when the page does
        from cutmix_dense.cli.exploring.page import Explorer
        from cutmix_dense.cli.exploring.sources import DEMO_LAYOUTS, DEMO_START, Shelf, further_words, open_demo, shown

        shelf, ready, words = Shelf(), {}, {}
        if opened is not None:
            dataset = shown(opened)
            ready[f"{Path(dataset.root).resolve().name} ({dataset.split})"] = shelf.put("root", dataset, keep=True)
            words["root"] = further_words(arguments)
        for layout, title in DEMO_LAYOUTS.items():
            ready[f"Demo set as {title}"] = shelf.put(layout, open_demo(arguments.cache, layout), keep=True)
        explorer = Explorer(shelf, ready, Path(uploads), DEMO_START if arguments.root is None else 0, words)
        try:
            explorer.launch(arguments.host, arguments.port, browser=arguments.open)
        except OSError as error:
            taken = f"--port {arguments.port} is in use, give another one" if arguments.port else str(error)
            raise UserError(taken) from error
    return 0


def _check_host(host: str) -> None:
    """UserError for an address that no machine has."""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise UserError(f"--host must be an address of this machine, got {host!r} ({error.strerror})") from None


if __name__ == "__main__":
    sys.exit(main())
