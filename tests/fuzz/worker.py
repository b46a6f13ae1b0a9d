"""One target in one process: ``python -m tests.fuzz.worker NAME FOLDER SECONDS``, started by ``run``."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import sys
import time
import traceback
from pathlib import Path

import atheris

MOST_BYTES = 8192
ONE_INPUT = 20  # seconds that an input may take
MEMORY = 2 << 30  # bytes that inputs may take on top of the libraries


def main(name: str, folder: Path, seconds: int) -> None:
    """Fuzz `name` for so many seconds; what is found lies in `folder`, and the count of runs in ``runs.json``."""
    with atheris.instrument_imports(include=["cutmix_dense"]):
        from .target import fault_of, load
    scratch = folder.resolve() / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    with atheris.instrument_imports(include=["cutmix_dense"]):
        target = load(name, scratch)
    import torch
    from PIL import Image

    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = 1 << 20  # of what is refused above twice this, more runs in the same time
    for part in ("corpus", "findings"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (folder / "corpus" / f"seed{number}").write_bytes(seed)
        with contextlib.suppress(Exception):  # to import what is imported late; it is run again, and judged
            target.run(seed)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    runs, shown = 0, time.monotonic()

    def once(data: bytes) -> None:
        nonlocal runs, shown
        runs += 1
        try:
            target.run(data)
        except Exception as error:
            place = folder / "findings" / fault_of(error)
            if not place.is_file():
                Path(f"{place}.txt").write_text(traceback.format_exc(), errors="replace")
                place.write_bytes(data)
        if time.monotonic() - shown > 2:
            shown = time.monotonic()
            (folder / "runs.json").write_text(json.dumps(runs))

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        if target.mutate is None or seed % 4 == 0:
            return atheris.Mutate(data, most)
        return target.mutate(data, most, seed)

    options = [
        f"-max_total_time={seconds}",
        f"-timeout={ONE_INPUT}",
        f"-max_len={MOST_BYTES}",
        f"-artifact_prefix={folder / 'findings'}/",
        "-rss_limit_mb=6144",
        "-print_final_stats=1",
        "-report_slow_units=5",
    ]
    atheris.Setup([sys.argv[0], str(folder / "corpus"), *options], once, custom_mutator=mutate)
    with contextlib.suppress(KeyboardInterrupt):
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
