"""`mix_dataset` killed until it ends, itself or its workers: nothing lost, nothing listed that is half-written."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import cutmix_dense as cd
from cutmix_dense.cli import mix as tool
from cutmix_dense.data.errors import MixError
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import open_complete

LAYOUTS = ("coco", "voc", "cityscapes")
STAMP = "mixed_copy.train.json"
LISTS = {
    "coco": {"annotations/instances_train.json"},
    "voc": {"ImageSets/Main/train.txt", "ImageSets/Segmentation/train.txt"},
    "cityscapes": set(),  # the pictures are the list
}

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="workers are found in Linux's /proc")


def check_what_is_listed(place: Path, layout: str, found: dict[str, str], whole: dict[str, str]) -> bool:
    """Hold a copy that was killed against one that was not, by their hashes; whether any sample of it is listed.

    Whatever lies in plain sight is a file of the whole copy, byte for byte, or the stamp of a copy that is not done;
    where a list lies, everything that it names lies there, too.
    """
    shown = {name: code for name, code in found.items() if "/." not in f"/{name}"}
    if shown.get(STAMP, whole[STAMP]) != whole[STAMP]:
        assert json.loads((place / STAMP).read_bytes())["finished"] is False
        del shown[STAMP]
    for name, code in shown.items():
        assert whole.get(name) == code, f"{name} is not that of the whole copy"
    pictures = [name for name in shown if name.startswith("leftImg8bit/train/") and name.endswith(".png")]
    for name in pictures:
        for kind in ("labelIds.png", "instanceIds.png", "polygons.json"):
            map_ = name.replace("leftImg8bit/", "gtFine/").replace("leftImg8bit.png", f"gtFine_{kind}")
            assert map_ in shown, f"{map_} is missing beside its picture"
    if LISTS[layout] & shown.keys():
        assert whole.keys() - shown.keys() <= {STAMP, *LISTS[layout]}
    elif not pictures:
        return False
    dataset = open_complete(place, layout)
    for index in range(len(dataset)):
        dataset[index]
    return True


@dataclass
class Kills:
    """How often a copy was killed: itself, one of its workers, both at once; and how often some of it was listed."""

    main: int = 0
    worker: int = 0
    all: int = 0
    listed: int = 0


def workers_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def kill(process: multiprocessing.process.BaseProcess, whom: str) -> bool:
    """Kill a copy, one of its workers or all of them; whether it was there to be killed."""
    workers = workers_of(process.pid)
    if not process.is_alive() or (whom == "worker" and not workers):
        return False
    victims = {"main": [process.pid], "worker": workers[:1], "all": [*workers, process.pid]}[whom]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return True


def wait(process: multiprocessing.process.BaseProcess, place: Path, more: int, seconds: float) -> None:
    """Wait until a copy has made `more` samples more and then for `seconds`, or until it ends."""
    records = place / ".mixed_copy.train"
    before = len(list(records.glob("*.json")))
    while process.is_alive() and len(list(records.glob("*.json"))) < before + more:
        time.sleep(0.002)
    begin = time.monotonic()
    while process.is_alive() and time.monotonic() - begin < seconds:
        time.sleep(0.002)


def moments(draw: random.Random, seconds: float) -> Iterator[tuple[str, int, float]]:
    """Whom to kill after how many samples and seconds more: three that hit, then ever more at any moment of a copy."""
    for whom in ("main", "worker", "all"):
        yield whom, draw.randint(1, 2), draw.uniform(0, 0.03)
    while seconds:
        whom = draw.choice(["main", "worker", "all"])
        yield (whom, 0, draw.uniform(0, seconds)) if draw.random() < 0.5 else (whom, draw.randint(1, 16), 0.0)


def killed_until_it_ends(
    words: list[str], check: Callable[[Path], bool], when: Iterator[tuple[str, int, float]]
) -> Kills:
    """Start a copy again after every kill until one run is not hit: what it took."""
    count, place = Kills(), Path(words[1])
    context = multiprocessing.get_context("fork")
    while True:
        process = context.Process(target=lambda: os._exit(tool.main(words)))
        process.start()
        moment, hit = next(when, None), False
        if moment is not None:
            whom, *until = moment
            wait(process, place, *until)
            hit = kill(process, whom)
        process.join()  # with a limit it would wait for the workers as well
        if hit:
            setattr(count, whom, getattr(count, whom) + 1)
            count.listed += check(place)
        if process.exitcode == 0:
            return count
        assert process.exitcode == (1 if hit and whom == "worker" else -signal.SIGKILL), process.exitcode


def torture(
    demo: Path,
    folder: Path,
    hashes: Callable[[Path], dict[str, str]],
    layout: str,
    trials: int,
    copies: int,
    anywhere: bool,
) -> Kills:
    """Kill so many copies until each has ended, and hold every one against a copy that was not killed."""

    def words(name: str, split: str = "train") -> list[str]:
        # One name for the folder, which VOC's files state.
        place = folder / name / "copy"
        return [str(demo / layout), str(place), "--split", split, "--copies", str(copies), "--workers", "2"]

    for name in ["whole", *map(str, range(trials))]:
        tool.main([*words(name, "val"), "--workers", "0"])  # what was there before stays as it is
    begin = time.monotonic()
    assert tool.main(words("whole")) == 0
    seconds = time.monotonic() - begin if anywhere else 0.0
    whole = hashes(folder / "whole" / "copy")

    def check(place: Path) -> bool:
        return check_what_is_listed(place, layout, hashes(place), whole)

    total, draw = Kills(), random.Random(f"{layout}{trials}")
    for trial in range(trials):
        count = killed_until_it_ends(words(str(trial)), check, moments(draw, seconds))
        time.sleep(0.2)  # a worker of a killed run that were still writing would show now
        assert hashes(folder / str(trial) / "copy") == whole
        for kind, number in vars(count).items():
            setattr(total, kind, getattr(total, kind) + number)
    return total


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_that_is_killed_again_and_again_ends_whole(demo, tmp_path, hashes, layout):
    count = torture(demo, tmp_path, hashes, layout, trials=1, copies=3, anywhere=False)
    assert (count.main, count.worker, count.all) == (1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dozens_of_kills_at_any_moment(demo, tmp_path, hashes, layout):
    count = torture(demo, tmp_path, hashes, layout, trials=12, copies=8, anywhere=True)
    print(layout, count)  # shown by pytest -s
    assert min(count.main, count.worker, count.all) >= 12, count


def test_a_lost_worker_is_no_riddle(demo, tmp_path):
    """Out of memory, the system kills a worker; torch tells of it in the middle of anything."""

    others = workers_of(os.getpid())  # what other tests have left running

    def hit(done, total, record):
        if done == 4:
            os.kill(next(pid for pid in workers_of(os.getpid()) if pid not in others), signal.SIGKILL)

    dataset = open_complete(demo / "coco", "coco")
    settings = {"copies": 4, "workers": 2}
    with pytest.raises(MixError, match="a worker was killed.*the same call continues"):
        mix_dataset(dataset, tmp_path / "out", cd.CutMix(p=1.0), on_progress=hit, **settings)
    assert mix_dataset(dataset, tmp_path / "out", cd.CutMix(p=1.0), **settings).resumed >= 4
